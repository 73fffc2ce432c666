"""Many networks at once as tensors, without a look at their values between steps: what a GPU needs.

All networks have one depth and one schedule rule; each has its own matrix (or all share one), step sizes, budgets and
end. A step is a fixed sequence of tensor operations, so that a CUDA graph can replay it; a network that has ended keeps
its θ. The order inside a step is the contract's (:mod:`dlntorch.engine.base`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from dlntorch.numerics.trajectory import Status

__all__ = ["ENDINGS", "BatchState", "power_by_products", "step"]

#: What the ending codes of :class:`BatchState` mean; 0 is running.
ENDINGS = {
    1: Status.CONVERGED,
    2: Status.MAX_STEPS,
    3: Status.MAX_TIME,
    4: Status.DIVERGED,
    5: Status.LEFT_POSITIVE_ORTHANT,
    6: Status.FAILED,
}
_CONVERGED, _MAX_STEPS, _MAX_TIME, _DIVERGED, _LEFT, _FAILED = ENDINGS


@dataclass
class BatchState:
    """B networks, their data, rules and progress; every entry is changed in place.

    Data and θ have the networks' precision; numbers of a network are float64 always, so that Σ η is exact enough.

    Attributes:
        A: (B, m, n), or (1, m, n) where all share it.
        y: (B, m), or (1, m).
        plus: θ₊, (B, n).
        minus: θ₋, (B, n).
        p: Depth of all of them.
        relative: Whether the rule is ``relative``, else ``constant``.
        c: (B,), fraction of the stability limit.
        kappa: (B,), largest relative change of a parameter.
        eta_given: (B,), the constant step.
        norm2: (B,), ‖A‖₂².
        threshold: (B,), the residual ‖Aψ − y‖₂ that ends a run; negative for none.
        max_steps: (B,), int64.
        max_time: (B,).
        until: (B,), int64: the step at which this call pauses a network.
        step: (B,), int64.
        time: (B,), Σ η.
        eta: (B,), the last step size.
        eta_min: (B,).
        eta_max: (B,).
        residual: (B,), ‖Aψ − y‖₂ where it was last computed.
        ending: (B,), int64, a key of :data:`ENDINGS` or 0.
    """

    A: Tensor
    y: Tensor
    plus: Tensor
    minus: Tensor
    p: float
    relative: bool
    c: Tensor
    kappa: Tensor
    eta_given: Tensor
    norm2: Tensor
    threshold: Tensor
    max_steps: Tensor
    max_time: Tensor
    until: Tensor
    step: Tensor
    time: Tensor
    eta: Tensor
    eta_min: Tensor
    eta_max: Tensor
    residual: Tensor
    ending: Tensor

    def __len__(self) -> int:
        return self.plus.shape[0]

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        return {f.name: v for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}


def power_by_products(x: Tensor, q: float) -> Tensor:
    """x^q for x > 0: by repeated multiplication for integer q up to 8, beyond which torch's own power is faster."""
    if q == int(q) and 0 <= q <= 8:
        result = torch.ones_like(x)
        for _ in range(int(q)):
            result = result * x
        return result
    return x**q


def _forward(A: Tensor, x: Tensor) -> Tensor:
    """A x of each network: one matrix product where all share A, which then is read once a step."""
    return x @ A[0].mT if len(A) == 1 else torch.matmul(A, x.unsqueeze(-1)).squeeze(-1)


def _adjoint(A: Tensor, r: Tensor) -> Tensor:
    """Aᵀ r of each network."""
    return r @ A[0] if len(A) == 1 else torch.matmul(r.unsqueeze(-2), A).squeeze(-2)


@torch.no_grad()
def step(s: BatchState) -> None:
    """One step of every running network that has not reached ``until``, or its ending; nothing is read back."""
    p = s.p
    growth_plus, growth_minus = power_by_products(s.plus, p - 2), power_by_products(s.minus, p - 2)
    slope_plus, slope_minus = growth_plus * s.plus, growth_minus * s.minus
    psi = slope_plus * s.plus - slope_minus * s.minus
    r = s.y - _forward(s.A, psi)
    norm = torch.linalg.vector_norm(r, dim=-1)
    open_ = s.ending == 0
    s.residual.copy_(torch.where(open_, norm.to(s.residual), s.residual))
    code = torch.zeros_like(s.ending)
    code = torch.where(s.time >= s.max_time, _MAX_TIME, code)
    code = torch.where(s.step >= s.max_steps, _MAX_STEPS, code)
    code = torch.where(norm <= s.threshold, _CONVERGED, code)
    moving = open_ & (code == 0) & (s.step < s.until)

    g = _adjoint(s.A, r)
    eta = s.eta_given
    if s.relative:
        rho = p * (torch.maximum(growth_plus, growth_minus) * g.abs()).amax(dim=-1)
        top = (slope_plus * slope_plus + slope_minus * slope_minus).amax(dim=-1)
        limit = p * p * s.norm2 * top + (p - 1) * rho
        eta = torch.where(rho == 0, s.c / limit, torch.minimum(s.c / limit, s.kappa / rho))
    sound = (eta > 0) & torch.isfinite(eta)
    length = (eta * p).to(g.dtype).unsqueeze(-1)
    plus = s.plus + length * (slope_plus * g)
    minus = s.minus - length * (slope_minus * g)
    finite = (torch.isfinite(plus) & torch.isfinite(minus)).all(dim=-1)
    positive = ((plus > 0) & (minus > 0)).all(dim=-1)
    refused = torch.where(positive, 0, _LEFT)
    refused = torch.where(finite, refused, _DIVERGED)
    unsound = torch.where(torch.isfinite(g).all(dim=-1), _FAILED, _DIVERGED)
    refused = torch.where(sound, refused, unsound)
    code = torch.where(moving, refused, code)
    s.ending.copy_(torch.where(open_, code, s.ending))

    made = moving & (refused == 0)
    s.plus.copy_(torch.where(made.unsqueeze(-1), plus, s.plus))
    s.minus.copy_(torch.where(made.unsqueeze(-1), minus, s.minus))
    s.step.add_(made)
    s.time.copy_(torch.where(made, s.time + eta, s.time))
    s.eta.copy_(torch.where(made, eta, s.eta))
    s.eta_min.copy_(torch.where(made, torch.minimum(s.eta_min, eta), s.eta_min))
    s.eta_max.copy_(torch.where(made, torch.maximum(s.eta_max, eta), s.eta_max))
