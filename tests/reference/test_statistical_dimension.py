"""The phase transition of basis pursuit: another formula for the same curve, known values, sampling, a quadrature."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from dlntorch.numerics.validation import InputError
from dlntorch.reference.statistical_dimension import sampled_dimension, statistical_dimension, weak_threshold


@settings(max_examples=40, deadline=None)
@given(st.floats(0.01, 0.99))
def test_the_minimax_formula_of_donoho_maleki_and_montanari(delta):
    """ρ(δ) = max_z [1 − (2/δ)e(z)]/[1 + z² − 2e(z)], e(z) = (1 + z²)Φ(−z) − zφ(z) (arXiv 0907.3574, equation 5)."""

    def negative(z: float) -> float:
        e = (1 + z * z) * norm.cdf(-z) - z * norm.pdf(z)
        return -(1 - 2 / delta * e) / (1 + z * z - 2 * e)

    best = minimize_scalar(negative, bounds=(0, 6), method="bounded", options={"xatol": 1e-10})
    assert weak_threshold(delta) == pytest.approx(-best.fun, rel=1e-7)


def test_the_usual_rule_of_thumb():
    """Half as many measurements as entries: 0.386 of them may be nonzeros; a tenth: 0.19."""
    assert weak_threshold(0.5) == pytest.approx(0.386, abs=5e-4)
    assert weak_threshold(0.1) == pytest.approx(0.19, abs=5e-3)


@pytest.mark.parametrize("s", [1e-4, 0.03, 0.4, 0.95])
def test_the_integral_itself_minimised(s):
    def value(tau: float) -> float:
        tail = quad(lambda x: (x - tau) ** 2 * norm.pdf(x), tau, 40, epsabs=1e-13)[0]
        return s * (1 + tau**2) + 2 * (1 - s) * tail

    best = minimize_scalar(value, bounds=(0, 8), method="bounded", options={"xatol": 1e-9})
    assert statistical_dimension(s) == pytest.approx(best.fun, rel=1e-8)


@pytest.mark.parametrize(("n", "k"), [(100, 2), (100, 20), (60, 55)])
def test_sampling_lies_between_the_bounds(n, k):
    """Proposition 4.5: ψ(s) − 2/√(k n) ≤ δ/n ≤ ψ(s)."""
    mean, error = sampled_dimension(n, k)
    upper = n * statistical_dimension(k / n)
    assert upper - 2 * np.sqrt(n / k) - 3 * error <= mean <= upper + 3 * error


def test_the_minimising_tau_is_a_minimiser():
    """One draw against a scalar minimisation."""
    n, k, seed = 12, 3, 5
    g = np.random.default_rng(seed).standard_normal((2, n))

    def value(tau: float, row: np.ndarray) -> float:
        return float(np.sum((row[:k] - tau) ** 2) + np.sum(np.maximum(np.abs(row[k:]) - tau, 0) ** 2))

    best = [
        minimize_scalar(value, bounds=(0, 5), args=(row,), method="bounded", options={"xatol": 1e-10}).fun for row in g
    ]
    assert sampled_dimension(n, k, draws=2, seed=seed)[0] == pytest.approx(np.mean(best), rel=1e-8)


def test_ends_and_ranges():
    assert statistical_dimension(1) == 1
    assert weak_threshold(1) == 1
    assert sampled_dimension(5, 5, draws=20_000)[0] == pytest.approx(5 - 0.5, abs=0.1)  # a half-space: τ ≥ 0 matters
    with pytest.raises(InputError, match="sparsity"):
        statistical_dimension(0)
    with pytest.raises(InputError, match="undersampling"):
        weak_threshold(1.5)
