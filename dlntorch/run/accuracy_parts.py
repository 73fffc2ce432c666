"""What a run of given p, α and κ would end with, from the flow and limits alone: error, steps, tolerance.

Gradient descent ends where the flow from its *effective initialization* does (theory: section 11). With x = ηpθ₊^{p−2}g, the
relative change of θ₊ in a step (−x for θ₋), a step adds θ₊^{2−p}[(1+x)^{2−p} − 1 + (p−2)x] to the weight w₊ = α₊^{2−p}; at
p = 2 it adds x − ln(1+x) to −ln α₊. Along the flow the steps are dt/η, so that the weights at the end are integrals over
it, and the end of the run is a limit from other α±. Neither needs a step to be made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from dlntorch.flow.integrate import integrate_flow
from dlntorch.limit.flow_limit import flow_limit
from dlntorch.model import Initialization, Power
from dlntorch.model.dual import relaxation_time
from dlntorch.model.metrics import distance
from dlntorch.numerics.trajectory import Status
from dlntorch.problem import Problem
from dlntorch.reference.saddle_walls import law_of

__all__ = ["Course", "End", "SampledFlow", "limit_errors"]

#: Points of the first pass per factor of ten of time; the largest |Δ ln ψ-scale| between two of the second.
PER_DECADE, FINEST = 16, 0.2
#: The most points that the second pass puts between two of the first, and in all.
MOST_BETWEEN, MOST_POINTS = 200, 20_000
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
        residual: ‖Aψ − y‖/‖y‖ there.
    """

    kappa: float
    error: float
    limit_error: float
    discretization: float
    finite_time: float
    time: float
    steps: float
    residual: float


def limit_errors(problem: Problem, p: float, alphas: np.ndarray, selected: Tensor) -> np.ndarray:
    """‖ψ_α(∞) − W_p‖ for decreasing α, shape (k,); inf where the limit fails."""
    found = flow_limit(problem, p, alphas)
    errors = distance(found.psi, selected).numpy().copy()
    errors[[status is Status.FAILED for status in found.status]] = math.inf
    return errors


