"""Figure 2: the kinked curves, and where the kinks are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlntorch.report.chart import Chart, Panel, Series, marks_of
from dlntorch.studies.base import select, values_of
from dlntorch.studies.figure2 import curve_of, kinks_of, predicted_kink

__all__ = ["charts"]

KINK = 4  # look


def charts(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    data = [dict(row) for row in rows]
    depths = values_of(data, "p")
    curves = Chart(
        "figure2",
        "The kinks of A = (1, 1 − ε), y = 1",
        f"The distance of the limit from the unique minimiser e₁. {marks_of(KINK)}: the predicted kink, where the first "
        "coordinate is twice the second. Above it the network cannot tell the columns apart.",
        tuple(_curves(p, select(data, p=p)) for p in depths),
    )
    kinks = Chart(
        "kinks",
        "Where the kink is",
        "αᵖ at the kink against ε; dotted lines: the prediction, for small ε proportional to ε to the power p/(p−2).",
        (Panel("", "ε", "αᵖ at the kink", tuple(s for look, p in enumerate(depths) for s in _kinks(look, p, data))),),
    )
    return [curves, kinks]


def _curves(p: float, rows: list[dict[str, Any]]) -> Panel:
    series, at = [], []
    for look, eps in enumerate(values_of((row for row in rows if "power" in row), "eps")):
        x, y = curve_of(rows, p, eps)
        series.append(Series(f"ε = {eps:g}", list(x), list(y), look, "line"))
        kink = predicted_kink(p, eps)
        if x.min() <= kink <= x.max():
            order = np.argsort(x)
            at.append((kink, float(np.exp(np.interp(np.log(kink), np.log(x[order]), np.log(y[order]))))))
    series.append(Series("predicted kink", [x for x, _ in at], [y for _, y in at], KINK, "points"))
    return Panel(f"p = {p:g}", "αᵖ", "‖ψ − e₁‖₂", tuple(series))


def _kinks(look: int, p: float, rows: list[dict[str, Any]]) -> list[Series]:
    mine = kinks_of(select(rows, p=p))
    eps = [row["eps"] for row in mine]
    return [
        Series(f"measured, p = {p:g}", eps, [row["kink"] for row in mine], look, "points"),
        Series("predicted", eps, [row["predicted_kink"] for row in mine], kind="guide"),
    ]
