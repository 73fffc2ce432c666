"""The certificate's step as plain loops that numba compiles, to be called between the steps of a compiled descent.

The statements and their proof, with the equation numbers used below, are in :mod:`dlntorch.bounds.certificate`.
Every function here is pure float64 and allocates nothing but in the rare refresh of μ. The compiled descent in
``engine/kernels.py`` contains this code.

Layout. ``A`` (m, n) C-contiguous, ``y`` (m,), ``rows`` = 0 … m − 1, ``norms`` (n,) = ‖A_i‖₂.
``numbers`` (14,), constants: see ``P`` … ``WIDEN`` in :mod:`dlntorch.bounds.certificate_box`.
``state`` (10,), carried from step to step: see ``E2`` … ``WAIT`` there.
``path`` (3, n), carried: rows 0 and 1 are τ̂ = c_p Aᵀŝ as a sum of two floats, row 2 is 1/D_ref of (7); from a start of several
numbers (7, n): rows 3 to 6 are :attr:`~dlntorch.model.positive_start.PositiveStart.origin`, and ᾱ is in the place of α.
``work`` (8, n) and ``short`` = (‖r̂‖₂, Σ ‖A_i‖(θ̂₊^p + θ̂₋^p), whether ĝ is in row 7 of work): scratch.
"""

from __future__ import annotations

import math

import numpy as np

from dlntorch.bounds.certificate_box import (
    ALIVE,
    ALPHA,
    ALPHA_P,
    BERNOULLI,
    CAP_SLOPE,
    E2,
    EPS,
    GROWTH,
    LENGTH,
    MU,
    NEXT,
    NORM_A,
    NORM_Y,
    REFRESH,
    SCALE,
    STEPS,
    SUBSTEPS,
    SUP,
    UNIT_DRIFT,
    UNIT_R,
    WAIT,
    WIDEN,
    J,
    K,
    P,
    evaluate,
    next_strong,
    theta_bound,
    widening,
)
from dlntorch.numerics.compiling import SIGNED_SUMS, kernel
from dlntorch.numerics.gradient_kernel import gradient

__all__ = ["certificate_step", "prepare", "theta_bound"]

_TINY = 1e-300  # below it 1/D is no float
_TRIES = 30
#: μ is computed anew earlier where less than this share of it is left; it has grown where it is this times larger;
#: and the longest wait is so many times the least.
_WORN, _GROWN, _LONGEST = 0.8, 1.1, 64.0
#: The mirror path's own limits on a step: relative change of θ̂, and fraction of 1/‖∇²D‖₂ (stable below 2).
_RELATIVE, _STABLE = 0.03, 1.5
_MOST_SUBSTEPS = 10_000_000


@kernel
def _widened(numbers, norms, eta, bound, work, slope_high, slope_low):
    """D̄ and D_low of (4) and (7) for E <= bound on this step; row 6 is D at ν̂_k and row 7 is ĝ."""
    p, scale, cap = numbers[P], numbers[SCALE], numbers[CAP_SLOPE]
    power = 1.0 if p == 2.0 else numbers[K] + 1.0
    floor = 2.0 * p * p * numbers[ALPHA] ** (2.0 * p - 2.0)
    widen = numbers[WIDEN]
    inv_u, inv_v, slopes, g = work[0], work[1], work[6], work[7]
    chord = 1.0 / (1.0 - BERNOULLI)  # 1/(1 − y) <= 1 + y + y²/(1 − y₀) up to y₀, without a division
    reach, along = power * scale * bound, power * scale * eta
    strong = 0
    for i in range(norms.size):
        y = widening(i, reach, norms, along, work)
        strong += not (y < BERNOULLI)
        slope_high[i] = max(slopes[i], min(slopes[i] * (1.0 + y * (1.0 + chord * y)), cap)) * (1.0 + widen)
        slope_low[i] = max(floor, slopes[i] * (1.0 - y)) * (1.0 - widen)
    i = next_strong(0, reach, norms, along, work) if strong > 0 else norms.size
    while i < norms.size:
        x = scale * (eta * abs(g[i]) + norms[i] * bound) * max(inv_u[i], inv_v[i])
        if p == 2.0:
            high = slopes[i] * math.exp(min(x, 600.0))
        elif x < 1.0:
            high = slopes[i] * (1.0 - x) ** -power
        else:
            high = np.inf
        slope_high[i] = max(slopes[i], min(high, cap)) * (1.0 + widen)
        i = next_strong(i + 1, reach, norms, along, work)


