"""Basis pursuit with noise, min cost(x) subject to ‖Ax − y‖₂ <= ε, by an interior point and its active set.

The dual is max yᵀλ − ε‖λ‖₂ subject to −c₋ <= Aᵀλ <= c₊; where ε < ‖y‖₂ its maximiser is not 0, and y − Ax = ε λ/‖λ‖₂. So
the central path is that of :mod:`~dlntorch.reference.basis_pursuit_path` with one more term,

    x₊u = x₋v = μ,   Ax + ελ/‖λ‖ = y,   Newton's matrix A D Aᵀ + (ε/‖λ‖)(I − λ̂λ̂ᵀ).

It ends at a closed form. On a support S with slopes c_S of the cost, A_Sᵀλ = c_S and λ = r/ρ, r = y − A_S x_S, give
x_S = A_S⁺y − ρ(A_SᵀA_S)⁻¹c_S and r = r₀ + ρq, with r₀ what least squares on S leave, q = A_S(A_SᵀA_S)⁻¹c_S orthogonal to
it, and ρ = √(ε² − ‖r₀‖²)/‖q‖. Where x_S has the signs that c_S was taken for and Aᵀλ is admitted, this is the minimiser.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg.blas
import scipy.linalg.lapack

from dlntorch.numerics.extended import EPS
from dlntorch.reference.basis_pursuit_finish import State
from dlntorch.reference.columns import ColumnFactors
from dlntorch.reference.costs import Costs
from dlntorch.reference.weights import Weights

__all__ = ["NoisyOutcome", "follow_with_noise", "noisy_gap"]

blas: Any = scipy.linalg.blas  # their names are made at run time
lapack: Any = scipy.linalg.lapack
_REPAIRS = 12
_ADMITTED = 1e-11  # by how much, relatively, Aᵀλ may leave what is admitted at a closed form: λ is then shrunk by it
_FEASIBLE = 1e-10  # of ‖y‖, by which ‖Ax − y‖ may exceed ε
_NEAR = 0.1  # estimated relative gap from which the active set is tried
_SMALL = 40  # rows up to which it costs nothing to try


@dataclass
class NoisyOutcome:
    """x and λ in the caller's columns, with the relative gap and its error, and the Newton matrices formed."""

    x: np.ndarray
    dual: np.ndarray
    value: float
    gap: float
    residual: float
    iterations: int
    is_vertex: bool
    bound: float


def noisy_gap(
    A: np.ndarray, y: np.ndarray, noise: float, pair: tuple[np.ndarray, np.ndarray], costs: Costs
) -> tuple[float, float]:
    """(cost(x) − yᵀλ + ε‖λ‖)/cost(x), and a bound of how far it may be negative; 0 where x = 0.

    With r = y − Ax, cost(x) >= (Ax)ᵀλ up to the rounding of Aᵀλ: the gap is at least (ε‖λ‖ − rᵀλ)/cost(x), up to that.

    Args:
        A: Shape (m, n).
        y: Shape (m,).
        noise: ε.
        pair: x (n,) and λ (m,).
        costs: The cost of x.
    """
    x, dual = pair
    value, length, size = costs.value(x), float(np.linalg.norm(dual)), np.abs(dual)
    if not value:
        return 0.0, 0.0
    rounding = 4 * EPS * (float((size @ np.abs(A)) @ np.abs(x)) + float(size @ np.abs(y)) + noise * length)
    bound = rounding + abs(float((y - A @ x) @ dual) - noise * length)
    return (value - float(y @ dual) + noise * length) / value, bound / value


