"""How many Gaussian measurements basis pursuit needs to recover a k-sparse signal: the ℓ1 statistical dimension.

Sources: Amelunxen, Lotz, McCoy and Tropp, arXiv 1303.6672 (theorem II and proposition 4.5); the same curve is the weak
threshold of the cross-polytope of Donoho and Tanner.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

from dlntorch.numerics.validation import check_count, check_number

__all__ = ["sampled_dimension", "statistical_dimension", "weak_threshold"]


def statistical_dimension(sparsity: float) -> float:
    """ψ(s) = min over τ ≥ 0 of s(1 + τ²) + 2(1 − s)[(1 + τ²)Φ(−τ) − τφ(τ)], φ and Φ the normal density and distribution.

    The statistical dimension of the descent cone of ‖·‖₁ at a vector of n entries with k = sn nonzeros lies between
    ψ(s) n − 2√(n/k) and ψ(s) n. Basis pursuit succeeds with m Gaussian measurements about where m exceeds it.

    Args:
        sparsity: s = k/n, in (0, 1].

    Returns:
        ψ(s), in (0, 1].
    """
    s = check_number("sparsity", sparsity, above=0, at_most=1)
    if s == 1:
        return 1.0
    # the derivative in τ, halved: sτ − 2(1 − s)[φ(τ) − τΦ(−τ)], increasing; for τ > √(2 log(2/s)) + 1 it is positive
    tau = _root(
        lambda t: s * t - 2 * (1 - s) * (_density(t) - t * float(ndtr(-t))), 0.0, math.sqrt(2 * math.log(2 / s)) + 1
    )
    return s * (1 + tau**2) + 2 * (1 - s) * ((1 + tau**2) * float(ndtr(-tau)) - tau * _density(tau))


def weak_threshold(undersampling: float) -> float:
    """ρ with ψ(ρδ) = δ: for n → ∞ basis pursuit recovers k = ρm nonzeros from m = δn measurements, and no more.

    Args:
        undersampling: δ = m/n, in [1e-6, 1].

    Returns:
        ρ = k/m.
    """
    delta = check_number("undersampling", undersampling, at_least=1e-6, at_most=1)
    if delta == 1:
        return 1.0
    return _root(lambda rho: statistical_dimension(rho * delta) - delta, 1e-9, 1.0)


def sampled_dimension(n: int, k: int, draws: int = 4000, seed: int = 0) -> tuple[float, float]:
    """The statistical dimension at finite n, and its standard error, by sampling its definition.

    E dist²(g, cone of ∂‖·‖₁) = E min over τ ≥ 0 of Σ_{i∈S}(g_i − τ)² + Σ_{i∉S}(|g_i| − τ)₊² for a standard normal g. With
    |g| off S in decreasing order and c_j the sum of the first j, the minimising τ is max(0, max_j (Σ_S g + c_j)/(k + j)).

    Args:
        n: Entries of the signal.
        k: Its nonzeros, 1 … n.
        draws: Of g.
        seed: Of the generator.

    Returns:
        Mean and standard error.
    """
    n, draws = check_count("n", n), check_count("draws", draws, at_least=2)
    k = check_count("k", k, at_most=n)
    g = np.random.default_rng(check_count("seed", seed, at_least=0)).standard_normal((draws, n))
    on, off = g[:, :k], -np.sort(-np.abs(g[:, k:]), axis=1)
    sums = on.sum(axis=1, keepdims=True) + np.concatenate([np.zeros((draws, 1)), np.cumsum(off, axis=1)], axis=1)
    tau = np.maximum(0.0, np.max(sums / (k + np.arange(n - k + 1)), axis=1, keepdims=True))
    squares = np.sum((on - tau) ** 2, axis=1) + np.sum(np.maximum(off - tau, 0.0) ** 2, axis=1)
    return float(squares.mean()), float(squares.std(ddof=1) / math.sqrt(draws))


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    root: Any = brentq(function, low, high, xtol=1e-14)
    return float(root)


def _density(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
