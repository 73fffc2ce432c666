"""Exact rational numbers, and linear algebra with matrices of integers.

A float is a rational number, and so is a decimal string. A system of rational equations, each multiplied by a common
denominator, has integer entries; its solution has one denominator. python-flint (the extra ``exact``) does the linear
algebra where it is installed; without it Python's integers do, some hundred times slower.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import cache
from numbers import Integral, Rational, Real
from typing import Any

import numpy as np
import torch

from dlntorch.numerics.validation import InputError, check_unmasked

__all__ = ["IntegerMatrix", "as_rationals", "flint_library", "fraction_of", "integer_equations"]

#: Digits of a numerator or a denominator beyond which a number is refused.
MAX_DIGITS = 4000


@cache
def flint_library() -> Any:
    """python-flint, or None where it is not installed."""
    try:
        import flint
    except ImportError:
        return None
    return flint


def _quoted(value: Any) -> str:
    text = " ".join(str(value).split())
    return repr(text if len(text) <= 40 else f"{text[:37]}...")


def fraction_of(name: str, value: Any, where: str = "") -> Fraction:
    """``value`` as an exact rational: an integer, a Fraction, a Decimal, a float, or a string such as "0.1", "1e-3", "2/7".

    Raises:
        InputError: ``value`` is no finite rational number, or has more than 4000 digits.
    """
    rule = f"{name} must hold rational numbers (integers, Fractions, decimal strings)"
    try:
        if isinstance(value, str):
            number = _parsed(value)
        elif isinstance(value, bool | np.bool_) or not isinstance(value, Rational | Integral | Decimal | Real):
            raise ValueError
        elif isinstance(value, Decimal):
            number = None if _digits(value) > MAX_DIGITS else Fraction(value)
        else:
            number = Fraction(value) if isinstance(value, Rational) else Fraction(float(value))
    except (ArithmeticError, TypeError, ValueError):
        raise InputError(f"{rule}, got {_quoted(value)}{where}") from None
    size = _length(value) if number is None else _size(number)
    if number is None or size > MAX_DIGITS:
        raise InputError(f"{rule} of at most {MAX_DIGITS} digits, got one of {size} digits{where}")
    return number


def _length(value: Any) -> int:
    """Digits of a number that was not made, as they are too many."""
    parts = [str(value)] if isinstance(value, Decimal) else _parts(value)
    return max(max(len(part), _digits(Decimal(part))) for part in parts)


def _parts(text: str) -> list[str]:
    """The numerator and the denominator of a string."""
    return [part.strip().replace("_", "") for part in text.split("/")]


def _parsed(text: str) -> Fraction | None:
    """The number that a string says; None where it has too many digits to be made."""
    parts = _parts(text)
    if len(parts) > 2 or not all(parts):
        raise ValueError
    try:
        decimals = [Decimal(part) for part in parts]
    except InvalidOperation:
        raise ValueError from None
    if not all(number.is_finite() for number in decimals):
        raise ValueError
    if max(len(part) for part in parts) > MAX_DIGITS or max(map(_digits, decimals)) > MAX_DIGITS:
        return None
    numbers = [Fraction(number) for number in decimals]
    return numbers[0] if len(numbers) == 1 else numbers[0] / numbers[1]


def _digits(number: Decimal) -> int:
    """Digits of the numerator or the denominator of a decimal, whichever has more."""
    if not number.is_finite():
        raise ValueError
    return len(number.as_tuple().digits) + abs(int(number.as_tuple().exponent))


def _size(number: Fraction) -> int:
    return int(max(abs(number.numerator), number.denominator).bit_length() / math.log2(10)) + 1


def as_rationals(name: str, values: Any, ndim: int) -> list[Any]:
    """``values`` as a list (``ndim`` = 1) or a rectangular list of lists (2) of Fractions."""
    check_unmasked(name, values)
    if isinstance(values, torch.Tensor | np.ndarray):
        values = values.tolist()
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InputError(f"{name} must be {'nested sequences' if ndim == 2 else 'a sequence'} of rational numbers, "
                         f"got {type(values).__name__}")  # fmt: skip
    if ndim == 1:
        return [fraction_of(name, value, f" at [{i}]") for i, value in enumerate(values)]
    rows = []
    for i, row in enumerate(values):
        row = row.tolist() if isinstance(row, torch.Tensor | np.ndarray) else row
        if isinstance(row, str) or not isinstance(row, Sequence):
            raise InputError(f"{name} must be nested sequences of rational numbers, got {_quoted(row)} at [{i}]")
        rows.append([fraction_of(name, value, f" at [{i}, {j}]") for j, value in enumerate(row)])
    if len({len(row) for row in rows}) > 1:
        raise InputError(f"{name} must be a rectangular array of real numbers, got rows of unequal length")
    return rows


def integer_equations(A: Iterable[Sequence[Fraction | float]], y: Iterable[Fraction | float]) -> tuple[
    list[list[int]], list[int], list[Fraction]
]:  # fmt: skip
    """Integers D A and D y for a diagonal D > 0 of rationals: the rows, the right-hand sides, and D.

    Args:
        A: m rows of n rationals (floats are rationals).
        y: m rationals.
    """
    rows, right, scales = [], [], []
    for row, value in zip(A, y, strict=True):
        ratios = [number.as_integer_ratio() for number in (*row, value)]
        common = math.lcm(*{below for _, below in ratios})
        integers = [above * (common // below) for above, below in ratios]
        shared = math.gcd(*integers) or 1
        integers = [number // shared for number in integers]
        rows.append(integers[:-1])
        right.append(integers[-1])
        scales.append(Fraction(common, shared))
    return rows, right, scales


class IntegerMatrix:
    """A matrix of Python integers, with exact products, solutions and ranks.

    Args:
        rows: r rows of n integers each.
        n: Number of columns, where there may be no row.
    """

    def __init__(self, rows: Sequence[Sequence[int]], n: int | None = None) -> None:
        self.rows = rows
        self.shape = len(rows), len(rows[0]) if rows else n or 0
        self._flint: Any = None

    @property
    def bits(self) -> int:
        """Bits of the largest entry."""
        return max((abs(value).bit_length() for row in self.rows for value in row), default=0)

    def take(self, columns: Sequence[int]) -> IntegerMatrix:
        """The matrix of these columns."""
        return IntegerMatrix([[row[j] for j in columns] for row in self.rows], len(columns))

    def keep(self, rows: Sequence[int]) -> IntegerMatrix:
        """The matrix of these rows."""
        return IntegerMatrix([self.rows[i] for i in rows], self.shape[1])

    def transposed(self) -> IntegerMatrix:
        """The transpose."""
        return IntegerMatrix([list(column) for column in zip(*self.rows, strict=True)], self.shape[0])

    def column(self, j: int) -> list[int]:
        """One column."""
        return [row[j] for row in self.rows]

    def _matrix(self) -> Any:
        """The same matrix as python-flint has it; None where that is not installed."""
        library = flint_library()
        if library is not None and self._flint is None:
            self._flint = library.fmpz_mat(*self.shape, [value for row in self.rows for value in row])
        return self._flint if library is not None else None

    def times(self, x: Sequence[int]) -> list[int]:
        """Mx, for x of shape (n,)."""
        if self._matrix() is None:
            return [sum(a * b for a, b in zip(row, x, strict=True) if b) for row in self.rows]
        return _integers(self._flint * _column(x))

    def transpose_times(self, z: Sequence[int]) -> list[int]:
        """Mᵀz, for z of shape (r,)."""
        if self._matrix() is None:
            total = [0] * self.shape[1]
            for weight, row in zip(z, self.rows, strict=True):
                if weight:
                    total = [t + weight * a for t, a in zip(total, row, strict=True)]
            return total
        return _integers(flint_library().fmpz_mat(1, len(z), list(z)) * self._flint)

    def solve(self, right: Sequence[int]) -> tuple[list[int], int]:
        """The numerators (r,) and the denominator > 0 of the solution of Mx = ``right``, M square and not singular."""
        if self._matrix() is None:
            return _bareiss_solution(self.rows, right)
        if not right:
            return [], 1
        numerators, denominator = self._flint.solve(_column(right)).numer_denom()
        return _integers(numerators), int(denominator)

    def independent(self, order: Sequence[int]) -> list[int]:
        """As many independent columns as there are among these: those independent, modulo a prime, of all before them.

        The prime is one that no minor of theirs of the size of their rank is a multiple of.
        """
        taken, rank = self.take(order), None
        for prime in _primes():
            found = taken._pivots(prime)
            if len(found) == min(taken.shape):  # a minor that is not 0 modulo a prime is not 0
                break
            rank = taken._rank() if rank is None else rank
            if len(found) == rank:
                break
        return [order[j] for j in found]

    def _pivots(self, prime: int) -> list[int]:
        """The columns independent, modulo the prime, of all before them."""
        if self._matrix() is None:
            return _modular_pivots(self.rows, prime)
        echelon, rank = flint_library().nmod_mat(self._matrix(), prime).rref()
        found, j = [], 0
        for i in range(rank):
            while not int(echelon[i, j]):
                j += 1
            found.append(j)
            j += 1
        return found

    def _rank(self) -> int:
        return _bareiss_rank(self.rows) if self._matrix() is None else int(self._matrix().rank())

    def rank(self) -> int:
        """The exact rank."""
        return len(self.independent(range(self.shape[1]))) if 0 not in self.shape else 0


def _primes() -> Iterator[int]:
    """Primes from 2⁶¹ − 1 on downwards: by Miller and Rabin's test with the bases that decide below 3·10²³."""
    for number in range(2**61 - 1, 2, -2):
        odd, twos = number - 1, 0
        while odd % 2 == 0:
            odd, twos = odd // 2, twos + 1
        for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
            powers = [pow(base, odd << k, number) for k in range(twos)]
            if powers[0] != 1 and number - 1 not in powers:
                break
        else:
            yield number


