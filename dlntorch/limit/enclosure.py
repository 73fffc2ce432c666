"""Enclosures of the limit of the flow, ψ_α(∞): intervals that provably contain it, for exactly given input.

With v = Aᵀλ the limit is ψ_i = (w₊ − v_i)^{−k} − (w₋ + v_i)^{−k}, w± = α±^{2−p}, k = p/(p − 2); at p = 2 it is
ψ_i = α₊²e^{v_i} − α₋²e^{−v_i}; and λ is the root of A ψ(Aᵀλ) = y. The root is unique, as ψ increases in v: a box in which
Newton's method in ball arithmetic proves one (:mod:`dlntorch.numerics.balls`) contains it. It starts from an approximate ψ:
v_i = ψ⁻¹(ψ_i), and λ by least squares weighted with the slopes D = dψ/dv, which a coarse ψ is enough for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from torch import Tensor

from dlntorch.model import Parametrization
from dlntorch.model.depth_law import depth_law
from dlntorch.numerics.balls import Enclosure, arb_of, enclose_root, is_fine, middle, needs_flint, polished
from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem
from dlntorch.problem.exact_system import ExactSystem

if TYPE_CHECKING:
    from dlntorch.limit.flow_limit import FlowLimit

__all__ = ["MAX_ENTRIES", "enclosed_limit", "with_enclosures"]

#: Entries of A up to which a limit is enclosed.
MAX_ENTRIES = 2000
_ATTEMPTS = 4  # working precisions tried, each twice the one before


def enclosed_limit(
    problem: Problem,
    p: float,
    plus: Sequence[Any],
    minus: Sequence[Any],
    near: Sequence[Any],
    digits: int,
) -> Enclosure | None:
    """Intervals for ψ_α(∞) of the exact (A, y), y projected on range(A); None where no precision tried proves any.

    Args:
        problem: The data; their rationals are what is meant.
        p: Depth, >= 2, the float taken as exact.
        plus: θ₊(0), n numbers > 0 (floats or Fractions, taken as exact).
        minus: θ₋(0), likewise.
        near: An approximate ψ, n numbers or decimal strings.
        digits: Decimal digits, see :class:`~dlntorch.numerics.balls.Enclosure`.

    Raises:
        InputError: m n > 2000, or python-flint is not installed.
    """
    library = needs_flint()
    if problem.m * problem.n > MAX_ENTRIES:
        raise InputError(f"enclosure must be False for m n > {MAX_ENTRIES}, got m n = {problem.m * problem.n}")
    system = ExactSystem.of(problem)
    if not any(system.right) and list(plus) == list(minus):
        return Enclosure.exactly([Fraction(0)] * problem.n, digits)
    approximate = [Fraction(value) for value in near]
    before = library.ctx.prec
    bits = _bits(p, [Fraction(v) for v in (*plus, *minus)], approximate, digits)
    try:
        for _ in range(_ATTEMPTS):
            library.ctx.prec = bits
            balls = _Curve(system, p, plus, minus).enclose(approximate, digits)
            if balls is not None and is_fine(balls, digits):
                return Enclosure.of(balls, digits, bits)
            bits *= 2
    finally:
        library.ctx.prec = before
    return None


def with_enclosures(
    found: FlowLimit,
    problem: Problem,
    parametrization: Parametrization,
    starts: Sequence[Tensor],
    digits: int,
    scalar: bool,
) -> FlowLimit:
    """The multiprecision limits with an enclosure for each start θ(0) (2, n), whose middle is what ``exact`` then shows."""
    depth = parametrization.depth
    if depth is None:
        raise InputError(f"enclosure must be False with another parametrization than a depth, got {parametrization!r}")
    decimals = [found.exact] if scalar else list(found.exact)
    enclosures = [
        enclosed_limit(problem, depth, start[0].tolist(), start[1].tolist(), near, digits)
        for start, near in zip(starts, decimals, strict=True)
    ]
    shown = [near if e is None else e.decimals() for e, near in zip(enclosures, decimals, strict=True)]
    if scalar:
        return replace(found, enclosure=enclosures[0], exact=shown[0])
    return replace(found, enclosure=enclosures, exact=shown)


def _bits(p: float, alphas: list[Fraction], psi: list[Fraction], digits: int) -> int:
    """Working precision: the digits asked for, and those that the conditioning of A D Aᵀ, (‖ψ‖/α^p)^{1+1/k}, costs."""
    smallest = p * min(math.log2(a.numerator) - math.log2(a.denominator) for a in alphas)
    top = max((abs(v) for v in psi), default=Fraction(0))
    largest = math.log2(top.numerator) - math.log2(top.denominator) if top else smallest
    return int(3.33 * (2 * digits + 20) + 3 * max(0.0, largest - smallest)) + 64


class _Curve:
    """ψ(v) and D(v) of all coordinates, in balls of the current precision."""

    def __init__(self, system: ExactSystem, p: float, plus: Sequence[Any], minus: Sequence[Any]) -> None:
        self.library = needs_flint()
        exact = Fraction(p)
        self.k = arb_of(exact / (exact - 2)) if depth_law(p).has_pole else None
        power = arb_of(2 - exact) if self.k is not None else self.library.arb(2)
        self.plus, self.minus = [arb_of(a) ** power for a in plus], [arb_of(a) ** power for a in minus]
        rows, right = [], []
        for row, value in zip(system.matrix.rows, system.right, strict=True):
            size = max(map(abs, row))
            rows.append([arb_of(Fraction(v, size)) for v in row])
            right.append(arb_of(Fraction(value, size)))
        self.r, self.n = system.matrix.shape
        self.A = self.library.arb_mat(self.r, self.n, [v for row in rows for v in row])
        self.y = self.library.arb_mat(self.r, 1, right)
        self.transposed = self.A.transpose()

    def psi(self, v: Any) -> list[Any]:
        """ψ, n balls; not finite where v meets a pole."""
        if self.k is None:
            return [a * t.exp() - b * (-t).exp() for a, b, t in zip(self.plus, self.minus, v.entries(), strict=True)]
        return [
            (a - t) ** -self.k - (b + t) ** -self.k for a, b, t in zip(self.plus, self.minus, v.entries(), strict=True)
        ]

    def slope(self, v: Any) -> list[Any]:
        """D = dψ/dv, n balls."""
        if self.k is None:
            return [a * t.exp() + b * (-t).exp() for a, b, t in zip(self.plus, self.minus, v.entries(), strict=True)]
        e = -self.k - 1
        return [
            self.k * ((a - t) ** e + (b + t) ** e) for a, b, t in zip(self.plus, self.minus, v.entries(), strict=True)
        ]

    def __call__(self, lam: Any) -> tuple[Any, Any]:
        """F(λ) = Aψ − y and F'(λ) = A D Aᵀ."""
        v = self.transposed * lam
        psi, slope = self.psi(v), self.slope(v)
        if not all(x.is_finite() for x in (*psi, *slope)):
            raise ValueError("v meets a pole")
        value = self.A * self.library.arb_mat(self.n, 1, psi) - self.y
        return value, self._weighted(slope) * self.transposed

    def _weighted(self, D: list[Any]) -> Any:
        entries = self.A.entries()
        return self.library.arb_mat(self.r, self.n, [a * D[i % self.n] for i, a in enumerate(entries)])

    def enclose(self, near: list[Fraction], digits: int) -> list[Any] | None:
        """Balls that contain the limit, from an approximate ψ; None where this precision does not prove it."""
        arb_mat = self.library.arb_mat
        v = arb_mat(self.n, 1, [self._inverse(i, arb_of(value).mid()) for i, value in enumerate(near)])
        D = [d.mid() for d in self.slope(v)]
        weighted = self._weighted(D)
        residual = self.y - self.A * arb_mat(self.n, 1, [x.mid() for x in self.psi(v)])
        try:
            start = middle(weighted * self.transposed).solve(middle(weighted * v + residual))
        except (ZeroDivisionError, ValueError):
            return None
        unit = max(a.mid() for a in self.plus)
        found = polished(self, start, self.library.arb(2) ** (-self.library.ctx.prec) * unit)
        box = None if found is None else enclose_root(self, found, unit)
        return None if box is None else self.psi(self.transposed * box)

    def _inverse(self, i: int, psi: Any) -> Any:
        """v with ψ_i(v) = ``psi``, without radius."""
        a, b = self.plus[i].mid(), self.minus[i].mid()
        if self.k is None:
            root = (psi * psi + 4 * a * b).sqrt()  # of a e^{2v} − ψ e^v − b = 0, without cancellation
            if psi >= 0:
                return ((psi + root) / (2 * a)).log().mid()
            return -((root - psi) / (2 * b)).log().mid()
        # u = a − v (ψ >= 0; b + v otherwise) <= (a + b)/2 solves u^{−k} = |ψ| + (a + b − u)^{−k}: Newton in log u
        size, width = abs(psi).mid(), (a + b).mid()
        u = ((size + width**-self.k) ** (-1 / self.k)).mid()
        u = u if 2 * u < width else (width / 2).mid()
        for _ in range(200):
            other = ((width - u) ** -self.k).mid()
            value = -self.k * u.log() - (size + other).log()
            change = (value / (self.k + self.k * other * u / ((width - u) * (size + other)))).mid()
            moved = (u * change.exp()).mid()
            moved = moved if 2 * moved < width else (width / 2).mid()
            done = abs(change) < self.library.arb(2) ** (-40)
            u = moved
            if done:
                break
        return ((a - u) if psi >= 0 else (u - b)).mid()
