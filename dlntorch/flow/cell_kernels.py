"""One side ψ₊ = θ₊^p of a coordinate, compiled: how much it changes over a step in ν, without cancellation.

A side is held as its slack u = (θ₊/θ₊(0))^{2−p} and f = θ₊^p = f₀u^{−k}, k = p/(p − 2). A step δ in ν makes it

    u′ = u(1 − x),  x = cδ/u,       f′ − f = f((1 − x)^{−k} − 1).

The difference is a product where k is a small integer, and an expm1 of a log1p otherwise; at p = 2, f′ − f = f·expm1(cδ).
Both sides of a coordinate change ψ in the same direction, so that Δψ keeps its relative accuracy at every α: also where
ψ ≪ α^p, and where u has shrunk to α^{p−2}.
"""

from __future__ import annotations

import math

from dlntorch.numerics.compiling import SUMS, kernel

__all__ = ["EXPONENTIAL", "GENERAL", "change_sides", "move_sides"]

#: The kinds of growth that have no small integer k; k = 2 and 3 (p = 4 and 3) are their own numbers.
GENERAL, EXPONENTIAL = 0, -1
#: A growth of f in its logarithm beyond which expm1 may overflow where f itself has underflown.
_LARGE = 30.0
#: Below this f₀ is too close to the smallest floats for f₀·u^{−k}.
_SMALL = 1e-290


@kernel(fastmath=SUMS)
def _change_one_side(kind, k, c, sign, u, f, log_f, steps, out):
    """out += sign·(f′ − f) after ``steps`` (stages, n) in sign·ν; infinite at and beyond the pole."""
    stages, n = steps.shape
    for j in range(stages):
        if kind == 3:
            for i in range(n):
                x = sign * c[i] * steps[j, i] / u[i]
                w = x / (1.0 - x) if x < 1.0 else math.inf
                out[j, i] += sign * f[i] * (w * (3.0 + w * (3.0 + w)))
        elif kind == 2:
            for i in range(n):
                x = sign * c[i] * steps[j, i] / u[i]
                w = x / (1.0 - x) if x < 1.0 else math.inf
                out[j, i] += sign * f[i] * (w * (2.0 + w))
        else:
            for i in range(n):
                x = sign * c[i] * steps[j, i]
                if kind == EXPONENTIAL:
                    growth = x
                else:
                    x /= u[i]
                    growth = -k * math.log1p(-x) if x < 1.0 else math.inf
                if growth < _LARGE:
                    out[j, i] += sign * (f[i] * math.expm1(growth))
                else:
                    out[j, i] += sign * (math.exp(log_f[i] + growth) - f[i])


@kernel
def change_sides(kind, k, c, u, f, log_f, steps, out):
    """ψ′ − ψ after ``steps`` (stages, n) in ν, into ``out``; c, u, f and log f of one side or two, (sides, n)."""
    out[:] = 0.0
    for side in range(c.shape[0]):
        _change_one_side(kind, k, c[side], 1.0 - 2.0 * side, u[side], f[side], log_f[side], steps, out)


@kernel
def move_sides(kind, k, c, u, f, log_f, f0, log_f0, step):
    """u, f and log f (sides, n) after a ``step`` (n,) in ν; at p = 2, u is 1 and falls by the steps in cν."""
    for side in range(c.shape[0]):
        sign = 1.0 - 2.0 * side
        for i in range(step.size):
            u[side, i] -= sign * c[side, i] * step[i]
            if kind == EXPONENTIAL:
                log_f[side, i] = log_f0[side, i] - (u[side, i] - 1.0)
                factor = math.exp(1.0 - u[side, i])
            else:
                log_f[side, i] = log_f0[side, i] - k * math.log(u[side, i])
                factor = u[side, i] ** -k
            start = f0[side, i]
            f[side, i] = start * factor if start > _SMALL and factor < math.inf else math.exp(log_f[side, i])