def _column(x: Sequence[int]) -> Any:
    return flint_library().fmpz_mat(len(x), 1, list(x))


def _integers(matrix: Any) -> list[int]:
    return [int(value) for value in matrix.entries()]


def _bareiss_solution(rows: Sequence[Sequence[int]], right: Sequence[int]) -> tuple[list[int], int]:
    """Elimination without fractions (Bareiss): every division is exact."""
    work = [[*row, value] for row, value in zip(rows, right, strict=True)]
    r, last = len(work), 1
    for k in range(r):
        pivot = next(i for i in range(k, r) if work[i][k])
        work[k], work[pivot] = work[pivot], work[k]
        for i in range(r):
            if i != k:
                work[i] = [(work[k][k] * a - work[i][k] * b) // last for a, b in zip(work[i], work[k], strict=True)]
        last = work[k][k]
    sign = -1 if last < 0 else 1
    shared = math.gcd(last, *(row[-1] for row in work)) * sign if r else 1
    return [row[-1] // shared for row in work], last // shared


def _bareiss_rank(rows: Sequence[Sequence[int]]) -> int:
    work, last, rank = [list(row) for row in rows], 1, 0
    for j in range(len(work[0]) if work else 0):
        pivot = next((i for i in range(rank, len(work)) if work[i][j]), None)
        if pivot is None:
            continue
        work[rank], work[pivot] = work[pivot], work[rank]
        top = work[rank]
        for i in range(rank + 1, len(work)):
            work[i] = [(top[j] * a - work[i][j] * b) // last for a, b in zip(work[i], top, strict=True)]
        last, rank = top[j], rank + 1
    return rank


def _modular_pivots(rows: Sequence[Sequence[int]], prime: int) -> list[int]:
    work, found, rank = [[value % prime for value in row] for row in rows], [], 0
    for j in range(len(work[0]) if work else 0):
        pivot = next((i for i in range(rank, len(work)) if work[i][j]), None)
        if pivot is None:
            continue
        work[rank], work[pivot] = work[pivot], work[rank]
        inverse = pow(work[rank][j], -1, prime)
        for i in range(rank + 1, len(work)):
            factor = work[i][j] * inverse % prime
            if factor:
                work[i] = [(a - factor * b) % prime for a, b in zip(work[i], work[rank], strict=True)]
        rank += 1
        found.append(j)
        if rank == len(work):
            break
    return found
