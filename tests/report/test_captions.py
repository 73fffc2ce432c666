"""Captions name the marks and lines that are drawn, on paper and on the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlntorch.report import study_figures
from dlntorch.report.chart import GUIDE, LOOKS, Chart, Panel, Series, look_of, marks_of
from dlntorch.report.chart_interactive import _figure
from dlntorch.report.chart_static import draw_chart
from dlntorch.report.study_figures import figure1

#: What plotly and matplotlib call the marks that a caption names.
DRAWN = {
    "Open circles": ("circle-open", "o"),
    "Open squares": ("square-open", "s"),
    "Open triangles": (r"triangle-(up|down)-open", "[v^]"),
    "Open diamonds": ("diamond-open", "D"),
    "Crosses": ("cross-thin-open", r"\+"),
}


def panel_of(look: int, kind: Any) -> Panel:
    return Panel("", "x", "y", (Series("s", [1.0, 2.0, 3.0], [1.0, 2.0, 3.0], look, kind),))


@pytest.mark.parametrize("look", range(len(LOOKS)))
def test_points_are_drawn_as_captions_call_them(look: int) -> None:
    panel = panel_of(look, "points")
    on_page, on_paper = DRAWN[marks_of(look)]
    marker = _figure(panel).data[0].marker
    assert re.fullmatch(on_page, marker.symbol)
    if "thin" in marker.symbol:  # made of lines alone
        assert marker.line.width >= 1
    axes = draw_chart(Chart("c", "t", "", (panel,))).axes[0]
    (drawn,) = (
        line
        for line in axes.lines
        if np.asarray(line.get_xdata()).size == 3 and line.get_color() == look_of(look).color
    )
    assert re.fullmatch(on_paper, str(drawn.get_marker()))


def test_only_a_guide_is_dotted() -> None:
    guide, *others = [_figure(panel_of(look, kind)).data[0].line.dash for look, kind in
                      [(0, "guide"), *((look, "line") for look in range(len(LOOKS)))]]  # fmt: skip
    assert guide == "dot"
    assert "dot" not in others
    assert len(set(others)) == len(LOOKS)
    _, (dot, gap) = GUIDE.style
    assert dot <= 1 < gap
    for line in LOOKS:
        assert line.style == "-" or max(line.style[1][::2]) >= 3


def test_captions_take_the_names_of_marks_from_what_is_drawn() -> None:
    """A name that is written out stays when the look changes."""
    names = re.compile(r"\b(circles|open squares|triangles?|diamonds?|crosses|stars?)\b", re.IGNORECASE)
    for file in Path(str(study_figures.__file__)).parent.glob("*.py"):
        assert names.findall(file.read_text()) == [], file.name


def test_the_caption_of_figure1_names_the_marks_of_its_series() -> None:
    base = {"problem": "line", "p": 3.0, "predicted": 0.1, "exponent": 1.0, "resolved": True}
    rows = [{**base, "method": method, "power": 10.0**-i, "distance": 0.1 * 10.0**-i}
            for method in ("limit", "flow", "sgd") for i in range(3)]  # fmt: skip
    chart = figure1.charts(rows, {"sgd_kappa": 1e-3})[0]
    by_name = {series.name: series for series in chart.panels[0].series}
    assert f"{marks_of(by_name['flow (Radau)'].look)}: the flow" in chart.caption
    assert f"{marks_of(by_name['SGD'].look)}: networks trained by SGD" in chart.caption
    symbols = {trace.name: trace.marker.symbol for trace in _figure(chart.panels[0]).data}
    assert symbols["SGD"] == "cross-thin-open"
    assert symbols["flow (Radau)"] == "triangle-down-open"
