"""The certificate's box around the flow: θ̂ and its neighbours at a point of the mirror path, as compiled loops.

The layout of ``numbers``, ``state``, ``path`` and ``work`` is :mod:`dlntorch.bounds.certificate_kernel`'s; the equation
numbers are those of :mod:`dlntorch.bounds.certificate`.
"""

from __future__ import annotations

import math

import numpy as np

from dlntorch.numerics.compiling import SIGNED_SUMS, kernel
from dlntorch.numerics.powers import exponential, power

# numbers: p, α, c_p, k = p/(p−2) and j = 1/(p−2) (0 and ½ at p = 2), caps on D and θ along the flow, ‖y‖₂,
# rounding units of r̂ and of the drift, α^p, the least number of mirror steps between refreshes of μ, ‖A‖₂, and what D̄ and
# D_low are widened by for the rounding of θ̂ and of sums
P, ALPHA, SCALE, K, J, CAP_SLOPE, CAP_THETA, NORM_Y, UNIT_R, UNIT_DRIFT, ALPHA_P, REFRESH, NORM_A, WIDEN = range(14)
# state: E², Σ η‖r̂‖, sup of the bound on ‖θ_k − θ(t_k)‖, μ_ref, steps of descent, mirror step of the next refresh,
# 1 while ŝ is finite, the last growth of E, mirror steps, how many of them until the refresh after the next
E2, LENGTH, SUP, MU, STEPS, NEXT, ALIVE, GROWTH, SUBSTEPS, WAIT = range(10)

EPS = 2.0**-52
#: Relative widening up to which Bernoulli's inequality replaces a power, (1 − x/q)^{−q} <= 1/(1 − x), and a chord the
#: division, 1/(1 − x) <= 1 + x + x²/(1 − x₀): at the end, x₀ = ¼, they exceed it by a twentieth.
BERNOULLI = 0.25


@kernel
def _power(x, q, out):
    """out = x^q for q >= 0: by multiplications where 2q is a small integer."""
    twice = 2.0 * q
    if twice > 40.0 or twice != math.floor(twice):
        power(x, q, out)
        return
    whole = int(twice) // 2
    if int(twice) % 2 == 1:
        for i in range(x.size):
            out[i] = math.sqrt(x[i])
    elif whole == 1:
        whole = 0
        for i in range(x.size):
            out[i] = x[i]
    elif whole == 2:
        whole = 0
        for i in range(x.size):
            out[i] = x[i] * x[i]
    elif whole >= 3:
        whole -= 3
        for i in range(x.size):
            out[i] = x[i] * x[i] * x[i]
    else:
        for i in range(x.size):
            out[i] = 1.0
    for _ in range(whole):
        for i in range(x.size):
            out[i] *= x[i]


@kernel
def _evaluate_from(numbers, path, work):
    """:func:`evaluate` from a start of several numbers, which are rows 3 to 6 of path."""
    inv_u, inv_v, plus, minus = work[0], work[1], work[2], work[3]
    high, low = path[0], path[1]
    inside = 0
    if numbers[P] == 2.0:
        for i in range(high.size):
            up, down = high[i] + path[4, i], path[6, i] - high[i]
            inside += (abs(high[i]) < 699.0) & (abs(up) < 699.0) & (abs(down) < 699.0)
        if inside < high.size:
            return False
        exponential(high, plus)
        for i in range(high.size):
            grown = plus[i] * (1.0 + low[i])
            plus[i] = path[3, i] * grown
            minus[i] = path[5, i] / grown
            inv_u[i] = 1.0
            inv_v[i] = 1.0
        return True
    for i in range(high.size):
        u = (path[3, i] - high[i]) + (path[4, i] - low[i])
        v = (path[5, i] + high[i]) + (path[6, i] + low[i])
        inside += (u > 0.0) & (v > 0.0)
        inv_u[i] = 1.0 / u
        inv_v[i] = 1.0 / v
    if inside < high.size:
        return False
    _power(inv_u, numbers[K], plus)
    _power(inv_v, numbers[K], minus)
    return True


@kernel
def evaluate(numbers, path, work):
    """Rows of work at τ̂: 0, 1 = 1/u, 1/v (1 at p = 2); 2, 3 = (θ̂₊/α)^p, (θ̂₋/α)^p. False at or beyond the pole."""
    if path.shape[0] > 3:
        return _evaluate_from(numbers, path, work)
    inv_u, inv_v, plus, minus = work[0], work[1], work[2], work[3]
    high, low = path[0], path[1]
    inside = 0
    if numbers[P] == 2.0:
        for i in range(high.size):
            inside += abs(high[i]) < 699.0
        if inside < high.size:
            return False
        exponential(high, plus)
        for i in range(high.size):
            plus[i] *= 1.0 + low[i]
            minus[i] = 1.0 / plus[i]
            inv_u[i] = 1.0
            inv_v[i] = 1.0
        return True
    for i in range(high.size):
        u = (1.0 - high[i]) - low[i]
        v = (1.0 + high[i]) + low[i]
        inside += (u > 0.0) & (v > 0.0)
        inv_u[i] = 1.0 / u
        inv_v[i] = 1.0 / v
    if inside < high.size:
        return False
    _power(inv_u, numbers[K], plus)
    _power(inv_v, numbers[K], minus)
    return True


