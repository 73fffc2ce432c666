"""Noisy sparse problems: the best point of a path, for the flow, SGD, the saddles of α → 0, and the lasso."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dlntorch.flow.integrate import integrate_flow
from dlntorch.model import as_parametrization
from dlntorch.problem import Problem
from dlntorch.reference.lasso import lasso_path
from dlntorch.reference.saddle_walls import law_of
from dlntorch.reference.saddles import saddle_path
from dlntorch.run import train

__all__ = ["Target", "best_of_lasso", "best_of_path", "best_of_saddles", "oracle_error"]

#: Points of a path in rescaled time, up to so many times the end of the plateau that is predicted to be the best.
TIMES, BEYOND = 1000, 1.5
#: Jumps that are computed at most: the ones that matter come first.
PLATEAUS = 200


def best_of_lasso(problem: Problem, truth: np.ndarray) -> float | None:
    """min over λ of ‖ψ_λ − truth‖₂ for ψ_λ = argmin ½‖Aψ − y‖₂² + λ‖ψ‖₁; None where the path is lost."""
    path = lasso_path(problem)
    return None if path.reason else path.nearest(truth)[0]


@dataclass(frozen=True)
class Target:
    """The best plateau of the flow for α → 0: its error, and rescaled times: its middle, and where a path may end."""

    error: float
    middle: float
    until: float


def best_of_saddles(problem: Problem, truth: np.ndarray) -> Target:
    """The plateau of the smallest ‖ψ − truth‖₂."""
    path = saddle_path(problem, max_jumps=PLATEAUS)
    errors = np.linalg.norm(path.psi.numpy() - truth, axis=1)
    best = int(np.argmin(errors))
    edges = [0.0, *path.times.tolist(), math.inf]
    start, end = edges[best], edges[best + 1]
    end = end if math.isfinite(end) else 2 * start
    return Target(float(errors[best]), (start + end) / 2, BEYOND * end)


def best_of_path(
    problem: Problem, truth: np.ndarray, p: float, alpha: float, target: Target, kappa: float | None = None
) -> tuple[float, float] | None:
    """(min over t of ‖ψ(t) − truth‖₂, the same at the middle of the target), along the flow or, with κ, plain SGD.

    The rescaled time is T = p(p−2)α^{p−2}t (p = 2: 2t/log(1/α)). SGD is looked at on its recorded steps. None where the
    path ended before the target's end.
    """
    unit = law_of(as_parametrization(p)).rate(alpha)
    if kappa is None:
        path = integrate_flow(problem, p, alpha, np.linspace(0.0, target.until, TIMES + 1)[1:] / unit, rtol=1e-5)
        complete = len(path.t) == TIMES
    else:
        run = train(problem, p, alpha, kappa=kappa, max_time=target.until / unit, tol=0, references=False)
        path, complete = run.trajectory, not run.status.ended_badly
    if not complete:
        return None
    errors = np.linalg.norm(path.psi.numpy() - truth, axis=1)
    return float(errors.min()), float(errors[np.argmin(np.abs(path.t.numpy() * unit - target.middle))])


def oracle_error(problem: Problem, truth: np.ndarray) -> float:
    """‖ψ − truth‖₂ of least squares on the true support, which nobody knows."""
    support = np.flatnonzero(truth)
    found = np.linalg.lstsq(problem.A.numpy()[:, support], problem.y.numpy(), rcond=None)[0]
    return float(np.linalg.norm(found - truth[support]))
