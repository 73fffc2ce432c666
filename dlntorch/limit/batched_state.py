"""Where a batch of problems is on its central paths, and what is recorded of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["BatchedPoints", "PathRecord", "PathState"]


@dataclass
class BatchedPoints:
    """The path at k values of a, for B problems; the fields are those of ``PathPoint``, with axes (B, k) in front."""

    psi: Tensor
    tau: Tensor
    gap: Tensor
    log_a: Tensor
    residual: Tensor
    dual_residual: Tensor
    uncertainty: Tensor
    steps: Tensor
    converged: Tensor


@dataclass
class PathState:
    """Where B problems are: (B, n) for ψ, b and e, (B,) for the rest; everything before it is moved is replaced.

    ``goal`` is the log a of the level being solved, ``target`` the index of the α it leads to, ``used`` counts linear
    steps at this level and ``steps`` those since the last recorded point.
    """

    psi: Tensor
    b: Tensor
    e: Tensor
    log_a: Tensor
    goal: Tensor
    step: Tensor
    last: Tensor
    target: Tensor
    used: Tensor
    best: Tensor
    idle: Tensor
    mended: Tensor
    steps: Tensor
    saved_psi: Tensor
    saved_b: Tensor
    saved_e: Tensor
    saved_log_a: Tensor

    def where(self, mask: Tensor, **new: Tensor | float) -> None:
        """Replace fields where ``mask`` (B,)."""
        for name, value in new.items():
            old = getattr(self, name)
            chosen = mask[:, None] if old.ndim == 2 else mask
            setattr(self, name, torch.where(chosen, torch.as_tensor(value, dtype=old.dtype, device=old.device), old))

    def take(self, rows: Tensor) -> PathState:
        return PathState(**{name: value[rows] for name, value in vars(self).items()})


class PathRecord:
    """The states of B problems at k targets."""

    def __init__(self, problems: int, k: int, psi: Tensor) -> None:
        n = psi.shape[1]
        self.psi, self.b, self.e = (psi.new_zeros(problems, k, n) for _ in range(3))
        self.log_a, self.change = psi.new_zeros(problems, k), psi.new_zeros(problems, k)
        self.steps = torch.zeros(problems, k, dtype=torch.int64, device=psi.device)
        self.converged = torch.zeros(problems, k, dtype=torch.bool, device=psi.device)

    def put(self, rows: Tensor, state: PathState, arrived: Tensor, stuck: Tensor, change: Tensor) -> None:
        """Write the problems that arrived at their target, or will never."""
        some = torch.nonzero(arrived | stuck)[:, 0]
        where = rows[some], state.target[some]
        for name in ("psi", "b", "e", "log_a", "steps"):
            getattr(self, name)[where] = getattr(state, name)[some]
        self.change[where] = torch.where(stuck, torch.zeros_like(change), change)[some]
        self.converged[where] = arrived[some]
