"""A run that is asked for by its accuracy: what the configuration leaves open is chosen by :func:`~dlntorch.run.accuracy.plan`.

Open is what is null: p, alpha, schedule.kappa, tol, max_steps and max_time. The command line makes those of them null that it
does not name. What was asked, chosen and predicted is kept in ``plan.json`` of the run folder: a run that goes on, or is
repeated, keeps its numbers and is not planned again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dlntorch.model import Initialization
from dlntorch.numerics.validation import InputError, NoPlan, check_number
from dlntorch.problem import Problem, make_problem
from dlntorch.run.accuracy import RunPlan, plan
from dlntorch.run.configuration import OPEN_KEYS
from dlntorch.run.members import is_ensemble
from dlntorch.run.nouns import initialization_of
from dlntorch.run.planning import Plan
from dlntorch.run.settings import DEFAULT_MAX_STEPS
from dlntorch.store.identity import problem_digest
from dlntorch.store.reading import DAMAGE, read_json
from dlntorch.training.prediction import Prediction

__all__ = ["accuracy_report", "as_asked", "foretold", "planned_settings", "saved_plan"]

#: The step budget is so much larger than the steps that are predicted.
MARGIN = 2.0
#: What a plan does not speak of, and the values that it needs.
_FIXED = (
    ("schedule.name", "relative"),
    ("schedule.c", 1),
    ("optimizer.name", "sgd"),
    ("model.name", "power"),
    ("alpha_minus", None),
    ("batch_size", None),
    ("dtype", "float64"),
)


def planned_settings(
    config: Mapping[str, Any], resumed: Path | None = None, chosen: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration with every number, and the record of the plan, for ``plan.json``.

    Args:
        config: A resolved configuration with an ``accuracy``.
        resumed: The folder of a run that goes on or is repeated, whose plan is kept if the same is asked.
        chosen: Whether ``config`` is the saved one of that folder, with its numbers.

    Raises:
        InputError: for what no plan can be made with, and for numbers that contradict the accuracy.
        NoPlan: where no run has this accuracy.
    """
    kept = None if resumed is None else saved_plan(resumed)
    if chosen:
        if kept is None:
            raise InputError(
                f"resume and repeat must name a folder with its plan.json, got {str(resumed)!r} without one"
            )
        return dict(config), kept
    accuracy = check_number("accuracy", config["accuracy"], above=0)
    _check_fixed(config)
    problem = make_problem(**config["problem"])
    if not problem.dense:
        raise InputError(f"accuracy must be left out where A is not dense, got a {problem.operator!r}")
    asked = {"accuracy": accuracy, **{key: _get(config, key) for key in OPEN_KEYS}, "problem": problem_digest(problem)}
    if kept is None or kept["asked"] != asked:
        kept = {"asked": asked, **_planned(problem, accuracy, asked)}
    return _with(config, kept["chosen"]), kept


def as_asked(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A saved configuration as it was asked for: open again is what its accuracy chose."""
    record = saved_plan(folder)
    return dict(config) if record is None else _with(config, {key: record["asked"][key] for key in OPEN_KEYS})


def saved_plan(folder: Path) -> dict[str, Any] | None:
    """The record in ``plan.json`` of a run folder; None where there is none that can be read."""
    try:
        record = read_json(folder / "plan.json")
    except DAMAGE:
        return None
    return record if {"asked", "chosen", "predicted"} <= set(record) else None


def accuracy_report(record: Mapping[str, Any], reached: float | None) -> dict[str, Any]:
    """``summary["plan"]``: the accuracy that was asked, what was predicted, and what was reached.

    Args:
        record: That of :func:`planned_settings`.
        reached: ‖ψ − W_p‖₂ at the end, None where it was not computed.
    """
    accuracy = record["asked"]["accuracy"]
    report = {"accuracy": accuracy, **record["predicted"], "reached": reached}
    if reached is None:
        report["reached_reason"] = report["met_reason"] = "W_p was not computed"
    return {**report, "met": None if reached is None else reached <= accuracy}


def foretold(plan: Plan, record: Mapping[str, Any] | None) -> Plan:
    """The plan of a run with the steps, time and error that its accuracy's plan predicts, where that chose the tolerance.

    Args:
        plan: What the run is about to do.
        record: That of :func:`planned_settings`; None without an accuracy.
    """
    if record is None or record["asked"]["tol"] is not None or "time" not in record["predicted"]:
        return plan  # a folder of an earlier version has no time
    steps, time, error = (record["predicted"][key] for key in ("steps", "time", "error"))
    return replace(plan, prediction=Prediction(steps, time, error=error, clock=plan.prediction.clock))


def _check_fixed(config: Mapping[str, Any]) -> None:
    if is_ensemble(config):
        raise InputError(f"accuracy must be left out with an ensemble, got {config['accuracy']!r}")
    for key, value in _FIXED:
        group, _, inner = key.partition(".")
        found = config[group].get(inner, value) if inner else config[group]
        if found != value:
            named = group if inner == "name" else key
            raise InputError(f"{named} must be {'null' if value is None else value} with accuracy, got {found!r}")
    if isinstance(initialization_of(config["alpha"], None), Initialization):
        raise InputError("alpha must be one number with accuracy, got several")


def _planned(problem: Problem, accuracy: float, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What is chosen and what is predicted."""
    kappa = asked["schedule.kappa"]
    if kappa is not None:
        check_number("schedule.kappa", kappa, above=0, at_most=0.3)
    made = plan(problem, accuracy, asked["p"], alpha=asked["alpha"], kappa=kappa)
    if made.tol is None or made.steps is None:
        raise _refusal(made, asked)
    tol = made.tol if asked["tol"] is None else check_number("tol", asked["tol"], at_least=0, at_most=1)
    if tol > made.tol:
        raise InputError(f"tol must be at most {made.tol:.3g} with accuracy={accuracy:g}, got {tol:g}")
    numbers = {
        "p": made.p,
        "alpha": made.alpha,
        "schedule.kappa": made.kappa,
        "tol": tol,
        # with a tolerance of one's own the run ends where that is met
        "max_time": made.max_time if asked["tol"] is None else None,
        "max_steps": max(DEFAULT_MAX_STEPS, math.ceil(MARGIN * made.steps)),
    }
    chosen = {key: value if asked[key] is None else asked[key] for key, value in numbers.items()}
    return {
        "chosen": chosen,
        "predicted": {
            **made.budget,
            "time": made.time,
            "steps": made.steps,
            "seconds": made.seconds,
            "why": made.reason,
        },
    }


def _refusal(made: RunPlan, asked: Mapping[str, Any]) -> InputError | NoPlan:
    """Why there is no plan: a mistake where a number that was given contradicts the accuracy."""
    reachable = "" if made.reachable is None else f"; accuracy={made.reachable:.2g} can be had"
    for key, part in (("alpha", "initialization"), ("schedule.kappa", "discretization")):
        if asked[key] is not None and made.reason.startswith(part):
            return InputError(
                f"{key} must allow accuracy={made.accuracy:g}, got {asked[key]:g}: {made.reason}{reachable}"
            )
    return NoPlan(f"no plan for accuracy={made.accuracy:g} ({made.status}): {made.reason}{reachable}")


def _get(config: Mapping[str, Any], key: str) -> Any:
    group, _, inner = key.rpartition(".")
    return config[group].get(inner) if group else config[key]


def _with(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a configuration with these values of its keys."""
    made = dict(config)
    for key, value in values.items():
        group, _, inner = key.rpartition(".")
        if group:
            made[group] = {**made[group], inner: value}
        else:
            made[key] = value
    return made
