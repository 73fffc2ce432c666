"""The diagonal linear network as a torch module: ψ_θ = θ₊^p − θ₋^p (arXiv 2307.07410, section 1), or any ψ = G(θ)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dlntorch.model.initialization import Initialization
from dlntorch.model.parametrization import as_parametrization, check_start
from dlntorch.numerics.validation import InputError, check_count, check_device, check_dtype, check_unmasked

__all__ = ["DiagonalLinearNetwork"]


class DiagonalLinearNetwork(nn.Module):
    """A diagonal linear network: of depth p with parameters θ₊, θ₋ of shape (*batch, n), or of any parametrization.

    ψ_θ = θ₊^p − θ₋^p elementwise, and the prediction for a row x is ⟨x, ψ_θ⟩. With θ₊ = θ₋ = α at the start the network
    is zero there. A parametrization other than a depth has one parameter ``theta`` of shape (width, *batch, n).

    Args:
        n: Number of coordinates.
        p: Depth, any real number >= 2, or a :class:`~dlntorch.model.parametrization.Parametrization`.
        alpha: Initialization α > 0: a number, or an array or tensor that broadcasts to (*batch, n), for per-coordinate or
            per-network initializations; or an :class:`~dlntorch.model.initialization.Initialization` with θ₊ ≠ θ₋.
        batch: Shape of a batch of independent networks, () for one network.
        dtype: float64 (default) or float32.
        device: Where the parameters live.

    Raises:
        InputError: (a ``ValueError``) naming the argument, the rule and the value.

    Example:
        >>> DiagonalLinearNetwork(3, p=2, alpha=0.1).psi.tolist()
        [0.0, 0.0, 0.0]
    """

    def __init__(
        self,
        n: int,
        p: Any,
        alpha: Any,
        batch: int | tuple[int, ...] = (),
        *,
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.n = check_count("n", n)
        self.parametrization = as_parametrization(p)
        #: The depth, None where ψ is not θ₊^p − θ₋^p.
        self.p = self.parametrization.depth
        try:
            sizes = tuple(batch)  # type: ignore[arg-type]
        except TypeError:
            sizes = (batch,)
        self.batch = tuple(check_count("batch", size) for size in sizes)
        kind, place = check_dtype(dtype), check_device(device)
        if self.p is None:
            self._start_theta(alpha, kind, place)
            return
        shape = (*self.batch, self.n)
        unequal = isinstance(alpha, Initialization)
        plus = _initial(alpha.expanded(self.n)[0] if unequal else alpha, shape, kind, place)
        self.register_buffer("alpha", plus.clone())
        self.theta_plus = nn.Parameter(plus.clone())
        minus = plus
        if unequal and not torch.equal(*alpha.expanded(self.n)):
            minus = _initial(alpha.expanded(self.n)[1], shape, kind, place)
            self.register_buffer("alpha_minus", minus.clone())
        self.theta_minus = nn.Parameter(minus.clone())

    def _start_theta(self, alpha: Any, dtype: torch.dtype, device: torch.device) -> None:
        """The parameter ``theta`` of a parametrization, at its start."""
        law = self.parametrization
        start = law.start_from(alpha, self.n) if isinstance(alpha, Initialization) else law.start(alpha, self.n)
        theta = check_start(law, start, self.n).to(device, dtype)
        theta = theta.reshape(law.width, *[1] * len(self.batch), self.n).expand(law.width, *self.batch, self.n)
        self.register_buffer("start", theta.clone())
        self.theta = nn.Parameter(theta.clone())

    @property
    def rows(self) -> tuple[Tensor, ...]:
        """The parameters of a coordinate, one tensor (*batch, n) each: (θ₊, θ₋) at depth p. Views, outside autograd."""
        if self.p is None:
            return self.theta.data.unbind(0)
        return self.theta_plus.data, self.theta_minus.data

    def whole_theta(self) -> Tensor:
        """θ as one tensor (width, *batch, n), a copy."""
        return torch.stack(self.rows)

    @property
    def psi(self) -> Tensor:
        """ψ_θ = θ₊^p − θ₋^p, shape (*batch, n); differentiable in θ."""
        if self.p is None:
            return self.parametrization.value(self.theta)
        return self.theta_plus**self.p - self.theta_minus**self.p

    @property
    def overrides_psi(self) -> bool:
        """Whether a subclass has a ψ of its own: only automatic differentiation follows it."""
        return type(self).psi is not DiagonalLinearNetwork.psi

    @property
    def own_psi(self) -> str:
        """The name of a class that overrides ψ; empty for others."""
        return type(self).__name__ if self.overrides_psi else ""

    def forward(self, rows: Tensor) -> Tensor:
        """Predictions ⟨x, ψ_θ⟩ for rows x of shape (k, n); the result has shape (*batch, k)."""
        return self.psi @ rows.mT

    @torch.no_grad()
    def reset(self) -> None:
        """Set θ where it started."""
        if self.p is None:
            self.theta.copy_(self.get_buffer("start"))
            return
        self.theta_plus.copy_(self.get_buffer("alpha"))
        self.theta_minus.copy_(self.get_buffer("alpha_minus" if "alpha_minus" in self._buffers else "alpha"))

    def smallest_parameter(self) -> float:
        """The smallest entry of θ: at depth p positive along the flow, and along runs that have not left the orthant."""
        return min(float(row.min()) for row in self.rows)

    def extra_repr(self) -> str:
        what = f"p={self.p:g}" if self.p is not None else repr(self.parametrization)
        return f"n={self.n}, {what}, batch={self.batch}"


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
