"""The open question: what depth does to the error, at fixed α and at fixed α^p."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from dlntorch.limit.flow_limit import flow_limit
from dlntorch.numerics.validation import InputError, check_choice, check_count, check_number
from dlntorch.problem import Problem, paper, synthetic
from dlntorch.reference.rate import predict_rate
from dlntorch.studies.base import (
    Claim,
    Point,
    Row,
    Settings,
    Study,
    column,
    holds,
    numbers,
    select,
    values_of,
    within,
)
from dlntorch.studies.depth_boundary import boundary_claims, boundary_points, boundary_rows
from dlntorch.studies.measure import distance_to_unique

__all__ = ["STUDY"]

ABOUT = (
    "Does depth help? At a fixed initialization α the error is about C(p)·αᵖ: the exponent grows with p, and the error falls "
    "steeply. At a fixed αᵖ, that is, a network that starts at the same ψ-scale, only the constant is left: it falls with p "
    "too, steeply close to p = 2 and hardly at all beyond p = 6.",
    "The constant explains both. C(p) grows without bound as p goes to 2, like (1−ϱ) to the power −p/(p−2), where ϱ is the "
    "largest |Aᵢᵀλ| off the support: log C is a straight line in k = p/(p−2) with the slope −log(1−ϱ). As p goes to infinity, "
    "k goes to 1, and C(p) has a finite limit, that of the logarithmic barrier.",
    "At the boundaries p → 2 and p → ∞ floats do not reach the asymptotic regime, which asks for α^(p−2) ≪ 1 (α = 1e-80 at "
    "p = 2.05). Errors there are from enclosures: intervals that provably contain the limit and W_p. *Proved*: the exponent of "
    "αᵖ is 1 for every p > 2. *Measured*: on minimisers with m nonzeros, with fewer, and on faces, the exponent and the "
    "constant C(p) of the first-order formula to better than 1 %, at α^(p−2) = 1e-5; and a finite limit of C(p) as p → ∞. "
    "*Not known*: how the size of the next term depends on p and the problem. Where C(p) happens to be tiny (a face with "
    "τ = 0 off it has C of the order of 2^(−p/(p−2))) the next term dominates until α^(p−2) is smaller still.",
    "No theory says what the best p is for a given cost of training; these are measurements.",
)
#: Uncertainty of a coordinate of the limit below which a row counts.
RESOLVED = 1e-4
PROBLEMS = {
    "random": paper.random,
    "gaussian": lambda: synthetic.gaussian(8, 24, 2),
    "sparse": lambda: synthetic.sparse(16, 40, 3, 0.0, 3),
}


def points(settings: Settings) -> list[Point]:
    names = numbers(settings, "problems", lambda name, value: check_choice(name, value, tuple(PROBLEMS)))
    low = check_number("study.p_min", settings["p_min"], above=2, at_most=100)
    high = check_number("study.p_max", settings["p_max"], above=2, at_most=100)
    if low >= high:
        raise InputError(f"study.p_max must be larger than study.p_min, got {high:g} and {low:g}")
    count = check_count("study.count", settings["count"], at_least=3, at_most=1000)
    depths = 2 + np.geomspace(low - 2, high - 2, count)
    alphas = numbers(settings, "alphas", lambda name, value: check_number(name, value, above=0, at_most=1))
    powers = numbers(settings, "powers", lambda name, value: check_number(name, value, above=0, at_most=1))
    text = {"alphas": " ".join(map(repr, alphas)), "powers": " ".join(map(repr, powers))}  # a point holds plain values
    edges = numbers(settings, "boundary_depths", lambda name, value: check_number(name, value, above=2, at_most=1000))
    if min(edges) < 2.02:
        raise InputError(f"study.boundary_depths must be >= 2.02, got {min(edges):g}: α would need thousands of digits")
    inside = [{"problem": name, "p": round(float(p), 6), **text} for name in names for p in depths]
    return inside + boundary_points(edges)


def compute(point: Point) -> list[Row]:
    """One problem at one depth: the constant, and the error at each α and each α^p."""
    if "boundary" in point:
        return boundary_rows(point)
    problem: Problem = PROBLEMS[point["problem"]]()
    p = point["p"]
    rate = predict_rate(problem, p)
    alphas = [float(word) for word in point["alphas"].split()]
    powers = [float(word) for word in point["powers"].split()]
    at = [("alpha", alpha, alpha) for alpha in alphas] + [("power", power, power ** (1 / p)) for power in powers]
    limit = flow_limit(problem, p, [alpha for _, _, alpha in at])
    support = rate.selected.support.numpy()
    gap = None if rate.tau is None else _gap(rate.tau.numpy(), support)
    rows: list[Row] = []
    for index, (fixed, value, alpha) in enumerate(at):
        rows.append(
            {
                "fixed": fixed,
                "value": value,
                "distance": distance_to_unique(problem, limit.psi[index].numpy(), support),
                "resolved": float(limit.uncertainty[index]) <= RESOLVED,
                "predicted": rate.error(alpha),
                "constant": rate.constant,
                "k": p / (p - 2),
                "gap": gap,
            }
        )
    return rows


def _gap(tau: np.ndarray, support: np.ndarray) -> float:
    """1 − max |τ*_i| off the support."""
    off = np.setdiff1d(np.arange(tau.size), support)
    return float(1 - np.max(np.abs(tau[off])))


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    found: list[Claim] = []
    for name in values_of(rows, "problem"):
        mine = select(rows, problem=name)
        found += _constant(name, mine)
        for alpha in values_of(select(mine, fixed="alpha"), "value"):
            errors = [row["distance"] for row in _resolved(select(mine, fixed="alpha", value=alpha))]
            found.append(_falls(f"{name}: at α = {alpha:g} the error falls as p grows", errors))
        power = min(values_of(select(mine, fixed="power"), "value"))
        far = [row for row in _resolved(select(mine, fixed="power", value=power)) if row["p"] >= 4]
        ratios = column(far, "distance") / column(far, "predicted")
        worst = float(ratios[np.argmax(np.abs(np.log(ratios)))]) if far else None
        found.append(within(f"{name}: error over predicted at αᵖ = {power:g}, worst p ≥ 4", 1.0, worst, 0.02))
    return found + boundary_claims([row for row in rows if "boundary" in row])


def _constant(name: str, rows: list[Row]) -> list[Claim]:
    """That C(p) falls, and its slope in k at the two smallest p that have one: close to 2 it is beyond float64."""
    known = [row for row in rows if row["constant"] is not None and row["gap"] is not None]
    constants = sorted({(row["p"], row["k"], row["constant"], row["gap"]) for row in known})
    slope, predicted, where = None, None, "the smallest p"
    if len(constants) >= 2:
        (_, k0, c0, gap), (_, k1, c1, _) = constants[:2]
        slope, predicted, where = float(np.log(c0 / c1) / (k0 - k1)), -float(np.log(gap)), f"k = {k0:.3g}"
    return [
        _falls(f"{name}: the constant C(p) falls as p grows", [c for _, _, c, _ in constants]),
        within(f"{name}: d log C/dk at {where}, against −log(1−ϱ)", predicted, slope, 0.03, relative=True),
    ]


def _resolved(rows: list[Row]) -> list[Row]:
    return sorted((row for row in rows if row["resolved"]), key=lambda row: row["p"])


def _falls(claim: str, values: list[float]) -> Claim:
    good = None if len(values) < 2 else all(after < before for before, after in pairwise(values))
    span = f"{values[0]:.3g} → {values[-1]:.3g}" if values else "nothing resolved"
    return holds(claim, "falls", span, good, f"each of {max(0, len(values) - 1)} differences < 0")


STUDY = Study(
    summary="the open question: error against depth at fixed α and at fixed αᵖ, constants and exponents",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)
