"""Nonnegative least squares: where no ψ >= 0 has Aψ = y, and by how much."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

__all__ = ["INFEASIBLE", "infeasible_reason", "nonnegative_least_squares"]

#: Relative residual of nonnegative least squares from which Aψ = y, ψ >= 0 counts as out of reach.
INFEASIBLE = 1e-9


def nonnegative_least_squares(A: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """argmin ‖Aψ − y‖₂ over ψ >= 0, shape (n,), and ‖Aψ − y‖₂/‖y‖₂ there; by the active sets of Lawson and Hanson.

    Args:
        A: Shape (m, n), as given: other rows have other least squares.
        y: Shape (m,), nonzero.
    """
    matrix, side = (int(np.frexp(np.abs(part).max())[1]) for part in (A, y))
    B, b = np.ldexp(A, -matrix), np.ldexp(y, -side)
    psi, residual = nnls(B, b, maxiter=10 * max(A.shape))
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(psi, side - matrix), float(residual / np.linalg.norm(b))


def infeasible_reason(residual: float) -> str:
    """One line for a status."""
    return (
        f"no psi >= 0 has A psi = y: nonnegative least squares leaves ‖A psi − y‖/‖y‖ = {residual:.6g}, "
        "and psi is where it lies"
    )
