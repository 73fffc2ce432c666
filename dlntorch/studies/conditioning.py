"""Null-space condition against constant, exponent, digits and time (the paper's experiment 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from dlntorch.flow.integrate import integrate_flow
from dlntorch.limit.flow_limit import flow_limit
from dlntorch.model.depth_law import depth_law
from dlntorch.model.dual import relaxation_time
from dlntorch.numerics.validation import InputError, check_count, check_number
from dlntorch.problem import Problem
from dlntorch.problem.synthetic import ill_conditioned
from dlntorch.reference.rate import predict_rate
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
from dlntorch.studies.measure import fitted_slope, norm

__all__ = ["STUDY"]

ABOUT = (
    "The ℓ₁-minimiser is unique as long as every vector of the kernel of A has less weight on the support, counted with "
    "signs, than off it; ϱ < 1 is the largest share. The problems here are made so that 1/(1−ϱ) is a dial, and nothing "
    "else changes.",
    "For p > 2 the rate αᵖ stays, and all of the condition goes into the constant, which grows like (1−ϱ)^(−p/(p−2)): "
    "depth helps. At p = 2 it goes into the exponent, 1−ϱ in α²: at a condition of 100 the distance falls by 2 % for "
    "each factor 10 in α², and no α that float64 has is small enough.",
    "Digits are lost in proportion to the condition for p > 2: rounding A moves 1−ϱ by a relative ε/(1−ϱ), and ψ with it; "
    "at p = 2 there is no pole to come near to. The time to converge is another matter. The flow’s tail takes "
    "1/λ_min(A D Aᵀ), D = p²(θ₊^(2p−2) + θ₋^(2p−2)) at the limit, for a factor e. It grows like the square of the ordinary "
    "condition number of the support’s columns and hardly sees the null space.",
)
#: An error of this share of the distance still leaves two digits.
RESOLVED = 0.01
#: The residuals between which the rate of the flow's tail is measured.
TAIL = (1e-5, 1e-8)


def points(settings: Settings) -> list[Point]:
    depths = numbers(settings, "depths", lambda name, value: check_number(name, value, at_least=2))
    time_depths = numbers(settings, "time_depths", lambda name, value: check_number(name, value, at_least=2))
    supports = numbers(
        settings, "support_conditions", lambda name, value: check_number(name, value, at_least=1, at_most=1e6)
    )
    m, n = (check_count(f"study.{key}", settings[key], at_least=2) for key in ("m", "n"))
    if m >= n:
        raise InputError(f"study.m must be < study.n, got {m} and {n}")
    data = {"m": m, "n": n, "seed": check_count("study.seed", settings["seed"], at_least=0)}
    decades = check_count("study.decades", settings["decades"], at_least=3, at_most=8)  # slopes from 100 on
    smallest = check_count("study.smallest_power", settings["smallest_power"], at_least=2, at_most=60)
    power = check_number("study.time_power", settings["time_power"], above=0, at_most=1)
    conditions = [10.0**exponent for exponent in range(decades + 1)]
    times = [(10.0, support) for support in supports] + [(c, supports[0]) for c in (1.0, conditions[-1])]
    return [
        *(
            {"kind": "time", "p": p, "condition": c, "support_condition": s, **data, "power": power}
            for p in time_depths
            for c, s in reversed(times)
        ),
        *(
            {"kind": "sweep", "p": p, "condition": c, "support_condition": 1.0, **data, "smallest_power": smallest}
            for p in depths
            for c in conditions
        ),
    ]


def compute(point: Point) -> list[Row]:
    """A sweep of the limit over α, or the tail of one flow."""
    m, n, seed = point["m"], point["n"], point["seed"]
    problem = ill_conditioned(m, n, m, point["condition"], point["support_condition"], seed)
    if point["kind"] == "time":
        return [_tail(problem, point["p"], point["power"])]
    return _sweep(problem, point["p"], point["smallest_power"])


def _sweep(problem: Problem, p: float, smallest: int) -> list[Row]:
    powers = 10.0 ** -np.arange(1.0, smallest + 1)
    alphas = powers ** (1 / p)
    limit, rate = flow_limit(problem, p, alphas), predict_rate(problem, p)
    selected = _truth(problem)  # planted: exact, without an LP
    scale = norm(selected)
    rows: list[Row] = []
    for index, (power, alpha) in enumerate(zip(powers, alphas, strict=True)):
        distance = norm(limit.psi[index] - selected)
        digits = float(limit.uncertainty[index]) + 4 * np.finfo(float).eps
        rows.append(
            {
                "power": float(power),
                "distance": distance,
                "uncertainty": digits,
                "resolved": digits * scale <= RESOLVED * distance,
                "constant": rate.constant,
                "exponent": None if rate.exponent is None else rate.exponent / p,
                "predicted_next": rate.error(float(alpha)),
                "asymptotic_below": None if rate.alpha_asymptotic is None else rate.alpha_asymptotic**p,
                "selected_error": norm(rate.selected.psi - selected),
            }
        )
    return rows


def _tail(problem: Problem, p: float, power: float) -> Row:
    """How fast the flow's residual falls at its end, and what the linearization at the limit predicts."""
    alpha = power ** (1 / p)
    limit = flow_limit(problem, p, alpha)
    predicted = relaxation_time(problem, p, alpha, limit)
    unit = alpha ** (2 - p)
    times = np.geomspace(0.1 * min(unit, predicted), 1e3 * unit + 100 * predicted, 400)
    path = integrate_flow(problem, p, alpha, times, rtol=1e-11, stop_residual=TAIL[1])
    residual = problem.relative_residual(path.psi).numpy()
    inside = (residual <= TAIL[0]) & (residual >= TAIL[1] / 2)
    measured = None
    if path.status == "converged" and inside.sum() >= 4:
        measured = -1 / float(np.polyfit(path.t.numpy()[inside], np.log(residual[inside]), 1)[0])
    return {"relaxation": predicted, "measured_relaxation": measured, "time": float(path.t[-1]), "unit": unit}


