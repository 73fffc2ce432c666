"""Weights of the two-sided norm Σ w₊ψ⁺ + w₋ψ⁻, checked, and brought to size one by a scaling of the columns.

With z_i = 2^{e_i}ψ_i the columns become 2^{−e_i}A_i and the weights 2^{−e_i}w_i: e_i is chosen so that the smaller weight
of each coordinate lies in [1/2, 1). Powers of two lose no digit, so that what the solvers decide (ties, faces, rank) is
decided on the numbers as given; what is left of the weights are the :class:`~dlntorch.reference.costs.Costs`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from dlntorch.numerics.validation import InputError, check_flag, check_unmasked
from dlntorch.reference.costs import PLAIN, Costs

__all__ = ["UNWEIGHTED", "Weights", "sides_of"]

#: Weights may differ by 2 to this power: the squares of entries that differ by more leave float64.
WIDEST = 500


@dataclass(frozen=True)
class Weights:
    """Checked weights.

    Attributes:
        costs: c = w 2^{−e}/factor, shape (n,); PLAIN where all weights are equal.
        exponents: e − unit, shape (n,), by which columns are scaled; None where by nothing.
        unit: A power of two, by which all weights together were divided.
        factor: The one weight where all are equal, else 1.
    """

    costs: Costs
    exponents: np.ndarray | None = None
    unit: int = 0
    factor: float = 1.0

    @classmethod
    def of(cls, weights: Any, n: int, nonnegative: Any = False) -> Weights:
        """From what users pass: None, (n,), or a pair (weights_plus, weights_minus); all finite and > 0.

        Raises:
            InputError: naming the argument.
        """
        one_sided = check_flag("nonnegative", nonnegative)
        plus, minus = sides_of(weights, n)
        if one_sided and minus is not None:
            raise InputError(
                f"weights must have one entry for each of the {n} coordinates with nonnegative, got a pair"
            )
        if plus is None:
            return cls(Costs(np.ones(n), None)) if one_sided else UNWEIGHTED
        other = plus if minus is None else minus
        factor = float(plus[0])
        if np.all(plus == factor) and np.all(other == factor):
            return cls(Costs(np.ones(n), None) if one_sided else PLAIN, factor=factor)
        exponents = np.frexp(np.minimum(plus, other))[1].astype(np.int64)
        if max(plus.max(), other.max()) / 2.0**WIDEST > min(plus.min(), other.min()):
            low, high = min(plus.min(), other.min()), max(plus.max(), other.max())
            raise InputError(f"weights must differ by less than a factor of 2^{WIDEST}, got {low:.3g} and {high:.3g}")
        unit = int(np.median(exponents))
        costs = Costs(np.ldexp(plus, -exponents), None if one_sided else np.ldexp(other, -exponents))
        return cls(costs, exponents - unit, unit)

    @property
    def plain(self) -> bool:
        """Whether the norm is a multiple of ‖ψ‖₁."""
        return self.costs is PLAIN

    def same_as(self, other: Weights) -> bool:
        """Whether the norms are the same up to a factor."""
        mine, others = self.costs, other.costs
        if self.plain or other.plain:
            return self.plain and other.plain
        alike = mine.one_sided == others.one_sided and np.array_equal(mine.plus, others.plus)
        first, second = (np.zeros(mine.plus.size) if w.exponents is None else w.exponents for w in (self, other))
        return alike and np.array_equal(mine.minus, others.minus) and np.array_equal(first, second)

    def scaled(self, A: np.ndarray) -> np.ndarray:
        """The matrix with its columns scaled."""
        return A if self.exponents is None else np.ldexp(A, -self.exponents)

    def unscaled(self, z: np.ndarray, exponent: int = 0) -> np.ndarray:
        """2^exponent ψ for the z of the scaled columns."""
        return np.ldexp(z, exponent if self.exponents is None else exponent - self.exponents)

    def at(self, columns: np.ndarray) -> Weights:
        """Those of the given columns."""
        if self.plain or columns.size == self.costs.plus.size:
            return self
        costs = Costs(self.costs.plus[columns], None if self.costs.one_sided else self.costs.minus[columns])
        return Weights(costs, None if self.exponents is None else self.exponents[columns], self.unit, self.factor)


#: The ℓ1-norm.
UNWEIGHTED = Weights(PLAIN)


def sides_of(weights: Any, n: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """(w₊, w₋), both None without weights, w₋ None where one vector serves both signs."""
    if weights is None:
        return None, None
    check_unmasked("weights", weights)
    pair = isinstance(weights, list | tuple) and len(weights) == 2 and any(np.ndim(part) > 0 for part in weights)
    if pair or (np.ndim(weights) == 2 and len(weights) == 2):
        return _vector("weights_plus", weights[0], n), _vector("weights_minus", weights[1], n)
    return _vector("weights", weights, n), None


def _vector(name: str, value: Any, n: int) -> np.ndarray:
    rule = f"{name} must have one entry for each of the {n} coordinates, finite and > 0"
    try:
        raw = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{rule}, got {type(value).__name__}") from None
    if raw.dtype.kind not in "fiu":
        raise InputError(f"{rule}, got dtype {raw.dtype}")
    array = raw.astype(np.float64)
    if array.shape != (n,):
        raise InputError(f"{rule}, got shape {array.shape}")
    bad = np.flatnonzero(~(np.isfinite(array) & (array > 0)))
    if bad.size:
        raise InputError(f"{rule}, got {array[bad[0]]} at [{bad[0]}]")
    return array