class SampledFlow:
    """A flow on a full-rank float64 problem from any start of depth p, sampled finely enough to sum over steps.

    Args:
        problem: Of full row rank, float64, on the CPU.
        p: Depth.
        start: α, or an :class:`Initialization`.
        limit: Its ψ(∞), shape (n,).
        accuracy: What the path has to resolve.
        last: The slow time of the last jump as α → 0.
    """

    def __init__(self, problem: Problem, p: float, start: Any, limit: Tensor, accuracy: float, last: float) -> None:
        self.problem, self.p, self.limit = problem, p, limit
        self.mirror = Power(p).mirror(Power(p).start(start, problem.n))
        self.least = float(self.mirror.start.min())
        self.rtol = min(max(1e-3 * accuracy / max(float(limit.abs().max()), 1e-300), 1e-11), 1e-6)
        self.relaxation = relaxation_time(problem, p, self.least, limit)
        self.reason = ""
        drive = float((problem.y @ problem.A).abs().max())
        begin = 1e-3 * self.least ** (2 - p) / (p * drive)
        jumps = last / law_of(Power(p)).rate(self.least) if p > 2 or self.least < 1 else 0.0
        horizon = max(CONSTANTS * self.relaxation + 2 * jumps, 1e3 * begin)
        if not (0 < begin < horizon < 1e280):
            self.reason = f"the flow's times, {begin:.1g} to {horizon:.1g}, are out of range"
            return
        first = np.geomspace(begin, horizon, math.ceil(PER_DECADE * math.log10(horizon / begin)) + 1)
        psi = self._flow(start, first)
        if psi is None:
            return
        self.t = _refined(first, self.mirror_theta(psi), p)
        psi = self._flow(start, self.t)
        if psi is None:
            return
        self.psi, self.theta = psi, self.mirror_theta(psi)
        self.g = ((problem.y - psi @ problem.A.mT) @ problem.A).numpy()
        self.residual = problem.relative_residual(psi).numpy()

    def mirror_theta(self, psi: Tensor) -> np.ndarray:
        """θ on the curves of the start, (k, 2, n)."""
        return self.mirror.theta(psi).movedim(0, 1).numpy()

    def _flow(self, start: Any, times: np.ndarray) -> Tensor | None:
        path = integrate_flow(self.problem, self.p, start, times, rtol=self.rtol, max_evaluations=200_000)
        if path.status is Status.MAX_TIME:
            return path.psi
        self.reason = path.reason or "the flow is too stiff to follow"
        return None

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

    def effective(self, kappa: float, excess: float = 1.0) -> Initialization:
        """α± from which the flow ends where descent with κ does; ``excess`` times the shrinking, to see how sure it is."""
        p, path, eta = self.p, self.path, self.path.eta(kappa)
        count = np.gradient(path.t) / eta  # steps about each point
        count[0] += path.t[0] / eta[0]
        sides = []
        for side, sign in ((0, 1.0), (1, -1.0)):
            theta = path.theta[:, side]
            x = np.clip(sign * p * eta[:, None] * theta ** (p - 2) * path.g, -0.9, 0.9)
            if p == 2:
                sides.append(self.alpha * np.exp(excess * (count[:, None] * (np.log1p(x) - x)).sum(axis=0)))
                continue
            per_step = np.expm1((2 - p) * np.log1p(x)) + (p - 2) * x
            added = (count[:, None] * (theta / self.alpha) ** (2 - p) * per_step).sum(axis=0)
            sides.append(self.alpha * (1 + excess * np.maximum(added, 0)) ** (1 / (2 - p)))
        return Initialization(*sides)

    def limit_error(self, kappa: float, excess: float = 1.0) -> float:
        """‖ψ_κ(∞) − W‖; inf where it cannot be computed."""
        found = flow_limit(self.problem, self.p, self.effective(kappa, excess))
        return math.inf if found.status is Status.FAILED else float(distance(found.psi, self.selected))

    def rough(self, kappa: float, allowed: float) -> float:
        """Steps of κ until the flow itself, from α, is within ``allowed`` of W for good."""
        path = self.path
        near = np.flatnonzero(path.farthest(self.selected) <= allowed)
        return float(self._counted(kappa)[int(near[0]) if near.size else -1])

    def end(self, kappa: float, allowed: float) -> End | str:
        """The end of a run of κ that stops where it is within ``allowed`` of W for good; why not, where it cannot."""
        start = self.effective(kappa)
        limit = flow_limit(self.problem, self.p, start).psi
        off = float(distance(limit, self.selected))
        path = SampledFlow(self.problem, self.p, start, limit, self.accuracy, self.last)
        if path.reason:
            return path.reason
        far = path.farthest(self.selected)
        near = np.flatnonzero(far <= allowed)
        if not near.size:
            return f"the flow ends {far[-1]:.2g} from W_p"
        k = int(near[0])
        share = 0.0  # of the way back to the point before, in log time
        if k > 0:
            share = float(np.log(allowed / far[k]) / np.log(far[k - 1] / far[k]))

        def between(values: np.ndarray) -> float:
            return float(np.exp((1 - share) * np.log(values[k]) + share * np.log(values[max(k - 1, 0)])))

        time = between(path.t)
        return End(
            kappa=kappa,
            error=between(far),
            limit_error=off,
            discretization=float(distance(limit, self.limit)),
            finite_time=between(np.maximum(distance(path.psi, limit).numpy(), 1e-300)),
            time=time,
            steps=float(np.interp(time, self.path.t, self._counted(kappa))),
            residual=between(np.maximum(path.residual, 1e-300)),
        )

    def _counted(self, kappa: float) -> np.ndarray:
        """Steps until each time of the path."""
        t, inverse = self.path.t, 1 / self.path.eta(kappa)
        return t[0] * inverse[0] + np.concatenate([[0.0], np.cumsum(np.diff(t) * 0.5 * (inverse[1:] + inverse[:-1]))])

    def within(self, kappa: float, steps: float) -> float:
        """The distance from W that the flow does not leave again after so many steps of κ."""
        k = int(np.searchsorted(self._counted(kappa), steps)) - 1
        return float(self.path.farthest(self.selected)[max(k, 0)])


def _refined(t: np.ndarray, theta: np.ndarray, p: float) -> np.ndarray:
    """Times with more points where θ (k, 2, n) moves fast."""
    moved = p * np.abs(np.diff(np.log(theta), axis=0)).max(axis=(1, 2))
    parts = np.clip(np.ceil(moved / FINEST), 1, MOST_BETWEEN).astype(int)
    if parts.sum() > MOST_POINTS:
        parts = np.maximum(1, (parts * (MOST_POINTS / parts.sum())).astype(int))
    pieces = [np.linspace(a, b, k + 1)[:-1] for a, b, k in zip(t[:-1], t[1:], parts, strict=True)]
    return np.unique(np.concatenate([*pieces, t[-1:]]))
