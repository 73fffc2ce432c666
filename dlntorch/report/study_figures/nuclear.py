"""Matrices: excess of the nuclear norm and effective rank against α."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlntorch.report.chart import Chart, Panel, Series
from dlntorch.studies.base import column, select, values_of

__all__ = ["charts"]

_FLOOR = 1e-9


def charts(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    data = [dict(row) for row in rows]
    dial, depth = select(data, part="dial"), select(data, part="depth")
    shares, depths = values_of(dial, "share"), values_of(depth, "layers")
    return [
        Chart(
            "dial",
            "From commuting to generic measurements",
            "How far ‖X‖_* of UUᵀ − VVᵀ ends above its minimum, medians over problems. The numbers say how large the part of the "
            "measurements is that does not commute; at 0 it is the vector network.",
            (_panel("", dial, "share", shares[:6], "noncommuting {:g}", "excess", "excess of ‖X‖_*"),),
            f"{settings['measurements']} measurements of {settings['size']}×{settings['size']}",
        ),
        Chart(
            "depth",
            "Rank against norm, by the number of layers",
            "Gaussian measurements of a matrix of rank one, products of N layers from X = 0, medians over problems.",
            (
                _panel("norm", depth, "layers", depths, "N = {:g}", "excess", "excess of ‖X‖_*"),
                _panel("rank", depth, "layers", depths, "N = {:g}", "effective_rank", "effective rank", "linear"),
            ),
            f"{3 * int(settings['size'])} measurements of {settings['size']}×{settings['size']}",
        ),
    ]


def _panel(
    title: str,
    rows: list[dict[str, Any]],
    key: str,
    values: list[Any],
    name: str,
    measured: str,
    label: str,
    scale: Any = "log",
) -> Panel:
    series = []
    for look, value in enumerate(values):
        mine = select(rows, **{key: value})
        alphas = sorted(values_of(mine, "alpha"))
        middle = [float(np.nanmedian(column(select(mine, alpha=alpha), measured))) for alpha in alphas]
        shown = [max(m, _FLOOR) for m in middle] if scale == "log" else middle
        series.append(Series(name.format(value), alphas, shown, look))
    return Panel(title, "α", label, tuple(series), y_scale=scale)
