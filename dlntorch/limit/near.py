"""The limit of the flow through a given θ: where a run's end is, but for what its residual is not yet 0.

The flow from the effective start of an end θ goes through θ (:mod:`dlntorch.bounds.effective`), so that its limit is found
from there by Newton's method on the dual, without a path: with D = dψ/dν,

    (A D Aᵀ) δλ = y − Aψ,   δν = Aᵀδλ,   θ moves along its curve by δν,

which never leaves the curve or ν₀ + range(Aᵀ).
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import solve_triangular
from torch import Tensor

from dlntorch.model import Parametrization
from dlntorch.problem import Problem

__all__ = ["limit_through"]

_STEPS, _SHORTENINGS = 60, 60
_GROWTH = 10.0  # of a coordinate's largest parameter in one step
_TIGHT = 1e-9  # change of θ relative to its coordinate's largest parameter, whose square is rounding
_FLOOR = 4.0  # times the rounding of the residual's terms
_EPS = float(np.finfo(np.float64).eps)


def limit_through(problem: Problem, law: Parametrization, theta: Tensor) -> Tensor | None:
    """ψ(∞), shape (n,), of the flow through θ; None where Newton's method from there does not end at it.

    Args:
        problem: (A, y), dense.
        law: The parametrization.
        theta: A point of its curve, shape (width, n), float64 on the CPU.
    """
    full = problem.reduced().to("cpu", torch.float64)
    A, y = full.A.numpy(), full.y.numpy()
    for _ in range(_STEPS):
        psi = law.value(theta)
        r = y - A @ psi.numpy()
        slope = law.slope(theta)
        terms = (slope * theta).abs().sum(dim=0).numpy()
        if np.all(np.abs(r) <= _FLOOR * _EPS * (np.abs(A) @ terms + np.abs(y))):
            return psi
        move = _move(A, torch.linalg.vector_norm(slope, dim=0).numpy(), r)
        after = None if move is None else _ahead(law, theta, torch.from_numpy(move))
        if after is None:
            return None
        changed = float(((after - theta).abs() / theta.abs().amax(dim=0)).max())
        theta = after
        if changed <= _TIGHT:
            return law.value(theta)
    return None


def _ahead(law: Parametrization, theta: Tensor, move: Tensor) -> Tensor | None:
    """θ after the move, which is shortened until no coordinate grows too far; None where there is no such point."""
    size = theta.abs().amax(dim=0)
    for _ in range(_SHORTENINGS):
        after = law.along(theta, move)
        if after is None:
            return None
        if bool((after.abs().amax(dim=0) <= _GROWTH * size).all()):  # false for what is no number
            return after
        move = move / 3
    return None


def _move(A: np.ndarray, root: np.ndarray, r: np.ndarray) -> np.ndarray | None:
    """δν = D^{−1/2}Q R^{−T} r, QR = D^{1/2}Aᵀ with rows sorted: to relative accuracy where D is graded."""
    if not np.all((root > 0) & np.isfinite(root)):
        return None
    order = np.argsort(-root * np.max(np.abs(A), axis=0))
    Q, R = np.linalg.qr((A * root).T[order])
    if not np.all(np.abs(np.diag(R)) > 0):
        return None
    move = np.empty_like(root)
    move[order] = Q @ solve_triangular(R, r, trans=1, check_finite=False)
    return move / root
