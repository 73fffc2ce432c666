"""The kinks: on A = (1, 1 − ε) the limit is near the minimiser e₁ only once α^p ≪ ε^{p/(p−2)}."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import brentq

from dlntorch.limit.flow_limit import flow_limit
from dlntorch.numerics.validation import check_count, check_number
from dlntorch.problem import Problem, paper
from dlntorch.reference.rate import predict_rate
from dlntorch.studies.base import Claim, Point, Row, Settings, Study, column, numbers, select, values_of, within
from dlntorch.studies.measure import distance_to_unique, last_slope

__all__ = ["STUDY"]

ABOUT = (
    "With A = (1, 1 − ε) and y = 1 the ℓ₁-minimiser is e₁ for every ε > 0, but the second column is almost as good. The "
    "limit of the network shares the signal between both until αᵖ is below about ε to the power p/(p−2); only then does its "
    "error fall like αᵖ. The constant of the convergence rate therefore has no bound that is uniform in A.",
    "The kink is measured where the first coordinate is twice the second, halfway between an equal share and none. Writing "
    "the limit as ψ = αᵖ hₚ(Aᵀλ), this is at αᵖ = [ε / (ψ₂^(−1/k) − (1 − ε) ψ₁^(−1/k))]^k with k = p/(p−2), ψ₁ = 2/(3 − ε) and "
    "ψ₂ = ψ₁/2, up to a share αᵖ of itself: proportional to ε^k as ε goes to 0.",
)


def points(settings: Settings) -> list[Point]:
    depths = numbers(settings, "depths", lambda name, value: check_number(name, value, above=2, at_most=12))
    eps = numbers(settings, "eps", lambda name, value: check_number(name, value, above=0, at_most=0.9))
    decades = check_count("study.decades", settings["decades"], at_most=15)
    per_decade = check_count("study.per_decade", settings["per_decade"], at_most=100)
    small = numbers(settings, "kink_eps", lambda name, value: check_number(name, value, above=0, at_most=0.01))
    curves = [{"p": p, "eps": e, "decades": decades, "per_decade": per_decade} for p in depths for e in eps]
    return curves + [{"p": p, "eps": e} for p in depths for e in small if e not in eps]


def compute(point: Point) -> list[Row]:
    """A sweep over α^p, and the kink by root finding."""
    p, eps = point["p"], point["eps"]
    problem = paper.kink(eps)
    predicted = predicted_kink(p, eps)
    kink: Row = {"kink": _kink(problem, p, predicted), "predicted_kink": predicted}
    if "decades" not in point:
        return [kink]
    powers = 10.0 ** (-np.arange(point["decades"] * point["per_decade"] + 1) / point["per_decade"])
    limit, rate = flow_limit(problem, p, powers ** (1 / p)), predict_rate(problem, p)
    support = np.array([0])
    rows: list[Row] = [
        {
            "power": float(power),
            "distance": distance_to_unique(problem, psi, support),
            "predicted": None if rate.constant is None else rate.constant * float(power),
            "predicted_next": rate.error(float(power ** (1 / p))),
        }
        for power, psi in zip(powers, limit.psi.numpy(), strict=True)
    ]
    return [*rows, kink]


def predicted_kink(p: float, eps: float) -> float:
    """α^p where ψ₁ = 2ψ₂: u₂ − u₁ = ε(1 − u₁), u_i = (α^p/ψ_i)^{1/k}, and ψ₁ + (1 − ε)ψ₂ = 1; v_i^{−k} left out."""
    k = p / (p - 2)
    first, second = 2 / (3 - eps), 1 / (3 - eps)
    return float((eps / (second ** (-1 / k) - (1 - eps) * first ** (-1 / k))) ** k)


def _kink(problem: Problem, p: float, near: float) -> float | None:
    """α^p where ψ₁ = 2ψ₂; None where it is not within a factor of 1000 of ``near``."""

    def excess(log_power: float) -> float:
        psi = flow_limit(problem, p, float(np.exp(log_power / p))).psi
        return float(psi[0] - 2 * psi[1])

    low, high = np.log(near) - np.log(1e3), np.log(near) + np.log(1e3)
    if excess(low) * excess(high) > 0:
        return None
    root: Any = brentq(excess, low, high, xtol=1e-10)
    return float(np.exp(root))


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    found: list[Claim] = []
    for p in values_of(rows, "p"):
        kinks = sorted((row for row in select(rows, p=p) if "kink" in row), key=lambda row: row["eps"])
        decided = [row for row in kinks if row["kink"] is not None and row["predicted_kink"] < 1e-3]
        ratios = [row["kink"] / row["predicted_kink"] for row in decided]
        worst = max(ratios, key=lambda ratio: abs(np.log(ratio)), default=None)
        found.append(within(f"p = {p:g}: αᵖ at the kink over predicted, worst of {len(decided)} ε", 1.0, worst, 0.01))
        slope = last_slope(column(decided, "eps"), column(decided, "kink"))
        found.append(within(f"p = {p:g}: exponent of ε in the kink, p/(p−2)", p / (p - 2), slope, 0.01, relative=True))
        found += _rates(p, rows)
    return found


def _rates(p: float, rows: Sequence[Row]) -> list[Claim]:
    """Far below its kink every curve is at the predicted C α^p."""
    ratios = []
    for eps in values_of((row for row in rows if "power" in row), "eps"):
        mine = [row for row in select(rows, p=p, eps=eps) if "power" in row]
        kink = predicted_kink(p, eps)
        below = [row for row in mine if row["power"] <= 1e-4 * kink and row["predicted_next"] is not None]
        if below:
            last = below[-1]
            ratios.append(last["distance"] / last["predicted_next"])
    if not ratios:
        return []
    worst = max(ratios, key=lambda ratio: abs(np.log(ratio)))
    return [within(f"p = {p:g}: error far below the kink over predicted, worst ε", 1.0, float(worst), 0.02)]


def kinks_of(rows: Sequence[Row]) -> list[Row]:
    """The rows that hold kinks."""
    return [row for row in rows if row.get("kink") is not None]


def curve_of(rows: Sequence[Row], p: float, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """α^p and distance of one curve."""
    mine = [row for row in select(rows, p=p, eps=eps) if "power" in row]
    return column(mine, "power"), column(mine, "distance")


STUDY = Study(
    summary="the kinks: A = (1, 1 − ε), and how small α must be to tell the columns apart",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)
