"""Models of computation: the same problems given exactly, to K digits, and by an oracle with any requested precision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from dlntorch.numerics.validation import check_choice, check_count
from dlntorch.problem import Problem
from dlntorch.reference.exact import exact_minimizer
from dlntorch.reference.ill_posedness import ill_posedness
from dlntorch.studies.base import Claim, Point, Row, Settings, Study, at_most, numbers, select, values_of, within
from dlntorch.studies.families import FAMILIES, enumerated, family, rounded_to_digits

__all__ = ["STUDY"]

ABOUT = (
    "Three ways to be given the same numbers. Families A(δ) run through a problem with several ℓ₁-minimisers at δ = 0: the "
    "paper’s line (1, 1−δ), and 3×7 problems with one column multiplied by 1−δ. The minimiser for δ > 0 and that for δ < 0 "
    "are far apart, however small δ is.",
    "**Given exactly** (rationals), the problem is decidable: finitely many bases, each judged in rational arithmetic. *Proved*: "
    "the algorithm ends with the minimiser and with the truth about uniqueness, at every δ, at δ = 0 too. *Measured*: it does, "
    "against an enumeration of all bases.",
    "**Given to K digits**, δ and −δ below half a unit of the last digit are the same input. *Proved*: any algorithm gives "
    "one answer to both and is wrong on one of them; an algorithm that draws lots, or a quantum computer, gives one "
    "distribution of answers to both, and is right with a probability of at most one half on one of them. What was never read "
    "cannot be computed from what was, so that no speed of the machine changes this. *Measured*: rational arithmetic on the "
    "digits read is wrong on one of two there, and right where δ is a hundred units of the last digit.",
    "**Given by an oracle** that answers with any requested precision, an algorithm may read until a lower bound of the distance "
    "to ill-posedness exceeds the error of what it has read. *Proved*: it ends for every δ ≠ 0 with the right support, and no "
    "algorithm that is always right ends at δ = 0, as the digits read so far are those of some δ ≠ 0 on either side. "
    "*Measured*: it reads about −log₁₀ of the distance, and a few digits more in exchange for the constants of the bound.",
    "*Not known*: how many digits are needed on average over a given distribution of data, and whether a model that gives "
    "more than values of the entries (for example, equations that they satisfy) decides more than these.",
)
MODELS = ("exact", "digits", "oracle")


def points(settings: Settings) -> list[Point]:
    names = numbers(settings, "families", lambda name, value: check_choice(name, value, FAMILIES))
    smallest = check_count("study.smallest_delta", settings["smallest_delta"], at_most=200)
    step = check_count("study.delta_step", settings["delta_step"], at_most=50)
    digits = numbers(settings, "digits", lambda name, value: check_count(name, value, at_most=100))
    most = check_count("study.most_digits", settings["most_digits"], at_most=300)
    exponents = range(1, smallest + 1, step)
    return [
        *({"family": f, "model": "exact", "exponent": e} for f in names for e in exponents),
        *(
            {"family": f, "model": "digits", "exponent": e, "digits": K}
            for f in names
            for K in digits
            for e in exponents
        ),
        *({"family": f, "model": "oracle", "exponent": e, "most_digits": most} for f in names for e in exponents),
    ]


def compute(point: Point) -> list[Row]:
    """δ > 0, δ < 0 and δ = 0 under one model."""
    members = {sign: family(point["family"]).at(Fraction(sign, 10 ** point["exponent"])) for sign in (1, -1, 0)}
    truth = {sign: enumerated(*member) for sign, member in members.items()}
    apart = _distance(truth[1][0], truth[-1][0])
    if point["model"] == "exact":
        return [_exact(sign, members[sign], truth[sign]) for sign in members]
    if point["model"] == "digits":
        read = {sign: _read(member, point["digits"]) for sign, member in members.items()}
        same = read[1] == read[-1]
        return [{"sign": sign, "same": same, **_judged(read[sign], truth[sign][0], apart)} for sign in (1, -1)]
    return [{"sign": sign, **_asked(members[sign], truth[sign][0], apart, point["most_digits"])} for sign in members]


def _exact(sign: int, member: tuple, truth: tuple[list[Fraction], bool]) -> Row:
    found = exact_minimizer(Problem.from_rationals(*member))
    if found is None:
        return {"sign": sign, "right": False}
    right = found.unique is truth[1] and (not truth[1] or found.psi == truth[0])
    return {"sign": sign, "right": right, "unique": found.unique}


def _read(member: tuple[list[list[Fraction]], list[Fraction]], digits: int) -> tuple:
    A, y = member
    return [[rounded_to_digits(v, digits) for v in row] for row in A], [rounded_to_digits(v, digits) for v in y]


def _distance(a: Sequence[Fraction], b: Sequence[Fraction]) -> float:
    return math.sqrt(float(sum((u - v) ** 2 for u, v in zip(a, b, strict=True))))


def _judged(read: tuple, truth: list[Fraction], apart: float) -> Row:
    """Whether the minimiser of what was read is nearer to the truth than to the other side's minimiser."""
    found = exact_minimizer(Problem.from_rationals(*read))
    error = math.inf if found is None else _distance(found.psi, truth)
    return {"error": error / apart if math.isfinite(error) else None, "right": error < 0.5 * apart}


