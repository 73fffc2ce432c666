"""The readable engine: the gradient by hand in torch, one step at a time, on any device.

With g = Aᵀ(y − Aψ) the step is θ₊ += η p θ₊^{p−1} ∘ g and θ₋ −= η p θ₋^{p−1} ∘ g at depth p, θ += η ∇G(θ) ∘ g for any ψ = G(θ). A
mini-batch of b rows replaces A and y by those rows and g by (m/b) times theirs; label noise replaces y. The compiled engines
equal this one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dlntorch.engine.base import Engine
from dlntorch.model.objective import gradient
from dlntorch.numerics.trajectory import Status
from dlntorch.optim.step_size import StepRule
from dlntorch.optim.update import State, TorchUpdate
from dlntorch.problem.operators import Operator

__all__ = ["EagerEngine"]


class EagerEngine(Engine):
    """Plain SGD in eager torch; see :class:`dlntorch.engine.base.Engine` for the arguments and the order of a step."""

    name = "eager"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rule = StepRule(self.schedule, self.law, self.problem.operator, self.norm())
        self.state = {} if isinstance(self.update, TorchUpdate) else self.update.init(self.network.whole_theta())

    @torch.no_grad()
    def advance(self, steps: int) -> Status | None:
        """Make up to ``steps`` further steps; a status when the run has ended, else None."""
        for _ in range(steps):
            status, r = self._check()
            status = self._step(r) if status is None else status
            if status is not None:
                return status
        return None if steps else self._check()[0]

    def _check(self) -> tuple[Status | None, Tensor | None]:
        """The status that θ_k ends the run with, and the full residual where this step looks at it."""
        progress, stopping = self.progress, self.stopping
        r = None
        if self.checks_residual(progress.step):
            r = self.problem.residual(self.network.psi)
            progress.residual = float(self.problem.operator.maximum(torch.linalg.vector_norm(r)[None]))
            if stopping.tol > 0 and progress.residual <= self.threshold:
                return Status.CONVERGED, r
        if progress.step >= stopping.max_steps:
            return Status.MAX_STEPS, r
        return (Status.MAX_TIME if progress.time >= stopping.max_time else None), r

    def _step(self, r: Tensor | None) -> Status | None:
        """One step from θ_k, or the status that refuses it; ``r`` is the full residual where it is known."""
        progress, theta = self.progress, self.network.rows
        residual, g, rows = self._direction(None, r)
        eta = self.rule.eta(theta, g, rows, lambda: self.point(residual, g))
        if not 0.0 < eta < math.inf:
            if self._anywhere(~torch.isfinite(g))[0]:
                return Status.DIVERGED
            return self.no_step(eta)
        proposed, state = self._proposed(theta, g, eta)
        refused = self._refused(theta, proposed)
        if refused is not None:
            return refused
        if self.certificate is not None:
            self.certificate.update(theta[0].cpu().numpy(), theta[1].cpu().numpy(), eta)
        for row, new in zip(theta, proposed, strict=True):
            row.copy_(new)
        self.state = state
        progress.count(eta)
        return None

    def _proposed(self, theta: tuple[Tensor, ...], g: Tensor, eta: float) -> tuple[Sequence[Tensor], State]:
        """θ_{k+1}, row by row, and the update's next state."""
        slopes = gradient(self.law, theta, g)
        if self.plain:
            return [row - eta * slope for row, slope in zip(theta, slopes, strict=True)], self.state
        if isinstance(self.update, TorchUpdate):
            raise RuntimeError("torch's optimizers are stepped by the autograd engine")
        whole, slope = torch.stack(theta), torch.stack(slopes)
        elsewhere = self.update.probe(whole, slope)
        if elsewhere is not None:
            _, there, _ = self._direction(self.law.value(elsewhere), None)
            slope = torch.stack(gradient(self.law, elsewhere.unbind(0), there))
        new, state = self.stepped(whole, slope, eta, self.state)
        return new.unbind(0), state

    def _refused(self, theta: Sequence[Tensor], proposed: Sequence[Tensor]) -> Status | None:
        """The status that ends the run before such a step; changes of sign that are allowed are counted."""
        worst, best = proposed[0], proposed[0]
        for row in proposed[1:]:
            worst, best = torch.minimum(worst, row), torch.maximum(best, row)
        # an infinity, or not a number, where either entry is
        infinite, improper = self._anywhere(~torch.isfinite(worst + best), worst <= 0)
        if infinite:
            return Status.DIVERGED
        if improper and self.law.positive:
            if not self.signed:
                return Status.LEFT_POSITIVE_ORTHANT
            self.count_sign_changes(theta, proposed)
        return None

    def _anywhere(self, *masks: Tensor) -> list[bool]:
        """Whether each mask is true for any coordinate, here or in another process that holds columns."""
        found = torch.stack([mask.any() for mask in masks])
        return self.problem.operator.maximum(found.to(self.problem.dtype)).bool().tolist()

    def _direction(self, psi: Tensor | None, r: Tensor | None) -> tuple[Tensor, Tensor, Operator | None]:
        """(y − Aψ, g = Aᵀ(y − Aψ), rows) of the whole data, or of this step's mini-batch, its rows scaled by √(m/b).

        Args:
            psi: ψ; that of the network where it is None.
            r: The residual of the whole data, where it is known already.
        """
        A = self.problem.operator
        if r is not None and not self.samples:
            return r, A.rmatvec(r), None
        y, psi = self.labels(), self.network.psi.detach() if psi is None else psi
        if self.batches is None:
            residual = y - A.matvec(psi)
            return residual, A.rmatvec(residual), None
        chosen = torch.from_numpy(self.batches.rows(self.progress.step, 1)[0]).to(A.device)
        root = math.sqrt(self.batches.scale)
        rows = A.rows(chosen, root)
        residual = root * y[chosen] - rows.matvec(psi)
        return residual, rows.rmatvec(residual), rows

    def state_dict(self) -> dict[str, Any]:
        """Progress, and the direction of the power iteration where the rule ``stable`` keeps one."""
        state = super().state_dict()
        if self.rule.direction is not None:
            state["direction"] = self.rule.direction.clone()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state, bitwise."""
        super().load_state_dict(state)
        direction = state.get("direction")
        self.rule.direction = None if direction is None else direction.to(self.problem.y).clone()
