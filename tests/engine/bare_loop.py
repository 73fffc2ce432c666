"""What a person would write: autograd and ``torch.optim.SGD`` in a loop, with the schedule's step size."""

from __future__ import annotations

import math

import numpy as np
import torch

from dlntorch.engine import RowBatches
from dlntorch.optim.step_size import Schedule, StepRule
from dlntorch.problem import Problem

__all__ = ["bare_loop"]


def bare_loop(
    problem: Problem, p: float, schedule: Schedule, batch: int | None, steps: int, alpha: float, seed: int = 7
) -> np.ndarray:
    """θ = (θ₊, θ₋), shape (2, n), after ``steps`` steps; nothing of the package but the rule and the stream of rows."""
    plus = torch.full((problem.n,), alpha, dtype=problem.dtype, requires_grad=True)
    minus = torch.full((problem.n,), alpha, dtype=problem.dtype, requires_grad=True)
    optimizer = torch.optim.SGD([plus, minus], lr=1.0)
    rule = StepRule(schedule, p, problem.A, problem.spectral_norm)
    rows = None if batch is None else torch.from_numpy(RowBatches(problem.m, batch, seed).rows(0, steps))
    scale = 1.0 if batch is None else problem.m / batch
    for k in range(steps):
        A, y = (problem.A, problem.y) if rows is None else (problem.A[rows[k]], problem.y[rows[k]])
        optimizer.zero_grad()
        residual = y - A @ (plus**p - minus**p)
        (0.5 * scale * residual.square().sum()).backward()
        g = scale * (A.T @ residual.detach())
        eta = rule.eta((plus.detach(), minus.detach()), g, None if batch is None else math.sqrt(scale) * A)
        optimizer.param_groups[0]["lr"] = eta
        optimizer.step()
    return torch.stack([plus.detach(), minus.detach()]).numpy()
