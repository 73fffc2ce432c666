"""The path of :mod:`~dlntorch.limit.general_start` for a batch of problems at once, on CPU or CUDA."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dlntorch.limit import curve_batched as curve
from dlntorch.limit.batched_state import PathState
from dlntorch.limit.central_path_batched import BatchedPath
from dlntorch.model.potentials import log_cosh
from dlntorch.numerics.graded_equations import solve
from dlntorch.problem.equal_columns import EqualColumns

__all__ = ["BatchedGeneralStart"]


class BatchedGeneralStart(BatchedPath):
    """The paths of B problems of one shape and of full row rank to their limits from one start.

    ``log_a`` is ln S of every problem; ``offset``, ``share`` and ``origin`` (B, n) move with it.

    Args:
        A: (B, m, n) float64, each of rank m.
        y: (B, m).
        p: Depth.
        plus: θ₊(0) > 0, (n,).
        minus: θ₋(0) > 0, (n,).
        equal: Which columns of each given A are equal and start equally; None: nothing is known.
    """

    def __init__(
        self,
        A: Tensor,
        y: Tensor,
        p: float,
        plus: Tensor,
        minus: Tensor,
        equal: Sequence[EqualColumns] | None = None,
    ) -> None:
        super().__init__(A, y, p, None, equal)
        plus, minus = plus.to(self.A), minus.to(self.A)
        self.log_plus, self.log_minus = p * torch.log(plus), p * torch.log(minus)
        near = (plus - minus).abs() < 0.5 * torch.maximum(plus, minus)
        ratio = torch.where(near, torch.log1p((plus - minus) / minus), torch.log(plus) - torch.log(minus))
        self.tilt = 0.5 * p * ratio
        highest = torch.maximum(self.log_plus, self.log_minus).max()
        lowest = torch.minimum(self.log_plus, self.log_minus).min()
        self.ceiling = self.log_top.clamp(min=float(highest))  # offset is 0 until here: log_top is ln ‖A⁺y‖_∞
        self.log_top = self.ceiling - lowest
        reach = self.minimum_norm.abs().sum(-1, keepdim=True) + y.shape[1] * torch.exp(highest.clamp(max=600.0))
        self.bound = 10 * reach * torch.exp((highest - lowest).clamp(max=100.0))
        self.log_mean = 0.5 * float(self.log_plus.mean() + self.log_minus.mean())
        self._set_level(self.log_top)

    def _set_level(self, log_a: Tensor) -> None:
        above = (self.ceiling - log_a)[:, None]
        plus, minus = torch.minimum(self.log_plus, above), torch.minimum(self.log_minus, above)
        free = torch.maximum(self.log_plus, self.log_minus) <= above
        self.origin = torch.where(free, self.tilt, 0.5 * (plus - minus))
        stretch = 0.0 if self.k_inverse == 0 else log_cosh(self.origin * self.k_inverse) / self.k_inverse
        self.offset = 0.5 * (plus + minus) - stretch
        self.share = torch.exp(0.5 * self.k_inverse * (self.offset - self.offset.amax(-1, keepdim=True)))

    def _uneven(self) -> bool:
        return False

    def _subset(self, rows: Tensor) -> BatchedGeneralStart:
        part = object.__new__(BatchedGeneralStart)
        for name in ("k_inverse", "log_plus", "log_minus", "tilt", "log_mean"):
            setattr(part, name, getattr(self, name))
        for name in ("A", "y", "basis", "R", "bound", "minimum_norm", "log_top", "ceiling"):
            setattr(part, name, getattr(self, name)[rows])
        part.twins = None if self.twins is None else tuple(field[rows] for field in self.twins)
        part._set_level(part.log_top)
        return part

    def _begin_level(self, state: PathState, reachable: Tensor, begin: Tensor) -> None:
        """As for one shape; where the starts change by more than a common factor, from the same ψ."""
        super()._begin_level(state, reachable, begin)
        highest = torch.maximum(self.log_plus, self.log_minus).max()
        jump = begin & (state.goal != state.log_a) & (self.ceiling - state.log_a < highest)
        if not bool(jump.any()):
            return
        self._set_level(torch.where(jump, state.goal, state.log_a))
        log_a = state.goal[:, None] + self.offset
        b = curve.curve_inverse(state.psi, state.b, log_a, self.k_inverse)
        root = curve.root_slopes(state.psi, b, log_a, self.k_inverse)
        distance = self._off_range(self._displacement(b)[0])
        e = -self._shared(solve(self.A.mT, root, self.share, torch.zeros_like(self.y), distance))
        state.where(jump, b=b, e=e, log_a=state.goal)

    def _displacement(self, b: Tensor) -> tuple[Tensor, Tensor]:
        moved = curve.change_of_t(self.origin, b - self.origin, self.k_inverse)
        moved = torch.where(self.origin == 0, curve.dual(b, self.k_inverse), moved)
        decay = torch.exp(-2 * b.abs() * self.k_inverse)
        rounding = torch.where(self.origin == 0, torch.zeros_like(b), b.abs() * 4 * decay / (1 + decay) ** 2)
        largest = (moved.abs() + rounding).amax(-1)
        return moved, torch.where(largest > 0, largest, torch.ones_like(largest))

    def _fit(self) -> tuple[Tensor, Tensor]:
        """Factors of WAᵀ: where W is small t − t₀ has few digits, and must not decide what λ is."""
        rows = self.share[..., None] ** 2 * self.A.mT
        order = torch.argsort(rows.abs().amax(-1), dim=-1, descending=True)[..., None].expand_as(rows)
        Q, R = torch.linalg.qr(rows.gather(1, order))
        return torch.empty_like(Q).scatter_(1, order, Q), R

    def _off_range(self, t: Tensor) -> Tensor:
        basis, _ = self._fit()
        return t - (basis @ (basis.mT @ t[..., None]))[..., 0]

    def _terms(self, t: Tensor) -> Tensor:
        basis, R = self._fit()
        lam = torch.linalg.solve_triangular(R, basis.mT @ t[..., None], upper=True)
        decay = torch.exp(-2 * self.origin.abs() * self.k_inverse)
        tilt = self.origin.abs() * 4 * decay / (1 + decay) ** 2
        return self.share**2 * self.A.abs().amax(-2) * lam[..., 0].abs().sum(-1, keepdim=True) + tilt
