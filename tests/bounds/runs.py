"""Plain descent in ten lines, for the tests: independent of the package's engines."""

from __future__ import annotations

import numpy as np

__all__ = ["gaussian", "plain_sgd"]


def gaussian(seed, m=4, n=9):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, n)), rng.standard_normal(m)


def plain_sgd(A, y, p, alpha, kappa=0.1, steps=2000, batch=None, seed=0, watch=None, c=1.0):
    """θ₊, θ₋ and s = Σ η(m/b)r after steps of the relative rule; ``watch(x₊, x₋)`` sees the relative changes.

    ``alpha`` is a number, a vector, or a pair (α₊, α₋).
    """
    rng = np.random.default_rng(seed)
    m, n = A.shape
    plus, minus = (
        np.broadcast_to(np.asarray(a, dtype=float), n).copy()
        for a in (alpha if isinstance(alpha, tuple) else (alpha, alpha))
    )
    s, norm2 = np.zeros(m), np.linalg.norm(A, 2) ** 2
    for _ in range(steps):
        rows = np.arange(m) if batch is None else rng.choice(m, batch, replace=False)
        share = m / len(rows)
        r = y[rows] - A[rows] @ (plus**p - minus**p)
        g = share * (A[rows].T @ r)
        rho = p * np.max(np.maximum(plus, minus) ** (p - 2) * np.abs(g))
        top = p * p * norm2 * share * np.max(plus ** (2 * p - 2) + minus ** (2 * p - 2)) + (p - 1) * rho
        if rho == 0:
            break
        eta = min(c / top, kappa / rho)
        x, z = eta * p * plus ** (p - 2) * g, -eta * p * minus ** (p - 2) * g
        if watch is not None:
            watch(x, z)
        plus, minus = plus * (1 + x), minus * (1 + z)
        s[rows] += eta * share * r
    return plus, minus, s
