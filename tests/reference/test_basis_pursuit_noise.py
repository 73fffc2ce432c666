"""Basis pursuit with noise: its optimality conditions, other solvers, and its ends ε = 0 and ε = ‖y‖."""

from __future__ import annotations

from typing import Any

import cvxpy
import numpy as np
import pytest
import spgl1
import torch

import dlntorch as dln
from dlntorch.numerics.trajectory import Status
from tests.problems import gaussian


def conditions(A: np.ndarray, y: np.ndarray, noise: float, found: Any, plus: Any = 1.0, minus: Any = 1.0) -> None:
    """‖Ax − y‖ <= ε, −w₋ <= Aᵀλ <= w₊, and cost(x) = yᵀλ − ε‖λ‖."""
    x, lam = found.x.numpy(), found.dual.numpy()
    assert np.linalg.norm(A @ x - y) <= noise + 2e-10 * np.linalg.norm(y)
    tau = lam @ A
    assert np.all(tau <= plus * (1 + 1e-12))
    assert np.all(-tau <= minus * (1 + 1e-12))
    value = float(np.sum(plus * np.maximum(x, 0) + (0 if np.isinf(minus).any() else minus) * np.maximum(-x, 0)))
    assert float(found.value) == pytest.approx(value, rel=1e-13)
    gap = value - (y @ lam - noise * np.linalg.norm(lam))
    assert abs(gap) <= 1e-9 * value
    assert float(found.gap) == pytest.approx(gap / value, abs=1e-12)


@pytest.mark.parametrize("kind", ["plain", "two-sided", "nonnegative"])
def test_random_problems_against_an_interior_point_solver(kind: str) -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        m = int(rng.integers(1, 12))
        n = m + int(rng.integers(0, 20))
        A = rng.integers(-2, 3, (m, n)).astype(float) if seed % 4 == 1 else rng.standard_normal((m, n))
        if seed % 5 == 2:
            A[-1] = A[0]
        planted = np.abs(rng.standard_normal(n)) * (rng.random(n) < 0.4)
        away = rng.standard_normal(m)
        away /= np.linalg.norm(away)
        noise = 10 ** rng.uniform(-4, -0.3) * (np.linalg.norm(A @ planted) + 0.1)
        y = A @ planted + 0.9 * noise * away
        plus, minus = 10 ** rng.uniform(-1, 1, (2, n))
        X = cvxpy.Variable(n)
        near = [cvxpy.norm(A @ X - y) <= noise]
        if kind == "plain":
            found, cost, ends = dln.basis_pursuit(A, y, noise=noise), cvxpy.norm1(X), (np.ones(n), np.ones(n))
        elif kind == "two-sided":
            found = dln.basis_pursuit(A, y, (plus, minus), noise=noise)
            cost, ends = plus @ cvxpy.pos(X) + minus @ cvxpy.neg(X), (plus, minus)
        else:
            found = dln.basis_pursuit(A, y, plus, True, noise)
            cost, near, ends = plus @ X, [*near, X >= 0], (plus, np.full(n, np.inf))
            assert float(found.x.min()) >= 0
        assert found.status is Status.CONVERGED
        if np.linalg.norm(y) <= noise:
            assert not found.x.any()
            continue
        conditions(A, y, noise, found, *ends)
        value = cvxpy.Problem(cvxpy.Minimize(cost), near).solve(solver=cvxpy.CLARABEL)
        assert float(found.value) == pytest.approx(float(value), rel=1e-6, abs=1e-8)


def test_spgl1_comes_as_near_as_it_can() -> None:
    problem = gaussian(60, 200, 0, 8)
    A, y = problem.A.numpy(), problem.y.numpy()
    y = y + 0.02 * np.linalg.norm(y) / np.sqrt(60) * np.random.default_rng(1).standard_normal(60)
    noise = 0.02 * float(np.linalg.norm(y))
    found = dln.basis_pursuit(A, y, noise=noise)
    conditions(A, y, noise, found)
    other = spgl1.spg_bpdn(A, y, noise, opt_tol=1e-9, iter_lim=3000, verbosity=0)[0]
    assert np.abs(other).sum() == pytest.approx(float(found.value), rel=1e-4)  # it stops there


