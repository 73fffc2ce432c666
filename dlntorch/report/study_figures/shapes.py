"""Shapes: the limit against what the shape selects, and against what no shape would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlntorch.model.depth_law import depth_law
from dlntorch.report.chart import Chart, Panel, Series
from dlntorch.studies.base import column, select, values_of

__all__ = ["charts"]


def charts(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    data = [dict(row) for row in rows]
    gaussian, line = select(data, problem="gaussian"), select(data, problem="line")
    panels = [_panel(select(gaussian, p=p), f"p = {p:g}") for p in values_of(gaussian, "p") if depth_law(p).shapes_norm]
    panels.append(_panel(line, "p = 2, many minimisers"))
    return [
        Chart(
            "shapes",
            "What the shape of the initialization selects",
            "Medians over shapes. The limit of the flow approaches the minimiser of the weighted norm (p > 2), or of the shaped "
            "entropy (p = 2), and stays away from what an even start selects.",
            tuple(panels),
            f"a = exp({settings['spread']:g} × normal)",
        )
    ]


def _panel(rows: list[dict[str, Any]], title: str) -> Panel:
    powers = sorted(values_of(rows, "power"))
    names = (("to the selection by shape", "distance_to_shaped"), ("to the selection without", "distance_to_plain"))
    series = [
        Series(name, powers, [float(np.median(column(select(rows, power=power), key))) for power in powers], look)
        for look, (name, key) in enumerate(names)
    ]
    return Panel(title, "αᵖ", "distance of the limit,  ‖·‖₂", tuple(series))
