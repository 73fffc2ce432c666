"""The cost of a vector, Σ c₊x⁺ + c₋x⁻ with x⁺ = max(x, 0) and x⁻ = max(−x, 0), and what duality makes of it.

The dual of min cost(x) subject to Ax = y is max yᵀλ subject to −c₋ <= Aᵀλ <= c₊. c₊ = c₋ = 1 is the ℓ1-norm, and
c₋ = ∞ admits x >= 0 only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["PLAIN", "Costs", "Plain"]


class Costs:
    """Costs c₊, c₋ > 0 of n coordinates.

    Args:
        plus: c₊, shape (n,), finite.
        minus: c₋, shape (n,), or None for x >= 0.
    """

    def __init__(self, plus: np.ndarray, minus: np.ndarray | None) -> None:
        self.plus = plus
        self.minus = np.full_like(plus, np.inf) if minus is None else minus
        self.one_sided = minus is None

    def value(self, x: np.ndarray) -> float:
        """The cost of x; infinite where x is not admitted."""
        negative = x < 0
        below = float(self.minus[negative] @ -x[negative]) if negative.any() else 0.0
        return float(self.plus @ np.where(negative, 0.0, x)) + below

    def slope(self, x: np.ndarray, columns: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The derivative of the cost at the values ``x`` of ``columns``; 0 where x = 0."""
        return np.where(x > 0, self.plus[columns], np.where(x < 0, -self.minus[columns], 0.0))

    def excess(self, tau: np.ndarray) -> np.ndarray:
        """max(τ − c₊, −c₋ − τ), shape (n,): <= 0 where τ is admitted."""
        return np.maximum(tau - self.plus, -self.minus - tau)

    def ratio(self, tau: np.ndarray) -> float:
        """The least r >= 0 with −r c₋ <= τ <= r c₊."""
        return max(0.0, float((tau / self.plus).max()), float((-tau / self.minus).max()))

    def relative(self, tau: np.ndarray) -> np.ndarray:
        """τ/c₊ or τ/c₋ by the sign of τ, shape (n,), so that 1 and −1 are the ends of what is admitted."""
        return np.where(tau > 0, tau / self.plus, tau / self.minus)

    def clip(self, tau: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """``tau`` of ``columns``, brought to what is admitted."""
        return np.clip(tau, -self.minus[columns], self.plus[columns])

    def jump(self, d: np.ndarray, slope: np.ndarray, columns: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """By how much the cost's slope along x − td grows where the ``chosen`` columns pass 0, from ``slope`` before."""
        columns = columns[chosen]
        with np.errstate(invalid="ignore"):
            falling, rising = (self.minus[columns] + slope) * d, (slope - self.plus[columns]) * d
        return np.where(d > 0, falling, rising)

    def beyond(self, d: np.ndarray, columns: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """The slope of the cost where the ``chosen`` columns have passed 0 along −d."""
        columns = columns[chosen]
        return np.where(d > 0, -self.minus[columns], self.plus[columns])

    def times(self, factor: float) -> Costs:
        """All costs times a factor."""
        return Costs(factor * self.plus, None if self.one_sided else factor * self.minus)

    def end(self, sign: float, column: int) -> float:
        """The slope of the cost of one coordinate, on the side of ``sign``."""
        return float(self.plus[column] if sign > 0 else -self.minus[column])

    def distances(self, tau: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """u = c₊ − τ and v = c₋ + τ."""
        return self.plus - tau, self.minus + tau

    def tau(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """τ from its distances to the ends."""
        return self.plus - u if self.one_sided else 0.5 * ((self.plus - u) + (v - self.minus))


class Plain(Costs):
    """c₊ = c₋ = 1: the ℓ1-norm, for any n."""

    def __init__(self, size: float = 1.0) -> None:
        self.plus = self.minus = np.float64(size)  # pyright: ignore[reportAttributeAccessIssue]  # broadcast
        self.one_sided = False

    def __reduce__(self) -> Any:
        """Ones stay the one object that they are in another process, where ``costs is PLAIN`` is asked too."""
        return "PLAIN" if self is PLAIN else (Plain, (float(self.plus),))

    def times(self, factor: float) -> Costs:
        return Plain(factor)

    def value(self, x: np.ndarray) -> float:
        return float(np.abs(x).sum())

    def slope(self, x: np.ndarray, columns: np.ndarray | slice = slice(None)) -> np.ndarray:
        return np.sign(x)

    def excess(self, tau: np.ndarray) -> np.ndarray:
        return np.abs(tau) - 1

    def ratio(self, tau: np.ndarray) -> float:
        return float(np.abs(tau).max())

    def relative(self, tau: np.ndarray) -> np.ndarray:
        return tau

    def clip(self, tau: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return np.clip(tau, -1, 1)

    def jump(self, d: np.ndarray, slope: np.ndarray, columns: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        return np.abs(d) + slope * d

    def beyond(self, d: np.ndarray, columns: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        return -np.sign(d)

    def end(self, sign: float, column: int) -> float:
        return sign

    def tau(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return 0.5 * (v - u)


#: The ℓ1-norm.
PLAIN = Plain()
