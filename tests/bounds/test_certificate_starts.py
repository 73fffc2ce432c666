"""The certificate, the theorem and M from starts that differ between coordinates and between θ₊ and θ₋."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch

import dlntorch as dln
from dlntorch.bounds import certificate_box as layout
from dlntorch.bounds.certificate import Certificate
from dlntorch.bounds.start import largest_power
from dlntorch.bounds.theorem import theorem_bound
from dlntorch.flow.integrate import flow_path
from dlntorch.model.initialization import Initialization
from dlntorch.model.positive_start import PositiveStart
from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem
from tests import problems
from tests.bounds.descent import Descent
from tests.bounds.starts import random_start
from tests.bounds.test_certificate import errors_and_bounds


def judge(seeds) -> int:
    """How many runs had a finite bound; every one of their errors is below it, as integration has it."""
    finite = 0
    for seed in seeds:
        problem, p, start = random_start(seed)
        run = Descent(problem, p, start, kappa=0.03 if seed % 2 else 0.01)
        errors, bounds = errors_and_bounds(run, chunks=4, steps=1500)
        assert np.all(errors <= bounds), seed
        assert np.all(bounds <= run.certificate.theta_error_sup)
        finite += run.certificate.finite
    return finite


def test_the_true_error_is_below_the_bound() -> None:
    assert judge(range(12)) == 12


@pytest.mark.slow
def test_the_true_error_is_below_the_bound_in_many_problems() -> None:
    assert judge(range(12, 252)) == 240


def exact_flow(problem: Problem, p: float, start: Initialization, t: float) -> np.ndarray:
    """θ(t) by Taylor series of the dual ODE ṡ = y − Aψ(Aᵀs) with 30 digits."""
    A, y = problem.A.numpy().tolist(), problem.y.numpy().tolist()
    sides = [side.tolist() for side in start.expanded(problem.n)]

    def theta(s):
        nu = [mpmath.fsum(row[i] * s[j] for j, row in enumerate(A)) for i in range(problem.n)]
        if p == 2:
            return [
                [a * mpmath.exp(2 * sign * v) for a, v in zip(side, nu, strict=True)]
                for sign, side in zip((1, -1), sides, strict=True)
            ]
        c = mpmath.mpf(p) * (p - 2)
        return [
            [
                (mpmath.mpf(a) ** (2 - p) - sign * c * v) ** (mpmath.mpf(-1) / (p - 2))
                for a, v in zip(side, nu, strict=True)
            ]
            for sign, side in zip((1, -1), sides, strict=True)
        ]

    def velocity(_, s):
        plus, minus = theta(s)
        psi = [u**p - v**p for u, v in zip(plus, minus, strict=True)]
        return [
            target - mpmath.fsum(a * x for a, x in zip(row, psi, strict=True)) for row, target in zip(A, y, strict=True)
        ]

    with mpmath.workdps(30):
        s = mpmath.odefun(velocity, 0, [mpmath.mpf(0)] * problem.m)(t)
        return np.array([float(value) for side in theta(s) for value in side])


@pytest.mark.parametrize("p", [2, 2.5, 3, 4])
def test_the_bound_holds_beside_many_digits(p: float) -> None:
    """Two entries of a start are 1e3 times another one, and the flow is known to 30 digits."""
    problem = problems.gaussian(2, 3, 7)
    start = Initialization([0.5, 5e-4, 0.02], [5e-4, 0.3, 0.02])
    run = Descent(problem, p, start, kappa=1e-3, c=0.05)
    run.run(400)
    truth = exact_flow(problem, p, start, run.time)
    flow = flow_path(problem, p, start, run.time, rtol=1e-12)
    np.testing.assert_allclose(torch.cat([flow.theta_plus[0], flow.theta_minus[0]]).numpy(), truth, rtol=1e-10)
    error, bound = np.linalg.norm(run.theta() - truth), run.certificate.theta_error(run.plus, run.minus)
    assert error <= bound <= 1.5 * error
    box = run.certificate.enclosure()
    low, high = (
        torch.cat(pair).numpy()
        for pair in ((box.theta_plus_low, box.theta_minus_low), (box.theta_plus_high, box.theta_minus_high))
    )
    assert np.all(low <= truth)
    assert np.all(truth <= high)
    psi = truth[:3] ** p - truth[3:] ** p
    assert np.linalg.norm(run.plus**p - run.minus**p - psi) <= run.certificate.psi_error(run.plus, run.minus)


@pytest.mark.parametrize("p", [2, 2.5, 3, 4])
def test_equal_entries_are_one_number_to_the_bit(p: float) -> None:
    """By the way of a number, and by the way of several numbers that happen to be equal."""
    problem = problems.gaussian(4, 9, 3)
    one, several, forced = (Descent(problem, p, alpha) for alpha in (0.1, Initialization(np.full(9, 0.1)), 0.1))
    assert several.certificate.path.shape == (3, 9)
    start = PositiveStart.of(0.1, p, 9)
    forced.certificate.path = np.concatenate([forced.certificate.path, start.origin])
    for run in (one, several, forced):
        run.run(600)
    for run in (several, forced):
        assert np.array_equal(run.certificate.state, one.certificate.state)
        assert np.array_equal(run.certificate.path[:3], one.certificate.path)


@pytest.mark.parametrize("seed", range(8))
def test_m_bounds_the_flow(seed: int) -> None:
    problem, p, start = random_start(seed)
    t = np.geomspace(1e-3, 1e3, 25)
    path = flow_path(problem, p, start, t, rtol=1e-8)
    theta = torch.cat([path.theta_plus, path.theta_minus], dim=1)
    sides = PositiveStart.of(start, p, problem.n)
    M = largest_power(problem.reduced(), sides, problem.sigma_min)
    assert float((theta**p).max()) <= M
    assert theorem_bound(problem, p, start, 1.0, 1.0).M == M
    assert theorem_bound(problem, p, start, 1.0, 1.0).epsilon_bar <= 0.5 * float(theta.min())
    slope = p * p * (path.theta_plus ** (2 * p - 2) + path.theta_minus ** (2 * p - 2))
    assert float(slope.max()) <= Certificate(problem, p, start).numbers[layout.CAP_SLOPE]
    assert float(slope.min()) >= 2 * p * p * sides.unit ** (2 * p - 2)


@pytest.mark.parametrize("p", [2, 3])
def test_descent_with_the_theorems_step_stays_within_epsilon(p: float) -> None:
    problem = Problem(np.array([[0.5, -0.3, 0.2], [0.1, 0.4, 0.3]]), [0.02, -0.014])
    start, t = Initialization([0.3, 0.2, 0.25], [0.2, 0.3, 0.28]), 2.0
    bound = theorem_bound(problem, p, start, t, 0.01)
    assert bound.log10_steps < 5.5
    run = dln.train(
        problem, p, start, schedule="theorem", epsilon=0.01, max_time=t, max_steps=400_000, tol=0, references=False
    )
    plus, minus = run.theta_plus.detach(), run.theta_minus.detach()
    path = flow_path(problem, p, start, t, rtol=1e-11)
    error = float(torch.linalg.vector_norm(torch.cat([plus - path.theta_plus[0], minus - path.theta_minus[0]])))
    assert 0 < error <= bound.epsilon_bar <= 0.01


@pytest.mark.parametrize("engine", ["fused", "eager", "autograd"])
def test_a_run_is_certified_from_a_start(engine: str) -> None:
    problem, start = problems.gaussian(4, 9, 1), Initialization(np.geomspace(0.02, 0.2, 9), np.geomspace(0.2, 0.02, 9))
    run = dln.train(problem, 3, start, schedule="certified", epsilon=0.05, engine=engine, references=False, tol=1e-3)
    step = run.summary["schedule"]
    assert step["epsilon_met"] is True
    flow = flow_path(problem, 3, start, run.summary["time"], rtol=1e-11)
    theta = torch.cat([run.theta_plus.detach(), run.theta_minus.detach()])
    error = float(torch.linalg.vector_norm(theta - torch.cat([flow.theta_plus[0], flow.theta_minus[0]])))
    assert error <= step["certified_theta_error"] <= 0.05
    assert step["theorem_log10_steps"] > 0


def test_mistakes_are_one_line() -> None:
    problem = problems.paper_random()
    with pytest.raises(InputError, match="^alpha must have 5 entries, one for each coordinate, got 4$"):
        Certificate(problem, 3, Initialization([0.1] * 4))
    with pytest.raises(InputError, match="^alpha must be finite and > 0 in every coordinate, got 0$"):
        Certificate(problem, 3, Initialization([0.1, 0.1, 0, 0.1, 0.1]))
    with pytest.raises(
        InputError,
        match=r"must leave the certificate's constants in the range of float64, got p=3, alpha=1e-90 … 1e\+120",
    ):
        Certificate(problem, 3, Initialization([1e120, 1e-90, 1, 1, 1]))
