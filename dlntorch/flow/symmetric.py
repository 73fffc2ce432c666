"""Complex symmetric systems λM + K of a collocation step, compiled, in real arithmetic: LDLᵀ without interchanges.

M and K are symmetric and positive (semi)definite and λ has a positive real part, so the real part of the matrix is positive
definite: its pivots cannot vanish, and elements grow by less than a factor of three (Higham 1998, Factorizing complex
symmetric matrices with positive definite real and imaginary parts). Scales of rows and columns change no digit.
"""

from __future__ import annotations

import math

import numpy as np

from dlntorch.flow.small_products import multiply
from dlntorch.numerics.compiling import SUMS, kernel

__all__ = ["factor", "substitute", "substitute_real"]

#: Columns that are eliminated before the rest of the matrix is updated by products.
_BLOCK = 48


@kernel(inline="always")
def _inverse(a, b):
    """1/(a + ib)."""
    scale = max(abs(a), abs(b))
    a, b = a / scale, b / scale
    size = (a * a + b * b) * scale
    return a / size, -b / size


@kernel(fastmath=SUMS)
def _eliminate(real, imag, first, last, columns):
    """Eliminate the columns first … last − 1 and update those columns alone; False where a pivot is no number.

    The lower triangle becomes L, the diagonal the inverses of the pivots.
    """
    m = real.shape[0]
    x, z = columns[0], columns[1]
    for k in range(first, last):
        if not 0.0 < max(abs(real[k, k]), abs(imag[k, k])) < math.inf:
            return False
        a, b = _inverse(real[k, k], imag[k, k])
        real[k, k], imag[k, k] = a, b
        for i in range(k + 1, m):
            x[i], z[i] = real[i, k], imag[i, k]
        for i in range(k + 1, m):
            c = x[i] * a - z[i] * b
            d = x[i] * b + z[i] * a
            real[i, k], imag[i, k] = c, d
            for j in range(k + 1, min(i + 1, last)):
                real[i, j] -= c * x[j] - d * z[j]
                imag[i, j] -= c * z[j] + d * x[j]
    return True


@kernel(fastmath=SUMS)
def _update(real, imag, first, last):
    """Subtract (LD)Lᵀ of the columns first … last − 1 from the rest of the matrix, by products of real matrices."""
    rows, width = real.shape[0] - last, last - first
    L, LD, product = np.empty((2, rows, width)), np.empty((2, rows, width)), np.empty((rows, rows))
    for i in range(rows):
        for j in range(width):
            c, d = real[last + i, first + j], imag[last + i, first + j]
            a, b = _inverse(real[first + j, first + j], imag[first + j, first + j])
            L[0, i, j], L[1, i, j] = c, d
            LD[0, i, j], LD[1, i, j] = c * a - d * b, c * b + d * a
    for part in range(4):
        one, other = part // 2, part % 2
        multiply(LD[one], L[other].T, product)
        out, sign = (real, 1.0 - 2.0 * one) if one == other else (imag, 1.0)
        for i in range(rows):
            for j in range(i + 1):
                out[last + i, last + j] -= sign * product[i, j]


@kernel
def factor(real, imag, columns):
    """LDLᵀ of real + i·imag (m, m) in place, from the lower triangles; ``columns`` is scratch (2, m)."""
    m, first, good = real.shape[0], 0, True
    while good and first < m:
        last = m if m - first <= 2 * _BLOCK else first + _BLOCK
        good = _eliminate(real, imag, first, last, columns)
        if good and last < m:
            _update(real, imag, first, last)
        first = last
    return good


@kernel(fastmath=SUMS)
def substitute(real, imag, x, z):
    """Solve for the right side x + iz (m,) in place."""
    m = x.size
    for i in range(m):
        a, b = x[i], z[i]
        for j in range(i):
            a -= real[i, j] * x[j] - imag[i, j] * z[j]
            b -= real[i, j] * z[j] + imag[i, j] * x[j]
        x[i], z[i] = a, b
    for i in range(m):
        a, b = x[i], z[i]
        x[i] = a * real[i, i] - b * imag[i, i]
        z[i] = a * imag[i, i] + b * real[i, i]
    for i in range(m - 1, 0, -1):
        a, b = x[i], z[i]
        for j in range(i):
            x[j] -= real[i, j] * a - imag[i, j] * b
            z[j] -= real[i, j] * b + imag[i, j] * a


@kernel(fastmath=SUMS)
def substitute_real(real, x):
    """Solve for the right side x (m,) in place."""
    m = x.size
    for i in range(m):
        a = x[i]
        for j in range(i):
            a -= real[i, j] * x[j]
        x[i] = a
    for i in range(m):
        x[i] *= real[i, i]
    for i in range(m - 1, 0, -1):
        a = x[i]
        for j in range(i):
            x[j] -= real[i, j] * a
