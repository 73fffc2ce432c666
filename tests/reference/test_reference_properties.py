"""Whatever the problem: no exception, no NaN, and either the optimality conditions to 1e-10 or an honest status."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dlntorch as dln
from dlntorch.numerics.trajectory import Status


@st.composite
def any_problem(draw: st.DrawFn) -> dln.Problem:
    """Scales 1e-6 to 1e6, duplicated, opposite, parallel and zero columns, dependent rows, planted and generic y."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    m = draw(st.integers(1, 8))
    n = draw(st.integers(1, 16))
    kind = draw(st.sampled_from(["gaussian", "integers", "signs"]))
    if kind == "gaussian":
        A = rng.standard_normal((m, n))
    else:
        A = rng.integers(-3, 4, (m, n)).astype(float) if kind == "integers" else rng.choice([-1.0, 1.0], (m, n))
    for _ in range(draw(st.integers(0, 3))):
        i, j = rng.integers(0, n, 2)
        A[:, i] = draw(st.sampled_from([1.0, -1.0, 0.5, 0.0, 3.0])) * A[:, j]
    if draw(st.booleans()) and m > 1:
        rank = draw(st.integers(1, m))
        A = rng.integers(-2, 3, (m, rank)) @ A[:rank]
    if not A.any():
        A[0, 0] = 1.0
    if draw(st.booleans()):
        x = np.zeros(n)
        chosen = rng.choice(n, draw(st.integers(0, min(m, n))), replace=False)
        x[chosen] = rng.standard_normal(chosen.size) * 10.0 ** rng.uniform(-3, 3, chosen.size)
        y = A @ x
    else:
        y = rng.standard_normal(m)
    rows = 10.0 ** rng.uniform(-1, 1, m) if draw(st.booleans()) else np.ones(m)
    A = A * rows[:, None] * 10.0 ** draw(st.integers(-6, 6))
    y = y * rows * 10.0 ** draw(st.integers(-6, 6))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # m >= n is among the cases
        return dln.Problem(A, y)


def check(problem: dln.Problem, p: float) -> None:
    found = dln.l1_minimizer(problem)
    A, y = problem.A.numpy(), problem.y.numpy()
    if not problem.consistent:
        assert "not in range(A)" in found.reason
        y = project(A, y, problem.rank)
    assert bool(torch.isfinite(found.psi).all())
    assert bool(torch.isfinite(found.dual).all())
    assert found.unique in (True, False, None)
    if found.unique is None:
        assert found.reason
    if found.status is not Status.CONVERGED:  # the honest status
        assert found.reason
        return
    assert_kkt(A, y, found.psi.numpy(), found.dual.numpy())
    chosen = dln.selected_minimizer(problem, p, minimizer=found)
    assert bool(torch.isfinite(chosen.psi).all())
    if chosen.status is Status.CONVERGED:
        assert chosen.unique is (chosen.dimension == 0)
        assert_kkt(A, y, chosen.psi.numpy(), found.dual.numpy())
        assert torch.nonzero(chosen.psi).flatten().tolist() == chosen.support.tolist()
    else:
        assert chosen.reason
    rate = dln.predict_rate(problem, p, selected=chosen)
    if rate.status is Status.FAILED or rate.exponent is None:
        assert rate.reason
    if rate.constant is None:
        assert rate.constant_reason
    else:
        assert np.isfinite(rate.constant)
        assert bool(torch.isfinite(rate.constant_vector).all())


def project(A: np.ndarray, y: np.ndarray, rank: int) -> np.ndarray:
    U = np.linalg.svd(A)[0][:, :rank]
    return U @ (U.T @ y)


def assert_kkt(A: np.ndarray, y: np.ndarray, psi: np.ndarray, lam: np.ndarray) -> None:
    size = np.linalg.norm(A, 2) * np.linalg.norm(psi) + np.linalg.norm(y)
    assert np.linalg.norm(A @ psi - y) <= 1e-10 * size
    assert np.abs(A.T @ lam).max() <= 1 + 1e-10
    assert abs(y @ lam - np.abs(psi).sum()) <= 1e-10 * np.abs(psi).sum()
    on = psi != 0
    np.testing.assert_allclose((A.T @ lam)[on], np.sign(psi[on]), rtol=0, atol=1e-10)


DEPTHS = st.one_of(st.just(2.0), st.floats(2, 50))


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(problem=any_problem(), p=DEPTHS)
def test_any_problem(problem: dln.Problem, p: float) -> None:
    check(problem, p)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(problem=any_problem(), p=DEPTHS)
def test_a_thousand_problems(problem: dln.Problem, p: float) -> None:
    check(problem, p)
