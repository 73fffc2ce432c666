"""What a saddle-to-saddle path answers: where the flow stands at a slow time, its time average, the lasso, the clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.model import Parametrization
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.numerics.validation import InputError, check_alpha, check_number
from dlntorch.problem import Problem
from dlntorch.reference.saddle_walls import Walls

__all__ = ["LassoPoint", "SaddlePath"]


@dataclass(frozen=True)
class LassoPoint:
    """The time average as an answer to min ½‖Aψ − y‖² + λ Σ(t₊ψ⁺ + t₋ψ⁻), λ = 1/T.

    Attributes:
        psi: ψ̄(T), shape (n,).
        strength: λ.
        gap: The duality gap: how much the objective at ψ̄ exceeds the least one, at most. It is
            λ Σ|ψ̄_i|(t_i − σ_i q_i), so 0 where every coordinate that ψ̄ has used is still at its wall.
            ‖A(ψ̄ − ψ_lasso)‖₂ <= √(2 gap).
        exact: Whether the gap is 0 but for rounding: ψ̄ is the lasso's minimiser.
    """

    psi: Tensor
    strength: float
    gap: float
    exact: bool

    __repr__ = short_repr


@dataclass(frozen=True)
class SaddlePath:
    """The saddles of the flow as α → 0.

    Attributes:
        times: Slow times T of the J jumps, increasing, shape (J,).
        psi: The saddles, from the start on, shape (J + 1, n).
        loss: ½‖Aψ − y‖₂² at each, shape (J + 1,).
        dual: q = ∫₀ᵀ Aᵀ(y − Aψ) at the beginning of each plateau, shape (J + 1, n); −t₋ <= q <= t₊.
        gradient: Aᵀ(y − Aψ) on each plateau, exactly 0 where it is rounding, shape (J + 1, n): the velocity of q.
        entered: For each jump the pairs (coordinate, sign) that reached their walls.
        ties: (jump, coordinates) where several did together.
        monotone_until: The first jump at which a coordinate that was on leaves its wall, inf where none does: until
            then T ψ̄(T) is monotone, and ψ̄ the lasso's minimiser.
        status: ``converged``, or ``max_steps``.
        reason: What a user should know, else empty.
        parametrization: The network.
        walls: t₊, t₋, the scale α and the law of the slow time.
        problem: The data in float64, of full row rank.
        at_wall: For each plateau the signs (n,) of the walls that coordinates are at, 0 elsewhere.
    """

    times: Tensor
    psi: Tensor
    loss: Tensor
    dual: Tensor
    gradient: Tensor
    entered: tuple[tuple[tuple[int, int], ...], ...]
    ties: tuple[tuple[int, tuple[int, ...]], ...]
    monotone_until: float
    status: Status
    reason: str
    parametrization: Parametrization
    walls: Walls
    problem: Problem
    at_wall: tuple[np.ndarray, ...]

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.psi)

    def at(self, T: Any) -> Tensor:
        """The saddle at slow times T >= 0 (after a jump, at its time), shape (..., n)."""
        return self.psi[self._plateau(self._times(T))]

    def dual_at(self, T: Any) -> Tensor:
        """q at slow times T >= 0, shape (..., n)."""
        when = self._times(T)
        place = self._plateau(when)
        begin = torch.cat([self.times.new_zeros(1), self.times])[place]
        return self.dual[place] + (when - begin)[..., None] * self.gradient[place]

    def average(self, T: Any) -> Tensor:
        """ψ̄(T) = (1/T) ∫₀ᵀ ψ, shape (..., n); ψ(0) at T = 0."""
        when = self._times(T)
        place = self._plateau(when)
        begin = torch.cat([self.times.new_zeros(1), self.times])
        whole = torch.cat([torch.zeros_like(self.psi[:1]), (begin.diff()[:, None] * self.psi[:-1]).cumsum(0)])
        area = whole[place] + (when - begin[place])[..., None] * self.psi[place]
        return torch.where(when[..., None] > 0, area / when.clamp_min(1e-300)[..., None], self.psi[0])

    def lasso(self, T: Any) -> LassoPoint:
        """ψ̄(T) against the lasso of strength 1/T: the minimiser itself up to ``monotone_until``, with its gap after.

        Proof: q(T)/T = Aᵀ(y − Aψ̄) lies in [−t₋, t₊]/T, which is dual feasibility; what is missing is q_i at its wall
        where ψ̄_i ≠ 0.
        """
        when = check_number("T", T, above=0)
        psi, q = self.average(when), self.dual_at(when)
        plus, minus = (
            torch.from_numpy(np.where(np.isfinite(w), w, 0.0)).to(q) for w in (self.walls.plus, self.walls.minus)
        )
        missing = torch.where(psi > 0, psi * (plus - q), -psi * (minus + q))
        gap = float(missing.clamp_min(0).sum()) / when
        size = float((psi.abs() * torch.maximum(plus, minus)).sum()) / when
        return LassoPoint(psi, 1 / when, gap, gap <= 1e-12 * size)

    def rate(self, alpha: Any = None) -> float:
        """dT/dt of the slow time T at a scale α (None: that of the start)."""
        return self.walls.law.rate(self._scale(alpha))

    def jump_times(self, alpha: Any = None, *, corrected: bool = True) -> Tensor:
        """Times t of the jumps at a finite α (None: that of the start), shape (J,): when ψ_i passes half its new value.

        ``corrected`` adds the first correction, of relative order α^{p−2} (1/log(1/α) at depth 2): what is left is of
        order α^p. It costs one small stiff integration a jump (see :mod:`dlntorch.reference.saddle_transit`).
        """
        size = self._scale(alpha)
        times = self.times.double()
        if corrected:
            from dlntorch.reference.saddle_transit import corrections

            times = times + self.walls.law.unit(size) * torch.from_numpy(corrections(self))
        return (times / self.walls.law.rate(size)).to(self.times)

    def _scale(self, alpha: Any) -> float:
        if alpha is not None:
            return check_alpha(alpha)
        if self.walls.scale is None:
            raise InputError("alpha must be given: the path was computed without one, got None")
        return self.walls.scale

    def _times(self, T: Any) -> Tensor:
        try:
            when = torch.as_tensor(T, dtype=self.times.dtype, device=self.times.device)
        except (TypeError, ValueError, RuntimeError):
            raise InputError(f"T must be a number >= 0, or an array of them, got {type(T).__name__}") from None
        bad = ~(torch.isfinite(when) & (when >= 0))
        if bool(bad.any()):
            raise InputError(f"T must be finite and >= 0, got {float(when[bad].reshape(-1)[0])}")
        return when

    def _plateau(self, when: Tensor) -> Tensor:
        return torch.searchsorted(self.times.contiguous(), when.contiguous(), right=True)
