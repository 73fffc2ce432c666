"""Enclosures of the selected minimiser W_p(A, y): intervals that provably contain it, for exactly given input.

The face of minimisers {x > 0 : Bx = b}, B = A_S diag(σ), and a point x⁰ inside it are known in rationals
(:mod:`dlntorch.reference.exact`), and so is a basis N of ker B. W_p = σ(x⁰ + Nz) where Nᵀφ(x⁰ + Nz) = 0, φ(x) = −x^{−1/k},
k = p/(p − 2), and φ(x) = log x at p = 2: the gradient of a strictly convex function, whose root Newton's method in ball
arithmetic encloses (:mod:`dlntorch.numerics.balls`). A unique minimiser is its own enclosure, of width 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from dlntorch.numerics.balls import Enclosure, arb_of, enclose_root, is_fine, middle, needs_flint, polished
from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem
from dlntorch.problem.exact_system import ExactSystem
from dlntorch.reference.exact import ExactMinimizer

__all__ = ["MAX_SUPPORT", "enclosed_selection"]

#: Coordinates of a face up to which W_p is enclosed.
MAX_SUPPORT = 300
_ATTEMPTS = 4
_STEPS = 400


def enclosed_selection(
    problem: Problem, p: float, exact: ExactMinimizer, near: Sequence[float], digits: int = 30
) -> Enclosure | None:
    """Intervals for W_p(A, y) of the exact (A, y); None where no precision tried proves any.

    Args:
        problem: The data; their rationals are what is meant.
        p: Depth, >= 2, the float taken as exact.
        exact: The exact ℓ1-minimiser of ``problem``.
        near: An approximate W_p, n numbers.
        digits: Decimal digits, see :class:`~dlntorch.numerics.balls.Enclosure`.

    Raises:
        InputError: the face has more than 300 coordinates and is not a point, or python-flint is not installed.
    """
    if exact.unique:
        return Enclosure.exactly(exact.psi, digits)
    library = needs_flint()
    if len(exact.support) > MAX_SUPPORT:
        raise InputError(
            f"enclosure must be False for a face of more than {MAX_SUPPORT} coordinates, got {len(exact.support)}"
        )
    face = _Face(problem, Fraction(p), exact)
    before, bits = library.ctx.prec, int(3.33 * (2 * digits + 20)) + 64
    try:
        for _ in range(_ATTEMPTS):
            library.ctx.prec = bits
            balls = face.enclose([abs(float(near[j])) for j in exact.support])
            if balls is not None and is_fine(balls, digits):
                full = [library.arb(0)] * problem.n
                for j, sign, ball in zip(exact.support, exact.signs, balls, strict=True):
                    full[j] = sign * ball
                return Enclosure.of(full, digits, bits)
            bits *= 2
    finally:
        library.ctx.prec = before
    return None


class _Face:
    """The face in rationals, its null space, and the selector's gradient in balls."""

    def __init__(self, problem: Problem, p: Fraction, exact: ExactMinimizer) -> None:
        self.library, self.p = needs_flint(), p
        B = ExactSystem.of(problem).matrix.take(exact.support)
        B = B.keep(B.transposed().independent(range(B.shape[0])))
        self.size = len(exact.support)
        # the largest coordinates are expressed by nothing else: they are the basis
        inside = [abs(exact.interior[j]) for j in exact.support]
        pivots = B.independent(sorted(range(self.size), key=lambda j: -inside[j]))
        free = [j for j in range(self.size) if j not in pivots]
        self.null = [[Fraction(0)] * len(free) for _ in range(self.size)]
        basis = B.take(pivots)
        for column, j in enumerate(free):
            self.null[j][column] = Fraction(1)
            values, unit = basis.solve(B.column(j))
            for i, value in zip(pivots, values, strict=True):
                # Bx = b with signs: x_i σ_i stands for the entry itself
                self.null[i][column] = -Fraction(value, unit) * exact.signs[i] * exact.signs[j]
        self.inside = inside

    def _matrices(self) -> None:
        arb_mat, d = self.library.arb_mat, len(self.null[0])
        self.N = arb_mat(self.size, d, [arb_of(v) for row in self.null for v in row])
        self.transposed = self.N.transpose()
        self.origin = arb_mat(self.size, 1, [arb_of(v) for v in self.inside])
        exponent = (2 - self.p) / self.p  # −1/k
        self.exponent = None if exponent == 0 else arb_of(exponent)

    def _gradient(self, x: list[Any]) -> tuple[list[Any], list[Any]]:
        """φ and φ' > 0, up to one factor."""
        if not all(v > 0 for v in x):
            raise ValueError("a coordinate is not positive")
        if self.exponent is None:
            return [v.log() for v in x], [1 / v for v in x]
        return [-(v**self.exponent) for v in x], [-self.exponent * v ** (self.exponent - 1) for v in x]

    def __call__(self, z: Any) -> tuple[Any, Any]:
        """Nᵀφ(x⁰ + Nz) and NᵀΦN, Φ = diag φ'."""
        phi, slope = self._gradient((self.origin + self.N * z).entries())
        d = self.N.ncols()
        scaled = self.library.arb_mat(self.size, d, [v * slope[i // d] for i, v in enumerate(self.N.entries())])
        return self.transposed * self.library.arb_mat(self.size, 1, phi), self.transposed * scaled

    def enclose(self, near: list[float]) -> list[Any] | None:
        self._matrices()
        start = self._start(near)
        unit = arb_of(max(self.inside))
        tiny = self.library.arb(2) ** (-self.library.ctx.prec)
        found = None if start is None else polished(self, start, tiny * unit)
        box = None if found is None else enclose_root(self, found, unit)
        return None if box is None else (self.origin + self.N * box).entries()

    def _start(self, near: list[float]) -> Any | None:
        """z near the root: from ``near`` where that is positive and close, else from x⁰ by damped steps."""
        arb_mat, d = self.library.arb_mat, self.N.ncols()
        z = arb_mat(d, 1, [0] * d)
        if all(v > 0 for v in near):
            phi, slope = self._gradient([arb_of(v) for v in near])
            pull = [s * (arb_of(v) - arb_of(o)) - f for s, v, o, f in zip(slope, near, self.inside, phi, strict=True)]
            scaled = arb_mat(self.size, d, [v * slope[i // d] for i, v in enumerate(self.N.entries())])
            try:
                z = middle((self.transposed * scaled).solve(self.transposed * arb_mat(self.size, 1, pull)))
            except (ZeroDivisionError, ValueError):
                z = arb_mat(d, 1, [0] * d)
            if not all(v > 0 for v in (self.origin + self.N * z).entries()):
                z = arb_mat(d, 1, [0] * d)
        return self._damped(z)

    def _damped(self, z: Any) -> Any | None:
        """Newton's method kept inside the face, until a step changes no coordinate by more than 1 %."""
        for _ in range(_STEPS):
            try:
                value, slope = self(z)
                step = middle(slope.solve(value))
            except (ZeroDivisionError, ValueError):
                return None
            x, change = (self.origin + self.N * z).entries(), (self.N * step).entries()
            shrink = max(float((c / v).mid()) for c, v in zip(change, x, strict=True))
            largest = max(abs(float((c / v).mid())) for c, v in zip(change, x, strict=True))
            # of a convex function with the gradient φ: half the way to the boundary, or a step that keeps it falling
            z = middle(z - step * arb_of(min(1.0, 0.5 / shrink if shrink > 0 else 1.0, 1.0 / (1.0 + largest))))
            if largest < 0.01:
                return z
        return None
