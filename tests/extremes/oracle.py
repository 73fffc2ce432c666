"""Exact answers for one measurement, in 60 digits: a route that shares no code with the package.

For A = (c₁, c₂, …) with one row the limit of the flow is ψ_i = α^p h_p(c_iλ) with the one λ for which Σ c_iψ_i = y (theory,
section 2).
"""

from __future__ import annotations

from collections.abc import Sequence

import mpmath as mp

__all__ = ["limit"]

DIGITS = 60


def h(tau: mp.mpf, p: mp.mpf) -> mp.mpf:
    """h_p(τ): 2 sinh τ at p = 2, else (1 − τ)^{−k} − (1 + τ)^{−k} with k = p/(p − 2)."""
    if p == 2:
        return 2 * mp.sinh(tau)
    k = p / (p - 2)
    return (1 - tau) ** (-k) - (1 + tau) ** (-k)


def limit(columns: Sequence[float], y: float, p: float, alpha: float, digits: int = DIGITS) -> list[mp.mpf]:
    """ψ_α(∞) for the 1×n matrix ``columns``, to about ``digits`` digits.

    λ is found by bisection in the logarithm of a coordinate that is small where digits are needed: of λ itself far from
    the pole, of the distance 1 − |c_max λ| from it close by (p > 2), of λ again at p = 2.
    """
    cancelled = p * mp.log10(alpha) - (mp.log10(abs(y)) if y else 0)  # of h_p(τ) at τ ~ y/α^p
    with mp.workdps(digits + 30 + max(0, int(cancelled))):
        c, target = [mp.mpf(x) for x in columns], mp.mpf(y)
        depth, a = mp.mpf(p), mp.mpf(alpha) ** mp.mpf(p)
        top = max(abs(x) for x in c)
        if target == 0 or top == 0:
            return [mp.mpf(0) for _ in c]
        sign = mp.sign(target)

        def psi(tau: mp.mpf, gap: mp.mpf) -> list[mp.mpf]:
            """At λ = ± tau/top, with gap = 1 − tau given apart, to its own digits."""
            found = []
            for x in c:
                ratio = x / top
                if depth == 2:
                    found.append(a * sign * h(ratio * tau, depth))
                    continue
                k = depth / (depth - 2)
                up = gap if ratio == 1 else 1 - ratio * tau
                down = gap if ratio == -1 else 1 + ratio * tau
                found.append(a * sign * (up ** (-k) - down ** (-k)))
            return found

        def too_large(found: list[mp.mpf]) -> bool:
            return sign * (sum(x * v for x, v in zip(c, found, strict=True)) - target) > 0

        half = mp.mpf(1) / 2
        near_pole = depth > 2 and not too_large(psi(half, half))

        def at(s: mp.mpf) -> list[mp.mpf]:
            x = mp.exp(s)
            return psi(1 - x, x) if near_pole else psi(x, 1 - x)

        # near the pole ψ falls with s, elsewhere it grows
        low, high = mp.mpf(-100_000), mp.log(mp.mpf(20_000)) if depth == 2 else mp.log(half)
        for _ in range(40 + int(3.4 * mp.mp.dps)):
            middle = (low + high) / 2
            if too_large(at(middle)) == near_pole:
                low = middle
            else:
                high = middle
        return at((low + high) / 2)
