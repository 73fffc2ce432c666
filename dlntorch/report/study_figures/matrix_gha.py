"""Hardness of the nuclear norm: the error on the worse of δ and −δ, for each algorithm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlntorch.report.chart import Chart, Panel, Series
from dlntorch.studies.base import select, values_of

__all__ = ["charts"]

_FLOOR = 1e-9


def charts(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    data = [dict(row) for row in rows]
    bits = int(settings["bits"])
    return [
        Chart(
            "matrix_gha",
            "The error on the worse of δ and −δ, in units of 10^(−K)",
            "To the left of the vertical line the places that are read do not tell δ from −δ: the error is 1, whatever the "
            "algorithm. To its right the minimiser has the digits, and networks have them once α is small enough.",
            tuple(_panel(K, select(data, digits=K), bits) for K in values_of(data, "digits")),
            f"A read to b = {bits} binary places, {settings['layers']} layers",
        )
    ]


def _panel(K: int, rows: list[dict[str, Any]], bits: int) -> Panel:
    series = []
    powers = values_of(rows, "power")
    for look, power in enumerate([None, *powers]):
        mine = [row for row in rows if row.get("power") == power]
        mine.sort(key=lambda row: row["delta"])
        name = "minimiser" if power is None else f"network, α^N/y = {power:g}"
        errors = [max(row["error"] * 10**K, _FLOOR) for row in mine]
        series.append(Series(name, [row["delta"] for row in mine], errors, look))
    series.append(Series("last place of A", [2.0**-bits] * 2, [_FLOOR, 10.0], 5, "line"))
    return Panel(f"K = {K}", "|δ|", "error·10ᴷ", tuple(series), y_range=(_FLOOR, 10.0))
