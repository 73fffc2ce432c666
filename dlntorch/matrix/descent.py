"""Gradient descent with hand-written gradients on layers, for B networks side by side: matrices and groups alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from dlntorch.matrix.recorder import LayerRecorder, LayerSnapshot
from dlntorch.matrix.rules import Rule
from dlntorch.matrix.steppers import make_stepper, pick
from dlntorch.numerics.trajectory import Status
from dlntorch.optim.update import TorchUpdate, Update

__all__ = ["Budget", "Descended", "LayerDescent", "LayerPoint", "Layered", "Sizes", "descend"]

#: A relative residual above this times the first one, or not finite, is divergence.
DIVERGED = 1e8


class Sizes(Protocol):
    """Bounds of the layers' norms and of G's dual norm along the descent."""

    upper: Tensor
    lower: Tensor

    def moved(self, lengths: Tensor, layers: list[Tensor]) -> None: ...
    def dual_norm(self, G: Tensor) -> Tensor: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Layered(Protocol):
    """What the loop needs of a network: X of the layers, −∂L/∂U_j, and bounds; see ``matrix.factorization``."""

    def value(self, layers: list[Tensor]) -> Tensor: ...
    def gradient(self, layers: list[Tensor], G: Tensor) -> list[Tensor]: ...
    def sizes(self, layers: list[Tensor]) -> Sizes: ...
    def curvature(self, sizes: Tensor, operator: float, G_norm: Tensor) -> Tensor: ...
    def relative(self, upper: Tensor, lower: Tensor, gradients: Tensor, G_norm: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class LayerPoint:
    """What is known at step k when η_k is chosen by a rule of the user's.

    Attributes:
        layers: U_1 … U_N, shape (B, …) each.
        X: Shape (B, …).
        residual: y − 𝒜X, shape (B, m).
        G: 𝒜*(y − 𝒜X).
        gradients: −∂L/∂U_j.
        step: k.
        time: t_k = Σ η, shape (B,).
    """

    layers: list[Tensor]
    X: Tensor
    residual: Tensor
    G: Tensor
    gradients: list[Tensor]
    step: int
    time: Tensor


@dataclass(frozen=True)
class Budget:
    """When to stop."""

    tol: float
    max_steps: int
    max_time: float
    max_wall_seconds: float


@dataclass
class Descended:
    """Where a descent ended; of every network."""

    layers: list[Tensor]
    X: Tensor
    residual: Tensor
    status: list[Status]
    reasons: list[str]
    steps: Tensor
    time: Tensor
    recorder: LayerRecorder
    wall_seconds: float


class LayerDescent:
    """A descent, block by block: ``while descent.advance() is None: pass``.

    Args:
        network: The map from layers to X.
        layers: Where it starts, shape (B, …) each; they are left as they are.
        problem: The measurements.
        rule: η.
        update: What is done with it; :class:`~dlntorch.optim.update.SGD` for plain gradient descent.
        budget: When to stop; ``max_wall_seconds`` counts from here on, not what a loaded state brings along.
        describe: From X (B, …) to the numbers that are recorded, (B, k).
        keep: Whether X is recorded, too.

    Attributes:
        layers: Where the networks are.
        status: How the run ended; None while a network goes on. Of a batch, that of its first network.
        recorder: What was seen on the way.
        wall_seconds: Of all blocks; ``wall_before`` of it in earlier commands.
        block_seconds: About how long one :meth:`advance` lasts.
    """

    def __init__(
        self,
        network: Any,
        layers: list[Tensor],
        problem: Any,
        rule: Rule,
        update: Update | TorchUpdate,
        budget: Budget,
        describe: Callable[[Tensor], Tensor],
        keep: bool,
    ) -> None:
        self.map, self.problem, self.rule, self.budget = network, problem, rule, budget
        self.layers = self.before = [layer.clone() for layer in layers]
        self.describe, self.keep, self.block_seconds = describe, keep, 0.05
        B = layers[0].shape[0]
        self.active = torch.ones(B, dtype=torch.bool, device=layers[0].device)
        self.statuses: list[Status] = [Status.MAX_STEPS] * B
        self.reasons = [""] * B
        self.ended_at = torch.zeros(B, dtype=torch.int64)
        self.taken = torch.zeros(B, dtype=torch.int64)
        self.time, self.eta = layers[0].new_zeros(B), layers[0].new_zeros(B)
        self.step, self.first = 0, layers[0].new_zeros(0)
        self.recorder = LayerRecorder()
        self.sizes = network.sizes(self.layers)
        self.scale = float(torch.linalg.vector_norm(problem.y)) or 1.0
        self.operator = problem.spectral_norm
        self.wall_seconds = self.wall_before = 0.0
        self.interrupted = False
        self.status: Status | None = None
        self._stepper = make_stepper(self, rule, update)

    def interrupt(self) -> None:
        """Ask the run to end with status ``interrupted`` after the current block."""
        self.interrupted = True

    @torch.no_grad()
    def advance(self, at_most: int | None = None) -> Status | None:
        """Run about ``block_seconds`` of steps, and at most so many; the layers do not depend on how a run is cut.

        Returns:
            The status when the run has ended, else None.
        """
        if self.status is not None:
            return self.status
        began, spent = time.perf_counter(), self.wall_seconds
        end = self.budget.max_steps if at_most is None else self.step + at_most
        while self._look():
            if self.interrupted:
                self.end(self.active, Status.INTERRUPTED)
                break
            if self.step >= end or self.wall_seconds - spent >= self.block_seconds:
                return None
            self._stepper(self.rule, end - self.step)
            self.wall_seconds = spent + time.perf_counter() - began
        self.status = self.statuses[0]
        self._record(due=False)
        return self.status

    def _look(self) -> bool:
        """Evaluate X here, see which networks have ended; whether any goes on."""
        self._evaluate()
        size = self.relative_residual()
        self.first = self.first if self.first.numel() else size
        wild = self.active & ~(size <= DIVERGED * self.first.clamp_min(1.0))
        if bool(wild.any()):
            self._take_back(wild)
            size = self.relative_residual()
        self.end(self.active & (size <= self.budget.tol), Status.CONVERGED)
        self.end(self.active & (self.time >= self.budget.max_time), Status.MAX_TIME)
        if self.step >= self.budget.max_steps:
            self.end(self.active, Status.MAX_STEPS)
        if self.wall_seconds - self.wall_before >= self.budget.max_wall_seconds:
            self.end(self.active, Status.MAX_WALL_SECONDS)
        going = bool(self.active.any())
        if going and self.recorder.due(self.step):
            self._record()
        return going

    def relative_residual(self) -> Tensor:
        """‖𝒜X − y‖₂/‖y‖₂, shape (B,)."""
        return torch.linalg.vector_norm(self.residual, dim=-1) / self.scale

    def _evaluate(self) -> None:
        self.X = self.map.value(self.layers)
        self.residual = self.problem.residual(self.X)

    def _take_back(self, wild: Tensor) -> None:
        """Put the networks that diverged where they were before the step."""
        self.layers = [pick(wild, old, new) for old, new in zip(self.before, self.layers, strict=True)]
        self.end(wild, Status.DIVERGED)
        self._evaluate()

    def end(self, which: Tensor, status: Status, reason: str = "") -> None:
        """Networks end with a status."""
        if not bool(which.any()):
            return
        for b in torch.nonzero(which).flatten().tolist():
            self.statuses[b], self.reasons[b], self.ended_at[b] = status, reason, self.taken[b]
        self.active = self.active & ~which

    def point(self) -> LayerPoint:
        """What is known here."""
        G = self.problem.adjoint(self.residual)
        gradients = self.map.gradient(self.layers, G)
        return LayerPoint(self.layers, self.X, self.residual, G, gradients, self.step, self.time)

    def take_time(self, rule: Rule, point: LayerPoint) -> Tensor:
        """η of every network, 0 where it has ended, added to t; a last step ends at max_time exactly."""
        eta = rule(point, self.map, self.sizes, self.operator)
        bad = self.active & ~(torch.isfinite(eta) & (eta > 0))
        if bool(bad.any()):
            worst = float(eta[bad][0])
            self.end(bad, Status.FAILED, f"the step size must be finite and > 0, got {worst}")
        if math.isfinite(self.budget.max_time):
            left = self.budget.max_time - self.time
            last = eta >= left
            self.time = torch.where(self.active & last, self.budget.max_time, self.time)
            eta = torch.minimum(eta, left)
            self.time = torch.where(self.active & ~last, self.time + eta, self.time)
        else:
            self.time = torch.where(self.active, self.time + eta, self.time)
        self.eta = torch.where(self.active, eta, self.eta)
        return torch.where(self.active, eta, torch.zeros_like(eta))

    def moved(self, layers: list[Tensor], lengths: Tensor) -> None:
        """The layers are now these, having moved by ``lengths`` (N, B)."""
        self.before, self.layers = self.layers, layers
        self.sizes.moved(lengths, layers)
        self.step += 1
        self.taken += self.active.cpu()

    def _record(self, due: bool = True) -> None:
        loss = 0.5 * self.residual.square().sum(-1)
        X = self.X.clone() if self.keep else None
        values = self.describe(self.X)
        self.recorder.add(LayerSnapshot(self.step, self.time.clone(), self.eta.clone(), loss, values, X), due)

    def result(self) -> Descended:
        """Where the networks are."""
        ends = (self.statuses, self.reasons, self.ended_at, self.time)
        return Descended(self.layers, self.X, self.relative_residual(), *ends, self.recorder, self.wall_seconds)

    def state_dict(self) -> dict[str, Any]:
        """Everything that continues the run bitwise, as tensors and plain numbers (safe to load)."""
        return {
            "layers": [layer.clone() for layer in self.layers],
            **{name: getattr(self, name).clone() for name in _TENSORS},
            "step": self.step,
            "recorder": self.recorder.state_dict(),
            "sizes": self.sizes.state_dict(),
            "stepper": self._stepper.state_dict(),
            "wall_seconds": self.wall_seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state; the run may go on even where the saved one had ended."""
        self.layers = self.before = [saved.clone() for saved in state["layers"]]
        for name in _TENSORS:
            setattr(self, name, state[name].clone())
        self.step = state["step"]
        self.recorder.load_state_dict(state["recorder"])
        self.sizes.load_state_dict(state["sizes"])
        self._stepper.load_state_dict(state["stepper"])
        self.wall_seconds = self.wall_before = float(state["wall_seconds"])
        self.active = torch.ones_like(self.active)
        self.reasons = [""] * len(self.reasons)
        self.status = None


def descend(descent: LayerDescent) -> Descended:
    """Run until every network has stopped; Ctrl-C ends it as ``interrupted``."""
    try:
        while descent.advance() is None:
            pass
    except KeyboardInterrupt:
        descent.interrupt()
        descent.advance()
    return descent.result()


#: Of a descent, what a saved state has of its networks.
_TENSORS = ("time", "eta", "taken", "first")
