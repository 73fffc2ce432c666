"""The sides ψ± = θ±^p of the coordinates, compiled: how much they change over a step in ν, without cancellation.

A side is held as its slack u = (θ₊/θ₊(0))^{2−p} and f = θ₊^p = f₀u^{−k}, k = p/(p − 2). A step δ in ν makes it

    u′ = u(1 − x),  x = cδ/u,       f′ − f = f((1 − x)^{−k} − 1).

The difference is a product where k is a small integer, and an expm1 of a log1p otherwise; at p = 2, f′ − f = f·expm1(cδ).
Both sides of a coordinate change ψ in the same direction, so that Δψ keeps its relative accuracy at every α: also where
ψ ≪ α^p, and where u has shrunk to α^{p−2}.
"""

from __future__ import annotations

import math

import numpy as np

from dlntorch.numerics.compiling import SUMS, kernel

__all__ = ["EXPONENTIAL", "GENERAL", "change_sides", "growth_of", "move_sides", "rate_of", "sensitivity_of", "slope_of"]

#: The kinds of growth that have no small integer k; k = 2 and 3 (p = 4 and 3) are their own numbers.
GENERAL, EXPONENTIAL = 0, -1
#: A growth of f in its logarithm beyond which expm1 may overflow where f itself has underflown.
_LARGE = 30.0
#: Below this f₀ is too close to the smallest floats for f₀·u^{−k}.
_SMALL = 1e-290
#: Up to this ratio of |ψ| to its larger side their difference has lost a digit, and the sum of the changes is taken.
_CANCELS = 0.1
#: ln 2 in two parts, the first of few bits, and 1/j! for j = 1 … 13: expm1 as a polynomial vectorises, libm's does not.
_LN2_HIGH, _LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10
_FACTORIALS = tuple(1.0 / math.factorial(j) for j in range(1, 14))
_POWERS = 2.0 ** np.arange(64)


@kernel(fastmath=SUMS, inline="always")
def _small_expm1(r):
    """expm1 for |r| <= ln(2)/2: the Taylor polynomial, whose rest is below half a rounding."""
    c = _FACTORIALS
    total = c[12]
    total = total * r + c[11]
    total = total * r + c[10]
    total = total * r + c[9]
    total = total * r + c[8]
    total = total * r + c[7]
    total = total * r + c[6]
    total = total * r + c[5]
    total = total * r + c[4]
    total = total * r + c[3]
    total = total * r + c[2]
    total = total * r + c[1]
    return r + r * r * total


@kernel(fastmath=SUMS)
def _change_exponentially(c, f, log_f, steps, out):
    """out = f₊(e^{cδ} − 1) − f₋(e^{−cδ} − 1), one row of steps δ (n,) or the one side's."""
    sides, n = c.shape
    large = 0
    for i in range(n):
        large += 0 if abs(c[0, i] * steps[i]) < _LARGE else 1  # not a number is large
    if large == 0:
        for i in range(n):
            x = c[0, i] * steps[i]
            size = abs(x)
            halves = math.floor(size * 1.4426950408889634 + 0.5)
            whole = _POWERS[int(halves)]
            grown = whole * _small_expm1((size - halves * _LN2_HIGH) - halves * _LN2_LOW) + (whole - 1.0)
            fallen = -grown / (1.0 + grown)
            up, down = (grown, fallen) if x >= 0.0 else (fallen, grown)
            out[i] = f[0, i] * up - (f[1, i] * down if sides == 2 else 0.0)
        return
    for i in range(n):
        out[i] = 0.0
        for side in range(sides):
            sign = 1.0 - 2.0 * side
            growth = sign * c[side, i] * steps[i]
            if growth < _LARGE:
                out[i] += sign * (f[side, i] * math.expm1(growth))
            else:
                out[i] += sign * (math.exp(log_f[side, i] + growth) - f[side, i])


@kernel(fastmath=SUMS)
def _change_with_pole(curves, sides, steps, out):
    """The same with a pole; infinite at and beyond it."""
    kind, k = curves.kind, curves.k
    count, n = curves.c.shape
    for side in range(count):
        c, u, f, log_f = curves.c[side], sides.of[0, side], sides.of[1, side], sides.of[2, side]
        sign = 1.0 - 2.0 * side
        if side == 0:
            out[:] = 0.0
        if kind == 3:
            for i in range(n):
                x = sign * c[i] * steps[i] / u[i]
                w = x / (1.0 - x) if x < 1.0 else math.inf
                out[i] += sign * f[i] * (w * (3.0 + w * (3.0 + w)))
        elif kind == 2:
            for i in range(n):
                x = sign * c[i] * steps[i] / u[i]
                w = x / (1.0 - x) if x < 1.0 else math.inf
                out[i] += sign * f[i] * (w * (2.0 + w))
        else:
            for i in range(n):
                x = sign * c[i] * steps[i] / u[i]
                growth = -k * math.log1p(-x) if x < 1.0 else math.inf
                if growth < _LARGE:
                    out[i] += sign * (f[i] * math.expm1(growth))
                else:
                    out[i] += sign * (math.exp(log_f[i] + growth) - f[i])


