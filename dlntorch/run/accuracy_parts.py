"""What a run of given p, α and κ would end with, from the flow and limits alone: error, steps, tolerance.

Gradient descent ends where the flow from its *effective initialization* does (theory: section 11). With x = ηpθ₊^{p−2}g, the
relative change of θ₊ in a step (−x for θ₋), a step adds θ₊^{2−p}[(1+x)^{2−p} − 1 + (p−2)x] to the weight w₊ = α₊^{2−p}; at
p = 2 it adds x − ln(1+x) to −ln α₊. Along a flow the steps are dt/η, so that the weights at the end are integrals over it,
and the end of the run is a limit from other α±. Descent lags behind the flow from α as its weights grow: the flow from the
effective initialization is nearer to it, and the integrals over that flow are right to second order in κ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.flow.cells import make_cell
from dlntorch.flow.collocation import Integrator
from dlntorch.limit.flow_limit import flow_limit
from dlntorch.model import Initialization, Power
from dlntorch.model.dual import relaxation_time
from dlntorch.model.metrics import distance
from dlntorch.numerics.trajectory import Status
from dlntorch.problem import Problem
from dlntorch.reference.saddle_walls import law_of
from dlntorch.run.accuracy_steps import doubtful, growth, shrunk

__all__ = ["Course", "End", "SampledFlow", "limit_errors"]

#: Times at which a path is looked at, per factor of ten, and of a second look where it ends.
PER_DECADE, CLOSER = 16, 40
#: The run may take so much longer than the flow before it is stopped.
LATE = 1.3
#: A relative residual below this is rounding: the run stops by its time.
ROUNDING = 1e-13
#: Time constants after which the flow is at its limit for any purpose.
CONSTANTS = 40.0


@dataclass(frozen=True)
class End:
    """What a run of step size κ ends with, where it stops so that ‖ψ − W‖ is small enough from there on.

    Attributes:
        kappa: κ.
        error: ‖ψ − W‖ there.
        limit_error: ‖ψ_κ(∞) − W‖: where it would end after all time.
        discretization: ‖ψ_κ(∞) − ψ_α(∞)‖.
        finite_time: ‖ψ − ψ_κ(∞)‖ there.
        time, steps: t and the steps until then.
        latest, most_steps: When a run has come near, however wrong the model of its steps is, and somewhat later; its steps.
        residual: ‖Aψ − y‖/‖y‖ that is near enough, however wrong; 0 where that is rounding, and the run ends by its time.
    """

    kappa: float
    error: float
    limit_error: float
    discretization: float
    finite_time: float
    time: float
    latest: float
    most_steps: float
    steps: float
    residual: float


def limit_errors(problem: Problem, p: float, alphas: np.ndarray, selected: Tensor) -> np.ndarray:
    """‖ψ_α(∞) − W_p‖ for decreasing α, shape (k,); inf where the limit fails."""
    found = flow_limit(problem, p, alphas)
    errors = distance(found.psi, selected).numpy().copy()
    errors[[status is Status.FAILED for status in found.status]] = math.inf
    return errors


class _Sampler(Integrator):
    """The flow's own steps, which are short where it jumps: the points of their quadrature rule, and its weights."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.samples: list[tuple[np.ndarray, ...]] = []
        nodes = self.method.nodes
        powers = np.arange(nodes.size)
        self._rule = np.linalg.solve(np.vander(nodes, increasing=True).T, 1 / (powers + 1.0))

    def _outputs(self, path: Any, times: np.ndarray, h: float, ends: bool, found: Any, *others: Any) -> None:
        at = self.t + (self.t_low + h * self.method.nodes)
        psi = self.cell.psi + self.cell.change(found.steps)
        self.samples.append((at, h * self._rule, psi, self.cell.theta(found.steps)))
        super()._outputs(path, times, h, ends, found, *others)


