"""The simplex method for ‖x‖₁ from any basis, by itself: what it returns is optimal, and every pivot is counted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from dlntorch.numerics.trajectory import Status
from dlntorch.reference.basis_pursuit import basis_pursuit
from dlntorch.reference.crossover import Basis, simplex
from tests.problems import gaussian


def highs_value(A: np.ndarray, y: np.ndarray) -> float:
    n = A.shape[1]
    found = linprog(np.ones(2 * n), A_eq=np.hstack([A, -A]), b_eq=y, method="highs")
    assert found.status == 0
    return float(found.fun)


def integers(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Degenerate: small integers, many equal ratios, y a sum of few columns."""
    rng = np.random.default_rng(seed)
    A = np.hstack([np.eye(6), rng.integers(-2, 3, (6, 14))])
    return A, A[:, rng.integers(6, 20, 3)].sum(axis=1)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["gaussian", "integers"])
def test_any_basis_is_pivoted_to_an_optimal_one(kind: str, seed: int) -> None:
    problem = gaussian(8, 24, seed)
    A, y = (problem.A.numpy(), problem.y.numpy()) if kind == "gaussian" else integers(seed)
    m = A.shape[0]
    basis = Basis(A, np.arange(m))
    dual, optimal, pivots = simplex(A, y, basis, np.zeros(A.shape[1]), 200, np.random.default_rng(0))
    assert optimal
    assert 0 < pivots < 200
    basis.refresh()
    values, zero = basis.values(y)
    expected = highs_value(A, y)
    assert np.abs(values).sum() == pytest.approx(expected, rel=1e-9)
    assert y @ dual == pytest.approx(expected, rel=1e-9)
    assert np.abs(dual @ A).max() <= 1 + 1e-10
    on = ~zero
    np.testing.assert_allclose((dual @ A)[basis.columns[on]], np.sign(values[on]), rtol=0, atol=1e-9)


def test_an_optimal_basis_takes_no_pivot_and_a_budget_is_kept() -> None:
    problem = gaussian(8, 24, 0)
    A, y = problem.A.numpy(), problem.y.numpy()
    basis = Basis(A, np.arange(8))
    total = simplex(A, y, basis, np.zeros(24), 200, np.random.default_rng(0))[2]
    _, optimal, pivots = simplex(A, y, basis, np.zeros(24), 200, np.random.default_rng(0))
    assert (optimal, pivots) == (True, 0)
    for budget in (0, 1, total - 1):
        basis = Basis(A, np.arange(8))
        _, optimal, pivots = simplex(A, y, basis, np.zeros(24), budget, np.random.default_rng(0))
        assert (optimal, pivots) == (False, budget)
        assert np.setdiff1d(basis.columns, np.arange(8)).size <= budget


def test_ties_a_few_hundred_rounding_errors_apart_are_below_the_precision_and_no_failure() -> None:
    """Integer columns have exact ties, which relative changes of 3e-14 break: which column wins is in the last digits."""
    missed = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        A = np.hstack([rng.integers(-2, 3, (2, 10)), np.eye(2)])
        y = rng.integers(-3, 4, 2) + 0.5
        found = basis_pursuit(A * (1 + 3e-14 * rng.standard_normal(A.shape)), y, tol=1e-15)
        assert float(found.gap) <= 1e-12
        assert float(found.value) == pytest.approx(highs_value(A, y), rel=1e-9)
        reached = float(found.gap) <= 1e-15
        assert found.status is (Status.CONVERGED if reached else Status.BELOW_INPUT_PRECISION)
        assert ("rounding in Aᵀλ" in found.reason) == (not reached)
        missed += not reached
    assert missed > 0