def follow_with_noise(
    A: np.ndarray, y: np.ndarray, noise: float, weights: Weights, tol: float, max_iterations: int
) -> NoisyOutcome:
    """Follow the path until its active set solves the problem, at most ``max_iterations`` Newton matrices.

    Args:
        A: Shape (m, n), not zero.
        y: Shape (m,), ‖y‖₂ > noise.
        noise: ε > 0.
        weights: Of the norm.
        tol: Bound on the relative duality gap.
        max_iterations: Bound on the Newton matrices.
    """
    side = int(np.frexp(np.abs(y).max())[1])
    matrix = int(np.frexp(np.abs(A).max())[1])
    B = weights.scaled(np.ldexp(A, -matrix))
    again = int(np.frexp(np.abs(B).max())[1])
    B = np.ldexp(B, -again)
    solver = _Noisy(B, np.ldexp(y, -side), float(np.ldexp(noise, -side)), weights.costs, tol)
    x, dual, iterations = solver.solve(max_iterations)
    exponent = side - matrix - again
    with np.errstate(over="ignore", under="ignore"):
        full = weights.unscaled(x, exponent)
        lam = np.ldexp(weights.factor * dual, weights.unit - matrix - again)
        value = float(np.ldexp(weights.factor * weights.costs.value(x), weights.unit + exponent))
    gap, bound = noisy_gap(B, solver.y, solver.noise, (x, dual), weights.costs)
    residual = float(np.linalg.norm(solver.y - B @ x) / np.linalg.norm(solver.y))
    support = np.flatnonzero(x)
    vertex = support.size <= A.shape[0] and int(np.linalg.matrix_rank(B[:, support])) == support.size
    return NoisyOutcome(full, lam, value, gap, residual, iterations, bool(vertex), bound)


