"""Draws a chart with matplotlib, for paper (PNG and PDF): panels in rows of up to three, one legend below."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dlntorch.report.axes import label_axes, linear_axis, log_axis
from dlntorch.report.chart import GUIDE, Chart, Panel, Series, look_of
from dlntorch.report.style import DARK, DPI, FONT, GREY, SIZE, printable, show_notice, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_chart"]

#: Width and height of a panel's axes in inches, by the number of columns.
_PANEL = {1: (4.7, 3.1), 2: (3.5, 2.8), 3: (2.9, 2.6)}
_LEFT, _RIGHT, _BELOW, _ABOVE = 0.92, 0.15, 0.62, 0.34  # room around each panel, inches
_BAR = 0.5  # further room at its right where it has a map, for the scale's numbers and label
_TITLE, _SUBTITLE = 0.23, 0.21  # height of a line, inches


def draw_chart(chart: Chart) -> Figure:
    """The chart as a figure that :func:`~dlntorch.report.style.save_figure` writes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(3, len(chart.panels)) if len(chart.panels) != 4 else 2
    rows = math.ceil(len(chart.panels) / columns)
    wide, tall = _PANEL[columns]
    legend = _legend_entries(chart)
    right = _RIGHT + (_BAR if any(panel.heat is not None for panel in chart.panels) else 0.0)
    width = columns * (_LEFT + wide + right)
    in_row = _legend_columns([name for name, _ in legend], width)
    below = 0.22 * math.ceil(len(legend) / in_row) + 0.08 if legend else 0.0
    title = wrapped(chart.title, width - 0.2, SIZE + 2, bold=True)
    subtitle = wrapped(chart.subtitle, width - 0.2, SIZE - 1.5)
    top = 0.19 + _TITLE * len(title) + _SUBTITLE * len(subtitle) + (0.05 if subtitle else 0.0)
    height = top + rows * (_ABOVE + tall + _BELOW) + below
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    same_label = len({panel.y for panel in chart.panels}) == 1
    for index, panel in enumerate(chart.panels):
        row, column = divmod(index, columns)
        left = column * (_LEFT + wide + right) + _LEFT
        bottom = height - top - (row + 1) * (_ABOVE + tall) - row * _BELOW
        axes = figure.add_axes((left / width, bottom / height, wide / width, tall / height), facecolor="white")
        _draw_panel(axes, panel, name_y=column == 0 or not same_label)
    look: dict[str, Any] = {"family": FONT, "parse_math": False, "ha": "left", "va": "top"}
    at = 0.1
    for line in title:
        figure.text(0.1 / width, 1 - at / height, line, size=SIZE + 2, weight="bold", color=DARK, **look)
        at += _TITLE
    for line in subtitle:
        figure.text(0.1 / width, 1 - (at + 0.05) / height, line, size=SIZE - 1.5, color=GREY, **look)
        at += _SUBTITLE
    _draw_legend(figure, legend, in_row)
    return figure


