"""The move that leaves the most room below bounds on |τ + Fz|: small dense linear programmes that share their bases.

    max e  subject to  |τ_i + (Fz)_i| + c_i e <= b,   c > 0,

has k + 1 unknowns and 2N constraints. A basis is k + 1 constraints taken as equations, with multipliers x >= 0, Fᵀx = 0 (with the
signs of the constraints) and cᵀx = 1: for another c only their scale changes, so that the last basis of one programme starts the
next. The dual simplex method takes in the constraint that is violated the most, until none is.
"""

from __future__ import annotations

import numpy as np

__all__ = ["RoomBelow"]

_TOLERANCE = 1e-11  # violation of a constraint, whose sizes are about 1, that is rounding
_BOX = 1e6  # |z_j| at the start; nothing of it is left at the end
_PIVOTS = 40  # for each unknown
_FRESH = 30  # pivots after which the inverse is made anew


class RoomBelow:
    """The programmes of one τ (N,) and F (N, k), of full column rank."""

    def __init__(self, tau: np.ndarray, free: np.ndarray) -> None:
        self.tau, self.free = tau, free
        self._rows = np.zeros(0, dtype=int)  # i of each equation of the basis, −1 − j where it is |z_j| = _BOX
        self._signs = np.zeros(0)

    def move(self, costs: np.ndarray, limit: float) -> np.ndarray | None:
        """z for c = ``costs`` and b = ``limit``; None where the method does not end at a solution."""
        k = self.free.shape[1]
        if self._rows.size == 0:
            first = int(np.argmax(np.abs(self.tau)))
            sign = 1.0 if self.tau[first] >= 0 else -1.0
            self._rows = np.append(-1 - np.arange(k), first)
            self._signs = np.append(np.where(sign * self.free[first] > 0, -1.0, 1.0), sign)
        inverse, right = self._factor(costs, limit)
        infinite = np.full(k + 1, np.inf)
        for pivot in range(1, _PIVOTS * (k + 1)):
            if pivot % _FRESH == 0:
                inverse, right = self._factor(costs, limit)
            point = inverse @ right
            at = self.tau + self.free @ point[:-1]
            violation = np.abs(at) + costs * point[-1] - limit
            enters = int(np.argmax(violation))
            if not violation[enters] > _TOLERANCE:
                inverse, right = self._factor(costs, limit)
                return (inverse @ right)[:-1] if np.all(self._rows >= 0) else None
            sign = 1.0 if at[enters] >= 0 else -1.0
            row = np.empty(k + 1)
            row[:-1], row[-1] = sign * self.free[enters], costs[enters]
            change = row @ inverse
            falls = change > 1e-12 * np.abs(change).max()
            ratio = np.divide(np.maximum(inverse[-1], 0.0), change, out=infinite.copy(), where=falls)
            leaves = int(ratio.argmin())
            if ratio[leaves] == np.inf:
                return None
            self._rows[leaves], self._signs[leaves] = enters, sign
            right[leaves] = limit - sign * self.tau[enters]
            change[leaves] -= 1.0
            inverse -= (inverse[:, leaves] / (change[leaves] + 1.0))[:, None] * change
        return None

    def _factor(self, costs: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
        """The inverse of the basis, (k + 1, k + 1), and its right-hand side."""
        k, boxed = self.free.shape[1], self._rows < 0
        matrix = np.empty((k + 1, k + 1))
        matrix[:, :-1] = self._signs[:, None] * np.where(
            boxed[:, None], np.eye(k)[np.where(boxed, -1 - self._rows, 0)], self.free[self._rows]
        )
        matrix[:, -1] = np.where(boxed, 0.0, costs[self._rows])
        right = np.where(boxed, _BOX, limit - self._signs * self.tau[self._rows])
        return np.linalg.inv(matrix), right
