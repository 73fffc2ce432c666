"""Limits of the flow from θ±(0) = α a±, in many digits, by Newton's method on the dual of theory-bias section 10."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np

DIGITS = 36


def limit_from(A: Any, y: Any, p: float, plus: Any, minus: Any, alpha: float) -> list[Any]:
    """ψ_α(∞) with ψ_i = α^p[(w₊ − τ)^{−k} − (w₋ + τ)^{−k}], or α²(a₊²e^τ − a₋²e^{−τ}); ``minus`` None leaves one term."""
    with mp.workdps(DIGITS):
        A, y = mp.matrix(np.asarray(A).tolist()), mp.matrix(np.asarray(y).tolist())
        curves = _Curves(p, plus, minus)
        size, target = mp.mpf(1), mp.mpf(alpha)
        lam = mp.matrix(A.rows, 1)
        while True:
            lam = _newton(A, y, curves, size, lam)
            if size == target:
                return curves.at(A.T * lam, size)[0]
            size = max(size / 10, target)


class _Curves:
    """ψ and its slope at τ, coordinate by coordinate."""

    def __init__(self, p: float, plus: Any, minus: Any) -> None:
        self.p = mp.mpf(p)
        self.plus = [mp.mpf(float(a)) for a in plus]
        self.minus = None if minus is None else [mp.mpf(float(a)) for a in minus]

    def at(self, tau: Any, alpha: Any) -> tuple[list[Any], list[Any]] | None:
        psi, slope = [], []
        for i, t in enumerate(tau):
            terms = [_term(self.plus[i], t, self.p, alpha)]
            if self.minus is not None:
                terms.append(_term(self.minus[i], -t, self.p, alpha))
            if any(term is None for term in terms):
                return None
            psi.append(terms[0][0] - (terms[1][0] if len(terms) == 2 else 0))
            slope.append(sum(term[1] for term in terms))
        return psi, slope


def _term(a: Any, tau: Any, p: Any, alpha: Any) -> Any:
    """θ^p and its derivative in τ; None beyond the pole."""
    if p == 2:
        value = alpha**2 * a**2 * mp.exp(tau)
        return value, value
    k, left = p / (p - 2), a ** (2 - p) - tau
    return None if left <= 0 else (alpha**p * left**-k, k * alpha**p * left ** (-k - 1))


def _newton(A: Any, y: Any, curves: _Curves, alpha: Any, lam: Any) -> Any:
    for _ in range(500):
        found = curves.at(A.T * lam, alpha)
        assert found is not None
        psi, slope = found
        step = mp.lu_solve(A * mp.diag(slope) * A.T, y - A * mp.matrix(psi))
        change = A.T * step
        length = min(mp.mpf(1), 1 / mp.norm(change, mp.inf)) if curves.p == 2 and mp.norm(change) > 0 else mp.mpf(1)
        while curves.at(A.T * (lam + length * step), alpha) is None:
            length /= 2
        lam = lam + (length if length == 1 else mp.mpf("0.9") * length) * step
        if length == 1 and mp.norm(change) <= mp.mpf(10) ** (14 - DIGITS) * (1 + mp.norm(A.T * lam)):
            return lam
    raise AssertionError("Newton's method did not converge")
