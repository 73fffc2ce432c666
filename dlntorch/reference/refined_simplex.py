"""Pivots with twice the digits: for bases whose columns are so nearly dependent that float64 cannot order their values.

A coordinate of size 1e-10 beside others of size one, on a basis of condition 1e10, has no digit left in B⁻¹y; whether it
stays in the basis is what the minimiser depends on. Here x_B, λ and each column B⁻¹A_j are refined with residuals of twice
the digits, which leaves them accurate to the rounding of their largest entry; the method is that of
:func:`~dlntorch.reference.crossover.simplex`.
"""

from __future__ import annotations

import numpy as np

from dlntorch.numerics import extended
from dlntorch.reference.costs import Costs
from dlntorch.reference.crossover import Basis, leading_basis, line_search

__all__ = ["refined_simplex"]

_VIOLATION = 1e-11
_ZERO = 4 * extended.EPS  # relative to the largest value: what refinement leaves


def refined_simplex(
    A: np.ndarray, y: np.ndarray, x: np.ndarray, tau: np.ndarray, costs: Costs, max_pivots: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """(x, λ) of an optimal basis, pivoting from the support of ``x``; None where there is none within ``max_pivots``.

    Args:
        A: Shape (m, n), full row rank.
        y: Shape (m,).
        x: A vertex, or nearly one, shape (n,).
        tau: Its Aᵀλ relative to the costs, shape (n,).
        costs: What is minimised.
        max_pivots: Bound on the pivots.
    """
    basis = leading_basis(A, np.where(x != 0, 1.0, 1e-6 * np.exp(-np.abs(1 - np.abs(tau)))))
    rng = np.random.default_rng(0)
    stalled = False
    for _ in range(max_pivots + 1):
        if basis is None or basis.rcond <= extended.EPS:
            return None
        values = _refined(basis, basis.B, y)
        zero = np.abs(values) <= _ZERO * np.abs(values).max()
        if costs.one_sided and np.any(values[~zero] < 0):
            return None
        inside = np.clip(tau[basis.columns], -1, 1)
        ends = costs.slope(inside, basis.columns)
        start = np.where(np.isfinite(ends), np.abs(inside) * np.where(np.isfinite(ends), ends, 0.0), 0.0)
        slope = np.where(zero, start, costs.slope(values, basis.columns))
        dual = _refined(basis, basis.B.T, slope, transposed=True)
        violation = costs.excess(dual @ A)
        violation[basis.columns] = -1.0
        bad = np.flatnonzero(violation > _VIOLATION)
        if not bad.size:
            out = np.zeros_like(x)
            out[basis.columns] = np.where(zero, 0.0, values)
            return out, dual
        j = int(rng.choice(bad)) if stalled else int(np.argmax(violation))
        sigma = 1.0 if A[:, j] @ dual > 0 else -1.0
        d = sigma * _refined(basis, basis.B, A[:, j])
        k, t, _ = line_search(values, zero, slope, d, -violation[j], costs, basis.columns, _ZERO)
        if k < 0:
            return None
        stalled = t == 0
        columns = basis.columns.copy()
        columns[k] = j
        basis = Basis(A, columns)
    return None


def _refined(basis: Basis, matrix: np.ndarray, rhs: np.ndarray, transposed: bool = False) -> np.ndarray:
    """The solution of matrix · x = rhs, with the matrix B or Bᵀ, to the rounding of its largest entry."""
    solve = basis.solve_transposed if transposed else basis.solve
    return extended.refine(solve(rhs), solve, lambda x: extended.residual(matrix, x, rhs))[0]
