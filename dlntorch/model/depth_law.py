"""What a depth makes of a small start: powers of α at p > 2, logarithms at p = 2; one class for each.

Both are limits of one formula: (α^{2−p} − 1)/(p − 2) → ln 1/α as p → 2. What a quantity of the field is at each depth is asked
here by its meaning, so that nobody else compares p with 2.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.numerics.validation import check_depth

__all__ = ["DepthLaw", "depth_law"]


class DepthLaw:
    """The scales of ψ = θ₊^p − θ₋^p and of ψ = θ^p at p > 2.

    Args:
        p: Depth.
    """

    #: Whether ψ has a pole at a finite ν. Close to it ν resolves in float64 what ψ does; without one it does not.
    has_pole = True
    #: n where the error ‖ψ − W_p‖ falls as (α^p)^n whatever the data are; None where the data decide the power.
    error_exponent: float | None = 1.0
    #: Whether the shape a± of the start weighs the norm; else it only decides among the minimisers of the plain one.
    shapes_norm = True
    #: Whether steps move the weights of θ₊ and θ₋ alike to second order, so that a run ends as from √(θ₊θ₋) on both sides.
    even_steps = False
    #: k = p/(p − 2), the power of the pole.
    k = math.inf

    def __init__(self, p: float) -> None:
        self.p = p
        if p > 2:
            self.k = p / (p - 2)

    def unit_of_time(self, alpha: float) -> float:
        """The time of the jumps between saddles, in t: α^{2−p}, at p = 2 ln 1/α."""
        return alpha ** (2 - self.p)

    def relative_cost(self, alpha: float) -> float:
        """What the start is worth beside the ℓ1-norm: α^{p−2}, at p = 2 1/ln(1/α²)."""
        return alpha ** (self.p - 2)

    def pace(self, alpha: float) -> float:
        """One over the ν at which θ₊^p leaves the start's scale: p(p − 2)α^{p−2}; at p = 2, where ψ = 1: 4/asinh(1/(2α²))."""
        return self.p * (self.p - 2) * alpha ** (self.p - 2)

    def along(self, theta: Tensor, move: Tensor) -> Tensor:
        """θ after ν has moved: θ^{2−p} less by p(p − 2) times the move; at p = 2 ln θ more by twice that."""
        p = self.p
        return theta * torch.exp(-torch.log1p(-(p - 2) * p * theta ** (p - 2) * move) / (p - 2))

    def log_moved(self, x: np.ndarray) -> np.ndarray:
        """ln of the factor on α that moves (α^{2−p} − 1)/(2 − p), at p = 2 ln α, by x α^{2−p}; NaN where none does."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.log1p((2 - self.p) * x) / (2 - self.p)

    def one_sided_tau(self, ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """τ and 1 − |τ| of ψ = θ^p at ψ/ψ(0) = ratio: 1 − ratio^{−1/k} and ratio^{−1/k}, at p = 2 τ = ln ratio."""
        gap = ratio ** ((2 - self.p) / self.p)
        return 1 - gap, gap

    def selector_slope(self, x: Any) -> Any:
        """g_p′(x), x > 0, of the function g_p that decides among the ℓ1-minimisers: 1 − x^{2/p−1}, at p = 2 ln x."""
        return 1 - x ** (2 / self.p - 1)

    def log_least_theta(self, log_largest: float, log_alpha: float) -> float:
        """ln of a lower bound of θ on the flow from θ± = α where θ^p <= M.

        θ₋^{2−p} = 2α^{2−p} − θ₊^{2−p} < 2α^{2−p}; and θ₋ >= α²/θ₊, with equality at p = 2.

        Args:
            log_largest: ln M.
            log_alpha: ln α.
        """
        by_curve = log_alpha - math.log(2) / (self.p - 2)
        # for p near 2 the other form is better: u + v = 2 and u v <= 1 give θ₊θ₋ >= α²
        return max(by_curve, 2 * log_alpha - max(log_largest / self.p, log_alpha))

    def log10_half_way(self, distance: float) -> float:
        """log10 of the α at which the limit on A = (1, 1 − δ) is half-way from its answer for δ = 0, where entries are equal.

        They are as 2 : 1 there, at p = 2 as e : 1, to first order in δ:

        δ = α^{p−2}(2^{1/k} − 1)(2/3)^{−1/k} with k = p/(p − 2), at p = 2 δ = 1/ln(1/α²).

        Args:
            distance: δ > 0.
        """
        inverse_k = (self.p - 2) / self.p
        shape = (2**inverse_k - 1) * 1.5**inverse_k
        return math.log10(distance / shape) / (self.p - 2)


class _LogarithmicLaw(DepthLaw):
    """p = 2."""

    has_pole, error_exponent, shapes_norm, even_steps = False, None, False, True

    def unit_of_time(self, alpha: float) -> float:
        return math.log(1 / alpha)

    def relative_cost(self, alpha: float) -> float:
        return 0.5 / math.log(1 / alpha)

    def pace(self, alpha: float) -> float:
        return 4 / math.asinh(0.5 / alpha**2)

    def along(self, theta: Tensor, move: Tensor) -> Tensor:
        return theta * torch.exp(2 * move)

    def log_moved(self, x: np.ndarray) -> np.ndarray:
        return x

    def one_sided_tau(self, ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tau = np.log(ratio)
        return tau, 1 - np.abs(tau)

    def selector_slope(self, x: Any) -> Any:
        return np.log(x)

    def log_least_theta(self, log_largest: float, log_alpha: float) -> float:
        return 2 * log_alpha - max(0.5 * log_largest, log_alpha)

    def log10_half_way(self, distance: float) -> float:
        return -1 / (2 * distance * math.log(10))


def depth_law(p: Any) -> DepthLaw:
    """The law of depth p, a finite real number >= 2.

    Raises:
        InputError: naming p.
    """
    depth = check_depth(p)
    return _LogarithmicLaw(depth) if depth == 2 else DepthLaw(depth)
