"""Figure 3: q_p, g_p and h_p."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlntorch.report.chart import Chart, Panel, Series
from dlntorch.studies.base import select, values_of

__all__ = ["charts"]


def charts(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    rows = [dict(row) for row in rows]
    largest = float(settings["largest"])

    def curves(name: str) -> tuple[Series, ...]:
        series = []
        for look, p in enumerate(values_of(rows, "p")):
            mine = select(rows, curve=name, p=p)
            series.append(
                Series(f"p = {p:g}", [row["x"] for row in mine], [row["value"] for row in mine], look, "line")
            )
        return tuple(series)

    panels = (
        Panel("qₚ: what the limit minimises", "x", "qₚ(x)", curves("q"), "linear", "linear"),
        Panel("gₚ: what selects among ℓ₁-minimisers", "x", "gₚ(x)", curves("g"), "linear", "linear"),
        Panel("hₚ: ψ = αᵖ hₚ(τ)", "τ", "hₚ(τ)", curves("h"), "linear", "linear", y_range=(-largest, largest)),
    )
    caption = (
        "First: qₚ grows like |x|, with a parabola at 0. Second: what is left of qₚ far out, the selector gₚ. Third: hₚ, "
        "with poles at ±1 for p > 2."
    )
    return [Chart("figure3", "Potentials, selectors and dual map", caption, panels)]
