"""The flow as θ(t) and ψ(t), whatever integrated it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dlntorch.numerics.trajectory import Status, short_repr

__all__ = ["FlowPath"]


@dataclass(frozen=True)
class FlowPath:
    """θ and ψ along the flow, in float64.

    Attributes:
        t: Times reached, shape (k,).
        theta: θ there, shape (k, width, n).
        psi: ψ there, shape (k, n). Where ψ ≪ α^p it has digits that a difference of powers of θ has not.
        status: How the integration ended.
        reason: One line on why, or on what is not as accurate as was asked for.
        evaluations: Evaluations of y − Aψ.
    """

    t: Tensor
    theta: Tensor
    psi: Tensor
    status: Status
    reason: str
    evaluations: int

    __repr__ = short_repr

    @property
    def theta_plus(self) -> Tensor:
        """θ₊, shape (k, n)."""
        return self.theta[:, 0]

    @property
    def theta_minus(self) -> Tensor:
        """θ₋, shape (k, n); of two-sided parametrizations."""
        return self.theta[:, 1]

    def to(self, device: torch.device) -> FlowPath:
        """The same path on a device."""
        return replace(self, t=self.t.to(device), theta=self.theta.to(device), psi=self.psi.to(device))

    @classmethod
    def failed(cls, reason: str, n: int, width: int, device: torch.device) -> FlowPath:
        """No point at all."""
        nothing = torch.zeros((0, width, n), dtype=torch.float64, device=device)
        return cls(nothing[:, 0, 0], nothing, nothing[:, 0], Status.FAILED, reason, 0)