def _asked(member: tuple, truth: list[Fraction], apart: float, most: int) -> Row:
    """Read until what was read is further from ill-posedness than from the truth."""
    for digits in range(1, most + 1):
        read = _read(member, digits)
        if not any(any(row) for row in read[0]) or not any(read[1]):
            continue
        problem = Problem.from_rationals(*read)
        A, y = problem.A.numpy(), problem.y.numpy()
        unit = 0.5 * 10.0**-digits
        columns = A.shape[1] * math.sqrt(len(y)) * unit / float(np.linalg.norm(A, axis=0).max())
        known = max(columns, math.sqrt(len(y)) * unit / float(np.linalg.norm(y))) * (1 + 1e-9)
        if ill_posedness(problem).lower > known:
            return {"read": digits, **_judged(read, truth, apart)}
    return {"read": None, "right": None}


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    found: list[Claim] = []
    for name in values_of(rows, "family"):
        mine = select(rows, family=name)
        exact = select(mine, model="exact")
        found.append(within(f"{name}, exact: share of right answers, δ = 0 included", 1.0, _share(exact), 0.0))
        digits = select(mine, model="digits")
        same, both = [r for r in digits if r["same"]], []
        for plus, minus in zip(same[::2], same[1::2], strict=True):
            both.append(plus["right"] and minus["right"])
        share = float(np.mean(both)) if both else None
        found.append(within(f"{name}, K digits, ±δ read alike: share that is right on both", 0.0, share, 0.0))
        clear = [r for r in digits if r["exponent"] <= r["digits"] - 2]
        found.append(
            within(f"{name}, K digits, δ ≥ 100 units of the last: share of right answers", 1.0, _share(clear), 0.0)
        )
        oracle = select(mine, model="oracle")
        ended = [r for r in oracle if r["sign"] and r["exponent"] + 4 <= settings["most_digits"]]
        share = float(np.mean([r["read"] is not None and r["right"] for r in ended])) if ended else None
        found.append(within(f"{name}, oracle, δ ≠ 0: share that ends, and rightly", 1.0, share, 0.0))
        extra = [r["read"] - r["exponent"] for r in ended if r["read"] is not None]
        found.append(at_most(f"{name}, oracle: digits read beyond −log₁₀ δ", max(extra) if extra else None, 4))
        zero = [r for r in oracle if not r["sign"]]
        share = float(np.mean([r["read"] is not None for r in zero])) if zero else None
        found.append(within(f"{name}, oracle, δ = 0: share that ends", 0.0, share, 0.0))
    return found


def _share(rows: list[Row]) -> float | None:
    return float(np.mean([bool(row["right"]) for row in rows])) if rows else None


STUDY = Study(
    summary="models of computation: exact input decides, K digits do not, an oracle decides all but the cliff itself",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)
