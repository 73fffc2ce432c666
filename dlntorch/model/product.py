"""ψ = u₁ ∘ u₂ ∘ … ∘ u_L, the product of L layers, from u₁ = … = u_{L−1} = α and u_L = 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.special import betainc
from torch import Tensor

from dlntorch.model.initialization import Initialization
from dlntorch.model.parametrization import Parametrization
from dlntorch.model.selector import Selector
from dlntorch.numerics.validation import InputError, check_count

__all__ = ["Product"]


class Product(Parametrization):
    """ψ = u₁ ∘ … ∘ u_L: the plain diagonal network with L layers of n weights.

    The flow keeps u_j² − u_L² = α², so with q = u_L the curve is q′ = (q² + α²)^{(L−1)/2}: ψ = ½α² sinh 2ν for L = 2,
    q = α tan(αν) for L = 3, and an integral for others. As α → 0 it selects the same minimiser W_L as depth p = L does.

    Args:
        layers: L >= 2.

    Raises:
        InputError: naming ``layers``.

    Example:
        >>> Product(3).value(torch.tensor([[2.0], [3.0], [5.0]]))
        tensor([30.])
    """

    def __init__(self, layers: Any) -> None:
        self.layers = self.width = check_count("layers", layers, at_least=2)

    def value(self, theta: Tensor) -> Tensor:
        product = theta[0]
        for j in range(1, self.width):
            product = product * theta[j]
        return product

    def slope(self, theta: Tensor) -> Tensor:
        """∂ψ/∂u_j = Π_{k≠j} u_k, from the products of the layers before j and after it."""
        ones = torch.ones_like(theta[0])
        before, after = [ones], [ones]
        for j in range(self.width - 1):
            before.append(before[-1] * theta[j])
            after.append(after[-1] * theta[self.width - 1 - j])
        return torch.stack([a * b for a, b in zip(before, reversed(after), strict=True)])

    def start(self, alpha: Any, n: int) -> Tensor:
        if not isinstance(alpha, Initialization):
            alpha = Initialization(alpha, 0.0)
        return self.start_from(alpha, n)

    def start_from(self, initialization: Initialization, n: int) -> Tensor:
        """u₁ = … = u_{L−1} = plus and u_L = minus."""
        first, last = initialization.expanded(n)
        if not bool((first > 0).all()):
            raise InputError(f"alpha must be > 0 with {self.name}, got {float(first.min())}")
        return torch.stack([first] * (self.width - 1) + [last])

    def selector(self, initialization: Initialization | None, n: int) -> Selector | None:
        """That of depth p = L, with a± from how far ν can move: w± = ∫ dq (q² + b²)^{(1−L)/2} from u_L to ±∞.

        b² = u₁² − u_L², and with q = b tan φ the integrals are incomplete beta functions. L = 2 is depth 2 with
        θ± = ½(u₁ ± u₂). Where |u_L| >= u₁ the curve turns, and no limit is known.
        """
        if initialization is None:
            return Selector.equal(float(self.layers), n)
        first, last = (part.numpy() for part in initialization.expanded(n))
        if not np.all(last < first):
            return None
        if self.layers == 2:
            return Selector.of(2.0, 0.5 * (first + last), 0.5 * (first - last))
        if not last.any():
            return Selector.of(float(self.layers), first, first)
        b_squared = (first - last) * (first + last)
        upper = 0.5 * betainc(0.5 * (self.layers - 2), 0.5, b_squared / first**2)
        root = np.sqrt(b_squared)
        plus, minus = (root * part ** (-1.0 / (self.layers - 2)) for part in (upper, 1 - upper))
        return Selector.of(float(self.layers), plus, minus)

    @property
    def selector_reason(self) -> str:
        return f"{self.name} has a selector where its last layer is smaller than the others at the start only"

    def __repr__(self) -> str:
        return f"Product({self.layers})"
