"""Selection: the selected distributions, where W_p moves, and the limit's approach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlntorch.report.chart import Chart, Panel, Series
from dlntorch.studies.base import select, values_of
from dlntorch.studies.selection import line_parameter

__all__ = ["charts"]


def charts(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    data = [dict(row) for row in rows]
    power = max(values_of(data, "power"))
    depths = values_of(data, "p")
    shown = [p for p in (2, 2.5, 3, 4, 6, 12) if p in depths] or depths[:6]
    where = Chart(
        "selection",
        "Which ℓ₁-minimiser each depth selects",
        "First: the selected distribution on 0, 1, …, all with the same mean; at p = 2 it is the Gibbs distribution, and its "
        "tail grows heavier with p. Second: its entropy. Third: the position of Wₚ on the paper's segment; dotted: the closed "
        "form.",
        (
            _distributions(shown, select(data, problem="mean", power=power)),
            _entropy(select(data, problem="mean", power=power, coordinate=0)),
            _position(select(data, problem="line", power=power, coordinate=2)),
        ),
    )
    approach = Chart(
        "approach",
        "How the limit approaches what is selected",
        "Distance of the limit from Wₚ against αᵖ; dotted: the prediction, with its next term, where the theory gives a "
        "constant.",
        tuple(_approach(name, shown, select(data, problem=name, coordinate=0)) for name in values_of(data, "problem")),
    )
    return [where, approach]


def _distributions(shown: list[float], rows: list[dict[str, Any]]) -> Panel:
    series = []
    for look, p in enumerate(shown):
        mine = select(rows, p=p)
        series.append(Series(f"p = {p:g}", [r["coordinate"] for r in mine], [r["selected"] for r in mine], look))
    return Panel("distribution with a given mean", "outcome i", "ψᵢ", tuple(series), "linear", "log")


def _entropy(rows: list[dict[str, Any]]) -> Panel:
    series = Series("Wₚ", [row["p"] for row in rows], [row["entropy"] for row in rows], 0, "points")
    return Panel("its entropy", "p", "−Σ ψᵢ log ψᵢ", (series,), "linear", "linear")


def _position(rows: list[dict[str, Any]]) -> Panel:
    p = [row["p"] for row in rows]
    t = [None if row["selected"] is None else row["selected"] / 3 for row in rows]
    exact = Series("closed form", p, [line_parameter(value) for value in p], kind="guide")
    return Panel(
        "the segment (1−t, 2(1−t), 3t)", "p", "t", (exact, Series("Wₚ", p, t, 0, "points")), "linear", "linear"
    )


def _approach(name: str, shown: list[float], rows: list[dict[str, Any]]) -> Panel:
    series = []
    for look, p in enumerate(shown):
        mine = select(rows, p=p)
        powers = [row["power"] for row in mine]
        series.append(Series(f"p = {p:g}", powers, [row["distance"] for row in mine], look))
        series.append(Series("predicted", powers, [row["predicted"] for row in mine], kind="guide"))
    return Panel(name, "αᵖ", "‖ψ − Wₚ‖₂", tuple(series))
