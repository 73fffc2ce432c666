"""The stages of one Radau IIA step of ẋ = R(r − AΔψ(Bx)): Newton's iteration with the exact Jacobian at mid-step.

x are coordinates in which a unit is a step of order one: with W the rate of the cell at a base point, W Aᵀ = QR and
B = W⁻¹Q. So ν moves by Bx, each of its entries to relative accuracy on its own scale, also where the slack of one
coordinate is α^{p−2} beside another of size one, and x is a step of s = ∫(y − Aψ) by R.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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


class Newton:
    """When Newton's iteration for the stages ends.

    Args:
        limits: What an error of ν may be, shape (n,).

    Attributes:
        going: Whether another iteration is due.
        converged: Whether the stages are as accurate as was asked, or as rounding allows.
    """

    def __init__(self, limits: np.ndarray) -> None:
        self.limits, self.going, self.converged = limits, True, False
        self._iteration, self._last = 0, math.inf

    def look(self, dV: np.ndarray, V: np.ndarray) -> None:
        """Take note of a correction dV of the stages V in ν, (s, n) each."""
        self._iteration += 1
        moved = np.abs(dV).max(axis=0)
        worst = float((moved / np.maximum(self.limits, 2 * _EPS * np.abs(V).max(axis=0))).max(initial=0.0))
        if not worst < math.inf:
            self.going = False
            return
        rate = worst / self._last if self._iteration > 1 else 0.0
        self.converged = worst <= 1 or (0 < rate < 1 and rate / (1 - rate) * worst <= 1)
        self.going = not self.converged and self._iteration < _MOST_ITERATIONS
        if self.going and self._iteration > 1 and (rate >= 2 or (self._iteration > 3 and rate >= _NO_RATE)):
            self.going, self.converged = False, worst < 100  # rounding
        self._last = worst


def split(method: Tableau, h: float, guess: np.ndarray, velocity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Z = Y + offset, the offset being motion at constant velocity in the components where that is no larger than Z.

    Returns:
        (offset (s, m), ẋ in the other components (m,)).
    """
    straight = np.full(velocity.shape, not guess.any()) | (np.abs(h * velocity) <= 4 * np.abs(guess[-1]))
    return h * method.nodes[:, None] * np.where(straight, velocity, 0.0), np.where(straight, 0.0, velocity)


class StageSolver:
    """Solves for the stages of steps from the cell's point.

    Args:
        A: Full row rank, shape (m, n).
        cell: The point, which the caller moves.
        method: The coefficients.

    Attributes:
        evaluations: How often y − Aψ was evaluated, once for every stage and iteration.
        lengths: ‖A_i‖, or a bound, shape (n,).
    """

    def __init__(self, A: np.ndarray, cell: Cell, method: Tableau) -> None:
        self.A, self.cell, self.method = A, cell, method
        self.evaluations = 0
        self.lengths, self._absolute = np.linalg.norm(A, axis=0), np.abs(A)
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

    def to_nu(self, x: np.ndarray) -> np.ndarray:
        """The step in ν of every row of x (..., m)."""
        return x @ self.B.T

    def magnitude(self, psi: np.ndarray) -> np.ndarray:
        """|A||ψ|, (m,): what a rounding of Aψ is relative to."""
        return self._absolute @ np.abs(psi)

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
            V = self.to_nu(guess)
            slope = self.cell.slope(V[t.middle]) if guess.any() else D
            system = self.system(h, slope if np.isfinite(slope).all() else D)
            if system is None:
                return None
            offset, rest = split(t, h, guess, velocity)
            Y, Z, newton = guess - offset, guess, Newton(limits)
            while newton.going:
                change = self.cell.change(V)
                self.evaluations += t.stages
                if not np.isfinite(change).all():
                    return None
                modes = system(t.to_modes @ (rest - self.force(change) - (t.inverse @ Y) / h))
                if modes is None:
                    return None
                dZ = np.real(t.from_modes @ modes)
                Y = Y + dZ
                Z = Y + offset
                dV = self.to_nu(dZ)
                V = self.moved(V, dV, Z)
                newton.look(dV, V)
            if not newton.converged:
                return None
            error = system((velocity + np.real(t.eigenvalues[0]) / h * (t.embedded @ Z))[None])
            return None if error is None else Solved(Z, V, np.abs(self.to_nu(np.real(error[0]))))

    def force(self, change: np.ndarray) -> np.ndarray:
        """What changes of ψ (s, n) take from ẋ, (s, m)."""
        return change @ self.columns

    def moved(self, V: np.ndarray, dV: np.ndarray, Z: np.ndarray) -> np.ndarray:
        """The stages' steps in ν after a correction dV, which made them those of Z."""
        return self.to_nu(Z)

    def system(self, h: float, D: np.ndarray) -> Callable[[np.ndarray], np.ndarray | None] | None:
        """What solves the systems λ/h + K for right sides (modes, m), the real one first; None where LU fails."""
        K = (self.columns.T * D) @ self.B
        out: list[tuple[np.ndarray, np.ndarray]] = []
        if not np.isfinite(K).all():
            return None
        for number, value in enumerate(self.method.eigenvalues):
            matrix = np.array(K, dtype=np.complex128 if number else np.float64, order="F")
            matrix[np.diag_indices_from(matrix)] += (value if number else np.real(value)) / h
            lu, pivots, info = (lapack.zgetrf if number else lapack.dgetrf)(matrix, overwrite_a=1)
            if info:
                return None
            out.append((lu, pivots))
        return lambda right: _substituted(out, right)


def _substituted(factors: list[tuple[np.ndarray, np.ndarray]], right: np.ndarray) -> np.ndarray:
    """The solutions for the right sides (modes, m)."""
    out = np.empty_like(right)
    out[0] = lapack.dgetrs(*factors[0], np.real(right[0]))[0]
    for number in range(1, len(right)):
        out[number] = lapack.zgetrs(*factors[number], right[number])[0]
    return out