def _draw_panel(axes: Axes, panel: Panel, name_y: bool) -> None:
    from matplotlib.patheffects import withStroke

    if panel.heat is None:
        axes.grid(True, which="major", color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_autoscale_on(False)
    axes.tick_params(labelsize=SIZE - 1, labelfontfamily=FONT, colors=DARK, which="major", length=4)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if panel.title:
        axes.set_title(printable(panel.title), size=SIZE, family=FONT, color=DARK, loc="left", parse_math=False)
    data = [_shown(panel, series) for series in panel.series]
    bands = [_band(panel, series) for series in panel.series]
    xs, ys = [x for x, _ in data], [y for _, y in data] + [edge for band in bands for edge in band]
    if panel.heat is not None:
        xs.append(np.asarray(panel.heat.x, dtype=float))
        ys.append(np.asarray(panel.heat.y, dtype=float))
    if panel.y_range is not None:
        ys = [np.asarray(panel.y_range, dtype=float)]
    if not _axis(axes, "x", panel.x_scale, xs) or not _axis(axes, "y", panel.y_scale, ys):
        show_notice(axes, "There is nothing to draw.")
        return
    if panel.heat is not None:
        _draw_heat(axes, panel)
    for series, (x, y), band in zip(panel.series, data, bands, strict=True):
        if band:
            axes.fill_between(
                x, band[0], band[1], color=look_of(series.look).color, alpha=0.18, linewidth=0, zorder=1.5
            )
        style = _style(series, len(x))
        if panel.heat is not None:  # seen on dark and on light
            style["path_effects"] = [withStroke(linewidth=style["linewidth"] + 2.2, foreground="white")]
        axes.plot(x, y, **style)
    label_axes(axes, panel.x, panel.y if name_y else "")


def _shown(panel: Panel, series: Series) -> tuple[np.ndarray, np.ndarray]:
    """The points as floats; what the axes cannot show is NaN and leaves a gap."""
    x = np.array([math.nan if v is None else float(v) for v in series.x])
    y = np.array([math.nan if v is None else float(v) for v in series.y])
    bad = ~(np.isfinite(x) & np.isfinite(y))
    if panel.x_scale == "log":
        bad |= x <= 0
    if panel.y_scale == "log":
        bad |= y <= 0
    x[bad] = y[bad] = math.nan
    return x, y


def _band(panel: Panel, series: Series) -> list[np.ndarray]:
    """The lower and the upper edge of a series' band, NaN where the axis cannot show it; nothing where it has none."""
    return [] if series.band is None else [_shown(panel, replace(series, y=edge))[1] for edge in series.band]


def _axis(axes: Axes, which: str, scale: str, values: list[np.ndarray]) -> bool:
    if scale == "log":
        return log_axis(axes, which, values)
    finite = np.concatenate([v[np.isfinite(v)] for v in values]) if values else np.empty(0)
    if not finite.size:
        return False
    linear_axis(axes, which, float(finite.min()), float(finite.max()))
    return True


def _style(series: Series, count: int) -> dict[str, Any]:
    if series.kind == "guide":
        return {"color": GUIDE.color, "linestyle": GUIDE.style, "linewidth": 1.3, "zorder": 1.8}
    look = look_of(series.look)
    style: dict[str, Any] = {"color": look.color, "linewidth": 1.7, "linestyle": look.style}
    if series.kind == "points":
        style["linestyle"] = "none"
    if series.kind != "line":
        style |= {"marker": look.marker, "markersize": 5.0, "markeredgecolor": "white", "markeredgewidth": 0.6}
    if series.kind == "both" and count > 14:
        style["markevery"] = 0.12  # evenly spaced on paper
    if series.kind == "points":  # on top of the lines, open, so that what is below is seen
        style |= {"markerfacecolor": "white", "markeredgecolor": look.color, "markeredgewidth": 1.2, "zorder": 3}
        if look.marker == "P":  # whose outline would be filled by its edges
            style |= {"marker": "+", "markersize": 6.5, "markeredgewidth": 1.5}
    return style


def _draw_heat(axes: Axes, panel: Panel) -> None:
    heat = panel.heat
    if heat is None:
        return
    z = np.array([[math.nan if v is None else float(v) for v in row] for row in heat.z])
    mesh = axes.pcolormesh(
        _edges(heat.x, panel.x_scale),
        _edges(heat.y, panel.y_scale),
        z,
        cmap="Greys",
        vmin=heat.low,
        vmax=heat.high,
        shading="flat",
        rasterized=True,
    )
    x, y = _edges(heat.x, panel.x_scale), _edges(heat.y, panel.y_scale)
    axes.set_xlim(x.min(), x.max())
    axes.set_ylim(y.min(), y.max())
    bar = axes.figure.colorbar(mesh, ax=axes, pad=0.03, fraction=0.06)
    bar.set_label(heat.label, size=SIZE - 1, family=FONT, color=DARK)
    bar.ax.tick_params(labelsize=SIZE - 2, labelfontfamily=FONT, colors=DARK)


def _edges(centres: Any, scale: str) -> np.ndarray:
    """The borders between the cells around these centres."""
    at = np.log(np.asarray(centres, dtype=float)) if scale == "log" else np.asarray(centres, dtype=float)
    middle = (at[1:] + at[:-1]) / 2
    half = (at[1] - at[0], at[-1] - at[-2]) if at.size > 1 else (1.0, 1.0)
    edges = np.concatenate([[at[0] - half[0] / 2], middle, [at[-1] + half[1] / 2]])
    return np.exp(edges) if scale == "log" else edges


# -- legend -------------------------------------------------------------------------------------------------------


def _legend_entries(chart: Chart) -> list[tuple[str, Series]]:
    """Each name once, in the order in which they appear."""
    entries: dict[str, Series] = {}
    for panel in chart.panels:
        for series in panel.series:
            entries.setdefault(series.name, series)
    return list(entries.items())


def _legend_columns(names: list[str], width: float) -> int:
    if not names:
        return 1
    each = 0.75 + 0.088 * max(map(len, names))  # inches: the handle, and characters at this size
    return max(1, min(len(names), int((width - 0.2) / each)))


def _draw_legend(figure: Figure, entries: list[tuple[str, Series]], columns: int) -> None:
    from matplotlib.font_manager import FontProperties
    from matplotlib.lines import Line2D

    if not entries:
        return
    handles = []
    for _, series in entries:
        style = _style(series, 1)
        style.pop("zorder", None)
        handles.append(Line2D([], [], **style))
    width, height = figure.get_size_inches()
    figure.legend(
        handles,
        [name for name, _ in entries],
        loc="lower left",
        bbox_to_anchor=(0.1 / width, 0.03 / height),
        ncols=columns,
        frameon=False,
        handlelength=3.4,
        columnspacing=1.6,
        labelspacing=0.35,
        borderpad=0.2,
        borderaxespad=0.0,
        prop=FontProperties(family=FONT, size=SIZE - 1),
        labelcolor=DARK,
    )
