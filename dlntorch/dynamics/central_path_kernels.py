"""Compiled kernels of the central path: the curve ψ = a h_p(τ) coordinate by coordinate, and a small graded QR.

The coordinate. With k = p/(p − 2), b = k atanh τ and t = kτ (so b = t = τ at p = 2, where 1/k = 0):

    ψ = a h_p(τ) = 2a sinh(b) cosh(b/k)^k,    dψ/dt = |ψ| (coth|b| + tanh|b/k|) cosh²(b/k),

which is smooth in p down to 2, keeps 1 ∓ τ = 2/(1 + e^{±2b/k}) to full relative accuracy at the pole, and never forms a
power whose exponent k blows up a rounding error. Everything takes 1/k, ``k_inverse``, and log a.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

__all__ = [
    "advance",
    "checks",
    "curve_inverse",
    "curve_value",
    "dual",
    "linear_system",
    "perturbations",
    "qr_step",
    "relative_change",
    "residual",
    "root_slopes",
    "small_step",
]

_EPS = 2.220446049250313e-16
_LONGEST = 100.0  # change of t in one step where the pole is far
_LOG2 = 0.6931471805599453


@njit(cache=True)
def _log_cosh(x):
    x = abs(x)
    if x < 1:
        s = math.sinh(x)
        return 0.5 * math.log1p(s * s)
    return x + math.log1p(math.exp(-2 * x)) - _LOG2


@njit(cache=True)
def _stretch(b, k_inverse):
    """k log cosh(b/k), zero at p = 2."""
    return 0.0 if k_inverse == 0 else _log_cosh(b * k_inverse) / k_inverse


@njit(cache=True)
def _log_height(b, k_inverse):
    """log h_p at b > 0."""
    return b + math.log1p(-math.exp(-2 * b)) + _stretch(b, k_inverse)


@njit(cache=True)
def curve_value(b, log_a, k_inverse):
    """ψ at b."""
    size = abs(b)
    if size < 1:
        return 2 * math.sinh(b) * math.exp(_stretch(b, k_inverse)) * math.exp(log_a)
    return math.copysign(math.exp(log_a + _log_height(size, k_inverse)), b)


@njit(cache=True)
def curve_inverse(psi, log_a, k_inverse):
    """b at ψ, to relative accuracy: Newton on asinh(h/2), whose slope in b lies between 1 and 2."""
    if psi == 0:
        return 0.0
    log_x = math.log(abs(psi)) - log_a
    target = math.asinh(0.5 * math.exp(log_x)) if log_x < 50 else log_x
    if k_inverse == 0:
        return math.copysign(target, psi)
    b = target / (1 + math.tanh(target * k_inverse))
    for _ in range(30):
        if b < 25:
            value = math.asinh(math.sinh(b) * math.exp(_stretch(b, k_inverse)))
        else:
            value = _log_height(b, k_inverse)
        ratio = 1.0 if b < 1e-8 else math.tanh(value) * (1 / math.tanh(b) + math.tanh(b * k_inverse))
        change = (value - target) / ratio
        b = min(max(b - change, 0.5 * target), target)
        if abs(change) <= 4 * _EPS * b:
            break
    return math.copysign(b, psi)


@njit(cache=True)
def _root_slope(psi, b, log_a, k_inverse):
    """√(dψ/dt); the square root keeps twice the exponent range."""
    size = abs(b)
    c = _log_cosh(b * k_inverse)
    if size < 1:
        inner = 2 * (math.cosh(b) + math.sinh(size) * math.tanh(size * k_inverse))
        return math.sqrt(inner) * math.exp(0.5 * (log_a + _stretch(b, k_inverse)) + c)
    return math.sqrt(abs(psi) * (1 / math.tanh(size) + math.tanh(size * k_inverse))) * math.exp(c)


@njit(cache=True)
def root_slopes(psi, b, log_a, k_inverse):
    """√(dψ/dt) of every coordinate, shape (n,)."""
    out = np.empty_like(psi)
    for i in range(psi.size):
        out[i] = _root_slope(psi[i], b[i], log_a[i], k_inverse)
    return out


@njit(cache=True)
def _moved(b, dt, k_inverse):
    """The change of b when t moves by dt, or NaN beyond the pole: (k/2)(log1p(dt/(kv)) − log1p(−dt/(ku)))."""
    if k_inverse == 0:
        return dt
    up = 0.5 * dt * k_inverse * (1 + math.exp(-2 * b * k_inverse))  # dt/(k v)
    down = 0.5 * dt * k_inverse * (1 + math.exp(2 * b * k_inverse))  # dt/(k u)
    if up <= -1 or down >= 1:
        return math.nan
    return 0.5 * (math.log1p(up) - math.log1p(-down)) / k_inverse


@njit(cache=True)
def _change_of_t(b, db, k_inverse):
    """The change of t when b moves by db: k tanh(db/k)(1 − τ²)/(1 + τ tanh(db/k)), without cancellation."""
    if k_inverse == 0:
        return db
    x = math.tanh(db * k_inverse)
    tau = math.tanh(b * k_inverse)
    below = 2 / (1 + math.exp(2 * abs(b) * k_inverse))  # 1 − |τ|
    # 1 + τ x suffers only where τ and x are both close to ±1 with opposite signs; then use the other end.
    if tau * x < -0.5:
        new = math.tanh((b + db) * k_inverse)
        return (new - tau) / k_inverse
    return x * below * (2 - below) / (1 + tau * x) / k_inverse


@njit(cache=True)
def _linear_in_psi(psi, b, step, log_a, dl, k_inverse):
    """The new ψ where the linear step is to be taken in ψ, or NaN where it is to be taken in t.

    ψ is convex in |t|: where |ψ| grows the step in ψ is the one that does not overshoot, where it falls the one in t.
    """
    size = abs(b)
    sign = 1.0 if b >= 0 else -1.0
    if size < 1 or psi == 0:
        if math.isnan(_moved(b, step, k_inverse)):
            slope = _root_slope(curve_value(b, 0.0, k_inverse), b, 0.0, k_inverse) ** 2
            return math.exp(log_a) * (curve_value(b, 0.0, k_inverse) + slope * step)
        return math.nan
    slope = (1 / math.tanh(size) + math.tanh(size * k_inverse)) * math.exp(2 * _log_cosh(b * k_inverse))
    growth = sign * step * slope + dl  # relative change of |ψ| in the linear step
    if growth > -max(0.5 * abs(dl), 0.1):
        return psi * (1 + growth)
    moved = _moved(b, step, k_inverse)
    if math.isnan(moved) and sign * step > 0:
        return psi * max(1 + growth, 0.1)
    if math.isnan(moved) or sign * (b + moved) < -1:  # crosses zero: the slope there, 2a, takes over
        t = b if k_inverse == 0 else math.tanh(b * k_inverse) / k_inverse
        return 2 * math.exp(log_a) * (t + step)
    return math.nan


@njit(cache=True)
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
            whole = _moved(old, step, k_inverse)
            db = min(max(whole, -1.0), 1.0) if abs(old) < 1 else whole
            b[i] = old + db
            psi[i] = curve_value(b[i], log_a[i], k_inverse)
            left = 0.0 if db == whole else _change_of_t(old, db, k_inverse) - step
        else:
            psi[i] = min(max(linear, -bound), bound)
            b[i] = curve_inverse(psi[i], log_a[i], k_inverse)
            db = b[i] - old
            left = _change_of_t(old, db, k_inverse) - step
        e[i] = left + (1 - part) * e[i]
        pending = abs(e[i]) * math.exp(2 * _log_cosh(b[i] * k_inverse))
        if not (math.isfinite(psi[i]) and math.isfinite(db)):
            return math.inf
        biggest = max(biggest, abs(db), min(pending, 1.0))
    return biggest


@njit(cache=True)
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


@njit(cache=True)
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


@njit(cache=True)
def _reflect(v, head, x, first):
    """x ← (I − head v vᵀ) x from entry ``first`` on, with v[first] = 1 implied."""
    total = x[first]
    for row in range(first + 1, x.size):
        total += v[row] * x[row]
    total *= head
    x[first] -= total
    for row in range(first + 1, x.size):
        x[row] -= total * v[row]


@njit(cache=True)
def qr_step(transposed, root, share, r, e):
    """dt = −e + W^{1/2}D^{−1/2}(Q R^{−T} r + Q Qᵀ (D/W)^{1/2} e), with QR = (DW)^{1/2}Aᵀ, for small problems.

    Rows are sorted by size and columns pivoted, so the factorization is accurate row by row, however graded D is.

    Args:
        transposed: Aᵀ (n, m), of full column rank.
        root: The diagonal of D^{1/2}, (n,).
        share: The diagonal of W^{1/2}, (n,): t = W Aᵀλ; ones for a scalar α.
        r: Right-hand side, (m,).
        e: Dual infeasibility to be removed, (n,).
    """
    n, m = transposed.shape
    weight = np.empty(n)
    for i in range(n):
        weight[i] = -np.max(np.abs(transposed[i])) * root[i] * share[i]
    order = np.argsort(weight)
    S = np.empty((m, n))  # one column of (DW)^{1/2}Aᵀ per row, contiguous
    z = np.empty(n)
    for row in range(n):
        i = order[row]
        z[row] = root[i] * e[i] / share[i]
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


@njit(cache=True)
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


@njit(cache=True)
def small_step(A, transposed, y, share, psi, b, e, log_a, new_log_a, dl, k_inverse, bound):
    """One step of the path in place, for small problems: the largest change of b, and whether r was at its floor."""
    r, root, at_floor = linear_system(A, y, psi, b, log_a, dl, k_inverse)
    dt = qr_step(transposed, root, share, r, e)
    return advance(psi, b, e, dt, new_log_a, dl, k_inverse, bound), at_floor


@njit(cache=True)
def dual(b, k_inverse):
    """t = kτ (τ itself at p = 2), shape (n,)."""
    return b.copy() if k_inverse == 0 else np.tanh(b * k_inverse) / k_inverse


@njit(cache=True)
def relative_change(psi, b, root, dt, log_a):
    """Largest |D dt_i| relative to max(|ψ_i|, 2a_i), over the coordinates with a nonzero column."""
    worst = 0.0
    for i in range(psi.size):
        if b[i] != 0:
            scale = max(abs(psi[i]), 2 * math.exp(log_a[i]))
            worst = max(worst, root[i] * (abs(dt[i]) * (root[i] / scale)))
    return worst


@njit(cache=True)
def checks(A, y, basis, share, psi, b, k_inverse):
    """What an answer is judged by.

    Returns:
        max |r_j|/level_j; ‖r‖₂/‖y‖₂; max |t_i|; and t less its nearest point of range(WAᵀ), (n,), where the columns of
        ``basis`` are an orthonormal basis of range(Aᵀ).
    """
    r, level = residual(A, y, psi)
    n, m = basis.shape
    distance = dual(b, k_inverse)
    largest = np.max(np.abs(distance))
    for i in range(n):
        distance[i] /= share[i] * share[i]
    inner = np.zeros(m)
    for i in range(n):
        for j in range(m):
            inner[j] += basis[i, j] * distance[i]
    for i in range(n):
        for j in range(m):
            distance[i] -= basis[i, j] * inner[j]
        distance[i] *= share[i] * share[i]
    ratio = 0.0
    for j in range(m):
        ratio = max(ratio, abs(r[j]) / level[j] if level[j] > 0 else 0.0)
    scale = np.max(np.abs(y))
    relative = math.sqrt(np.sum((r / scale) ** 2) / np.sum((y / scale) ** 2))
    return ratio, relative, largest, distance


@njit(cache=True)
def perturbations(A, y, psi, b, log_a, k_inverse):
    """D^{1/2} (n,), one rounding of every entry of Aψ = y (m,), and one of every entry of t, signs alternating (n,)."""
    _, level = residual(A, y, psi)
    noise = _EPS * dual(b, k_inverse)
    noise[::2] *= -1
    return root_slopes(psi, b, log_a, k_inverse), level, noise
