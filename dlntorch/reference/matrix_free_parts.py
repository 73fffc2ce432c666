"""What a solver without a matrix works with: counted products with A of norm one, and a cost on tensors of any device."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.numerics.validation import check_flag
from dlntorch.problem.operators import Operator
from dlntorch.reference.weights import sides_of

__all__ = ["Products", "TensorCosts"]

#: ‖AAᵀr − cr‖ <= this times ‖AAᵀr‖ for a random r counts as AAᵀ = cI: by one vector, with probability one.
TIGHT = 1e-12
#: Steps of the Lanczos method, which keep two vectors, and how far it may be off: first-order steps bear a third more.
NORM_STEPS, SAFETY = 12, 1.03
#: From this estimate of κ(AAᵀ) on, steps in λ take a polynomial of AAᵀ in the place of its inverse, of at most so high a
#: degree; below, twice the products a step were measured to save no product in all.
ILL_CONDITIONED, HIGHEST_DEGREE = 200.0, 30


class TensorCosts:
    """Costs c₊, c₋ > 0 of :class:`~dlntorch.reference.costs.Costs`, as numbers or as tensors on a device.

    Args:
        plus: c₊, a number or shape (n,).
        minus: The same for c₋; infinite for x >= 0.
    """

    def __init__(self, plus: Any, minus: Any) -> None:
        self.plus, self.minus = plus, minus
        self.one_sided = isinstance(minus, float) and math.isinf(minus)
        self.uniform = isinstance(plus, float) and isinstance(minus, float)

    @classmethod
    def of(cls, weights: Any, n: int, nonnegative: Any, device: torch.device) -> TensorCosts:
        """From what users pass, checked as :meth:`~dlntorch.reference.weights.Weights.of` checks it."""
        one_sided = check_flag("nonnegative", nonnegative)
        plus, minus = sides_of(weights, n)
        if plus is None:
            return cls(1.0, math.inf if one_sided else 1.0)
        other = plus if minus is None else minus
        first = torch.from_numpy(plus).to(device)
        return cls(first, math.inf if one_sided else torch.from_numpy(other).to(device))

    def shrink(self, v: Tensor, step: float) -> Tensor:
        """argmin over x of cost(x) + ‖x − v‖²/(2 step), shape (n,)."""
        if self.uniform:
            return v - v.clamp(-step * self.minus, step * self.plus)
        low = torch.full_like(v, -math.inf) if self.one_sided else -step * self.minus
        return v - v.clamp(low, step * self.plus)

    def value(self, x: Tensor) -> float:
        """The cost of x; infinite where x is not admitted."""
        if self.one_sided:
            return math.inf if bool((x < 0).any()) else float((self.plus * x).sum())
        if self.uniform:
            return float(self.plus * x.abs().sum())
        return float((self.plus * x.clamp(min=0) - self.minus * x.clamp(max=0)).sum())

    def relative(self, tau: Tensor) -> Tensor:
        """τ/c₊ or τ/c₋ by the sign of τ, shape (n,): 1 and −1 are the ends of what is admitted."""
        if self.uniform and not self.one_sided:
            return tau / self.plus
        return torch.where(tau > 0, tau / self.plus, tau / self.minus)

    def excess(self, tau: Tensor) -> float:
        """The largest |τ_i| relative to the costs, less 1: <= 0 where τ is admitted."""
        return float(self.relative(tau).abs().max()) - 1

    def slope(self, sign: Tensor, support: Tensor) -> Tensor:
        """The derivative of the cost at entries ``support`` of signs ±1."""
        plus, minus = (c if isinstance(c, float) else c[support] for c in (self.plus, self.minus))
        return torch.where(sign > 0, plus * torch.ones_like(sign), -minus * torch.ones_like(sign))


class Products:
    """Products with B = A/‖A‖₂, counted.

    Args:
        operator: A, in float64.

    Attributes:
        norm: ‖A‖₂, exact where AAᵀ = cI, else three per cent above an estimate.
        tight: Whether AAᵀ = cI, as products with a random vector say.
        low: An estimate of the smallest eigenvalue of BBᵀ.
        count: Products with B or Bᵀ so far.
    """

    def __init__(self, operator: Operator) -> None:
        self.operator, self.count, self.norm = operator, 0, 1.0
        r = _random(operator, 11)
        image = self.apply(self.adjoint(r))
        c = float(image @ r) / float(r @ r)
        self.tight = c > 0 and float((image - c * r).norm()) <= TIGHT * c * float(r.norm())
        low, high = (c, c) if self.tight else self._spectrum()
        self.norm = math.sqrt(high if self.tight else SAFETY * high)
        self.low = max(low / self.norm**2, 1e-12) if self.norm > 0 else 1.0

    def apply(self, x: Tensor) -> Tensor:
        """Bx, shape (m,)."""
        self.count += 1
        return self.operator.apply(x) / self.norm

    def adjoint(self, r: Tensor) -> Tensor:
        """Bᵀr, shape (n,)."""
        self.count += 1
        return self.operator.adjoint(r) / self.norm

    def _spectrum(self) -> tuple[float, float]:
        """The least and the largest eigenvalue of AAᵀ that a few steps of the Lanczos method find."""
        v = _random(self.operator, 12)
        v, before, off = v / v.norm(), torch.zeros_like(v), 0.0
        diagonal, beside = [], []
        for _ in range(min(v.shape[0], NORM_STEPS)):
            image = self.apply(self.adjoint(v))
            diagonal.append(float(image @ v))
            image = image - diagonal[-1] * v - off * before
            off = float(image.norm())
            if not off > 1e-12 * diagonal[0]:
                break
            beside.append(off)
            v, before = image / off, v
        k = len(diagonal)
        T = np.diag(diagonal) + np.diag(beside[: k - 1], 1) + np.diag(beside[: k - 1], -1)
        values = np.linalg.eigvalsh(T) if np.all(np.isfinite(T)) else np.array([math.inf])
        return max(float(values[0]), 0.0), float(values[-1])

    def inverse(self, r: Tensor) -> Tensor:
        """Mr for a positive definite M with ‖M^{1/2}B‖₂ <= 1: I, or a Chebyshev polynomial of BBᵀ near its inverse."""
        if self.low >= 1 / ILL_CONDITIONED:
            return r
        degree = min(HIGHEST_DEGREE, math.ceil(0.5 / math.sqrt(self.low)))
        low = max(0.5 * self.low, 1 / (4 * degree**2))
        centre, half = 0.5 * (1 + low), 0.5 * (1 - low)
        ratio, z = half / centre, r / centre
        rho, step = ratio, z
        for _ in range(degree):
            left = r - self.apply(self.adjoint(z))
            before, rho = rho, 1 / (2 / ratio - rho)
            step = rho * before * step + (2 * rho / half) * left
            z = z + step
        return z / (1 + 1 / math.cosh((degree + 1) * math.acosh(1 / ratio)))


def _random(operator: Operator, seed: int) -> Tensor:
    drawn = np.random.default_rng([seed, operator.shape[0]]).standard_normal(operator.shape[0])
    return torch.from_numpy(drawn).to(operator.device)
