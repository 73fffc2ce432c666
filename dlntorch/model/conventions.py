"""The papers' conventions and this package's: parametrization, loss and step size of one network, in two notations.

A paper trains f = c(w₊^p − w₋^p) on s·½‖Af − y‖² by steps of γ. With θ = c^{1/p}w this is ψ = θ₊^p − θ₋^p on ½‖Aψ − y‖²:

    θ = c^{1/p} w,    η = c^{2/p} s γ,    t = c^{2/p} s t_paper,

since γ s ∂f/∂w = γ s c p w^{p−1} in θ's unit is c^{2/p} s γ p θ^{p−1}. Two layers f = u ∘ v are p = 2 with θ± = ½(u ± v),
that is w± = u ± v and c = ¼, but their steps are taken in u and v: η = ½ s γ. A loss over m samples with the factor 1/(2m) has
s = 1/m, one with 1/(4m) has s = 1/(2m), ‖Aψ − y‖² without ½ has s = 2; papers write n for the number m of samples, and d for n.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dlntorch.model.initialization import Initialization
from dlntorch.numerics.validation import InputError, check_depth, check_flag, check_number

__all__ = ["Convention"]


@dataclass(frozen=True)
class Convention:
    """A paper's way to write a diagonal linear network, with the way to this package's and back.

    Args:
        p: Depth >= 2.
        factor: c in f = c(w₊^p − w₋^p), > 0; ¼ for ¼(w₊² − w₋²).
        loss: s in the loss s·½‖Af − y‖², > 0; 1/m for 1/(2m) times the sum of squares.
        layers: Whether the parameters are u and v of f = u ∘ v, p = 2, in place of w₊ and w₋.

    Raises:
        InputError: in one line, naming the argument.

    Example:
        >>> paper = Convention(factor=0.25, loss=1 / 16)  # ¼(w₊² − w₋²), ½ of the mean over 16 samples
        >>> paper.eta(0.1)
        0.0015625
        >>> paper.start(0.2, 0.2)
        Initialization(plus=0.1, minus=0.1)
    """

    p: float = 2
    factor: float = 1.0
    loss: float = 1.0
    layers: bool = False

    def __post_init__(self) -> None:
        depth = check_depth(self.p)
        factor = check_number("factor", self.factor, above=0)
        check_number("loss", self.loss, above=0)
        if check_flag("layers", self.layers) and (depth != 2 or factor != 1):
            raise InputError(
                f"layers must be false where p is not 2 or factor is not 1, got p={depth:g}, factor={factor:g}"
            )

    @property
    def rate(self) -> float:
        """η/γ: how much of the package's step one unit of the paper's is."""
        unit = 0.5 if self.layers else self.factor ** (2 / self.p)
        return unit * self.loss

    def start(self, first: Any, second: Any) -> Initialization:
        """The package's start from the paper's w₊ and w₋ (or u and v): numbers, or one for each coordinate.

        Raises:
            InputError: where θ₊ or θ₋ is negative, which u ∘ v can be, as where |v| > u.
        """
        return Initialization(*self.theta(first, second))

    def theta(self, first: Any, second: Any) -> tuple[Tensor, Tensor]:
        """θ₊ and θ₋ from the paper's w₊ and w₋ (or u and v)."""
        a, b = (torch.as_tensor(part, dtype=torch.float64) for part in (first, second))
        if self.layers:
            return 0.5 * (a + b), 0.5 * (a - b)
        scale = self.factor ** (1 / self.p)
        return scale * a, scale * b

    def parameters(self, theta_plus: Any, theta_minus: Any) -> tuple[Tensor, Tensor]:
        """The paper's w₊ and w₋ (or u and v) from θ₊ and θ₋."""
        a, b = (torch.as_tensor(part, dtype=torch.float64) for part in (theta_plus, theta_minus))
        if self.layers:
            return a + b, a - b
        scale = self.factor ** (-1 / self.p)
        return scale * a, scale * b

    def eta(self, gamma: float) -> float:
        """The package's step from the paper's."""
        return self.rate * check_number("gamma", gamma, above=0)

    def gamma(self, eta: float) -> float:
        """The paper's step from the package's."""
        return check_number("eta", eta, above=0) / self.rate

    def time(self, paper_time: float) -> float:
        """t = Σ η from the paper's Σ γ."""
        return self.rate * check_number("paper_time", paper_time, at_least=0)

    def strength(self, decay: float) -> float:
        """The package's λ from the λ of the paper's weight decay (λ/2)‖w‖²: both add ηλθ to a step."""
        return check_number("decay", decay, at_least=0) / self.rate

    def rho(self, radius: float, normalized: bool = False) -> float:
        """The package's ρ of SAM from the paper's, which is a distance in w (or in u and v)."""
        radius = check_number("radius", radius, at_least=0)
        if not normalized:
            return self.rate * radius
        return radius * (0.5**0.5 if self.layers else self.factor ** (1 / self.p))
