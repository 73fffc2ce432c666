"""Groups: distance to the minimiser of Σ‖ψ_g‖₂ against α."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlntorch.report.chart import Chart, Panel, Series
from dlntorch.studies.base import column, select, values_of

__all__ = ["charts"]


def charts(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    data = select([dict(row) for row in rows], method="flow")
    return [
        Chart(
            "groups",
            "Where the flow of u_g v_g ends",
            "Distance to the minimiser of Σ‖ψ_g‖₂ and excess of that norm, medians over problems. Groups of one coordinate are "
            "the vector network, whose limit tends to the minimiser.",
            (_panel(data, "distance", "distance, relative"), _panel(data, "excess", "excess of Σ‖ψ_g‖₂")),
            f"{settings['m']} measurements, {settings['groups']} groups",
        )
    ]


def _panel(rows: list[dict[str, Any]], measured: str, label: str) -> Panel:
    series = []
    for look, size in enumerate(values_of(rows, "group_size")):
        mine = select(rows, group_size=size)
        alphas = sorted(values_of(mine, "alpha"))
        middle = [float(np.median(column(select(mine, alpha=alpha), measured))) for alpha in alphas]
        series.append(Series(f"groups of {size}", alphas, middle, look))
    return Panel("", "α", label, tuple(series))
