"""What a run of given p, α and κ would end with, from the flow and limits alone: error, steps, tolerance.

Gradient descent ends where the flow from its *effective initialization* does (theory: section 11). With x = ηpθ₊^{p−2}g, the
relative change of θ₊ in a step (−x for θ₋), a step adds θ₊^{2−p}[(1+x)^{2−p} − 1 + (p−2)x] to the weight w₊ = α₊^{2−p}; at
p = 2 it adds x − ln(1+x) to −ln α₊. Along the flow the steps are dt/η, so that the weights at the end are integrals over
it, and the end of the run is a limit from other α±. Neither needs a step to be made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from dlntorch.flow.integrate import integrate_flow
from dlntorch.limit.flow_limit import flow_limit
from dlntorch.model import Initialization
from dlntorch.model.dual import relaxation_time, theta_of_psi
from dlntorch.model.metrics import distance
from dlntorch.numerics.trajectory import Status, Trajectory
from dlntorch.problem import Problem

__all__ = ["Course", "End", "limit_errors"]

#: Points of the first pass per factor of ten of time; the largest |Δ ln ψ-scale| between two of the second.
PER_DECADE, FINEST = 12, 0.25
#: The most points that the second pass puts between two of the first, and in all.
MOST_BETWEEN, MOST_POINTS = 200, 20_000
#: Time constants after which the flow is at its limit for any purpose.
CONSTANTS = 40.0


@dataclass(frozen=True)
class End:
    """What a run of step size κ ends with, where it stops at the time t of the flow.

    Attributes:
        kappa: κ.
        limit_error: ‖ψ_κ(∞) − W‖ where it would end after all time.
        discretization: ‖ψ_κ(∞) − ψ_α(∞)‖.
        finite_time: ‖ψ(t) − ψ_α(∞)‖ of the flow.
        time, steps: t and the steps until then.
        residual: ‖Aψ − y‖/‖y‖ of the flow there.
    """

    kappa: float
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


class Course:
    """The flow of one (p, α) on a full-rank float64 problem, sampled finely enough to sum over steps.

    Args:
        problem: Of full row rank, float64, on the CPU.
        p: Depth.
        alpha: Initialization.
        selected: W_p, shape (n,).
        accuracy: What the path has to resolve.
    """

    def __init__(self, problem: Problem, p: float, alpha: float, selected: Tensor, accuracy: float) -> None:
        self.problem, self.p, self.alpha, self.selected = problem, p, alpha, selected
        found = flow_limit(problem, p, alpha)
        self.limit, self.uncertainty = found.psi, float(found.uncertainty)
        self.reason = found.reason if found.status is Status.FAILED else ""
        self.size = float(torch.linalg.vector_norm(self.limit))
        self.accuracy = accuracy
        self.initialization = float(distance(self.limit, selected))
        self.relaxation = relaxation_time(problem, p, alpha, self.limit)
        if not self.reason:
            self._sample()

    def _sample(self) -> None:
        drive = float((self.problem.y @ self.problem.A).abs().max())
        start = 1e-3 * self.alpha ** (2 - self.p) / (self.p * drive)
        horizon = max(CONSTANTS * self.relaxation, 1e3 * start)
        if not (0 < start < horizon < 1e280):
            self.reason = f"the flow's times, {start:.1g} to {horizon:.1g}, are out of range"
            return
        decades = math.log10(horizon / start)
        path = self._flow(np.geomspace(start, horizon, math.ceil(PER_DECADE * decades) + 1))
        if self.reason:
            return
        path = self._flow(_refined(path.t.numpy(), *self._theta(path.psi), self.p))
        if self.reason:
            return
        self.t, self.psi = path.t.numpy(), path.psi
        self.plus, self.minus = self._theta(path.psi)
        g = (self.problem.y - path.psi @ self.problem.A.mT) @ self.problem.A
        self.g = g.numpy()
        self.gap = np.maximum.accumulate(distance(path.psi, self.limit).numpy()[::-1])[::-1]
        self.residual = self.problem.relative_residual(path.psi).numpy()

    def _flow(self, times: np.ndarray) -> Trajectory:
        rtol = min(max(1e-4 * self.accuracy / max(self.size, 1e-300), 1e-11), 1e-6)
        path = None
        for method, coordinates in (("LSODA", "dual"), (None, "dual"), ("LSODA", "theta")):
            path = integrate_flow(
                self.problem, self.p, self.alpha, times, rtol=rtol, method=method, coordinates=coordinates,
                max_evaluations=200_000,
            )  # fmt: skip
            if path.status is Status.MAX_TIME:
                return path
        assert path is not None
        self.reason = path.reason or "the flow is too stiff to follow"
        return path

    def _theta(self, psi: Tensor) -> tuple[np.ndarray, np.ndarray]:
        plus, minus = theta_of_psi(psi, self.p, self.alpha)
        return plus.numpy(), minus.numpy()

    @cached_property
    def _rates(self) -> tuple[np.ndarray, np.ndarray]:
        """ρ and Λ along the path."""
        p = self.p
        rho = p * (np.maximum(self.plus, self.minus) ** (p - 2) * np.abs(self.g)).max(axis=1)
        top = (self.plus ** (2 * p - 2) + self.minus ** (2 * p - 2)).max(axis=1)
        return rho, p * p * self.problem.spectral_norm**2 * top + (p - 1) * rho

    def eta(self, kappa: float) -> np.ndarray:
        """The relative rule's η (c = 1) along the path."""
        rho, bound = self._rates
        return np.minimum(1 / bound, kappa / np.maximum(rho, 1e-300))

    def effective(self, kappa: float) -> Initialization:
        """α± that the whole run is a flow from."""
        p, eta = self.p, self.eta(kappa)
        weights = np.gradient(self.t) / eta  # steps between the points
        weights[0] += self.t[0] / eta[0]
        sides = []
        for theta, sign in ((self.plus, 1.0), (self.minus, -1.0)):
            x = sign * p * eta[:, None] * theta ** (p - 2) * self.g
            x = np.clip(x, -0.9, 0.9)
            if p == 2:
                sides.append(self.alpha * np.exp((weights[:, None] * (np.log1p(x) - x)).sum(axis=0)))
                continue
            per_step = np.expm1((2 - p) * np.log1p(x)) + (p - 2) * x
            added = (weights[:, None] * (theta / self.alpha) ** (2 - p) * per_step).sum(axis=0)
            sides.append(self.alpha * (1 + np.maximum(added, 0)) ** (1 / (2 - p)))
        return Initialization(*sides)

    def end(self, kappa: float, allowed: float) -> End | None:
        """The end of a run of κ that stops where it is ``allowed`` from W; None where its limit is farther already."""
        found = flow_limit(self.problem, self.p, self.effective(kappa))
        if found.status is Status.FAILED:
            return None
        off = float(distance(found.psi, self.selected))
        rest = allowed - off
        if not rest > 0:
            return None
        eta = self.eta(kappa)
        near = np.flatnonzero(self.gap <= rest)
        k = int(near[0]) if near.size else len(self.t) - 1
        steps = float(np.trapezoid(1 / eta[: k + 1], self.t[: k + 1]) + self.t[0] / eta[0])
        time, gap, residual = float(self.t[k]), float(self.gap[k]), float(self.residual[k])
        if not near.size:  # the path's own errors hide the rest of the way: it is exponential
            more = self.relaxation * math.log(gap / rest)
            time, steps, residual, gap = time + more, steps + more / float(eta[k]), residual * rest / gap, rest
        return End(kappa, off, float(distance(found.psi, self.limit)), gap, time, steps, residual)


def _refined(t: np.ndarray, plus: np.ndarray, minus: np.ndarray, p: float) -> np.ndarray:
    """Times with more points where θ moves fast."""
    moved = p * np.maximum(np.abs(np.diff(np.log(plus), axis=0)), np.abs(np.diff(np.log(minus), axis=0))).max(axis=1)
    parts = np.clip(np.ceil(moved / FINEST), 1, MOST_BETWEEN).astype(int)
    if parts.sum() > MOST_POINTS:
        parts = np.maximum(1, (parts * (MOST_POINTS / parts.sum())).astype(int))
    pieces = [np.linspace(a, b, k + 1)[:-1] for a, b, k in zip(t[:-1], t[1:], parts, strict=True)]
    return np.unique(np.concatenate([*pieces, t[-1:]]))
