"""The five figures of a run. Each draws from saved results; what cannot be drawn is replaced by the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dlntorch.report.data import RunData
from dlntorch.report.style import (
    DARK,
    FONT,
    GREY,
    PALE,
    SERIES,
    SIZE,
    Line,
    finish_figure,
    format_number,
    label_axes,
    linear_axis,
    log_axis,
    new_figure,
    show_notice,
    symlog_axis,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["RUN_FIGURES", "RunFigure"]

TIME = "t = Σ η  (time of the gradient flow)"
#: Coefficients drawn one by one; the next ones are thin grey lines, and the rest a grey band.
NAMED, THIN = 30, 150
#: Up to this many of them get their index written beside them.
LABELLED = 14
PART_NAMES = {
    "discretization": "discretization  ‖ψ_k − ψ(t)‖",
    "finite_time": "finite time  ‖ψ(t) − ψ_α(∞)‖",
    "initialization": "initialization  ‖ψ_α(∞) − W_p‖",
}


@dataclass(frozen=True)
class RunFigure:
    """A figure of the run report.

    Attributes:
        title: What it shows.
        caption: How to read it, for the page and for those who do not see it.
        draw: Makes it.
    """

    title: str
    caption: str
    draw: Callable[[str, RunData], Figure]


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


def _has_time(data: RunData) -> bool:
    return bool(np.any(data.t > 0))


def _nothing_yet(data: RunData) -> str:
    summary = data.summary
    return (
        f"Nothing to draw against time: the run ended at step {summary['steps']}, t = {format_number(summary['time'])} "
        f"({summary['status']})."
    )


def _notice(title: str, data: RunData, text: str) -> Figure:
    figure, (axes,) = new_figure(title, data.heading)
    show_notice(axes, text)
    finish_figure(figure, [axes])
    return figure


def _level(axes: Axes, value: float | None, label: str, style: Any, near: list[np.ndarray]) -> list[float]:
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


def draw_distances(title: str, data: RunData) -> Figure:
    """Distances of ψ to the references against t."""
    curves = data.distances()
    if not _has_time(data):
        return _notice(title, data, _nothing_yet(data))
    if not curves:
        return _notice(title, data, "No reference to measure a distance to: " + data.why_missing("distance_to_l1"))
    figure, (axes,) = new_figure(title, data.heading)
    for (name, values), line in zip(curves, SERIES, strict=False):
        plot_series(axes, data.t, values, line, name)
    shown = [values[data.t > 0] for _, values in curves]
    budget, predicted = data.summary["budget"], data.summary["predicted"]
    levels = _level(axes, budget.get("initialization"), "floor ‖ψ_α(∞) − W_p‖", (0, (7, 3)), shown)
    levels += _level(axes, predicted.get("initialization"), "predicted C·α^p", (0, (1, 2)), shown)
    log_axis(axes, "x", [data.t])
    if not log_axis(axes, "y", [*shown, *levels]):
        return _notice(title, data, "Every distance is zero: the network is at its references.")
    label_axes(axes, TIME, "distance of ψ,  ‖·‖₂")
    finish_figure(figure, [axes])
    return figure


def draw_residual(title: str, data: RunData) -> Figure:
    """Residual and relative ℓ1 gap against t; the gap's sign by filled and by open markers."""
    residual, gap = data.column("residual"), data.column("l1_gap")
    if not _has_time(data):
        return _notice(title, data, _nothing_yet(data))
    figure, (axes,) = new_figure(title, data.heading)
    shown: list[np.ndarray] = []
    if residual is not None:
        plot_series(axes, data.t, residual, SERIES[0], "residual  ‖Aψ − y‖₂ / ‖y‖₂")
        shown.append(residual[data.t > 0])
    value = data.summary["references"].get("l1_value")
    if gap is not None:
        unit = ", relative" if value else ""
        gap = gap / value if value else gap
        for sign, line, word in ((-1.0, SERIES[2], "below"), (1.0, SERIES[3], "above")):
            part = np.where(sign * gap > 0, np.abs(gap), np.nan)
            if np.any(part[data.t > 0] > 0):
                plot_series(axes, data.t, part, line, f"‖ψ‖₁ {word} its minimum{unit}")
                shown.append(part[data.t > 0])
    levels = _level(axes, data.summary.get("tol"), "tolerance on the residual", (0, (7, 3)), shown)
    log_axis(axes, "x", [data.t])
    if not log_axis(axes, "y", [*shown, *levels]):
        return _notice(title, data, "The residual is zero at every recorded step.")
    label_axes(axes, TIME, "residual,  ℓ₁ gap")
    finish_figure(figure, [axes])
    return figure


