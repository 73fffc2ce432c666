"""The diagonal linear network ψ_θ = θ₊^p − θ₋^p as a torch module (arXiv 2307.07410, section 1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dlntorch.numerics.validation import InputError, check_count, check_depth, check_device, check_dtype, check_unmasked

__all__ = ["DiagonalLinearNetwork"]


class DiagonalLinearNetwork(nn.Module):
    """A diagonal linear network of depth p with parameters θ₊, θ₋ of shape (*batch, n), all equal to α at the start.

    ψ_θ = θ₊^p − θ₋^p elementwise, and the prediction for a row x is ⟨x, ψ_θ⟩, so at the start the network is zero.

    Args:
        n: Number of coordinates.
        p: Depth, any real number >= 2.
        alpha: Initialization α > 0: a number, or an array or tensor that broadcasts to (*batch, n), for
            per-coordinate or per-network initializations.
        batch: Shape of a batch of independent networks, () for one network.
        dtype: float64 (default) or float32.
        device: Where the parameters live.

    Raises:
        InputError: (a ``ValueError``) naming the argument, the rule and the value.
    """

    def __init__(
        self,
        n: int,
        p: float,
        alpha: Any,
        batch: int | tuple[int, ...] = (),
        *,
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.n = check_count("n", n)
        self.p = check_depth(p)
        try:
            sizes = tuple(batch)  # type: ignore[arg-type]
        except TypeError:
            sizes = (batch,)
        self.batch = tuple(check_count("batch", size) for size in sizes)
        start = _initial(alpha, (*self.batch, self.n), check_dtype(dtype), check_device(device))
        self.register_buffer("alpha", start.clone())
        self.theta_plus = nn.Parameter(start.clone())
        self.theta_minus = nn.Parameter(start.clone())

    @property
    def psi(self) -> Tensor:
        """ψ_θ = θ₊^p − θ₋^p, shape (*batch, n); differentiable in θ."""
        return self.theta_plus**self.p - self.theta_minus**self.p

    @property
    def overrides_psi(self) -> bool:
        """Whether a subclass has a ψ of its own: only automatic differentiation follows it."""
        return type(self).psi is not DiagonalLinearNetwork.psi

    def forward(self, rows: Tensor) -> Tensor:
        """Predictions ⟨x, ψ_θ⟩ for rows x of shape (k, n); the result has shape (*batch, k)."""
        return self.psi @ rows.mT

    @torch.no_grad()
    def reset(self) -> None:
        """Set θ₊ = θ₋ = α again."""
        self.theta_plus.copy_(self.get_buffer("alpha"))
        self.theta_minus.copy_(self.get_buffer("alpha"))

    def smallest_parameter(self) -> float:
        """The smallest entry of θ: positive along the flow, and along every run that has not left the orthant."""
        return float(torch.minimum(self.theta_plus.detach().min(), self.theta_minus.detach().min()))

    def extra_repr(self) -> str:
        return f"n={self.n}, p={self.p:g}, batch={self.batch}"


def _initial(alpha: Any, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """α broadcast to ``shape``, checked to be finite and positive in ``dtype`` itself."""
    check_unmasked("alpha", alpha)
    try:
        start = torch.as_tensor(alpha, dtype=torch.float64, device=device).detach()
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"alpha must be a positive number or an array of them, got {alpha!r}") from None
    start = start.to(dtype)
    if not bool(torch.all(torch.isfinite(start) & (start > 0))):
        raise InputError(f"alpha must be finite and > 0, got {alpha!r}")
    try:
        return start.expand(shape).clone()
    except RuntimeError:
        raise InputError(f"alpha must broadcast to shape {shape}, got shape {tuple(start.shape)}") from None
