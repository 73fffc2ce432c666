"""Families of problems through one whose ℓ1-minimiser is not unique: for δ > 0 and δ < 0 it jumps from one side to the other.

A(δ) has one column of an ill-posed A* multiplied by 1 − δ. That column ties, |A_iᵀλ| = 1; times 1 − δ it is off the ties for
δ > 0, and for δ < 0 it enters the support, whatever the size of δ. On the paper's line A* = (1, 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import combinations

import numpy as np

from dlntorch.numerics.rational import IntegerMatrix, integer_equations
from dlntorch.problem import Problem
from dlntorch.reference.exact import exact_minimizer
from dlntorch.reference.ill_posedness import ill_posedness

__all__ = ["FAMILIES", "Family", "enumerated", "family", "rounded_to_bits", "rounded_to_digits"]

FAMILIES = ("line", "sparse 1", "sparse 2", "sparse 3")


@dataclass(frozen=True)
class Family:
    """A(δ), y in rationals; ``column`` is multiplied by 1 − δ."""

    A: tuple[tuple[Fraction, ...], ...]
    y: tuple[Fraction, ...]
    column: int

    def at(self, delta: Fraction) -> tuple[list[list[Fraction]], list[Fraction]]:
        """(A(δ), y)."""
        rows = [[v * (1 - delta) if j == self.column else v for j, v in enumerate(row)] for row in self.A]
        return rows, list(self.y)

    def scaled(self, factor: Fraction) -> Family:
        """The family with y times ``factor``, and so all minimisers."""
        return Family(self.A, tuple(v * factor for v in self.y), self.column)


@cache
def family(name: str) -> Family:
    """The paper's line, or a family through the nearest ill-posed problem of a random 3×7 integer problem.

    All entries of that problem but one column are integers; the minimiser of "sparse" problems has fewer than 7 nonzeros.
    """
    if name == "line":
        return Family(((Fraction(1), Fraction(1)),), (Fraction(1),), 1)
    rng = np.random.default_rng(int(name.split()[1]))
    while True:
        A, y = rng.integers(-4, 5, (3, 7)), rng.integers(-6, 7, 3)
        if np.linalg.matrix_rank(A) < 3 or not y.any():
            continue
        problem = Problem(A, y)
        found = ill_posedness(problem)
        if found.perturbation is None or not found.upper or (found.spread or 0) < 0.2 or any(found.perturbation[1]):
            continue
        rows, right = problem.rationals
        steps = found.perturbation[0].tolist()
        changed = tuple(
            tuple(a + d for a, d in zip(row, more, strict=True)) for row, more in zip(rows, steps, strict=True)
        )
        base = Family(changed, tuple(right), next(j for j in range(7) if any(found.perturbation[0][:, j])))
        if _jumps(base):
            return base


def _jumps(base: Family) -> bool:
    """Whether the minimisers of both sides are unique and differ in their supports."""
    ends = [exact_minimizer(Problem.from_rationals(*base.at(Fraction(sign, 10**9)))) for sign in (1, -1)]
    supports = {tuple(end.support) for end in ends if end is not None and end.unique}
    return len(supports) == 2


def enumerated(A: list[list[Fraction]], y: list[Fraction]) -> tuple[list[Fraction], bool]:
    """A minimiser of ‖ψ‖₁ subject to Aψ = y, A of full row rank, and whether it is unique, by looking at all bases."""
    rows, right, _ = integer_equations(A, y)
    matrix, best, found = IntegerMatrix(rows), None, []
    m, n = matrix.shape
    for columns in combinations(range(n), m):
        if len(matrix.independent(columns)) < m:
            continue
        values, unit = matrix.take(columns).solve(right)
        x = [Fraction(0)] * n
        for j, value in zip(columns, values, strict=True):
            x[j] = Fraction(value, unit)
        size = sum(map(abs, x), Fraction(0))
        if best is None or size < best:
            best, found = size, []
        if size == best and x not in found:
            found.append(x)
    return found[0], len(found) == 1


def rounded_to_digits(number: Fraction, digits: int) -> Fraction:
    """The number to so many decimals."""
    return Fraction(round(number * 10**digits), 10**digits)


def rounded_to_bits(number: Fraction, bits: int) -> Fraction:
    """The number to so many significant binary digits."""
    if not number:
        return number
    size = abs(number.numerator).bit_length() - number.denominator.bit_length()
    exponent = bits - size - (abs(number) >= Fraction(2) ** size)
    return Fraction(round(number * Fraction(2) ** exponent)) / Fraction(2) ** exponent
