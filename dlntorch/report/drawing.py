"""What the figures of a run have in common: series, levels, and notices in place of what cannot be drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from dlntorch.report.data import RunData
from dlntorch.report.style import GREY, Line, finish_figure, format_number, new_figure, show_notice

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["TIME", "ReportFigure", "draw_level", "has_time", "nothing_yet", "notice", "plot_series"]

Result = TypeVar("Result")


@dataclass(frozen=True)
class ReportFigure(Generic[Result]):
    """A figure of the report of a run or an ensemble.

    Attributes:
        title: What it shows.
        caption: How to read it, for the page and for those who do not see it.
        draw: Makes it, from the title and the result.
    """

    title: str
    caption: str
    draw: Callable[[str, Result], Figure]


TIME = "t = Σ η  (time of the gradient flow)"


def plot_series(axes: Axes, x: np.ndarray, y: np.ndarray, line: Line, label: str, logarithmic: bool = True) -> None:
    """One series, with its points that the axes can show and about eight markers."""
    shown = np.isfinite(x) & np.isfinite(y)
    if logarithmic:
        shown &= (x > 0) & (y > 0)
    x, y = x[shown], y[shown]
    axes.plot(
        x,
        y,
        color=line.color,
        linestyle=line.style,
        linewidth=1.8,
        marker=line.marker,
        markersize=5.0,
        markeredgecolor="white",
        markeredgewidth=0.6,
        markevery=0.13 if len(x) > 2 else None,  # evenly spaced on paper
        label=label,
    )


def has_time(data: RunData) -> bool:
    return bool(np.any(data.t > 0))


def nothing_yet(data: RunData) -> str:
    summary = data.summary
    return (
        f"Nothing to draw against time: the run ended at step {summary['steps']}, t = {format_number(summary['time'])} "
        f"({summary['status']})."
    )


def notice(title: str, data: RunData, text: str) -> Figure:
    figure, (axes,) = new_figure(title, data.heading)
    show_notice(axes, text)
    finish_figure(figure, [axes])
    return figure


def draw_level(axes: Axes, value: float | None, label: str, style: Any, near: list[np.ndarray]) -> list[float]:
    """A horizontal line at ``value``; only named in the legend when it is three decades away from all data."""
    if value is None or not value > 0:
        return []
    data = np.concatenate(near) if near else np.array([value])
    data = data[np.isfinite(data) & (data > 0)]
    inside = not data.size or data.min() / 1e3 <= value <= data.max() * 1e3
    label = f"{label} = {format_number(value)}" + ("" if inside else "  (off the scale)")
    if inside:
        axes.axhline(value, color=GREY, linestyle=style, linewidth=1.3, label=label, zorder=1.5)
        return [value]
    axes.plot([], [], color=GREY, linestyle=style, linewidth=1.3, label=label)
    return []
