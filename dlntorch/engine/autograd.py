"""The reference engine: ``torch.optim.SGD`` on autograd's gradient, one step at a time.

Slow and beyond doubt: every faster engine is tested against it. ``SGD.step`` alone changes θ. The step size is set by
:class:`StepSizeScheduler`, a torch lr scheduler that is stepped once for every SGD step, *before* it, since η_k
depends on the gradient at θ_k.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from dlntorch.engine.base import Engine
from dlntorch.numerics.trajectory import Status
from dlntorch.optim.step_size import OWN_RATE, Point, StepRule
from dlntorch.optim.update import SAM, SGD, Adam, LabelNoise, Momentum, TorchUpdate, Update, WeightDecay
from dlntorch.problem.operators import Operator

__all__ = ["AutogradEngine", "OwnRate", "StepSizeScheduler"]

#: Updates that torch's own optimizers make here; the package's classes make the others.
TORCH_HAS = (SGD, Momentum, WeightDecay, LabelNoise, SAM, Adam)


class StepSizeScheduler(LRScheduler):
    """Sets the learning rate of every parameter group to η_k, given by a :class:`StepRule` at the current θ.

    Unlike torch's own schedulers it is stepped before ``optimizer.step()``: the rule needs the gradient that the
    step will use. Between construction and its first step the learning rate is 0, so a forgotten call shows.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, rule: StepRule) -> None:
        self.rule = rule
        self._next = 0.0
        super().__init__(optimizer)

    def propose(
        self,
        theta: tuple[Tensor, ...],
        g: Tensor,
        rows: Operator | None = None,
        point: Callable[[], Point] | None = None,
    ) -> float:
        """Compute η_k for the step about to be made; the next :meth:`step` sets it."""
        self._next = self.rule.eta(theta, g, rows, point)
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


class OwnRate(LRScheduler):
    """The learning rate of an optimizer whose schedule is its own: it is read, never set."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.rule = None
        super().__init__(optimizer)

    def propose(self, *_: Any) -> float:
        """The learning rate of the optimizer's first group."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self, epoch: int | None = None) -> None:
        """Leave the learning rate as it is."""
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


