"""The error budget of a run against time: discretization, finite time, initialization."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dlntorch.report.axes import label_axes, log_axis
from dlntorch.report.data import RunData
from dlntorch.report.drawing import TIME, has_time, nothing_yet, notice, plot_series
from dlntorch.report.style import (
    DARK,
    FONT,
    GREY,
    SERIES,
    SIZE,
    Line,
    finish_figure,
    format_number,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_budget"]

PART_NAMES = {
    "discretization": "discretization  ‖ψ_k − ψ(t)‖",
    "finite_time": "finite time  ‖ψ(t) − ψ_α(∞)‖",
    "initialization": "initialization  ‖ψ_α(∞) − W_p‖",
}


def draw_budget(title: str, data: RunData) -> Figure:
    """The three parts of the error against t, shaded below the largest in that part's colour and hatching."""
    curves, reasons = data.budget_curves()
    if not has_time(data):
        return notice(title, data, nothing_yet(data))
    if not curves or (set(curves) == {"initialization"} and len(reasons) == 2):
        return notice(title, data, "The error budget could not be drawn: " + next(iter(reasons.values())))
    figure, (axes,) = new_figure(title, data.heading, heights=(3.3,))
    after = data.t > 0
    view = data.in_view
    extent = [v[view] for v in curves.values()]
    if len(curves) == 3:
        total = np.sum(list(curves.values()), axis=0)
        extent.append(total[view])
        axes.plot(data.t[after], total[after], color=GREY, linewidth=4.5, alpha=0.35, solid_capstyle="butt")
        axes.plot([], [], color=GREY, linewidth=4.5, alpha=0.35, label="their sum, a bound on ‖ψ_k − W_p‖")
    for (name, values), line in zip(
        ((name, curves[name]) for name in curves), (_part_line(name) for name in curves), strict=True
    ):
        plot_series(axes, data.t, values, line, PART_NAMES[name])
    error = data.column("distance_to_selected")
    if error is not None:
        shown = after & (error > 0)
        extent.append(error[view])
        axes.plot(data.t[shown], error[shown], color=DARK, linewidth=0.9, label="the error itself  ‖ψ_k − W_p‖")
    for name, reason in reasons.items():
        word = reason if len(reason) <= 44 else reason[:43] + "…"
        axes.plot([], [], linestyle="none", label=f"no {name.replace('_', ' ')}: {word}")
    log_axis(axes, "x", [data.t[view]])
    if not log_axis(axes, "y", [_above_rounding(np.concatenate(extent))]):
        return notice(title, data, "Every part of the error is zero.")
    _shade(axes, data.t[after], {name: v[after] for name, v in curves.items()})
    dominant = data.summary["budget"].get("dominant")
    if dominant is not None:
        size = format_number(data.summary["budget"][dominant])
        axes.set_title(
            f"largest at the end: {dominant.replace('_', ' ')}, {size}",
            loc="right",
            size=SIZE - 0.5,
            family=FONT,
            color=DARK,
            pad=4,
        )
    label_axes(axes, TIME, "part of the error,  ‖·‖₂")
    finish_figure(figure, [axes], heights=(3.3,), above=0.2)
    return figure


def _part_line(name: str) -> Line:
    return SERIES[list(PART_NAMES).index(name)]


def _above_rounding(values: np.ndarray) -> np.ndarray:
    """Values within 14 decades of the largest: smaller ones are rounding, and would squeeze the rest."""
    finite = values[np.isfinite(values)]
    return finite[finite > 1e-14 * finite.max()] if finite.size else finite


def _shade(axes: Axes, t: np.ndarray, curves: dict[str, np.ndarray]) -> None:
    """Fill below the largest curve, in segments, with the look of whichever part is largest there."""
    names = list(curves)
    table = np.nan_to_num(np.stack([curves[name] for name in names]), nan=0.0)
    largest, top = table.argmax(axis=0), table.max(axis=0)
    floor = axes.get_ylim()[0]
    start = 0
    for k in range(1, len(t) + 1):
        if k < len(t) and largest[k] == largest[start]:
            continue
        end = min(k + 1, len(t))  # up to the next segment's first point
        line = _part_line(names[largest[start]])
        axes.fill_between(
            t[start:end],
            floor,
            np.maximum(top[start:end], floor),
            facecolor=line.color + "18",
            edgecolor=line.color + "40",
            hatch=line.hatch,
            linewidth=0.0,
            zorder=0.5,
        )
        start = k