class SampledFlow:
    """A flow on a full-rank float64 problem from any start of depth p, sampled finely enough to sum over steps.

    Args:
        problem: Of full row rank, float64, on the CPU.
        p: Depth.
        start: α, or an :class:`Initialization`.
        limit: Its ψ(∞), shape (n,).
        accuracy: What the path has to resolve.
        last: The slow time of the last jump as α → 0.
        extra: Times at which it is looked at besides.

    Attributes:
        t, weight: Times (k,), and the weights of ∫f dt ≈ Σ weight f(t); 0 at times that only look.
        psi, theta, g, residual: ψ (k, n), θ (k, 2, n), Aᵀ(y − Aψ) (k, n), ‖Aψ − y‖/‖y‖ (k,).
        reason: Why it could not be followed.
    """

    def __init__(
        self, problem: Problem, p: float, start: Any, limit: Tensor, accuracy: float, last: float, extra: Any = ()
    ) -> None:
        self.problem, self.p, self.limit, self.reason = problem, p, limit, ""
        theta = Power(p).start(start, problem.n)
        least = float(theta.min())
        size = max(float(limit.abs().max()), 1e-300)
        drive = float((problem.y @ problem.A).abs().max())
        begin = 1e-3 * least ** (2 - p) / (p * drive)
        clock = law_of(Power(p))
        jumps = last / clock.rate(least) if clock.runs(least) else 0.0
        horizon = max(CONSTANTS * relaxation_time(problem, p, least, limit) + 2 * jumps, 1e3 * begin)
        if not (0 < begin < horizon < 1e280):
            self.reason = f"the flow's times, {begin:.1g} to {horizon:.1g}, are out of range"
            return
        times = np.geomspace(begin, horizon, math.ceil(PER_DECADE * math.log10(horizon / begin)) + 1)
        times = np.unique(np.concatenate([times, [t for t in extra if 0 < t < horizon]]))
        A, y = problem.A.numpy(), problem.y.numpy()
        rtol = min(max(1e-3 * accuracy / size, 1e-11), 1e-6)
        integrator = _Sampler(A, y, make_cell(Power(p), theta), rtol, size, max_evaluations=200_000)
        path = integrator.integrate(times)
        if path.status is not Status.MAX_TIME:
            self.reason = path.reason or "the flow is too stiff to follow"
            return
        t, weight, psi, theta = (np.concatenate(parts) for parts in zip(*integrator.samples, strict=True))
        looked = np.concatenate(path.times)
        order = np.argsort(np.concatenate([t, looked]), kind="stable")
        self.t = np.concatenate([t, looked])[order]
        self.weight = np.concatenate([weight, np.zeros(looked.size)])[order]
        self.psi = torch.from_numpy(np.concatenate([psi, *path.psi])[order])
        self.theta = np.concatenate([theta, *path.theta])[order]
        self.g = ((problem.y - self.psi @ problem.A.mT) @ problem.A).numpy()
        self.residual = problem.relative_residual(self.psi).numpy()

    def farthest(self, target: Tensor) -> np.ndarray:
        """The largest distance from ``target`` at and after each time."""
        return np.maximum.accumulate(distance(self.psi, target).numpy()[::-1])[::-1]

    def eta(self, kappa: float) -> np.ndarray:
        """The relative rule's η (c = 1) along the path."""
        p = self.p
        rho = p * (self.theta.max(axis=1) ** (p - 2) * np.abs(self.g)).max(axis=1)
        top = (self.theta ** (2 * p - 2)).sum(axis=1).max(axis=1)
        bound = p * p * self.problem.spectral_norm**2 * top + (p - 1) * rho
        return np.minimum(1 / bound, kappa / np.maximum(rho, 1e-300))

    def counted(self, kappa: float) -> np.ndarray:
        """Steps of κ until each time."""
        return np.cumsum(self.weight / self.eta(kappa))

    def added(self, alpha: float, kappa: float) -> np.ndarray:
        """What descent with κ along this path adds to the weights (θ±(0)/α)^{2−p}, at p = 2 to −ln(θ±(0)/α), (2, n)."""
        p, eta = self.p, self.eta(kappa)
        count = (self.weight / eta)[:, None, None]  # steps about each point
        signed = np.stack([self.g, -self.g], axis=1)
        x = np.clip(p * eta[:, None, None] * self.theta ** (p - 2) * signed, -0.9, 0.9)
        per_step = (self.theta / alpha) ** (2 - p) * Power(p).step_weight(x)
        return np.maximum((count * per_step).sum(axis=0), 0.0)


