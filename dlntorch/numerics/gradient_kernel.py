"""g = Aᵀ(y − Aψ) in one pass over A, compiled: what a step of plain SGD, and one of its certificate, spends its time on.

A few rows at a time, their residuals and their part of g are computed while they are in cache, where two matrix-vector
products would read A twice.
"""

from __future__ import annotations

from dlntorch.numerics.compiling import SUMS, kernel

__all__ = ["gradient", "gradient_pair"]


@kernel(fastmath=SUMS)
def gradient(A, y, rows, psi, g):
    """g = Σ r_i A_i over the given rows with r = y − Aψ, in one pass over A; returns ‖r‖₂²."""
    b, n = rows.size, psi.size
    zero = psi.dtype.type(0)
    square = 0.0
    for j in range(n):
        g[j] = zero
    for i in range(0, b, 4):  # beyond the last row, the block's first row again, with weight zero
        i1 = i + 1 if i + 1 < b else i
        i2 = i + 2 if i + 2 < b else i
        i3 = i + 3 if i + 3 < b else i
        a0, a1, a2, a3 = A[rows[i]], A[rows[i1]], A[rows[i2]], A[rows[i3]]
        s0 = s1 = s2 = s3 = zero
        for j in range(n):
            x = psi[j]
            s0 += a0[j] * x
            s1 += a1[j] * x
            s2 += a2[j] * x
            s3 += a3[j] * x
        r0 = y[rows[i]] - s0
        r1 = y[rows[i1]] - s1 if i1 > i else zero
        r2 = y[rows[i2]] - s2 if i2 > i else zero
        r3 = y[rows[i3]] - s3 if i3 > i else zero
        square += (r0 * r0 + r1 * r1) + (r2 * r2 + r3 * r3)
        for j in range(n):
            g[j] += (a0[j] * r0 + a1[j] * r1) + (a2[j] * r2 + a3[j] * r3)
    return square


@kernel(fastmath=SUMS)
def gradient_pair(A, y, psi, g, other_psi, other_g):
    """:func:`gradient` of two ψ with all rows in one pass over A; returns both ‖r‖₂². The first is that of ``gradient``."""
    m, n = y.size, psi.size
    zero = psi.dtype.type(0)
    square, other_square = 0.0, 0.0
    for j in range(n):
        g[j] = zero
        other_g[j] = zero
    for i in range(0, m, 4):
        i1 = i + 1 if i + 1 < m else i
        i2 = i + 2 if i + 2 < m else i
        i3 = i + 3 if i + 3 < m else i
        a0, a1, a2, a3 = A[i], A[i1], A[i2], A[i3]
        s0 = s1 = s2 = s3 = t0 = t1 = t2 = t3 = zero
        for j in range(n):
            x, z = psi[j], other_psi[j]
            s0 += a0[j] * x
            s1 += a1[j] * x
            s2 += a2[j] * x
            s3 += a3[j] * x
            t0 += a0[j] * z
            t1 += a1[j] * z
            t2 += a2[j] * z
            t3 += a3[j] * z
        r0, q0 = y[i] - s0, y[i] - t0
        r1, q1 = (y[i1] - s1, y[i1] - t1) if i1 > i else (zero, zero)
        r2, q2 = (y[i2] - s2, y[i2] - t2) if i2 > i else (zero, zero)
        r3, q3 = (y[i3] - s3, y[i3] - t3) if i3 > i else (zero, zero)
        square += (r0 * r0 + r1 * r1) + (r2 * r2 + r3 * r3)
        other_square += (q0 * q0 + q1 * q1) + (q2 * q2 + q3 * q3)
        for j in range(n):
            g[j] += (a0[j] * r0 + a1[j] * r1) + (a2[j] * r2 + a3[j] * r3)
            other_g[j] += (a0[j] * q0 + a1[j] * q1) + (a2[j] * q2 + a3[j] * q3)
    return square, other_square
