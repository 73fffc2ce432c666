"""Changes of a problem in rationals: numbers of few digits, and the size of a change, rounded up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

__all__ = ["exact_sum", "rounded", "size_of_change"]

_BITS = 100  # of a rational number in a perturbation, below its size


def size_of_change(A: Sequence[Sequence[Fraction]], y: Sequence[Fraction], dA: np.ndarray, dy: np.ndarray) -> float:
    """max(Σ‖dA_i‖₂ / max‖A_i‖₂, ‖dy‖₂ / ‖y‖₂), rounded up."""
    largest = max(sum((v * v for v in column), Fraction(0)) for column in zip(*A, strict=True))
    squares = [sum(v * v for v in column if v) for column in dA.T.tolist()]
    total = sum((_root_up(square / largest) for square in squares if square), Fraction(0))
    change, right = sum(v * v for v in dy.tolist()), sum(v * v for v in y)
    return _up(max(total, _root_up(change / right) if change else Fraction(0)))


def exact_sum(c: list[Fraction], signs: list[int]) -> list[Fraction]:
    """c with its largest entry changed so that Σ σ_j c_j is ±1, whichever is nearer."""
    total = sum((s * v for s, v in zip(signs, c, strict=True)), Fraction(0))
    largest = max(range(len(c)), key=lambda k: abs(c[k]))
    return [
        v + s * ((1 if total >= 0 else -1) - total) * (k == largest)
        for k, (s, v) in enumerate(zip(signs, c, strict=True))
    ]


def rounded(value: Fraction, unit: Fraction) -> Fraction:
    """The number rounded to about 100 bits below ``unit``; itself where it is that short, or ``unit`` is 0."""
    if not unit or max(value.numerator.bit_length(), value.denominator.bit_length()) <= _BITS:
        return value
    exponent = _BITS - (unit.numerator.bit_length() - unit.denominator.bit_length())
    return Fraction(round(value * Fraction(2) ** exponent)) / Fraction(2) ** exponent


def _root_up(square: Fraction | float) -> Fraction:
    """√square, rounded up to about 100 bits, exact where it is rational."""
    square = Fraction(square)
    if not square:
        return Fraction(0)
    above, below = math.isqrt(square.numerator), math.isqrt(square.denominator)
    if above * above == square.numerator and below * below == square.denominator:
        return Fraction(above, below)
    shift = 2 * max(0, 110 - (square.numerator.bit_length() - square.denominator.bit_length()) // 2)
    scaled = (square.numerator << shift) // square.denominator + 1
    return Fraction(math.isqrt(scaled) + 1, 1 << (shift // 2))


def _up(number: Fraction) -> float:
    nearest = float(number)
    return nearest if Fraction(nearest) >= number else math.nextafter(nearest, math.inf)
