"""The path of basis pursuit: its step from a dense solve of the definition, its linear algebra in exact arithmetic."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
import torch

from dlntorch.reference.basis_pursuit_batched import _Batch, starts
from dlntorch.reference.basis_pursuit_finish import Finish, State
from dlntorch.reference.basis_pursuit_path import NormalEquations, PathProblem, _start, _step, follow
from dlntorch.reference.costs import PLAIN
from tests.problems import gaussian


def interior_point(seed: int) -> tuple[np.ndarray, np.ndarray, State]:
    """A, b and a point far from the path with Ax ≠ b and uneven products x₊u, x₋v."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((3, 7))
    plus, minus = 10 ** rng.uniform(-3, 3, (2, 7))
    dual = rng.standard_normal(3)
    dual *= 0.9 / np.abs(dual @ A).max()
    b = A @ (plus - minus) + 30 * rng.standard_normal(3)
    return A, b, State(plus, minus, 1 - dual @ A, 1 + dual @ A, dual)


def up_to_the_boundary(values: tuple[np.ndarray, ...], changes: tuple[np.ndarray, ...]) -> float:
    """The largest step <= 1 that keeps all values >= 0."""
    limits = [-value[change < 0] / change[change < 0] for value, change in zip(values, changes, strict=True)]
    return min(1.0, *(float(limit.min(initial=np.inf)) for limit in limits))


def mehrotra(A: np.ndarray, b: np.ndarray, at: State) -> State:
    """One predictor-corrector step (SIAM J. Optim. 2, 1992) from the whole Newton system, and 0.99 of the way at most."""
    m, n = A.shape
    nothing = np.zeros((n, n))
    system = np.block(
        [
            [np.zeros((m, m)), A, -A],
            [-at.plus[:, None] * A.T, np.diag(at.u), nothing],
            [at.minus[:, None] * A.T, nothing, np.diag(at.v)],
        ]
    )

    def direction(plus: np.ndarray, minus: np.ndarray) -> tuple[np.ndarray, ...]:
        found = np.linalg.solve(system, np.concatenate([b - A @ at.psi, plus, minus]))
        return found[:m], found[m : m + n], found[m + n :], found[:m] @ A

    _, plus, minus, tau = direction(-at.plus * at.u, -at.minus * at.v)
    primal = up_to_the_boundary((at.plus, at.minus), (plus, minus))
    dual = up_to_the_boundary((at.u, at.v), (-tau, tau))
    mu = (at.plus @ at.u + at.minus @ at.v) / (2 * n)
    left = (at.plus + primal * plus) @ (at.u - dual * tau) + (at.minus + primal * minus) @ (at.v + dual * tau)
    target = min(1.0, left / (2 * n) / mu) ** 3 * mu
    lam, plus, minus, tau = direction(target + plus * tau - at.plus * at.u, target - minus * tau - at.minus * at.v)
    primal = min(1.0, 0.99 * up_to_the_boundary((at.plus, at.minus), (plus, minus)))
    dual = min(1.0, 0.99 * up_to_the_boundary((at.u, at.v), (-tau, tau)))
    return State(
        at.plus + primal * plus,
        at.minus + primal * minus,
        at.u - dual * tau,
        at.v + dual * tau,
        at.dual + dual * lam,
    )


@pytest.mark.parametrize("seed", [0, 1, 2, 8368], ids=["0", "1", "2", "its predictor moves away from the path"])
def test_a_step_is_mehrotras_alone_and_in_a_batch(seed: int) -> None:
    A, b, state = interior_point(seed)
    expected = mehrotra(A, b, state)
    batch = _Batch(torch.from_numpy(A)[None], torch.from_numpy(b)[None])
    batch.b = torch.from_numpy(b)[None]
    for name in ("plus", "minus", "u", "v", "dual"):
        setattr(batch, name, torch.from_numpy(getattr(state, name).copy())[None])
    assert batch.step(torch.ones(1, dtype=torch.bool)).all()
    normal = NormalEquations(PathProblem(A), state.plus / state.u + state.minus / state.v, 1)
    assert _step(A, state, b - A @ state.psi, normal)
    for name in ("plus", "minus", "u", "v", "dual"):
        wanted = getattr(expected, name)
        np.testing.assert_allclose(getattr(state, name), wanted, rtol=1e-8, atol=1e-8 * np.abs(wanted).max())
        np.testing.assert_allclose(getattr(batch, name)[0], wanted, rtol=1e-8, atol=1e-8 * np.abs(wanted).max())


