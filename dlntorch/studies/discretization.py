"""Descent against the flow at the same time: measured, certified, and as the theorem bounds it (experiment 3)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from dlntorch.bounds.theorem import theorem_bound
from dlntorch.flow.integrate import flow_path
from dlntorch.numerics.validation import check_choice, check_count, check_number
from dlntorch.problem import Problem, paper
from dlntorch.run import RunResult, train
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

__all__ = ["STUDY"]

ABOUT = (
    "Gradient descent is compared with the flow at the same time t = Σ η. The error ‖θ_k − θ(t_k)‖ is first order in the "
    "step size: with both numbers of the relative rule scaled together, η → η/10 makes it ten times smaller.",
    "The certificate bounds the same error along the run, without integrating the flow, and is nearly sharp at the end of a fine "
    "run. The paper’s theorem bounds it before the run, by η·C₁·exp(C₂t). Over short horizons it can be held against a run, and "
    "holds. Over the horizon of training, C₂t is in the thousands: the number of steps it asks for has that many digits. "
    "What descent needs for the same accuracy is beside it.",
)


def points(settings: Settings) -> list[Point]:
    names = numbers(settings, "problems", lambda name, value: check_choice(name, value, ("line", "plane", "random")))
    depths = numbers(settings, "depths", lambda name, value: check_number(name, value, at_least=2))
    kappas = numbers(settings, "kappas", lambda name, value: check_number(name, value, above=0, at_most=0.3))
    epsilons = numbers(settings, "short_epsilons", lambda name, value: check_number(name, value, above=0))
    shared = {
        "power": check_number("study.power", settings["power"], above=0, at_most=1),
        "max_steps": check_count("study.max_steps", settings["max_steps"]),
    }
    tol = check_number("study.tol", settings["tol"], above=0, at_most=0.1)
    epsilon = check_number("study.epsilon", settings["epsilon"], above=0)
    horizon = check_number("study.short_horizon", settings["short_horizon"], above=0, at_most=8)
    pairs = [{"problem": name, "p": p, **shared} for name in names for p in depths]
    largest = max(kappas)
    return [
        *(
            {**pair, "kind": "run", "kappa": kappa, "c": kappa / largest, "tol": tol, "epsilon": epsilon}
            for kappa in sorted(kappas)
            for pair in pairs
        ),
        *(
            {**pair, "kind": "theorem", "horizon": horizon, "epsilon": epsilon}
            for epsilon in epsilons
            for pair in pairs
        ),
    ]


def compute(point: Point) -> list[Row]:
    """One run, its error against the flow, and the bounds of both kinds."""
    problem: Problem = getattr(paper, point["problem"])()
    p = point["p"]
    alpha = point["power"] ** (1 / p)
    if point["kind"] == "theorem":
        return [_short_run(problem, p, alpha, point)]
    run = train(
        problem,
        p,
        alpha,
        kappa=point["kappa"],
        c=point["c"],
        tol=point["tol"],
        max_steps=point["max_steps"],
        certificate=True,
        references=False,
    )
    schedule, t = run.summary["schedule"], run.summary["time"]
    bound = theorem_bound(problem, p, alpha, t, point["epsilon"])
    return [
        {
            "status": str(run.status),
            "steps": run.summary["steps"],
            "time": t,
            "error": _error(problem, p, alpha, run),
            "largest_error": _largest_error(problem, p, alpha, run),
            "certified": schedule["certified_theta_error"],
            "certified_sup": schedule["certified_theta_error_sup"],
            "theorem_log10_steps": bound.log10_steps,
        }
    ]


def _short_run(problem: Problem, p: float, alpha: float, point: Point) -> Row:
    """The theorem's own step size, over a horizon where it is not absurdly small."""
    C2 = theorem_bound(problem, p, alpha, 1.0, point["epsilon"]).C2
    t = point["horizon"] / C2
    bound = theorem_bound(problem, p, alpha, t, point["epsilon"])
    steps = math.ceil(t / 10**bound.log10_eta)
    eta = t / steps
    row: Row = {"eta": eta, "time": t, "epsilon_bar": bound.epsilon_bar, "steps": steps, "error": None}
    if steps > point["max_steps"]:
        return row
    run = train(problem, p, alpha, "constant", eta=eta, max_steps=steps, tol=0, references=False)
    return {**row, "error": _error(problem, p, alpha, run)}


