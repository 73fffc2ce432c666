"""A problem as integers: of full row rank, exactly, with the same solutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from dlntorch.numerics.rational import IntegerMatrix, flint_library, integer_equations
from dlntorch.numerics.validation import InputError
from dlntorch.problem.problem import Problem

__all__ = ["ExactSystem"]

#: Bits of the numbers that an exact answer would need, in all, beyond which none is computed: r² n times the entries' bits.
BUDGET = 2**33
#: The same where python-flint is not installed.
BUDGET_WITHOUT_FLINT = 2**25


@dataclass(frozen=True)
class ExactSystem:
    """A problem of full row rank in integers that has the same solutions, for y or its projection on range(A).

    Attributes:
        matrix: r independent rows, each multiplied by its ``scales``.
        right: Their right-hand sides.
        rows: Their numbers in the given problem.
        scales: D, m rationals: row i of the integers is D_i times row i of A.
        consistent: Whether y lies in range(A), exactly.
        projector: (C, G): C (m, r) and G = CᵀC, in which the projection on range(A) is CG⁻¹Cᵀ; None where it is not needed.
    """

    matrix: IntegerMatrix
    right: list[int]
    rows: list[int]
    scales: list[Fraction]
    consistent: bool
    projector: tuple[IntegerMatrix, IntegerMatrix] | None = None

    @classmethod
    def of(cls, problem: Problem) -> ExactSystem:
        """The exact system of ``problem``.

        Raises:
            InputError: the numbers are too many or too long.
        """
        A, y = problem.rationals if problem._rationals is not None else _floats(problem)
        rows, right, scales = integer_equations(A, y)
        matrix = IntegerMatrix(rows)
        _check_budget(matrix)
        order = list(range(problem.m))
        independent = matrix.transposed().independent(order)
        if len(independent) == problem.m:
            return cls(matrix, right, order, scales, True)
        return _reduced(matrix, right, independent, scales)

    @property
    def n(self) -> int:
        return self.matrix.shape[1]

    def dual(self, numerators: Sequence[int], unit: int) -> list[Fraction]:
        """λ of the given problem, m rationals, from that of ``matrix``; in range(A) where y is not."""
        dual = [Fraction(0)] * len(self.scales)
        for i, value in zip(self.rows, numerators, strict=True):
            dual[i] = Fraction(value, unit) * self.scales[i]
        return dual if self.projector is None else _projected(self.projector, dual)


def _floats(problem: Problem) -> tuple[list[list[float]], list[float]]:
    return problem.A.detach().cpu().double().tolist(), problem.y.detach().cpu().double().tolist()


def _check_budget(matrix: IntegerMatrix) -> None:
    """Refuse what would need more memory and time than anybody wants."""
    m, n = matrix.shape
    bits, library = matrix.bits, flint_library()
    work, most = min(m, n) ** 2 * n * bits, BUDGET if library is not None else BUDGET_WITHOUT_FLINT
    if work > most:
        hint = "" if library is not None else "; python-flint (pip install dlntorch[exact]) allows 256 times as much"
        raise InputError(
            f"exact must be False for numbers of that length: m² n times their bits must be <= {most:.1e}, "
            f"got {m}² · {n} · {bits} = {work:.1e}{hint}"
        )


def _reduced(matrix: IntegerMatrix, right: list[int], rows: list[int], scales: list[Fraction]) -> ExactSystem:
    """The independent rows, with what the projection of y on range(A) is there."""
    kept = matrix.keep(rows)
    pivots = kept.independent(range(matrix.shape[1]))
    basis = matrix.take(pivots)  # the integers' rows are scaled, which the projection must not see
    target, unit = kept.take(pivots).solve([right[i] for i in rows])
    if basis.times(target) == [unit * value for value in right]:
        return ExactSystem(kept, [right[i] for i in rows], rows, scales, True)
    # C = D⁻¹(D A)_pivots, times what makes all 1/D_i integers
    common = math.lcm(*(scale.numerator for scale in scales))
    factors = [int(common / scale) for scale in scales]
    C = IntegerMatrix([[f * v for v in row] for f, row in zip(factors, basis.rows, strict=True)])
    G = IntegerMatrix([C.transpose_times(C.column(j)) for j in range(len(pivots))])
    projector = C, G
    y = [Fraction(value) / scale for value, scale in zip(right, scales, strict=True)]
    projection = _projected(projector, y)
    inside = [projection[i] * scales[i] for i in rows]
    integers, target, more = integer_equations([kept.rows[k] for k in range(len(rows))], inside)
    scales = list(scales)
    for i, factor in zip(rows, more, strict=True):
        scales[i] *= factor
    return ExactSystem(IntegerMatrix(integers, matrix.shape[1]), target, rows, scales, False, projector)


def _projected(projector: tuple[IntegerMatrix, IntegerMatrix], v: list[Fraction]) -> list[Fraction]:
    """CG⁻¹Cᵀv."""
    C, G = projector
    unit = math.lcm(*(value.denominator for value in v))
    coordinates, below = G.solve(C.transpose_times([int(value * unit) for value in v]))
    return [Fraction(value, below * unit) for value in C.times(coordinates)]
