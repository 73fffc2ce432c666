"""Shapes of the initialization: the weighted norm that p > 2 minimises, the shaped entropy that p = 2 selects by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dlntorch.limit.flow_limit import flow_limit
from dlntorch.model import Initialization
from dlntorch.model.depth_law import depth_law
from dlntorch.numerics.validation import check_count, check_number
from dlntorch.problem import Problem, paper
from dlntorch.reference.l1_minimizer import l1_minimizer
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
from dlntorch.studies.measure import largest, local_slopes, norm

__all__ = ["STUDY"]

ABOUT = (
    "A network that starts at θ±(0) = α a± keeps the shape a in its answer, however small α is. For p > 2 the limit α → 0 is the "
    "minimiser of the weighted norm Σ w₊ψ⁺ + w₋ψ⁻ with w± = a±^(2−p): a coordinate that starts smaller costs more. The shape "
    "changes which vector is found even where the ℓ₁-minimiser is unique.",
    "At p = 2 the norm stays the plain ℓ₁ norm. The shape only shows where there are several minimisers: the one that minimises "
    "Σ|ψ|(ln|ψ| − 1 − ln a²) is selected, a maximum of relative entropy.",
)


def points(settings: Settings) -> list[Point]:
    depths = numbers(settings, "depths", lambda name, value: check_number(name, value, at_least=2))
    powers = numbers(settings, "powers", lambda name, value: check_number(name, value, above=0, at_most=0.1))
    m = check_count("study.m", settings["m"], at_least=1)
    shared = {
        "m": m,
        "n": check_count("study.n", settings["n"], at_least=m + 1),
        "seed": check_count("study.seed", settings["seed"], at_least=0),
        "spread": check_number("study.spread", settings["spread"], above=0, at_most=2),
    }
    shapes = range(check_count("study.shapes", settings["shapes"]))
    return [
        {"problem": name, "p": p, "shape": shape, "power": power, **shared}
        for name in ("gaussian", "line")
        for p in depths
        for shape in shapes
        for power in powers
        if name == "gaussian" or not depth_law(p).shapes_norm  # weights decide between the segment's ends for p > 2
    ]


def problem_of(point: Point) -> Problem:
    """A Gaussian problem, whose minimiser is unique, or the paper's segment of minimisers."""
    if point["problem"] == "line":
        return paper.line()
    rng = np.random.default_rng([point["seed"], 0])
    return Problem(rng.standard_normal((point["m"], point["n"])), rng.standard_normal(point["m"]), name="gaussian")


def shape_of(point: Point, n: int) -> Initialization:
    """a₊ and a₋, log-normal."""
    rng = np.random.default_rng([point["seed"], 1, point["shape"]])
    return Initialization(*np.exp(point["spread"] * rng.standard_normal((2, n))))


def compute(point: Point) -> list[Row]:
    problem, p = problem_of(point), point["p"]
    shape = shape_of(point, problem.n)
    selected = selected_minimizer(problem, p, alpha=shape).psi
    plain = selected_minimizer(problem, p).psi
    psi = flow_limit(problem, p, shape.scaled(point["power"] ** (1 / p))).psi
    row: Row = {
        "distance_to_shaped": norm(psi - selected),
        "distance_to_plain": norm(psi - plain),
        "shaped_from_plain": norm(selected - plain),
        "l1_excess": float(psi.abs().sum()) - float(l1_minimizer(problem).value),
    }
    if depth_law(p).shapes_norm:
        weights = [side ** (2 - p) for side in shape.expanded(problem.n)]
        row["shaped_from_weighted"] = norm(selected - l1_minimizer(problem, weights=tuple(weights)).psi)
    else:
        row["shaped_from_weighted"] = (
            None if point["problem"] == "gaussian" else norm(selected - _entropic(problem, shape))
        )
    return [row]


def _entropic(problem: Problem, shape: Initialization) -> torch.Tensor:
    """min Σψ(ln ψ − 1 − ln a₊²) on the paper's segment (1 − t, 2(1 − t), 3t), by bisection on its slope in t."""
    weights = (shape.expanded(problem.n)[0] ** 2).numpy()
    low, high = 0.0, 1.0
    for _ in range(200):
        t = 0.5 * (low + high)
        psi = np.array([1 - t, 2 * (1 - t), 3 * t])
        slope = np.array([-1.0, -2.0, 3.0]) @ (np.log(psi) - np.log(weights))
        low, high = (t, high) if slope < 0 else (low, t)
    return torch.from_numpy(psi)


# -- claims -------------------------------------------------------------------------------------------------------


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    found: list[Claim] = []
    gaussian, line = select(rows, problem="gaussian"), select(rows, problem="line")
    apart = column(rows, "shaped_from_weighted")
    found.append(
        at_most("selected by a shape against a linear programme (p > 2) and a bisection (p = 2)", largest(apart), 1e-9)
    )
    for p in values_of(gaussian, "p"):
        mine = select(gaussian, p=p)
        smallest = select(mine, power=min(values_of(mine, "power")))
        if depth_law(p).shapes_norm:
            slopes = [_slope(select(mine, shape=shape)) for shape in values_of(mine, "shape")]
            known = [slope for slope in slopes if slope is not None]
            slope = float(np.median(known)) if known else None
            # At p = 2.5 the terms are α^{1/2} apart only: the asymptote is far (theory of the rate).
            tolerance = 0.1 if p < 3 else 0.05
            words = f"p = {p:g}: slope of ‖limit − weighted minimiser‖ in αᵖ, extrapolated to α = 0"
            found.append(within(words, 1.0, slope, tolerance))
            moved = [row for row in smallest if row["shaped_from_plain"] > 1e-6]
            words = f"{len(moved)} of {len(smallest)} shapes"
            near = all(row["distance_to_shaped"] < row["distance_to_plain"] for row in moved)
            good = near if moved else None
            found.append(
                holds(f"p = {p:g}: shapes that change the answer", "their limits go with them", words, good, "all")
            )
        else:
            found.append(
                at_most(
                    "p = 2: the shaped minimiser against the plain one, unique minimiser",
                    largest(column(mine, "shaped_from_plain")),
                    1e-9,
                )
            )
    if line:
        last = select(line, power=min(values_of(line, "power")))
        share = column(last, "distance_to_shaped") / column(last, "shaped_from_plain")
        found.append(
            at_most("p = 2, many minimisers: distance to the shaped over the plain selection", largest(share), 0.01)
        )
    return found


def _slope(rows: Sequence[Row]) -> float | None:
    """The slope at α = 0 from the last two local ones, which approach it like α^{p−2}; None where there are not two."""
    powers, distances = column(rows, "power"), column(rows, "distance_to_shaped")
    if len(powers) < 3:
        return None
    order = np.argsort(powers)[:3]
    middles, slopes = local_slopes(powers[order], distances[order])
    ratio = (middles[0] / middles[1]) ** ((rows[0]["p"] - 2) / rows[0]["p"])
    return float((slopes[0] - ratio * slopes[1]) / (1 - ratio))


STUDY = Study(
    summary="shapes of the initialization: the weighted norm of p > 2 against the shaped entropy of p = 2",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)
