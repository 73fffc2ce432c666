"""Distances, residual and step sizes of a run, as curves on logarithmic axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dlntorch.report.axes import label_axes, log_axis
from dlntorch.report.data import RunData
from dlntorch.report.drawing import TIME, draw_level, has_time, nothing_yet, notice, plot_series
from dlntorch.report.style import (
    SERIES,
    Line,
    finish_figure,
    new_figure,
    show_notice,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_distances", "draw_residual", "draw_steps"]


def draw_distances(title: str, data: RunData) -> Figure:
    """Distances of ψ to the references against t."""
    curves = data.distances()
    if not has_time(data):
        return notice(title, data, nothing_yet(data))
    if not curves:
        return notice(title, data, "No reference to measure a distance to: " + data.why_missing("distance_to_l1"))
    shown = [values[data.t > 0] for _, values in curves]
    if not any(np.any(values > 0) for values in shown):
        return notice(title, data, "Every distance is zero: the network is at its references.")
    figure, (axes,) = new_figure(title, data.heading)
    for (name, values), line in zip(curves, SERIES, strict=False):
        plot_series(axes, data.t, values, line, name)
    budget, predicted = data.summary["budget"], data.summary["predicted"]
    shown = [values[data.in_view] for _, values in curves]
    levels = draw_level(axes, budget.get("initialization"), "floor ‖ψ_α(∞) − W_p‖", (0, (7, 3)), shown)
    levels += draw_level(axes, predicted.get("initialization"), "predicted C·α^p", (0, (1, 2)), shown)
    log_axis(axes, "x", [data.t[data.in_view]])
    log_axis(axes, "y", [*shown, *levels])
    label_axes(axes, TIME, "distance of ψ,  ‖·‖₂")
    finish_figure(figure, [axes])
    return figure


def draw_residual(title: str, data: RunData) -> Figure:
    """Residual and relative ℓ1 gap against t; the gap's sign by filled and by open markers."""
    residual, gap = data.column("residual"), data.column("l1_gap")
    if not has_time(data):
        return notice(title, data, nothing_yet(data))
    if residual is None:
        return notice(title, data, "The residual was not recorded.")
    if not np.any(residual[data.t > 0] > 0):
        return notice(title, data, "The residual is zero at every recorded step after the first.")
    figure, (axes,) = new_figure(title, data.heading)
    plot_series(axes, data.t, residual, SERIES[0], "residual  ‖Aψ − y‖₂ / ‖y‖₂")
    shown = [residual[data.in_view]]
    value = data.summary["references"].get("l1_value")
    if gap is not None:
        unit = ", relative" if value else ""
        gap = gap / value if value else gap
        for sign, line, word in ((-1.0, SERIES[2], "below"), (1.0, SERIES[3], "above")):
            part = np.where(sign * gap > 0, np.abs(gap), np.nan)
            if np.any(part[data.t > 0] > 0):
                plot_series(axes, data.t, part, line, f"‖ψ‖₁ {word} its minimum{unit}")
                shown.append(part[data.in_view])
    levels = draw_level(axes, data.summary.get("tol"), "tolerance on the residual", (0, (7, 3)), shown)
    log_axis(axes, "x", [data.t[data.in_view]])
    log_axis(axes, "y", [*shown, *levels])
    label_axes(axes, TIME, "residual,  ℓ₁ gap")
    finish_figure(figure, [axes])
    return figure


def draw_steps(title: str, data: RunData) -> Figure:
    """η beside the stability limit, and the smallest parameter, against the step."""
    eta, sharpness, smallest = data.column("eta"), data.column("sharpness"), data.column("smallest_parameter")
    if not np.any(data.step > 0):
        return notice(title, data, "No step was made.")
    heights = (2.3, 1.5)
    figure, panels = new_figure(title, data.heading, heights)
    top, bottom = panels
    limit = None
    if sharpness is not None:
        limit = np.full(len(sharpness), np.nan)
        np.divide(2.0, sharpness, out=limit, where=sharpness > 1e-300)
    rows = [(eta, SERIES[0], "step size η"), (limit, SERIES[2], "stability limit 2/‖∇²L‖₂")]
    _panel(top, data, rows, None, "step size  (units of t)", "step sizes were not recorded")
    rows = [(smallest, SERIES[1], "smallest parameter min θ")]
    reached = _panel(bottom, data, rows, "SGD step", "min θ", "smallest parameters were not recorded")
    if reached and smallest is not None and data.summary["alpha"] is not None:
        draw_level(bottom, data.summary["alpha"], "start α", (0, (7, 3)), [smallest])
    finish_figure(figure, panels, heights)
    return figure


def _panel(
    axes: Axes, data: RunData, rows: list[tuple[np.ndarray | None, Line, str]], x: str | None, y: str, why: str
) -> bool:
    """Series against the step on logarithmic axes; a notice when there is none."""
    shown = [values for values, _, _ in rows if values is not None]
    if not log_axis(axes, "y", shown, pad=0.08):
        show_notice(axes, why)
        return False
    for values, line, label in rows:
        if values is not None:
            plot_series(axes, data.step, values, line, label)
    log_axis(axes, "x", [data.step])
    label_axes(axes, x, y)
    return True
