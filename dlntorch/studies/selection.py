"""Many ℓ1-minimisers: which one each depth selects, and how the limit approaches it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import boxcox, entr, inv_boxcox

from dlntorch.limit.flow_limit import flow_limit
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import check_count, check_number
from dlntorch.problem import Problem, paper
from dlntorch.reference.rate import predict_rate
from dlntorch.reference.selection import selected_minimizer
from dlntorch.studies.base import (
    Claim,
    Point,
    Row,
    Settings,
    Study,
    at_most,
    column,
    holds,
    numbers,
    select,
    values_of,
    within,
)
from dlntorch.studies.measure import norm

__all__ = ["STUDY"]

ABOUT = (
    "Where many vectors attain the minimum of ‖ψ‖₁, the depth decides which one the network finds. ‘mean’: A has the rows "
    "(1, …, 1) and (0, 1, …, N−1), and y = (1, μ). Every probability distribution on 0, …, N−1 with mean μ is an ℓ₁-minimiser. "
    "Depth 2 selects the one of maximum entropy, the Gibbs distribution ψᵢ ∝ e^(−βi); depth p > 2 selects a power law, "
    "ψᵢ = (a + b i)^(−p/(p−2)), with tails that grow heavier as p grows, towards the one that maximises Σ log ψᵢ.",
    "‘line’ is the paper's segment (1−t, 2(1−t), 3t), on which t is known in closed form.",
    "In both, the limit of the network approaches what is selected like C·αᵖ for p > 2.",
)


def points(settings: Settings) -> list[Point]:
    depths = numbers(settings, "depths", lambda name, value: check_number(name, value, at_least=2, at_most=100))
    outcomes = check_count("study.outcomes", settings["outcomes"], at_least=3, at_most=1000)
    mean = check_number("study.mean", settings["mean"], above=0, at_most=outcomes - 1.001)
    powers = numbers(settings, "powers", lambda name, value: check_number(name, value, above=0, at_most=1))
    shapes: list[Point] = [{"problem": "line"}, {"problem": "mean", "outcomes": outcomes, "mean": mean}]
    return [{**shape, "p": p, "power": power} for p in depths for shape in shapes for power in powers]


def problem_of(point: Point) -> Problem:
    """The segment of the paper, or the distributions with a given mean."""
    if point["problem"] == "line":
        return paper.line()
    return Problem([[1.0] * point["outcomes"], np.arange(point["outcomes"])], [1.0, point["mean"]], name="mean")


def closed_form(point: Point) -> np.ndarray:
    """W_p without this package: the two multipliers of the stationarity conditions by bisection."""
    p = point["p"]
    if point["problem"] == "line":
        t = line_parameter(p)
        return np.array([1 - t, 2 * (1 - t), 3 * t])
    x, mean = np.arange(point["outcomes"], dtype=float), point["mean"]

    falling = x if mean < x.mean() else x[::-1]

    def weights(slope: float) -> np.ndarray:
        """Power laws (1 + slope·x/k)^{−k}, k = p/(p − 2), of which Gibbs's e^{−slope·x} is the limit p → 2."""
        raw = inv_boxcox(-slope * falling, 2 / p - 1)
        return raw / raw.sum()

    slope: Any = brentq(lambda value: float(weights(value) @ x - mean), 0.0, 1e13, xtol=1e-15, maxiter=1000)
    return weights(slope)


def line_parameter(p: float) -> float:
    """t of W_p on the segment (1 − t, 2(1 − t), 3t), the paper's formula."""
    power = 2 / p - 1  # 1 + power·boxcox(x, power) = x^power, and at power 0 boxcox is the logarithm
    slope = (3 * boxcox(3, power) - 2 * boxcox(2, power)) / (1 + 2 ** (1 + power))
    return float(1 / (1 + inv_boxcox(slope, power)))


def compute(point: Point) -> list[Row]:
    """W_p, its entropy and its closed form, and the limit at one α^p; a row for each coordinate."""
    problem, p = problem_of(point), float(point["p"])
    chosen, rate = selected_minimizer(problem, p), predict_rate(problem, p)
    alpha = point["power"] ** (1 / p)
    limit = flow_limit(problem, p, alpha).psi
    found = chosen.status is not Status.FAILED  # else psi is some minimiser, and not the selected one
    psi = chosen.psi.numpy()
    common = {
        "distance": norm(limit - chosen.psi) if found else None,
        "predicted": rate.error(alpha),
        "constant": rate.constant,
        "entropy": float(np.sum(entr(psi / psi.sum()))) if found else None,
    }
    exact = closed_form(point)
    return [
        {
            "coordinate": i,
            "selected": float(psi[i]) if found else None,
            "closed_form": float(exact[i]),
            "limit": float(limit[i]),
            **common,
        }
        for i in range(problem.n)
    ]


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    found: list[Claim] = []
    for name in values_of(rows, "problem"):
        mine = select(rows, problem=name)
        error = np.abs(column(mine, "selected") - column(mine, "closed_form")).max()
        found.append(at_most(f"{name}: Wₚ against its closed form, largest error over all p", float(error), 1e-9))
        found += _approach(name, select(mine, coordinate=0))
    first = select(rows, problem="mean", coordinate=0, power=max(values_of(rows, "power")))
    known = [row for row in first if row["entropy"] is not None]
    entropies = [row["entropy"] for row in sorted(known, key=lambda row: row["p"])]
    falls = None if len(entropies) < 2 else all(after < before for before, after in pairwise(entropies))
    span = f"{entropies[0]:.4f} → {entropies[-1]:.4f}" if entropies else "none found"
    found.append(
        holds(
            "mean: entropy of Wₚ falls as p grows, largest at p = 2",
            "falls",
            span,
            falls,
            f"each of {max(0, len(entropies) - 1)} differences < 0",
        )
    )
    return found


def _approach(name: str, rows: list[Row]) -> list[Claim]:
    """The limit's distance at the smallest α^p where the next term is small, over its prediction."""
    ratios = []
    for p in (p for p in values_of(rows, "p") if p >= 3):
        last = min(select(rows, p=p), key=lambda row: row["power"])
        if last["predicted"] and last["distance"] is not None:
            ratios.append(last["distance"] / last["predicted"])
    if not ratios:
        return []
    worst = max(ratios, key=lambda ratio: abs(np.log(ratio)))
    return [within(f"{name}: distance of the limit over predicted, worst p ≥ 3", 1.0, float(worst), 0.05)]


STUDY = Study(
    summary="many minimisers: which one each depth selects, from maximum entropy to heavy tails",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)
