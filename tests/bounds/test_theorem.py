"""The theorem's constants, in logarithms, and the theorem itself where its steps can be afforded."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dlntorch.bounds.theorem import flow_bound, theorem_bound
from dlntorch.flow.integrate import flow_path
from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem
from tests import problems


def small(scale: float = 0.02) -> Problem:
    """A problem whose constants are small enough for the theorem's steps to be taken."""
    return Problem(np.array([[0.5, -0.3, 0.2], [0.1, 0.4, 0.3]]), scale * np.array([1.0, -0.7]))


@pytest.mark.parametrize("p", [2, 2.5, 3, 4])
def test_constants_by_hand(p: float) -> None:
    """A = (3, 4), y = 10, α = 0.5: ‖A‖ = σ_min = 5, a = 4, M = 2√2·10/5 + α^p."""
    bound = theorem_bound(Problem([[3.0, 4.0]], [10.0]), p, 0.5, 2.0, 1e-3)
    M = 4 * math.sqrt(2) + 0.5**p
    R = M ** (1 / p) + 0.5**p
    c1 = p * 5 * 10 * math.sqrt(M ** (2 - 2 / p) + 0.5 ** (2 * p - 2))
    c2 = p**2 * 25 * (R ** (2 * p - 2) + (0.5 + 0.5**p) ** (2 * p - 2))
    c2 += p * (p - 1) * R ** (p - 2) * 4 * (10 + math.sqrt(2) * p * 5 * R ** (p - 1) * 0.5**p)
    constants = [bound.M, bound.C1, bound.C2]
    assert constants == pytest.approx([M, c1, c2], rel=1e-13)
    assert bound.epsilon_bar == pytest.approx(1e-3)
    assert bound.log10_eta == pytest.approx(-3 - 2 * c2 / math.log(10) - math.log10(c1), rel=1e-13)
    assert bound.log10_steps == pytest.approx(math.log10(2) - bound.log10_eta, rel=1e-13)


def test_real_horizons_stay_finite_in_logarithms() -> None:
    bound = theorem_bound(problems.gaussian(10, 30, 0), 3, 1e-3, 1e5, 1e-3)
    assert 1e6 < bound.log10_steps < math.inf
    assert math.isfinite(bound.log10_eta)
    assert theorem_bound(problems.line(), 3, 1e-3, math.inf, 1e-3).log10_steps == math.inf
    assert theorem_bound(problems.line(), 3, 1e-3, 0, 1e-3).log10_steps == -math.inf
    tiny = theorem_bound(problems.line(), 3, 1e-300, 1.0, 1e-3)
    assert tiny.epsilon_bar == 0.0
    assert tiny.log10_epsilon_bar < -890


@pytest.mark.parametrize("p", [2, 2.5, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_m_bounds_the_flow_and_epsilon_bar_its_smallest_entry(p: float, seed: int) -> None:
    problem, alpha = problems.gaussian(4, 9, seed), 0.05
    t = np.geomspace(0.05, 50, 25) * alpha ** (2 - p)
    path = flow_path(problem, p, alpha, t, rtol=1e-8)
    theta = torch.cat([path.theta_plus, path.theta_minus], dim=1)
    assert float((theta**p).max()) <= flow_bound(problem, p, alpha)
    assert theorem_bound(problem, p, alpha, 1.0, 1.0).epsilon_bar <= 0.5 * float(theta.min())


@pytest.mark.parametrize("p", [2, 2.5, 3])
@pytest.mark.parametrize("epsilon", [0.05, 0.005])
def test_gradient_descent_with_the_theorems_step_stays_within_epsilon(p: float, epsilon: float) -> None:
    problem, alpha, t = small(), 0.3, 3.0
    bound = theorem_bound(problem, p, alpha, t, epsilon)
    assert bound.log10_steps < 5.3
    eta = 10**bound.log10_eta
    A, y = problem.A.numpy(), problem.y.numpy()
    plus, minus = np.full(3, alpha), np.full(3, alpha)
    steps = math.floor(t / eta)
    marks = {max(1, round(steps * fraction)) for fraction in (0.1, 0.3, 0.6, 1.0)}
    seen = []
    for k in range(1, steps + 1):
        g = A.T @ (y - A @ (plus**p - minus**p))
        plus, minus = plus + eta * p * plus ** (p - 1) * g, minus - eta * p * minus ** (p - 1) * g
        if k in marks:
            seen.append(np.concatenate([plus, minus]))
    path = flow_path(problem, p, alpha, sorted(eta * k for k in marks), rtol=1e-11)
    truth = torch.cat([path.theta_plus, path.theta_minus], dim=1).numpy()
    errors = np.linalg.norm(np.array(seen) - truth, axis=1)
    assert np.all(errors <= bound.epsilon_bar)
    end = flow_path(problem, p, alpha, t, rtol=1e-11)
    gap = np.linalg.norm(seen[-1] - torch.cat([end.theta_plus[0], end.theta_minus[0]]).numpy())
    assert 0 < gap <= bound.epsilon_bar <= epsilon


def test_zero_data_need_one_step() -> None:
    bound = theorem_bound(Problem([[1.0, 2.0]], [0.0]), 3, 0.1, 7.0, 1e-2)
    assert bound.C1 == 0.0
    assert bound.log10_steps == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": 0}, "epsilon must be a finite real number > 0"),
        ({"epsilon": -1}, "epsilon must be"),
        ({"epsilon": math.nan}, "epsilon must be"),
        ({"t": -1}, "t must be"),
        ({"t": math.nan}, "t must be"),
        ({"p": 1}, "p must be"),
        ({"alpha": 0}, "alpha must be"),
    ],
)
def test_bad_input(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        theorem_bound(problems.line(), **{"p": 3, "alpha": 0.1, "t": 1.0, "epsilon": 0.1, **options})
