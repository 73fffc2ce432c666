"""The central path of basis pursuit by a predictor-corrector method, and when to leave it for a vertex.

Theory: the flow's limits ψ_α(∞) are a generalised central path of min ‖x‖₁ s.t. Ax = y with parameter a = α^p, and the
log barrier is its p → ∞ member: ψ = μ(1/u − 1/v), u = 1 − τ, v = 1 + τ, τ = Aᵀλ. That member is the fastest here,
because ψ splits into x₊ − x₋ with x₊u = x₋v = μ, which Mehrotra's predictor-corrector method (SIAM J. Optim. 2, 1992)
follows with long steps: about ten Newton matrices A D Aᵀ, D = x₊/u + x₋/v, in all, and fewer with an early crossover.
Costs c₊, c₋ in the place of 1 change u = c₊ − τ and v = c₋ + τ, and nothing else; x >= 0 leaves x₊ and u alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg.blas
import scipy.linalg.lapack

from dlntorch.reference.basis_pursuit_batched import Start
from dlntorch.reference.basis_pursuit_finish import Finish, State
from dlntorch.reference.costs import PLAIN, Costs
from dlntorch.reference.crossover import CrossedPair

__all__ = ["PathOutcome", "PathProblem", "follow"]

blas: Any = scipy.linalg.blas  # their names are made at run time
lapack: Any = scipy.linalg.lapack


#: A dual value of the scaled problem, for each row, that only an unbounded dual has.
UNBOUNDED = 1e9


class PathProblem:
    """A of full row rank with what every right-hand side shares: its single-precision copy and the factor of AAᵀ."""

    def __init__(self, A: np.ndarray) -> None:
        self.A = np.ascontiguousarray(A)
        self.A32 = self.A.astype(np.float32)
        self.normal = NormalEquations(self, np.ones(A.shape[1]))


class NormalEquations:
    """Solves (A D Aᵀ) δλ = r, returning δλ and δτ = Aᵀδλ.

    A D Aᵀ is formed and factored in single precision (half the time) where iterative refinement in double converges;
    else in double; else, when D is so graded that Cholesky fails, from a QR of D^{1/2}Aᵀ with rows sorted by D.
    """

    def __init__(self, problem: PathProblem, D: np.ndarray, level: int = 0) -> None:
        self.problem = problem
        self.scale = float(D.max())
        self.D = D / self.scale
        self.level = level
        while not self._factor():
            self.level += 1

    def _factor(self) -> bool:
        root = np.sqrt(self.D)
        if self.level == 0:
            M = self.problem.A32 * root.astype(np.float32)
            self._L, info = lapack.spotrf(blas.ssyrk(1.0, M.T, trans=1), overwrite_a=1)
        elif self.level == 1:
            M = self.problem.A * root
            self._L, info = lapack.dpotrf(blas.dsyrk(1.0, M.T, trans=1), overwrite_a=1)
        else:
            self._order = np.argsort(-self.D, kind="stable")
            M = (self.problem.A * root).T[self._order]
            self._Q, self._R = np.linalg.qr(M)
            diagonal = np.abs(np.diagonal(self._R))
            # A zero pivot means a direction the weights do not see: leave it out of the step.
            self._R[np.diag_indices_from(self._R)] += np.where(diagonal < 1e-300, np.inf, 0.0)
            return True
        return info == 0

    def rcond(self) -> float:
        """Estimated reciprocal condition number of the factored matrix; 0 where only a QR would do."""
        if self.level == 2:
            return 0.0
        L = np.triu(self._L)
        norm = float(np.linalg.norm(L)) ** 2
        estimate = lapack.spocon if self.level == 0 else lapack.dpocon
        return float(estimate(self._L, norm)[0])

    def _apply_inverse(self, r: np.ndarray) -> np.ndarray:
        if self.level == 0:
            size = float(np.abs(r).max()) or 1.0
            return lapack.spotrs(self._L, (r / size).astype(np.float32))[0].astype(np.float64) * size
        return lapack.dpotrs(self._L, r)[0]

    def solve(self, r: np.ndarray, goal: float = 1e-8) -> tuple[np.ndarray, np.ndarray]:
        """δλ (m,) and δτ (n,), with a relative residual of ``goal`` or what refinement can reach.

        Moves to a more accurate factorization when refinement stalls above 1e-3.
        """
        r = r / self.scale
        A = self.problem.A
        size = float(np.linalg.norm(r))
        while self.level < 2:
            dual = self._apply_inverse(r)
            tau = dual @ A
            worst = np.inf
            for _ in range(4):
                defect = r - A @ (self.D * tau)
                error = float(np.linalg.norm(defect))
                if error <= goal * size or (error <= 1e-3 * size and error > 0.1 * worst):
                    return dual, tau
                if not error < 0.5 * worst:
                    break
                worst = error
                step = self._apply_inverse(defect)
                dual = dual + step
                tau = tau + step @ A
            if np.isfinite(worst) and worst <= 1e-3 * size:
                return dual, tau
            self.level += 1
            while not self._factor():
                self.level += 1
        g = lapack.dtrtrs(self._R, r, trans=1)[0]
        dual = lapack.dtrtrs(self._R, g)[0]
        tau = dual @ A
        # Where D is large Aᵀδλ cancels; D^{-1/2}Q R⁻ᵀr does not.
        heavy = self._order[self.D[self._order] > 1e-12]
        tau[heavy] = (self._Q[: heavy.size] @ g) / np.sqrt(self.D[heavy])
        return dual, tau


@dataclass
class PathOutcome:
    """The best vertex found, and the Newton matrices and simplex pivots it took."""

    vertex: CrossedPair
    iterations: int
    pivots: int


def follow(
    problem: PathProblem,
    y: np.ndarray,
    tol: float,
    max_iterations: int,
    start: Start | None = None,
    costs: Costs = PLAIN,
) -> PathOutcome:
    """Follow the path until a vertex with a certificate is found, at most ``max_iterations`` Newton matrices.

    Args:
        problem: A of shape (m, n), full row rank, rows of norm about one.
        y: Shape (m,), nonzero.
        tol: Bound on the relative duality gap.
        max_iterations: Bound on the Newton matrices.
        start: An interior point to begin at; None begins at the least-norm solution.
        costs: What is minimised.
    """
    A = problem.A
    first = _start(problem, y, costs) if start is None else start
    state, size = first.state, first.size
    b = y / size
    finish = Finish(A, b, tol, costs)
    level, iteration = 0, first.iterations
    stuck = False
    while True:
        residual = b - A @ state.psi
        bound = float(b @ state.dual)
        gap = 1.0 - bound / max(costs.value(state.psi), 1e-300)
        if costs.one_sided and bound > UNBOUNDED * b.size:
            break  # no x >= 0 has Ax = y
        on_path = float(np.linalg.norm(residual)) <= 1e-6 * float(np.linalg.norm(b))
        last = iteration >= max_iterations or stuck or (on_path and gap <= 0.01 * tol)
        if finish.attempt(state, max(gap, 0.0), last) or last:
            break
        normal = NormalEquations(problem, state.plus / state.u + state.minus / state.v, level)
        stuck = not _step(A, state, residual, normal)
        level = normal.level
        iteration += 1
    vertex = finish.best
    vertex.x = vertex.x * size
    return PathOutcome(vertex, iteration, finish.pivots)


def _start(problem: PathProblem, y: np.ndarray, costs: Costs) -> Start:
    """The least-norm solution split into positive parts, with the dual along it; x is scaled to mean|x| about 1."""
    dual, x = problem.normal.solve(y)
    top = float((np.abs(x) / costs.plus).max()) if costs.one_sided else costs.ratio(x)
    size = 2.0 ** np.round(np.log2(np.abs(x).mean()))
    tau, x = 0.5 * x / top, x / size
    shift = float(np.abs(x).mean())
    u, v = costs.distances(tau)
    minus = np.zeros_like(x) if costs.one_sided else np.maximum(-x, 0) + shift
    state = State(np.maximum(x, 0) + shift, minus, u, v, 0.5 * dual / top, costs.one_sided)
    return Start(state, float(size), 0)


def _longest(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """The largest step for which every value + step·change stays >= 0 (infinite when none shrinks)."""
    shrink = max(float((-change / value).max()) for value, change in pairs)
    return 1.0 / shrink if shrink > 1e-300 else np.inf


def _step(A: np.ndarray, state: State, residual: np.ndarray, normal: NormalEquations) -> bool:
    """One predictor-corrector step, in place; False when no progress is possible."""
    if state.one_sided:
        return _step_one_sided(A, state, residual, normal)
    plus, minus, u, v = state.plus, state.minus, state.u, state.v
    mu = state.mu
    at, bt = plus / u, minus / v
    dual, tau = normal.solve(residual + A @ state.psi, 1e-3)
    d_plus, d_minus = at * tau - plus, -bt * tau - minus
    primal = min(1.0, _longest([(plus, d_plus), (minus, d_minus)]))
    dual_step = min(1.0, _longest([(u, -tau), (v, tau)]))
    reached = (plus + primal * d_plus) @ (u - dual_step * tau) + (minus + primal * d_minus) @ (v + dual_step * tau)
    sigma = min(1.0, float(reached) / (2 * u.size) / mu) ** 3
    target_plus = (sigma * mu + d_plus * tau) / u - plus
    target_minus = (sigma * mu - d_minus * tau) / v - minus
    dual, tau = normal.solve(residual - A @ (target_plus - target_minus), 1e-6)
    d_plus, d_minus = target_plus + at * tau, target_minus - bt * tau
    primal = min(1.0, 0.99 * _longest([(plus, d_plus), (minus, d_minus)]))
    dual_step = min(1.0, 0.99 * _longest([(u, -tau), (v, tau)]))
    if not (np.isfinite(primal) and np.isfinite(dual_step)) or max(primal, dual_step) < 1e-6:
        return False
    plus += primal * d_plus
    minus += primal * d_minus
    u -= dual_step * tau
    v += dual_step * tau
    state.dual = state.dual + dual_step * dual
    return bool(min(plus.min(), minus.min(), u.min(), v.min()) > 0 and state.mu > 1e-25)


def _step_one_sided(A: np.ndarray, state: State, residual: np.ndarray, normal: NormalEquations) -> bool:
    """The same for x = x₊ >= 0."""
    x, u, mu = state.plus, state.u, state.mu
    ratio = x / u
    dual, tau = normal.solve(residual + A @ x, 1e-3)
    change = ratio * tau - x
    primal, dual_step = min(1.0, _longest([(x, change)])), min(1.0, _longest([(u, -tau)]))
    reached = (x + primal * change) @ (u - dual_step * tau)
    sigma = min(1.0, float(reached) / u.size / mu) ** 3
    target = (sigma * mu + change * tau) / u - x
    dual, tau = normal.solve(residual - A @ target, 1e-6)
    change = target + ratio * tau
    primal, dual_step = min(1.0, 0.99 * _longest([(x, change)])), min(1.0, 0.99 * _longest([(u, -tau)]))
    if not (np.isfinite(primal) and np.isfinite(dual_step)) or max(primal, dual_step) < 1e-6:
        return False
    x += primal * change
    u -= dual_step * tau
    state.dual = state.dual + dual_step * dual
    return bool(min(x.min(), u.min()) > 0 and state.mu > 1e-25)