def _error(problem: Problem, p: float, alpha: float, run: RunResult) -> float | None:
    """‖θ_k − θ(t_k)‖₂ at the end, the flow integrated."""
    flow = flow_path(problem, p, alpha, [run.summary["time"]], rtol=1e-11)
    if run.status.ended_badly or len(flow.t) == 0:
        return None
    both = torch.stack([run.theta_plus - flow.theta_plus[-1], run.theta_minus - flow.theta_minus[-1]])
    return float(torch.linalg.vector_norm(both))


def _largest_error(problem: Problem, p: float, alpha: float, run: RunResult) -> float | None:
    """The largest ‖ψ_k − ψ(t_k)‖₂ over the recorded steps."""
    recorded = run.trajectory.t > 0
    times = run.trajectory.t[recorded]
    flow = flow_path(problem, p, alpha, times, rtol=1e-10)
    if run.status.ended_badly or len(flow.t) != len(times):
        return None
    psi = flow.theta_plus**p - flow.theta_minus**p
    return float(torch.linalg.vector_norm(run.trajectory.psi[recorded] - psi, dim=1).max())


# -- claims -------------------------------------------------------------------------------------------------------


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    found: list[Claim] = []
    runs, shorts = select(rows, kind="run"), select(rows, kind="theorem")
    for name in values_of(runs, "problem"):
        for p in values_of(runs, "p"):
            mine = select(runs, problem=name, p=p)
            for key, what in (("error", "‖θ − θ(t)‖ at the end"), ("largest_error", "largest ‖ψ − ψ(t)‖ over the run")):
                found.append(within(f"{name}, p = {p:g}: slope of {what} in κ", 1.0, _last_slope(mine, key), 0.02))
    certified = column(runs, "error") / column(runs, "certified")
    found.append(at_most("error at the end over its certificate, largest of all runs", float(np.max(certified)), 1.0))
    finest = select(runs, kappa=min(values_of(runs, "kappa")))
    sharp = column(finest, "certified") / column(finest, "error")
    label = f"certificate over the error at the end, κ = {finest[0]['kappa']:g}, largest of all runs"
    found.append(at_most(label, float(np.max(sharp)), 1.1))
    short = column(shorts, "error") / column(shorts, "epsilon_bar")
    short = short[np.isfinite(short)]
    worst = float(np.max(short)) if short.size else None
    found.append(at_most("theorem over short horizons: error over ε̄, largest of all runs", worst, 1.0))
    for p in values_of(runs, "p"):
        mine = select(runs, p=p)
        log_needed = max(math.log10(needed_steps(row, settings["epsilon"]) or math.inf) for row in mine)
        least = min(row["theorem_log10_steps"] for row in mine)
        label = (
            f"p = {p:g}: log₁₀ of the steps for ‖θ − θ(t)‖ ≤ {settings['epsilon']:g} (predicted: the theorem’s number)"
        )
        found.append(at_most(label, log_needed, least))
    return found


def needed_steps(row: Row, epsilon: float) -> float | None:
    """Steps to an error of epsilon, the error being first order in the step size."""
    return None if row["error"] is None else row["steps"] * max(1.0, row["error"] / epsilon)


def _last_slope(rows: Sequence[Row], key: str) -> float | None:
    good = sorted((row for row in rows if row[key] is not None), key=lambda row: row["kappa"])
    if len(good) < 2:
        return None
    first, second = good[:2]
    return math.log(second[key] / first[key]) / math.log(second["kappa"] / first["kappa"])


STUDY = Study(
    summary="the error of the step size: slope 1, the certificate, and the steps that the theorem asks for",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)
