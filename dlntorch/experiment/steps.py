"""Numbers that a schedule leaves open: the theorem's step and the certified (κ, c), and the certificate itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dlntorch.dynamics.schedule import Schedule
from dlntorch.experiment.settings import RunSettings
from dlntorch.problem import Problem
from dlntorch.validation import InputError

if TYPE_CHECKING:
    from dlntorch.dynamics.certificate import Certificate

__all__ = ["chosen_schedule", "new_certificate"]


def chosen_schedule(problem: Problem, settings: RunSettings) -> Schedule:
    """The schedule with all its numbers.

    Raises:
        InputError: when the theorem's steps exceed the budget, with log10 of their number.
    """
    schedule = settings.schedule
    if schedule.name != "theorem" or schedule.eta is not None:
        return schedule
    from dlntorch.dynamics.theorem import theorem_bound

    horizon, epsilon = settings.stopping.max_time, schedule.epsilon
    if epsilon is None:
        raise RuntimeError("a theorem schedule has an epsilon")
    bound = theorem_bound(problem.to("cpu", "float64"), settings.p, settings.alpha, horizon, epsilon)
    budget = settings.stopping.max_steps
    if bound.log10_steps > math.log10(max(budget, 1)):
        raise InputError(
            f"max_steps must be at least 10^{bound.log10_steps:.4g} for schedule=theorem over max_time={horizon:g}, "
            f"got {budget}; schedule=certified proves a bound with affordable steps, schedule=relative needs none"
        )
    return schedule.with_steps(eta=10**bound.log10_eta)


def new_certificate(problem: Problem, settings: RunSettings) -> Certificate:
    """A certificate at the start of a run."""
    from dlntorch.dynamics.certificate import Certificate

    return Certificate(problem.to("cpu", "float64").reduced(), settings.p, settings.alpha)
