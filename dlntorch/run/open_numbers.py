"""Numbers that a schedule leaves open: the theorem's step, the certified and the selecting (κ, c), and the certificate itself."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from dlntorch.model.initialization import Initialization
from dlntorch.model.network import DiagonalLinearNetwork
from dlntorch.numerics.validation import InputError
from dlntorch.optim.step_size import Schedule
from dlntorch.problem import Problem
from dlntorch.run.settings import RunSettings
from dlntorch.training.certified import coarse_pass
from dlntorch.training.descent import Descent

if TYPE_CHECKING:
    from dlntorch.bounds.certificate import Certificate

__all__ = ["chosen_schedule", "depth_and_scale", "depth_and_start", "new_certificate", "new_descent"]


def new_descent(
    problem: Problem, settings: RunSettings, block_seconds: float = 0.05, after: Descent | None = None
) -> Descent:
    """A network at α and its descent, with the certificate where one is wanted.

    Args:
        problem: The data.
        settings: How it is trained.
        block_seconds: About how long one block lasts.
        after: The run that this one repeats with smaller steps; both have one wall-clock budget.
    """
    placed = problem.to(settings.device, settings.dtype)
    network = DiagonalLinearNetwork(
        problem.n, settings.depth_or_law, settings.alpha, dtype=settings.dtype, device=settings.device
    )
    descent = Descent(
        network,
        placed,
        settings.schedule,
        settings.stopping,
        engine=settings.engine,
        batch_size=settings.batch_size,
        seed=settings.seed,
        certificate=new_certificate(problem, settings) if settings.certificate else None,
        max_wall_seconds=settings.max_wall_seconds,
        shards=settings.shards,
        block_seconds=block_seconds,
        update=settings.update,
    )
    if after is not None:
        descent.wall_seconds, descent.wall_before = after.wall_seconds, after.wall_before
    return descent


def chosen_schedule(problem: Problem, settings: RunSettings) -> Schedule:
    """The schedule with all its numbers.

    Raises:
        InputError: when the theorem's steps exceed the budget, with log10 of their number; when the certified ε
            cannot be met within the budget, with the one that can; when no step size is proved to select.
    """
    schedule = settings.schedule
    if schedule.kind.certifies:
        make = lambda trial: new_descent(problem, replace(settings, schedule=trial))  # noqa: E731
        return coarse_pass(make, schedule, settings.stopping.max_steps).schedule
    if schedule.kind.selects and schedule.kappa is None:
        return _selecting(problem, settings)
    if not schedule.kind.for_horizon or schedule.eta is not None:
        return schedule
    from dlntorch.bounds.theorem import theorem_bound

    horizon, epsilon = settings.stopping.max_time, schedule.epsilon
    if epsilon is None:
        raise RuntimeError("a theorem schedule has an epsilon")
    bound = theorem_bound(problem.to("cpu", "float64"), *depth_and_start(settings), horizon, epsilon)
    budget = settings.stopping.max_steps
    if bound.log10_steps > math.log10(max(budget, 1)):
        raise InputError(
            f"max_steps must be at least 10^{bound.log10_steps:.6g} for schedule=theorem over max_time={horizon:g}, "
            f"got {budget}; schedule=certified proves a bound with affordable steps, schedule=relative needs none"
        )
    return schedule.with_steps(eta=10**bound.log10_eta)


def _selecting(problem: Problem, settings: RunSettings) -> Schedule:
    """The κ and c below which the steps cannot change which minimiser is selected."""
    from dlntorch.bounds.threshold import step_size_threshold

    found = step_size_threshold(problem, *depth_and_start(settings), batch_size=settings.batch_size)
    if found.kappa is None:
        raise InputError(
            f"schedule must be another one than selecting where no step size is proved to select, got {found.reason}"
        )
    return settings.schedule.with_steps(kappa=found.kappa, c=found.c)


def new_certificate(problem: Problem, settings: RunSettings) -> Certificate:
    """A certificate at the start of a run."""
    from dlntorch.bounds.certificate import Certificate

    return Certificate(problem.to("cpu", "float64").reduced(), *depth_and_start(settings))


def depth_and_start(settings: RunSettings) -> tuple[float, float | Initialization]:
    """(p, θ(0)) of a run at a depth: what the bounds speak of."""
    if settings.p is None:
        raise RuntimeError("settings have refused what has no depth")
    return settings.p, settings.alpha


def depth_and_scale(settings: RunSettings) -> tuple[float, float]:
    """(p, α) of a run at a depth from one number."""
    if settings.p is None or not isinstance(settings.alpha, float):
        raise RuntimeError("settings have refused what has no depth and scale")
    return settings.p, settings.alpha