def draw_coefficients(title: str, data: RunData) -> Figure:
    """ψᵢ(t), the support apart from the rest, with the minimiser's values at the right edge."""
    t, psi = data.coefficients()
    psi = psi[t > 0]
    t = t[t > 0]
    if not t.size:
        return _notice(title, data, _nothing_yet(data) + " ψ = 0.")
    figure, (axes,) = new_figure(title, data.heading, heights=(3.5,))
    minimizer = data.minimizer()
    target = None if minimizer is None else minimizer[1]
    support = _support(psi[-1], 1e-2) if target is None else _support(target, 1e-6)
    order = np.argsort(-np.abs(psi).max(axis=0), kind="stable").tolist()
    inside = set(support.tolist())
    chosen = [i for i in order if i in inside][: LABELLED if target is None else NAMED]
    apart = set(chosen)
    _draw_rest(axes, t, psi, [i for i in order if i not in apart])
    for rank, i in enumerate(chosen):
        line = SERIES[rank % len(SERIES)]
        axes.plot(t, psi[:, i], color=line.color, linestyle=line.style, linewidth=1.7)
    if chosen:
        what = f"{len(chosen)} largest at the end" if minimizer is None else f"support of {minimizer[0]}"
        count = f" ({_of(chosen, support)})" if minimizer is not None else ""
        label = f"{what}{count}, numbered from 0"
        axes.plot([], [], color=SERIES[0].color, linewidth=1.7, label=label)
    log_axis(axes, "x", [t], pad=0.0)
    ends = psi[-1] if target is None else target
    everything = [psi] if target is None else [psi, target[chosen]]
    low = min(float(np.min(v)) for v in everything if v.size)
    high = max(float(np.max(v)) for v in everything if v.size)
    small = np.abs(psi[-1][chosen]) if chosen else np.array([1.0])
    small = small[small > 0]
    if small.size and max(abs(low), abs(high)) > 2e3 * float(np.median(small)):
        symlog_axis(axes, "y", low, high, 10.0 ** np.floor(np.log10(max(float(np.median(small)), 1e-290))))
    else:
        linear_axis(axes, "y", low, high)
    if minimizer is not None and chosen:
        axes.plot(
            np.ones(len(chosen)),
            ends[chosen],
            linestyle="none",
            marker="<",
            markersize=7,
            color=DARK,
            markerfacecolor="white",
            clip_on=False,
            transform=axes.get_yaxis_transform(),
            label=f"its values in {minimizer[0]}",
            zorder=4,
        )
    _name_lines(axes, chosen, ends)
    label_axes(axes, TIME, "coefficient ψ_i(t)")
    finish_figure(figure, [axes], heights=(3.5,), right=0.75)
    return figure


def _support(vector: np.ndarray, share: float) -> np.ndarray:
    """Indices of the entries above a share of the largest."""
    size = np.abs(np.nan_to_num(vector))
    return np.flatnonzero(size > share * size.max()) if size.size and size.max() > 0 else np.array([], dtype=int)


def _of(chosen: list[int], support: np.ndarray) -> str:
    return str(len(chosen)) if len(chosen) == len(support) else f"{len(chosen)} of {len(support)}"


def _draw_rest(axes: Axes, t: np.ndarray, psi: np.ndarray, rest: list[int]) -> None:
    """Thin grey lines for the coordinates that are not named, and a band for what is left of very many."""
    if not rest:
        return
    thin, band = rest[:THIN], rest[THIN:]
    if band:
        axes.fill_between(t, psi[:, band].min(axis=1), psi[:, band].max(axis=1), color="#ececec", linewidth=0)
    axes.plot(t, psi[:, thin], color=PALE, linewidth=0.8, zorder=1.6)
    noun = "coordinate" if len(rest) == 1 else "coordinates"
    text = f"the other {len(rest):,} {noun}" + (f" (band: {len(band):,} smallest)" if band else "")
    axes.plot([], [], color=PALE, linewidth=1.2, label=text)


