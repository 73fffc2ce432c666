"""Which minimiser a parametrization selects as its start shrinks to 0 with fixed shape: θ(0) = α a, α → 0.

With c₊ and c₋ the distances that ν may move before ψ is of order one, divided by the power of α that they share, the limit
minimises the weighted two-sided norm Σ w₊ψ⁺ + w₋ψ⁻, w± = c±, and on the face of its minimisers one more function:

    p > 2:  w± = a±^{2−p},  and on the face the maximiser of Σ|ψ_i|^{2/p}, whatever a is;
    p = 2:  w± = 1,         and on the face the minimiser of Σ|ψ_i|(ln|ψ_i| − 1 − ln a±²).

Every parametrization with a known limit is, as far as this goes, a depth p with a shape a±. Both lines are one:
argmin Σ a_i² G(|ψ_i|/a_i^p), G'(x) = k(1 − x^{−1/k}), k = p/(p − 2), tends to the second as p → 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

__all__ = ["Selector"]


@dataclass(frozen=True)
class Selector:
    """Depth p and shape a±.

    Attributes:
        p: Depth of the function on the face, >= 2.
        plus: a₊, shape (n,), with largest entry 1 (of both).
        minus: a₋ likewise, or None where ψ >= 0.
    """

    p: float
    plus: np.ndarray
    minus: np.ndarray | None

    @classmethod
    def of(cls, p: float, plus: Tensor | np.ndarray, minus: Tensor | np.ndarray | None) -> Selector:
        """The selector of a start with entries a± > 0, at any scale."""
        upper = np.asarray(plus, dtype=np.float64)
        lower = None if minus is None else np.asarray(minus, dtype=np.float64)
        top = float(max(upper.max(), -np.inf if lower is None else lower.max()))
        return cls(p, upper / top, None if lower is None else lower / top)

    @classmethod
    def equal(cls, p: float, n: int, nonnegative: bool = False) -> Selector:
        """That of equal entries."""
        ones = np.ones(n)
        return cls(p, ones, None if nonnegative else ones)

    @property
    def nonnegative(self) -> bool:
        """Whether ψ >= 0."""
        return self.minus is None

    @property
    def uniform(self) -> bool:
        """Whether all entries of a± are equal, so that the norm is ‖ψ‖₁."""
        return bool(np.all(self.plus == 1) and (self.minus is None or np.all(self.minus == 1)))

    def weights(self) -> np.ndarray | tuple[np.ndarray, np.ndarray] | None:
        """(w₊, w₋), or w₊ where ψ >= 0; None where they are all 1. They overflow where a is too small for its power."""
        if self.p == 2 or self.uniform:
            return None
        with np.errstate(over="ignore"):
            plus = self.plus ** (2 - self.p)
            return plus if self.minus is None else (plus, self.minus ** (2 - self.p))

    def shape(self, support: np.ndarray, signs: np.ndarray) -> np.ndarray:
        """a₊ or a₋ of the coordinates ``support``, by their ``signs``."""
        if self.minus is None:
            return self.plus[support]
        return np.where(signs > 0, self.plus[support], self.minus[support])
