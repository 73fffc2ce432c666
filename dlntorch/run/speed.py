"""How long a run would take, before it is made: its predicted steps, at the speed of a few steps made now and thrown away."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dlntorch.engine import Stopping
from dlntorch.numerics.durations import format_seconds
from dlntorch.numerics.threads import numeric_threads
from dlntorch.numerics.trajectory import Status
from dlntorch.run.open_numbers import new_descent
from dlntorch.run.planning import Plan

__all__ = ["Speed", "budget_notes", "expected_seconds", "expected_steps", "measure_speed"]

#: About how long steps are made for, in seconds, after as many that compile and warm up.
MEASURED_SECONDS = 0.3
#: A trial of a run that ends by itself before that is repeated up to so often.
TRIALS = 20


@dataclass(frozen=True)
class Speed:
    """How fast a run's steps are on this machine.

    Attributes:
        steps_per_second: Steps of its engine, on its problem, with its batches and its certificate; None with a reason.
        steps: How many were timed.
        seconds: For how long.
        reason: Why nothing was measured.
        ended: How the trial ended badly, where it did: the run itself will end so, at that step.
    """

    steps_per_second: float | None
    steps: int = 0
    seconds: float = 0.0
    reason: str = ""
    ended: tuple[Status, int] | None = None


def measure_speed(plan: Plan, threads: Any = "auto", seconds: float = MEASURED_SECONDS) -> Speed:
    """Make steps of a run for about ``seconds``, on a network that is thrown away, and time them.

    The first ones are not timed: they compile. References, measuring, logging and drawing are not in it.

    Args:
        plan: The run.
        threads: The setting ``trainer.threads``.
        seconds: For how long.
    """
    settings = plan.settings
    if settings.shards > 1:
        return Speed(None, reason="steps of several processes are not timed")
    endless = replace(settings, stopping=Stopping(tol=0.0, max_steps=2**53), max_wall_seconds=math.inf)
    steps, spent, ended = 0, 0.0, None
    with numeric_threads(threads, plan.problem):
        for trial in range(TRIALS):
            descent = new_descent(plan.problem, endless, seconds / 8)
            if trial == 0 and descent.advance() is None:
                _advance(descent, seconds / 4)
            made, took = _advance(descent, seconds - spent)
            steps, spent = steps + made, spent + took
            if descent.status is not None and descent.status.ended_badly:
                ended = (descent.status, descent.steps)
            if spent >= seconds / 2:
                break
    if steps == 0 or spent <= 0:
        return Speed(None, reason="no step could be made", ended=ended)
    return Speed(steps / spent, steps, spent, ended=ended)


def _advance(descent: Any, seconds: float) -> tuple[int, float]:
    """Steps for about so long, but at least one block; returns how many and for how long."""
    before, began = descent.steps, time.perf_counter()
    while descent.status is None:
        descent.advance()
        if time.perf_counter() - began >= seconds:
            break
    return descent.steps - before, time.perf_counter() - began


def expected_steps(plan: Plan) -> float | None:
    """The steps that a run will make by its prediction and its step budget; None where neither tells."""
    predicted, budget = plan.prediction.steps, plan.settings.stopping.max_steps
    return None if predicted is None else min(predicted, float(budget))


def expected_seconds(plans: Sequence[Plan], speed: Speed, at_once: int = 1) -> str:
    """The time that training takes, in words: as predicted, or at most, where the steps are not predicted.

    Args:
        plans: The networks, which all have about this speed.
        speed: That of one of them.
        at_once: How many are trained at the same time.
    """
    if speed.steps_per_second is None:
        return f"not predicted: {speed.reason}"
    expected = [expected_steps(plan) for plan in plans]
    rate = speed.steps_per_second * min(at_once, len(plans))
    budget = [float(plan.settings.stopping.max_steps) for plan in plans]
    seconds = sum(most if count is None else count for count, most in zip(expected, budget, strict=True)) / rate
    wall = plans[0].settings.max_wall_seconds
    if seconds > wall:
        return f"{format_seconds(wall)}, where max_wall_seconds ends it"
    return (
        f"at most {format_seconds(seconds)}, where max_steps ends it" if None in expected else format_seconds(seconds)
    )


def budget_notes(plan: Plan, speed: Speed | None = None) -> list[str]:
    """Each budget that ends the run before its residual reaches the tolerance, by the prediction; one line each.

    Args:
        plan: The run.
        speed: Its speed, for the wall-clock budget.
    """
    settings, prediction = plan.settings, plan.prediction
    steps, budget = prediction.steps, settings.stopping.max_steps
    found = []
    if (
        speed is not None
        and speed.ended is not None
        and speed.ended[1] < min(budget, math.inf if steps is None else steps)
    ):
        found.append(f"at step {speed.ended[1]:,} a trial of it ended as {speed.ended[0]}")
    if steps is not None and steps > budget:
        share = f"{100 * budget / steps:.2g} %"
        found.append(
            f"max_steps={budget:,} is {share} of the {steps:.2g} steps that are predicted to reach the tolerance"
        )
    if prediction.time is not None and prediction.time > settings.stopping.max_time:
        limit = settings.stopping.max_time
        found.append(
            f"max_time={limit:g} is less than the t = {prediction.time:.3g} that is predicted to reach the tolerance"
        )
    if steps is not None and speed is not None and speed.steps_per_second is not None:
        needed = steps / speed.steps_per_second
        if needed > settings.max_wall_seconds:
            text = f"max_wall_seconds={settings.max_wall_seconds:g} is less than the {format_seconds(needed)}"
            found.append(f"{text} that are predicted to reach the tolerance")
    return found
