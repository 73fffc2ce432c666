"""Gradient descent with hand-written gradients on layers, for B networks side by side: matrices and groups alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from dlntorch.matrix.fused import FusedProduct, applies
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError
from dlntorch.optim.update import SGD, TorchUpdate, Update

__all__ = ["Budget", "ConstantRule", "Data", "Descended", "LayerPoint", "Layered", "RelativeRule", "Rule", "descend"]

#: Records are this factor of steps apart.
SPACING = 1.15
#: A relative residual above this times the first one, or not finite, is divergence.
DIVERGED = 1e8


class Data(Protocol):
    """What the loop needs of a problem."""

    @property
    def y(self) -> Tensor: ...
    @property
    def spectral_norm(self) -> float: ...
    def residual(self, X: Tensor, /) -> Tensor: ...
    def adjoint(self, r: Tensor, /) -> Tensor: ...


class Sizes(Protocol):
    """Bounds of the layers' norms and of G's dual norm along the descent."""

    upper: Tensor
    lower: Tensor

    def moved(self, lengths: Tensor, layers: list[Tensor]) -> None: ...
    def dual_norm(self, G: Tensor) -> Tensor: ...


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
class Records:
    """What was seen, of every network: lists over the recorded steps."""

    step: list[int] = field(default_factory=list)
    time: list[Tensor] = field(default_factory=list)
    loss: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    X: list[Tensor] = field(default_factory=list)


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
    records: Records
    wall_seconds: float


#: From a point, the bounds and the network to η, shape (B,).
Rule = Callable[[LayerPoint, Any, Any, float], Tensor]


@dataclass(frozen=True)
class RelativeRule:
    """η = min(c/Λ, κ/ρ): Λ bounds the curvature, ρ the relative change of a layer per unit of η (spectral norms)."""

    kappa: float
    c: float

    def __call__(self, point: LayerPoint, network: Layered, sizes: Sizes, operator: float) -> Tensor:
        G_norm = sizes.dual_norm(point.G)
        lengths = torch.stack([_length(g) for g in point.gradients])
        rho = network.relative(sizes.upper, sizes.lower, lengths, G_norm)
        curvature = network.curvature(sizes.upper, operator, G_norm)
        return 1 / torch.maximum(curvature / self.c, rho / self.kappa).clamp_min(1e-300)

    def numbers(self) -> tuple[float, float, float]:
        """(κ, c, 0), as the compiled kernel takes them."""
        return self.kappa, self.c, 0.0


@dataclass(frozen=True)
class ConstantRule:
    """η itself."""

    eta: float

    def __call__(self, point: LayerPoint, network: Layered, sizes: Sizes, operator: float) -> Tensor:
        return torch.full_like(point.time, self.eta)

    def numbers(self) -> tuple[float, float, float]:
        """(1, 1, η), as the compiled kernel takes them."""
        return 1.0, 1.0, self.eta


def _length(gradient: Tensor) -> Tensor:
    return torch.linalg.vector_norm(gradient.flatten(1), dim=1)


def descend(
    network: Layered,
    layers: list[Tensor],
    data: Data,
    rule: Rule,
    update: Update | TorchUpdate,
    budget: Budget,
    describe: Callable[[Tensor], Tensor],
    keep: bool,
) -> Descended:
    """Run until every network has stopped; the layers given are left as they are.

    Args:
        network: The map from layers to X.
        layers: Shape (B, …) each.
        data: The measurements.
        rule: η.
        update: What is done with it; :class:`SGD` for plain gradient descent.
        budget: When to stop.
        describe: From X (B, …) to the numbers that are recorded, (B, k).
        keep: Whether X is recorded, too.
    """
    run = _Run(network, [layer.clone() for layer in layers], data, budget, describe, keep)
    if type(update) is SGD and applies(network, run.layers, data, rule):
        stepper: Callable[[Rule], None] = FusedProduct(run, rule)
    else:
        stepper = _stepper(update, run)
    started = time.perf_counter()
    with torch.no_grad():
        try:
            while run.look(started):
                stepper(rule)
        except KeyboardInterrupt:
            run.end(run.active, Status.INTERRUPTED)
        run.record()
    return run.result(time.perf_counter() - started)


class _Run:
    """The state of a descent."""

    def __init__(
        self, network: Any, layers: list[Tensor], data: Data, budget: Budget, describe: Any, keep: bool
    ) -> None:
        self.network, self.layers, self.data, self.budget = network, layers, data, budget
        self.describe, self.keep = describe, keep
        B = layers[0].shape[0]
        self.before = layers
        self.active = torch.ones(B, dtype=torch.bool, device=layers[0].device)
        self.status: list[Status] = [Status.MAX_STEPS] * B
        self.reasons = [""] * B
        self.steps = torch.zeros(B, dtype=torch.int64)
        self.taken = torch.zeros(B, dtype=torch.int64)
        self.time = layers[0].new_zeros(B)
        self.step, self.next_record = 0, 0
        self.records = Records()
        self.sizes = network.sizes(layers)
        self.scale = float(torch.linalg.vector_norm(data.y)) or 1.0
        self.first: Tensor | None = None
        self.operator = data.spectral_norm

    def look(self, started: float) -> bool:
        """Evaluate X here, see which networks have ended; whether any goes on."""
        self._evaluate()
        size = torch.linalg.vector_norm(self.residual, dim=-1) / self.scale
        self.first = size if self.first is None else self.first
        wild = self.active & ~(size <= DIVERGED * self.first.clamp_min(1.0))
        if bool(wild.any()):
            self._take_back(wild)
            size = torch.linalg.vector_norm(self.residual, dim=-1) / self.scale
        self.end(self.active & (size <= self.budget.tol), Status.CONVERGED)
        self.end(self.active & (self.time >= self.budget.max_time), Status.MAX_TIME)
        if self.step >= self.budget.max_steps:
            self.end(self.active, Status.MAX_STEPS)
        if time.perf_counter() - started >= self.budget.max_wall_seconds:
            self.end(self.active, Status.MAX_WALL_SECONDS)
        going = bool(self.active.any())
        if going and self.step >= self.next_record:
            self.record()
        return going

    def _evaluate(self) -> None:
        self.X = self.network.value(self.layers)
        self.residual = self.data.residual(self.X)

    def _take_back(self, wild: Tensor) -> None:
        """Put the networks that diverged where they were before the step."""
        mixed = [_pick(wild, old, new) for old, new in zip(self.before, self.layers, strict=True)]
        self.layers = mixed
        self.end(wild, Status.DIVERGED)
        self._evaluate()

    def end(self, which: Tensor, status: Status, reason: str = "") -> None:
        """Networks end with a status."""
        if not bool(which.any()):
            return
        for b in torch.nonzero(which).flatten().tolist():
            self.status[b], self.reasons[b], self.steps[b] = status, reason, self.taken[b]
        self.active = self.active & ~which

    def point(self) -> LayerPoint:
        G = self.data.adjoint(self.residual)
        gradients = self.network.gradient(self.layers, G)
        return LayerPoint(self.layers, self.X, self.residual, G, gradients, self.step, self.time)

    def eta(self, rule: Rule, point: LayerPoint) -> Tensor:
        """η of every network, 0 where it has ended; a last step ends at max_time exactly."""
        eta = rule(point, self.network, self.sizes, self.operator)
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
        return torch.where(self.active, eta, torch.zeros_like(eta))

    def moved(self, layers: list[Tensor], lengths: Tensor) -> None:
        self.before, self.layers = self.layers, layers
        self.sizes.moved(lengths, layers)
        self.step += 1
        self.taken += self.active.cpu()

    def record(self) -> None:
        """Note where the networks are."""
        self.next_record = max(self.step + 1, math.ceil(self.step * SPACING))
        if self.records.step and self.records.step[-1] == self.step:
            return
        self.records.step.append(self.step)
        self.records.time.append(self.time.clone())
        self.records.loss.append(0.5 * self.residual.square().sum(-1))
        self.records.values.append(self.describe(self.X))
        if self.keep:
            self.records.X.append(self.X.clone())

    def result(self, seconds: float) -> Descended:
        size = torch.linalg.vector_norm(self.residual, dim=-1) / self.scale
        return Descended(
            self.layers, self.X, size, self.status, self.reasons, self.steps, self.time, self.records, seconds
        )


def _pick(which: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(which.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)


def _stepper(update: Update | TorchUpdate, run: _Run) -> Callable[[Rule], None]:
    """One step of the update: plain gradient descent in one pass, other updates layer by layer, torch's own optimizers."""
    if type(update) is SGD:
        return lambda rule: _plain(run, rule)
    if isinstance(update, TorchUpdate):
        return _torch_stepper(update, run)
    if update.sigma:
        raise InputError(f"optimizer must not change the labels here, got {update!r}")
    return _update_stepper(update, run)


