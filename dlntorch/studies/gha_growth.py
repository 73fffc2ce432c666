"""The transition at 10^(−K) beyond the paper's line, for every depth, and the network's own transition in (α, δ)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from dlntorch.limit.flow_limit import flow_limit
from dlntorch.model.depth_law import depth_law
from dlntorch.problem import Problem
from dlntorch.reference.exact import exact_minimizer
from dlntorch.reference.selection import selected_minimizer
from dlntorch.studies.base import Claim, Point, Row, column, select, values_of, within
from dlntorch.studies.families import Family, enumerated, family, rounded_to_bits

__all__ = ["growth_claims", "growth_points", "growth_rows"]

_BISECTIONS = 40
_APART = Fraction(22, 10)  # the two minimisers lie 2.2·10^(−K) apart
_TINY = 1e-30  # αᵖ over ‖y‖ of the network that decides by bits
EDGE_POWERS = (1e-6, 1e-9, 1e-12)


def growth_points(names: Sequence[str], depths: Sequence[float], digits: Sequence[int], bits: int) -> list[Point]:
    """One point for each family, depth and K, and one for each family, depth and α."""
    return [
        *(
            {"method": "transition", "family": f, "depth": p, "digits": K, "bits": bits}
            for f in names
            for p in depths
            for K in digits
        ),
        *({"method": "edge", "family": f, "depth": p, "power": a} for f in names for p in depths for a in EDGE_POWERS),
    ]


def growth_rows(point: Point) -> list[Row]:
    """The rows of such a point."""
    if point["method"] == "edge":
        return [{"edge": _edge(family(point["family"]), point["depth"], point["power"])}]
    return _transition(point["family"], point["depth"], point["digits"], point["bits"])


def _transition(name: str, p: float, K: int, bits: int) -> list[Row]:
    """Whether K and K − 1 digits are right on both signs, for |δ| below and above the last bit that is read."""
    rows: list[Row] = []
    for place, delta in (("hidden", Fraction(1, 2 ** (bits + 12))), ("seen", Fraction(1, 2 ** (bits - 10)))):
        base = family(name)
        ends = [enumerated(*base.at(sign * delta))[0] for sign in (1, -1)]
        apart = math.sqrt(float(sum((a - b) ** 2 for a, b in zip(*ends, strict=True))))
        factor = Fraction(_APART / 10**K / Fraction(apart))
        scaled = base.scaled(factor)
        read = [_read(scaled, sign * delta, bits) for sign in (1, -1)]
        truths = [np.array([float(v * factor) for v in end]) for end in ends]
        for method in ("exact", "limit"):
            found = [_answer(method, problem, p) for problem in read]
            worst = max(float(np.linalg.norm(a - t)) for a, t in zip(found, truths, strict=True))
            same = bool((read[0].A == read[1].A).all())
            rows.append(
                {
                    "algorithm": method,
                    "place": place,
                    "same": same,
                    "error": worst,
                    "has_K": worst <= 10.0**-K,
                    "has_K_minus_1": worst <= 10.0 ** (1 - K),
                }
            )
    return rows


def _read(base: Family, delta: Fraction, bits: int) -> Problem:
    A, y = base.at(delta)
    return Problem.from_rationals(
        [[rounded_to_bits(v, bits) for v in row] for row in A], [rounded_to_bits(v, bits) for v in y]
    )


def _answer(method: str, problem: Problem, p: float) -> np.ndarray:
    if method == "exact":
        found = exact_minimizer(problem)
        return np.full(problem.n, math.inf) if found is None else np.array([float(v) for v in found.psi])
    size = float(problem.y.norm())
    # the smaller p − 2, the smaller α must be for the same bit of A
    power = min(_TINY, 2.0 ** (-45 * depth_law(p).k))
    return flow_limit(problem, p, max((power * size) ** (1 / p), 1e-300)).psi.numpy()


def _edge(base: Family, p: float, power: float) -> float:
    """|δ| at which the limit is half the way from W_p at δ = 0 to the minimiser for δ > 0, at αᵖ = power ‖y‖."""
    zero = Problem.from_rationals(*base.at(Fraction(0)))
    alpha = (power * float(zero.y.norm())) ** (1 / p)
    middle = selected_minimizer(zero, p).psi.numpy()
    end = np.array([float(v) for v in enumerated(*base.at(Fraction(1, 10**12)))[0]])
    way = end - middle
    low, high = -14.0, -0.5  # log10 δ
    for _ in range(_BISECTIONS):
        at = 0.5 * (low + high)
        psi = flow_limit(Problem.from_rationals(*base.at(Fraction(10.0**at))), p, alpha).psi.numpy()
        low, high = (at, high) if float((psi - middle) @ way) < 0.5 * float(way @ way) else (low, at)
    return 10.0**low


def growth_claims(rows: Sequence[Row]) -> list[Claim]:
    """The transition for all K and p at once, and the exponent of the network's own.

    At p = 2 no α > 1e-300 follows a minimiser at δ = 1e-9: its own transition is at δ of the order of 1/ln(1/α²).
    """
    found: list[Claim] = []
    for name in values_of(rows, "family"):
        mine = select(rows, family=name)
        answers = select(mine, method="transition")
        ks = values_of(answers, "digits")
        label = f"{name}, K = {min(ks)} … {max(ks)}, every p" if ks else name
        hidden = [row for row in answers if row["same"]]
        share = float(np.mean([row["has_K"] for row in hidden])) if hidden else None
        found.append(within(f"{label}, ±δ read alike: share with K digits on both", 0.0, share, 0.0))
        share = float(np.mean([row["has_K_minus_1"] for row in answers])) if answers else None
        found.append(within(f"{label}, every δ: share with K − 1 digits on both", 1.0, share, 0.0))
        seen = [
            row
            for row in select(answers, place="seen")
            if row["algorithm"] == "exact" or depth_law(row["depth"]).has_pole
        ]
        share = float(np.mean([row["has_K"] for row in seen])) if seen else None
        found.append(
            within(f"{label}, |δ| 2¹⁰ units of the last bit: share with K digits (p = 2 is exempt)", 1.0, share, 0.0)
        )
        for p in values_of(select(mine, method="edge"), "depth"):
            found.append(_edge_claim(name, p, select(mine, method="edge", depth=p)))
    return found


def _edge_claim(name: str, p: float, rows: list[Row]) -> Claim:
    powers, edges = column(rows, "power"), column(rows, "edge")
    shares = edges / [depth_law(p).relative_cost(power ** (1 / p)) for power in powers]
    label = f"{name}, p = {p:g}: half-way δ over αᵖ⁻² (p = 2: over 1/ln(1/α²)), smallest over middle α"
    return within(label, 1.0, float(shares[-1] / shares[-2]), 0.1)
