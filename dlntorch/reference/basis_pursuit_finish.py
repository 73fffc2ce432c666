"""When to leave the central path of basis pursuit, and the vertex it is left for.

At an interior point of gap g, the columns of largest D = max(x₊/u, x₋/v) give a basis. Where the minimiser has fewer
than m nonzeros, a basis that holds its support shows it at once: the other basic values vanish to rounding, and the
path's dual, moved onto A_Sᵀλ = sign(x_S), proves it once it is near enough. Where the minimiser has m nonzeros, the
basis fixes λ, and the few columns that are wrong by then are exchanged by simplex pivots.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dlntorch.reference.costs import PLAIN, Costs
from dlntorch.reference.crossover import Basis, CrossedPair, Support, certified_pair, leading_basis, push, simplex

__all__ = ["Finish", "State"]

RESIDUAL = 1e-10  # a vertex solved for in float64 is at 1e-14; beyond this its columns are dependent to rounding
SMALL = 40  # rows up to which an attempt costs less than an iteration's overhead


@dataclass
class State:
    """A strictly interior primal-dual point: x₊, x₋ > 0, u = c₊ − τ > 0, v = c₋ + τ > 0, λ; x₋ = 0, v = ∞ for x >= 0."""

    plus: np.ndarray
    minus: np.ndarray
    u: np.ndarray
    v: np.ndarray
    dual: np.ndarray
    one_sided: bool = False

    @property
    def psi(self) -> np.ndarray:
        return self.plus - self.minus

    @property
    def sides(self) -> list[tuple[np.ndarray, np.ndarray, float]]:
        """(x₊, u, 1) and (x₋, v, −1), as far as they are variables."""
        upper = (self.plus, self.u, 1.0)
        return [upper] if self.one_sided else [upper, (self.minus, self.v, -1.0)]

    @property
    def mu(self) -> float:
        if self.one_sided:
            return float(self.plus @ self.u) / self.u.size
        return float(self.plus @ self.u + self.minus @ self.v) / (2 * self.u.size)


class Finish:
    """Attempts to leave the path for a vertex, spaced by the progress of the gap.

    Args:
        A: Shape (m, n), full row rank.
        y: Shape (m,).
        tol: Bound on the relative duality gap.
        costs: What is minimised.
    """

    def __init__(self, A: np.ndarray, y: np.ndarray, tol: float, costs: Costs = PLAIN) -> None:
        self.A, self.y, self.tol, self.costs = A, y, tol, costs
        m, n = A.shape
        self.best = CrossedPair(np.zeros(n), np.zeros(m), 1.0, 1.0)
        # A square A leaves nothing to find, and a small one is cheap to try.
        self.next_gap = np.inf if m == n else 0.3 if m <= SMALL else 1e-3
        self.next_near = 1.0 if m <= SMALL else 5e-3  # before, the active set of a sparse problem passes m by chance
        self.support: Support | None = None
        self.pivots = 0
        self.rng = np.random.default_rng(0)

    def attempt(self, state: State, gap: float, last: bool) -> bool:
        """Whether a vertex with residual and gap within the tolerance is now in ``best``.

        The active set {x₊ > u or x₋ > v} tells what to try: far fewer than m members suggest a sparse minimiser, about
        m of them a basis a few pivots away. Neither is tried earlier, except where m is so small that it costs nothing.

        Args:
            state: Where the path is.
            gap: Its relative duality gap.
            last: Whether the path ends here, so that every means is tried.
        """
        if self.support is not None and self._offer_support(self.support, state):
            return True
        m = self.A.shape[0]
        active = np.flatnonzero((state.plus > state.u) | (state.minus > state.v))
        if self.support is None and 0 < active.size <= 0.6 * m:
            self.support = Support.covering(self.A, self.y, active, self.costs)
            if self.support is not None and self._offer_support(self.support, state):
                return True
        near = 0.6 * m < active.size <= 2 + 1.035 * m and gap <= self.next_near
        if not (last or near or gap <= self.next_gap):
            return False
        self.next_gap, self.next_near = 0.3 * min(gap, self.next_gap), 0.3 * gap
        return self._try_basis(state, last)

    def _try_basis(self, state: State, last: bool) -> bool:
        """The basis of the m heaviest columns: its zeros give a support, its wrong columns are pivoted away."""
        basis = leading_basis(self.A, np.maximum(state.plus / state.u, state.minus / state.v))
        if basis is None:
            return False
        _, zero = basis.values(self.y)
        if zero.any():
            self.support = Support(self.A, self.y, basis.columns[~zero], self.costs)
            if self._offer_support(self.support, state):
                return True
        if last:
            return self._polish(state, basis)
        return not zero.any() and self._pivot(state, basis, 20 + self.A.shape[0] // 5)

    def _offer_support(self, support: Support, state: State) -> bool:
        """The path's dual, corrected on the support; a support on which x is not admitted has none."""
        if not np.all(np.isfinite(support.slope)):
            return False
        return self._offer(support.x, support.correct(state.dual))

    def _pivot(self, state: State, basis: Basis, limit: int) -> bool:
        tau, costs = self.costs.tau(state.u, state.v), self.costs
        if costs.one_sided and not self._admit(basis, tau, limit):
            return False
        dual, optimal, pivots = simplex(self.A, self.y, basis, tau, limit, self.rng, costs)
        self.pivots += pivots
        if not optimal:
            return False
        basis.refresh()
        values, zero = basis.values(self.y)
        if not zero.any():
            dual = basis.solve_transposed(costs.slope(values, basis.columns))  # without the rounding of the updates
        return self._offer_basis(basis, dual)

    def _admit(self, basis: Basis, tau: np.ndarray, limit: int) -> bool:
        """Pivot to a basis with x >= 0, by the cost Σx⁻; whether there is one."""
        n = self.A.shape[1]
        values, zero = basis.values(self.y)
        if not np.any(values[~zero] < 0):
            return True
        _, _, pivots = simplex(self.A, self.y, basis, tau, limit, self.rng, Costs(np.zeros(n), np.ones(n)))
        self.pivots += pivots
        basis.refresh()
        values, zero = basis.values(self.y)
        return not np.any(values[~zero] < 0)

    def _polish(self, state: State, basis: Basis) -> bool:
        """The end of the path: push its point to a vertex, then pivot, keeping the best certificate."""
        if self._offer_basis(basis, state.dual):
            return True
        if self.costs.one_sided:
            return self._pivot(state, basis, 100 + 2 * self.A.shape[0])
        psi = np.where(np.abs(state.psi) > 1e-9 * np.abs(state.psi).max(), state.psi, 0.0)
        psi[basis.columns] += basis.solve(self.y - self.A @ psi)
        push(self.A, basis, psi, self.costs)
        return self._offer_basis(basis, state.dual) or self._pivot(state, basis, 100 + 2 * self.A.shape[0])

    def _offer_basis(self, basis: Basis, dual: np.ndarray) -> bool:
        basis.refresh()
        x = np.zeros(self.A.shape[1])
        values, zero = basis.values(self.y)
        x[basis.columns] = np.where(zero, 0.0, values)
        if zero.any() and self._offer(Support(self.A, self.y, basis.columns[~zero], self.costs).x, dual):
            return True
        return self._offer(x, dual)

    def _offer(self, x: np.ndarray, dual: np.ndarray) -> bool:
        vertex = certified_pair(self.A, self.y, x, dual, self.costs)
        if not np.isfinite(vertex.gap):
            return False
        usable = vertex.residual <= RESIDUAL
        if (not usable, abs(vertex.gap)) < (not self.best.residual <= RESIDUAL, abs(self.best.gap)):
            self.best = vertex
        return usable and abs(vertex.gap) <= self.tol
