"""Advice and failure signatures, each on a problem that shows it."""

from __future__ import annotations

import pytest
import torch

import dlntorch as dln
from dlntorch.problem import make_problem
from tests.problems import gaussian, line


def _signatures(problem, p, alpha, **options) -> str:
    return " | ".join(dln.train(problem, p, alpha, **options).summary["signatures"])


def test_a_rank_deficient_matrix_and_an_inconsistent_y_are_explained():
    text = _signatures(make_problem("rank_deficient", inconsistent=0.1), 3, 0.1)
    assert "rank(A) = 6 < m = 10" in text
    assert "y is not in range(A) (distance 0.1)" in text


def test_the_kernel_regime_is_recognised_and_is_nearest_in_l2():
    result = dln.train(line(), 3, 3.0)
    assert any("kernel regime" in text for text in result.summary["signatures"])
    nearest = torch.linalg.pinv(line().A) @ line().y
    assert float(torch.linalg.vector_norm(result.psi - nearest)) < 1e-3
    assert not any("kernel regime" in text for text in dln.train(line(), 3, 0.05).summary["signatures"])


def test_too_long_a_step_is_explained():
    text = _signatures(gaussian(5, 12, 0), 3, 0.1, schedule="constant", eta=50.0)
    assert "eta too large" in text


def test_an_ill_conditioned_null_space_is_explained():
    problem = make_problem("ill_conditioned", condition=1e7)
    assert "ill-conditioned" in _signatures(problem, 3, 0.1, max_steps=1000)


def test_stopping_early_names_the_time_that_the_flow_needs():
    problem = gaussian(6, 20, 2, nonzeros=2)
    result = dln.train(problem, 3, 1e-2, max_steps=20_000)
    assert result.summary["budget"]["dominant"] == "finite_time"
    assert "stopped early" in result.summary["advice"]
    needed = float(result.summary["advice"].split("t ≈ ")[1].split()[0])
    within = float(result.summary["advice"].rstrip().split("within ")[1])
    flow = dln.integrate_flow(problem, 3, 1e-2, [needed], rtol=1e-9)
    limit = dln.flow_limit(problem, 3, 1e-2).psi
    assert float(torch.linalg.vector_norm(flow.final() - limit)) == pytest.approx(within, rel=0.5)


def test_coarse_steps_name_a_smaller_kappa():
    result = dln.train(line(), 3, 1e-2)
    assert result.summary["budget"]["dominant"] == "discretization"
    assert "schedule.kappa=" in result.summary["advice"]
    assert "times the steps" in result.summary["advice"]


def test_what_is_printed_of_a_run_fits_a_terminal():
    run = dln.train(line(), 3, 0.05)
    budget = run.summary["budget"]
    assert repr(run) == (
        f"RunResult(converged after {run.summary['steps']:,} steps: p = 3, alpha = 0.05, line 2×3; "
        f"‖ψ − W_p‖₂ = {run.summary['distance_to_selected']:.2g} (discretization {budget['discretization']:.2g}, "
        f"finite_time {budget['finite_time']:.2g}, initialization {budget['initialization']:.2g}))"
    )
    assert repr(run.trajectory).startswith(f"Trajectory({len(run.trajectory)} points, t = 0 to ")
    bare = dln.train(line(), 3, 0.05, references=False, max_steps=1)
    assert repr(bare) == "RunResult(max_steps after 1 steps: p = 3, alpha = 0.05, line 2×3)"


def test_a_certified_run_meets_its_epsilon_and_the_bound_is_true():
    problem = gaussian(5, 12, 1)
    result = dln.train(problem, 3, 0.1, schedule="certified", epsilon=1e-2)
    schedule = result.summary["schedule"]
    assert schedule["certified_theta_error"] <= 1e-2
    from dlntorch.flow.integrate import flow_path

    flow = flow_path(problem, 3, 0.1, [result.summary["time"]], rtol=1e-11)
    theta = torch.cat([result.theta_plus, result.theta_minus])
    truth = torch.cat([flow.theta_plus[-1], flow.theta_minus[-1]])
    assert float(torch.linalg.vector_norm(theta - truth)) <= schedule["certified_theta_error"]
    over_all = dln.train(problem, 3, 0.1, schedule="certified", epsilon=3e-2, over="all")
    assert over_all.summary["schedule"]["certified_theta_error_sup"] <= 3e-2


def test_an_epsilon_out_of_reach_is_refused_with_the_one_that_is_not():
    with pytest.raises(dln.InputError, match=r"schedule.epsilon must be at least .* within max_steps=200000") as caught:
        dln.train(gaussian(5, 12, 1), 3, 0.1, schedule="certified", epsilon=1e-8, max_steps=200_000)
    possible = float(str(caught.value).split("at least ")[1].split()[0])
    result = dln.train(gaussian(5, 12, 1), 3, 0.1, schedule="certified", epsilon=1.5 * possible, max_steps=200_000)
    assert result.summary["schedule"]["certified_theta_error"] <= 1.5 * possible


def test_the_theorem_runs_on_a_tiny_horizon_and_refuses_a_real_one():
    problem = dln.Problem([[0.3, 0.1]], [0.05])
    result = dln.train(problem, 2, 0.5, schedule="theorem", epsilon=0.1, max_time=0.5)
    assert result.status in ("max_time", "converged")
    from dlntorch.flow.integrate import flow_path

    flow = flow_path(problem, 2, 0.5, [result.summary["time"]], rtol=1e-11)
    error = torch.cat([result.theta_plus - flow.theta_plus[-1], result.theta_minus - flow.theta_minus[-1]])
    assert float(torch.linalg.vector_norm(error)) <= 0.1
    with pytest.raises(dln.InputError, match=r"max_steps must be at least 10\^.*schedule=certified"):
        dln.train(gaussian(5, 12, 0), 3, 0.1, schedule="theorem", max_time=10.0)
