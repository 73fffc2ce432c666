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

__all__ = ["EXPONENTIAL", "GENERAL", "change_one_side", "move_one_side"]

#: The kinds of growth that have no small integer k; k = 2 and 3 (p = 4 and 3) are their own numbers.
GENERAL, EXPONENTIAL = 0, -1
#: A growth of f in its logarithm beyond which expm1 may overflow where f itself has underflown.
_LARGE = 30.0
#: Below this f₀ is too close to the smallest floats for f₀·u^{−k}.
_SMALL = 1e-290


@kernel(fastmath=SUMS)
def change_one_side(kind, k, c, sign, u, f, log_f, steps, out):
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
def move_one_side(kind, k, c, sign, u, f, log_f, f0, log_f0, step):
    """u, f and log f after a ``step`` (n,) in ν; at p = 2, u is 1 and falls by the steps in cν."""
    for i in range(step.size):
        u[i] -= sign * c[i] * step[i]
        if kind == EXPONENTIAL:
            log_f[i] = log_f0[i] - (u[i] - 1.0)
            factor = math.exp(1.0 - u[i])
        else:
            log_f[i] = log_f0[i] - k * math.log(u[i])
            factor = u[i] ** -k
        f[i] = f0[i] * factor if f0[i] > _SMALL and factor < math.inf else math.exp(log_f[i])
