"""A descent on a network of layers, as the Lightning module runs it: its parameters move along, and it can be saved."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dlntorch.matrix.descent import Budget, LayerDescent
from dlntorch.matrix.rules import Rule
from dlntorch.numerics.trajectory import Status
from dlntorch.optim.update import TorchUpdate, Update
from dlntorch.problem import Problem
from dlntorch.store.identity import problem_digest

__all__ = ["NetworkDescent"]


class NetworkDescent(LayerDescent):
    """Gradient descent on a :class:`~dlntorch.matrix.MatrixFactorization` or a :class:`~dlntorch.matrix.GroupNetwork`.

    ``SGDModule(NetworkDescent(…))`` trains it in a Lightning trainer; ``while descent.advance() is None: pass`` without.

    Args:
        network: What is trained, in place; its parameters are the layers, in order.
        layer_map: The map from layers to X.
        problem: The measurements, with ``device`` and ``dtype``.
        flat: The same data as a vector problem.
        rule, update, budget, describe, keep: As for :class:`~dlntorch.matrix.descent.LayerDescent`.
    """

    def __init__(
        self,
        network: nn.Module,
        layer_map: Any,
        problem: Any,
        flat: Problem,
        *,
        rule: Rule,
        update: Update | TorchUpdate,
        budget: Budget,
        describe: Callable[[Tensor], Tensor],
        keep: bool,
    ) -> None:
        self.network = network
        self.single = not getattr(network, "batch", ())
        layers = [p.detach()[None] if self.single else p.detach() for p in network.parameters()]
        super().__init__(layer_map, layers, problem, rule, update, budget, describe, keep)
        self._identity = {
            "problem": problem_digest(flat),
            "network": repr(network),
            "start": _digest(self.layers),
            "schedule": repr(rule),
            "optimizer": {"name": update.name, **update.options()},
            "dtype": str(self.layers[0].dtype),
        }

    @property
    def steps(self) -> int:
        """Steps made."""
        return self.step

    @property
    def max_steps(self) -> int:
        """The step budget."""
        return self.budget.max_steps

    @property
    def reason(self) -> str:
        """Why the run ended, in one line; of a batch, of its first network."""
        if self.status is None:
            return "the run has not ended"
        return self.reasons[0] or self.status.message

    def metrics(self) -> dict[str, float]:
        """How the run stands after the last block, by the names of a run folder's trajectory; of a batch the largest residual."""
        size = self.relative_residual()
        worst = int(size.argmax())
        return {
            "step": float(self.step),
            "t": float(self.time[worst]),
            "eta": float(self.eta[worst]),
            "loss": 0.5 * (float(size[worst]) * self.scale) ** 2,
            "residual": float(size[worst]),
        }

    def advance(self, at_most: int | None = None) -> Status | None:
        """One block, as :meth:`LayerDescent.advance`; afterwards the network has the layers."""
        status = super().advance(at_most)
        self._give_back()
        return status

    @torch.no_grad()
    def _give_back(self) -> None:
        for parameter, layer in zip(self.network.parameters(), self.layers, strict=True):
            parameter.copy_(layer[0] if self.single else layer)

    def identity(self) -> dict[str, Any]:
        """What a saved state belongs to, as plain numbers; budgets and tolerance may change when a run goes on."""
        return dict(self._identity)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._give_back()


def _digest(layers: list[Tensor]) -> str:
    digest = hashlib.sha256()
    for layer in layers:
        digest.update(layer.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
