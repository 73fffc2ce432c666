"""Runs of factorizations from the command line's configuration: folder, summary, resuming, sweeps' objective, mistakes."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import dlntorch as dln
from dlntorch.matrix.named import MATRIX_GENERATORS, make_matrix_problem
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError
from dlntorch.problem.make import OF_MATRICES, make_problem
from dlntorch.report.matrix import write_matrix_report
from dlntorch.run.configuration import config_directory
from dlntorch.run.matrix_plan import plan_matrix
from dlntorch.run.matrix_run import run_matrix_experiment
from dlntorch.store.folder import CheckpointError
from dlntorch.sweep.points import objective

BASE = ("model=factorization", "problem=completion", "problem.d1=8", "problem.d2=7", "problem.rank=1", "logger=none")
QUICK = (*BASE, "model.layers=3", "alpha=0.1", "schedule.kappa=0.1", "tol=1e-3", "max_steps=4000")


def _config(*overrides):
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        plain = OmegaConf.to_container(compose("train", [*overrides]), resolve=True)
    assert isinstance(plain, dict)
    plain.pop("experiment", None)
    return plain


def _finite(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            assert inner is not None or f"{key}_reason" in value or key == "predicted_steps", key
            _finite(inner)
    elif isinstance(value, float):
        assert math.isfinite(value)


def test_a_run_leaves_a_folder_whose_numbers_are_those_of_x(tmp_path):
    result = run_matrix_experiment(_config(*QUICK), tmp_path, draw=write_matrix_report)
    assert result.status is Status.CONVERGED
    summary = json.loads((tmp_path / "summary.json").read_text())
    _finite(summary)
    loaded = dln.load_run(tmp_path)
    assert torch.equal(loaded.X, result.X)
    X, problem = loaded.X, loaded.problem
    network = dln.MatrixFactorization(problem.shape, 3, 0.1, start=list(loaded.layers))
    assert torch.allclose(network.X, X, atol=1e-12)
    least = dln.nuclear_minimizer(problem)
    sigma = np.linalg.svd(X.numpy(), compute_uv=False)
    assert summary["residual"] == pytest.approx(float(problem.relative_residual(X)), rel=1e-12)
    assert summary["nuclear_gap"] == pytest.approx(sigma.sum() / least.value - 1, abs=1e-9)
    assert summary["distance_to_nuclear"] == pytest.approx(float((X - least.X).norm()), rel=1e-6)
    assert summary["distance_to_truth"] == pytest.approx(float((X - problem.truth).norm()), rel=1e-9)
    share = sigma / sigma.sum()
    assert summary["effective_rank"] == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-9)
    assert summary["rank"] == np.count_nonzero(sigma > 1e-9 * sigma[0])
    assert summary["imbalance"] == pytest.approx(float(network.imbalance), rel=1e-6)
    assert objective(summary) == summary["distance_to_nuclear"]
    rows = list(csv.DictReader((tmp_path / "trajectory.csv").read_text().splitlines()))
    assert [float(rows[-1][f"sigma_{i + 1}"]) for i in range(7)] == pytest.approx(sigma, abs=1e-12)
    assert float(rows[-1]["t"]) == summary["time"]
    assert float(rows[-1]["residual"]) == pytest.approx(summary["residual"], rel=1e-9)
    assert {path.stem for path in (tmp_path / "figures").glob("*.png")} == {"singular_values", "rank", "distances"}
    page = (tmp_path / "report.html").read_text()
    assert "nuclear_gap" in page
    assert page.count("<img") == 3
    assert "MatrixResult(converged" in repr(loaded)


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("optimizer=momentum",),
        ("optimizer=adam", "schedule=constant", "schedule.eta=0.01"),
        ("problem=sensing", "problem.d1=4", "problem.d2=4", "problem.m=8", "problem.psd=true", "model.kind=psd",
         "model.layers=2", "schedule=stable"),
    ],
)  # fmt: skip
def test_a_run_that_was_cut_goes_on_to_the_bit(more, tmp_path):
    base = [word for word in (*QUICK, "tol=0") if not (more and "sensing" in more[0] and word.startswith("problem"))]
    base = [word for word in base if not (any(m.startswith("schedule=") for m in more) and "kappa" in word)]
    words = [*[w for w in base if not any(w.split("=")[0] == m.split("=")[0] for m in more)], *more]
    words = [w for w in words if not w.startswith("max_steps")]
    whole = run_matrix_experiment(_config(*words, "max_steps=400"), tmp_path / "whole")
    run_matrix_experiment(_config(*words, "max_steps=123"), tmp_path / "cut")
    config = {**_config(*words, "max_steps=400"), "resume": str(tmp_path / "cut")}
    later = run_matrix_experiment(config, tmp_path / "cut")
    assert later.summary["steps"] == whole.summary["steps"] == 400
    assert all(torch.equal(a, b) for a, b in zip(later.layers, whole.layers, strict=True))
    assert (tmp_path / "cut" / "trajectory.csv").read_text() == (tmp_path / "whole" / "trajectory.csv").read_text()
    with pytest.raises(CheckpointError, match="must continue the same run"):
        run_matrix_experiment({**config, "alpha": 0.2}, tmp_path / "cut")


def test_without_references_everything_is_null_with_a_reason(tmp_path):
    plan = plan_matrix(_config(*QUICK, "references=false"))
    assert plan.least is None
    result = run_matrix_experiment(_config(*QUICK, "references=false", "max_steps=0"), tmp_path)
    _finite(result.summary)
    assert result.summary["nuclear_gap_reason"] == "references=false"


@pytest.mark.parametrize("name", MATRIX_GENERATORS)
def test_every_problem_of_matrices_has_a_file_and_a_network(name):
    config = _config("model=factorization", f"problem={name}", "alpha=0.1", "references=false")
    plan = plan_matrix(config)
    assert plan.problem.name.startswith(("completion", "gaussian", "two_by_two", "digits"))
    assert plan.new_descent().advance(1) is None
    with pytest.raises(InputError, match=f"model must be factorization with problem={name}"):
        make_problem(**config["problem"])


def test_the_names_are_known_to_both_makers():
    assert tuple(MATRIX_GENERATORS) == OF_MATRICES
    with pytest.raises(InputError, match="problem.side is not a key"):
        make_matrix_problem("completion", side=3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("problem=gaussian",), "problem must be one of completion, .* with model=factorization, got 'gaussian'"),
        (("p=2",), "p must be left out with model=factorization"),
        (("accuracy=1e-3",), "accuracy must be left out"),
        (("model.layers=1",), "model.layers must be an integer >= 2 and <= 1000, got 1"),
        (("model.kind=other",), "model.kind must be one of product, psd, difference"),
        (("model.kind=psd",), "model.shape must be square|shape must be square"),
        (("alpha=0",), "alpha must be"),
        (("problem.share=2",), "problem.share must be"),
        (("schedule.kappa=1",), "schedule.kappa must be"),
        (("schedule=certified",), "schedule must be one of relative, constant, stable"),
        (("schedule=constant",), "schedule.eta must be given"),
        (("optimizer=adam",), "schedule must be constant, with an eta"),
        (("optimizer=label_noise",), "optimizer must not change the labels"),
        (("batch_size=3",), "batch_size must be left out"),
        (("device=cuda",), "device must be auto or cpu"),
        (("dtype=float32",), "dtype must be float64"),
        (("engine=fused",), "engine must be auto"),
    ],
)
def test_one_line_for_what_is_wrong(words, message, tmp_path):
    keys = {word.split("=")[0] for word in words}
    base = [
        word
        for word in BASE
        if word.split("=")[0] not in keys and not (word.startswith("problem.") and "problem" in keys)
    ]
    with pytest.raises(InputError, match=message) as caught:
        run_matrix_experiment(_config(*base, "references=false", *words), tmp_path)
    assert "\n" not in str(caught.value)
