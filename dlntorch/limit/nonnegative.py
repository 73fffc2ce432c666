"""What ψ >= 0 can reach: the equations that hold in the limit of the flow, and the coordinates that stay above 0 there.

The flow of ψ = θ^p minimises ½‖Aψ − y‖² over ψ >= 0, so it ends at Aψ = b, b the nearest point to y of {Aψ : ψ >= 0}. Where
some coordinate is 0 in every solution of that (where y is out of reach, all with A_iᵀ(y − b) < 0 are), its ν tends to −∞.
The others end where their own flow with b for data does: ν_F = A_Fᵀ∫(y − Aψ) stays in range(A_Fᵀ), as A_Fᵀ(y − b) = 0.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse
from scipy.optimize import linprog, nnls

__all__ = ["reachable"]

_FEASIBLE = 1e-11  # ‖y − b‖/‖y‖ that is rounding
_SLACK = 1e-9  # cosine of the angle between A_i and y − b that is rounding


def reachable(A: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """Which coordinates are above 0 in some minimiser ψ >= 0 of ‖Aψ − y‖, and the least ‖Aψ − y‖/‖y‖.

    Args:
        A: (m, n).
        y: (m,), in range(A).
    """
    size = float(np.linalg.norm(y))
    if size == 0:
        return _largest_support(A, y, np.ones(A.shape[1], dtype=bool)), 0.0
    x, _ = nnls(A, y / size, maxiter=max(300, 30 * A.shape[1]))
    r = y / size - A @ x
    distance = float(np.linalg.norm(r))
    possible = np.ones(A.shape[1], dtype=bool)
    b = y
    if distance <= _FEASIBLE:
        distance = 0.0
    else:
        norms = np.linalg.norm(A, axis=0)
        possible = (x > 0) | (A.T @ r >= -_SLACK * norms * distance)
        b = size * (A @ x)
    return _largest_support(A, b, possible), distance


def _largest_support(A: np.ndarray, b: np.ndarray, possible: np.ndarray) -> np.ndarray:
    """Which of the ``possible`` coordinates are above 0 in some solution of Aψ = b, ψ >= 0.

    max Σ z over Aψ = b t, z <= ψ, 0 <= z <= 1, t >= 1: ψ and t may be as large as they like, so each z_i is 0 or 1.
    """
    columns = np.flatnonzero(possible)
    k, m = columns.size, b.size
    found = np.zeros_like(possible)
    if k == 0:
        return found
    rows = np.max(np.abs(A), axis=1)
    rows[rows == 0] = 1.0
    matrix, right = A[:, columns] / rows[:, None], b / rows
    right = right / (np.max(np.abs(right)) or 1.0)
    # ψ = z + rest, so that z <= ψ is a bound.
    equations = np.hstack([matrix, matrix, -right[:, None]])
    costs = np.concatenate([-np.ones(k), np.zeros(k + 1)])
    bounds = [(0, 1)] * k + [(0, None)] * k + [(1, None)]
    result = linprog(costs, A_eq=scipy.sparse.csr_array(equations), b_eq=np.zeros(m), bounds=bounds, method="highs")
    if result.x is None:  # the solver gave up: let Newton's method find out
        return possible.copy()
    found[columns] = result.x[:k] > 0.5
    return found
