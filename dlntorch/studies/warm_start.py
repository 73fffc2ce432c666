"""Warm starts: where the flow ends that begins at an old answer, or at a wrong guess."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linprog

from dlntorch.limit.flow_limit import flow_limit
from dlntorch.model import Initialization
from dlntorch.model.depth_law import depth_law
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import check_count, check_number
from dlntorch.problem import Problem
from dlntorch.studies.base import Claim, Point, Row, Settings, Study, at_most, column, holds, numbers, select, values_of
from dlntorch.studies.measure import largest, smallest

__all__ = ["STUDY"]

ABOUT = (
    "A warm start begins at ψ(0) = ψ₀ with the smaller of θ± at α. Its flow ends at the Bregman projection of ψ₀ on {Aψ = y}. As "
    "α → 0 that is a linear programme: coordinates that ψ₀ has are free in its sign and cost twice in the other; the rest costs "
    "once. So a warm start is not a faster road to the same answer: it keeps what it was given.",
    "From the answer to nearby data, with the same signs, it ends at the new answer, even where a cold start finds another "
    "vector of smaller ℓ₁ norm. From a guess with coordinates that the answer does not have, it ends elsewhere, at any α.",
)


def points(settings: Settings) -> list[Point]:
    depths = numbers(settings, "depths", lambda name, value: check_number(name, value, at_least=2))
    powers = numbers(settings, "powers", lambda name, value: check_number(name, value, above=0, at_most=0.1))
    m = check_count("study.m", settings["m"], at_least=2)
    shared = {
        "m": m,
        "n": check_count("study.n", settings["n"], at_least=m + 1),
        "nonzeros": check_count("study.nonzeros", settings["nonzeros"], at_most=m - 1),
        "change": check_number("study.change", settings["change"], above=0, at_most=0.9),
    }
    return [
        {"p": p, "power": power, "seed": seed, "start": start, **shared}
        for start in ("cold", "old answer", "wrong guess")
        for p in depths
        for seed in range(check_count("study.seeds", settings["seeds"]))
        for power in powers
    ]


def problem_of(point: Point) -> tuple[Problem, np.ndarray, np.ndarray]:
    """The problem, its planted signal, and the vector ψ₀ of the start."""
    rng = np.random.default_rng([point["seed"], point["m"], point["n"]])
    A = rng.standard_normal((point["m"], point["n"]))
    new, old = np.zeros((2, point["n"]))
    where = rng.choice(point["n"], point["nonzeros"], replace=False)
    old[where] = rng.choice([-1, 1], where.size) * rng.uniform(0.5, 1.5, where.size)
    new[where] = old[where] * (1 + point["change"] * rng.uniform(-1, 1, where.size))
    wrong = rng.standard_normal(point["n"])
    begin = {"cold": np.zeros_like(new), "old answer": old, "wrong guess": wrong}[point["start"]]
    return Problem(A, A @ new, name="planted"), new, begin


def compute(point: Point) -> list[Row]:
    problem, signal, begin = problem_of(point)
    alpha = point["power"] ** (1 / point["p"])
    limit = flow_limit(problem, point["p"], Initialization.warm(begin, alpha, point["p"]))
    if limit.status is Status.FAILED:
        return [{"status": str(limit.status), "distance": None, "excess": None, "l1": None}]
    psi = limit.psi.numpy()
    least, costs = projection_cost(problem, begin)
    return [
        {
            "status": str(limit.status),
            "distance": float(np.linalg.norm(psi - signal)),
            "excess": float(costs @ np.concatenate([np.maximum(psi, 0), np.maximum(-psi, 0)]) - least),
            "l1": float(np.abs(psi).sum()),
        }
    ]


def projection_cost(problem: Problem, begin: np.ndarray) -> tuple[float, np.ndarray]:
    """The least cost of the limit's linear programme and its costs of ψ⁺ and ψ⁻: 1 − σ₀ and 1 + σ₀, σ₀ = sign ψ₀."""
    sign = np.sign(begin)
    costs = np.concatenate([1 - sign, 1 + sign])
    A = problem.A.numpy()
    found = linprog(costs, A_eq=np.hstack([A, -A]), b_eq=problem.y.numpy(), method="highs")
    return float(found.fun), costs


# -- claims -------------------------------------------------------------------------------------------------------


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    found: list[Claim] = []
    last = min(values_of(rows, "power"))
    for p in values_of(rows, "p"):
        mine = select(rows, p=p)
        ends = select(mine, power=last)
        bound = 5 * depth_law(p).relative_cost(last ** (1 / p))
        for start in ("old answer", "wrong guess"):
            excess = column(select(ends, start=start), "excess")
            label = f"p = {p:g}, {start}: cost above the linear programme's least, largest, at αᵖ = {last:g}"
            found.append(at_most(label, largest(excess), float(bound)))
        cold, warm = (largest(column(select(ends, start=start), "distance")) for start in ("cold", "old answer"))
        if depth_law(p).error_exponent is not None:
            found.append(at_most(f"p = {p:g}, old answer: distance to the new one, largest", warm, 1e3 * last))
        least = smallest(column(select(ends, start="wrong guess"), "distance"))
        good = None if least is None or warm is None else least > 0.1 > warm
        measured = ", ".join("none" if value is None else f"{value:.2g}" for value in (cold, warm, least))
        claim = f"p = {p:g}: distances from a cold start and the old answer (largest) and from a wrong guess (least)"
        found.append(holds(claim, "the wrong guess stays away", measured, good, "> 0.1 > old answer"))
    return found


STUDY = Study(
    summary="warm starts: the Bregman projection of the start, from an old answer and from a wrong guess",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)
