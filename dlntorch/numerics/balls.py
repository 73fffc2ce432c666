"""Enclosures: intervals that provably contain a number, by Newton's method in ball arithmetic (Arb, through python-flint).

For F with the root λ*, an approximation λ̃, a box X around it and an enclosure J of F' on X, Newton's image

    N = λ̃ − J⁻¹F(λ̃),    J⁻¹F an enclosure of the solutions of all Jx = F,

contains every root in X; and if N lies in the interior of X, there is exactly one (Moore; Rump, Acta Numerica 2010).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Decimal, localcontext
from fractions import Fraction
from typing import Any

from dlntorch.numerics.rational import flint_library
from dlntorch.numerics.trajectory import short_repr
from dlntorch.numerics.validation import InputError

__all__ = ["Enclosure", "arb_of", "enclose_root", "is_fine", "middle", "needs_flint", "polished"]

_WIDENED = 4  # the box that is tried, in units of the last Newton step
_POLISHES = 60


@dataclass(frozen=True)
class Enclosure:
    """Intervals [lower_i, upper_i], with endpoints that are Fractions, of which each provably contains its number.

    Attributes:
        lower: n Fractions.
        upper: n Fractions.
        digits: Digits asked for: upper_i − lower_i is below 10^(−digits) times |ψ_i|, or 10^(−2 digits) times max|ψ|.
        bits: Working precision that was needed.
    """

    lower: tuple[Fraction, ...]
    upper: tuple[Fraction, ...]
    digits: int
    bits: int

    __repr__ = short_repr

    @property
    def width(self) -> float:
        """The largest upper_i − lower_i."""
        return float(max((b - a for a, b in zip(self.lower, self.upper, strict=True)), default=Fraction(0)))

    @property
    def midpoint(self) -> tuple[Fraction, ...]:
        """The middle of every interval."""
        return tuple((a + b) / 2 for a, b in zip(self.lower, self.upper, strict=True))

    def decimals(self) -> list[str]:
        """The middles as decimal strings of ``digits`` significant digits."""
        with localcontext() as context:
            context.prec, context.Emin, context.Emax = self.digits, MIN_EMIN, MAX_EMAX
            return [str(Decimal(m.numerator) / Decimal(m.denominator)) for m in self.midpoint]

    def contains(self, values: Sequence[Any]) -> bool:
        """Whether all numbers (Fractions, floats, decimal strings) lie in their intervals, compared exactly."""
        exact = [Fraction(value) for value in values]
        return all(a <= v <= b for a, v, b in zip(self.lower, exact, self.upper, strict=True))

    def error(self, values: Sequence[float]) -> tuple[float, ...]:
        """For each of n numbers, the largest distance from any point of its interval: an upper bound of its error."""
        exact = [Fraction(float(value)) for value in values]
        return tuple(float(max(b - v, v - a)) for a, v, b in zip(self.lower, exact, self.upper, strict=True))

    @classmethod
    def of(cls, balls: Sequence[Any], digits: int, bits: int) -> Enclosure:
        """The intervals that balls of Arb stand for, widened to about the digits asked for, which keeps them short."""
        middles, radii = [_end(b.mid()) for b in balls], [_end(b.rad()) for b in balls]
        floor = max(map(abs, middles), default=Fraction(0)) / 10 ** (2 * digits)
        half = [r + max(abs(m) / 10**digits, floor) / 4 for m, r in zip(middles, radii, strict=True)]
        places = [_places(h) for h in half]
        lower = [_floor(m - h, k) for m, h, k in zip(middles, half, places, strict=True)]
        upper = [-_floor(-m - h, k) for m, h, k in zip(middles, half, places, strict=True)]
        return cls(tuple(lower), tuple(upper), digits, bits)

    @classmethod
    def exactly(cls, values: Sequence[Fraction], digits: int) -> Enclosure:
        """Intervals of width 0."""
        return cls(tuple(values), tuple(values), digits, 0)


def needs_flint() -> Any:
    """python-flint, or one line that says how to get it."""
    library = flint_library()
    if library is None:
        raise InputError("enclosure must be False without python-flint, got True: pip install dlntorch[exact]")
    return library


def _end(number: Any) -> Fraction:
    mantissa, exponent = number.man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def arb_of(number: Fraction | float | int) -> Any:
    """A ball around a rational, of the working precision."""
    library, exact = flint_library(), Fraction(number)
    return library.arb(library.fmpq(exact.numerator, exact.denominator))


def _places(size: Fraction) -> int:
    """Binary places at which a number's rounding is small beside ``size``."""
    return size.denominator.bit_length() - size.numerator.bit_length() + 8 if size else 0


