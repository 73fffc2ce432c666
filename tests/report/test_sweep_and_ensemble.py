"""The pages of a sweep and of an ensemble: links that lead somewhere, and every depth in the figures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlntorch.report.ensemble import ENSEMBLE_FIGURES
from dlntorch.report.sweep import sweep_figure, write_sweep_report
from dlntorch.run.ensemble_result import EnsembleResult
from dlntorch.sweep.collect import varied_keys
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


def point(overrides: str, distance: float, **summary: object) -> dict[str, Any]:
    return {"point": overrides, "overrides": overrides, "state": "done", "alpha": 1e-3, "p": 3.0, "seed": 0,
            **varied_keys(overrides), "distance_to_selected": distance, **summary}  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "label", "scale", "series", "places"),
    [
        (["alpha=0.1", "alpha=0.01"], "initialization α", "log", ["p = 3"], [0.1, 0.01]),
        (["alpha=0.1 p=2", "alpha=0.01 p=3"], "initialization α", "log", ["p = 2", "p = 3"], [0.1, 0.01]),
        (["alpha=0.1 schedule.kappa=0.1", "alpha=0.1 schedule.kappa=0.2"], "schedule.kappa", "linear", ["p = 3"], [0.1, 0.2]),
        (["schedule.kappa=0.1", "schedule.kappa=1e-3"], "schedule.kappa", "log", ["p = 3"], [0.1, 1e-3]),
        (["p=2 schedule.kappa=0.1", "p=3 schedule.kappa=1e-3"], "schedule.kappa", "log", ["p = 2", "p = 3"], [0.1, 1e-3]),
        (["p=2", "p=4"], "depth p", "linear", ["all points"], [2, 4]),
        (["problem.m=10", "problem.m=12"], "problem.m", "linear", ["p = 3"], [10, 12]),
        (["problem.m=10 problem.seed=1", "problem.m=12 problem.seed=2"], "problem.m", "linear", ["p = 3"], [10, 12]),
        (["alpha=0.1 batch_size=2", "alpha=0.01 batch_size=4"], "initialization α", "log",
         ["batch_size = 2", "batch_size = 4"], [0.1, 0.01]),
        (["seed=1", "seed=20"], "seed", "linear", ["p = 3"], [1, 20]),
        (["problem.seed=1", "problem.seed=2"], "problem.seed", "linear", ["p = 3"], [1, 2]),
        (["schedule=relative", "schedule=stable"], "schedule", "linear", ["p = 3"], [0, 1]),
        (["schedule=relative p=2", "schedule=relative p=3"], "depth p", "linear", ["all points"], [2, 3]),
        (["", ""], "initialization α", "log", ["p = 3, median"], [1e-3, 1e-3]),
    ],
)  # fmt: skip
def test_a_sweep_is_drawn_against_what_it_varies(
    overrides: list, label: str, scale: str, series: list, places: list
) -> None:
    rows = [point(words, 10.0**-i) for i, words in enumerate(overrides)]
    (axes,) = sweep_figure(rows, "s").axes
    assert axes.get_xlabel() == label
    assert axes.get_xscale() == scale
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()] == series
    drawn = {(x, y) for line in axes.lines for x, y in zip(*map(np.asarray, line.get_data()), strict=True)}
    assert {(float(x), 10.0**-i) for i, x in enumerate(places)} <= {(float(x), float(y)) for x, y in drawn}


@pytest.mark.parametrize(
    ("overrides", "places"),
    [
        (["alpha=0.1", "alpha=0.01"], [0.1, 0.01]),
        (["p=2", "p=4"], [2, 4]),
        (["schedule.kappa=0.1", "schedule.kappa=1e-3"], [0.1, 1e-3]),
        (["batch_size=2", "batch_size=5"], [2, 5]),
        (["seed=1", "seed=2"], [1, 2]),
        (["problem=line", "problem=plane"], [0, 1]),
    ],
)
def test_what_the_theory_predicts_is_drawn_along_any_axis(overrides: list, places: list) -> None:
    rows = [point(words, 1e-2, **{"predicted.initialization": 10.0 ** -(3 + i)}) for i, words in enumerate(overrides)]
    (axes,) = sweep_figure(rows, "s").axes
    (line,) = [line for line in axes.lines if line.get_label() == "predicted by the theory"]
    expected = sorted((float(x), 10.0 ** -(3 + i)) for i, x in enumerate(places))
    assert list(zip(*map(list, line.get_data()), strict=True)) == expected
    low, high = axes.get_ylim()
    assert low < 1e-4 < 1e-2 < high
    assert axes.figure.legends[0].get_texts()[-1].get_text() == "predicted by the theory"


def test_whole_numbers_have_a_tick_each() -> None:
    (axes,) = sweep_figure([point(f"batch_size={count}", 1e-1) for count in (1, 2, 5)], "s").axes
    assert axes.get_xticks().tolist() == [1, 2, 5]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2", "5"]


def test_a_point_without_the_varied_number_is_left_out() -> None:
    rows = [point("batch_size=2", 1e-1), point("batch_size=4", 1e-2), {**point("", 1e-3), "batch_size": None}]
    (axes,) = sweep_figure(rows, "s").axes
    assert axes.get_xlabel() == "batch_size"


@pytest.mark.parametrize(
    ("values", "label"),
    [
        ({"alpha": [0.1, 0.01, 0.001]}, "initialization α"),
        ({"p": [2.0, 3.0, 4.0]}, "depth p"),
        ({"seed": [3, 4, 5]}, "seed"),
        ({"seed": [3, 4, 5], "p": [2.0, 2.0, 3.0]}, "depth p"),
        ({}, "network"),
    ],
)
@pytest.mark.parametrize("name", ["distances", "steps"])
def test_an_ensemble_is_drawn_against_what_varies(values: dict, label: str, name: str) -> None:
    networks = []
    for i in range(3):
        run = made_up_run(None)
        run.summary.update({"alpha": 0.1, "p": 3.0, "seed": 0, **{key: column[i] for key, column in values.items()}})
        networks.append(run)
    figure = ENSEMBLE_FIGURES[name].draw("title", EnsembleResult(tuple(networks), {}))
    assert figure.axes[0].get_xlabel() == label