def _truth(problem: Problem) -> torch.Tensor:
    if problem.truth is None:
        raise LookupError("the problem of this study is planted")
    return problem.truth


# -- claims -------------------------------------------------------------------------------------------------------


def last_resolved(rows: Sequence[Row]) -> Row | None:
    """The row of the smallest α whose distance float64 still knows to two digits."""
    good = [row for row in rows if row["resolved"]]
    return min(good, key=lambda row: row["power"]) if good else None


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    sweeps = select(rows, kind="sweep")
    error = float(np.max(column(sweeps, "selected_error")))
    found = [at_most("Wₚ found against the planted minimiser, all conditions, largest difference", error, 1e-12)]
    for p in values_of(sweeps, "p"):
        mine = select(sweeps, p=p)
        found += _exponents(mine) if depth_law(p).error_exponent is None else _constants(p, mine)
        found.append(_digits(p, mine))
    times = select(rows, kind="time")
    for p in values_of(times, "p"):
        found += _times(p, select(times, p=p))
    return found


def _exponents(rows: list[Row]) -> list[Claim]:
    """At p = 2, where the asymptote is reached: the local slope."""
    found = []
    for condition in values_of(rows, "condition"):
        mine = select(rows, condition=condition)
        last = last_resolved(mine)
        if last is None or last["asymptotic_below"] is None or last["power"] > last["asymptotic_below"]:
            continue
        before = min((row for row in mine if row["power"] > last["power"]), key=lambda row: row["power"], default=None)
        if before is None:
            continue
        slope = math.log10(before["distance"] / last["distance"]) / math.log10(before["power"] / last["power"])
        label = f"p = 2, condition {condition:g}: slope in α² at {last['power']:.0e}"
        found.append(within(label, last["exponent"], slope, 0.03))
    return found


def _constants(p: float, rows: list[Row]) -> list[Claim]:
    conditions = [c for c in values_of(rows, "condition") if c >= 10]
    lasts = [last_resolved(select(rows, condition=c)) for c in conditions]
    good = [row for row in lasts if row is not None and row["predicted_next"] is not None]
    found = []
    for row in (*good[:1], *good[1:][-1:]):  # first and last
        unit = row["power"]
        label = f"p = {p:g}, condition {row['condition']:g}: ‖ψ − W‖/αᵖ at αᵖ = {unit:.0e} (→ {row['constant']:.4g})"
        found.append(within(label, row["predicted_next"] / unit, row["distance"] / unit, 0.02, relative=True))
    steep = [row for row in good if row["condition"] >= 100]
    sizes = column(steep, "distance") / column(steep, "power")
    slope = fitted_slope(np.log10(column(steep, "condition")), np.log10(sizes))
    label = f"p = {p:g}: power of the condition in the constant, from 100 on"
    return [*found, within(label, depth_law(p).k, slope, 0.02, relative=True)]


def _digits(p: float, rows: list[Row]) -> Claim:
    """The relative uncertainty at the smallest α, as a power of the condition; at p = 2 it is that of W itself."""
    ends = [
        min(select(rows, condition=c), key=lambda row: row["power"]) for c in values_of(rows, "condition") if c >= 100
    ]
    slope = fitted_slope(np.log10(column(ends, "condition")), np.log10(column(ends, "uncertainty")))
    predicted = float(depth_law(p).has_pole)  # what has no pole loses none
    return within(f"p = {p:g}: power of the condition in the digits lost", predicted, slope, 0.1)


def _times(p: float, rows: list[Row]) -> list[Claim]:
    found = []
    for row in sorted(rows, key=lambda row: (row["support_condition"], row["condition"])):
        label = f"p = {p:g}, cond(A_S) = {row['support_condition']:g}, condition {row['condition']:g}: time of the flow’s tail"
        found.append(within(label, row["relaxation"], row["measured_relaxation"], 0.05, relative=True))
    same = select(rows, support_condition=min(values_of(rows, "support_condition")))
    predicted, measured = (column(same, name) for name in ("relaxation", "measured_relaxation"))
    label = f"p = {p:g}: the flow’s tail over all null-space conditions, largest time over smallest"
    expected, seen = (float(np.max(times) / np.min(times)) for times in (predicted, measured))
    return [*found, within(label, expected, seen, 0.05, relative=True)]


STUDY = Study(
    summary="the null-space condition from 1 to 1e8: constant, exponent, digits and time",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)
