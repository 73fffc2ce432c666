"""Figure 1: distances against αᵖ, and their local slopes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlntorch.report.chart import Chart, Panel, Series, marks_of
from dlntorch.studies.base import column, select, values_of
from dlntorch.studies.measure import local_slopes

__all__ = ["charts"]

FLOW, SGD = 4, 5  # looks
FLOW_ACCURACY = 1e-10  # below it the integration's own error is seen


def charts(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    data = [dict(row) for row in rows]
    names = values_of(data, "problem")
    distances = tuple(_distances(name, select(data, problem=name)) for name in names)
    slopes = tuple(_slopes(name, select(data, problem=name)) for name in names)
    return [
        Chart(
            "figure1",
            "Distance of the network to the selected ℓ₁-minimiser Wₚ",
            f"Lines: the limit of the flow. Dotted: the predicted C·αᵖ, where the theory gives C. {marks_of(FLOW)}: the flow "
            f"integrated independently, down to its accuracy of 1e-10. {marks_of(SGD)}: networks trained by SGD, which "
            "follow until the error of their step size is larger.",
            distances,
            f"SGD: relative step size κ = {settings['sgd_kappa']:g}",
        ),
        Chart(
            "slopes",
            "Local slope of the distance in αᵖ, and the exponent predicted",
            "The slope between neighbouring values of α; dotted lines: its predicted limit. Close to p = 2 the approach is "
            "slow, because the next term is only αᵖ⁻² smaller.",
            slopes,
        ),
    ]


def _distances(name: str, rows: list[dict[str, Any]]) -> Panel:
    series = []
    for look, p in enumerate(values_of(rows, "p")):
        limit = [row for row in select(rows, p=p, method="limit") if row["resolved"]]
        x = [row["power"] for row in limit]
        series.append(Series(f"limit, p = {p:g}", x, [row["distance"] for row in limit], look, "line"))
        inside = [row["predicted"] if (row["predicted"] or 0) < 2 else None for row in limit]
        if any(inside):
            series.append(Series("predicted C·αᵖ", x, inside, kind="guide"))
    for method, label, look in (("flow", "flow (Radau)", FLOW), ("sgd", "SGD", SGD)):
        mine = [row for row in select(rows, method=method) if (row["distance"] or 0) > FLOW_ACCURACY]
        series.append(Series(label, [row["power"] for row in mine], [row["distance"] for row in mine], look, "points"))
    return Panel(name, "αᵖ", "‖ψ − Wₚ‖₂", tuple(series))


def _slopes(name: str, rows: list[dict[str, Any]]) -> Panel:
    series = []
    for look, p in enumerate(values_of(rows, "p")):
        limit = [row for row in select(rows, p=p, method="limit") if row["resolved"]]
        x, slope = local_slopes(column(limit, "power"), column(limit, "distance"))
        series.append(Series(f"limit, p = {p:g}", list(x), list(slope), look, "line"))
        exponent = limit[0]["exponent"]
        ends = [float(np.min(x)), float(np.max(x))]
        series.append(Series("predicted slope", ends, [exponent, exponent], kind="guide"))
    return Panel(name, "αᵖ", "d log distance / d log αᵖ", tuple(series), y_scale="linear")
