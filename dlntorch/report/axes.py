"""Axes whose limits and ticks are computed from the data that they can show; nothing here warns or autoscales."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from dlntorch.report.style import DARK, FONT, GREY, SIZE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["label_axes", "linear_axis", "log_axis", "power_of_ten", "symlog_axis"]

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power_of_ten(exponent: int) -> str:
    """10ᵏ in plain characters (no mathtext: it is slow)."""
    return "10" + str(exponent).translate(_SUPERSCRIPT)


def label_axes(axes: Axes, x: str | None, y: str) -> None:
    """Labels with their units; None leaves the horizontal one (and its numbers) to the panel below."""
    if x is None:
        axes.tick_params(labelbottom=False)
    else:
        axes.set_xlabel(x, size=SIZE, family=FONT, color=DARK, parse_math=False)
    axes.set_ylabel(y, size=SIZE, family=FONT, color=DARK, parse_math=False)


def log_axis(axes: Axes, which: str, values: Iterable[Any], pad: float = 0.04) -> bool:
    """Make an axis logarithmic over the positive finite entries of ``values``; False when there is none.

    Args:
        axes: The panel.
        which: ``x`` or ``y``.
        values: Arrays or numbers that have to be inside.
        pad: Room at each end, as a share of the span.
    """
    low, high = _positive_range(values)
    if low is None or high is None:
        return False
    a, b = math.log10(low), math.log10(high)
    if b - a < 0.3:  # a constant: half a decade around it
        a, b = a - 0.25, b + 0.25
    room = pad * (b - a)
    a, b = max(a - room, -307.0), min(b + room, 307.9)
    _set_scale(axes, which, "log")
    ticks, names, minor = _log_ticks(a, b)
    _set_ticks(axes, which, ticks, names, minor)
    _set_limits(axes, which, 10.0**a, 10.0**b)
    return True


def linear_axis(axes: Axes, which: str, low: float, high: float) -> str:
    """A linear axis over [low, high], with round ticks; returns the power of ten that they are in units of, or ""."""
    from matplotlib.ticker import MaxNLocator

    span = high - low
    if span <= 1e-12 * max(abs(low), abs(high)):
        half = max(abs(low), abs(high)) * 0.5 or 1.0
        low, high, span = low - half, high + half, 2 * half
    low, high = low - 0.05 * span, high + 0.05 * span
    ticks = [t for t in MaxNLocator(nbins=6).tick_values(low, high) if low <= t <= high]
    exponent = math.floor(math.log10(max(abs(low), abs(high))))
    exponent = 0 if -2 <= exponent <= 3 else exponent
    scaled = [0.0 if abs(t) < 1e-9 * span else t / 10.0**exponent for t in ticks]
    _set_ticks(axes, which, ticks, [f"{t:.6g}".replace("-", "−") for t in scaled], [])
    _set_limits(axes, which, low, high)
    return power_of_ten(exponent) if exponent else ""


def symlog_axis(axes: Axes, which: str, low: float, high: float, linear: float) -> None:
    """An axis over [low, high] that is linear within ±``linear`` and logarithmic outside."""
    if which == "x":
        axes.set_xscale("symlog", linthresh=linear)
    else:
        axes.set_yscale("symlog", linthresh=linear)
    start = math.ceil(math.log10(linear) - 1e-9)
    end = math.floor(math.log10(max(abs(low), abs(high), linear)) + 1e-9)
    stride = max(1, math.ceil((end - start + 1) / 4))
    exponents = range(start, end + 1, stride)
    pairs = [(0.0, "0")]
    pairs += [(10.0**e, power_of_ten(e)) for e in exponents if 10.0**e <= high]
    pairs += [(-(10.0**e), "−" + power_of_ten(e)) for e in exponents if -(10.0**e) >= low]
    pairs.sort()
    _set_ticks(axes, which, [t for t, _ in pairs], [name for _, name in pairs], [])
    low = low * 1.6 if low < 0 else -0.4 * linear
    high = high * 1.6 if high > 0 else 0.4 * linear
    _set_limits(axes, which, low, high)


def _positive_range(values: Iterable[Any]) -> tuple[float | None, float | None]:
    low = high = None
    for value in values:
        array = np.atleast_1d(np.asarray(value, dtype=np.float64))
        array = array[np.isfinite(array) & (array > 1e-307)]
        if array.size:
            low = float(array.min()) if low is None else min(low, float(array.min()))
            high = float(array.max()) if high is None else max(high, float(array.max()))
    return low, high


def _log_ticks(a: float, b: float) -> tuple[list[float], list[str], list[float]]:
    """Major ticks, their names and minor ticks between 10**a and 10**b."""
    first, last = math.ceil(a), math.floor(b)
    decades = range(first, last + 1)
    steps = [
        m * 10.0**e for e in range(math.floor(a), math.ceil(b) + 1) for m in range(1, 10) if a <= math.log10(m) + e <= b
    ]
    if len(decades) < 2:  # too short for powers of ten alone
        chosen = [s for s in steps if round(s / 10.0 ** math.floor(math.log10(s) + 1e-9)) in (1, 2, 5)]
        chosen = chosen or steps or [10.0 ** ((a + b) / 2)]
        return chosen, [_plainly(s) for s in chosen], [s for s in steps if s not in chosen]
    most = 6 if max(abs(first), abs(last)) >= 10 else 8  # a name like 10⁻³⁵ is wide
    stride = math.ceil(len(decades) / most)
    shown = [e for e in decades if e % stride == 0]
    if stride > 1:
        return [10.0**e for e in shown], [power_of_ten(e) for e in shown], [10.0**e for e in decades if e % stride]
    minor = [s for s in steps if s not in {10.0**e for e in shown}]
    return [10.0**e for e in shown], [power_of_ten(e) for e in shown], minor


def _plainly(value: float) -> str:
    """A tick of one or two digits, written out where that is short."""
    rounded = float(f"{value:.2g}")
    return f"{rounded:g}" if 1e-3 <= rounded < 1e5 else f"{rounded:.2g}"


def _set_scale(axes: Axes, which: str, scale: str) -> None:
    if which == "x":
        axes.set_xscale(scale)
    else:
        axes.set_yscale(scale)


def _set_ticks(axes: Axes, which: str, ticks: list[float], names: list[str], minor: list[float]) -> None:
    from matplotlib.markers import TICKDOWN, TICKLEFT
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter(names))
    axis.set_minor_locator(NullLocator())
    if minor:  # one line of short strokes: matplotlib's own minor ticks are objects each, and slow
        at, edge = np.array(minor), np.zeros(len(minor))
        look: dict[str, Any] = {"linestyle": "none", "color": GREY, "markersize": 2.5, "markeredgewidth": 0.7}
        if which == "x":
            axes.plot(at, edge, marker=TICKDOWN, transform=axes.get_xaxis_transform(), clip_on=False, **look)
        else:
            axes.plot(edge, at, marker=TICKLEFT, transform=axes.get_yaxis_transform(), clip_on=False, **look)


def _set_limits(axes: Axes, which: str, low: float, high: float) -> None:
    if which == "x":
        axes.set_xlim(low, high)
    else:
        axes.set_ylim(low, high)
