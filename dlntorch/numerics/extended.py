"""Matrix products with about twice the digits of float64, and the least squares that they refine.

Source: Ozaki, Ogita, Oishi and Rump, Numer. Algorithms 59 (2012). Both factors are split into slices of few bits, so
that the products of slices are exact in float64, and BLAS does the work. What cancels in such a product cancels in the
data, not in its rounding.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["product", "refine", "residual"]

EPS = float(np.finfo(np.float64).eps)
BITS = 108  # twice those of float64
_CORRECTIONS = 10


def product(left: np.ndarray, right: np.ndarray, wanted: int = BITS) -> np.ndarray:
    """left @ right, each entry off by eps of itself and 2^{−wanted} of its row's and its column's largest entries.

    Args:
        left: Shape (k, m).
        right: Shape (m, n).
        wanted: Bits of each factor that count.

    Returns:
        Shape (k, n), float64.
    """
    inner = left.shape[1]
    if inner == 0 or left.size == 0 or right.size == 0:
        return np.zeros((left.shape[0], right.shape[1]))
    bits = (53 - int(np.ceil(np.log2(inner)))) // 2 - 1
    count = -(-min(wanted, BITS) // bits)
    slices_left, exponent_left = _slices(left, bits, count, axis=1)
    slices_right, exponent_right = _slices(right, bits, count, axis=0)
    high = np.zeros((left.shape[0], right.shape[1]))
    low = np.zeros_like(high)
    for order in range(count - 1, -1, -1):  # the smallest terms first
        for i in range(order + 1):
            term = np.ldexp(slices_left[i] @ slices_right[order - i], -bits * (order + 2))
            total = high + term
            virtual = total - high
            low += (high - (total - virtual)) + (term - virtual)
            high = total
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(high + low, exponent_left + exponent_right)


def _slices(matrix: np.ndarray, bits: int, count: int, axis: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Integers of ``bits`` bits whose sum, each 2^{−bits} of the one before, is the matrix; the exponents of its lines."""
    exponent = np.frexp(np.abs(matrix).max(axis=axis, keepdims=True))[1]
    rest = np.ldexp(matrix, -exponent)
    slices = []
    for _ in range(count):
        rest = np.ldexp(rest, bits)
        slices.append(np.rint(rest))
        rest = rest - slices[-1]
    return slices, exponent


def residual(A: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """y − Ax, shape (m,), rounded once: also where all digits of float64 cancel."""
    support = np.flatnonzero(x)
    size = np.ldexp(1.0, np.frexp(np.abs(x).max(initial=0.0))[1])  # a power of two: y / size is exact
    return product(np.column_stack([A[:, support], y / size]), np.append(-x[support], size)[:, None])[:, 0]


def refine(
    values: np.ndarray, solve: Callable[[np.ndarray], np.ndarray], rest: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, float]:
    """Iterative refinement of the solution of a linear system, and the error that it leaves.

    Args:
        values: First guess, shape (k,).
        solve: r ↦ an approximate solution of (system) d = r.
        rest: x ↦ the right-hand side minus (system) x, with more digits than float64 has, see :func:`residual`.

    Returns:
        The refined values, and the last correction relative to the largest value: eps or less where refinement
        converged, and otherwise an estimate of the relative error that remains.
    """
    best, error = values, np.inf
    for _ in range(_CORRECTIONS):
        step = solve(rest(values))
        size = float(np.abs(values).max(initial=0.0)) or 1.0
        last = float(np.abs(step).max(initial=0.0)) / size
        if not last < error:  # diverging, or at rounding
            break
        best, error = values, last
        values = values + step
        if last <= EPS:
            return values, last
    return best, error
