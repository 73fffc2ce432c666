"""The stages of one Radau step of a small problem, compiled: what an integration spends its time on.

The same iteration as :class:`dlntorch.flow.stages.StageSolver` in numpy, for cells that are two-sided. Complex matrices
are held as two real ones, so that LLVM vectorises their elimination.
"""

from __future__ import annotations

import math

import numpy as np

from dlntorch.flow.cell_kernels import change_sides
from dlntorch.numerics.compiling import SUMS, kernel

__all__ = ["solve_stages"]

#: Newton's iteration: how many at most, and when a rate of convergence is none.
_MOST_ITERATIONS, _NO_RATE = 25, 0.9
_EPS = 2.220446049250313e-16


@kernel(fastmath=SUMS)
def _eliminate(real, imag, pivots):
    """LU factors of real + i·imag (m, m) in place, rows interchanged; False where a pivot is zero or not finite."""
    m = real.shape[0]
    for k in range(m):
        best, row = -1.0, k
        for i in range(k, m):
            size = abs(real[i, k]) + abs(imag[i, k])
            if size > best:
                best, row = size, i
        if not 0.0 < best < math.inf:
            return False
        pivots[k] = row
        if row != k:
            for j in range(m):
                real[k, j], real[row, j] = real[row, j], real[k, j]
                imag[k, j], imag[row, j] = imag[row, j], imag[k, j]
        a, b = real[k, k] / best, imag[k, k] / best
        size = (a * a + b * b) * best
        a, b = a / size, -b / size
        for i in range(k + 1, m):
            c = real[i, k] * a - imag[i, k] * b
            d = real[i, k] * b + imag[i, k] * a
            real[i, k], imag[i, k] = c, d
            for j in range(k + 1, m):
                real[i, j] -= c * real[k, j] - d * imag[k, j]
                imag[i, j] -= c * imag[k, j] + d * real[k, j]
        real[k, k], imag[k, k] = a, b  # the inverse of the pivot
    return True


@kernel(fastmath=SUMS)
def _eliminate_real(real, pivots):
    """:func:`_eliminate` of a real matrix."""
    m = real.shape[0]
    for k in range(m):
        best, row = -1.0, k
        for i in range(k, m):
            size = abs(real[i, k])
            if size > best:
                best, row = size, i
        if not 0.0 < best < math.inf:
            return False
        pivots[k] = row
        if row != k:
            for j in range(m):
                real[k, j], real[row, j] = real[row, j], real[k, j]
        a = 1.0 / real[k, k]
        for i in range(k + 1, m):
            c = real[i, k] * a
            real[i, k] = c
            for j in range(k + 1, m):
                real[i, j] -= c * real[k, j]
        real[k, k] = a
    return True


@kernel(fastmath=SUMS)
def _substitute(real, imag, pivots, x, z):
    """Solve for the right side x + iz (m,) in place."""
    m = x.size
    for k in range(m):
        row = pivots[k]
        x[k], x[row] = x[row], x[k]
        z[k], z[row] = z[row], z[k]
    for i in range(m):
        a, b = x[i], z[i]
        for j in range(i):
            a -= real[i, j] * x[j] - imag[i, j] * z[j]
            b -= real[i, j] * z[j] + imag[i, j] * x[j]
        x[i], z[i] = a, b
    for i in range(m - 1, -1, -1):
        a, b = x[i], z[i]
        for j in range(i + 1, m):
            a -= real[i, j] * x[j] - imag[i, j] * z[j]
            b -= real[i, j] * z[j] + imag[i, j] * x[j]
        x[i] = a * real[i, i] - b * imag[i, i]
        z[i] = a * imag[i, i] + b * real[i, i]


@kernel(fastmath=SUMS)
def _substitute_real(real, pivots, x):
    """Solve for the right side x (m,) in place."""
    m = x.size
    for k in range(m):
        row = pivots[k]
        x[k], x[row] = x[row], x[k]
    for i in range(m):
        a = x[i]
        for j in range(i):
            a -= real[i, j] * x[j]
        x[i] = a
    for i in range(m - 1, -1, -1):
        a = x[i]
        for j in range(i + 1, m):
            a -= real[i, j] * x[j]
        x[i] = a * real[i, i]


@kernel(fastmath=SUMS)
def _slope(kind, k, c, u, f, step, fallback, out):
    """D at ν + step; ``fallback`` where the step leaves the curve."""
    sides, n = c.shape
    inside = True
    for i in range(n):
        out[i] = 0.0
    for side in range(sides):
        sign = 1.0 if side == 0 else -1.0
        for i in range(n):
            x = sign * c[side, i] * step[i]
            if kind == -1:
                out[i] += c[side, i] * f[side, i] * math.exp(min(x, 700.0))
            else:
                left = 1.0 - x / u[side, i]
                if left <= 0.0:
                    inside = False
                    left = 1.0
                power = (
                    1.0 / (left * left * left * left)
                    if kind == 3
                    else (1.0 / (left * left * left) if kind == 2 else left ** (-k - 1.0))
                )
                out[i] += k * c[side, i] / u[side, i] * f[side, i] * power
    for i in range(n):
        if not (inside and out[i] < math.inf):
            inside = False
    if not inside:
        for i in range(n):
            out[i] = fallback[i]


