"""Products with twice the digits of float64, against rationals."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from dlntorch.numerics.extended import EPS, product, refine, residual


def exact_product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left @ right in rationals, rounded once."""
    rows = [[Fraction(float(v)) for v in row] for row in left]
    columns = [[Fraction(float(v)) for v in column] for column in right.T]
    return np.array([[float(sum(a * b for a, b in zip(r, c, strict=True))) for c in columns] for r in rows])


def hilbert(n: int) -> np.ndarray:
    return 1 / (np.arange(n)[:, None] + np.arange(n)[None] + 1.0)


@pytest.mark.parametrize("n", [1, 3, 8, 12])
def test_what_cancels_in_a_product_keeps_its_digits(n: int) -> None:
    """The computed inverse of a Hilbert matrix, condition up to 1e16, times that matrix."""
    inverse = np.linalg.inv(hilbert(n))
    np.testing.assert_allclose(product(inverse, hilbert(n)), exact_product(inverse, hilbert(n)), rtol=EPS, atol=0)


def test_rows_and_columns_of_any_size_are_multiplied_alike() -> None:
    rng = np.random.default_rng(0)
    left = rng.standard_normal((4, 6)) * np.exp2([[-900], [0], [30], [500]])
    right = rng.standard_normal((6, 5)) * np.exp2([-70, -1, 0, 40, 300])
    np.testing.assert_allclose(product(left, right), exact_product(left, right), rtol=EPS, atol=0)
    assert product(np.zeros((2, 0)), np.zeros((0, 3))).tolist() == [[0.0] * 3] * 2
    assert not product(np.zeros((2, 3)), np.ones((3, 2))).any()


def test_a_residual_is_rounded_once() -> None:
    K = 2.0**40
    A, y = np.array([[K, K, 1.0], [K, K + 1, 3.0]]), np.array([3 * K, 3 * K + 2])
    x = np.array([1 + 2.0**-52, 2 + 2.0**-51, 0.0])
    expected = exact_product(np.column_stack([A, y]), np.append(-x, 1.0)[:, None])[:, 0]
    np.testing.assert_allclose(residual(A, x, y), expected, rtol=EPS, atol=0)
    assert np.array_equal(residual(A, np.zeros(3), y), y)


@pytest.mark.parametrize("n", [4, 8, 11])
def test_refinement_reaches_the_last_digit_and_says_where_it_does_not(n: int) -> None:
    """Hilbert's matrix in numbers of 40 bits, condition up to 1e13, and y = H(1, 2, …, n) without rounding."""
    H = np.round(hilbert(n) * 2.0**40) / 2.0**40
    truth = np.arange(1.0, n + 1)
    y, inverse = exact_product(H, truth[:, None])[:, 0], np.linalg.inv(H)
    found, error = refine(inverse @ y, lambda r: inverse @ r, lambda x: residual(H, x, y))
    assert error <= EPS
    np.testing.assert_allclose(found, truth, rtol=EPS, atol=0)
    start = truth * (1 + 1e-3)
    found, error = refine(start, lambda r: 2.5 * (inverse @ r), lambda x: residual(H, x, y))  # each step overshoots
    assert np.array_equal(found, start)
    assert error == pytest.approx(2.5e-3, rel=0.1)
