"""Depth 2: ϱ where no certificate exists, and from which α on the slope stays, against the formula for λ = L + log W."""

from __future__ import annotations

import math

import numpy as np
import pytest

import dlntorch as dln
from dlntorch.reference.entropy_rate import _chebyshev_by_highs, _with_support, decay_exponent

# Beside I₂: the slope meets its limit at log(1/α²) = 1 by chance, is far from it at 2, and back at 8.
BY_CHANCE = ([[-0.525, 0.09338], [1.425, -0.09338]], np.exp([12.0, 4.0]))
ONE_RATE = ([[0.5], [0.25]], np.array([20.0, 20.0]))
TWO_RATES = ([[0.5, -0.1], [0.25, 0.8]], np.array([1.0, 3.0]))


def leading_order(off: np.ndarray, W: np.ndarray, L: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For A = (I, off), y = W > 0: the slope of the error in log α and its largest share of a W_i, at L = log(1/α²).

    A_Sᵀλ = L + log W is λ itself, the error 2α² sinh(offᵀλ) off the support and −off times that on it.
    """
    tau, rate = (L[:, None] + np.log(W)) @ off, off.sum(axis=0)
    value, slope = 2 * np.sinh(tau), 2 * np.cosh(tau) * rate
    error, change = np.hstack([value, -value @ off.T]), np.hstack([slope, -slope @ off.T])
    largest = (np.abs(value @ off.T) / W).max(axis=1) * np.exp(-L)
    return 2 - 2 * (error * change).sum(axis=1) / (error * error).sum(axis=1), largest


@pytest.mark.parametrize("case", [BY_CHANCE, ONE_RATE, TWO_RATES], ids=["by chance", "one rate", "two rates"])
def test_the_slope_stays_from_alpha_asymptotic_on_and_not_from_the_alpha_before(case) -> None:
    off, W = np.array(case[0]), case[1]
    rate = dln.predict_rate(dln.Problem(np.hstack([np.eye(2), off]), W), 2)
    assert rate.p == 2
    assert rate.exponent == pytest.approx(2 * (1 - np.abs(off.sum(axis=0)).max()), rel=1e-12)
    reached = -2 * math.log(rate.alpha_asymptotic)
    assert math.log2(reached) == pytest.approx(round(math.log2(reached)), abs=1e-9)  # log α doubles on the grid
    slope, largest = leading_order(off, W, np.geomspace(reached, 300, 200))
    assert np.abs(slope - rate.exponent).max() <= 0.0101
    assert largest.max() <= 0.01 * (1 + 1e-9)
    slope, largest = leading_order(off, W, np.array([reached / 2]))
    assert np.abs(slope - rate.exponent).max() > 0.01 or largest.max() > 0.01


def test_the_error_on_a_face_keeps_the_data_and_the_selectors_condition() -> None:
    """A_S C_S = −A_off C_off, and Nᵀ(C_S/W) = 0 on the directions N of the face."""
    rng = np.random.default_rng(0)
    B, A_off = rng.standard_normal((2, 5)), rng.standard_normal((2, 3))
    N = np.linalg.svd(B)[2][2:].T
    size, off = 10.0 ** rng.uniform(-3, 0, 5), rng.standard_normal(3)
    error = _with_support(B, A_off, N, size, off)
    np.testing.assert_array_equal(error[:3], off)
    np.testing.assert_allclose(B @ error[3:], -A_off @ off, rtol=0, atol=1e-12)
    np.testing.assert_allclose(N.T @ (error[3:] / size), 0, rtol=0, atol=1e-10)


def test_rho_is_zero_where_everything_off_the_support_can_be_cancelled() -> None:
    """Then no w with Gᵀw = 0, τᵀw = 1 exists, and HiGHS must find the μ of τ + Gμ = 0."""
    rng = np.random.default_rng(1)
    G, mu = rng.standard_normal((6, 3)), np.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(_chebyshev_by_highs(G @ -mu, G), mu, rtol=1e-8)
    rho, at = decay_exponent(G @ -mu, G)
    assert rho == pytest.approx(0, abs=1e-14)
    assert np.abs(at).max() <= 1e-14
