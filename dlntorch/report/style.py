"""How every figure looks: run reports and study reports draw through this module.

Four rules. No global state: figures are made through matplotlib's object API, so that threads may draw at the same
time, and nothing here reads or sets ``rcParams``. No warnings: axes get their limits and ticks from the data that can
be shown, computed here. Readable in grey: series differ by line style and marker as well as by colour, and the colours
are ordered by luminance. Nothing hidden: legends stand below the axes, never on the data.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlntorch.store.folder import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "DARK",
    "GREY",
    "PALE",
    "SERIES",
    "Line",
    "finish_figure",
    "format_number",
    "new_figure",
    "pdf_bytes",
    "png_bytes",
    "printable",
    "save_figure",
    "show_notice",
    "wrapped",
]

FONT = "DejaVu Sans"  # it comes with matplotlib, and has α, ψ, ℓ, ‖ and superscripts
WIDTH = 5.8  # inches
DPI = 124
SIZE = 11.0  # points: 9 pixels where a phone shows the figure 360 pixels wide
DARK, GREY, PALE = "#1a1a1a", "#6b6b6b", "#c4c4c4"


@dataclass(frozen=True)
class Line:
    """The look of one series; no two of them share a line style or a marker."""

    color: str
    style: Any
    marker: str
    hatch: str = ""


#: Dark to light (CIE L* about 9, 30, 45, 58): told apart by every kind of colour vision, and in grey.
SERIES = (
    Line("#171446", "-", "o", ""),
    Line("#6a2a8c", (0, (6, 2)), "s", "////"),
    Line("#b8405e", (0, (6, 1.5, 1, 1.5)), "^", "...."),
    Line("#c9731f", (0, (3, 1)), "D", "\\\\\\\\"),
)


def format_number(value: Any, digits: int = 3) -> str:
    """A number as a person reads it; a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.{digits}g}"


def printable(text: str, limit: int = 72) -> str:
    """``text`` on one line, of at most ``limit`` characters, with a box for every character that the font lacks."""
    font = _font(False)
    line = " ".join(text.split())
    if len(line) > limit:
        line = line[: limit - 1] + "…"
    return "".join(c if c.isprintable() and font.get_char_index(ord(c)) else "□" for c in line)


def wrapped(text: str, width: float, size: float, bold: bool = False) -> list[str]:
    """``text`` as lines no wider than ``width`` inches at ``size`` points; a word wider than that has its own line."""
    font = _font(bold)
    lines: list[str] = []
    for word in printable(text, 400).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _width(font, longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _font(bold: bool) -> Any:
    from matplotlib import get_data_path
    from matplotlib.font_manager import get_font

    return get_font(str(Path(get_data_path()) / "fonts" / "ttf" / f"DejaVuSans{'-Bold' if bold else ''}.ttf"))


def _width(font: Any, text: str, size: float) -> float:
    """In inches."""
    font.set_size(size, 72)
    font.set_text(text)
    return font.get_width_height()[0] / 64 / 72


def new_figure(title: str, subtitle: str, heights: Sequence[float] = (3.1,)) -> tuple[Figure, list[Axes]]:
    """An empty figure on an Agg canvas, with one panel of each height (inches) sharing the horizontal axis.

    Args:
        title: What the figure shows.
        subtitle: What it was made from: problem, p, α, schedule.
        heights: Height of each panel, from the top.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, sum(heights) + 1.5), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    panels: list[Axes] = []
    for _ in heights:
        axes = figure.add_axes((0.14, 0.2, 0.8, 0.6), facecolor="white")
        axes.grid(True, which="major", color="#e6e6e6", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.set_autoscale_on(False)  # limits are set from the data; autoscaling warns where they are extreme
        axes.tick_params(labelsize=SIZE - 1, labelfontfamily=FONT, colors=DARK, which="major", length=4)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        panels.append(axes)
    look: dict[str, Any] = {"family": FONT, "parse_math": False, "ha": "left"}
    figure.text(0.02, 0.98, printable(title), size=SIZE + 2, weight="bold", color=DARK, va="top", gid="title", **look)
    figure.text(0.02, 0.92, printable(subtitle, 84), size=SIZE - 1.5, color=GREY, va="top", gid="subtitle", **look)
    return figure, panels


def finish_figure(
    figure: Figure, panels: Sequence[Axes], heights: Sequence[float] = (3.1,), right: float = 0.2, above: float = 0.0
) -> None:
    """Place title, panels and legend so that none overlaps another; the figure's height follows from them.

    Args:
        figure: From :func:`new_figure`.
        panels: Its panels, drawn.
        heights: Their heights, inches.
        right: Room kept at the right of the panels, inches.
        above: Room kept between subtitle and panels, inches.
    """
    from matplotlib.font_manager import FontProperties

    handles, labels = [], []
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.append(handle)
            labels.append(label)
    columns = 2 if len(labels) > 1 and max(map(len, labels)) <= 25 else 1
    rows = math.ceil(len(labels) / columns) if labels else 0
    gap, under, top = 0.22, 0.56, 0.68 + above
    legend = 0.2 * rows + (0.1 if rows else 0.0)
    height = top + sum(heights) + gap * (len(heights) - 1) + under + legend
    figure.set_size_inches(WIDTH, height)
    left = 0.92
    at = height - top
    for axes, tall in zip(panels, heights, strict=True):
        axes.set_position((left / WIDTH, (at - tall) / height, (WIDTH - left - right) / WIDTH, tall / height))
        at -= tall + gap
    for text in figure.texts:
        text.set_y(1 - (0.1 if text.get_gid() == "title" else 0.38) / height)
    for axes in panels:
        axes.yaxis.set_label_coords(-0.62 / (WIDTH - left - right), 0.5)
    if labels:
        figure.legend(
            handles,
            labels,
            loc="lower left",
            bbox_to_anchor=(0.1 / WIDTH, 0.03 / height),
            ncols=columns,
            frameon=False,
            handlelength=3.2,
            columnspacing=1.6,
            labelspacing=0.3,
            borderpad=0.2,
            borderaxespad=0.0,
            prop=FontProperties(family=FONT, size=SIZE - 1),
            labelcolor=DARK,
        )


def show_notice(axes: Axes, text: str) -> None:
    """In a panel's place, say why there is nothing to draw."""
    import textwrap

    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(PALE)
    text = text.replace(" = ", "\u00a0=\u00a0")  # an equation is not broken
    lines = "\n".join(printable(line, 400) for line in textwrap.wrap(text, 58)[:8])
    axes.text(
        0.5,
        0.5,
        lines,
        transform=axes.transAxes,
        ha="center",
        va="center",
        size=SIZE,
        family=FONT,
        color=GREY,
        parse_math=False,
        linespacing=1.5,
    )


# -- files ------------------------------------------------------------------------------------------------------------


def png_bytes(figure: Figure) -> bytes:
    """The figure as PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None}, pil_kwargs={"compress_level": 4})
    return buffer.getvalue()


def pdf_bytes(figure: Figure) -> bytes:
    """The figure as PDF, for papers; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})
    return buffer.getvalue()


def save_figure(figure: Figure, path: Path, pdf: bool = False) -> bytes:
    """Write ``path`` (PNG), and a PDF of the same name beside it when asked; returns the PNG's bytes."""
    data = png_bytes(figure)
    atomic_write(path, data)
    if pdf:
        atomic_write(path.with_suffix(".pdf"), pdf_bytes(figure))
    return data
