"""The certificate's step as plain loops that numba compiles, to be called between the steps of a compiled descent.

The statements and their proof, with the equation numbers used below, are in :mod:`dlntorch.dynamics.certificate`.
Every function here is pure float64 and allocates nothing but in the rare refresh of μ. The compiled descent in
``engine/kernels.py`` contains this code, and numba's cache of it does not notice an edit here: remove
``engine/__pycache__`` after one.

Layout. ``data`` = (A, AT, y, norms): A (m, n) and AT (n, m) both C-contiguous, y (m,), norms (n,) = ‖A_i‖₂.
``numbers`` (14,), constants: see ``P`` … ``WIDEN`` below.
``state`` (9,), carried from step to step: see ``E2`` … ``SUBSTEPS`` below.
``path`` (3, n), carried: rows 0 and 1 are τ̂ = c_p Aᵀŝ as a sum of two floats, row 2 is D_ref of (7).
``work`` (8, n) and ``short`` (m,): scratch.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

__all__ = ["certificate_step", "theta_bound"]

# numbers: p, α, c_p, k = p/(p−2) and j = 1/(p−2) (0 and ½ at p = 2), caps on D and θ along the flow, ‖y‖₂,
# rounding units of r̂ and of the drift, α^p, the number of mirror steps between refreshes of μ, ‖A‖₂, and what D̄ and
# D_low are widened by for the rounding of θ̂ and of sums
P, ALPHA, SCALE, K, J, CAP_SLOPE, CAP_THETA, NORM_Y, UNIT_R, UNIT_DRIFT, ALPHA_P, REFRESH, NORM_A, WIDEN = range(14)
# state: E², Σ η‖r̂‖, sup of the bound on ‖θ_k − θ(t_k)‖, μ_ref, steps of descent, mirror step of the next refresh,
# 1 while ŝ is finite, the last growth of E, mirror steps
E2, LENGTH, SUP, MU, STEPS, NEXT, ALIVE, GROWTH, SUBSTEPS = range(9)

_EPS = 2.0**-52
#: Relative widening up to which Bernoulli's inequality replaces a power: 1/(1 − x) against (1 − x/q)^{−q}.
_BERNOULLI = 0.05
_TRIES = 30
#: The mirror path's own limits on a step: relative change of θ̂, and fraction of 1/‖∇²D‖₂ (stable below 2).
_RELATIVE, _STABLE = 0.03, 1.5
_MOST_SUBSTEPS = 10_000_000


@njit(cache=True, error_model="numpy")
def _power(x, q, out):
    """out = x^q for q >= 0, by multiplications where 2q is a small integer."""
    twice = 2.0 * q
    if twice > 40.0 or twice != math.floor(twice):
        for i in range(x.size):
            out[i] = x[i] ** q
        return
    whole = int(twice) // 2
    if int(twice) % 2 == 1:
        for i in range(x.size):
            out[i] = math.sqrt(x[i])
    else:
        for i in range(x.size):
            out[i] = 1.0
    for _ in range(whole):
        for i in range(x.size):
            out[i] *= x[i]


@njit(cache=True, error_model="numpy")
def _evaluate(numbers, path, work):
    """Rows of work at τ̂: 0, 1 = 1/u, 1/v (1 at p = 2); 2, 3 = (θ̂₊/α)^p, (θ̂₋/α)^p. False at or beyond the pole."""
    inv_u, inv_v, plus, minus = work[0], work[1], work[2], work[3]
    high, low = path[0], path[1]
    if numbers[P] == 2.0:
        for i in range(high.size):
            if not abs(high[i]) < 700.0:
                return False
            e = math.exp(high[i]) * (1.0 + low[i])
            plus[i] = e
            minus[i] = 1.0 / e
            inv_u[i] = 1.0
            inv_v[i] = 1.0
        return True
    for i in range(high.size):
        u = (1.0 - high[i]) - low[i]
        v = (1.0 + high[i]) + low[i]
        if not min(u, v) > 0.0:
            return False
        inv_u[i] = 1.0 / u
        inv_v[i] = 1.0 / v
    _power(inv_u, numbers[K], plus)
    _power(inv_v, numbers[K], minus)
    return True


@njit(cache=True, error_model="numpy")
def theta_bound(theta_plus, theta_minus, numbers, norms, state, work):
    """Distance of θ to the farthest corner of the box (9), from rows 0 to 3 of work; rows 4 and 5 are scratch."""
    alpha, j, cap = numbers[ALPHA], numbers[J], numbers[CAP_THETA]
    width = numbers[SCALE] * (math.sqrt(state[E2]) + numbers[UNIT_DRIFT] * state[LENGTH])
    up, um = work[4], work[5]
    if numbers[P] == 2.0:
        for i in range(norms.size):
            up[i] = math.sqrt(work[2, i])
            um[i] = math.sqrt(work[3, i])
    else:
        _power(work[0], j, up)
        _power(work[1], j, um)
    slop = (8.0 + 2.0 * j + 2.0 * numbers[K]) * _EPS
    wide = max(1.0, j)
    total = 0.0
    for i in range(norms.size):
        for side in range(2):
            inverse = work[0, i] if side == 0 else work[1, i]
            centre = alpha * (up[i] if side == 0 else um[i])
            theta = theta_plus[i] if side == 0 else theta_minus[i]
            x = width * norms[i] * inverse
            if wide * x < _BERNOULLI:
                above = centre * (1.0 + j * x / (1.0 - wide * x))
                below = centre * (1.0 - j * x)
            elif numbers[P] == 2.0:
                above = centre * math.exp(j * x)
                below = centre * math.exp(-j * x)
            else:
                above = centre * (1.0 - x) ** -j if x < 1.0 else np.inf
                below = centre * (1.0 + x) ** -j
            above = min(above * (1.0 + slop), cap)
            below = below * (1.0 - slop)
            far = max(above - theta, theta - below)
            total += far * far
    return math.sqrt(total) * (1.0 + (norms.size + 4.0) * _EPS)


@njit(cache=True, error_model="numpy")
def _widened(numbers, norms, eta, bound, work, slope_high, slope_low):
    """D̄ and D_low of (4) and (7) for E <= bound on this step; row 6 is D at ν̂_k and row 7 is ĝ."""
    p, scale, cap = numbers[P], numbers[SCALE], numbers[CAP_SLOPE]
    power = 1.0 if p == 2.0 else numbers[K] + 1.0
    floor = 2.0 * p * p * numbers[ALPHA] ** (2.0 * p - 2.0)
    widen = numbers[WIDEN]
    for i in range(norms.size):
        slope = work[6, i]
        if norms[i] == 0.0:  # a column of zeros: ν_i = 0 for good
            slope_high[i], slope_low[i] = slope, slope
            continue
        x = scale * (eta * abs(work[7, i]) + norms[i] * bound) * max(work[0, i], work[1, i])
        y = power * x
        if y < _BERNOULLI:
            high = slope / (1.0 - y)
        elif p == 2.0:
            high = slope * math.exp(min(y, 600.0))
        elif x < 1.0:
            high = slope * (1.0 - x) ** -power
        else:
            high = np.inf
        slope_high[i] = max(slope, min(high, cap)) * (1.0 + widen)
        slope_low[i] = max(floor, slope * (1.0 - y)) * (1.0 - widen)


@njit(cache=True, error_model="numpy")
def _smallest_eigenvalue(A, slope):
    """A lower bound of λ_min(A diag(slope) Aᵀ): the computed one less the backward error of forming and solving."""
    M = np.dot(A * slope, A.T)
    M = 0.5 * (M + M.T)
    trace = 0.0
    for i in range(M.shape[0]):
        trace += M[i, i]
    return max(0.0, np.linalg.eigvalsh(M)[0] - (A.shape[0] + A.shape[1]) * _EPS * trace)


@njit(cache=True, error_model="numpy")
def _growth(numbers, norms, eta, drift, work, slope):
    """G of (6): ∫ Σ D̄ e² over the step, with |e_i| <= (u − t_k)|ĝ_i| + ‖A_i‖ drift."""
    s1, s2, s3 = 0.0, 0.0, 0.0
    for i in range(norms.size):
        g = abs(work[7, i])
        s1 += slope[i] * g * g
        s2 += slope[i] * g * norms[i]
        s3 += slope[i] * norms[i] * norms[i]
    return eta * (eta * eta * s1 / 3.0 + eta * drift * s2 + drift * drift * s3)


@njit(cache=True, error_model="numpy")
def certificate_step(theta_plus, theta_minus, eta, A, AT, y, norms, numbers, state, path, work, short):
    """From t_k to t_{k+1} = t_k + η: note the bound on ‖θ_k − θ(t_k)‖₂, then advance ŝ, E² and μ.

    θ are the parameters *before* the step of length ``eta`` (which is any positive number, known to the caller).
    """
    if state[ALIVE] == 0.0:
        return
    if not _evaluate(numbers, path, work):
        state[ALIVE] = 0.0
        state[SUP] = np.inf
        return
    state[SUP] = max(state[SUP], theta_bound(theta_plus, theta_minus, numbers, norms, state, work))
    state[STEPS] += 1.0
    left = eta
    for _ in range(_MOST_SUBSTEPS):
        _mirror_velocity(A, AT, y, norms, numbers, work, short)
        longest = _longest_substep(numbers, work)
        step = left if left <= longest else min(longest, 0.5 * left)
        _advance(step, A, norms, numbers, state, path, work, short)
        left -= step
        if left <= 0.0:
            return
        if not _evaluate(numbers, path, work):
            break
    state[ALIVE] = 0.0
    state[SUP] = np.inf


@njit(cache=True, error_model="numpy")
def _longest_substep(numbers, work):
    """How far ŝ may go at once: θ̂ changes by at most a factor 1 ± _RELATIVE, and the step is stable for the mirror path.

    η is sized for θ_k. Where the mirror path is through a jump that gradient descent has yet to make, η is too long.
    """
    rate, top = 0.0, 0.0
    for i in range(work.shape[1]):
        rate = max(rate, abs(work[7, i]) * max(work[0, i], work[1, i]))
        top = max(top, work[6, i])
    rate *= numbers[SCALE] * numbers[J]
    return min(_RELATIVE / rate if rate > 0.0 else np.inf, _STABLE / (numbers[NORM_A] ** 2 * top))


@njit(cache=True, error_model="numpy")
def _advance(eta, A, norms, numbers, state, path, work, short):
    """One step of ŝ, E² and μ: equations (4) to (8)."""
    error_r = numbers[UNIT_R] * (short[short.size - 1] + numbers[NORM_Y])
    speed = short[short.size - 2]
    energy, drift = state[E2], numbers[UNIT_DRIFT] * (state[LENGTH] + eta * speed)
    high, low = work[4], work[5]
    root = math.sqrt(energy)
    bound = root + 1.5 * state[GROWTH] + eta * error_r
    growth, needed = 0.0, np.inf
    for attempt in range(_TRIES + 1):
        if attempt == _TRIES:
            bound = np.inf
        _widened(numbers, norms, eta, bound + drift, work, high, low)
        growth = _growth(numbers, norms, eta, drift, work, high)
        needed = (math.sqrt(energy + 0.5 * growth) + eta * error_r) * (1.0 + 1e-14)
        if needed <= bound:
            break
        bound = root + 1.25 * (needed - root)
    state[GROWTH] = needed - root
    mu = _decay_rate(A, norms, numbers, state, path, low)
    beta = 1.0
    if mu > 0.0 and energy > 0.0:
        beta = min(1.0, max(1e-3, 0.5 * math.sqrt(growth / (mu * eta * energy))))
    decayed = energy * math.exp(-2.0 * (1.0 - beta) * mu * eta) + growth / (2.0 * beta)
    state[E2] = (math.sqrt(decayed) + eta * error_r) ** 2 * (1.0 + 1e-14)
    state[LENGTH] += eta * speed
    state[SUBSTEPS] += 1.0
    for i in range(norms.size):  # τ̂ += c η ĝ, with the rounding error of the sum kept
        step = numbers[SCALE] * eta * work[7, i]
        total = path[0, i] + step
        part = total - path[0, i]
        path[1, i] += (path[0, i] - (total - part)) + (step - part)
        path[0, i] = total


@njit(cache=True, error_model="numpy")
def _mirror_velocity(A, AT, y, norms, numbers, work, short):
    """r̂ = y − Aψ̂ in short[:m], ĝ = Aᵀr̂ in row 7, D in row 6; short[m] = ‖r̂‖₂, short[m+1] = Σ ‖A_i‖(θ̂₊^p + θ̂₋^p)."""
    m = y.size
    p, alpha_p = numbers[P], numbers[ALPHA_P]
    psi = work[4]
    factor = p * p * numbers[ALPHA] ** (2.0 * p - 2.0)
    size = 0.0
    for i in range(norms.size):
        psi[i] = alpha_p * (work[2, i] - work[3, i])
        size += norms[i] * (work[2, i] + work[3, i])
        work[6, i] = factor * (work[2, i] * work[0, i] + work[3, i] * work[1, i])
    residual = short[:m]
    np.dot(A, psi, residual)
    square = 0.0
    for i in range(m):
        residual[i] = y[i] - residual[i]
        square += residual[i] * residual[i]
    np.dot(AT, residual, work[7])
    short[m] = math.sqrt(square)
    short[m + 1] = alpha_p * size


@njit(cache=True, error_model="numpy")
def _decay_rate(A, norms, numbers, state, path, low):
    """μ of (7) on this step: f μ_ref with f = min D_low/D_ref, D_ref being taken anew every few steps."""
    reference = path[2]
    if state[SUBSTEPS] >= state[NEXT]:
        for i in range(norms.size):
            reference[i] = low[i]
        state[MU] = _smallest_eigenvalue(A, low)
        state[NEXT] = state[SUBSTEPS] + numbers[REFRESH]
        return state[MU]
    if state[MU] == 0.0:
        return 0.0
    fraction = 1.0
    for i in range(norms.size):
        fraction = min(fraction, low[i] / reference[i])
    return fraction * state[MU]
