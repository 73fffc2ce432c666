"""A figure of a study, described once; drawn for paper by ``chart_static`` and for the page by ``chart_interactive``.

A series is told apart by line style and marker as well as by colour, so that figures can be read in grey.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dlntorch.report.style import GREY, SERIES, Line

__all__ = ["GUIDE", "LOOKS", "Chart", "Heat", "Panel", "Series", "look_of", "marks_of"]

Scale = Literal["log", "linear"]
Kind = Literal["line", "points", "both", "guide"]

#: The looks of series, by number: dark to light, then two more.
LOOKS = (
    *SERIES,
    Line("#1c7468", (0, (9, 2)), "v", "xxxx"),
    Line("#73879c", (0, (8, 2, 1.5, 2, 1.5, 2)), "P", "++++"),
)
#: The look of what is predicted: the only line of dots.
GUIDE = Line(GREY, (0, (1, 1.7)), "")
#: What the marks of each look are called.
_MARKS = {"o": "circles", "s": "squares", "^": "triangles", "D": "diamonds", "v": "triangles", "P": "crosses"}


def look_of(number: int) -> Line:
    """The look of a series; there are six, which is also as many as a person can follow in one panel."""
    return LOOKS[number % len(LOOKS)]


def marks_of(number: int) -> str:
    """What a caption calls the marks of a series of points with this look: all are open, but a cross has no inside."""
    word = _MARKS[look_of(number).marker]
    return "Crosses" if word == "crosses" else f"Open {word}"


@dataclass(frozen=True)
class Series:
    """Points of one panel.

    Attributes:
        name: In the legend and on hover; a series of the same name in another panel has to have the same look.
        x, y: Numbers; None and NaN leave a gap, and so do numbers that a logarithmic axis cannot show.
        look: Number of its look.
        kind: ``line`` (many points), ``both`` (points joined), ``points``, or ``guide`` (a prediction: thin, grey).
        band: The lower and the upper edge of a band around the points, such as quantiles over seeds; shaded.
    """

    name: str
    x: Sequence[Any]
    y: Sequence[Any]
    look: int = 0
    kind: Kind = "both"
    band: tuple[Sequence[Any], Sequence[Any]] | None = None


@dataclass(frozen=True)
class Heat:
    """A map: ``z[i][j]`` at ``y[i]``, ``x[j]``, from white (``low``) to dark (``high``)."""

    x: Sequence[float]
    y: Sequence[float]
    z: Sequence[Sequence[float | None]]
    label: str
    low: float
    high: float


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: What distinguishes it from the chart's other panels; may be empty.
        x, y: Labels of the axes.
        series: What is drawn, in the order of the legend.
        x_scale, y_scale: ``log`` or ``linear``.
        heat: A map below the series.
        y_range: Limits of the vertical axis, where the data alone should not decide.
    """

    title: str
    x: str
    y: str
    series: tuple[Series, ...]
    x_scale: Scale = "log"
    y_scale: Scale = "log"
    heat: Heat | None = None
    y_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Chart:
    """A figure.

    Attributes:
        name: Of its files.
        title: What it shows.
        caption: How to read it, for the page and for those who do not see it.
        panels: One or more, side by side.
        subtitle: What it was made from.
    """

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    subtitle: str = ""