class AutogradEngine(Engine):
    """SGD and every other update by autograd, on any device; ``torch.optim``'s own where torch has it.

    ``optimizer`` may be replaced by a wrapper with the same ``step`` and ``zero_grad`` (Lightning's, for instance).
    """

    name = "autograd"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parameters: list[torch.nn.Parameter] = list(self.network.parameters())
        made = self._torch_optimizer()
        if made is None and not isinstance(self.update, TorchUpdate):
            self.state = self.update.init(self.network.whole_theta())
        optimizer = torch.optim.SGD(self.parameters, lr=0.0) if made is None else made
        self.optimizer: Any = optimizer
        if isinstance(self.update, TorchUpdate) and self.schedule.name == OWN_RATE:
            self.scheduler: Any = OwnRate(optimizer)
        else:
            rule = StepRule(self.schedule, self.law, self.problem.operator, self.norm())
            self.scheduler = StepSizeScheduler(optimizer, rule)
        self._made = optimizer
        asked = inspect.signature(optimizer.step).parameters.values()
        #: Whether a step evaluates the loss itself: torch's L-BFGS requires a closure, and the others only take one.
        self._asks_for_loss = any(one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD for one in asked)

    def _torch_optimizer(self) -> torch.optim.Optimizer | None:
        """Torch's own optimizer for the update, None where the package's class makes the step."""
        update = self.update
        if isinstance(update, TorchUpdate):
            return update.optimizer(self.parameters)  # pyright: ignore[reportArgumentType]
        if type(update) is Momentum:
            return torch.optim.SGD(self.parameters, lr=0.0, momentum=update.beta, nesterov=update.nesterov)
        if type(update) is WeightDecay:
            return torch.optim.SGD(self.parameters, lr=0.0, weight_decay=update.strength)
        if type(update) is Adam:
            return torch.optim.Adam(self.parameters, lr=0.0, betas=(update.beta1, update.beta2), eps=update.eps)
        if type(update) in (SGD, LabelNoise, SAM):
            return torch.optim.SGD(self.parameters, lr=0.0)
        return None  # a subclass of one of them too, whose step is its own

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
        A, y, scale, rows = self._data()
        residual = self._backward(A, y, scale)
        with torch.no_grad():
            g = scale * A.rmatvec(residual)
            theta = network.rows
            eta = self.scheduler.propose(theta, g, rows, lambda: self.point(math.sqrt(scale) * residual, g))
            if not 0 < eta < math.inf:
                if not bool(torch.isfinite(g).all()):
                    return Status.DIVERGED
                return self.no_step(eta)
        self._probe(A, y, scale)
        if self.plain:
            proposed = [t - eta * d for t, d in zip(self._data_of(), self._gradients(), strict=True)]
            status = self._refusal(proposed)
            if status is not None:
                return status
            if self.certificate is not None:
                self.certificate.update(theta[0].cpu().numpy(), theta[1].cpu().numpy(), eta)
            self.scheduler.step()
            self.optimizer.step()
        else:
            status = self._other_step(eta, lambda: self._loss(A, y, scale))
            if status is not None:
                return status
        progress.count(eta)
        return None

    def _data(self) -> tuple[Operator, Tensor, float, Operator | None]:
        """A, y, the loss's weight m/b and, where the rule needs them, the scaled rows, of this step."""
        A, y, scale, rows = self.problem.operator, self.labels(), 1.0, None
        if self.batches is not None:
            chosen = torch.from_numpy(self.batches.rows(self.progress.step, 1)[0]).to(A.device)
            scale = self.batches.scale
            rows = A.rows(chosen, math.sqrt(scale)) if self.schedule.rule != "constant" else None
            A, y = A.rows(chosen), y[chosen]
        return A, y, scale, rows

    def _backward(self, A: Operator, y: Tensor, scale: float) -> Tensor:
        """Gradients of the step's loss at the network's θ; returns the residual."""
        self.optimizer.zero_grad()
        residual = y - A.matvec(self.network.psi)
        loss = (0.5 * scale) * (residual @ residual)
        loss.backward()
        return residual.detach()

    def _loss(self, A: Operator, y: Tensor, scale: float) -> Tensor:
        """The step's loss at the network's θ, with its gradients: what an optimizer that looks around itself evaluates."""
        with torch.enable_grad():
            residual = self._backward(A, y, scale)
        return (0.5 * scale) * (residual @ residual)

    def _probe(self, A: Operator, y: Tensor, scale: float) -> None:
        """Take the gradients where the update wants them, if not at θ_k."""
        if isinstance(self.update, TorchUpdate) or type(self.update).probe is Update.probe:
            return
        before = self.network.whole_theta()
        with torch.no_grad():
            elsewhere = self.update.probe(before, self._whole_gradient())
        if elsewhere is None:
            return
        self._put(elsewhere)
        self._backward(A, y, scale)
        self._put(before)

    def _other_step(self, eta: float, closure: Callable[[], Tensor]) -> Status | None:
        """A step of an update other than plain SGD; θ_k is put back where the step is refused.

        Args:
            eta: η_k.
            closure: The loss of the same mini-batch at the network's θ, for optimizers that ask for it (L-BFGS).
        """
        before = self.network.whole_theta()
        state = self.state
        if isinstance(self.update, WeightDecay):
            for group in self._made.param_groups:
                group["weight_decay"] = self.update.strength if self.update.active(self.progress.time) else 0.0
        self.scheduler.step()
        if self._steps_itself():
            with torch.no_grad():
                new, state = self.stepped(before, self._whole_gradient(), eta, self.state)
                self._put(new)
        elif self._asks_for_loss:
            self.optimizer.step(closure)
        else:
            self.optimizer.step()
        after = list(self.network.rows)
        status = self._refusal(after, before.unbind(0))
        if status is not None:
            self._put(before)
            return status
        self.state = state
        return None

    def _steps_itself(self) -> bool:
        """Whether the package's class makes the step, since torch has no such optimizer."""
        return not isinstance(self.update, TorchUpdate) and type(self.update) not in TORCH_HAS

    def _refusal(self, proposed: Sequence[Tensor], before: Sequence[Tensor] | None = None) -> Status | None:
        """The status that ends the run before such a θ; changes of sign that are allowed are counted."""
        if not all(bool(torch.isfinite(t).all()) for t in proposed):
            return Status.DIVERGED
        if not self.law.positive or all(bool((t > 0).all()) for t in proposed):
            return None
        if not self.signed:
            return Status.LEFT_POSITIVE_ORTHANT
        self.count_sign_changes(self._data_of() if before is None else before, proposed)
        return None

    def _data_of(self) -> list[Tensor]:
        return [parameter.data for parameter in self.parameters]

    def _gradients(self) -> list[Tensor]:
        return [_grad(parameter) for parameter in self.parameters]

    def _whole_gradient(self) -> Tensor:
        """∇L as one tensor (width, n)."""
        gradients = self._gradients()
        return gradients[0] if self.network.p is None else torch.stack(gradients)

    @torch.no_grad()
    def _put(self, theta: Tensor) -> None:
        for row, new in zip(self.network.rows, theta, strict=True):
            row.copy_(new)

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        if isinstance(self.scheduler, StepSizeScheduler):
            state["scheduler"] = self.scheduler.state_dict()
        if not self.plain and not self._steps_itself():
            state["optimizer"] = self._made.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        if isinstance(self.scheduler, StepSizeScheduler):
            self.scheduler.load_state_dict(state["scheduler"])
        if "optimizer" in state:
            self._made.load_state_dict(state["optimizer"])


def _grad(parameter: Tensor) -> Tensor:
    """∂L/∂θ, zero where an overridden ψ does not depend on the parameter."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