@kernel(inline="always")
def widening(i, reach, norms, along, work):
    """How far coordinate i may be from ν̂_i, relative to its distance from the pole: (along |ĝ_i| + reach ‖A_i‖)/u_i."""
    return (along * abs(work[7, i]) + reach * norms[i]) * max(work[0, i], work[1, i])


@kernel
def next_strong(i, reach, norms, along, work):
    """The first coordinate from i on that Bernoulli's inequality is too coarse for, or n.

    A search of its own: inside one loop over all coordinates the compiler makes the powers for every one of them. The
    level is a little lower than where they are left out, so that rounding lets none fall between the two.
    """
    while i < norms.size and widening(i, reach, norms, along, work) < BERNOULLI * (1.0 - 1e-9):
        i += 1
    return i


@kernel
def theta_bound(theta_plus, theta_minus, numbers, norms, state, work):
    """Distance of θ to the farthest corner of the box (9), from rows 0 to 3 of work; rows 4 and 5 are scratch."""
    alpha, j = numbers[ALPHA], numbers[J]
    wide = max(1.0, j)
    width = numbers[SCALE] * (math.sqrt(state[E2]) + numbers[UNIT_DRIFT] * state[LENGTH])
    up, um = work[4], work[5]
    if numbers[P] == 2.0:
        for i in range(norms.size):
            up[i] = math.sqrt(work[2, i])
            um[i] = math.sqrt(work[3, i])
    else:
        _power(work[0], j, up)
        _power(work[1], j, um)
    slop = (8.0 + 2.0 * j + 2.0 * numbers[K]) * EPS
    total, strong = _mild_distance(theta_plus, theta_minus, numbers, norms, width, slop, work)
    i = next_strong(0, wide * width, norms, 0.0, work) if strong > 0 else norms.size
    while i < norms.size:
        reach = width * norms[i]
        total += _strong_distance(theta_plus[i], alpha * up[i], reach * work[0, i], numbers, slop) ** 2
        total += _strong_distance(theta_minus[i], alpha * um[i], reach * work[1, i], numbers, slop) ** 2
        i = next_strong(i + 1, wide * width, norms, 0.0, work)
    return math.sqrt(total) * (1.0 + (norms.size + 4.0) * EPS)


@kernel(inline="always")
def _strong_distance(theta, centre, x, numbers, slop):
    """From θ to the farther end of one side of the box, whose ends are made by powers."""
    j = numbers[J]
    if numbers[P] == 2.0:
        above = centre * math.exp(j * x)
        below = centre * math.exp(-j * x)
    else:
        above = centre * (1.0 - x) ** -j if x < 1.0 else np.inf
        below = centre * (1.0 + x) ** -j
    above = min(above * (1.0 + slop), numbers[CAP_THETA])
    return max(above - theta, theta - below * (1.0 - slop))


@kernel(fastmath=SIGNED_SUMS)
def _mild_distance(theta_plus, theta_minus, numbers, norms, width, slop, work):
    """Σ of squared distances to the box by Bernoulli's inequality; how many coordinates it is too coarse for, left out."""
    alpha, j, cap = numbers[ALPHA], numbers[J], numbers[CAP_THETA]
    wide, rise, fall = max(1.0, j), 1.0 + slop, 1.0 - slop
    inv_u, inv_v, up, um = work[0], work[1], work[4], work[5]
    chord = wide / (1.0 - BERNOULLI)
    total, strong = 0.0, 0
    for i in range(norms.size):
        reach = width * norms[i]
        x, z = reach * inv_u[i], reach * inv_v[i]
        mild = widening(i, wide * width, norms, 0.0, work) < BERNOULLI
        strong += not mild
        centre, other = alpha * up[i], alpha * um[i]
        above = min(centre * (1.0 + j * x * (1.0 + chord * x)) * rise, cap)
        far = max(above - theta_plus[i], theta_plus[i] - centre * (1.0 - j * x) * fall)
        above = min(other * (1.0 + j * z * (1.0 + chord * z)) * rise, cap)
        far_too = max(above - theta_minus[i], theta_minus[i] - other * (1.0 - j * z) * fall)
        total += far * far + far_too * far_too if mild else 0.0
    return total, strong
