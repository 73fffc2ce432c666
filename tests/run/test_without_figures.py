"""Where matplotlib is not installed, runs are the same and say what is missing; what consists of figures is refused."""

from __future__ import annotations

import json
import sys

import pytest

from dlntorch import report
from dlntorch.cli import study_command


@pytest.fixture(autouse=True)
def _no_matplotlib(monkeypatch):
    monkeypatch.setattr(report, "find_spec", lambda name: None)  # torchmetrics would miss it in sys.modules
    for name in ("style", "figures", "ensemble", "axes", "drawing"):
        monkeypatch.setitem(sys.modules, f"dlntorch.report.{name}", None)  # importing it raises ImportError


@pytest.mark.parametrize("networks", [[], ["ensemble.alpha=[1e-1,3e-1]"]])
def test_a_run_is_whole_and_says_what_would_draw_its_figures(command, networks):
    done = command("p=3", "alpha=1e-1", *networks)
    assert done.status == 0
    assert (
        "warning: there are no figures and no page, which need matplotlib: pip install 'dlntorch[figures]'" in done.err
    )
    assert json.loads((done.folder / "summary.json").read_text())["status"] == "converged"
    assert not (done.folder / "figures").exists()
    assert not (done.folder / "report.html").exists()


def test_a_run_without_figures_says_nothing_of_them(command):
    done = command("p=3", "alpha=1e-1", "callbacks.figures=false")
    assert done.status == 0
    assert "matplotlib" not in done.err


@pytest.mark.parametrize("arguments", [["study=figure3"], ["study=collect", "sweep=somewhere"]])
def test_a_study_is_refused_before_it_computes(arguments, capsys):
    assert study_command.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: study must have matplotlib installed")
    assert len(error.splitlines()) == 1
