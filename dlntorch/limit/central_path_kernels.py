"""Kernels of the central path: one step, and its linear equations for small problems.

Coordinates b, t and k as in :mod:`~dlntorch.limit.curve`. Plain Python over scalars, which runs as it stands and which
:mod:`~dlntorch.limit.central_path_engines` compiles; both give the same bits, so sums are written as loops (numpy's
are pairwise), functions are those of ``math``, and squares are products.
"""

from __future__ import annotations

import math

import numpy as np
from numba.extending import register_jitable

from dlntorch.limit.curve import (
    change_of_b,
    change_of_t,
    curve_inverse,
    curve_value,
    log_cosh,
    root_slope,
    root_slopes,
)

__all__ = [
    "advance",
    "graded_qr",
    "graded_solve",
    "linear_system",
    "qr_step",
    "residual",
    "small_step",
    "small_steps",
]

_EPS = 2.220446049250313e-16
_LONGEST = 100.0  # change of t in one step where the pole is far


@register_jitable
def _linear_in_psi(psi, b, step, log_a, dl, k_inverse):
    """The new ψ where the linear step is to be taken in ψ, or NaN where it is to be taken in t.

    ψ is convex in |t|: where |ψ| grows the step in ψ is the one that does not overshoot, where it falls the one in t.
    """
    size = abs(b)
    sign = 1.0 if b >= 0 else -1.0
    if size < 1 or psi == 0:
        if math.isnan(change_of_b(b, step, k_inverse)):
            root = root_slope(curve_value(b, 0.0, k_inverse), b, 0.0, k_inverse)
            return math.exp(log_a) * (curve_value(b, 0.0, k_inverse) + root * root * step)
        return math.nan
    slope = (1 / math.tanh(size) + math.tanh(size * k_inverse)) * math.exp(2 * log_cosh(b * k_inverse))
    growth = sign * step * slope + dl  # relative change of |ψ| in the linear step
    if growth > -max(0.5 * abs(dl), 0.1):
        return psi * (1 + growth)
    moved = change_of_b(b, step, k_inverse)
    if math.isnan(moved) and sign * step > 0:
        return psi * max(1 + growth, 0.1)
    if math.isnan(moved) or sign * (b + moved) < -1:  # crosses zero: the slope there, 2a, takes over
        t = b if k_inverse == 0 else math.tanh(b * k_inverse) / k_inverse
        return 2 * math.exp(log_a) * (t + step)
    return math.nan


@register_jitable
def advance(psi, b, e, dt, log_a, dl, k_inverse, bound):
    """Move every coordinate by the linear step dt in t and dl in log a, in place.

    What t misses of the linear step, e, is the dual infeasibility that the next step removes. A step longer than the
    interval that t lives in is a linearization gone wild, and is shortened, since e would lose its digits.

    Args:
        psi: ψ, (n,).
        b: k atanh τ, (n,).
        e: Dual infeasibility, (n,).
        dt: Linear step, (n,).
        log_a: log a_i after the step, (n,).
        dl: Change of log a.
        k_inverse: 1/k.
        bound: On |ψ_i|, to keep wild steps from overflow.

    Returns:
        The largest change of b that was made or that e still asks for; ∞ on overflow.
    """
    longest = np.max(np.abs(dt))
    if not math.isfinite(longest):
        return math.inf
    limit = _LONGEST if k_inverse == 0 else min(4 / k_inverse, _LONGEST)
    part = 1.0 if longest <= limit else limit / longest
    biggest = 0.0 if part == 1 else 1.0
    for i in range(psi.size):
        old = b[i]
        step = part * dt[i]
        linear = _linear_in_psi(psi[i], old, step, log_a[i], dl, k_inverse)
        if math.isnan(linear):
            whole = change_of_b(old, step, k_inverse)
            db = min(max(whole, -1.0), 1.0) if abs(old) < 1 else whole
            b[i] = old + db
            psi[i] = curve_value(b[i], log_a[i], k_inverse)
            left = 0.0 if db == whole else change_of_t(old, db, k_inverse) - step
        else:
            psi[i] = min(max(linear, -bound), bound)
            b[i] = curve_inverse(psi[i], log_a[i], k_inverse)
            db = b[i] - old
            left = change_of_t(old, db, k_inverse) - step
        e[i] = left + (1 - part) * e[i]
        pending = abs(e[i]) * math.exp(2 * log_cosh(b[i] * k_inverse))
        if not (math.isfinite(psi[i]) and math.isfinite(db)):
            return math.inf
        biggest = max(biggest, abs(db), min(pending, 1.0))
    return biggest


