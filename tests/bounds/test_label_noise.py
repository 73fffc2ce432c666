"""Label noise: the lasso against scikit-learn, the loop against the engine, the mean against the lasso."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dlntorch as dln
from dlntorch.bounds.critical_step import critical_step_size
from dlntorch.bounds.label_noise import kkt_residual, label_noise_end
from dlntorch.engine.label_noise_mean import label_noise_mean
from tests.problems import gaussian


@pytest.mark.parametrize("seed", range(5))
def test_the_lasso_is_scikit_learns(seed):
    from sklearn.linear_model import Lasso

    problem = gaussian(5, 12, seed=seed)
    end = label_noise_end(problem, 0.05, 0.7)
    scaled = problem.A.numpy() / end.strengths.numpy()
    other = Lasso(alpha=1 / 5, fit_intercept=False, tol=1e-14, max_iter=1_000_000).fit(scaled, problem.y.numpy())
    np.testing.assert_allclose(end.psi, other.coef_ / end.strengths.numpy(), atol=1e-8)
    assert end.status == "converged"
    assert end.kkt < 1e-11


def test_a_problem_that_the_noise_drowns_has_the_minimiser_zero():
    problem = gaussian(5, 12, seed=0)
    end = label_noise_end(problem, 100.0, 1.0)
    assert not end.psi.any()
    assert end.kkt == 0


def test_the_steps_are_those_of_the_engine():
    problem = gaussian(4, 9, seed=1)
    mine = label_noise_mean(problem, 0.3, 2e-3, 0.4, steps=640, seed=3)
    run = dln.train(problem, 2, 0.3, "constant", eta=2e-3, optimizer="label_noise", optimizer_options={"sigma": 0.4},
                    max_steps=640, tol=0, seed=3, references=False)  # fmt: skip
    np.testing.assert_allclose(mine.theta[0], run.theta_plus, rtol=1e-11)
    np.testing.assert_allclose(mine.theta[1], run.theta_minus, rtol=1e-11)


def test_a_run_that_diverges_says_so_without_a_nan():
    mean = label_noise_mean(gaussian(4, 9, seed=1), 1.0, 5.0, 0.4, steps=640)
    assert mean.status == "diverged"
    assert torch.isfinite(mean.psi).all()


def deviation(seed: int) -> tuple[float, float]:
    """How far the mean is from the lasso, and the lasso from the unpenalised end, in standard errors, root mean square."""
    problem, eta, sigma = gaussian(3, 6, seed=seed), 0.005, 1.0
    end = label_noise_end(problem, eta, sigma)
    start = dln.Initialization.warm(end.psi, 1e-2, 2)
    mean = label_noise_mean(problem, start, eta, sigma, steps=2_000_000, burn_in=200_000, seed=seed)
    g = problem.A.numpy().T @ (problem.y.numpy() - problem.A.numpy() @ mean.psi.numpy())
    on = (end.psi != 0).numpy()
    B = problem.A.numpy().T @ problem.A.numpy()
    error = np.sqrt(np.diag(B @ mean.covariance.numpy() @ B))
    wanted = end.strengths.numpy() * np.sign(end.psi.numpy())
    apart = np.sqrt(np.mean(((g - wanted)[on] / error[on]) ** 2))
    return float(apart), float(np.sqrt(np.mean((wanted[on] / error[on]) ** 2)))


@pytest.mark.slow
def test_the_mean_is_the_lasso_within_three_standard_errors_on_twenty_problems():
    """g of the mean against ±λ_i on the support; 0 in place of λ_i would be many standard errors away."""
    found = np.array([deviation(seed) for seed in range(20)])
    assert np.all(found[:, 0] < 3)
    assert np.median(found[:, 1]) > 6


def test_kkt_residual_sees_a_wrong_vector():
    problem = gaussian(3, 6, seed=0)
    end = label_noise_end(problem, 0.01, 1.0)
    assert kkt_residual(problem, end.psi * 1.01, end.strengths) > 0.1


@pytest.mark.parametrize("p", [2, 3])
def test_descent_is_stable_below_the_critical_step_and_not_far_beyond(p):
    problem = gaussian(4, 9, seed=2)
    found = critical_step_size(problem, p, 0.1)
    at_end = dln.flow_limit(problem, p, 0.1)
    start = torch.stack(torch.broadcast_tensors(torch.full((9,), 0.1, dtype=torch.float64)))
    mirror = dln.Power(p).mirror(torch.stack([start[0], start[0]]))
    curvature = mirror.slope(at_end.psi)
    largest = float(torch.linalg.eigvalsh(problem.A @ torch.diag(curvature) @ problem.A.T).max())
    assert found.sharpness >= largest * (1 - 1e-3)  # the dual's Hessian at the end is the sharpness there
    ends = [
        dln.train(
            problem, p, 0.1, "constant", eta=share * found.eta, max_steps=20_000, tol=1e-8, references=False
        ).status
        for share in (0.8, 3.0)
    ]
    assert ends[0] == "converged"
    assert ends[1] != "converged"
