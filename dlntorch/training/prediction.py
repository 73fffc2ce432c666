"""How many steps a run will take, before it is made: the flow is integrated, and 1/η summed along it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch

from dlntorch.numerics.trajectory import Status
from dlntorch.optim.step_size import Schedule
from dlntorch.optim.step_sizes_along import step_sizes_along
from dlntorch.problem import Problem

__all__ = ["Prediction", "predict_run"]

#: Points per factor of ten of time, and how far the horizon reaches around the natural time α^{2−p}/(p max|Aᵀy|).
POINTS_PER_DECADE, DECADES_BELOW, DECADES_ABOVE = 24, 4, 14
#: The flow is followed to the tolerance, or to this relative residual, below which rounding may hold it up.
FOLLOWED = 1e-11
#: Relative residual from which on, where it cannot be followed so far, the decay is taken to be exponential.
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
        error: ‖ψ − W_p‖₂ at the tolerance, where a plan predicts it; else None.
        clock: Times t of the flow on its way, and the steps until each; empty where no steps are known.
    """

    steps: float | None
    time: float | None
    reason: str = ""
    error: float | None = None
    clock: tuple[np.ndarray, np.ndarray] = field(default=(np.zeros(0), np.zeros(0)), compare=False, repr=False)

    def time_of(self, steps: float) -> float:
        """The time t that so many steps take; inf where they are more than are predicted, or none are."""
        times, counts = self.clock
        return float(np.interp(steps, counts, times)) if counts.size and steps < counts[-1] else math.inf


def predict_run(problem: Problem, p: float, alpha: float, schedule: Schedule, tol: float) -> Prediction:
    """Predict the steps and the time of a full-batch run to a relative residual ``tol``.

    The flow is integrated to the tolerance, and the steps are ∫ dt/η(θ(t)) along it, by the trapezoidal rule in log t.
    Where that takes too long, from a relative residual of at most 1e-3 the residual is taken to decay like exp(−λt) with
    λ = λ_min(A diag(p²(θ₊^{2p−2} + θ₋^{2p−2})) Aᵀ) at the point reached, and η to stay: an underestimate where λ still
    shrinks (an algebraic tail), an overestimate where coordinates have yet to switch on.
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
    near = max(tol, FOLLOWED)
    budget = _evaluations(exact.m, exact.n)
    path = flow_path(exact, p, alpha, times, rtol=1e-5, stop_residual=near, max_evaluations=budget)
    left = float(exact.relative_residual(path.psi[-1:])[0]) if len(path.t) else math.inf
    if path.status is not Status.CONVERGED and not left <= TAIL_FROM:
        stiff = "the flow is too stiff to follow in a second" if path.status is Status.MAX_STEPS else ""
        return Prediction(None, None, stiff or path.reason or f"the flow needs more than t = {times[-1]:.1e}")
    left, tail = near if path.status is Status.CONVERGED else left, 0.0
    if left > tol:
        tail = math.log(left / tol) / _decay_rate(exact, p, path.theta_plus[-1], path.theta_minus[-1])
    t = path.t.numpy()
    if not math.isfinite(tail):
        return Prediction(None, None, "the residual's decay rate underflows: the tail is too slow to predict")
    if schedule.eta is None and not schedule.kind.has_c:
        return Prediction(None, float(t[-1]) + tail, "the step size has not been chosen yet")
    eta = step_sizes_along(exact, p, (path.theta_plus, path.theta_minus), schedule)
    per_log = t / eta  # steps per unit of log t
    counts = per_log[0] + np.append(0.0, np.cumsum(np.diff(np.log(t)) * 0.5 * (per_log[1:] + per_log[:-1])))
    counts, t = np.append(counts, counts[-1] + tail / float(eta[-1])), np.append(t, t[-1] + tail)
    return Prediction(float(counts[-1]), float(t[-1]), clock=(t, counts))


def _evaluations(m: int, n: int) -> int:
    """How many evaluations of the flow take about a second: a step is some eight, three factorizations and A D Aᵀ."""
    step = 1e-4 + (6.0 * m**3 + 2.0 * m * m * n) / _FLOPS
    return int(min(max(8 / step, 400), 6_000))


def _decay_rate(problem: Problem, p: float, plus: torch.Tensor, minus: torch.Tensor) -> float:
    """λ_min(A diag(p²(θ₊^{2p−2} + θ₋^{2p−2})) Aᵀ): the slowest linear decay of the residual at θ."""
    root = p * torch.sqrt(plus ** (2 * p - 2) + minus ** (2 * p - 2))
    return float(torch.linalg.svdvals(problem.A * root)[-1]) ** 2
