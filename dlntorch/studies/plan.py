"""From an accuracy to a run: what was asked, what the plan predicted, and what the run reached."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dlntorch.model.metrics import distance
from dlntorch.numerics.validation import check_count, check_number
from dlntorch.problem import Problem, synthetic
from dlntorch.reference.selection import selected_minimizer
from dlntorch.run import train
from dlntorch.run.accuracy import plan
from dlntorch.studies.base import Claim, Point, Row, Settings, Study, at_most, column, select

__all__ = ["STUDY"]

ABOUT = (
    "A user who needs ‖ψ − Wₚ‖ ≤ 1e-4 should not have to know p, α and κ. The plan finds them without training: limits for the "
    "largest α, one flow for each candidate, and the effective initialization, α shrunk by the squares of the steps, for the "
    "largest κ. The run stops where the flow from there has come near enough to Wₚ to stay there.",
    "Each point is one random problem, generic or with a planted sparse signal, and one accuracy; the plan is made, and the "
    "run it describes. Runs of more steps than the study’s limit are planned and not made.",
)


def points(settings: Settings) -> list[Point]:
    seeds = check_count("study.seeds", settings["seeds"], at_most=100_000)
    first = check_count("study.first", settings["first"], at_least=0)
    rows = check_count("study.rows", settings["rows"], at_least=3, at_most=1000)
    least = check_number("study.least", settings["least"], above=0)
    most = check_number("study.most", settings["most"], above=least)
    limit = check_count("study.max_steps", settings["max_steps"])
    return [
        {"seed": seed, "rows": rows, "least": least, "most": most, "max_steps": limit}
        for seed in range(first, first + seeds)
    ]


def problem_of(point: Point) -> tuple[Problem, float, str]:
    """The random problem of a point, the accuracy that is asked, and the problem's family."""
    rng = np.random.default_rng(point["seed"])
    m = int(rng.integers(3, point["rows"] + 1))
    n = int(rng.integers(m + 2, 4 * m))
    accuracy = math.exp(rng.uniform(math.log(point["least"]), math.log(point["most"])))
    if point["seed"] % 2:
        return synthetic.gaussian(m, n, point["seed"]), accuracy, "generic"
    return synthetic.sparse(m, n, max(1, m // 3), 0.0, point["seed"]), accuracy, "sparse"


def compute(point: Point) -> list[Row]:
    """One plan and its run."""
    problem, accuracy, family = problem_of(point)
    made = plan(problem, accuracy)
    row: Row = {"family": family, "m": problem.m, "n": problem.n, "accuracy": accuracy, "planned": made.p is not None}
    row |= {"plan_status": str(made.status), "reason": made.reason, "reachable": made.reachable, "run": False}
    if made.p is None or made.steps is None:
        return [row]
    row |= {"p": made.p, "alpha": made.alpha, "kappa": made.kappa, "predicted_steps": made.steps}
    row |= {"predicted_error": made.budget["error"]}
    if made.steps > point["max_steps"]:
        return [row]
    run = train(
        problem, made.p, made.alpha or 0.0, kappa=made.kappa, tol=made.tol or 0.0, max_time=made.max_time,
        max_steps=10 * point["max_steps"], references=False,
    )  # fmt: skip
    error = float(distance(run.psi, selected_minimizer(problem, made.p).psi))
    return [{**row, "run": True, "error": error, "steps": run.summary["steps"], "status": str(run.status)}]


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    runs = select(rows, run=True)
    label = f"{len(runs)} runs"
    if not runs:
        return [at_most(f"{label}: share that misses the accuracy", None, 0.01)]
    ratio = column(runs, "error") / column(runs, "accuracy")
    steps = column(runs, "steps") / column(runs, "predicted_steps")
    return [
        at_most(f"{label}: share that misses the accuracy", float((ratio > 1).mean()), 0.01),
        at_most(f"{label}: worst error over the accuracy", float(ratio.max()), 2.0),
        at_most(f"{label}: largest factor of steps over predicted, nine in ten", _factor(steps, 0.9), 1.2),
        at_most(f"{label}: the same, all", _factor(steps, 1.0), 5.0),
        at_most(f"{len(rows)} problems: share without a plan", 1 - float(column(rows, "planned").mean()), 0.1),
    ]


def _factor(ratio: np.ndarray, share: float) -> float:
    return float(np.exp(np.quantile(np.abs(np.log(ratio)), share)))


STUDY = Study(
    summary="accuracy asked for, planned and reached, on random problems",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)
