"""The stages of one Radau IIA step of ẋ = R(r − AΔψ(Bx)): Newton's iteration with the exact Jacobian at mid-step.

x are coordinates in which a unit is a step of order one: with W the rate of the cell at a base point, W Aᵀ = QR and
B = W⁻¹Q. So ν moves by Bx, each of its entries to relative accuracy on its own scale, also where the slack of one
coordinate is α^{p−2} beside another of size one, and x is a step of s = ∫(y − Aψ) by R.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg.lapack

from dlntorch.flow.cell import Cell
from dlntorch.flow.radau import Tableau

__all__ = ["Solved", "StageSolver"]

lapack: Any = scipy.linalg.lapack  # whose functions are made at run time

#: A new base is due where a rate has grown or fallen by so much since the last.
_GROWN, _FALLEN = 4.0, 1.0 / 64
_MOST_ITERATIONS, _NO_RATE = 25, 0.9
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Solved:
    """A step's stages Z (s, m), their steps in ν (s, n), and the estimate of the step's error in ν (n,)."""

    Z: np.ndarray
    steps: np.ndarray
    error: np.ndarray


class StageSolver:
    """Solves for the stages of steps from the cell's point.

    Args:
        A: Full row rank, shape (m, n).
        cell: The point, which the caller moves.
        method: The coefficients.

    Attributes:
        evaluations: How often y − Aψ was evaluated, once for every stage and iteration.
    """

    def __init__(self, A: np.ndarray, cell: Cell, method: Tableau) -> None:
        self.A, self.cell, self.method = A, cell, method
        self.evaluations = 0
        self._weight: np.ndarray | None = None
        self.rebase()

    def rebase(self) -> np.ndarray | None:
        """Take the cell's point as the base if it is due; the matrix that takes old coordinates to new ones, or None."""
        weight = self.cell.rate()
        largest = float(weight.max(initial=0.0))
        weight = np.maximum(weight, 1e-12 * largest) if largest > 0 else np.ones_like(weight)
        before = None
        if self._weight is not None:
            if not self.cell.bends:
                return None
            ratio = weight / self._weight
            if ratio.max() < _GROWN and ratio.min() > _FALLEN:
                return None
            before = self.B
        order = np.argsort(-weight, kind="stable")  # graded rows: largest first keeps the accuracy of the small ones
        Q, self.R = np.linalg.qr((weight[:, None] * self.A.T)[order])
        basis = np.empty_like(Q)
        basis[order] = Q
        self._weight = weight
        self.B = basis / weight[:, None]
        self.columns = np.ascontiguousarray((self.R @ self.A).T)
        return None if before is None else basis.T @ (weight[:, None] * before)

    def velocity(self, r: np.ndarray) -> np.ndarray:
        """ẋ at the residual r, shape (m,)."""
        return self.R @ r

    def stiffness(self, D: np.ndarray) -> float:
        """A bound of the Jacobian's eigenvalues at slopes D."""
        return float(np.abs((self.columns.T * D) @ self.B).sum(axis=1).max(initial=0.0))

    def solve(
        self, h: float, guess: np.ndarray, velocity: np.ndarray, D: np.ndarray, limits: np.ndarray
    ) -> Solved | None:
        """The stages of a step, or None where Newton's iteration does not converge.

        Args:
            h: Length of the step.
            guess: Z to begin with, shape (s, m); all zeros are none.
            velocity: ẋ at the point.
            D: dψ/dν at the point, shape (n,).
            limits: What an error of ν may be, shape (n,).
        """
        t = self.method
        with np.errstate(all="ignore"):
            V = guess @ self.B.T
            moving = bool(guess.any())
            slope = self.cell.slope(V[t.middle]) if moving else D
            K = (self.columns.T * (slope if np.isfinite(slope).all() else D)) @ self.B
            factors = self._factors(K, h)
            if factors is None:
                return None
            straight = ~np.full(velocity.shape, moving) | (np.abs(h * velocity) <= 4 * np.abs(guess[-1]))
            offset = h * t.nodes[:, None] * np.where(straight, velocity, 0.0)
            rest = np.where(straight, 0.0, velocity)
            Y, Z, last = guess - offset, guess, math.inf
            for iteration in range(1, _MOST_ITERATIONS + 1):
                change = self.cell.change(V)
                self.evaluations += t.stages
                if not np.isfinite(change).all():
                    return None
                modes = t.to_modes @ (rest - change @ self.columns - (t.inverse @ Y) / h)
                dZ = np.real(t.from_modes @ _substituted(factors, modes))
                Y = Y + dZ
                Z = Y + offset
                V = Z @ self.B.T
                moved = np.abs(dZ @ self.B.T).max(axis=0)
                worst = float((moved / np.maximum(limits, 2 * _EPS * np.abs(V).max(axis=0))).max(initial=0.0))
                if not worst < math.inf:
                    return None
                rate = worst / last if iteration > 1 else 0.0
                done = worst <= 1 or (0 < rate < 1 and rate / (1 - rate) * worst <= 1)
                if not done and iteration > 1 and (rate >= 2 or (iteration > 3 and rate >= _NO_RATE)):
                    if worst >= 100:
                        return None
                    done = True  # rounding
                if done:
                    right = velocity + np.real(t.eigenvalues[0]) / h * (t.embedded @ Z)
                    return Solved(Z, V, np.abs(self.B @ lapack.dgetrs(*factors[0], right)[0]))
                last = worst
        return None

    def _factors(self, K: np.ndarray, h: float) -> list[tuple[np.ndarray, np.ndarray]] | None:
        """LU factors of λ/h + K, the real one first."""
        out = []
        if not np.isfinite(K).all():
            return None
        for number, value in enumerate(self.method.eigenvalues):
            matrix = np.array(K, dtype=np.complex128 if number else np.float64, order="F")
            matrix[np.diag_indices_from(matrix)] += (value if number else np.real(value)) / h
            lu, pivots, info = (lapack.zgetrf if number else lapack.dgetrf)(matrix, overwrite_a=1)
            if info:
                return None
            out.append((lu, pivots))
        return out


def _substituted(factors: list[tuple[np.ndarray, np.ndarray]], right: np.ndarray) -> np.ndarray:
    """The solutions for the right sides (modes, m)."""
    out = np.empty_like(right)
    out[0] = lapack.dgetrs(*factors[0], np.real(right[0]))[0]
    for number in range(1, len(factors)):
        out[number] = lapack.zgetrs(*factors[number], right[number])[0]
    return out
