"""Least squares with signs, min ½‖Aβ − y‖² subject to σ_iβ_i >= 0 on N and β = 0 elsewhere, as N changes little by little.

The active-set method of Lawson and Hanson (1974), started where the last problem ended: the QR factors of the columns in
use are updated when one enters or leaves (scipy's ``qr_insert`` and ``qr_delete``), and never computed anew.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import qr, qr_delete, qr_insert, solve_triangular  # pyright: ignore[reportAttributeAccessIssue]  # made at run time

__all__ = ["SignedLeastSquares"]

EPS = float(np.finfo(np.float64).eps)
#: Rounding errors of a gradient A_iᵀr, in units of eps·‖A_i‖·‖y‖·cond: below it a gradient is called 0.
NOISE = 64.0
#: A column belongs to the span of others where this part of it, at most, is left.
DEPENDENT = 1e-11


class SignedLeastSquares:
    """β, r = y − Aβ and the factors of the columns where β ≠ 0.

    Args:
        A: Matrix (m, n).
        y: Data (m,).
    """

    def __init__(self, A: np.ndarray, y: np.ndarray) -> None:
        self.A, self.y = A, y
        self.norms: np.ndarray = np.linalg.norm(A, axis=0)
        self.beta = np.zeros_like(self.norms)
        self.columns: list[int] = []
        self.Q: np.ndarray = np.zeros((A.shape[0], 0))
        self.R: np.ndarray = np.zeros((0, 0))
        self.residual = y.copy()
        self.gradient = A.T @ y
        self._size = float(np.linalg.norm(y))
        self.noise = NOISE * EPS * self.norms * self._size

    def settle(self, wall: np.ndarray, signs: np.ndarray) -> None:
        """Solve for the coordinates ``wall``, whose signs are ``signs`` (n,); what is not in it is 0 already."""
        blocked: set[int] = set()
        for _ in range(20 * (len(wall) + len(self.columns)) + 20):
            if self.columns:
                self._descend(signs, blocked)
            self._refresh()
            idle = np.array([i for i in wall if self.beta[i] == 0 and i not in blocked], dtype=int)
            rise = signs[idle] * self.gradient[idle] - self.noise[idle] if idle.size else np.zeros(0)
            if not (rise > 0).any():
                return
            best = int(np.argmax(rise / self.norms[idle]))
            self._insert(int(idle[best]))

    def is_dependent(self, i: int) -> bool:
        """Whether column i lies in the span of those in use."""
        rest = self.A[:, i] - self.Q @ (self.Q.T @ self.A[:, i])
        rest -= self.Q @ (self.Q.T @ rest)
        return float(np.linalg.norm(rest)) <= DEPENDENT * float(self.norms[i])

    def _descend(self, signs: np.ndarray, blocked: set[int]) -> None:
        """To the minimiser over the columns in use, dropping those that would change their sign on the way."""
        while self.columns:
            here = np.array(self.columns)
            target = self._solve()
            now = self.beta[here]
            wrong = signs[here] * target <= 0
            if not wrong.any():
                self.beta[here] = target
                return
            ratio = np.full(here.size, np.inf)
            ratio[wrong] = np.abs(now[wrong]) / np.maximum(np.abs(now[wrong] - target[wrong]), 1e-300)
            step = float(ratio.min())
            moved = now + min(step, 1.0) * (target - now)
            gone = wrong & (ratio <= step * (1 + 1e-14))
            for position in np.flatnonzero(gone)[::-1]:
                i = self.columns.pop(int(position))
                self.beta[i] = 0.0
                if now[position] == 0:  # it has just entered, by rounding: not again before something else has moved
                    blocked.add(i)
                self._delete(int(position))
            if step > 0:
                blocked.clear()
            self.beta[here[~gone]] = moved[~gone]

    def _solve(self) -> np.ndarray:
        beta = solve_triangular(self.R, self.Q.T @ self.y, check_finite=False)
        rest = self.y - self.A[:, self.columns] @ beta
        return beta + solve_triangular(self.R, self.Q.T @ rest, check_finite=False)

    def _refresh(self) -> None:
        """r and Aᵀr, with zeros where a gradient is rounding."""
        residual = self.y - self.Q @ (self.Q.T @ self.y)
        residual -= self.Q @ (self.Q.T @ residual)
        diagonal = np.abs(np.diag(self.R))
        condition = float(diagonal.max() / diagonal.min()) if diagonal.size else 1.0
        self.residual = residual
        self.noise = NOISE * EPS * min(condition, 1e6) * self.norms * self._size
        gradient = self.A.T @ residual
        gradient[np.abs(gradient) <= self.noise] = 0.0
        gradient[self.columns] = 0.0
        self.gradient = gradient

    def _insert(self, i: int) -> None:
        column = self.A[:, i]
        if not self.columns:
            factors: Any = qr(column[:, None], mode="economic", check_finite=False)
            self.Q, self.R = factors
        else:
            at = len(self.columns)
            self.Q, self.R = qr_insert(self.Q, self.R, column, at, which="col", check_finite=False)
        self.columns.append(i)

    def _delete(self, position: int) -> None:
        if self.R.shape[1] == 1:
            self.Q, self.R = np.zeros((self.A.shape[0], 0)), np.zeros((0, 0))
        else:
            Q, R = qr_delete(self.Q, self.R, position, which="col", check_finite=False)
            k = R.shape[1]
            self.Q, self.R = Q[:, :k], R[:k]  # a square Q is taken for a full one, and stays square
