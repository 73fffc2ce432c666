"""What a run is about to do: its settings, what it is compared with, and how many steps it is expected to take."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dlntorch.numerics.trajectory import short_repr
from dlntorch.numerics.validation import InputError
from dlntorch.optim.step_size import Schedule
from dlntorch.optim.update import SGD
from dlntorch.problem import Problem, make_problem
from dlntorch.run.assembly import measurer_of, run_result
from dlntorch.run.forked import forked
from dlntorch.run.open_numbers import chosen_schedule, depth_and_scale, new_descent
from dlntorch.run.references import References, references_of_many
from dlntorch.run.result import RunResult
from dlntorch.run.settings import RunSettings
from dlntorch.training.certified import certified_bound, finer_steps
from dlntorch.training.descent import Descent
from dlntorch.training.measure import Measurer
from dlntorch.training.prediction import Prediction

__all__ = ["LARGE_ENTRIES", "Plan", "plan_many", "plan_run", "plans_of", "problems_of", "resumed_plan"]

#: Above this many entries of A a run is not predicted, and no second process makes its plan.
LARGE_ENTRIES = 2_000_000
#: The networks of an ensemble are predicted one by one before they are trained, unless there are more than these.
PREDICTED_NETWORKS = 64
#: The prediction of a run whose steps and time nobody asks for.
UNPREDICTED = Prediction(None, None, "not asked for")


@dataclass
class Plan:
    """What one network is about to do, and how it becomes a result: all that the life of a run asks of its kind.

    Attributes:
        problem: The data.
        settings: How the network is trained.
        references: What it is compared with.
        prediction: Steps and time that it is expected to take.
        note: Why it is planned again, where it is.
    """

    problem: Problem
    settings: RunSettings
    references: References
    prediction: Prediction
    note: str = ""

    __repr__ = short_repr

    def new_descent(self, block_seconds: float = 0.05, after: Descent | None = None) -> Descent:
        """The network at its start; ``after`` is the run that this one repeats, whose wall-clock budget it shares."""
        return new_descent(self.problem, self.settings, block_seconds, after)

    def measurer(self) -> Measurer:
        """What measures the recorded path."""
        return measurer_of(self.problem, self.settings, self.references)

    def result(self, descent: Descent, history: dict[str, np.ndarray]) -> RunResult:
        """The result of a finished descent with its measured columns."""
        return run_result(self.problem, self.settings, descent, self.references, history)

    def repeated(self, descent: Descent) -> Plan | None:
        """The plan with which a finished run is repeated: a certified one that missed its ε, with smaller steps."""
        smaller = finer_steps(descent) if self.settings.schedule.kind.certifies else None
        if smaller is None:
            return None
        proved = f"since the certificate proved {certified_bound(descent):.3g} only"
        settings = replace(self.settings, schedule=smaller)
        prediction = self.prediction if self.prediction.steps is None else _prediction(self.problem, settings)
        note = f"repeated with kappa={smaller.kappa:.3g}, {proved}"
        return replace(self, settings=settings, prediction=prediction, note=note)


def plan_run(
    config: Mapping[str, Any],
    problem: Problem | None = None,
    references: References | None = None,
    predict: bool = True,
    schedule: Schedule | None = None,
) -> Plan:
    """Check the settings, compute references and prediction; nothing is trained or written.

    Args:
        config: The resolved configuration.
        problem: Its problem, where it has been made already.
        references: Its references, where they have been computed already.
        predict: Whether to predict steps and time.
        schedule: The schedule with its numbers, where they have been chosen already.
    """
    if problem is None:
        problem = make_problem(**config["problem"])
    settings = RunSettings.from_config(problem, config)
    (found,) = _references([problem], [settings]) if references is None else [references]
    settings = replace(settings, schedule=schedule or chosen_schedule(problem, settings))
    return Plan(problem, settings, found, _prediction(problem, settings) if predict else UNPREDICTED)


def resumed_plan(
    config: Mapping[str, Any],
    problem: Problem,
    state: Mapping[str, Any],
    make_plan: Callable[..., Plan] = plan_run,
    **known: Any,
) -> Plan:
    """The plan of a run that goes on from a checkpoint: a certified one keeps the (κ, c) it had come to.

    Args:
        config: The resolved configuration.
        problem: Its problem.
        state: The saved state.
        make_plan: Makes the plan where it is that of a new run.
        **known: Keywords of :func:`plan_run`.

    Raises:
        InputError: when the theorem's η is not the saved one, since its horizon has been changed.
    """
    saved = state["schedule"]
    asked = RunSettings.from_config(problem, config).schedule
    if asked.kind.certifies:
        return plan_run(config, problem, schedule=asked.with_steps(kappa=saved["kappa"], c=saved["c"]), **known)
    plan = make_plan(config, problem, **known)
    if plan.settings.schedule.eta != saved["eta"]:
        raise InputError(
            "max_time must be left as it was when schedule=theorem is resumed, whose step size depends on it, "
            f"got {plan.settings.stopping.max_time:g}"
        )
    return plan


def plans_of(problems: Sequence[Problem], settings: Sequence[RunSettings]) -> list[Plan]:
    """The plans of networks whose settings are known, unpredicted; the references that they share are computed once."""
    found = _references(problems, settings)
    return [
        Plan(problem, replace(one, schedule=chosen_schedule(problem, one)), references, UNPREDICTED)
        for problem, one, references in zip(problems, settings, found, strict=True)
    ]


def plan_many(
    configs: Sequence[Mapping[str, Any]],
    problems: Sequence[Problem],
    predict: bool | None = None,
    meanwhile: Callable[[], object] | None = None,
    states: Sequence[Mapping[str, Any] | None] | None = None,
) -> list[Plan]:
    """Plans of many runs, with the work that they share done once.

    Args:
        configs: One resolved configuration for each run.
        problems: Their problems.
        predict: Whether to predict steps and time; by default for up to 64 networks.
        meanwhile: Called here while another process plans, where there can be one.
        states: For each run the saved state that it goes on from, or None; a certified one keeps the (κ, c) it had come to.

    Raises:
        InputError: as for one run.
    """
    if meanwhile is not None:
        (plans,) = forked(
            lambda _: [replace(plan, problem=None) for plan in plan_many(configs, problems, predict, states=states)],
            1,
            1,
            meanwhile,
        )
        return [replace(plan, problem=problem) for plan, problem in zip(plans, problems, strict=True)]
    settings = [RunSettings.from_config(problem, config) for problem, config in zip(problems, configs, strict=True)]
    references = _references(problems, settings)
    predicts = len(configs) <= PREDICTED_NETWORKS if predict is None else predict

    def plan(i: int) -> Plan:
        state = None if states is None else states[i]
        if state is None:
            return plan_run(configs[i], problems[i], references[i], predicts)
        return resumed_plan(configs[i], problems[i], state, references=references[i], predict=predicts)

    if not predicts or any(one.device.type != "cpu" for one in settings):
        return [plan(i) for i in range(len(configs))]
    # problems and references are here already: children do not send them
    sent: list[Any] = forked(lambda i: replace(plan(i), problem=None, references=None), len(configs))  # type: ignore[arg-type]
    return [replace(one, problem=problems[i], references=references[i]) for i, one in enumerate(sent)]


def problems_of(configs: Sequence[Mapping[str, Any]]) -> list[Problem]:
    """The problem of each configuration; equal descriptions give one object, whose SVD is computed once."""
    known: dict[str, Problem] = {}
    found: list[Problem] = []
    for config in configs:
        key = json.dumps(config["problem"], sort_keys=True, default=str)
        if key not in known:
            known[key] = make_problem(**config["problem"])
        found.append(known[key])
    return found


def _references(problems: Sequence[Problem], settings: Sequence[RunSettings]) -> list[References]:
    """The references of each network that asks for them; those of one problem are shared."""
    found: dict[int, References] = {}
    ways = [one.solver if one.references else "" for one in settings]
    for solver in dict.fromkeys(ways):
        chosen = [i for i, way in enumerate(ways) if way == solver]
        cases = [(problems[i], settings[i].depth_or_law, settings[i].alpha) for i in chosen]
        found |= dict(zip(chosen, references_of_many(cases, solver), strict=True))
    return [found[i] for i in range(len(settings))]


def _prediction(problem: Problem, settings: RunSettings) -> Prediction:
    """Steps and time that a run is expected to take, or why they are not predicted."""
    from dlntorch.training.prediction import predict_run

    if not settings.references or not problem.dense or problem.m * problem.n > LARGE_ENTRIES:
        why = "A is large" if problem.dense else "A is an operator"
        return Prediction(None, None, why if settings.references else "references=false")
    if settings.batch_size is not None:
        return Prediction(None, None, "mini-batches: only full-batch runs are predicted")
    if not settings.plain_start or type(settings.update) is not SGD or settings.schedule.own is not None:
        return Prediction(None, None, "only plain SGD at a depth p from one number alpha is predicted")
    return predict_run(problem, *depth_and_scale(settings), settings.schedule, settings.stopping.tol)
