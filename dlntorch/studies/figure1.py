"""The paper's convergence figures: ‖ψ_α(∞) − W_p‖₂ against α^p, with the predicted slope and constant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dlntorch.limit.flow_limit import flow_limit
from dlntorch.numerics.validation import check_choice, check_count, check_number
from dlntorch.problem import Problem, paper
from dlntorch.reference.rate import predict_rate
from dlntorch.reference.selection import selected_minimizer
from dlntorch.run import train
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
from dlntorch.studies.measure import last_slope, norm, radau_limit, slope_claim

__all__ = ["STUDY"]

ABOUT = (
    "As the initialization α goes to 0, the network's limit goes to one ℓ₁-minimiser, Wₚ, at the rate αᵖ for p > 2 and "
    "(α²)^(1−ϱ) for p = 2, where ϱ depends on the problem. The lines are the flow's limit, computed without integrating; "
    "the dotted lines are the prediction C·αᵖ, slope and constant both.",
    "The open triangles are the flow integrated by an implicit Runge–Kutta method that shares no code with the limit. The "
    "crosses are networks trained by plain SGD. They leave the lines where the error of the step size is larger than "
    "the one of α: SGD does not see the rate there, however long it runs.",
    "‘line’ and ‘plane’ have a whole segment of ℓ₁-minimisers, ‘random’ has one. A curve ends where float64 no longer "
    "resolves the difference from Wₚ.",
)
#: An error of this share of the distance still leaves two digits.
RESOLVED = 0.01


def points(settings: Settings) -> list[Point]:
    names = numbers(settings, "problems", lambda name, value: check_choice(name, value, ("line", "plane", "random")))
    depths = numbers(settings, "depths", lambda name, value: check_number(name, value, at_least=2))
    decades = check_count("study.decades", settings["decades"], at_most=12)
    per_decade = check_count("study.per_decade", settings["per_decade"], at_most=100)
    kappa = check_number("study.sgd_kappa", settings["sgd_kappa"], above=0, at_most=0.3)
    budget = check_count("study.sgd_max_steps", settings["sgd_max_steps"])
    rtol = check_number("study.flow_rtol", settings["flow_rtol"], at_least=1e-13, at_most=1e-3)
    pairs = [{"problem": name, "p": p} for p in depths for name in names]
    found: list[Point] = [{**pair, "method": "limit", "decades": decades, "per_decade": per_decade} for pair in pairs]
    for power in _powers(settings, "flow_powers"):
        found += [{**pair, "method": "flow", "power": power, "rtol": rtol} for pair in pairs]
    for power in _powers(settings, "sgd_powers"):
        found += [{**pair, "method": "sgd", "power": power, "kappa": kappa, "max_steps": budget} for pair in pairs]
    return found


def _powers(settings: Settings, key: str) -> list[float]:
    return numbers(settings, key, lambda name, value: check_number(name, value, above=0))


def compute(point: Point) -> list[Row]:
    """A sweep of the limit, or one run of the flow or of SGD."""
    problem: Problem = getattr(paper, point["problem"])()
    if point["method"] == "limit":
        return _limit_rows(problem, point["p"], point["decades"], point["per_decade"])
    p, power = point["p"], point["power"]
    alpha = power ** (1 / p)
    limit = flow_limit(problem, p, alpha).psi
    if point["method"] == "flow":
        found = radau_limit(problem, p, alpha, point["rtol"])
        psi = None if found is None else torch.as_tensor(found)
    else:
        run = train(problem, p, alpha, kappa=point["kappa"], max_steps=point["max_steps"], references=False, tol=1e-12)
        psi = None if run.status.ended_badly else run.psi
    selected = selected_minimizer(problem, p).psi
    return [
        {
            "alpha": alpha,
            "distance": None if psi is None else norm(psi - selected),
            "difference_from_limit": None if psi is None else norm(psi - limit),
            "limit_distance": norm(limit - selected),
        }
    ]


def _limit_rows(problem: Problem, p: float, decades: int, per_decade: int) -> list[Row]:
    powers = 10.0 ** (-np.arange(decades * per_decade + 1) / per_decade)
    alphas = powers ** (1 / p)
    limit, selected, rate = flow_limit(problem, p, alphas), selected_minimizer(problem, p), predict_rate(problem, p)
    scale = norm(selected.psi)
    rows: list[Row] = []
    for index, (power, alpha) in enumerate(zip(powers, alphas, strict=True)):
        distance = norm(limit.psi[index] - selected.psi)
        noise = (float(limit.uncertainty[index]) + 4 * np.finfo(float).eps) * scale
        rows.append(
            {
                "power": float(power),
                "alpha": float(alpha),
                "distance": distance,
                "resolved": noise <= RESOLVED * distance,
                "predicted": None
                if rate.constant is None or rate.exponent is None
                else rate.constant * alpha**rate.exponent,
                "predicted_next": rate.error(float(alpha)),
                "exponent": None if rate.exponent is None else rate.exponent / p,
                "constant": rate.constant,
                "asymptotic_below": None if rate.alpha_asymptotic is None else rate.alpha_asymptotic**p,
            }
        )
    return rows


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    found: list[Claim] = []
    for name in values_of(rows, "problem"):
        for p in values_of(rows, "p"):
            mine = [row for row in select(rows, problem=name, p=p, method="limit") if row["resolved"]]
            found += _rate_claims(f"{name}, p = {p:g}", p, mine)
    flows, runs = select(rows, method="flow"), select(rows, method="sgd")
    worst = float(np.max(column(flows, "difference_from_limit")))
    found.append(at_most("limit against the flow integrated by Radau, largest difference", worst, 1e-9))
    first = [row for row in runs if row["power"] == max(values_of(runs, "power"))]
    departure = np.abs(column(first, "distance") / column(first, "limit_distance") - 1)
    label = f"SGD (κ = {settings['sgd_kappa']:g}) at αᵖ = {first[0]['power']:g}: its distance against the limit’s"
    found.append(at_most(f"{label}, largest relative difference", float(np.max(departure)), 0.05))
    return found


def _rate_claims(label: str, p: float, rows: list[Row]) -> list[Claim]:
    last = min(rows, key=lambda row: row["power"])
    slope = last_slope(column(rows, "power"), column(rows, "distance"))
    where = f"at αᵖ = {last['power']:.1e}"
    found = [slope_claim(f"{label}: slope {where}", p, last["exponent"], slope)]
    if last["predicted_next"] is not None:
        unit = last["alpha"] ** (last["exponent"] * p)
        predicted, measured = last["predicted_next"] / unit, last["distance"] / unit
        found.append(
            within(f"{label}: constant {where} (→ {last['constant']:.5g})", predicted, measured, 0.02, relative=True)
        )
    return found


STUDY = Study(
    summary="the convergence figures: distance to Wₚ against αᵖ, slope and constant",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)
