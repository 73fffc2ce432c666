"""One step of a descent on layers: plain gradient descent, another update, or an optimizer of torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dlntorch.matrix.fused import FusedProduct, applies
from dlntorch.matrix.rules import ConstantRule, Rule
from dlntorch.numerics.validation import InputError
from dlntorch.optim.update import SGD, TorchUpdate, Update

if TYPE_CHECKING:
    from dlntorch.matrix.descent import LayerDescent

__all__ = ["Stepper", "make_stepper", "pick"]


class Stepper:
    """Takes the steps of a descent; plain gradient descent in one pass over the layers.

    Args:
        run: The descent.
    """

    def __init__(self, run: LayerDescent) -> None:
        self.run = run

    def __call__(self, rule: Rule, at_most: int) -> None:
        """Take one step, or several where that is faster, at most so many."""
        run = self.run
        point = run.point()
        eta = run.take_time(rule, point)
        column = eta.reshape(-1, *[1] * (point.layers[0].ndim - 1))
        lengths = torch.stack([_length(g) for g in point.gradients]) * eta
        run.moved([torch.addcmul(u, column, g) for u, g in zip(point.layers, point.gradients, strict=True)], lengths)

    def state_dict(self) -> dict[str, Any]:
        """What it remembers between steps, as tensors and plain numbers."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""


class _ByUpdate(Stepper):
    """An update, layer by layer, of one network."""

    def __init__(self, run: LayerDescent, update: Update) -> None:
        super().__init__(run)
        if run.layers[0].shape[0] > 1:
            raise InputError(f"optimizer must be sgd for a batch of networks, got {update!r}")
        self.update = update
        self.states = [update.init(layer) for layer in run.layers]

    def __call__(self, rule: Rule, at_most: int) -> None:
        run, update = self.run, self.update
        point = run.point()
        eta = float(run.take_time(rule, point))
        gradients = [-g for g in point.gradients]
        probes = [update.probe(u, g) for u, g in zip(point.layers, gradients, strict=True)]
        if any(probe is not None for probe in probes):
            at = [u if probe is None else probe for u, probe in zip(point.layers, probes, strict=True)]
            G = run.problem.adjoint(run.problem.residual(run.map.value(at)))
            gradients = [-g for g in run.map.gradient(at, G)]
        layers = []
        for j, (layer, gradient) in enumerate(zip(point.layers, gradients, strict=True)):
            moved, self.states[j] = update.step(layer, gradient, eta, self.states[j])
            layers.append(moved)
        run.moved(layers, torch.stack([_length(a - b) for a, b in zip(layers, point.layers, strict=True)]))

    def state_dict(self) -> dict[str, Any]:
        return {"layers": [{name: value.clone() for name, value in state.items()} for state in self.states]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.states = [{name: value.clone() for name, value in saved.items()} for saved in state["layers"]]


class _ByTorch(Stepper):
    """torch's optimizer with its own learning rate, which is what counts as η in t."""

    def __init__(self, run: LayerDescent, update: TorchUpdate) -> None:
        super().__init__(run)
        self.parameters = [torch.nn.Parameter(layer.clone()) for layer in run.layers]
        self.optimizer = update.optimizer(list(self.parameters))

    def __call__(self, rule: Rule, at_most: int) -> None:
        run = self.run
        point = run.point()
        for parameter, gradient in zip(self.parameters, point.gradients, strict=True):
            parameter.grad = -gradient
        run.take_time(ConstantRule(float(self.optimizer.param_groups[0]["lr"])), point)
        with torch.enable_grad():
            self.optimizer.step()
        layers = [pick(run.active, p.detach(), u).clone() for p, u in zip(self.parameters, run.layers, strict=True)]
        run.moved(layers, torch.stack([_length(a - b) for a, b in zip(layers, run.layers, strict=True)]))

    def state_dict(self) -> dict[str, Any]:
        return {"parameters": [p.detach().clone() for p in self.parameters], "optimizer": self.optimizer.state_dict()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        for parameter, saved in zip(self.parameters, state["parameters"], strict=True):
            parameter.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])


class _Fused(Stepper):
    """The compiled loop, for products of layers and entries of X."""

    def __init__(self, run: LayerDescent, rule: Any) -> None:
        super().__init__(run)
        self.kernel = FusedProduct(run, rule)

    def __call__(self, rule: Rule, at_most: int) -> None:
        self.kernel.advance(at_most)

    def state_dict(self) -> dict[str, Any]:
        return {name: torch.from_numpy(getattr(self.kernel, name).copy()) for name in ("bounds", "reference")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("bounds", "reference"):
            getattr(self.kernel, name)[:] = state[name].numpy()


def make_stepper(run: LayerDescent, rule: Rule, update: Update | TorchUpdate) -> Stepper:
    """What takes the steps of a descent.

    Raises:
        InputError: for an optimizer that changes the labels, or one other than sgd for a batch.
    """
    if type(update) is SGD:
        return _Fused(run, rule) if applies(run.map, run.layers, run.problem, rule) else Stepper(run)
    if isinstance(update, TorchUpdate):
        return _ByTorch(run, update)
    if update.sigma:
        raise InputError(f"optimizer must not change the labels here, got {update!r}")
    return _ByUpdate(run, update)


def pick(which: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """Of every network of a batch one or the other."""
    return torch.where(which.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)


def _length(gradient: Tensor) -> Tensor:
    return torch.linalg.vector_norm(gradient.flatten(1), dim=1)
