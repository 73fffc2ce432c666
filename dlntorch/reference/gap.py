"""The duality gap of min ‖x‖₁, or of another cost, subject to Ax = y, with what rounding and a residual may have made of it."""

from __future__ import annotations

import numpy as np

from dlntorch.numerics.extended import EPS
from dlntorch.reference.costs import PLAIN, Costs

__all__ = ["duality_gap"]


def duality_gap(
    A: np.ndarray, y: np.ndarray, x: np.ndarray, dual: np.ndarray, residual: np.ndarray, costs: Costs = PLAIN
) -> tuple[float, float, float]:
    """(‖x‖₁ − yᵀλ)/‖x‖₁, a bound of its error, and the rounding of Aᵀλ, eps·max|A|ᵀ|λ|; 0 where x = 0.

    Weak duality ‖x‖₁ >= yᵀλ is a statement about exact numbers: Ax = y and |Aᵀλ| <= 1. With r = y − Ax, the computed gap
    may be off, and negative, by |rᵀλ| and by the rounding of Aᵀλ and yᵀλ, a few eps(max|A|ᵀ|λ| + |y|ᵀ|λ|/‖x‖₁).
    With costs, cost(x) is in the place of ‖x‖₁.

    Args:
        A: Shape (m, n).
        y: Shape (m,).
        x: Shape (n,).
        dual: λ, shape (m,).
        residual: r, shape (m,).
        costs: The cost of x.
    """
    value = costs.value(x)
    if not value:
        return 0.0, 0.0, 0.0
    if np.isinf(value):  # x is not admitted
        return 1.0, 0.0, 0.0
    size = np.abs(dual)
    rounding = EPS * float((size @ np.abs(A)).max())
    weight = 1.0 if costs is PLAIN else float(np.abs(x).sum()) / value
    bound = 4 * weight * rounding + float(size @ (4 * EPS * np.abs(y) + np.abs(residual))) / value
    return (value - float(y @ dual)) / value, bound, rounding
