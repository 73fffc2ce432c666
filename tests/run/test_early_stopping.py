"""Early stopping: where a run on a planted problem was nearest to the truth, and the lasso's best beside it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import dlntorch as dln
from dlntorch.numerics.validation import InputError
from dlntorch.problem import make_problem
from dlntorch.problem.readers import load_problem, save_problem
from dlntorch.report.page import result_rows
from tests.problems import line
from tests.run.conftest import QUICK


def test_a_run_that_passed_its_nearest_point_to_a_noisy_truth_is_not_told_to_go_on():
    problem = make_problem("sparse", noise=0.1)
    run = dln.train(problem, 3, 1e-2, max_steps=100_000)
    found = run.summary["nearest_to_truth"]
    path = torch.linalg.vector_norm(run.trajectory.psi - problem.truth, dim=1)
    best = int(path.argmin())
    assert found["distance"] == pytest.approx(float(path[best]), rel=1e-12)
    assert found["time"] == float(run.trajectory.t[best])
    assert found["passed"]
    assert found["distance"] < 0.95 * run.summary["distance_to_truth"]
    assert "a longer run would not help" in run.summary["advice"]
    shorter = dln.train(problem, 3, 1e-2, max_time=found["time"])
    assert shorter.summary["distance_to_truth"] == pytest.approx(found["distance"], rel=0.02)
    assert not shorter.summary["nearest_to_truth"]["passed"]
    assert "would not help" not in shorter.summary["advice"]


def test_a_run_towards_an_exact_truth_goes_on():
    run = dln.train(make_problem("sparse"), 3, 1e-2, max_steps=20_000)
    assert not run.summary["nearest_to_truth"]["passed"]
    assert "nearest_to_truth" not in dln.train(line(), 3, 1e-1).summary


def test_the_best_point_of_the_lasso_is_beside_the_run():
    """Against a fine grid of λ on the path of an independent solver."""
    lars_path = pytest.importorskip("sklearn.linear_model").lars_path
    problem = make_problem("sparse", m=20, n=40, nonzeros=3, noise=0.1)
    run = dln.train(problem, 3, 1e-2, max_steps=3000, early_stopping=True)
    found = run.summary["nearest_to_truth"]
    A, y, truth = problem.A.numpy(), problem.y.numpy(), problem.truth.numpy()
    strengths, _, nodes = lars_path(A, y, method="lasso")[:3]
    strengths = strengths * len(y)
    grid = np.linspace(0, strengths[0], 20_001)
    path = np.stack([np.interp(-grid, -strengths, row) for row in nodes], axis=1)
    errors = np.linalg.norm(path - truth, axis=1)
    assert found["lasso_distance"] <= errors.min() + 1e-12
    assert found["lasso_distance"] == pytest.approx(errors.min(), rel=1e-5)
    assert found["lasso_strength"] == pytest.approx(grid[errors.argmin()], rel=1e-2)
    rows = {name: (value, meaning) for name, value, meaning in result_rows(run.summary)}
    assert rows["nearest to truth"][0] == found["distance"]
    assert rows["lasso distance"][0] == found["lasso_distance"]


def test_without_the_option_the_lasso_is_null_with_its_reason():
    found = dln.train(make_problem("sparse"), 3, 1e-2, max_steps=100).summary["nearest_to_truth"]
    assert found["lasso_distance"] is found["lasso_strength"] is None
    assert found["lasso_distance_reason"] == "not asked for: early_stopping=true adds it"
    large = dln.train(make_problem("partial_cosine"), 3, 1e-2, max_steps=10, early_stopping=True, references=False)
    assert large.summary["nearest_to_truth"]["lasso_distance_reason"].startswith(
        "the lasso's path is followed for a dense A"
    )


def test_without_a_truth_the_option_is_a_mistake():
    with pytest.raises(InputError) as said:
        dln.train(line(), 3, 0.1, early_stopping=True)
    assert str(said.value) == "early_stopping must be false where the problem has no planted truth, got True"


def test_the_command_line_shows_both_best_points(command):
    done = command(*QUICK, "problem=sparse", "problem.noise=0.1", "alpha=1e-2", "early_stopping=true")
    assert done.status == 0
    found = json.loads((done.folder / "summary.json").read_text())["nearest_to_truth"]
    assert f"{found['distance']:.6g}" in done.out
    assert f"{found['lasso_distance']:.6g}" in done.out
    assert "at lambda = " in done.out
    assert dln.load_run(done.folder).problem.noise == 0.1


@pytest.mark.parametrize(
    "name", ["sparse", "ill_conditioned", "digits", "partial_cosine", "partial_fourier", "sparse_csr"]
)
def test_planted_problems_know_their_noise(name, tmp_path):
    quiet, noisy = make_problem(name), make_problem(name, noise=0.25)
    assert (quiet.noise, noisy.noise) == (0.0, 0.25)
    assert torch.equal(quiet.truth, noisy.truth)
    deviation = (noisy.y - quiet.y).std()
    assert 0.1 < float(deviation) < 0.4
    assert noisy.to(dtype="float32").noise == noisy.reduced().noise == 0.25
    assert load_problem(save_problem(noisy, tmp_path / "noisy.npz")).noise == 0.25
    assert make_problem("gaussian").noise is None