def _name_lines(axes: Axes, chosen: list[int], ends: np.ndarray) -> None:
    """Indices of named lines, where they are few, at the right edge, moved apart where they would overlap."""
    if not chosen or len(chosen) > LABELLED:
        return
    ordered = sorted(chosen, key=lambda i: ends[i])
    heights = axes.transAxes.inverted().transform(
        axes.transData.transform([(axes.get_xlim()[1], float(ends[i])) for i in ordered])
    )[:, 1]
    gap = 0.058
    places = list(heights)
    for k in range(1, len(places)):
        places[k] = max(places[k], places[k - 1] + gap)
    over = places[-1] - 1.0
    if over > 0:  # push the crowded top back down
        places[-1] -= over
        for k in range(len(places) - 2, -1, -1):
            places[k] = min(places[k], places[k + 1] - gap)
    for i, height, place in zip(ordered, heights, places, strict=True):
        axes.plot([1.025, 1.06], [height, place], color=PALE, linewidth=0.8, transform=axes.transAxes, clip_on=False)
        axes.text(1.07, place, f"i={i}", transform=axes.transAxes, va="center", size=SIZE - 2, family=FONT, color=DARK)


def draw_steps(title: str, data: RunData) -> Figure:
    """η beside the stability limit, and the smallest parameter, against the step."""
    eta, sharpness, smallest = data.column("eta"), data.column("sharpness"), data.column("smallest_parameter")
    if not np.any(data.step > 0):
        return _notice(title, data, "No step was made.")
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
    if reached and smallest is not None:
        _level(bottom, data.summary["alpha"], "start α", (0, (7, 3)), [smallest])
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


def draw_budget(title: str, data: RunData) -> Figure:
    """The three parts of the error against t, shaded below the largest in that part's colour and hatching."""
    curves, reasons = data.budget_curves()
    if not _has_time(data):
        return _notice(title, data, _nothing_yet(data))
    if not curves or (set(curves) == {"initialization"} and len(reasons) == 2):
        return _notice(title, data, "The error budget could not be drawn: " + next(iter(reasons.values())))
    figure, (axes,) = new_figure(title, data.heading, heights=(3.3,))
    after = data.t > 0
    extent = [v[after] for v in curves.values()]
    if len(curves) == 3:
        total = np.sum(list(curves.values()), axis=0)
        extent.append(total[after])
        axes.plot(data.t[after], total[after], color=GREY, linewidth=4.5, alpha=0.35, solid_capstyle="butt")
        axes.plot([], [], color=GREY, linewidth=4.5, alpha=0.35, label="their sum, a bound on ‖ψ_k − W_p‖")
    for (name, values), line in zip(
        ((name, curves[name]) for name in curves), (_part_line(name) for name in curves), strict=True
    ):
        plot_series(axes, data.t, values, line, PART_NAMES[name])
    error = data.column("distance_to_selected")
    if error is not None:
        shown = after & (error > 0)
        extent.append(error[after])
        axes.plot(data.t[shown], error[shown], color=DARK, linewidth=0.9, label="the error itself  ‖ψ_k − W_p‖")
    for name, reason in reasons.items():
        word = reason if len(reason) <= 44 else reason[:43] + "…"
        axes.plot([], [], linestyle="none", label=f"no {name.replace('_', ' ')}: {word}")
    log_axis(axes, "x", [data.t])
    if not log_axis(axes, "y", [_above_rounding(np.concatenate(extent))]):
        return _notice(title, data, "Every part of the error is zero.")
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


RUN_FIGURES: dict[str, RunFigure] = {
    "distances": RunFigure(
        "Distance to the references",
        "How far ψ is from each reference, against time. The dashed floor is what α alone costs: no longer run gets "
        "below it. The dotted line is the theorem's prediction of that floor. Curves that coincide are drawn as one.",
        draw_distances,
    ),
    "residual": RunFigure(
        "Residual and ℓ₁ gap",
        "The residual, and the distance of ‖ψ‖₁ from the minimum, below it while ψ does not interpolate yet and above it "
        "where ψ interpolates with a larger norm.",
        draw_residual,
    ),
    "coefficients": RunFigure(
        "Coefficients of the network",
        "Every coefficient against time: coordinates switch on one after the other. The support is highlighted, the other "
        "coordinates are grey; triangles at the right edge are the reference's values, where one was saved.",
        draw_coefficients,
    ),
    "steps": RunFigure(
        "Step size, stability, positivity",
        "Above: the step size used, and the largest that is stable at that point. Below: the smallest parameter, which has "
        "to stay positive for descent to follow the flow.",
        draw_steps,
    ),
    "budget": RunFigure(
        "Where the error comes from",
        "The three parts of the error against time. The shading below the largest part says which one dominates; the wide "
        "grey line is their sum, which bounds the distance to W_p.",
        draw_budget,
    ),
}
