"""How long a step is: the relative rule in spectral norms, the stable rule, a constant, and a rule of the user's."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dlntorch.numerics.validation import InputError, check_choice, check_number
from dlntorch.optim.step_size import StepSize

if TYPE_CHECKING:
    from dlntorch.matrix.descent import Layered, LayerPoint, Sizes
    from dlntorch.optim.update import TorchUpdate, Update

__all__ = ["SCHEDULES", "ConstantRule", "OwnRule", "RelativeRule", "Rule", "make_rule"]

SCHEDULES = ("relative", "constant", "stable")

#: From a point, the bounds and the network to η, shape (B,).
Rule = Callable[["LayerPoint", Any, Any, float], Tensor]


@dataclass(frozen=True)
class RelativeRule:
    """η = min(c/Λ, κ/ρ): Λ bounds the curvature, ρ the relative change of a layer per unit of η (spectral norms).

    With κ = ∞ it is the stable rule, η = c/Λ.
    """

    kappa: float
    c: float

    def __call__(self, point: LayerPoint, network: Layered, sizes: Sizes, operator: float) -> Tensor:
        G_norm = sizes.dual_norm(point.G)
        lengths = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in point.gradients])
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


@dataclass(frozen=True)
class OwnRule:
    """A callable :class:`~dlntorch.matrix.descent.LayerPoint` -> η."""

    eta: Callable[[Any], Any]

    def __call__(self, point: LayerPoint, network: Layered, sizes: Sizes, operator: float) -> Tensor:
        return torch.as_tensor(self.eta(point), dtype=point.time.dtype).expand(point.time.shape)


def make_rule(schedule: Any, kappa: Any, c: Any, eta: Any, update: Update | TorchUpdate | None = None) -> Rule:
    """The step rule that the arguments of :func:`~dlntorch.matrix.training.train_matrix` mean.

    With momentum the relative and the stable rule take κ and c times 1 − β, of a gradient's whole effect.

    Raises:
        InputError: naming the argument; relative with an optimizer whose steps do not follow the gradient.
    """
    if isinstance(schedule, StepSize):
        return OwnRule(schedule.eta)
    if callable(schedule) and not isinstance(schedule, str):
        return OwnRule(schedule)
    check_choice("schedule", schedule, SCHEDULES)
    if schedule == "constant":
        if eta is None:
            raise InputError("eta must be given with schedule=constant, got None")
        return ConstantRule(check_number("eta", eta, above=0))
    if eta is not None:
        raise InputError(f"eta must be left out with schedule={schedule}, got {eta!r}")
    whole = 1.0 if update is None else update.flow_time
    fraction = check_number("c", c, above=0, at_most=1) / whole
    if schedule == "stable":
        return RelativeRule(math.inf, fraction)
    return RelativeRule(check_number("kappa", kappa, above=0, at_most=0.3) / whole, fraction)
