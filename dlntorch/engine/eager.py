"""The readable engine: the gradient by hand in torch, one step at a time, on any device.

With g = Aᵀ(y − Aψ) the step is θ₊ += η p θ₊^{p−1} ∘ g and θ₋ −= η p θ₋^{p−1} ∘ g. A mini-batch of b rows replaces A and
y by those rows and g by (m/b) times theirs. The compiled engines equal this one.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from dlntorch.engine.base import Engine
from dlntorch.numerics.trajectory import Status
from dlntorch.optim.step_size import StepRule
from dlntorch.problem.operators import Operator

__all__ = ["EagerEngine", "gradient"]


def gradient(theta: tuple[Tensor, Tensor], p: float, g: Tensor) -> tuple[Tensor, Tensor]:
    """∇L(θ) = (−p θ₊^{p−1} ∘ g, p θ₋^{p−1} ∘ g), each (..., n), from g = Aᵀ(y − Aψ) of shape (..., n)."""
    plus, minus = theta
    return -p * plus ** (p - 1) * g, p * minus ** (p - 1) * g


class EagerEngine(Engine):
    """Plain SGD in eager torch; see :class:`dlntorch.engine.base.Engine` for the arguments and the order of a step."""

    name = "eager"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rule = StepRule(self.schedule, self.network.p, self.problem.operator, self.norm())

    @torch.no_grad()
    def advance(self, steps: int) -> Status | None:
        """Make up to ``steps`` further steps; a status when the run has ended, else None."""
        for _ in range(steps):
            status, r = self._check()
            status = self._step(r) if status is None else status
            if status is not None:
                return status
        return None if steps else self._check()[0]

    def _check(self) -> tuple[Status | None, Tensor | None]:
        """The status that θ_k ends the run with, and the full residual where this step looks at it."""
        progress, stopping = self.progress, self.stopping
        r = None
        if self.checks_residual(progress.step):
            r = self.problem.residual(self.network.psi)
            progress.residual = float(self.problem.operator.maximum(torch.linalg.vector_norm(r)[None]))
            if stopping.tol > 0 and progress.residual <= self.threshold:
                return Status.CONVERGED, r
        if progress.step >= stopping.max_steps:
            return Status.MAX_STEPS, r
        return (Status.MAX_TIME if progress.time >= stopping.max_time else None), r

    def _step(self, r: Tensor | None) -> Status | None:
        """One step from θ_k, or the status that refuses it; ``r`` is the full residual where it is known."""
        progress, network = self.progress, self.network
        theta = (network.theta_plus.data, network.theta_minus.data)
        g, rows = self._direction(r)
        eta = float(self.rule.eta(theta, g, rows))
        if not 0.0 < eta < math.inf:
            if self._anywhere(~torch.isfinite(g))[0]:
                return Status.DIVERGED
            progress.reason = f"the rule {self.schedule.rule} gives the step size {eta:g} at step {progress.step}"
            return Status.FAILED
        slopes = gradient(theta, network.p, g)
        proposed = (theta[0] - eta * slopes[0], theta[1] - eta * slopes[1])
        worst = torch.minimum(*proposed)  # not a number, or an infinity, where either entry is
        infinite, improper = self._anywhere(~torch.isfinite(worst + torch.maximum(*proposed)), worst <= 0)
        if infinite or improper:
            return Status.DIVERGED if infinite else Status.LEFT_POSITIVE_ORTHANT
        if self.certificate is not None:
            self.certificate.update(theta[0].cpu().numpy(), theta[1].cpu().numpy(), eta)
        theta[0].copy_(proposed[0])
        theta[1].copy_(proposed[1])
        progress.count(eta)
        return None

    def _anywhere(self, *masks: Tensor) -> list[bool]:
        """Whether each mask is true for any coordinate, here or in another process that holds columns."""
        found = torch.stack([mask.any() for mask in masks])
        return self.problem.operator.maximum(found.to(self.problem.dtype)).bool().tolist()

    def _direction(self, r: Tensor | None) -> tuple[Tensor, Operator | None]:
        """g = Aᵀ(y − Aψ) of the whole data, or of this step's mini-batch with its rows scaled by √(m/b)."""
        A, y = self.problem.operator, self.problem.y
        psi = self.network.psi
        if self.batches is None:
            return A.rmatvec(self.problem.residual(psi) if r is None else r), None
        chosen = torch.from_numpy(self.batches.rows(self.progress.step, 1)[0]).to(A.device)
        root = math.sqrt(self.batches.scale)
        rows = A.rows(chosen, root)
        return rows.rmatvec(root * y[chosen] - rows.matvec(psi)), rows

    def state_dict(self) -> dict[str, Any]:
        """Progress, and the direction of the power iteration where the rule ``stable`` keeps one."""
        state = super().state_dict()
        if self.rule.direction is not None:
            state["direction"] = self.rule.direction.clone()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state, bitwise."""
        super().load_state_dict(state)
        direction = state.get("direction")
        self.rule.direction = None if direction is None else direction.to(self.problem.y).clone()