@register_jitable
def residual(A, y, psi):
    """r = y − Aψ and the rounding level of each entry, eps (|A||ψ| + |y|), both (m,)."""
    m, n = A.shape
    r = np.empty(m)
    level = np.empty(m)
    for j in range(m):
        total = y[j]
        size = abs(y[j])
        for i in range(n):
            term = A[j, i] * psi[i]
            total -= term
            size += abs(term)
        r[j] = total
        level[j] = _EPS * size
    return r, level


@register_jitable
def _pivot(S, first):
    """The row of S with the largest Euclidean norm from entry ``first`` on, and that norm, safe from underflow."""
    m, n = S.shape
    scale = 0.0
    for c in range(first, m):
        for row in range(first, n):
            scale = max(scale, abs(S[c, row]))
    if scale == 0:
        return first, 0.0
    best = -1.0
    where = first
    for c in range(first, m):
        total = 0.0
        for row in range(first, n):
            x = S[c, row] / scale
            total += x * x
        if total > best:
            best = total
            where = c
    return where, scale * math.sqrt(best)


@register_jitable
def _reflect(v, head, x, first):
    """x ← (I − head v vᵀ) x from entry ``first`` on, with v[first] = 1 implied."""
    total = x[first]
    for row in range(first + 1, x.size):
        total += v[row] * x[row]
    total *= head
    x[first] -= total
    for row in range(first + 1, x.size):
        x[row] -= total * v[row]


@register_jitable
def _ascending(weight):
    """Indices that sort ``weight``: Shell's sort, which compiles in a tenth of numpy.argsort's time."""
    order = np.arange(weight.size)
    gap = weight.size // 2
    while gap > 0:
        for i in range(gap, weight.size):
            moving, j = order[i], i
            while j >= gap and weight[order[j - gap]] > weight[moving]:
                order[j] = order[j - gap]
                j -= gap
            order[j] = moving
        gap //= 2
    return order


@register_jitable
def graded_qr(transposed, root, share):
    """The QR factorization of (DW)^{1/2}Aᵀ for :func:`graded_solve`, for small problems.

    Rows are sorted by size and columns pivoted, so the factorization is accurate row by row, however graded D is.

    Args:
        transposed: Aᵀ (n, m), of full column rank.
        root: The diagonal of D^{1/2}, (n,).
        share: The diagonal of W^{1/2}, (n,): t = W Aᵀλ; ones for a scalar α.

    Returns:
        Reflectors and R, one column per row (m, n); the diagonal of R (m,); the order of rows (n,) and columns (m,).
    """
    n, m = transposed.shape
    weight = np.empty(n)
    for i in range(n):
        weight[i] = -np.max(np.abs(transposed[i])) * root[i] * share[i]
    order = _ascending(weight)
    S = np.empty((m, n))  # one column of (DW)^{1/2}Aᵀ per row, contiguous
    for row in range(n):
        i = order[row]
        for j in range(m):
            S[j, row] = root[i] * share[i] * transposed[i, j]
    pivots = np.arange(m)
    diagonal = np.empty(m)
    for j in range(m):
        where, norm = _pivot(S, j)
        if where != j:
            for row in range(n):
                S[j, row], S[where, row] = S[where, row], S[j, row]
            pivots[j], pivots[where] = pivots[where], pivots[j]
        diagonal[j] = -math.copysign(norm, S[j, j])
        if norm == 0:
            continue
        head = S[j, j] - diagonal[j]
        S[j, j] = -head / diagonal[j]
        for row in range(j + 1, n):
            S[j, row] /= head
        for c in range(j + 1, m):
            _reflect(S[j], S[j, j], S[c], j)
    return S, diagonal, order, pivots


