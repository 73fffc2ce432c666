"""Rank deficiency: the distance to W_p of the equivalent pair, and residuals that end at the distance of y."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlntorch.report.chart import Chart, Panel, Series
from dlntorch.studies.base import select, values_of

__all__ = ["charts"]


def charts(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    data = [dict(row) for row in rows]
    farthest = values_of(data, "distance")[-1]
    depth = values_of(data, "p")[-1]
    shape = f"m = {settings['m']}, n = {settings['n']}, rank {settings['rank']}"
    return [
        Chart(
            "rank",
            "A network on rows that depend on each other",
            "Left: the limit tends to Wₚ of an equivalent full-rank pair at the rate predicted for that pair (dotted), "
            "though y is not in range(A). Right: SGD on the rows as given; the residual ends at the distance of y from "
            "range(A) (dotted), here at 0 only for the lowest curve.",
            (
                _distances(select(data, method="limit", distance=farthest)),
                _residuals(select(data, method="sgd", p=depth)),
            ),
            f"{shape}; left: y at distance {farthest:g} from range(A); right: p = {depth:g}",
        )
    ]


def _distances(rows: list[dict[str, Any]]) -> Panel:
    series = []
    for look, p in enumerate(values_of(rows, "p")):
        mine = [row for row in select(rows, p=p) if row["resolved"]]
        x = [row["power"] for row in mine]
        series.append(Series(f"limit, p = {p:g}", x, [row["error"] for row in mine], look, "line"))
        if mine and mine[0]["constant"] is not None:
            guide = [row["constant"] * row["power"] for row in mine]
            series.append(Series("predicted", x, [v if v < 2 else None for v in guide], kind="guide"))
    return Panel("Distance of the limit", "αᵖ", "‖ψ − Wₚ(Ã, ỹ)‖₂", tuple(series))


def _residuals(rows: list[dict[str, Any]]) -> Panel:
    series = []
    curves = select(rows, curve="residual")
    for look, distance in enumerate(values_of(rows, "distance")):
        mine = select(curves, distance=distance)
        name = f"SGD, y at distance {distance:g}"
        t = [row["t"] for row in mine]
        series.append(Series(name, t, [row["residual"] for row in mine], 3 + look, "line"))
        if distance > 0:
            series.append(Series("predicted", [min(t), max(t)], [distance, distance], kind="guide"))
    return Panel("Residual on the rows as given", "t·αᵖ⁻²", "‖Aψ − y‖₂", tuple(series), "linear", "log")
