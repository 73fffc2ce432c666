"""The common look: palette, axes, legends and text, measured on what is drawn."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlntorch.report.axes import linear_axis, log_axis, power_of_ten, symlog_axis
from dlntorch.report.chart import Chart, Heat, Panel, Series
from dlntorch.report.chart_interactive import interactive_html, plotly_available
from dlntorch.report.chart_static import draw_chart
from dlntorch.report.style import (
    SERIES,
    finish_figure,
    format_number,
    new_figure,
    pdf_bytes,
    png_bytes,
    printable,
    save_figure,
    show_notice,
    wrapped,
)

# linear RGB as deuteranopes, protanopes and tritanopes see it (Machado, Oliveira and Fernandes 2009, severity 1)
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear_rgb(color: str) -> np.ndarray:
    channel = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(channel <= 0.04045, channel / 12.92, ((channel + 0.055) / 1.055) ** 2.4)


def lightness(rgb: np.ndarray) -> float:
    """CIE L* of linear RGB."""
    luminance = float(np.clip(rgb, 0, 1) @ [0.2126, 0.7152, 0.0722])
    return 116 * np.cbrt(luminance) - 16 if luminance > 0.008856 else 903.3 * luminance


@pytest.mark.parametrize("sight", SIGHT)
def test_colours_are_told_apart_by_lightness_alone_and_stand_out_on_white(sight: str) -> None:
    found = [lightness(np.asarray(SIGHT[sight]) @ linear_rgb(line.color)) for line in SERIES]
    assert all(b - a >= 8 for a, b in itertools.pairwise(found)), found
    luminance = float(linear_rgb(SERIES[-1].color) @ [0.2126, 0.7152, 0.0722])
    assert 1.05 / (luminance + 0.05) >= 3.0  # WCAG 1.4.11 asks 3:1 of graphics


def test_no_two_series_share_a_style_a_marker_or_a_hatch() -> None:
    for field in ("color", "style", "marker", "hatch"):
        values = [str(getattr(line, field)) for line in SERIES]
        assert len(set(values)) == len(SERIES), field


@settings(deadline=None, derandomize=True, max_examples=20)
@given(a=st.floats(-300, 300), span=st.floats(0, 600))
def test_logarithmic_ticks_are_few_named_and_inside(a: float, span: float) -> None:
    b = min(a + span, 300.0)
    _, (axes,) = new_figure("t", "s")
    assert log_axis(axes, "y", [10.0**a, 10.0**b, 0.0, -1.0, math.nan, math.inf])
    low, high = axes.get_ylim()
    assert low <= 10.0**a <= 10.0**b <= high
    ticks = [t for t in axes.yaxis.get_majorticklocs() if low <= t <= high]
    assert 1 <= len(ticks) <= 10
    names = [axes.yaxis.get_major_formatter()(t, k) for k, t in enumerate(axes.yaxis.get_majorticklocs())]
    assert len(set(names)) == len(names)
    assert all(names)


@settings(deadline=None, derandomize=True, max_examples=20)
@given(low=st.floats(-1e200, 1e200), span=st.floats(0, 1e200), digits=st.floats(0, 30))
def test_linear_and_symlog_axes_hold_their_data(low: float, span: float, digits: float) -> None:
    high = low + span
    _, (axes,) = new_figure("t", "s")
    linear_axis(axes, "y", low, high)
    bottom, top = axes.get_ylim()
    assert bottom <= low <= high <= top
    largest = max(abs(low), abs(high), 1e-30)
    symlog_axis(axes, "y", low, high, largest * 10.0**-digits)
    bottom, top = axes.get_ylim()
    assert bottom <= low <= high <= top
    assert 1 <= len(axes.yaxis.get_majorticklocs()) <= 12


def test_an_axis_without_a_positive_number_is_refused() -> None:
    _, (axes,) = new_figure("t", "s")
    assert not log_axis(axes, "x", [0.0, -3.0, math.nan, math.inf, np.array([])])
    assert axes.get_xscale() == "linear"


@pytest.mark.parametrize("labels", [["a"], ["a", "b", "c"], ["x" * 50, "short"], ["y" * 25] * 4])
def test_legend_titles_and_labels_never_cover_the_data(labels: list[str]) -> None:
    heights = (2.0, 1.2)
    figure, panels = new_figure("A title", "a subtitle of some length, p = 3", heights)
    for k, label in enumerate(labels):
        panels[0].plot([1, 10], [1, 10.0 ** (k + 1)], label=label)
    panels[1].plot([1, 10], [1, 2])
    for axes in panels:
        log_axis(axes, "x", [1, 10])
        log_axis(axes, "y", [1, 10])
    panels[1].set_xlabel("t", size=11)
    finish_figure(figure, panels, heights)
    png_bytes(figure)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    page = figure.bbox
    boxes = [box for axes in panels if (box := axes.get_tightbbox(renderer)) is not None]
    assert len(boxes) == 2
    boxes += [text.get_window_extent(renderer) for text in figure.texts]
    boxes += [legend.get_window_extent(renderer) for legend in figure.legends]
    for box in boxes:
        assert box.x0 >= page.x0
        assert box.y0 >= page.y0
        assert box.x1 <= page.x1
        assert box.y1 <= page.y1
    for left, right in itertools.combinations(boxes, 2):
        assert not left.padded(-2).overlaps(right.padded(-2))


@pytest.mark.parametrize(
    "text", ["$x_{$", "漢字 and 🜁", "a\nb\tc\x00\x1b[31m", "", "x" * 5000, r"\frac{", "e\u0301\u202e"]
)
def test_hostile_text_is_drawn_without_warning_or_mathematics(text: str) -> None:
    figure, (axes,) = new_figure(text, text)
    show_notice(axes, text)
    finish_figure(figure, [axes])
    assert png_bytes(figure).startswith(b"\x89PNG")
    assert len(printable(text)) <= 72
    assert printable(text).isprintable()


def test_drawing_leaves_matplotlibs_global_state_alone_and_repeats_exactly(tmp_path: Path) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)

    def draw() -> tuple[bytes, bytes]:
        figure, (axes,) = new_figure("t", "s")
        axes.plot([1, 2], [1, 3], label="l")
        log_axis(axes, "x", [1, 2])
        finish_figure(figure, [axes])
        return png_bytes(figure), pdf_bytes(figure)

    assert draw() == draw()
    assert dict(mpl.rcParams) == before
    figure, (axes,) = new_figure("t", "s")
    finish_figure(figure, [axes])
    save_figure(figure, tmp_path / "x.png", pdf=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.pdf", "x.png"]
    assert (tmp_path / "x.pdf").read_bytes().startswith(b"%PDF")


def test_importing_the_report_is_free_and_drawing_never_needs_pyplot() -> None:
    code = (
        "import sys, dlntorch.report.page\n"
        "assert not any(name.startswith('matplotlib') for name in sys.modules)\n"
        "from dlntorch.report.style import new_figure, finish_figure, png_bytes\n"
        "figure, panels = new_figure('t', 's'); finish_figure(figure, panels); png_bytes(figure)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_numbers_in_words() -> None:
    assert [format_number(v) for v in (None, True, 12345, 1.23456e-5, 0.0)] == ["–", "yes", "12,345", "1.23e-05", "0"]
    assert [power_of_ten(k) for k in (-12, 0, 305)] == ["10⁻¹²", "10⁰", "10³⁰⁵"]


@pytest.mark.parametrize("bold", [False, True])
def test_wrapped_lines_fit_and_lose_nothing(bold):
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    text = "p > 2: the error divided by αᵖ, over the predicted constant, with ‖ψ − Wₚ‖₂ in every one of these words"
    lines = wrapped(text, 3.0, 13.0, bold)
    assert " ".join(lines) == text
    assert len(lines) > 2
    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    for line in lines:
        assert TextPath((0, 0), line, size=13.0, prop=font).get_extents().width / 72 < 3.05
    assert wrapped("", 3.0, 13.0) == []
    assert wrapped("unbreakable", 0.1, 13.0) == ["unbreakable"]


def test_a_band_is_drawn_on_paper_and_on_the_page():
    series = Series("s", [1, 2, 3], [1, 2, 4], band=([0.5, None, 3], [2, 3, 5]))
    chart = Chart(
        "c", "A title that is much too long for one line of a chart with a single panel", "", (_panel(series),)
    )
    figure = draw_chart(chart)
    (band,) = figure.axes[0].collections
    assert band.get_paths()
    assert figure.axes[0].get_ylim()[0] < 0.5
    titles = [text for text in figure.texts if text.get_weight() == "bold"]
    assert len(titles) == 2
    assert all(t.get_window_extent().x1 <= figure.bbox.x1 for t in titles)
    if plotly_available():
        assert '"fill":"tonexty"' in interactive_html(chart).replace(" ", "")


def _panel(*series: Series) -> Panel:
    return Panel("", "x", "y", series)


def test_maps_go_from_white_to_black_on_paper_and_on_the_page():
    heat = Heat([0.0, 1.0], [0.0, 1.0], [[0.0, 1.0], [1.0, 0.0]], "share", 0.0, 1.0)
    line = Series("curve", [0.0, 1.0], [0.0, 1.0], kind="guide")
    chart = Chart("c", "t", "", (Panel("", "x", "y", (line,), "linear", "linear", heat),))
    figure = draw_chart(chart)
    (mesh,) = figure.axes[0].collections
    assert mesh.to_rgba(0.0)[:3] == pytest.approx((1, 1, 1))
    assert mesh.to_rgba(1.0)[:3] == pytest.approx((0, 0, 0))
    if plotly_available():
        page = interactive_html(chart).replace(" ", "")
        assert '"colorscale":[[0.0,"#ffffff"],[1.0,"#000000"]]' in page
        assert "reversescale" not in page.split('"layout"')[0].split('"template"')[0]