def _floor(number: Fraction, places: int) -> Fraction:
    unit = Fraction(2) ** places
    return (number * unit).__floor__() / unit


def is_fine(balls: Sequence[Any], digits: int) -> bool:
    """Whether every ball is as narrow as :class:`Enclosure` promises."""
    tenth = flint_library().arb(10)
    top = max((abs(ball.mid()) for ball in balls), key=_log, default=flint_library().arb(0))
    return all(
        bool(8 * ball.rad() <= tenth ** (-digits) * abs(ball.mid()))
        or bool(8 * ball.rad() <= tenth ** (-2 * digits) * top)
        for ball in balls
    )


def _log(number: Any) -> float:
    return float(number.log()) if number > 0 else -1e300


def middle(column: Any) -> Any:
    """An ``arb_mat`` without its radii."""
    return flint_library().arb_mat(column.nrows(), column.ncols(), [value.mid() for value in column.entries()])


def polished(system: Callable[[Any], tuple[Any, Any]], start: Any, accurate: Any) -> Any | None:
    """Newton's method without radii from ``start`` until a step is below ``accurate`` or no longer falls; None if it fails.

    Args:
        system: λ (r, 1) ↦ F(λ) (r, 1) and F'(λ) (r, r), ``arb_mat`` s.
        start: λ, an ``arb_mat``.
        accurate: A step to stop at.
    """
    x, last = middle(start), None
    for _ in range(_POLISHES):
        try:
            value, slope = system(x)
            step = middle(slope).solve(middle(value))
        except (ZeroDivisionError, ValueError):
            return None
        size = max((abs(s.mid()) for s in step.entries()), key=_log)
        if not size.is_finite():
            return None
        x = middle(x - step)
        if size <= accurate or (last is not None and not size < last):
            return x
        last = size
    return None


def enclose_root(system: Callable[[Any], tuple[Any, Any]], approximate: Any, unit: Any) -> Any | None:
    """A box (r, 1) that provably contains a root of F, exactly one; None where this precision does not prove it.

    Args:
        system: As in :func:`polished`.
        approximate: λ, without radii.
        unit: A size of λ: where the approximation is the root itself, a box of this size times the rounding is tried.
    """
    library = flint_library()
    try:
        value, slope = system(approximate)
        step = slope.solve(value)
    except (ZeroDivisionError, ValueError):
        return None
    tiny = library.arb(2) ** (16 - library.ctx.prec)
    radii = [
        _WIDENED * s.abs_upper() + tiny * x.abs_upper()
        for s, x in zip(step.entries(), approximate.entries(), strict=True)
    ]
    largest = max([*radii, tiny * unit], key=_log)
    radii = [r if r > 0 else largest for r in radii]
    for _ in range(3):
        box = library.arb_mat(
            approximate.nrows(), 1, [library.arb(x.mid(), r) for x, r in zip(approximate.entries(), radii, strict=True)]
        )
        try:
            _, slopes = system(box)
            image = approximate - slopes.solve(value)
        except (ZeroDivisionError, ValueError):
            return None
        if all(b.contains_interior(i) for b, i in zip(box.entries(), image.entries(), strict=True)):
            return image
        radii = [2 * (i - x).abs_upper() for i, x in zip(image.entries(), approximate.entries(), strict=True)]
        if not all(r.is_finite() and r > 0 for r in radii):
            return None
    return None