def test_little_noise_is_no_noise() -> None:
    for nonzeros in (None, 4):
        problem = gaussian(12, 30, 2, nonzeros)
        exact = dln.basis_pursuit(problem.A, problem.y)
        for noise in (1e-4, 1e-6, 1e-8):
            found = dln.basis_pursuit(problem.A, problem.y, noise=noise)
            assert found.status is Status.CONVERGED
            assert float((found.x - exact.x).abs().max()) <= 20 * noise
            assert float(found.value) < float(exact.value)
        assert torch.equal(dln.basis_pursuit(problem.A, problem.y, noise=0.0).x, exact.x)


def test_the_value_falls_with_the_noise_at_the_rate_of_the_dual() -> None:
    """d cost/dε = −‖λ‖₂."""
    problem = gaussian(12, 30, 3)
    noise, step = 0.3, 1e-5
    low, at, high = (dln.basis_pursuit(problem.A, problem.y, noise=e) for e in (noise - step, noise, noise + step))
    slope = (float(high.value) - float(low.value)) / (2 * step)
    assert slope == pytest.approx(-float(at.dual.norm()), rel=1e-6)


def test_as_much_noise_as_data_leaves_nothing() -> None:
    A, y = np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 1.0]]), np.array([3.0, 4.0])
    for noise in (5.0, 6.0):
        found = dln.basis_pursuit(A, y, noise=noise)
        assert found.status is Status.CONVERGED
        assert found.x.tolist() == [0.0, 0.0, 0.0]
        assert float(found.value) == 0.0
    just = dln.basis_pursuit(A, y, noise=4.999)
    assert just.status is Status.CONVERGED
    assert float(just.value) > 0


def test_one_row_by_hand() -> None:
    """|2x − 4| <= 1: x = 3/2, λ = 1/2."""
    found = dln.basis_pursuit([[1.0, 2.0]], [4.0], noise=1.0)
    assert found.x.tolist() == pytest.approx([0.0, 1.5])
    assert found.dual.tolist() == pytest.approx([0.5])
    assert float(found.primal_residual) == pytest.approx(0.25)


def test_what_no_vector_reaches_says_by_how_much() -> None:
    A, y = [[1.0, 2.0, 1.0], [1.0, 2.0, 1.0]], [1.0, -1.0]
    found = dln.basis_pursuit(A, y, noise=1.0)
    assert found.status is Status.FAILED
    assert "no x has ‖Ax − y‖ <= noise: the least is 1 ‖y‖" in found.reason
    signed = dln.basis_pursuit([[1.0, 2.0], [0.0, 1.0]], [-1.0, 1.0], nonnegative=True, noise=0.1)
    assert signed.status is Status.FAILED
    assert "no x >= 0 has" in signed.reason
    assert torch.all(torch.isfinite(signed.x))
    assert np.isfinite(float(signed.gap))


def test_any_scale_and_batches() -> None:
    problem = gaussian(6, 15, 1)
    base = dln.basis_pursuit(problem.A, problem.y, noise=0.2)
    for factor in (1e-120, 1e120):
        scaled = dln.basis_pursuit(factor * problem.A, problem.y, noise=0.2)
        torch.testing.assert_close(scaled.x * factor, base.x, rtol=1e-10, atol=1e-12)
        scaled = dln.basis_pursuit(problem.A, factor * problem.y, noise=0.2 * factor)
        torch.testing.assert_close(scaled.x / factor, base.x, rtol=1e-10, atol=1e-12)
    several = dln.basis_pursuit(problem.A, torch.stack([problem.y, -problem.y]), noise=0.2)
    assert torch.equal(several.x[0], base.x)
    assert several.status == (Status.CONVERGED, Status.CONVERGED)


@pytest.mark.parametrize("noise", [-1.0, float("nan"), float("inf"), "1", None])
def test_mistakes(noise: Any) -> None:
    with pytest.raises(dln.InputError, match="noise must be a finite real number >= 0"):
        dln.basis_pursuit([[1.0, 2.0]], [1.0], noise=noise)
