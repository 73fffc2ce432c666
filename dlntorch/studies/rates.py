"""Experiment 1: problems with a unique minimiser; exponent and constant against their predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dlntorch.limit.flow_limit import flow_limit
from dlntorch.model.depth_law import depth_law
from dlntorch.numerics.validation import InputError, check_count, check_number
from dlntorch.problem import Problem, synthetic
from dlntorch.reference.rate import Rate, predict_rate
from dlntorch.studies.base import (
    Claim,
    Point,
    Row,
    Settings,
    Study,
    at_most,
    column,
    numbers,
    select,
    values_of,
    within,
)
from dlntorch.studies.measure import distance_to_unique, last_slope

__all__ = ["STUDY"]

ABOUT = (
    "With a unique ℓ₁-minimiser the limit's error is C·αᵖ for every p > 2. The constant depends on the problem and grows "
    "without bound as p goes to 2; its next term is only αᵖ⁻² smaller, so that for p = 2.5 the slope is still wrong where "
    "αᵖ is 1e-10. The distances are computed without subtracting, and stay exact far below the rounding error of Wₚ.",
    "For p = 2 there is no common exponent: the error falls like (α²)^(1−ϱ), and ϱ, the smallest possible largest "
    "|Aᵢᵀλ| off the support, is the solution of a small linear programme. Each point of the scatter is one random problem, "
    "measured at an α where its asymptote is reached, which can be as small as 1e-112.",
    "Two families: ‘gaussian’ with generic y, whose minimisers have m nonzeros, and ‘sparse’ with a planted signal.",
)
#: Uncertainty of a coordinate of the limit below which a row counts.
RESOLVED = 1e-4
SMALLEST_ALPHA = 1e-120


def points(settings: Settings) -> list[Point]:
    depths = numbers(settings, "depths", lambda name, value: check_number(name, value, above=2, at_most=12))
    seeds = check_count("study.seeds", settings["seeds"], at_most=1000)
    decades = check_count("study.decades", settings["decades"], at_least=2, at_most=40)
    scatter = check_count("study.scatter", settings["scatter"], at_least=2, at_most=100_000)
    shapes = {"gaussian": _shape(settings, "m", "n"), "sparse": _shape(settings, "sparse_m", "sparse_n")}
    nonzeros = check_count("study.nonzeros", settings["nonzeros"], at_most=shapes["sparse"]["m"])
    families = [
        ("gaussian", {**shapes["gaussian"], "nonzeros": 0}),
        ("sparse", {**shapes["sparse"], "nonzeros": nonzeros}),
    ]
    found: list[Point] = []
    for family, shape in families:
        base = {"family": family, **shape}
        found += [{**base, "seed": seed, "p": p, "decades": decades} for p in depths for seed in range(seeds)]
        found += [{**base, "seed": seed, "p": 2} for seed in range(scatter // 2)]
    return found


def _shape(settings: Settings, rows: str, columns: str) -> dict[str, int]:
    m, n = check_count(f"study.{rows}", settings[rows]), check_count(f"study.{columns}", settings[columns])
    if m >= n:
        raise InputError(f"study.{columns} must be larger than study.{rows}, got {n} and {m}")
    return {"m": m, "n": n}


def problem_of(point: Point) -> Problem:
    """The random problem of a point."""
    if point["family"] == "gaussian":
        return synthetic.gaussian(point["m"], point["n"], point["seed"])
    return synthetic.sparse(point["m"], point["n"], point["nonzeros"], 0.0, point["seed"])


def compute(point: Point) -> list[Row]:
    """One problem at one depth: a sweep for p > 2, two values of α for p = 2."""
    problem, p = problem_of(point), float(point["p"])
    rate = predict_rate(problem, p)
    if not rate.selected.unique or rate.exponent is None:
        return [{"unique": bool(rate.selected.unique), "exponent": None}]
    if depth_law(p).error_exponent is None:
        return _exponent(problem, rate)
    powers = 10.0 ** -np.arange(1, point["decades"] + 1)
    limit = flow_limit(problem, p, powers ** (1 / p))
    support = rate.selected.support.numpy()
    rows: list[Row] = []
    for power, psi, uncertainty in zip(powers, limit.psi.numpy(), limit.uncertainty.tolist(), strict=True):
        rows.append(
            {
                "unique": True,
                "power": float(power),
                "distance": distance_to_unique(problem, psi, support),
                "resolved": uncertainty <= RESOLVED,
                "exponent": 1.0,
                "constant": rate.constant,
                "predicted_next": rate.error(float(power ** (1 / p))),
                "asymptotic_below": None if rate.alpha_asymptotic is None else rate.alpha_asymptotic**p,
            }
        )
    return rows


def _exponent(problem: Problem, rate: Rate) -> list[Row]:
    """The slope in α² where the asymptote is reached, or at the smallest α that is tried."""
    reached = rate.alpha_asymptotic or 0.0
    alpha = max(SMALLEST_ALPHA, min(1e-6, reached))
    alphas = np.array([alpha, 1e-2 * alpha])
    limit = flow_limit(problem, 2.0, alphas)
    support = rate.selected.support.numpy()
    distances = np.array([distance_to_unique(problem, psi, support) for psi in limit.psi.numpy()])
    good = bool(np.all(limit.uncertainty.numpy() <= 1e-2) and np.all(distances > 0))
    slope = last_slope(alphas**2, distances) if good else None
    exponent = None if rate.exponent is None else rate.exponent / 2
    return [{"unique": True, "alpha": alpha, "exponent": exponent, "measured": slope, "reached": reached >= alpha}]


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    found: list[Claim] = []
    for family in values_of(rows, "family"):
        for p in values_of(swept(rows), "p"):
            found += _at_depth(
                f"{family}, p = {p:g}", [r for r in select(rows, family=family, p=p) if r.get("resolved")]
            )
    scatter = decided(rows)
    errors = np.abs(column(scatter, "measured") - column(scatter, "exponent"))
    label = f"p = 2, {len(scatter)} problems"
    found.append(at_most(f"{label}: largest |measured exponent of α² − (1 − ϱ)|", float(errors.max()), 0.03))
    found.append(at_most(f"{label}: median of the same", float(np.median(errors)), 0.005))
    return found


def decided(rows: Sequence[Row]) -> list[Row]:
    """The p = 2 problems with a measured exponent."""
    return [row for row in rows if row.get("measured") is not None]


def swept(rows: Sequence[Row]) -> list[Row]:
    """The rows of sweeps of α, which p > 2 have."""
    return [row for row in rows if row.get("power") is not None]


def _at_depth(label: str, rows: list[Row]) -> list[Claim]:
    """The worst slope and the worst constant over the problems, each at its smallest resolved α."""
    slopes, ratios = [], []
    for seed in values_of(rows, "seed"):
        mine = sorted(select(rows, seed=seed), key=lambda row: row["power"])
        slope = last_slope(column(mine, "power"), column(mine, "distance"))
        if slope is not None:
            slopes.append(slope)
            ratios.append(mine[0]["distance"] / mine[0]["predicted_next"])
    if not slopes:
        return [within(f"{label}: slope", 1.0, None, 0.02)]
    slope = max(slopes, key=lambda value: abs(value - 1))
    ratio = max(ratios, key=lambda value: abs(np.log(value)))
    count = f"worst of {len(slopes)} problems"
    return [
        within(f"{label}: slope in αᵖ, {count}", 1.0, slope, 0.02),
        within(f"{label}: error over predicted, {count}", 1.0, ratio, 0.02),
    ]


STUDY = Study(
    summary="experiment 1: measured exponent and constant against predicted, and 1 − ϱ for p = 2",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)
