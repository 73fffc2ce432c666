"""The simplex method in exact rational arithmetic, for min Σ w₊ψ⁺ + w₋ψ⁻ subject to Mψ = b, from any basis.

A coordinate may take both signs, each at its own cost, so that every choice of r independent columns is a feasible basis:
ψ_B = M_B⁻¹b, and every basic variable has the sign of its value. Where a sign has no cost it is not allowed; a first phase,
which lets it cost 1 and everything else nothing, then finds a feasible basis or proves that there is none.

The method is the revised one: each step solves with the basis anew. The most violated of the dual's conditions enters,
and Bland's rule chooses from a step of length 0 until the next of positive length: the method ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from dlntorch.numerics.rational import IntegerMatrix

__all__ = ["ExactBasis", "Programme"]

Cost = int | None  # None: this sign is not allowed


@dataclass(frozen=True)
class ExactBasis:
    """A feasible basis, its vertex and its dual vector.

    Attributes:
        columns: r independent columns.
        signs: The sign ±1 of each of them; it counts where the value is 0, too.
        values: Numerators of ψ on ``columns``.
        unit: Their common denominator, > 0.
        dual: Numerators of λ, M_Bᵀλ = (±w±) on ``columns``.
        dual_unit: Their common denominator, > 0.
        products: Numerators of M_iᵀλ for all i, over ``dual_unit``.
        pivots: Steps of the simplex method that led here.
    """

    columns: list[int]
    signs: list[int]
    values: list[int]
    unit: int
    dual: list[int]
    dual_unit: int
    products: list[int]
    pivots: int = 0

    def point(self, n: int) -> list[Fraction]:
        """The vertex, n rationals."""
        x = [Fraction(0)] * n
        for j, value in zip(self.columns, self.values, strict=True):
            x[j] = Fraction(value, self.unit)
        return x


@dataclass(frozen=True)
class Programme:
    """min Σ plus_i ψ_i⁺ + minus_i ψ_i⁻ subject to Mψ = b.

    Attributes:
        matrix: M, of full row rank r.
        right: b, r integers.
        plus: Costs of positive values, n integers >= 0; None where ψ_i may not be positive.
        minus: Costs of negative values, likewise.
    """

    matrix: IntegerMatrix
    right: Sequence[int]
    plus: Sequence[Cost]
    minus: Sequence[Cost]

    def cost(self, j: int, sign: int) -> Cost:
        return self.plus[j] if sign > 0 else self.minus[j]

    def at(self, columns: Sequence[int], leaning: Sequence[int], pivots: int = 0) -> ExactBasis | None:
        """The basis of these columns, with signs as ``leaning`` (n,) has them where the value is 0; None if infeasible."""
        values, unit = self.matrix.take(columns).solve(self.right)
        signs = [(1 if v > 0 else -1) if v else leaning[j] for j, v in zip(columns, values, strict=True)]
        for at, (j, v) in enumerate(zip(columns, values, strict=True)):
            if self.cost(j, signs[at]) is None:
                if v:
                    return None
                signs[at] = -signs[at]
        return self.with_signs(list(columns), signs, values, unit, pivots)

    def with_signs(
        self, columns: list[int], signs: list[int], values: list[int], unit: int, pivots: int = 0
    ) -> ExactBasis:
        """The basis of these columns, whose ψ is known, with the dual vector that these signs make."""
        right = [sign * (self.cost(j, sign) or 0) for j, sign in zip(columns, signs, strict=True)]
        dual, dual_unit = self.matrix.take(columns).transposed().solve(right)
        return ExactBasis(columns, signs, values, unit, dual, dual_unit, self.matrix.transpose_times(dual), pivots)

    def violations(self, basis: ExactBasis) -> list[tuple[int, int, int]]:
        """(by how much, column, sign) wherever M_iᵀλ <= plus_i or −M_iᵀλ <= minus_i does not hold."""
        found = []
        for j, product in enumerate(basis.products):
            for sign in (1, -1):
                cost = self.cost(j, sign)
                if cost is not None and sign * product > cost * basis.dual_unit:
                    found.append((sign * product - cost * basis.dual_unit, j, sign))
        return found

    def objective(self, basis: ExactBasis) -> Fraction:
        total = sum(
            (self.cost(j, s) or 0) * abs(v) for j, s, v in zip(basis.columns, basis.signs, basis.values, strict=True)
        )
        return Fraction(total, basis.unit)

    def optimal(self, basis: ExactBasis) -> ExactBasis:
        """An optimal basis, from a feasible one; the programme is bounded, as costs are not negative or the set is."""
        careful = False
        while violations := self.violations(basis):
            _, entering, sign = min(violations, key=lambda v: _order(v[1], v[2])) if careful else max(violations)
            basis, length = self._pivoted(basis, entering, sign)
            careful = length == 0
        return basis

    def _pivoted(self, basis: ExactBasis, entering: int, sign: int) -> tuple[ExactBasis, int]:
        """The basis after column ``entering`` came in with ``sign``, and whether the vertex moved (0: it did not)."""
        direction, _ = self.matrix.take(basis.columns).solve(self.matrix.column(entering))
        best: tuple[Fraction, tuple[int, int], int] | None = None
        for at, (j, s, value, change) in enumerate(
            zip(basis.columns, basis.signs, basis.values, direction, strict=True)
        ):
            falling = s * sign * change
            if falling > 0:
                candidate = (Fraction(s * value, falling), _order(j, s), at)
                best = candidate if best is None or candidate[:2] < best[:2] else best
        if best is None:
            raise ArithmeticError("the linear programme is unbounded")
        columns, leaning = list(basis.columns), dict(zip(basis.columns, basis.signs, strict=True))
        columns[best[2]], leaning[entering] = entering, sign
        values, unit = self.matrix.take(columns).solve(self.right)
        signs = [leaning[j] for j in columns]
        return self.with_signs(columns, signs, values, unit, basis.pivots + 1), int(best[0] > 0)

    def feasible(self, columns: Sequence[int], leaning: Sequence[int]) -> ExactBasis | None:
        """A feasible basis, from any; None where no vector has the allowed signs."""
        first = self.at(columns, leaning)
        if first is not None:
            return first
        relaxed = replace(
            self,
            plus=[1 if cost is None else 0 for cost in self.plus],
            minus=[1 if cost is None else 0 for cost in self.minus],
        )
        start = relaxed.at(columns, leaning)
        if start is None:
            raise ArithmeticError("both signs are allowed in the first phase")
        found = relaxed.optimal(start)
        if relaxed.objective(found) > 0:
            return None
        allowed = [1 if cost is not None else -1 for cost in self.plus]
        return self.at(found.columns, allowed, found.pivots)


def _order(column: int, sign: int) -> tuple[int, int]:
    """Bland's order of the variables."""
    return column, sign