def _plain(run: _Run, rule: Rule) -> None:
    point = run.point()
    eta = run.eta(rule, point)
    column = eta.reshape(-1, *[1] * (point.layers[0].ndim - 1))
    lengths = torch.stack([_length(g) for g in point.gradients]) * eta
    run.moved([torch.addcmul(u, column, g) for u, g in zip(point.layers, point.gradients, strict=True)], lengths)


def _update_stepper(update: Update, run: _Run) -> Callable[[Rule], None]:
    states = [update.init(layer) for layer in run.layers]
    if run.layers[0].shape[0] > 1:
        raise InputError(f"optimizer must be sgd for a batch of networks, got {update!r}")

    def step(rule: Rule) -> None:
        point = run.point()
        eta = float(run.eta(rule, point))
        gradients = [-g for g in point.gradients]
        probes = [update.probe(u, g) for u, g in zip(point.layers, gradients, strict=True)]
        if any(probe is not None for probe in probes):
            at = [u if probe is None else probe for u, probe in zip(point.layers, probes, strict=True)]
            G = run.data.adjoint(run.data.residual(run.network.value(at)))
            gradients = [-g for g in run.network.gradient(at, G)]
        layers = []
        for j, (layer, gradient) in enumerate(zip(point.layers, gradients, strict=True)):
            moved, states[j] = update.step(layer, gradient, eta, states[j])
            layers.append(moved)
        run.moved(layers, torch.stack([_length(a - b) for a, b in zip(layers, point.layers, strict=True)]))

    return step


def _torch_stepper(update: TorchUpdate, run: _Run) -> Callable[[Rule], None]:
    """torch's optimizer with its own learning rate, which is what counts as η in t."""
    parameters = [torch.nn.Parameter(layer.clone()) for layer in run.layers]
    optimizer = update.optimizer(list(parameters))

    def step(rule: Rule) -> None:
        point = run.point()
        for parameter, gradient in zip(parameters, point.gradients, strict=True):
            parameter.grad = -gradient
        rate = float(optimizer.param_groups[0]["lr"])
        run.eta(ConstantRule(rate), point)
        with torch.enable_grad():
            optimizer.step()
        layers = [_pick(run.active, p.detach(), u).clone() for p, u in zip(parameters, run.layers, strict=True)]
        run.moved(layers, torch.stack([_length(a - b) for a, b in zip(layers, run.layers, strict=True)]))

    return step
