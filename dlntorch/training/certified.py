"""``schedule=certified``: (κ, c) chosen so that the certificate proves ‖θ_k − θ(t_k)‖₂ <= ε.

The certified error is first order in the step size when κ and c shrink together, so one coarse run predicts the
numbers that are needed, and the run itself is repeated with smaller ones in the rare case that it misses.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError
from dlntorch.optim.step_size import Schedule
from dlntorch.training.descent import Descent

__all__ = ["ENDED", "CertifiedPlan", "certified_bound", "coarse_pass", "finer_steps"]

#: Aim below ε by this factor, and shrink at least by this one when a run misses.
SAFETY = 0.7
#: How a run ends that has come where it was to go.
ENDED = (Status.CONVERGED, Status.MAX_TIME)
#: A run that used up its steps is repeated where it missed ε by less than this factor: with smaller steps it ends earlier
#: in a tail that it would not have got through anyway, with an error that is smaller in proportion.
CLOSE = 4.0
#: A coarse run whose certificate is infinite is repeated with steps smaller by this factor, so many times.
COARSE_FACTOR, COARSE_TRIES = 4.0, 5


@dataclass(frozen=True)
class CertifiedPlan:
    """What the coarse pass chose.

    Attributes:
        schedule: With the chosen κ and c.
        steps: Predicted steps of the run.
        coarse_steps: Steps that the coarse pass itself took.
    """

    schedule: Schedule
    steps: float
    coarse_steps: int


def certified_bound(descent: Descent) -> float:
    """The proved bound that ε refers to: at the end, or the largest over the run; ``inf`` where there is none."""
    certificate = descent.engine.certificate
    if certificate is None:
        raise RuntimeError("a certified run has a certificate")
    network = descent.network
    at_end = certificate.theta_error(network.theta_plus, network.theta_minus)
    return certificate.theta_error_sup if descent.engine.schedule.over == "all" else at_end


def coarse_pass(make: Callable[[Schedule], Descent], schedule: Schedule, max_steps: int) -> CertifiedPlan:
    """Run coarsely with the certificate, and predict the (κ, c) that meet ε.

    Args:
        make: Makes a fresh descent with a certificate for a schedule.
        schedule: The schedule asked for; its κ and c are those of the coarse pass.
        max_steps: The step budget of the run.

    Raises:
        InputError: when the predicted steps exceed the budget, with the ε that it can meet.
    """
    epsilon = _epsilon(schedule)
    spent = 0
    for _ in range(COARSE_TRIES):
        descent = make(schedule)
        while descent.advance() is None:
            pass
        spent += descent.progress.step
        bound = certified_bound(descent)
        if math.isfinite(bound):
            break
        schedule = _scaled(schedule, 1 / COARSE_FACTOR)
    else:
        raise InputError(
            f"schedule.epsilon must be one that a certificate can reach, got {epsilon:g}: even kappa={schedule.kappa:.2g} "
            "gives no finite bound"
        )
    factor = min(1.0, SAFETY * epsilon / bound) if bound > 0 else 1.0
    if not (schedule.kappa or 0) * factor > 1e-12:
        raise InputError(
            f"schedule.epsilon must be large enough for steps of a relative size kappa >= 1e-12, got {epsilon:g}"
        )
    steps = descent.progress.step / factor
    if descent.status in ENDED and steps > max_steps:
        possible = bound / SAFETY * descent.progress.step / max_steps
        raise InputError(
            f"schedule.epsilon must be at least {possible:.2g} within max_steps={max_steps}, got {epsilon:g}, "
            f"which needs about {steps:.2g} steps"
        )
    return CertifiedPlan(_scaled(schedule, factor), min(steps, max_steps), spent)


def finer_steps(descent: Descent) -> Schedule | None:
    """The smaller (κ, c) with which to repeat a finished run that missed ε; None when it met it or cannot be repeated."""
    schedule = descent.engine.schedule
    bound, epsilon = certified_bound(descent), _epsilon(schedule)
    if bound <= epsilon:
        return None
    factor = 1 / COARSE_FACTOR if math.isinf(bound) else SAFETY * min(1.0, epsilon / bound)
    if descent.status is Status.MAX_STEPS:
        return _scaled(schedule, factor) if bound <= CLOSE * epsilon else None
    if descent.status not in ENDED or descent.progress.step / factor > descent.engine.stopping.max_steps:
        return None
    return _scaled(schedule, factor)


def _scaled(schedule: Schedule, factor: float) -> Schedule:
    """κ and c times ``factor``: only together do they make the error first order."""
    return schedule.with_steps(kappa=(schedule.kappa or 0.0) * factor, c=schedule.c * factor)


def _epsilon(schedule: Schedule) -> float:
    if schedule.epsilon is None:
        raise RuntimeError("a certified schedule has an epsilon")
    return schedule.epsilon