@kernel
def _smallest_eigenvalue(A, slope):
    """A lower bound of λ_min(A diag(slope) Aᵀ): the computed one less the backward error of forming and solving."""
    M = np.dot(A * slope, A.T)
    M = 0.5 * (M + M.T)
    trace = 0.0
    for i in range(M.shape[0]):
        trace += M[i, i]
    return max(0.0, np.linalg.eigvalsh(M)[0] - (A.shape[0] + A.shape[1]) * EPS * trace)


@kernel(fastmath=SIGNED_SUMS)
def _growth(norms, eta, drift, g, slope):
    """G of (6): ∫ Σ D̄ e² over the step, with |e_i| <= (u − t_k)|ĝ_i| + ‖A_i‖ drift."""
    s1, s2, s3 = 0.0, 0.0, 0.0
    for i in range(norms.size):
        size = abs(g[i])
        s1 += slope[i] * size * size
        s2 += slope[i] * size * norms[i]
        s3 += slope[i] * norms[i] * norms[i]
    return eta * (eta * eta * s1 / 3.0 + eta * drift * s2 + drift * drift * s3)


@kernel
def prepare(norms, numbers, state, path, work, short):
    """ψ̂ in row 4 of work, and D in row 6, ahead of :func:`certificate_step`; whether there still is a bound.

    A caller that computes ĝ itself writes it into row 7, ‖r̂‖₂ into short[0] and 1 into short[2].
    """
    if state[ALIVE] == 0.0:
        return False
    if not evaluate(numbers, path, work):
        state[ALIVE] = 0.0
        state[SUP] = np.inf
        return False
    p, alpha_p = numbers[P], numbers[ALPHA_P]
    factor = p * p * numbers[ALPHA] ** (2.0 * p - 2.0)
    size = _psi_and_slope(alpha_p, factor, norms, work[0], work[1], work[2], work[3], work[4], work[6])
    short[1] = alpha_p * size
    short[2] = 0.0
    return True


@kernel
def certificate_step(theta_plus, theta_minus, eta, A, y, rows, norms, numbers, state, path, work, short):
    """From t_k to t_{k+1} = t_k + η: note the bound on ‖θ_k − θ(t_k)‖₂, then advance ŝ, E² and μ.

    θ are the parameters *before* the step of length ``eta`` (which is any positive number, known to the caller).
    """
    if short[2] == 0.0:  # else the caller has prepared this step
        if not prepare(norms, numbers, state, path, work, short):
            return
        short[0] = math.sqrt(gradient(A, y, rows, work[4], work[7]))
    short[2] = 0.0
    state[SUP] = max(state[SUP], theta_bound(theta_plus, theta_minus, numbers, norms, state, work))
    state[STEPS] += 1.0
    left = eta
    for _ in range(_MOST_SUBSTEPS):
        step = left
        if not _fits(left, numbers, work[0], work[1], work[6], work[7]):
            longest = _longest_substep(numbers, work)
            step = left if left <= longest else min(longest, 0.5 * left)
        _advance(step, A, norms, numbers, state, path, work, short)
        left -= step
        if left <= 0.0:
            return
        if not prepare(norms, numbers, state, path, work, short):
            return
        short[0] = math.sqrt(gradient(A, y, rows, work[4], work[7]))
    state[ALIVE] = 0.0
    state[SUP] = np.inf


