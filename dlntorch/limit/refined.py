"""The last digits of a limit: Newton's method with residuals in many digits, for the exact float64 entries of A, y and the start.

An ill-conditioned limit is known to its ``uncertainty`` only, whatever solves its equations in float64. With ν = Aᵀλ, ψ = Ψ(ν)
and y − Aψ in many digits and the linear equations in float64, each step divides the error by what one of them is good for:

    (A D Aᵀ) δλ = y − AΨ(Aᵀλ),   D = Ψ′.

This is about the numbers as given: what a rounding of them changes is what ``uncertainty`` says, before and after.
"""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np
from scipy.linalg import solve_triangular
from torch import Tensor

from dlntorch.limit.multiprecision_starts import curves_of, has_exact_curves
from dlntorch.model import Parametrization
from dlntorch.model.exact_curves import ExactCurve
from dlntorch.problem import Problem

__all__ = ["MAX_ENTRIES", "refined"]

#: Entries of A up to which this takes tens of milliseconds.
MAX_ENTRIES = 5_000
_DIGITS = 40
_STEPS = 12
_ROUNDING = 2.0**-53


def refined(problem: Problem, law: Parametrization, start: Tensor, psi: np.ndarray) -> np.ndarray | None:
    """The ψ of the limit from θ(0) = ``start`` (width, n), rounded once, from one that is near it; None where that fails.

    Args:
        problem: (A, y) of full row rank, dense.
        law: The parametrization; one without closed forms has no such refinement.
        start: θ(0), taken as exact.
        psi: The limit to some digits, shape (n,).
    """
    theta = start.numpy()
    if problem.m * problem.n > MAX_ENTRIES or problem.reduced() is not problem or not has_exact_curves(law, theta):
        return None
    A, y = problem.A.detach().cpu().double().numpy(), problem.y.detach().cpu().double().numpy()
    A, y = _scaled(A, y)
    with mp.workdps(_DIGITS + _lost(law, theta, psi)), np.errstate(all="ignore"):
        try:
            return _newton(A, y, curves_of(law, theta), psi)
        except (ArithmeticError, ValueError, np.linalg.LinAlgError):
            return None


def _newton(A: np.ndarray, y: np.ndarray, curves: list[ExactCurve], psi: np.ndarray) -> np.ndarray | None:
    rows, columns, right = (_exact(part) for part in (A, A.T, y))
    nu = [curve.inverse(mp.mpf(float(value))) for curve, value in zip(curves, psi, strict=True)]
    root = _roots(curves, nu)
    if root is None:
        return None
    solve = _Graded(A, root)
    lam, size = [mp.mpf(0)] * len(rows), float(np.max(np.abs(psi)))
    for _ in range(_STEPS):  # the λ of which Aᵀλ is the D-nearest to ν
        missing = np.array([float(v - mp.fdot(column, lam)) for v, column in zip(nu, columns, strict=True)])
        move = solve.nearest(missing)
        lam = [old + mp.mpf(float(step)) for old, step in zip(lam, move, strict=True)]
        if np.max(root * np.abs(A.T @ move) * root) <= 1e-3 * size:
            break
    before = np.inf
    for _ in range(_STEPS):
        nu = [mp.fdot(column, lam) for column in columns]
        values = [curve.value(v) for curve, v in zip(curves, nu, strict=True)]
        root = None if any(v is None for v in values) else _roots(curves, nu)
        if root is None:
            return None
        r = np.array([float(v - mp.fdot(row, values)) for v, row in zip(right, rows, strict=True)])
        solve = _Graded(A, root)
        move = solve.solution(r)
        change = float(np.max(root * np.abs(A.T @ move) * root)) / size
        if change <= _ROUNDING:
            return np.array([float(v) for v in values])
        if not change < 0.5 * before:
            return None
        lam, before = [old + mp.mpf(float(step)) for old, step in zip(lam, move, strict=True)], change
    return None


class _Graded:
    """D^{1/2}Aᵀ = QR with rows sorted by size."""

    def __init__(self, A: np.ndarray, root: np.ndarray) -> None:
        order = np.argsort(-root * np.max(np.abs(A), axis=0))
        self.order, self.root = order, root
        self.Q, self.R = np.linalg.qr((A * root).T[order])

    def solution(self, r: np.ndarray) -> np.ndarray:
        """δλ with A D Aᵀ δλ = r."""
        return solve_triangular(self.R, solve_triangular(self.R, r, trans=1))

    def nearest(self, nu: np.ndarray) -> np.ndarray:
        """The λ that makes Aᵀλ nearest to ν in the metric of D."""
        return solve_triangular(self.R, self.Q.T @ (self.root * nu)[self.order])


def _roots(curves: list[ExactCurve], nu: list[Any]) -> np.ndarray | None:
    """D^{1/2}, shape (n,)."""
    root = np.array([float(mp.sqrt(curve.slope(v))) for curve, v in zip(curves, nu, strict=True)])
    return root if np.all(np.isfinite(root)) and np.all(root > 0) else None


def _scaled(A: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of about one size, by powers of two."""
    exponents = -np.frexp(np.max(np.abs(A), axis=1))[1]
    return np.ldexp(A, exponents[:, None]), np.ldexp(y, exponents)


def _exact(part: np.ndarray) -> list[Any]:
    return [[mp.mpf(v) for v in row] for row in part.tolist()] if part.ndim == 2 else [mp.mpf(v) for v in part.tolist()]


def _lost(law: Parametrization, theta: np.ndarray, psi: np.ndarray) -> int:
    """Decimal digits that a coordinate near its pole needs beside those of the answer."""
    power = law.small_start.p if law.small_start else 2.0
    smallest = power * float(np.min(np.log10(np.abs(theta[theta != 0]))))
    return int(max(0.0, float(np.log10(np.max(np.abs(psi)) or 1.0)) - smallest)) + 10
