"""The coefficients of a run against time, the support apart from the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dlntorch.report.axes import label_axes, linear_axis, log_axis, symlog_axis
from dlntorch.report.data import RunData
from dlntorch.report.drawing import TIME, nothing_yet, notice
from dlntorch.report.saddle_guides import axis_end, draw_guides
from dlntorch.report.style import (
    DARK,
    FONT,
    PALE,
    SERIES,
    SIZE,
    finish_figure,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_coefficients"]

#: Coefficients drawn one by one; the next ones are thin grey lines, and the rest a grey band.
NAMED, THIN = 30, 150
#: Up to this many of them get their index written beside them.
LABELLED = 14


def draw_coefficients(title: str, data: RunData) -> Figure:
    """ψᵢ(t), the support apart from the rest, with the planted signal's values at the right edge."""
    t, psi = data.coefficients()
    psi = psi[t > 0]
    t = t[t > 0]
    if not t.size:
        return notice(title, data, nothing_yet(data) + " ψ = 0.")
    figure, (axes,) = new_figure(title, data.heading, heights=(3.5,))
    target = data.truth()
    support = _support(psi[-1], 1e-2) if target is None else _support(target, 1e-6)
    order = np.argsort(-np.abs(psi).max(axis=0), kind="stable").tolist()
    inside = set(support.tolist())
    chosen = [i for i in order if i in inside][: LABELLED if target is None else NAMED]
    apart = set(chosen)
    _draw_rest(axes, t, psi, [i for i in order if i not in apart])
    dot = "o" if t.size == 1 else None
    for rank, i in enumerate(chosen):
        line = SERIES[rank % len(SERIES)]
        axes.plot(t, psi[:, i], color=line.color, linestyle=line.style, linewidth=1.7, marker=dot, markersize=5)
    if chosen:
        planted = f"support of the planted signal ({_of(chosen, support)})"
        what = f"{len(chosen)} largest at the end" if target is None else planted
        label = f"{what}, numbered from 0"
        axes.plot([], [], color=SERIES[0].color, linewidth=1.7, label=label)
    begin, end = data.moves
    saddles = data.result.saddles
    if saddles is not None:
        end = axis_end(saddles, end)
        draw_guides(axes, saddles, chosen[:LABELLED], begin, end)
    log_axis(axes, "x", [begin, end], pad=0.0)
    ends = psi[-1] if target is None else target
    unit = _coefficient_axis(axes, data, psi if target is None else np.vstack([psi, target]), ends[chosen])
    if target is not None and chosen:
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
            label="its values in the planted signal",
            zorder=4,
        )
    _name_lines(axes, chosen, ends)
    label_axes(axes, TIME, "coefficient ψ_i(t)" + (f"  ({unit})" if unit else ""))
    finish_figure(figure, [axes], heights=(3.5,), right=0.75)
    return figure


def _support(vector: np.ndarray, share: float) -> np.ndarray:
    """Indices of the entries above a share of the largest."""
    size = np.abs(np.nan_to_num(vector))
    return np.flatnonzero(size > share * size.max()) if size.size and size.max() > 0 else np.array([], dtype=int)


def _coefficient_axis(axes: Axes, data: RunData, psi: np.ndarray, ends: np.ndarray) -> str:
    """Linear where one scale shows all of the support, else linear near 0 and logarithmic; returns the unit."""
    low, high = float(psi.min()), float(psi.max())
    sizes = np.abs(ends[ends != 0])
    typical = [float(np.median(sizes))] if sizes.size else []
    value = data.summary["references"].get("l1_value")
    if value:  # no entry of a minimiser is larger
        typical.append(float(value))
    if typical and max(-low, high) > 2e3 * min(typical):
        symlog_axis(axes, "y", low, high, 10.0 ** np.floor(np.log10(max(min(typical), 1e-290))))
        return ""
    return linear_axis(axes, "y", low, high)


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