@kernel(fastmath=SUMS)
def _times(stages, rows, out):
    """out[j, i] = rows[i]·stages[j]."""
    for j in range(stages.shape[0]):
        for i in range(rows.shape[0]):
            total = 0.0
            for a in range(rows.shape[1]):
                total += rows[i, a] * stages[j, a]
            out[j, i] = total


@kernel(fastmath=SUMS)
def solve_stages(
    columns, B, velocity, kind, k, c, u, f, log_f, D, limits, h, inverse, nodes, lambdas_real, lambdas_imag,
    to_real, to_imag, from_real, from_imag, embedded, Z, V, error, jacobian_at,
):  # fmt: skip
    """Solve for the stages ``Z`` (s, m) of a step of length h, from the guess in it.

    ``columns`` is (RA)ᵀ, ``velocity`` Rr; ``limits`` (n,) is what an error of ν may be. V (s, n) receives BZ, ``error``
    (n,) the estimate in ν. Returns (iterations, the last rate of convergence), with 0 iterations left out: negative
    iterations tell of a failure.
    """
    s, m = Z.shape
    n = B.shape[0]
    modes = lambdas_real.size
    moving = False
    for j in range(s):
        for a in range(m):
            moving = moving or Z[j, a] != 0.0
    _times(Z, B, V)
    slope = np.empty(n)
    if moving:
        _slope(kind, k, c, u, f, V[jacobian_at], D, slope)
    else:
        slope[:] = D
    K = np.zeros((m, m))
    for i in range(n):
        for a in range(m):
            w = columns[i, a] * slope[i]
            for b in range(m):
                K[a, b] += w * B[i, b]
    real = np.empty((modes, m, m))
    imag = np.empty((modes, m, m))
    pivots = np.empty((modes, m), dtype=np.int64)
    for j in range(modes):
        real[j] = K
        for a in range(m):
            real[j, a, a] += lambdas_real[j] / h
        if j == 0:
            good = _eliminate_real(real[0], pivots[0])
        else:
            imag[j] = 0.0
            for a in range(m):
                imag[j, a, a] = lambdas_imag[j] / h
            good = _eliminate(real[j], imag[j], pivots[j])
        if not good:
            return -1, 0.0
    # Z = Y + offset, the offset being motion at constant velocity in the components where that is no larger than Z
    offset = np.zeros((s, m))
    rest = velocity.copy()
    for a in range(m):
        if not moving or abs(h * velocity[a]) <= 4.0 * abs(Z[s - 1, a]):
            rest[a] = 0.0
            for j in range(s):
                offset[j, a] = nodes[j] * h * velocity[a]
    Y = Z - offset
    G = np.empty((s, m))
    dpsi = np.empty((s, n))
    dV = np.empty((s, n))
    x = np.empty((modes, m))
    z = np.zeros((modes, m))
    last, rate = 0.0, 0.0
    for iteration in range(1, _MOST_ITERATIONS + 1):
        change_sides(kind, k, c, u, f, log_f, V, dpsi)
        for j in range(s):
            for i in range(n):
                if not abs(dpsi[j, i]) < math.inf:
                    return -iteration, 0.0
            for a in range(m):
                total = rest[a]
                for q in range(s):
                    total -= inverse[j, q] / h * Y[q, a]
                G[j, a] = total
            for i in range(n):
                w = dpsi[j, i]
                for a in range(m):
                    G[j, a] -= w * columns[i, a]
        for q in range(modes):
            for a in range(m):
                total, other = 0.0, 0.0
                for j in range(s):
                    total += to_real[q, j] * G[j, a]
                    other += to_imag[q, j] * G[j, a]
                x[q, a], z[q, a] = total, other
            if q == 0:
                _substitute_real(real[0], pivots[0], x[0])
            else:
                _substitute(real[q], imag[q], pivots[q], x[q], z[q])
        for j in range(s):
            for a in range(m):
                total = from_real[j, 0] * x[0, a]
                for q in range(1, modes):
                    total += from_real[j, q] * x[q, a] - from_imag[j, q] * z[q, a]
                G[j, a] = total
                Y[j, a] += total
                Z[j, a] = Y[j, a] + offset[j, a]
        _times(G, B, dV)
        _times(Z, B, V)
        worst = 0.0
        for i in range(n):
            moved, size = 0.0, 0.0
            for j in range(s):
                moved, size = max(moved, abs(dV[j, i])), max(size, abs(V[j, i]))
            ratio = moved / max(limits[i], 2 * _EPS * size)
            if not ratio <= worst:
                worst = ratio
        if not worst < math.inf:
            return -iteration, 0.0
        if iteration > 1:
            rate = worst / last
        done = worst <= 1.0 or (iteration > 1 and rate < 1.0 and rate / (1.0 - rate) * worst <= 1.0)
        if not done and iteration > 1 and (rate >= 2.0 or (iteration > 3 and rate >= _NO_RATE)):
            if worst >= 100.0:
                return -iteration, rate
            done = True  # rounding
        if done:
            for a in range(m):
                total = 0.0
                for j in range(s):
                    total += embedded[j] * Z[j, a]
                x[0, a] = velocity[a] + lambdas_real[0] / h * total
            _substitute_real(real[0], pivots[0], x[0])
            for i in range(n):
                total = 0.0
                for a in range(m):
                    total += B[i, a] * x[0, a]
                error[i] = abs(total)
            return iteration, rate
        last = worst
    return -_MOST_ITERATIONS, rate
