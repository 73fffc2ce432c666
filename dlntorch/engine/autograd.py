"""The reference engine: ``torch.optim.SGD`` on autograd's gradient, one step at a time.

Slow and beyond doubt: every faster engine is tested against it. ``SGD.step`` alone changes θ. The step size is set by
:class:`StepSizeScheduler`, a torch lr scheduler that is stepped once for every SGD step, *before* it, since η_k
depends on the gradient at θ_k.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from dlntorch.engine.base import Engine, first_improper
from dlntorch.numerics.trajectory import Status
from dlntorch.optim.step_size import StepRule
from dlntorch.problem.operators import Operator

__all__ = ["AutogradEngine", "StepSizeScheduler"]


class StepSizeScheduler(LRScheduler):
    """Sets the learning rate of every parameter group to η_k, given by a :class:`StepRule` at the current θ.

    Unlike torch's own schedulers it is stepped before ``optimizer.step()``: the rule needs the gradient that the
    step will use. Between construction and its first step the learning rate is 0, so a forgotten call shows.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, rule: StepRule) -> None:
        self.rule = rule
        self._next = 0.0
        super().__init__(optimizer)

    def propose(self, theta: tuple[Tensor, Tensor], g: Tensor, rows: Operator | None = None) -> float:
        """Compute η_k for the step about to be made; the next :meth:`step` sets it."""
        self._next = self.rule.eta(theta, g, rows)
        return self._next

    def step(self, epoch: int | None = None) -> None:
        """Set the proposed η_k as the learning rate."""
        self._step_count += 1
        self.last_epoch += 1
        for group in self.optimizer.param_groups:
            group["lr"] = self._next
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """The count of steps and the rule's direction (``stable``)."""
        return {"last_epoch": self.last_epoch, "step_count": self._step_count, "direction": self.rule.direction}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.last_epoch = state_dict["last_epoch"]
        self._step_count = state_dict["step_count"]
        direction = state_dict["direction"]
        # a checkpoint may have been written on another device
        self.rule.direction = None if direction is None else direction.to(self.optimizer.param_groups[0]["params"][0])


class AutogradEngine(Engine):
    """Plain SGD by autograd and ``torch.optim.SGD``, on any device.

    ``optimizer`` may be replaced by a wrapper with the same ``step`` and ``zero_grad`` (Lightning's, for instance).
    """

    name = "autograd"
    any_psi = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rule = StepRule(self.schedule, self.network.p, self.problem.operator, self.norm())
        sgd = torch.optim.SGD([self.network.theta_plus, self.network.theta_minus], lr=0.0)
        self.optimizer: Any = sgd
        self.scheduler = StepSizeScheduler(sgd, rule)

    def advance(self, steps: int) -> Status | None:
        for _ in range(steps):
            status = self._one_step()
            if status is not None:
                return status
        return None if steps else self._budget()

    def _budget(self) -> Status | None:
        """The status at θ_k when no further step is asked for."""
        progress, stopping = self.progress, self.stopping
        if self.checks_residual(progress.step):
            with torch.no_grad():
                progress.residual = float(torch.linalg.vector_norm(self.problem.residual(self.network.psi)))
            if stopping.tol > 0 and progress.residual <= self.threshold:
                return Status.CONVERGED
        if progress.step >= stopping.max_steps:
            return Status.MAX_STEPS
        return Status.MAX_TIME if progress.time >= stopping.max_time else None

    def _one_step(self) -> Status | None:
        status = self._budget()
        if status is not None:
            return status
        network, progress = self.network, self.progress
        A, y, scale, rows = self.problem.operator, self.problem.y, 1.0, None
        if self.batches is not None:
            chosen = torch.from_numpy(self.batches.rows(progress.step, 1)[0]).to(A.device)
            scale = self.batches.scale
            rows = A.rows(chosen, math.sqrt(scale)) if self.schedule.rule != "constant" else None
            A, y = A.rows(chosen), y[chosen]
        self.optimizer.zero_grad()
        residual = y - A.matvec(network.psi)
        loss = (0.5 * scale) * (residual @ residual)
        loss.backward()
        with torch.no_grad():
            g = scale * A.rmatvec(residual)
            theta = (network.theta_plus.detach(), network.theta_minus.detach())
            eta = self.scheduler.propose(theta, g, rows)
            if not 0 < eta < math.inf:
                if not bool(torch.isfinite(g).all()):
                    return Status.DIVERGED
                progress.reason = f"the rule {self.schedule.rule} gives the step size {eta:g} at step {progress.step}"
                return Status.FAILED
            gradients = (_grad(network.theta_plus), _grad(network.theta_minus))
            proposed = [t - eta * d for t, d in zip(theta, gradients, strict=True)]
            if not all(bool(torch.all(torch.isfinite(t) & (t > 0))) for t in proposed):
                return first_improper(*(t.cpu().numpy() for t in proposed))
            if self.certificate is not None:
                self.certificate.update(theta[0].cpu().numpy(), theta[1].cpu().numpy(), eta)
        self.scheduler.step()
        self.optimizer.step()
        progress.count(eta)
        return None

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "scheduler": self.scheduler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.scheduler.load_state_dict(state["scheduler"])


def _grad(parameter: Tensor) -> Tensor:
    """∂L/∂θ, zero where an overridden ψ does not depend on the parameter."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
