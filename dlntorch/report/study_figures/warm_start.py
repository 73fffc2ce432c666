"""Warm starts: distance to the answer against α, for three starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlntorch.report.chart import Chart, Panel, Series
from dlntorch.studies.base import column, select, values_of

__all__ = ["charts"]


def charts(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    data = [dict(row) for row in rows]
    return [
        Chart(
            "warm_start",
            "Where warm starts end",
            "Distance of the flow’s limit from the planted signal, medians over problems: from zero, from the answer to nearby "
            "data, and from a random guess.",
            tuple(_panel(select(data, p=p), p) for p in values_of(data, "p")),
            f"{settings['m']}×{settings['n']}, {settings['nonzeros']} nonzeros",
        )
    ]


def _panel(rows: list[dict[str, Any]], p: float) -> Panel:
    powers = sorted(values_of(rows, "power"))
    series = []
    for look, start in enumerate(values_of(rows, "start")):
        values = [column(select(rows, start=start, power=power), "distance") for power in powers]
        known = [part[np.isfinite(part)] for part in values]
        series.append(Series(start, powers, [float(np.median(part)) if part.size else None for part in known], look))
    return Panel(f"p = {p:g}", "αᵖ", "distance to the signal,  ‖·‖₂", tuple(series))
