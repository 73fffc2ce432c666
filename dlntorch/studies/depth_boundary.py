"""The boundary cases of depth, p → 2 and p → ∞, against enclosures: unique minimisers, sparse ones, and faces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import mpmath as mp
import numpy as np

from dlntorch.limit.enclosure import enclosed_limit
from dlntorch.limit.multiprecision import limit_mp
from dlntorch.numerics.balls import Enclosure
from dlntorch.problem import Problem
from dlntorch.reference.rate import predict_rate
from dlntorch.reference.selection import selected_minimizer
from dlntorch.studies.base import Claim, Point, Row, select, values_of, within

__all__ = ["CASES", "boundary_claims", "boundary_points", "boundary_rows"]

#: A minimiser with m nonzeros; one with fewer, where extreme dual vectors have ties off the support; and a face.
CASES = {
    "m nonzeros": ([[2, 1, 0, 1], [1, 0, 3, -1]], [4, 3]),
    "sparse": ([[2, 1, 0, 1], [0, 1, 1, -1]], [4, 0]),
    "face": ([[2, 2, 2, 1], [3, 0, 1, 1]], [6, 3]),
}
_DIGITS = 30
_NEAR = (4, 5)  # −log10 of α^{p−2}, p <= 4: the relative correction of C αᵖ is of this order
_POWERS = (8, 10)  # −log10 of αᵖ, p > 4


def boundary_points(depths: Sequence[float]) -> list[Point]:
    return [{"boundary": name, "p": p} for name in CASES for p in depths]


def boundary_rows(point: Point) -> list[Row]:
    """The error at two αᵖ from enclosures, and what C αᵖ predicts."""
    problem, p = Problem(*CASES[point["boundary"]], name=point["boundary"]), point["p"]
    constant = predict_rate(problem, p).constant
    selected = selected_minimizer(problem, p, enclosure=True).enclosure
    rows: list[Row] = []
    for size in _NEAR if p <= 4 else _POWERS:
        log_power = -size * p / (p - 2) if p <= 4 else float(-size)  # log10 αᵖ
        error, width = _error(problem, p, log_power, selected)
        rows.append({"log_power": log_power, "log_error": error, "width": width, "constant": constant})
    return rows


def _error(
    problem: Problem, p: float, log_power: float, selected: Enclosure | None
) -> tuple[float | None, float | None]:
    """log10 ‖ψ_α(∞) − W_p‖₂, and a bound of its relative error, from the two enclosures."""
    digits = _DIGITS + math.ceil(-log_power)
    with mp.workdps(digits + 60):
        alpha = mp.mpf(10) ** (mp.mpf(log_power) / mp.mpf(p))
        exact_alpha = Fraction(int(mp.floor(alpha * mp.mpf(2) ** _binary(alpha)))) / Fraction(2) ** _binary(alpha)
    near = limit_mp(problem.A, problem.y, p, alpha_p=alpha**p, dps=40).decimals()
    limit = enclosed_limit(problem, p, [exact_alpha] * problem.n, [exact_alpha] * problem.n, near, digits)
    if limit is None or selected is None:
        return None, None
    if selected.width and selected.digits < digits:
        selected = _refined(problem, p, digits)
    if selected is None:
        return None, None
    low = high = Fraction(0)
    for a, b, c, d in zip(limit.lower, limit.upper, selected.lower, selected.upper, strict=True):
        most, least = max(abs(b - c), abs(d - a)), max(Fraction(0), a - d, c - b)
        low, high = low + least * least, high + most * most
    return 0.5 * _log10(high), float((high - low) / high) / 2 if high else None


def _binary(alpha: Any) -> int:
    """Places that leave 200 bits of α."""
    return 200 - int(mp.floor(mp.log(alpha, 2)))


def _refined(problem: Problem, p: float, digits: int) -> Enclosure | None:
    from dlntorch.reference.l1_minimizer import l1_minimizer
    from dlntorch.reference.selected_enclosure import enclosed_selection

    exact = l1_minimizer(problem, exact=True).exact
    return (
        None
        if exact is None
        else enclosed_selection(problem, p, exact, selected_minimizer(problem, p).psi.tolist(), digits)
    )


def _log10(number: Fraction) -> float:
    with mp.workdps(20):
        return float(mp.log10(mp.mpf(number.numerator)) - mp.log10(mp.mpf(number.denominator)))


def boundary_claims(rows: Sequence[Row]) -> list[Claim]:
    """Exponent and constant at every p, and the limits of the constant."""
    found: list[Claim] = []
    for name in values_of(rows, "boundary"):
        slopes, ratios, constants = [], [], {}
        mine = select(rows, boundary=name)
        for p in values_of(mine, "p"):
            first, last = select(mine, p=p)
            if first["log_error"] is None or last["log_error"] is None:
                continue
            slopes.append((last["log_error"] - first["log_error"]) / (last["log_power"] - first["log_power"]))
            if last["constant"] is not None:
                constants[p] = last["constant"]
                ratios.append(10 ** (last["log_error"] - last["log_power"] - math.log10(last["constant"])))
        span = f"p = {min(values_of(mine, 'p')):g} … {max(values_of(mine, 'p')):g}"
        found.append(within(f"{name}, {span}: exponent of αᵖ in enclosed errors, worst", 1.0, _worst(slopes), 0.01))
        found.append(within(f"{name}, {span}: enclosed error over C(p) αᵖ, worst", 1.0, _worst(ratios), 0.01))
        large = sorted(p for p in constants if p >= 50)
        if len(large) >= 2:
            share = constants[large[-1]] / constants[large[-2]]
            label = f"{name}, p → ∞: C({large[-1]:g}) over C({large[-2]:g})"
            found.append(within(label, 1.0, share, 0.05))
    return found


def _worst(values: list[float]) -> float | None:
    return values[int(np.argmax(np.abs(np.array(values) - 1)))] if values else None
