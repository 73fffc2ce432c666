"""The critical step size 2/max_t λ_max(∇²L) along the flow: where gradient descent leaves it (arXiv 2505.21423)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dlntorch.flow.integrate import flow_path
from dlntorch.model import as_parametrization
from dlntorch.model.objective import sharpness
from dlntorch.numerics.threads import with_few_threads
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.numerics.validation import check_count
from dlntorch.problem import Problem

__all__ = ["CriticalStep", "critical_step_size"]


@dataclass(frozen=True)
class CriticalStep:
    """2/max_t λ_max along the flow.

    Attributes:
        eta: η_c; None with ``reason`` where the flow could not be followed to its end.
        sharpness: max_t ‖∇²L(θ(t))‖₂, from below: the largest of the states looked at.
        time: Where it was largest.
        at_end: Whether that is the end of the flow.
        reason: One line, or empty.
    """

    eta: float | None
    sharpness: float | None
    time: float | None
    at_end: bool
    reason: str = ""

    __repr__ = short_repr


@with_few_threads
def critical_step_size(problem: Problem, p: Any, alpha: Any, *, times: int = 200, tol: float = 1e-6) -> CriticalStep:
    """η_c = 2/max_t ‖∇²L(θ(t))‖₂ along the gradient flow from α to relative residual ``tol``.

    Args:
        problem: The data.
        p: Depth or parametrization.
        alpha: Where the flow starts.
        times: States on a logarithmic grid of times; as many again around the largest.
        tol: Where the flow counts as ended.

    Example:
        >>> problem = Problem([[1.0, 0.5]], [1.0])
        >>> round(critical_step_size(problem, 2, 1e-3).eta, 3)  # λ_max = 4 Σ A²|ψ| at the end
        0.5
    """
    form, count = as_parametrization(p), check_count("times", times, at_least=10)
    grid = np.geomspace(1e-4, 1e12, 2 * count)
    path = flow_path(problem, p, alpha, grid, rtol=1e-8, stop_residual=tol)
    if path.status is not Status.CONVERGED:
        return CriticalStep(
            None, None, None, False, f"the flow did not reach residual {tol:g}: {path.reason or path.status}"
        )
    end = float(path.t[-1])
    values = sharpness(problem.to("cpu", "float64"), path.theta, form).numpy()
    k = int(values.argmax())
    low, high = float(path.t[max(k - 1, 0)]), float(path.t[min(k + 1, len(values) - 1)])
    best, time = float(values[k]), float(path.t[k])
    if high > low:
        fine = flow_path(problem, p, alpha, np.linspace(low, high, count), rtol=1e-8)
        more = sharpness(problem.to("cpu", "float64"), fine.theta, form).numpy()
        if len(more) and float(more.max()) > best:
            best, time = float(more.max()), float(fine.t[int(more.argmax())])
    return CriticalStep(2 / best, best, time, time >= end)