class _Noisy:
    """One problem whose A and y have entries of size one."""

    def __init__(self, A: np.ndarray, y: np.ndarray, noise: float, costs: Costs, tol: float) -> None:
        self.A, self.y, self.noise, self.costs, self.tol = A, y, noise, costs, tol
        self.best: tuple[float, np.ndarray, np.ndarray] | None = None

    def solve(self, max_iterations: int) -> tuple[np.ndarray, np.ndarray, int]:
        state, iteration = self._start(), 0
        moving = state is not None
        while state is not None:
            gap = self._offer(state.psi, state.dual)
            last = not moving or iteration >= max_iterations or gap <= 1e-3 * self.tol
            near = state.mu * len(state.sides) * state.u.size <= _NEAR * self.costs.value(np.abs(state.psi))
            tried = near or last or self.A.shape[0] <= _SMALL
            if (tried and self._finish(state)) or last or self._unbounded(state):
                break
            moving = self._step(state)
            iteration += 1
        if self.best is None:
            return np.zeros(self.A.shape[1]), np.zeros(self.A.shape[0]), iteration
        return self.best[1], self.best[2], iteration

    def _unbounded(self, state: State) -> bool:
        """Whether no x comes as near as ε."""
        bound = float(self.y @ state.dual) - self.noise * float(np.linalg.norm(state.dual))
        return bound > 1e9 * self.A.shape[1] * (1 + self.costs.value(np.abs(state.psi)))

    def _start(self) -> State | None:
        """λ along y, and least squares, regularized; None where Aᵀy = 0."""
        A, costs = self.A, self.costs
        m, n = A.shape
        tau = self.y @ A
        top = float((np.abs(tau) / costs.plus).max()) if costs.one_sided else costs.ratio(tau)
        if top == 0:
            return None
        gram = blas.dsyrk(1.0, A.T, trans=1)
        gram[np.diag_indices(m)] += self.noise * max(float(np.trace(gram)) / m, 1e-300)
        factor, info = lapack.dpotrf(gram)
        x = (lapack.dpotrs(factor, self.y)[0] if not info else self.y / np.trace(gram)) @ A
        shift = max(float(np.abs(x).mean()), 1e-12)
        tau, dual = 0.5 * tau / top, 0.5 * self.y / top
        u, v = costs.distances(tau)
        minus = np.zeros(n) if costs.one_sided else np.maximum(-x, 0) + shift
        return State(np.maximum(x, 0) + shift, minus, u + np.zeros(n), v + np.zeros(n), dual, costs.one_sided)

    def _step(self, state: State) -> bool:
        """One predictor-corrector step, the same length for all variables; False when no progress is possible."""
        A, sides, mu, dual = self.A, state.sides, state.mu, state.dual
        size = float(np.linalg.norm(dual))
        unit = dual / size
        ratios = [x / s for x, s, _ in sides]
        root = np.sqrt(ratios[0] if len(ratios) == 1 else ratios[0] + ratios[1])
        matrix = blas.dsyrk(1.0, (A * root).T, trans=1)
        curvature = self.noise / size
        matrix[np.diag_indices(A.shape[0])] += curvature
        matrix -= curvature * np.outer(unit, unit)
        factor, info = lapack.dpotrf(matrix)
        if info:
            return False
        missing = self.y - A @ state.psi - self.noise * unit

        def direction(targets: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
            signed = targets[0] if len(targets) == 1 else targets[0] - targets[1]
            change = lapack.dpotrs(factor, missing - A @ signed)[0]
            tau = change @ A
            moves = [d + sign * ratio * tau for (_, _, sign), d, ratio in zip(sides, targets, ratios, strict=True)]
            return change, tau, moves

        change, tau, moves = direction([-x for x, _, _ in sides])
        length = self._longest(state, tau, moves, 1.0)
        reached = sum(
            float((x + length * d) @ (s - length * sign * tau)) for (x, s, sign), d in zip(sides, moves, strict=True)
        )
        sigma = min(1.0, max(reached, 0.0) / (len(sides) * tau.size) / mu) ** 3
        targets = [(sigma * mu + sign * d * tau) / s - x for (x, s, sign), d in zip(sides, moves, strict=True)]
        change, tau, moves = direction(targets)
        length = self._longest(state, tau, moves, 0.99)
        # λ/‖λ‖ is linearized at λ: a step of the size of λ itself would not be seen by it.
        length = min(length, 0.9 * size / max(float(np.linalg.norm(change)), 1e-300))
        if not np.isfinite(length) or length < 1e-8:
            return False
        for (x, s, sign), d in zip(sides, moves, strict=True):
            x += length * d
            s -= length * sign * tau
        state.dual = dual + length * change
        return bool(min(min(x.min(), s.min()) for x, s, _ in sides) > 0)

    @staticmethod
    def _longest(state: State, tau: np.ndarray, moves: list[np.ndarray], part: float) -> float:
        shrink = 0.0
        for (x, s, sign), d in zip(state.sides, moves, strict=True):
            shrink = max(shrink, float((-d / x).max()), float((sign * tau / s).max()))
        return min(1.0, part / shrink) if shrink > 1e-300 else 1.0

    def _offer(self, x: np.ndarray, dual: np.ndarray) -> float:
        """Keep (x, λ) where it is the best pair so far; its gap, 1 where x is not near enough to y."""
        dual = dual / max(1.0, self.costs.ratio(dual @ self.A))
        value = self.costs.value(x)
        excess = float(np.linalg.norm(self.y - self.A @ x)) - self.noise
        feasible = excess <= _FEASIBLE * float(np.linalg.norm(self.y)) and np.isfinite(value)
        gap = abs(noisy_gap(self.A, self.y, self.noise, (x, dual), self.costs)[0]) if feasible else 1.0
        if self.best is None or gap < self.best[0]:
            self.best = gap, x.copy(), dual
        return gap

    def _finish(self, state: State) -> bool:
        """The closed form on the path's active set, put right a few times: wrong signs leave it, violators join."""
        costs, m = self.costs, self.A.shape[0]
        sign = np.where(state.plus > state.u, 1.0, 0.0)
        if not state.one_sided:
            sign = np.where((state.minus > state.v) & (state.minus > state.plus), -1.0, sign)
        for _ in range(_REPAIRS):
            support = np.flatnonzero(sign)
            if not 0 < support.size <= m:
                return False
            found = self._closed_form(support, sign[support])
            if found is None:
                return False
            values, dual = found
            tau = costs.relative(dual @ self.A)
            wrong = values * sign[support] <= 0
            beyond = np.flatnonzero((np.abs(tau) > 1 + _ADMITTED) & (sign == 0))
            if not wrong.any() and not beyond.size:
                x = np.zeros(self.A.shape[1])
                x[support] = values
                return self._offer(x, dual) <= self.tol
            sign[support[wrong]] = 0.0
            worst = beyond[np.argsort(-np.abs(tau[beyond]))[: max(1, m // 10)]]
            sign[worst] = np.sign(tau[worst])
        return False

    def _closed_form(self, support: np.ndarray, sign: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """x_S and λ; None where the columns are dependent, or least squares on them leave more than ε."""
        columns = ColumnFactors(self.A[:, support])
        if not columns.well_conditioned:
            return None
        q = columns.solve_transposed(self.costs.slope(sign, support))
        fitted = columns.solve(self.y)
        rest = self.y - columns.B @ fitted
        room = self.noise**2 - float(rest @ rest)
        if room <= 0:
            return None
        rho = np.sqrt(room) / float(np.linalg.norm(q))
        return fitted - rho * columns.solve(q), (rest + rho * q) / rho
