"""How many steps a run will take, before it is made: the flow is integrated, and 1/η summed along it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from dlntorch.numerics.trajectory import Status
from dlntorch.optim.step_size import Schedule
from dlntorch.optim.step_sizes_along import step_sizes_along
from dlntorch.problem import Problem

if TYPE_CHECKING:
    pass

__all__ = ["Prediction", "predict_run"]

#: Points per factor of ten of time, and how far the horizon reaches around the natural time α^{2−p}/(p max|Aᵀy|).
POINTS_PER_DECADE, DECADES_BELOW, DECADES_ABOVE = 24, 4, 14
#: Relative residual from which on the decay is taken to be exponential.
TAIL_FROM = 1e-3
#: What dense linear algebra on one thread does in a second.
_FLOPS = 1e10
#: Times are floats up to so large a natural one.
_LARGEST_TIME = 1e290


@dataclass(frozen=True)
class Prediction:
    """What a run is expected to take.

    Attributes:
        steps: SGD steps to the residual tolerance, or None with a reason.
        time: The time t at which the flow reaches the tolerance, or None with a reason.
        reason: Why a number is missing.
    """

    steps: float | None
    time: float | None
    reason: str = ""


def predict_run(problem: Problem, p: float, alpha: float, schedule: Schedule, tol: float) -> Prediction:
    """Predict the steps and the time of a full-batch run to a relative residual ``tol``.

    The flow is integrated to a relative residual of 1e-3, and the steps are ∫ dt/η(θ(t)) along it, by the trapezoidal
    rule in log t. From there the residual decays like exp(−λt) with λ = λ_min(A diag(p²(θ₊^{2p−2} + θ₋^{2p−2})) Aᵀ)
    at the point reached, and η stays; where λ itself still shrinks (an algebraic tail) this is an underestimate.
    """
    from dlntorch.flow.integrate import flow_path

    if tol == 0:
        return Prediction(None, None, "tol=0 never stops on the residual")
    exact = problem.to("cpu", "float64").reduced()
    drive = float((exact.y @ exact.A).abs().max()) if exact.m else 0.0
    if drive == 0:  # the part of y in the range of A is zero, and so is the limit
        return Prediction(0.0, 0.0)
    try:
        natural = alpha ** (2 - p) / (p * drive)
    except OverflowError:
        natural = math.inf
    if not 0 < natural < _LARGEST_TIME:
        return Prediction(None, None, f"the flow's natural time α^(2−p)/(p max|Aᵀy|) = {natural:.1g} is out of range")
    count = POINTS_PER_DECADE * (DECADES_BELOW + DECADES_ABOVE)
    times = natural * np.logspace(-DECADES_BELOW, DECADES_ABOVE, count + 1)
    near = max(tol, TAIL_FROM)
    budget = _evaluations(exact.m, exact.n)
    path = flow_path(exact, p, alpha, times, rtol=1e-5, stop_residual=near, max_evaluations=budget)
    if path.status is not Status.CONVERGED:
        if path.status is Status.MAX_STEPS:
            return Prediction(None, None, "the flow is too stiff to follow in a second")
        return Prediction(None, None, path.reason or f"the flow needs more than t = {times[-1]:.1e}")
    tail = math.log(near / tol) / _decay_rate(exact, p, path.theta_plus[-1], path.theta_minus[-1])
    t = path.t.numpy()
    if not math.isfinite(tail):
        return Prediction(None, None, "the residual's decay rate underflows: the tail is too slow to predict")
    if schedule.eta is None and not schedule.kind.has_c:
        return Prediction(None, float(t[-1]) + tail, "the step size has not been chosen yet")
    eta = step_sizes_along(exact, p, (path.theta_plus, path.theta_minus), schedule)
    steps = float(np.trapezoid(t / eta, np.log(t)) + t[0] / eta[0])
    return Prediction(steps + tail / float(eta[-1]), float(t[-1]) + tail)


def _evaluations(m: int, n: int) -> int:
    """How many evaluations of the flow take about a second: a step is some eight, three factorizations and A D Aᵀ."""
    step = 1e-4 + (6.0 * m**3 + 2.0 * m * m * n) / _FLOPS
    return int(min(max(8 / step, 400), 6_000))


def _decay_rate(problem: Problem, p: float, plus: torch.Tensor, minus: torch.Tensor) -> float:
    """λ_min(A diag(p²(θ₊^{2p−2} + θ₋^{2p−2})) Aᵀ): the slowest linear decay of the residual at θ."""
    root = p * torch.sqrt(plus ** (2 * p - 2) + minus ** (2 * p - 2))
    return float(torch.linalg.svdvals(problem.A * root)[-1]) ** 2
