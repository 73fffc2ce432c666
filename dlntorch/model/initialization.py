"""Where a network starts: θ₊(0) and θ₋(0), which may differ from each other and between coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.numerics.validation import InputError, check_depth, check_number, check_unmasked

__all__ = ["Initialization"]


class Initialization:
    """θ₊(0) = plus and θ₋(0) = minus: numbers, or one for each coordinate.

    With equal entries this is what a number α means. In general ψ(0) = θ₊(0)^p − θ₋(0)^p is not 0, and the flow ends
    elsewhere: as both shrink with fixed shape a± = θ±(0)/α, the limit minimises the weighted two-sided norm
    Σ w₊ψ⁺ + w₋ψ⁻, w± = a±^{2−p} (p > 2), or the entropy Σ|ψ|(ln|ψ| − 1 − ln a±²) among the ℓ1-minimisers (p = 2).

    Args:
        plus: θ₊(0), a finite number > 0 or a vector (n,) of them.
        minus: θ₋(0) likewise; None means equal to ``plus``.

    Raises:
        InputError: in one line, for anything that is not finite and >= 0 (whether 0 may be is the parametrization's).

    Example:
        >>> Initialization(1e-3, [1e-3, 2e-3])
        Initialization(n=2, plus=0.001, minus=0.001 … 0.002)
    """

    def __init__(self, plus: Any, minus: Any = None) -> None:
        self.plus = _values("plus", plus)
        self.minus = self.plus.clone() if minus is None else _values("minus", minus)
        if self.plus.ndim == self.minus.ndim == 1 and self.plus.shape != self.minus.shape:
            raise InputError(f"plus and minus must have one length, got {self.plus.shape[0]} and {self.minus.shape[0]}")

    @classmethod
    def of(cls, alpha: Any) -> Initialization:
        """``alpha`` itself, or the start that a number or a vector (n,) means: θ₊(0) = θ₋(0) = alpha."""
        return alpha if isinstance(alpha, Initialization) else cls(alpha)

    @classmethod
    def warm(cls, psi0: Any, alpha: Any, p: Any) -> Initialization:
        """The start at ψ(0) = psi0 in which the smaller of θ± is α: (θ₊, θ₋) = ((α^p + ψ₀⁺)^{1/p}, (α^p + ψ₀⁻)^{1/p}).

        Args:
            psi0: Where ψ starts, shape (n,), finite.
            alpha: The scale α > 0.
            p: Depth >= 2.
        """
        depth, scale = check_depth(p), check_number("alpha", alpha, above=0)
        psi = _tensor("psi0", psi0)
        if psi.ndim != 1:
            raise InputError(f"psi0 must be a finite vector of shape (n,), got shape {tuple(psi.shape)}")
        bad = torch.nonzero(~torch.isfinite(psi))
        if bad.numel():
            raise InputError(f"psi0 must be a finite vector of shape (n,), got {float(psi[bad[0]])} at [{int(bad[0])}]")
        # α(1 + ψ/α^p)^{1/p} keeps the digits of a small ψ, and ψ^{1/p}(1 + α^p/ψ)^{1/p} those of a large one.
        size = psi.abs()
        ratio = size / scale**depth if scale**depth > 0 else torch.full_like(size, torch.inf)
        small = scale * torch.exp(torch.log1p(ratio.clamp_max(1.0)) / depth)
        inverse = torch.where(ratio > 1, 1 / ratio, torch.ones_like(ratio))
        large = size ** (1 / depth) * torch.exp(torch.log1p(inverse) / depth)
        moved = torch.where(ratio > 1, large, small)
        alone = torch.full_like(psi, scale)
        return cls(torch.where(psi > 0, moved, alone), torch.where(psi < 0, moved, alone))

    @property
    def n(self) -> int | None:
        """The number of coordinates, or None where both entries are numbers."""
        return next((side.shape[0] for side in (self.plus, self.minus) if side.ndim), None)

    def expanded(self, n: int, name: str = "alpha") -> tuple[Tensor, Tensor]:
        """(plus, minus) with n entries each, as new float64 tensors.

        Raises:
            InputError: where the initialization has another number of coordinates.
        """
        if self.n not in (None, n):
            raise InputError(f"{name} must have {n} entries, one for each coordinate, got {self.n}")
        return self.plus.expand(n).clone(), self.minus.expand(n).clone()

    def scaled(self, factor: float) -> Initialization:
        """The same shape at another scale."""
        return Initialization(self.plus * factor, self.minus * factor)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Initialization)
            and torch.equal(self.plus, other.plus)
            and torch.equal(self.minus, other.minus)
        )

    __hash__ = None  # type: ignore[assignment]  # it compares tensors by value

    def __repr__(self) -> str:
        head = "" if self.n is None else f"n={self.n}, "
        return f"Initialization({head}plus={_range(self.plus)}, minus={_range(self.minus)})"


def _tensor(name: str, value: Any) -> Tensor:
    check_unmasked(name, value)
    if isinstance(value, Tensor):
        if value.is_complex():
            raise InputError(f"{name} must be real, got {value.dtype}")
        return value.detach().to("cpu", torch.float64).clone()
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "iuf":
            raise TypeError
        return torch.from_numpy(array.astype(np.float64))
    except (TypeError, ValueError):
        raise InputError(f"{name} must be a number or a vector of numbers, got {type(value).__name__}") from None


def _values(name: str, value: Any) -> Tensor:
    tensor = _tensor(name, value)
    if tensor.ndim > 1 or tensor.numel() == 0:
        raise InputError(f"{name} must be a number or a vector (n,), got shape {tuple(tensor.shape)}")
    bad = ~(torch.isfinite(tensor) & (tensor >= 0))
    if bool(bad.any()):
        raise InputError(f"{name} must be finite and > 0, got {float(tensor[bad].reshape(-1)[0])}")
    return tensor


def _range(values: Tensor) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:g}" if low == high else f"{low:g} … {high:g}"
