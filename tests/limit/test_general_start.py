"""ψ(∞) of depth p from θ₊(0) ≠ θ₋(0): invariants, linear programmes, equal starts, and warm ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

import dlntorch as dln
from dlntorch.numerics.trajectory import Status
from tests import problems


def start(n: int, seed: int, alpha: float, decades: float = 3.0) -> dln.Initialization:
    rng = np.random.default_rng(seed)
    return dln.Initialization(*(alpha * 10 ** rng.uniform(-decades / 2, decades / 2, (2, n))))


def dual(psi, initialization, p):
    """ν = Ψ⁻¹(ψ) by the mirror of the start, which has its own closed form."""
    power = dln.Power(p)
    return power.mirror(power.start_from(initialization, len(psi))).nu(psi)


@pytest.mark.parametrize("alpha", [10.0, 0.1])
@pytest.mark.parametrize("p", [2, 2.5, 3, 4])
def test_the_limit_interpolates_and_its_dual_point_lies_in_the_range(p, alpha):
    problem = problems.gaussian(4, 9, 1)
    initialization = start(9, 2, alpha, decades=1.0)
    limit = dln.flow_limit(problem, p, initialization)
    assert limit.psi.shape == limit.tau.shape == (9,)
    assert float((problem.A @ limit.psi - problem.y).abs().max()) <= 1e-14 * float(limit.psi.abs().max()) * 10
    nu = dual(limit.psi, initialization, p)
    lam = torch.linalg.lstsq(problem.A.T, nu[:, None]).solution[:, 0]
    assert float((problem.A.T @ lam - nu).abs().max()) <= 1e-10 * float(nu.abs().max())


@pytest.mark.parametrize("p", [2, 3, 5])
def test_equal_entries_are_the_number(p):
    problem = problems.gaussian(4, 9, 3)
    one, two = dln.flow_limit(problem, p, 1e-2), dln.flow_limit(problem, p, dln.Initialization(1e-2, np.full(9, 1e-2)))
    assert torch.equal(one.psi, two.psi)
    shape = np.linspace(1e-2, 1e-1, 9)
    path = dln.flow_limit(problem, p, shape, per_coordinate=True)
    nearly = dln.flow_limit(problem, p, dln.Initialization(shape, shape * (1 + 1e-15)))
    torch.testing.assert_close(path.psi, nearly.psi, rtol=1e-11, atol=0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("p", [3, 4, 6])
def test_small_starts_reach_the_weighted_two_sided_norm(p, seed):
    """α → 0: min Σ w₊ψ⁺ + w₋ψ⁻, w± = a±^{2−p}, by a linear programme."""
    problem = problems.gaussian(5, 12, seed)
    initialization = start(12, seed, 1.0, decades=0.6)
    weights = (torch.cat([initialization.plus, initialization.minus]) ** (2 - p)).numpy()
    both = np.hstack([problem.A.numpy(), -problem.A.numpy()])
    expected = linprog(weights, A_eq=both, b_eq=problem.y.numpy(), bounds=(0, None)).x
    limit = dln.flow_limit(problem, p, initialization.scaled(1e-14 ** (1 / p)))
    assert np.abs(limit.psi.numpy() - (expected[:12] - expected[12:])).max() <= 1e-8


def test_at_depth_two_the_shape_does_not_change_the_minimiser():
    problem = problems.paper_random()
    expected = dln.l1_minimizer(problem).psi
    limit = dln.flow_limit(problem, 2, start(5, 1, 1e-60))
    assert float((limit.psi - expected).abs().max()) <= 1e-9


@pytest.mark.parametrize("p", [2, 3, 6])
def test_a_start_that_interpolates_already_is_returned(p):
    problem = problems.gaussian(4, 9, 5)
    psi0 = torch.linalg.pinv(problem.A) @ problem.y
    warm = dln.Initialization.warm(psi0, 1e-3, p)
    limit = dln.flow_limit(problem, p, warm)
    assert limit.status is Status.CONVERGED
    torch.testing.assert_close(limit.psi, psi0, rtol=1e-11, atol=1e-12)


def test_data_that_are_zero_still_move_a_start_that_is_not():
    problem = dln.Problem(problems.gaussian(3, 7, 1).A, torch.zeros(3))
    limit = dln.flow_limit(problem, 3, start(7, 1, 0.5, decades=0.5))
    assert float((problem.A @ limit.psi).abs().max()) <= 1e-14
    assert float(limit.psi.abs().max()) > 1e-3
    assert limit.status is Status.CONVERGED


def test_equal_and_opposite_columns_keep_equal_values_where_they_start_equally():
    A = problems.gaussian(3, 6, 2).A
    both = torch.cat([A, A[:, :1], -A[:, 1:2]], dim=1)
    plus, minus = torch.rand(2, 6, dtype=torch.float64) * 0.1 + 0.05
    plus, minus = torch.cat([plus, plus[:1], minus[1:2]]), torch.cat([minus, minus[:1], plus[1:2]])
    limit = dln.flow_limit(dln.Problem(both, [1.0, -2.0, 0.5]), 3, dln.Initialization(plus, minus))
    assert torch.equal(limit.psi[0], limit.psi[6])
    assert torch.equal(limit.psi[1], -limit.psi[7])


def test_mistakes_are_named():
    problem = problems.line()
    with pytest.raises(dln.InputError, match=r"^alpha must have 3 entries"):
        dln.flow_limit(problem, 3, dln.Initialization([0.1, 0.2]))
    with pytest.raises(dln.InputError, match=r"^alpha must be > 0"):
        dln.flow_limit(problem, 3, dln.Initialization(0.1, 0.0))


@pytest.mark.parametrize("p", [2, 3, *(pytest.param(p, marks=pytest.mark.slow) for p in (2.5, 4, 6))])
def test_many_digits_agree(p):
    """1e-13 of ‖ψ‖_∞ from shapes over three decades and warm starts, however ill-conditioned the limit is."""
    problem = problems.gaussian(4, 9, 7)
    psi0 = np.random.default_rng(7).standard_normal(9)
    for initialization in (start(9, 1, 10.0), start(9, 2, 1e-2), dln.Initialization.warm(psi0, 1e-2, p)):
        limit, exact = (dln.flow_limit(problem, p, initialization, precision=digits) for digits in (None, 30))
        assert exact.status is Status.CONVERGED
        error = float((limit.psi - exact.psi).abs().max() / exact.psi.abs().max())
        assert error <= 1e-13
        torch.testing.assert_close(limit.tau, exact.tau, rtol=1e-8, atol=1e-8)


def test_many_digits_by_both_routes():
    problem = problems.paper_random()
    by_power = dln.flow_limit(problem, 3, 1e-2, precision=40)
    shape = dln.flow_limit(problem, 3, np.full(5, 1e-2), per_coordinate=True, precision=40)
    for one, two in zip(by_power.exact, shape.exact, strict=True):
        assert one[:38] == two[:38]


@pytest.mark.slow
def test_many_digits_agree_on_a_hundred_problems():
    """1e-13 of ‖ψ‖_∞ from random shapes, spreads and scales, and from warm starts."""
    for seed in range(100):
        rng = np.random.default_rng(seed)
        m = int(rng.integers(2, 6))
        n = m + int(rng.integers(1, 7))
        p = float((2, 2.5, 3, 4)[seed % 4])
        problem = problems.gaussian(m, n, seed)
        shape = start(n, seed, 10 ** rng.uniform(-2, 0), float(rng.choice([1, 3, 6])))
        warm = dln.Initialization.warm(rng.standard_normal(n), 10 ** rng.uniform(-2, -0.5), p)
        initialization = warm if seed % 5 == 0 else shape
        limit, exact = (dln.flow_limit(problem, p, initialization, precision=digits) for digits in (None, 30))
        assert exact.status is Status.CONVERGED, seed
        assert float((limit.psi - exact.psi).abs().max() / exact.psi.abs().max()) <= 1e-13, seed
