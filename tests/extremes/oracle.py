"""Exact answers for one measurement and two unknowns, in 60 digits: a route that shares no code with the package.

For A = (c₁, c₂), y = h the limit of the flow is ψ_i = α^p h_p(c_iλ) with the λ for which c₁ψ₁ + c₂ψ₂ = h, and on the way
there λ obeys dλ/dt = p²α^{2p−2}·(h − c₁ψ₁ − c₂ψ₂)·(scale of τ), theory sections 1 and 2. Both are one-dimensional.
"""

from __future__ import annotations

from collections.abc import Sequence

import mpmath as mp

__all__ = ["limit", "limits"]

DIGITS = 60


def h(tau: mp.mpf, p: mp.mpf) -> mp.mpf:
    """h_p(τ): 2 sinh τ at p = 2, else (1 − τ)^{−k} − (1 + τ)^{−k} with k = p/(p − 2)."""
    if p == 2:
        return 2 * mp.sinh(tau)
    k = p / (p - 2)
    return (1 - tau) ** (-k) - (1 + tau) ** (-k)


def limit(columns: Sequence[float], y: float, p: float, alpha: float) -> list[mp.mpf]:
    """ψ_α(∞) for the 1×n matrix ``columns``; by bisection on s = log of the distance of λ from its end."""
    with mp.workdps(DIGITS + int(abs(mp.log10(alpha))) // 2):
        c, target = [mp.mpf(x) for x in columns], mp.mpf(y)
        depth, a = mp.mpf(p), mp.mpf(alpha) ** mp.mpf(p)
        top = max(abs(x) for x in c)
        sign = mp.sign(target)

        def psi(s: mp.mpf) -> list[mp.mpf]:
            # p > 2: λ·top = 1 − e^s, which keeps the digits next to the pole; p = 2 has none: λ·top = e^{−s}
            if depth == 2:
                return [a * sign * h(x / top * mp.exp(-s), depth) for x in c]
            k, gap = depth / (depth - 2), mp.exp(s)
            found = []
            for x in c:
                ratio = x / top
                up, down = 1 - ratio * (1 - gap), 1 + ratio * (1 - gap)
                if ratio == 1:
                    up = gap
                if ratio == -1:
                    down = gap
                found.append(a * sign * (up ** (-k) - down ** (-k)))
            return found

        def excess(s: mp.mpf) -> mp.mpf:
            return sign * (sum(x * v for x, v in zip(c, psi(s), strict=True)) - target)

        low, high = mp.mpf(-4000), mp.mpf(0)  # at s = low it is too large, at high too small
        if depth == 2:
            low, high = -mp.log(mp.mpf(5000)), mp.mpf(3000)
        if target == 0 or top == 0:
            return [mp.mpf(0) for _ in c]
        for _ in range(60 + 4 * DIGITS):
            middle = (low + high) / 2
            if excess(middle) > 0:
                low = middle
            else:
                high = middle
        return psi((low + high) / 2)


def limits(columns: Sequence[float], y: float, p: float, alphas: Sequence[float]) -> list[list[mp.mpf]]:
    """:func:`limit` for several α."""
    return [limit(columns, y, p, alpha) for alpha in alphas]
