"""Generalised hardness of approximation: the family A = (1, 1 ∓ |δ|) read to b bits (the paper's section 5)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import linprog

from dlntorch.limit.flow_limit import flow_limit
from dlntorch.numerics.validation import check_choice, check_count, check_number
from dlntorch.problem import Problem
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
from dlntorch.studies.families import FAMILIES
from dlntorch.studies.gha_growth import growth_claims, growth_points, growth_rows
from dlntorch.studies.measure import radau_limit

__all__ = ["STUDY", "half_height", "rounded_away"]

#: At the midpoint the error exceeds 10^(−K) by the factor 1 + |δ|, which floats round away for the smallest δ.
ROUNDING = 1e-12

ABOUT = (
    "On A = (1, 1−δ), y = √2·10^(−K)(1+|δ|), the ℓ₁-minimiser is y e₁ for δ > 0 and y e₂/(1−δ) for δ < 0: more than "
    "2·10^(−K) apart. An algorithm reads A to b binary digits. Where |δ| < 2^(−b−1) it reads (1, 1) for both signs, gives "
    "one answer, and is further than 10^(−K) from one of the two. The midpoint is within 1.1·10^(−K) of both, so that "
    "10^(−(K−1)) is always to be had: the phase transition at K digits. It is a property of the input, not of an algorithm; "
    "the limit, the flow, SGD and linear programming all show it.",
    "Above that threshold the sign of δ is in the input, and the limit uses it once αᵖ/y is below (|δ|/c)^(p/(p−2)): the kink "
    "of the paper’s Figure 2. For every α there is a smaller δ for which it does not yet.",
    "The same beyond two numbers: 3×7 problems through one whose minimiser is not unique, one column times 1−δ, for K = 1 … 12 "
    "and every depth. And the network has a transition of its own: at a given α it follows the minimiser only for |δ| above an "
    "edge that falls like α^(p−2), the (p−2)/p-th power of αᵖ, and at p = 2 like 1/ln(1/α²).",
    "This is why the rate cannot be improved uniformly. A bound on ‖ψ_α − W‖ that goes to 0 with α for all A at once would "
    "make the limit at one small, known α an algorithm that decides the sign of every δ from finitely many digits.",
)


def points(settings: Settings) -> list[Point]:
    digits = numbers(settings, "digits", lambda name, value: check_count(name, value, at_most=12))
    bits = check_count("study.bits", settings["bits"], at_least=8, at_most=52)
    p = check_number("study.p", settings["p"], above=2)
    smallest = check_count("study.smallest_delta", settings["smallest_delta"], at_most=16)
    power = check_count("study.smallest_power", settings["smallest_power"], at_most=60)
    step = check_count("study.power_step", settings["power_step"], at_most=10)
    flows = numbers(settings, "flow_powers", lambda name, value: check_number(name, value, above=0, at_most=1))
    trained = numbers(settings, "sgd_powers", lambda name, value: check_number(name, value, above=0, at_most=1))
    deltas = numbers(settings, "run_deltas", lambda name, value: check_number(name, value, above=0, at_most=0.5))
    sgd = {
        "kappa": check_number("study.sgd_kappa", settings["sgd_kappa"], above=0, at_most=0.3),
        "max_steps": check_count("study.sgd_max_steps", settings["sgd_max_steps"]),
    }
    names = numbers(settings, "families", lambda name, value: check_choice(name, value, FAMILIES))
    depths = numbers(settings, "depths", lambda name, value: check_number(name, value, at_least=2, at_most=20))
    growing = numbers(settings, "transition_digits", lambda name, value: check_count(name, value, at_most=12))
    base = [{"digits": K, "bits": bits, "p": p} for K in digits]
    grid = {"smallest_power": power, "power_step": step}
    return [
        *({**b, "method": "sgd", "power": a, "delta": d, **sgd} for b in base for a in trained for d in deltas),
        *({**b, "method": "flow", "power": a, "delta": d} for b in base for a in flows for d in deltas),
        *({**b, "method": "limit", "delta": 10.0**-e, **grid} for b in base for e in range(1, smallest + 1)),
        *({**b, "method": "linprog", "delta": 10.0**-e} for b in base for e in range(1, smallest + 1)),
        *({**b, "method": "kink", "power": 10.0**-e} for b in base for e in (3, 6, 9)),
        *growth_points(names, depths, growing, bits),
    ]


def compute(point: Point) -> list[Row]:
    """The larger of the errors on +δ and −δ, as an algorithm that reads b bits has it."""
    if point["method"] in ("transition", "edge"):
        return growth_rows(point)
    p, K = point["p"], point["digits"]
    if point["method"] == "kink":
        return [_at_the_kink(p, K, point["power"])]
    pair = [(_read(sign * point["delta"], K, point["bits"]), _minimiser(sign * point["delta"], K)) for sign in (1, -1)]
    scale = math.sqrt(2) * 10.0**-K
    if point["method"] == "limit":
        powers = 10.0 ** -np.arange(1.0, point["smallest_power"] + 1, point["power_step"])
        alphas = (powers * scale) ** (1 / p)
        answers = [flow_limit(problem, p, alphas).psi.numpy() for problem, _ in pair]
        errors = [np.linalg.norm(psi - exact, axis=1) for psi, (_, exact) in zip(answers, pair, strict=True)]
        return [_row(K, float(max(both)), float(power)) for power, *both in zip(powers, *errors, strict=True)]
    found = [_solve(problem, point, scale) for problem, _ in pair]
    if any(psi is None for psi in found):
        return [{"error": None, "decimals": None}]
    return [_row(K, max(float(np.linalg.norm(psi - exact)) for psi, (_, exact) in zip(found, pair, strict=True)))]


def _solve(problem: Problem, point: Point, scale: float) -> np.ndarray | None:
    if point["method"] == "linprog":
        A, y = problem.A.numpy(), problem.y.numpy()
        answer = linprog(np.ones(4), A_eq=np.hstack([A, -A]), b_eq=y, method="highs")
        return None if answer.x is None else answer.x[:2] - answer.x[2:]
    p = point["p"]
    alpha = (point["power"] * scale) ** (1 / p)
    if point["method"] == "flow":
        return radau_limit(problem, p, alpha, rtol=1e-10)
    run = train(problem, p, alpha, kappa=point["kappa"], max_steps=point["max_steps"], tol=1e-9, references=False)
    return run.psi.numpy() if run.status == "converged" else None


def _row(K: int, error: float, power: float | None = None) -> Row:
    row: Row = {
        "error": error,
        "decimals": -math.log10(error) if error > 0 else 16.0,
        "has_K": error < 10.0**-K * (1 - ROUNDING),
    }
    row["has_K_minus_1"] = error <= 10.0 ** (1 - K)
    return row if power is None else {**row, "power": power}


def _read(delta: float, K: int, bits: int) -> Problem:
    """(A, y) as it is read: each number rounded to so many binary digits."""
    y = math.sqrt(2) * 10.0**-K * (1 + abs(delta))
    return Problem([[1.0, _round(1 - delta, bits)]], [_round(y, bits)], name="gha")


def _round(x: float, bits: int) -> float:
    mantissa, exponent = math.frexp(x)
    return math.ldexp(round(math.ldexp(mantissa, bits)), exponent - bits)


def _minimiser(delta: float, K: int) -> np.ndarray:
    """Of the exact problem, in closed form."""
    y = math.sqrt(2) * 10.0**-K * (1 + abs(delta))
    return np.array([y, 0.0]) if delta > 0 else np.array([0.0, y / (1 - delta)])


def rounded_away(delta: float, bits: int) -> bool:
    """Whether the signs of δ cannot be told apart from b bits of A."""
    return delta < 2.0 ** (-bits - 1)


def half_height(power: float, p: float) -> float:
    """|δ| at which the limit is half way from the midpoint to the minimiser, where αᵖ/y = power ≪ 1."""
    one_over_k = (p - 2) / p
    return power**one_over_k * (2**one_over_k - 1) * 1.5**one_over_k


def _at_the_kink(p: float, K: int, power: float) -> Row:
    """ψ₁/y of the exact problem at the predicted δ; half way is 2/3."""
    delta, scale = half_height(power, p), math.sqrt(2) * 10.0**-K
    psi = flow_limit(Problem([[1.0, 1.0 - delta]], [scale], name="gha"), p, (power * scale) ** (1 / p)).psi
    return {"delta": delta, "share": float(psi[0] / (psi[0] + psi[1]))}


# -- claims -------------------------------------------------------------------------------------------------------


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    found: list[Claim] = []
    bits = settings["bits"]
    grown = [row for row in rows if row["method"] in ("transition", "edge")]
    rows = [row for row in rows if row["method"] not in ("transition", "edge")]
    answers = [row for row in rows if row["method"] != "kink" and row["error"] is not None]
    for K in values_of(answers, "digits"):
        mine = select(answers, digits=K)
        lost = [row for row in mine if rounded_away(row["delta"], bits)]
        label = f"K = {K}, |δ| < 2^−{bits + 1}, {_names(lost)}, every α"
        right = float(sum(row["has_K"] for row in lost)) if lost else None
        found.append(within(f"{label}: answers with K digits on both signs", 0.0, right, 0.0))
        share = float(np.mean([row["has_K_minus_1"] for row in mine]))
        found.append(within(f"K = {K}, every δ and α: share of answers with K − 1 digits", 1.0, share, 0.0))
        seen = [row for row in mine if row["delta"] > 2.0 ** (2 - bits) and row["method"] != "linprog"]
        share = float(np.mean([row["has_K"] for row in seen])) if seen else None
        label = f"K = {K}, |δ| > 2^−{bits - 2}, {_names(seen)}: share of answers with K digits"
        found.append(within(label, 1.0, share, 0.0))
        limit = select(mine, method="limit")
        least = min(
            max(row["error"] for row in select(limit, power=power) if row["delta"] > 2.0 ** (2 - bits) / 100)
            for power in values_of(limit, "power")
        )
        label = f"K = {K}: 10^−K over the limit’s worst error over δ, for the most favourable α"
        hidden = any(row["method"] == "limit" for row in lost)  # without such a δ the smallest α has the digits
        found.append(at_most(label, 10.0**-K / least if hidden else None, 1.0))
    return found + _kink_claims(select(rows, method="kink")) + growth_claims(grown)


def _names(rows: Sequence[Row]) -> str:
    return ", ".join(values_of(rows, "method")) or "no such δ"


def _kink_claims(rows: Sequence[Row]) -> list[Claim]:
    smallest = select(rows, power=min(values_of(rows, "power")))
    share = column(smallest, "share")
    worst = float(share[np.argmax(np.abs(share - 2 / 3))])
    label = f"ψ₁/(ψ₁+ψ₂) at the predicted kink, αᵖ/y = {smallest[0]['power']:g} (furthest of all K)"
    return [within(label, 2 / 3, worst, 0.01)]


STUDY = Study(
    summary="hardness: with inputs of b bits, K digits are out of reach and K − 1 are not",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)