def test_the_path_begins_at_the_least_norm_solution_with_its_dual() -> None:
    problem = gaussian(5, 12, 0)
    A, y = problem.A.numpy(), problem.y.numpy()
    start = _start(PathProblem(A), y, PLAIN)
    state = start.state
    np.testing.assert_allclose(state.psi * start.size, np.linalg.pinv(A) @ y, rtol=1e-6)
    np.testing.assert_allclose(1 - state.u, state.dual @ A, rtol=0, atol=1e-12)
    np.testing.assert_allclose(state.v - 1, state.dual @ A, rtol=0, atol=1e-12)
    assert min(part.min() for part in (state.plus, state.minus, state.u, state.v)) > 0


def test_weights_over_thirty_decades_leave_the_change_of_tau_exact() -> None:
    """(A D Aᵀ) δλ = r in 80 digits: two heavy columns, and a third direction that only weights below 1e-18 see."""
    rng = np.random.default_rng(0)
    A, r = rng.standard_normal((3, 8)), rng.standard_normal(3)
    D = 10.0 ** np.array([-30, -2, -20, -18, 0, -19, -25, -22])
    with mp.workdps(80):
        matrix = mp.matrix(A.tolist())
        dual = mp.lu_solve(matrix * mp.diag([mp.mpf(d) for d in D]) * matrix.T, mp.matrix(r.tolist()))
        exact_dual = np.array([float(value) for value in dual])
        exact = np.array([float(value) for value in matrix.T * dual])
    normal = NormalEquations(PathProblem(A), D, 2)
    dual, tau = normal.solve(r)
    np.testing.assert_allclose(dual, exact_dual, rtol=1e-11)
    np.testing.assert_allclose(tau, exact, rtol=1e-11)
    assert normal.rcond() == 0


def test_dependent_rows_that_single_precision_does_not_see_have_no_condition_number() -> None:
    """Where Cholesky fails in double, though not in single precision, only a QR does, and the estimate is 0."""
    only_qr = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        A = rng.standard_normal((5, 8))
        A[-1] = rng.standard_normal(4) @ A[:-1]
        normal = NormalEquations(PathProblem(A), np.ones(8))
        normal.solve(A @ rng.standard_normal(8) + rng.standard_normal(5))
        if normal.level >= 2:
            only_qr += 1
            assert normal.rcond() == 0
    assert only_qr > 0


@pytest.mark.parametrize("exponent", [-20, 0, 20])
def test_the_gap_of_a_batch_is_infinite_only_off_the_constraint_whatever_the_scale(exponent: int) -> None:
    problem = gaussian(4, 10, 1)
    batch = _Batch(problem.A[None] * 2.0**exponent, problem.y[None])
    psi = batch.plus - batch.minus
    value = 1 - float((batch.b * batch.dual).sum() / psi.abs().sum())
    assert float(batch.gap()) == pytest.approx(value, rel=1e-12)
    batch.b = batch.b * (1 + 1e-4)
    assert float(batch.gap()) == np.inf


def test_a_batch_leaves_the_path_where_a_crossover_can_start() -> None:
    """It does not go on to the end: near it the gap would be rounding, each Newton matrix for nothing."""
    problems = [gaussian(6, 15, seed) for seed in range(8)]
    A, y = torch.stack([problem.A for problem in problems]), torch.stack([problem.y for problem in problems])
    for problem, start in zip(problems, starts(A, y, 100), strict=True):
        assert start is not None
        state = start.state
        gap = 1 - float(problem.y.numpy() @ state.dual) / start.size / float(np.abs(state.psi).sum())
        assert 1e-9 < gap < 1e-3


def test_pivots_and_newton_matrices_are_counted() -> None:
    """At most 100 + 2m pivots follow the last matrix."""
    pivots = []
    for seed in range(3):
        problem = gaussian(60, 200, seed)
        outcome = follow(PathProblem(problem.A.numpy()), problem.y.numpy(), 1e-9, 100)
        assert outcome.vertex.gap <= 1e-9
        assert 0 < outcome.iterations < 100
        pivots.append(outcome.pivots)
    assert min(pivots) >= 0
    assert 0 < max(pivots) <= 100 + 2 * 60


def test_a_point_off_the_constraint_is_kept_only_if_its_dual_proves_more_than_zero_does() -> None:
    """λ = 0 has a relative gap of one, and x = 0 a relative residual of one: that is known before the path begins."""
    A, y = np.array([[1.0, 0.5, 0.25]]), np.array([1.0])
    finish = Finish(A, y, 1e-9)
    assert (finish.best.gap, finish.best.residual) == (1.0, 1.0)
    off = np.array([0.5, 0.0, 0.0])
    assert not finish._offer(off, np.array([-0.25]))  # a lower bound of −1/4
    assert not finish.best.x.any()
    assert not finish._offer(off, np.array([0.25]))
    assert np.array_equal(finish.best.x, off)
    assert finish._offer(np.array([1.0, 0.0, 0.0]), np.array([1.0]))
    assert (finish.best.gap, finish.best.residual) == (0.0, 0.0)