class Course:
    """The flow from one α, and where descent with any κ ends beside it.

    Args:
        problem: Of full row rank, float64, on the CPU.
        p: Depth.
        alpha: Initialization.
        selected: W_p, shape (n,).
        accuracy: What the path has to resolve.
        last: The slow time of the last jump as α → 0.
    """

    def __init__(
        self, problem: Problem, p: float, alpha: float, selected: Tensor, accuracy: float, last: float
    ) -> None:
        self.problem, self.p, self.alpha, self.selected = problem, p, alpha, selected
        self.accuracy, self.last = accuracy, last
        self.limit = flow_limit(problem, p, alpha).psi
        self.initialization = float(distance(self.limit, selected))
        self.path = SampledFlow(problem, p, alpha, self.limit, accuracy, last)
        self.reason = self.path.reason

    def effective(self, kappa: float) -> Initialization:
        """α± from which the flow ends where descent with κ does, to first order in κ."""
        return shrunk(self.alpha, self.p, self.path.added(self.alpha, kappa) * growth(self.p, kappa))

    def limit_error(self, kappa: float) -> float:
        """‖ψ_κ(∞) − W‖ from there; inf where it cannot be computed."""
        return self._off(self.effective(kappa), self.selected)

    def second_order(self, kappa: float) -> np.ndarray | str:
        """What descent with κ adds to the weights, (2, n), along the flow that lags as descent does; or why not."""
        first = self.effective(kappa)
        limit = flow_limit(self.problem, self.p, first).psi
        path = SampledFlow(self.problem, self.p, first, limit, self.accuracy, self.last)
        return path.reason or path.added(self.alpha, kappa)

    def _off(self, start: Initialization, target: Tensor) -> float:
        found = flow_limit(self.problem, self.p, start)
        return math.inf if found.status is Status.FAILED else float(distance(found.psi, target))

    def rough(self, kappa: float, allowed: float) -> float:
        """Steps of κ until the flow itself, from α, is within ``allowed`` of W for good."""
        path = self.path
        near = np.flatnonzero(path.farthest(self.selected) <= allowed)
        return float(self.path.counted(kappa)[int(near[0]) if near.size else -1])

    def end(self, kappa: float, allowed: float) -> End | str:
        """The end of a run of κ that stops where it is within ``allowed`` of W for good; why not, where it cannot.

        Args:
            kappa: κ.
            allowed: ‖ψ − W‖ at the end, however wrong the model of the steps is.
        """
        added = self.second_order(kappa)
        if isinstance(added, str):
            return added
        A, selected = self.problem.A.numpy(), self.selected
        nominal, *others = (
            _Ending.of(self, shrunk(self.alpha, self.p, each), allowed)
            for each in (added, *doubtful(A, selected.numpy(), self.alpha, self.p, added, kappa))
        )
        reason = next((ending.path.reason for ending in (nominal, *others) if ending.path.reason), "")
        if reason:
            return reason
        endings = (nominal, *others)
        if math.isinf(max(ending.time for ending in endings)):
            farthest = max(float(ending.far[-1]) for ending in endings)
            return f"the steps may move the end {farthest:.2g} from W_p"
        # at this residual each of the paths has come near enough
        residual = min(ending.at(ending.time, ending.path.residual) for ending in endings)
        ends = [ending.reaches(residual) for ending in endings]
        latest = LATE * max(ends)
        residual = residual if residual > ROUNDING else 0.0
        time = nominal.reaches(residual) if residual else latest
        path, limit = nominal.path, nominal.path.limit
        return End(
            kappa=kappa,
            error=nominal.at(time, nominal.far),
            limit_error=float(distance(limit, selected)),
            discretization=float(distance(limit, self.limit)),
            finite_time=nominal.at(time, distance(path.psi, limit).numpy()),
            time=time,
            latest=latest,
            most_steps=max(ending.steps(kappa, t) for ending, t in zip(endings, ends, strict=True)),
            steps=nominal.steps(kappa, time),
            residual=residual,
        )

    def within(self, kappa: float, steps: float) -> float:
        """The distance from W that the flow does not leave again after so many steps of κ."""
        k = int(np.searchsorted(self.path.counted(kappa), steps)) - 1
        return float(self.path.farthest(self.selected)[max(k, 0)])


@dataclass(frozen=True)
class _Ending:
    """A path, how far from W it is at and after each time, and the time from which on it is near enough (inf: never)."""

    path: SampledFlow
    far: np.ndarray
    time: float

    @classmethod
    def of(cls, course: Course, start: Initialization, allowed: float) -> _Ending:
        """The path from ``start``, looked at more closely where it comes near."""
        limit, closer = flow_limit(course.problem, course.p, start).psi, np.zeros(0)
        while True:
            path = SampledFlow(course.problem, course.p, start, limit, course.accuracy, course.last, closer)
            if path.reason:
                return cls(path, np.zeros(0), math.inf)
            far = path.farthest(course.selected)
            near = np.flatnonzero(far <= allowed)
            if not near.size or near[0] == 0 or closer.size:
                return cls(path, far, float(path.t[near[0]]) if near.size else math.inf)
            closer = np.geomspace(path.t[near[0] - 1], path.t[near[0]], CLOSER)

    def steps(self, kappa: float, time: float) -> float:
        """Steps of κ until a time."""
        return float(np.interp(time, self.path.t, self.path.counted(kappa)))

    def at(self, time: float, values: np.ndarray) -> float:
        """Values (k,) > 0 along the path, at a time."""
        logs = np.log(np.maximum(values, 1e-300))
        return float(np.exp(np.interp(np.log(time), np.log(self.path.t), logs)))

    def reaches(self, residual: float) -> float:
        """When the residual, which falls, comes down to that; the end of the path where it does not."""
        below = np.flatnonzero(self.path.residual <= residual)
        k = int(below[0]) if below.size else len(self.path.t) - 1
        if k == 0 or not below.size:
            return float(self.path.t[k])
        logs = np.log(np.maximum(self.path.residual[k - 1 : k + 1], 1e-300))
        share = (np.log(max(residual, 1e-300)) - logs[0]) / min(logs[1] - logs[0], -1e-300)
        return float(self.path.t[k - 1] * (self.path.t[k] / self.path.t[k - 1]) ** min(max(share, 0.0), 1.0))
