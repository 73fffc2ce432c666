"""The pages of a sweep and of an ensemble: links that lead somewhere, and every depth in the figures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dlntorch.experiment.ensemble_result import EnsembleResult
from dlntorch.report.ensemble import ENSEMBLE_FIGURES
from dlntorch.report.sweep import write_sweep_report
from tests.report.cases import made_up_run


def test_points_without_a_page_have_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """callbacks.figures=false writes none; the sweep may be named relative to where one is."""
    for name in ("drawn", "bare"):
        folder = tmp_path / "sweep" / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text("{}")
        (folder / "summary.json").write_text(json.dumps(made_up_run(None).summary))
    (tmp_path / "sweep" / "drawn" / "report.html").write_text("a page")
    monkeypatch.chdir(tmp_path)
    write_sweep_report("sweep")
    page = Path("sweep/report.html").read_text()
    assert "2 points: 2 done." in page
    assert re.findall('href="(.*?)"', page) == ["drawn/report.html"]
    (image,) = re.findall("<img [^>]*>", page)
    assert 'width="' in image


@pytest.mark.parametrize("name", ["distances", "steps"])
def test_every_depth_is_drawn(name: str) -> None:
    networks = []
    for i in range(14):
        run = made_up_run(None)
        run.summary.update(p=float(2 + i // 2), alpha=10.0 ** -(1 + i % 2))
        networks.append(run)
    figure = ENSEMBLE_FIGURES[name].draw("title", EnsembleResult(tuple(networks), {}))
    words = " ".join(text.get_text() for text in figure.legends[0].get_texts())
    assert all(f"p = {p}" in words for p in range(2, 9))
