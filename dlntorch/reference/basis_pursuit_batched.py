"""The central path of basis pursuit for many problems at once, on CPU or CUDA, as far as a crossover can start from it.

The predictor-corrector step of :mod:`~dlntorch.reference.basis_pursuit_path` with a batch axis. A problem stops where
its relative duality gap is small enough, or where Cholesky in double no longer does; every problem is then finished by
itself, from the point it reached, so that what proves its answer is the same as without a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dlntorch.reference.basis_pursuit_finish import State

__all__ = ["Start", "starts"]

_GAP = 1e-4  # at which most problems leave the path for a vertex
_ACCURATE = 1e-3  # relative residual of the linear equations that a step may have
_SHORTEST = 1e-6


@dataclass
class Start:
    """An interior point of one problem: of the right-hand side y/size, after ``iterations`` Newton matrices."""

    state: State
    size: float
    iterations: int


class _Batch:
    """Strictly interior points x₊, x₋, u = 1 − τ, v = 1 + τ > 0, all (B, n), and λ (B, m)."""

    def __init__(self, A: Tensor, y: Tensor) -> None:
        self.A = A
        factor, self.info = torch.linalg.cholesky_ex(A @ A.mT)
        dual = torch.cholesky_solve(y[..., None], factor)
        x = (A.mT @ dual)[..., 0]
        size = torch.exp2(torch.round(torch.log2(x.abs().mean(-1))))
        top = x.abs().amax(-1, keepdim=True)
        tau, x = 0.5 * x / top, x / size[:, None]
        shift = x.abs().mean(-1, keepdim=True)
        self.plus, self.minus = x.clamp(min=0) + shift, (-x).clamp(min=0) + shift
        self.u, self.v, self.dual = 1 - tau, 1 + tau, 0.5 * dual[..., 0] / top
        self.size, self.b = size, y / size[:, None]

    def product(self, x: Tensor) -> Tensor:
        return (self.A @ x[..., None])[..., 0]

    def gap(self) -> Tensor:
        """(‖ψ‖₁ − bᵀλ)/‖ψ‖₁, (B,); ∞ where Aψ = b does not hold yet."""
        psi = self.plus - self.minus
        residual = torch.linalg.vector_norm(self.b - self.product(psi), dim=-1)
        gap = 1 - (self.b * self.dual).sum(-1) / psi.abs().sum(-1)
        feasible = residual <= 1e-6 * torch.linalg.vector_norm(self.b, dim=-1)
        return torch.where(feasible, gap, torch.full_like(gap, torch.inf))

    def step(self, moving: Tensor) -> Tensor:
        """One predictor-corrector step where ``moving`` (B,); the mask of the problems in which it made progress."""
        plus, minus, u, v = self.plus, self.minus, self.u, self.v
        at, bt = plus / u, minus / v
        normal = _NormalEquations(self.A, at + bt)
        residual = self.b - self.product(plus - minus)
        mu = ((plus * u).sum(-1) + (minus * v).sum(-1)) / (2 * u.shape[-1])
        _, tau = normal.solve(residual + self.product(plus - minus))
        d_plus, d_minus = at * tau - plus, -bt * tau - minus
        primal = _longest((plus, d_plus), (minus, d_minus)).clamp(max=1.0)[:, None]
        short = _longest((u, -tau), (v, tau)).clamp(max=1.0)[:, None]
        reached = (plus + primal * d_plus) * (u - short * tau) + (minus + primal * d_minus) * (v + short * tau)
        sigma_mu = ((reached.sum(-1) / (2 * u.shape[-1] * mu)).clamp(0.0, 1.0) ** 3 * mu)[:, None]
        target_plus = (sigma_mu + d_plus * tau) / u - plus
        target_minus = (sigma_mu - d_minus * tau) / v - minus
        dual, tau = normal.solve(residual - self.product(target_plus - target_minus))
        d_plus, d_minus = target_plus + at * tau, target_minus - bt * tau
        primal = (0.99 * _longest((plus, d_plus), (minus, d_minus))).clamp(max=1.0)
        short = (0.99 * _longest((u, -tau), (v, tau))).clamp(max=1.0)
        new = (plus + primal[:, None] * d_plus, minus + primal[:, None] * d_minus)
        new = (*new, u - short[:, None] * tau, v + short[:, None] * tau)
        good = moving & normal.sound & (torch.maximum(primal, short) >= _SHORTEST)
        for value in new:
            good = good & (value > 0).all(-1) & torch.isfinite(value).all(-1)
        keep = good[:, None]
        self.plus, self.minus, self.u, self.v = (
            torch.where(keep, value, old) for value, old in zip(new, (plus, minus, u, v), strict=True)
        )
        self.dual = torch.where(keep, self.dual + short[:, None] * dual, self.dual)
        return good


class _NormalEquations:
    """Solves (A D Aᵀ) δλ = r for the batch; ``sound`` is false where Cholesky or its refinement is not good enough."""

    def __init__(self, A: Tensor, D: Tensor) -> None:
        self.A, self.D = A, D
        factor, info = torch.linalg.cholesky_ex((A * D[:, None]) @ A.mT)
        self.sound = info == 0
        self.factor = torch.where(self.sound[:, None, None], factor, torch.eye(factor.shape[-1]).to(factor))

    def solve(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """δλ (B, m) and δτ = Aᵀδλ (B, n), refined once."""
        dual = torch.cholesky_solve(r[..., None], self.factor)
        weighted = self.A * self.D[:, None]
        defect = r[..., None] - weighted @ (self.A.mT @ dual)
        dual = dual + torch.cholesky_solve(defect, self.factor)
        tau = self.A.mT @ dual
        defect = torch.linalg.vector_norm(r - (weighted @ tau)[..., 0], dim=-1)
        self.sound = self.sound & (defect <= _ACCURATE * torch.linalg.vector_norm(r, dim=-1))
        return dual[..., 0], tau[..., 0]


def _longest(*pairs: tuple[Tensor, Tensor]) -> Tensor:
    """The largest step for which every value + step·change stays >= 0, (B,)."""
    shrink = torch.stack([(-change / value).amax(-1) for value, change in pairs]).amax(0)
    return 1 / shrink.clamp(min=1e-300)


def starts(A: Tensor, y: Tensor, max_iterations: int) -> list[Start | None]:
    """Interior points near the end of the central path for B problems; None where not even the first one is sound.

    Args:
        A: (B, m, n), full row rank, rows of norm about one; on any device.
        y: (B, m), nonzero.
        max_iterations: Bound on the Newton matrices.
    """
    batch = _Batch(A, y)
    sound = (batch.info == 0) & torch.isfinite(batch.dual).all(-1) & torch.isfinite(batch.plus).all(-1)
    moving, iterations = sound, torch.zeros_like(batch.info, dtype=torch.int64)
    for _ in range(max_iterations - 1):  # one is left for the finish
        moving = moving & (batch.gap() > _GAP)
        if not bool(moving.any()):
            break
        moving = batch.step(moving)
        iterations = iterations + moving
    fields = [part.cpu().numpy() for part in (batch.plus, batch.minus, batch.u, batch.v, batch.dual)]
    sizes, counts = batch.size.tolist(), iterations.tolist()
    return [
        Start(_state([np.array(part[i]) for part in fields]), sizes[i], counts[i]) if good else None
        for i, good in enumerate(sound.tolist())
    ]


def _state(fields: list[np.ndarray]) -> State:
    plus, minus, u, v, dual = fields
    return State(plus, minus, u, v, dual)