@kernel
def _fits(step, numbers, inv_u, inv_v, slope, g):
    """Whether ``step`` is within the limits of :func:`_longest_substep`; counted, which is faster than two maxima."""
    rate, stable = step * numbers[SCALE] * numbers[J], step * numbers[NORM_A] ** 2
    inside = 0
    for i in range(g.size):
        change = rate * abs(g[i]) * max(inv_u[i], inv_v[i])
        inside += (change <= _RELATIVE) & (stable * slope[i] <= _STABLE)
    return inside == g.size


@kernel
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


@kernel
def _advance(eta, A, norms, numbers, state, path, work, short):
    """One step of ŝ, E² and μ: equations (4) to (8)."""
    error_r = numbers[UNIT_R] * (short[1] + numbers[NORM_Y])
    speed = short[0]
    energy, drift = state[E2], numbers[UNIT_DRIFT] * (state[LENGTH] + eta * speed)
    high, low = work[4], work[5]
    root = math.sqrt(energy)
    bound = root + 1.5 * state[GROWTH] + eta * error_r
    growth, needed = 0.0, np.inf
    for attempt in range(_TRIES + 1):
        if attempt == _TRIES:
            bound = np.inf
        _widened(numbers, norms, eta, bound + drift, work, high, low)
        growth = _growth(norms, eta, drift, work[7], high)
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
    _add(numbers[SCALE] * eta, work[7], path[0], path[1])


@kernel
def _add(factor, g, tau, tail):
    """τ̂ += factor·ĝ, with the rounding error of the sum kept."""
    for i in range(g.size):
        step = factor * g[i]
        total = tau[i] + step
        part = total - tau[i]
        tail[i] += (tau[i] - (total - part)) + (step - part)
        tau[i] = total


@kernel(fastmath=SIGNED_SUMS)
def _psi_and_slope(alpha_p, factor, norms, inv_u, inv_v, plus, minus, psi, slope):
    """ψ̂ and D at τ̂; returns Σ ‖A_i‖(θ̂₊^p + θ̂₋^p)/α^p."""
    size = 0.0
    for i in range(norms.size):
        psi[i] = alpha_p * (plus[i] - minus[i])
        slope[i] = factor * (plus[i] * inv_u[i] + minus[i] * inv_v[i])
    for i in range(norms.size):
        size += norms[i] * (plus[i] + minus[i])
    return size


@kernel
def _least_ratio(low, inverse):
    """min(1, min low·inverse), rounded down; four minima at a time, since each waits for the one before."""
    n = low.size
    r0 = r1 = r2 = r3 = 1.0
    for i in range(0, n - 3, 4):
        r0 = min(r0, low[i] * inverse[i])
        r1 = min(r1, low[i + 1] * inverse[i + 1])
        r2 = min(r2, low[i + 2] * inverse[i + 2])
        r3 = min(r3, low[i + 3] * inverse[i + 3])
    for i in range(n - n % 4, n):
        r0 = min(r0, low[i] * inverse[i])
    return min(min(r0, r1), min(r2, r3)) * (1.0 - 4.0 * EPS)


@kernel
def _decay_rate(A, norms, numbers, state, path, low):
    """μ of (7) on this step: f μ_ref with f = min D_low/D_ref; D_ref is taken anew now and then.

    Where that has not made μ grow by a tenth the next time is twice as far, or earlier, once f has worn.
    """
    inverse = path[2]
    fraction = 0.0
    if state[MU] > 0.0:
        fraction = _least_ratio(low, inverse)
    least = numbers[REFRESH]
    due = state[NEXT] - (state[WAIT] - least if fraction < _WORN else 0.0)
    if state[SUBSTEPS] < due:
        return fraction * state[MU]
    smallest = np.inf
    for i in range(norms.size):
        inverse[i] = 1.0 / low[i]
        smallest = min(smallest, low[i])
    before = fraction * state[MU]
    state[MU] = _smallest_eigenvalue(A, low) if smallest > _TINY else 0.0
    wait = least if state[MU] > _GROWN * before else min(2.0 * max(state[WAIT], least), _LONGEST * least)
    state[WAIT] = wait
    state[NEXT] = state[SUBSTEPS] + wait
    return state[MU]