@kernel
def change_sides(curves, sides, steps, out):
    """ψ′ − ψ after ``steps`` (k, n) in ν, into ``out``."""
    for j in range(steps.shape[0]):
        if curves.kind == EXPONENTIAL:
            _change_exponentially(curves.c, sides.of[1], sides.of[2], steps[j], out[j])
        else:
            _change_with_pole(curves, sides, steps[j], out[j])


@kernel
def move_sides(curves, sides, step, change):
    """Make ν + ``step`` (n,) the point, whose ψ changes by ``change``; at p = 2, u is 1 and falls by the steps in cν."""
    u, f, log_f, psi = sides.of[0], sides.of[1], sides.of[2], sides.psi
    f0, log_f0 = curves.start[0], curves.start[1]
    count, n = u.shape
    for i in range(n):
        for side in range(count):
            u[side, i] -= (1.0 - 2.0 * side) * curves.c[side, i] * step[i]
            if curves.kind == EXPONENTIAL:
                log_f[side, i] = log_f0[side, i] - (u[side, i] - 1.0)
                factor = math.exp(1.0 - u[side, i])
            else:
                log_f[side, i] = log_f0[side, i] - curves.k * math.log(u[side, i])
                factor = u[side, i] ** -curves.k
            start = f0[side, i]
            f[side, i] = start * factor if start > _SMALL and factor < math.inf else math.exp(log_f[side, i])
        if count == 1:
            psi[i] = f[0, i]
        else:
            difference = f[0, i] - f[1, i]
            cancels = abs(difference) < _CANCELS * max(f[0, i], f[1, i])
            psi[i] = psi[i] + change[i] if cancels else difference


@kernel(inline="always")
def growth_of(curves, u, side, i):
    """d ln f/dν of a side where its slack is ``u``."""
    return curves.c[side, i] if curves.kind == EXPONENTIAL else curves.k * curves.c[side, i] / u


@kernel(fastmath=SUMS)
def slope_of(curves, sides, step, out):
    """D = dψ/dν at ν + ``step`` (n,) into ``out``; False where the step leaves the curve."""
    u, f = sides.of[0], sides.of[1]
    kind, k = curves.kind, curves.k
    count, n = u.shape
    inside = True
    out[:] = 0.0
    for side in range(count):
        sign = 1.0 - 2.0 * side
        for i in range(n):
            x = sign * curves.c[side, i] * step[i]
            growth = growth_of(curves, u[side, i], side, i) * f[side, i]
            if kind == EXPONENTIAL:
                out[i] += growth * math.exp(min(x, 700.0))
            else:
                left = 1.0 - x / u[side, i]
                if left <= 0.0:
                    inside = False
                    left = 1.0
                cube = left * left * left
                out[i] += growth / (cube * left if kind == 3 else cube if kind == 2 else left ** (k + 1.0))
    for i in range(n):
        if not out[i] < math.inf:
            inside = False
    return inside


@kernel(fastmath=SUMS)
def rate_of(curves, sides, out):
    """The faster growth of the sides, (n,), into ``out``."""
    u = sides.of[0]
    count, n = u.shape
    for i in range(n):
        out[i] = growth_of(curves, u[0, i], 0, i)
        if count == 2:
            out[i] = max(out[i], growth_of(curves, u[1, i], 1, i))


@kernel
def sensitivity_of(curves, size, out):
    """About the largest D(ψ)/size over |ψ| up to ``size``, (n,), into ``out``.

    D is the sum of growth·f, growth is in proportion to f^{1/k}, and f is at most size + f₀.
    """
    log_size = math.log(size) if size > 0.0 else -math.inf
    count, n = curves.c.shape
    for i in range(n):
        out[i] = 0.0
        for side in range(count):
            start = curves.start[1, side, i]
            high, low = max(log_size, start), min(log_size, start)
            log_f = high + math.log1p(math.exp(low - high))
            log_growth = math.log(growth_of(curves, 1.0, side, i))
            if curves.kind != EXPONENTIAL:
                log_growth += (log_f - start) / curves.k
            out[i] = max(out[i], math.exp(log_growth + log_f - log_size))