@register_jitable
def graded_solve(factors, root, share, r, e):
    """dt = −e + W^{1/2}D^{−1/2}(Q R^{−T} r + Q Qᵀ (D/W)^{1/2} e), with QR = (DW)^{1/2}Aᵀ from :func:`graded_qr`.

    Args:
        factors: What :func:`graded_qr` returns for ``root`` and ``share``.
        root: The diagonal of D^{1/2}, (n,).
        share: The diagonal of W^{1/2}, (n,).
        r: Right-hand side, (m,).
        e: Dual infeasibility to be removed, (n,).
    """
    S, diagonal, order, pivots = factors
    m, n = S.shape
    z = np.empty(n)
    for row in range(n):
        i = order[row]
        z[row] = root[i] * e[i] / share[i]
    for j in range(m):
        if diagonal[j] != 0:
            _reflect(S[j], S[j, j], z, j)
    for row in range(m, n):
        z[row] = 0.0
    w = np.zeros(m)  # R^{−T} r; R[i, j] is S[j, i] above the diagonal
    for j in range(m):
        total = r[pivots[j]]
        for i in range(j):
            total -= S[j, i] * w[i]
        w[j] = total / diagonal[j] if diagonal[j] != 0 else 0.0
        z[j] += w[j]
    for j in range(m - 1, -1, -1):
        if diagonal[j] != 0:
            _reflect(S[j], S[j, j], z, j)
    dt = np.empty(n)
    for row in range(n):
        i = order[row]
        dt[i] = z[row] * share[i] / root[i] - e[i]
    return dt


@register_jitable
def qr_step(transposed, root, share, r, e):
    """The solution of the equations of one step, :func:`graded_solve`."""
    return graded_solve(graded_qr(transposed, root, share), root, share, r, e)


@register_jitable
def linear_system(A, y, psi, b, log_a, dl, k_inverse):
    """Right-hand side and D^{1/2} of a step, and whether the residual is at the rounding level.

    There it is noise, which the small entries of D would blow up, and is taken as zero.
    """
    r, level = residual(A, y, psi)
    at_floor = np.all(np.abs(r) <= 2 * level)
    if dl != 0:
        r = r - (y - r) * dl
    elif at_floor:
        r = np.zeros_like(r)
    return r, root_slopes(psi, b, log_a, k_inverse), at_floor


@register_jitable
def small_step(system, state, log_a, new_log_a, dl, curve):
    """One step of the path in place, for small problems: the largest change of b, and whether r was at its floor.

    Args:
        system: A, Aᵀ, y and W^{1/2}.
        state: ψ, b and e.
        log_a: log a_i before the step, (n,).
        new_log_a: After it.
        dl: Change of log a.
        curve: 1/k, and the bound on |ψ_i|.
    """
    A, transposed, y, share = system
    psi, b, e = state
    k_inverse, bound = curve
    r, root, at_floor = linear_system(A, y, psi, b, log_a, dl, k_inverse)
    dt = qr_step(transposed, root, share, r, e)
    return advance(psi, b, e, dt, new_log_a, dl, k_inverse, bound), at_floor


@register_jitable
def small_steps(system, state, log_a, new_log_a, dl, curve, limits, progress):
    """Steps of :func:`small_step`, the first with ``dl``, up to one that may be the last of Newton's method.

    Args:
        system: As there, and so are ``state``, ``log_a``, ``new_log_a``, ``dl`` and ``curve``.
        limits: The largest change of b that may be left; the largest that rounding may keep up; for how many steps without
            progress it may; steps in all.
        progress: The least change so far, steps without progress, and steps made.

    Returns:
        The last change of b and whether r was at its floor; ``progress``, of which the first two are from before it.
    """
    tolerance, noise, patience, most = limits
    best, idle, used = progress
    while True:
        change, at_floor = small_step(system, state, log_a, new_log_a, dl, curve)
        used += 1
        if not math.isfinite(change) or used >= most or (dl == 0 and change <= tolerance):
            return change, at_floor, (best, idle, used)
        if dl == 0:
            waited = 0 if _EPS < change < 0.25 * best else idle + 1
            if change < noise and waited >= (1 if at_floor else patience):
                return change, at_floor, (best, idle, used)
            idle, best = waited, min(best, change)
        dl, log_a = 0.0, new_log_a
