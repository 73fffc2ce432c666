"""The step sizes that a schedule's rule chooses at many points of a path at once."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dlntorch.model.metrics import sharpness
from dlntorch.optim.step_size import Schedule
from dlntorch.problem import Problem

__all__ = ["step_sizes_along"]


def step_sizes_along(problem: Problem, p: float, theta: tuple[Tensor, Tensor], schedule: Schedule) -> np.ndarray:
    """η at each point, shape (k,).

    Args:
        problem: The data, dense.
        p: Depth.
        theta: θ₊ and θ₋ at the points, each of shape (k, n).
        schedule: Whose rule it is, with its numbers.
    """
    plus, minus = theta
    if schedule.rule == "constant":
        return np.full(len(plus), schedule.eta)
    if schedule.rule == "stable":
        return (schedule.c / sharpness(problem, plus, minus, p)).numpy()
    g = problem.residual(plus**p - minus**p) @ problem.A
    rho = p * (torch.maximum(plus, minus) ** (p - 2) * g.abs()).amax(dim=1)
    top = (plus ** (2 * p - 2) + minus ** (2 * p - 2)).amax(dim=1)
    eta = schedule.c / (p * p * problem.spectral_norm**2 * top + (p - 1) * rho)
    if schedule.kappa is not None:
        eta = torch.minimum(eta, schedule.kappa / rho)
    return eta.numpy()
