"""The curve ψ = a h_p(τ), coordinate by coordinate: plain Python that numba can compile into its callers.

With k = p/(p − 2), b = k atanh τ and t = kτ (so b = t = τ at p = 2, where 1/k = 0):

    ψ = a h_p(τ) = 2a sinh(b) cosh(b/k)^k,    dψ/dt = |ψ| (coth|b| + tanh|b/k|) cosh²(b/k),

which is smooth in p down to 2, keeps 1 ∓ τ = 2/(1 + e^{±2b/k}) to full relative accuracy at the pole, and never forms a
power whose exponent k blows up a rounding error. Everything takes 1/k, ``k_inverse``, and log a.
"""

from __future__ import annotations

import math

import numpy as np
from numba.extending import register_jitable

__all__ = [
    "change_of_b",
    "change_of_t",
    "curve_inverse",
    "curve_inverses",
    "curve_value",
    "curve_values",
    "log_cosh",
    "root_slope",
    "root_slopes",
]

_EPS = 2.220446049250313e-16
_LOG2 = 0.6931471805599453


@register_jitable
def log_cosh(x):
    x = abs(x)
    if x < 1:
        s = math.sinh(x)
        return 0.5 * math.log1p(s * s)
    return x + math.log1p(math.exp(-2 * x)) - _LOG2


@register_jitable
def _stretch(b, k_inverse):
    """k log cosh(b/k), zero at p = 2."""
    return 0.0 if k_inverse == 0 else log_cosh(b * k_inverse) / k_inverse


@register_jitable
def _log_height(b, k_inverse):
    """log h_p at b > 0."""
    return b + math.log1p(-math.exp(-2 * b)) + _stretch(b, k_inverse)


@register_jitable
def curve_value(b, log_a, k_inverse):
    """ψ at b."""
    size = abs(b)
    if size < 1:
        return 2 * math.sinh(b) * math.exp(_stretch(b, k_inverse)) * math.exp(log_a)
    return math.copysign(math.exp(log_a + _log_height(size, k_inverse)), b)


@register_jitable
def curve_values(b, log_a, k_inverse):
    """ψ at b for every coordinate, shape (n,)."""
    psi = np.empty_like(b)
    for i in range(b.size):
        psi[i] = curve_value(b[i], log_a[i], k_inverse)
    return psi


@register_jitable
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


@register_jitable
def curve_inverses(psi, log_a, k_inverse):
    """b at ψ for every coordinate, shape (n,)."""
    b = np.empty_like(psi)
    for i in range(psi.size):
        b[i] = curve_inverse(psi[i], log_a[i], k_inverse)
    return b


@register_jitable
def root_slope(psi, b, log_a, k_inverse):
    """√(dψ/dt); the square root keeps twice the exponent range."""
    size = abs(b)
    c = log_cosh(b * k_inverse)
    if size < 1:
        inner = 2 * (math.cosh(b) + math.sinh(size) * math.tanh(size * k_inverse))
        return math.sqrt(inner) * math.exp(0.5 * (log_a + _stretch(b, k_inverse)) + c)
    return math.sqrt(abs(psi) * (1 / math.tanh(size) + math.tanh(size * k_inverse))) * math.exp(c)


@register_jitable
def root_slopes(psi, b, log_a, k_inverse):
    """√(dψ/dt) of every coordinate, shape (n,)."""
    out = np.empty_like(psi)
    for i in range(psi.size):
        out[i] = root_slope(psi[i], b[i], log_a[i], k_inverse)
    return out


@register_jitable
def change_of_b(b, dt, k_inverse):
    """The change of b when t moves by dt, or NaN beyond the pole: (k/2)(log1p(dt/(kv)) − log1p(−dt/(ku)))."""
    if k_inverse == 0:
        return dt
    up = 0.5 * dt * k_inverse * (1 + math.exp(-2 * b * k_inverse))  # dt/(k v)
    down = 0.5 * dt * k_inverse * (1 + math.exp(2 * b * k_inverse))  # dt/(k u)
    if up <= -1 or down >= 1:
        return math.nan
    return 0.5 * (math.log1p(up) - math.log1p(-down)) / k_inverse


@register_jitable
def change_of_t(b, db, k_inverse):
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
