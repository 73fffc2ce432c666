"""What the theory of a run's optimizer predicts, beside what the run measured: the summary's ``update``.

Momentum, SAM and weight decay have flows of their own (:mod:`dlntorch.flow.regularized`), along which integrals give the
effective initialization; decay that stays on and label noise end at a regularised minimiser. Every number that there is none
of has a reason, and nothing here ends a run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dlntorch.model import Initialization
from dlntorch.model.metrics import distance
from dlntorch.numerics.trajectory import Status
from dlntorch.optim.update import SAM, LabelNoise, Momentum, Update, WeightDecay
from dlntorch.problem import Problem

if TYPE_CHECKING:
    from dlntorch.flow.regularized import UpdateFlow
    from dlntorch.run.settings import RunSettings

__all__ = ["KEYS", "RunEnd", "update_report"]

#: Of the summary, in its order.
KEYS = (
    "predicted_gain_mean",
    "predicted_tilt",
    "distance_to_predicted",
    "optimality_violation",
    "mean_distance_to_predicted",
    "mean_standard_error",
    "mean_in_standard_errors",
    "critical_eta",
)
#: Flows are stiff and take seconds: entries of A, and evaluations, beyond which there is none.
MAX_ENTRIES, MAX_EVALUATIONS = 40_000, 100_000
#: Entries of A times steps up to which the mean of a run with label noise is made, by repeating its steps.
MAX_REPEATED = 2_000_000_000
#: Steps whose sizes differ by less are those of a constant η.
CONSTANT = 1e-9


class Unknown(Exception):
    """There is no prediction, and the message says why."""


@dataclass(frozen=True)
class RunEnd:
    """Where a run ended.

    Attributes:
        theta: θ, shape (2, n), float64 on the CPU.
        psi: ψ, shape (n,).
        status: How it ended.
        steps, time: k and Σ η.
        eta_min, eta_max: The smallest and the largest step.
    """

    theta: Tensor
    psi: Tensor
    status: Status
    steps: int
    time: float
    eta_min: float
    eta_max: float

    @property
    def eta(self) -> float:
        """The one η of all steps.

        Raises:
            Unknown: where they differ.
        """
        if self.eta_max - self.eta_min > CONSTANT * self.eta_max:
            raise Unknown(
                f"eta changed from {self.eta_min:.3g} to {self.eta_max:.3g} along the run: this prediction is of a "
                "constant step size (schedule=constant)"
            )
        return self.eta_max


@dataclass
class UpdateReport:
    """Numbers by key, reasons for those that there are none of, and the prediction in words."""

    numbers: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    words: str = ""


def update_report(problem: Problem, settings: RunSettings, end: RunEnd) -> UpdateReport:
    """The numbers of :data:`KEYS` that there are, and why the others are None.

    Args:
        problem: In float64 on the CPU.
        settings: How it was run.
        end: Where it ended.
    """
    found = UpdateReport()
    why = _why_not(problem, settings, end)
    if not why:
        why = _attempt(lambda: _predicted(problem, settings, end, found))
        found.reasons["critical_eta"] = _attempt(lambda: _critical(problem, settings, found))
    for key in KEYS:
        if key not in found.numbers and not found.reasons.get(key):
            found.reasons[key] = why or f"no such prediction is made of {settings.update.name}"
    return found


def _attempt(compute: Callable[[], None]) -> str:
    """Why a computation gave up; empty where it did not."""
    try:
        compute()
    except (Unknown, ArithmeticError, RuntimeError, TypeError, ValueError, MemoryError) as error:
        return " ".join(str(error).split()) or type(error).__name__
    return ""


def _why_not(problem: Problem, settings: RunSettings, end: RunEnd) -> str:
    """Why nothing at all is predicted."""
    if not settings.references:
        return "references=false"
    if settings.p is None:
        return f"{settings.law!r} has no depth p, of which the predictions are"
    if not problem.dense or problem.m * problem.n > MAX_ENTRIES:
        return f"predictions are made for a dense A of at most {MAX_ENTRIES} entries"
    if end.status.ended_badly or not end.steps:
        return "no step was made" if not end.steps else f"the run ended badly ({end.status})"
    return ""


def _predicted(problem: Problem, settings: RunSettings, end: RunEnd, found: UpdateReport) -> None:
    make = _PREDICTIONS.get(type(settings.update))  # type: ignore[arg-type]
    if make is None:
        raise Unknown(
            f"nothing is predicted of {settings.update.name}: effective.gain_mean and effective.tilt measure what it did"
        )
    make(problem, settings, end, settings.update, found)


def _critical(problem: Problem, settings: RunSettings, found: UpdateReport) -> None:
    constant = settings.schedule.eta is not None and not settings.schedule.kind.has_c
    if not constant or settings.update.flow_time != 1 or not settings.update.follows_gradient:
        raise Unknown("2/max lambda_max is compared with a constant step (schedule=constant) along the gradient")
    from dlntorch.bounds.critical_step import critical_step_size

    critical = critical_step_size(problem, settings.depth_or_law, settings.alpha)
    if critical.eta is None:
        raise Unknown(critical.reason)
    found.numbers["critical_eta"] = critical.eta


# -- each optimizer -----------------------------------------------------------------------------------------------------


def _from_start(
    problem: Problem, settings: RunSettings, end: RunEnd, start: Initialization, found: UpdateReport
) -> None:
    """Gain, tilt and the end of the flow from the predicted start."""
    from dlntorch.bounds.effective import effective_initialization
    from dlntorch.limit.flow_limit import flow_limit

    sides = start.expanded(problem.n)
    known = effective_initialization(problem, settings.depth_or_law, *sides, settings.alpha)
    if known.gain is not None and known.tilt is not None:
        found.numbers["predicted_gain_mean"] = float(known.gain.mean())
        found.numbers["predicted_tilt"] = float(known.tilt.abs().max())
    limit = flow_limit(problem, settings.depth_or_law, start)
    if limit.status is not Status.CONVERGED:
        raise Unknown(limit.reason or f"the limit from there: {limit.status}")
    found.numbers["distance_to_predicted"] = float(distance(end.psi, limit.psi))


def _along(
    problem: Problem, settings: RunSettings, end: RunEnd, time: float, flow: UpdateFlow, found: UpdateReport
) -> None:
    """By the integrals along a flow to the given time of its own."""
    from dlntorch.flow.regularized import integrate_update_flow

    path = integrate_update_flow(
        problem, settings.p, settings.alpha, [time], flow, rtol=1e-8, method="LSODA", max_evaluations=MAX_EVALUATIONS
    )
    if path.trajectory.status not in (Status.MAX_TIME, Status.CONVERGED) or path.initialization is None:
        raise Unknown(f"the flow ended early: {path.reason or path.trajectory.reason or path.trajectory.status}")
    _from_start(problem, settings, end, path.initialization, found)


def _momentum(problem: Problem, settings: RunSettings, end: RunEnd, update: Momentum, found: UpdateReport) -> None:
    from dlntorch.flow.regularized import HeavyBallFlow

    if update.nesterov:
        raise Unknown("Nesterov's steps have no flow here: heavy ball's have (optimizer.nesterov=false)")
    if update.beta == 0:
        raise Unknown("beta = 0 is plain SGD")
    flow = HeavyBallFlow.of(end.eta, update.beta)
    found.words = (
        f"heavy-ball flow of mass eta beta/(1 - beta)^2 = {flow.mass:.3g}; steps add to its gain, "
        f"{(1 + update.beta) / (2 * update.beta):.3g} times it to first order"
    )
    _along(problem, settings, end, end.time * update.flow_time, flow, found)


def _sam(problem: Problem, settings: RunSettings, end: RunEnd, update: SAM, found: UpdateReport) -> None:
    from dlntorch.flow.regularized import SAMFlow

    if update.normalized:
        raise Unknown("normalized SAM has no flow here: its ball does not shrink with the gradient")
    found.words = f"SAM flow with rho = {update.rho:g}; the size of the steps adds to its gain"
    _along(problem, settings, end, end.time, SAMFlow(update.rho), found)


def _decay(problem: Problem, settings: RunSettings, end: RunEnd, update: WeightDecay, found: UpdateReport) -> None:
    if update.until is not None and end.time >= update.until:
        factor = float(torch.exp(torch.tensor(-update.strength * update.until, dtype=torch.float64)))
        found.words = f"the limit of the flow from alpha e^(-lambda T), a factor of {factor:.6g}"
        _from_start(problem, settings, end, Initialization.of(settings.alpha).scaled(factor), found)
        return
    if update.strength == 0:
        raise Unknown("strength = 0 is plain SGD")
    p = float(settings.p or 0)
    found.words = f"a stationary point of 1/2 ||A psi - y||^2 + lambda/2 sum |psi|^(2/p), lambda = {update.strength:g}"
    g = problem.A.T @ (problem.y - problem.A @ end.psi)
    grown = end.theta[0] >= end.theta[1]
    theta = torch.where(grown, end.theta[0], end.theta[1])
    on = theta > 1e-3 * theta.max()  # the others die like e^(-lambda t)
    slope = torch.where(grown, g, -g)[on] * p * theta[on] ** (p - 2)
    found.numbers["optimality_violation"] = float((slope / update.strength - 1).abs().max())
    if settings.law.lasso:  # at p > 2 the penalty is not convex
        _lasso(problem, torch.full((problem.n,), update.strength / 2, dtype=torch.float64), end.psi, found)


def _lasso(problem: Problem, strengths: Tensor, psi: Tensor, found: UpdateReport) -> Tensor:
    from dlntorch.bounds.label_noise import lasso_end

    best = lasso_end(problem, strengths)
    if best.status is not Status.CONVERGED:
        raise Unknown("the lasso's path was lost before its minimiser")
    found.numbers["distance_to_predicted"] = float(distance(psi, best.psi))
    return best.psi


def _label_noise(problem: Problem, settings: RunSettings, end: RunEnd, update: LabelNoise, found: UpdateReport) -> None:
    if not settings.law.lasso or settings.batch_size is not None:
        raise Unknown("label noise is predicted for p = 2 and full batches")
    if update.sigma == 0:
        raise Unknown("sigma = 0 is plain SGD")
    from dlntorch.bounds.label_noise import kkt_residual
    from dlntorch.engine.label_noise_mean import label_noise_mean

    norms = (problem.A * problem.A).sum(dim=0)
    strengths = end.eta * update.sigma**2 * norms
    found.words = (
        "in the mean the lasso with lambda_i = eta sigma^2 ||A_i||^2; before, the gain grows at 4 eta sigma^2 ||A_i||^2"
    )
    found.numbers["predicted_gain_mean"] = float(4 * strengths.mean()) * end.time
    found.numbers["predicted_tilt"] = 0.0
    lasso = _lasso(problem, strengths, end.psi, found)
    if end.steps * problem.m * problem.n > MAX_REPEATED or end.steps < 64:
        raise Unknown(
            f"the mean of psi is made for 64 steps at least and {MAX_REPEATED} entries of A times steps at most: "
            "dlntorch.engine.label_noise_mean makes it for more"
        )
    mean = label_noise_mean(
        problem, settings.alpha, end.eta, update.sigma,
        steps=end.steps // 2, burn_in=end.steps - end.steps // 2, seed=settings.seed,
    )  # fmt: skip
    found.numbers["optimality_violation"] = kkt_residual(problem, mean.psi, strengths)
    found.numbers["mean_distance_to_predicted"] = float(distance(mean.psi, lasso))
    found.numbers["mean_standard_error"] = float(mean.standard_error.norm())
    on = (lasso != 0) & (mean.standard_error > 0)
    if bool(on.any()):
        found.numbers["mean_in_standard_errors"] = float(((mean.psi - lasso).abs() / mean.standard_error)[on].max())


_PREDICTIONS: dict[type[Update], Callable[[Problem, RunSettings, RunEnd, Any, UpdateReport], None]] = {
    Momentum: _momentum,
    SAM: _sam,
    WeightDecay: _decay,
    LabelNoise: _label_noise,
}
