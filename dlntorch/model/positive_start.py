"""A start θ±(0) = α± > 0 of a depth as bounds need it: the unit of its numbers, its curve, and what it costs to move along it.

With c = p(p − 2), a unit ᾱ, a± = α±/ᾱ and τ = cᾱ^{p−2}ν (4ν at p = 2) the flow is, coordinate by coordinate,

    p > 2:  θ± = ᾱ u±^{−1/(p−2)},  u± = a±^{2−p} ∓ τ;        p = 2:  θ± = ᾱ a± e^{±τ/2}.

α_e, α_e^{2−p} = ½(α₊^{2−p} + α₋^{2−p}) (p = 2: α_e² = α₊α₋), is what α is from one number: the smaller of θ± is <= α_e at all
times, and dψ/dν = p²(θ₊^{2p−2} + θ₋^{2p−2}) >= 2p²α_e^{2p−2}, with equality where θ₊ = θ₋. The unit is the smallest α_e.

What is a power at p > 2 and a logarithm at p = 2 has one class for each.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from dlntorch.model.initialization import Initialization
from dlntorch.numerics.validation import InputError, check_alpha

__all__ = ["PositiveStart"]

_EPS = 2.0**-52
_DIGITS = 50
#: The f, and the l of p = 2, at which potentials are bounded from below: every one of them gives a bound.
_SHARES = np.concatenate([np.geomspace(1e-14, 0.1, 60), np.linspace(0.15, 0.9, 12)])[:, None]
_LOGARITHMS = np.geomspace(0.05, 100, 60)[:, None]


@dataclass(frozen=True)
class PositiveStart(ABC):
    """θ±(0) of a network of depth p; :meth:`of` makes one.

    Attributes:
        p: Depth.
        plus: α₊, shape (n,).
        minus: α₋, shape (n,).
        number: α where all entries are equal, else None.
        unit: ᾱ, which is α where there is one.
        largest: The largest α_e.
    """

    p: float
    plus: np.ndarray
    minus: np.ndarray
    number: float | None
    unit: float
    largest: float

    #: Whether what late steps do is the smaller the smaller α is: Z of :mod:`dlntorch.bounds.threshold`.
    suppresses: ClassVar[bool] = True

    @staticmethod
    def of(alpha: Any, p: float, n: int) -> PositiveStart:
        """The start that a number, a vector (n,) or an :class:`Initialization` means.

        Raises:
            InputError: an entry that is not finite and > 0, or another number of entries than n.
        """
        kind = _EntropicStart if p == 2 else _PowerStart
        if not isinstance(alpha, Initialization) and np.ndim(alpha) == 0:
            number = check_alpha(alpha)
            return kind(p, np.full(n, number), np.full(n, number), number, number, number)
        plus, minus = (side.numpy() for side in Initialization.of(alpha).expanded(n))
        least = float(min(plus.min(), minus.min()))
        if not least > 0:
            raise InputError(f"alpha must be finite and > 0 in every coordinate, got {least:g}")
        if bool((plus == least).all() and (minus == least).all()):
            return kind(p, plus, minus, least, least, least)
        middle = kind.middle(p, np.minimum(plus, minus), np.maximum(plus, minus))
        # no larger than the smallest α_e, and no smaller than the largest, whatever the rounding
        unit, largest = float(middle.min()) * (1 - 8 * _EPS), float(middle.max()) * (1 + 8 * _EPS)
        return kind(p, plus, minus, None, unit, largest)

    @property
    def psi(self) -> np.ndarray:
        """ψ(0), shape (n,)."""
        return self.plus**self.p - self.minus**self.p

    @property
    def sides(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """(α₊, α₋) and (α₋, α₊): a side and the other one."""
        return (self.plus, self.minus), (self.minus, self.plus)

    @property
    def top(self) -> float:
        """The largest α±, in which :meth:`weights` are >= 1."""
        return float(max(self.plus.max(), self.minus.max()))

    @property
    @abstractmethod
    def origin(self) -> np.ndarray:
        """Shape (4, n): a₊^{2−p} as a sum of two floats, and a₋^{2−p} likewise; at p = 2 a₊², ln a₊², a₋², ln a₋²."""

    @staticmethod
    @abstractmethod
    def middle(p: float, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """α_e from the smaller and the larger of α±, shape (n,)."""

    @abstractmethod
    def potential(self, A: np.ndarray, reach: float, length: float) -> float:
        """T of :mod:`dlntorch.bounds.start`, in the unit of :meth:`highest`.

        Args:
            A: The matrix, of full row rank.
            reach: X, a bound on the ℓ1-norm of the shortest move that changes Aψ by ``length`` / √n.
            length: 2√n‖r₀‖₂.
        """

    @abstractmethod
    def highest(self, near: np.ndarray, far: np.ndarray, total: float) -> np.ndarray:
        """A bound of θ^p, shape (n,), of the side that starts from ``near``, where potentials sum up to ``total``."""

    # -- the weights of the norm that the start means: see :mod:`dlntorch.bounds.threshold` ------------------------------

    def no_weights(self, largest: float) -> str:
        """Why there are none beside ‖W‖_∞ = ``largest``, else empty."""
        return ""

    @abstractmethod
    def weights(self, largest: float) -> tuple[np.ndarray, np.ndarray]:
        """ω±, shape (n,) each."""

    @abstractmethod
    def weight_at(self, relative: Tensor, side: Tensor, first: np.ndarray, largest: float) -> Tensor:
        """w of one side, shape (n,), at an end.

        Args:
            relative: (α_eff/α)^{2−p} of it.
            side: α_eff of it.
            first: ω of it.
            largest: ‖W‖_∞.
        """

    @abstractmethod
    def cost(self, largest: float) -> float:
        """e: what ‖θ(0)‖² adds to the energy."""

    def __str__(self) -> str:
        if self.number is not None:
            return f"{self.number:g}"
        return f"{min(self.plus.min(), self.minus.min()):g} … {max(self.plus.max(), self.minus.max()):g}"


class _PowerStart(PositiveStart):
    """p > 2; potentials are in the unit of ᾱ^{2−p}/c."""

    @property
    def origin(self) -> np.ndarray:
        import mpmath

        rows = []
        with mpmath.workdps(_DIGITS):
            unit, power = mpmath.mpf(self.unit), 2 - mpmath.mpf(self.p)
            for side in (self.plus, self.minus):
                exact = {a: (mpmath.mpf(a) / unit) ** power for a in set(side.tolist())}
                heads = {a: float(value) for a, value in exact.items()}
                rows.append([heads[a] for a in side.tolist()])
                rows.append([float(exact[a] - heads[a]) for a in side.tolist()])
        return np.array(rows)

    @staticmethod
    def middle(p: float, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return low * ((1 + (low / high) ** (p - 2)) / 2) ** (-1 / (p - 2))

    def potential(self, A: np.ndarray, reach: float, length: float) -> float:
        weight = (np.minimum(self.plus, self.minus) / self.unit) ** (2 - self.p)
        values = np.linalg.svd(A / weight, compute_uv=False)
        smallest = float(values[-1] - sum(A.shape) * 4 * _EPS * values[0])
        plain = reach * float(weight.max())
        return min(plain, length / smallest) if smallest > 0 else plain

    def highest(self, near: np.ndarray, far: np.ndarray, total: float) -> np.ndarray:
        p = self.p
        own, other = (near / self.unit) ** (2 - p), (far / self.unit) ** (2 - p)
        theta = self.unit * (other + own * (1 - _SHARES)) ** (-1 / (p - 2))
        moved = near**p * (_SHARES ** (-p / (p - 2)) - 1) + far**p - theta**p
        return (near**p + np.maximum(moved, 0) + total / (own * (1 - _SHARES))).min(axis=0)

    def weights(self, largest: float) -> tuple[np.ndarray, np.ndarray]:
        return (self.plus / self.top) ** (2 - self.p), (self.minus / self.top) ** (2 - self.p)

    def weight_at(self, relative: Tensor, side: Tensor, first: np.ndarray, largest: float) -> Tensor:
        return relative if self.number is not None else relative * torch.from_numpy(first)

    def cost(self, largest: float) -> float:
        p, n = self.p, self.plus.size
        if self.number is not None:
            return (p - 2) * n * self.number**p
        return 0.5 * (p - 2) * self.top ** (p - 2) * float((self.plus**2 + self.minus**2).sum())


class _EntropicStart(PositiveStart):
    """p = 2; potentials are in the unit of ¼."""

    suppresses: ClassVar[bool] = False

    @property
    def origin(self) -> np.ndarray:
        plus, minus = self.plus / self.unit, self.minus / self.unit
        return np.stack([plus**2, 2 * np.log(plus), minus**2, 2 * np.log(minus)])

    @staticmethod
    def middle(p: float, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return low * np.sqrt(high / low)

    def potential(self, A: np.ndarray, reach: float, length: float) -> float:
        least = float(min(self.plus.min(), self.minus.min()))
        return reach * math.log1p(reach / least**2)

    def highest(self, near: np.ndarray, far: np.ndarray, total: float) -> np.ndarray:
        moved = near**2 * np.expm1(_LOGARITHMS) - far**2 * np.expm1(-_LOGARITHMS)
        return (near**2 + moved + total / _LOGARITHMS).min(axis=0)

    def _length(self, largest: float) -> float:
        """L."""
        return math.log(largest) - 2 * math.log(self.top)

    def no_weights(self, largest: float) -> str:
        if self._length(largest) > 0:
            return ""
        return f"alpha is too large: alpha^2 = {self.top**2:.3g} must be below the largest entry of W"

    def weights(self, largest: float) -> tuple[np.ndarray, np.ndarray]:
        length = self._length(largest)
        plus, minus = ((math.log(largest) - 2 * np.log(side)) / length for side in (self.plus, self.minus))
        return plus, minus

    def weight_at(self, relative: Tensor, side: Tensor, first: np.ndarray, largest: float) -> Tensor:
        return (math.log(largest) - 2 * torch.log(side)) / self._length(largest)

    def cost(self, largest: float) -> float:
        if self.number is not None:
            return 2 * self.plus.size * self.number**2 / self._length(largest)
        return float((self.plus**2 + self.minus**2).sum()) / self._length(largest)
