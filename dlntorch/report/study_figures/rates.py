"""Rates: the scatter of exponents for p = 2, and distances over their prediction for p > 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlntorch.report.chart import Chart, Panel, Series
from dlntorch.studies.base import select, values_of
from dlntorch.studies.rates import decided, swept

__all__ = ["charts"]


def charts(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    data = [dict(row) for row in rows]
    families = values_of(data, "family")
    scatter = [
        Series(family, *_columns(select(decided(data), family=family), "exponent", "measured"), 3 * look, "points")
        for look, family in enumerate(families)
    ]
    diagonal = Series("measured = predicted", [0.0, 1.0], [0.0, 1.0], kind="guide")
    return [
        Chart(
            "rates",
            "p = 2: the measured exponent of α² against 1 − ϱ",
            f"Each point is one random problem ({len(decided(data))} in all); the exponent differs from problem to problem, "
            "and the linear programme for ϱ predicts it.",
            (Panel("", "predicted exponent 1 − ϱ", "measured exponent", (diagonal, *scatter), "linear", "linear"),),
        ),
        Chart(
            "constants",
            "p > 2: the error divided by αᵖ, over the predicted constant",
            "The first problem of each family. The ratio goes to 1, slowly for p close to 2.",
            tuple(_ratios(family, select(data, family=family, seed=0)) for family in families),
        ),
    ]


def _columns(rows: list[dict[str, Any]], x: str, y: str) -> tuple[list[Any], list[Any]]:
    return [row[x] for row in rows], [row[y] for row in rows]


def _ratios(family: str, rows: list[dict[str, Any]]) -> Panel:
    series = [Series("predicted", [1e-1, min(row["power"] for row in rows if "power" in row)], [1, 1], kind="guide")]
    for look, p in enumerate(values_of(swept(rows), "p")):
        mine = [row for row in select(rows, p=p) if row.get("resolved")]
        ratio = [row["distance"] / (row["constant"] * row["power"]) for row in mine]
        series.append(Series(f"p = {p:g}", [row["power"] for row in mine], ratio, look))
    return Panel(family, "αᵖ", "‖ψ − Wₚ‖₂ / (C·αᵖ)", tuple(series))
