"""The ℓ1-minimiser and W_p of a problem whose A is an operator, with the same fields as with a matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.model.selector import Selector
from dlntorch.numerics.trajectory import Status
from dlntorch.problem import Problem
from dlntorch.reference.basis_pursuit_operator import INDEPENDENT, TIE, OperatorSolution, pursue
from dlntorch.reference.faces import Face
from dlntorch.reference.l1_minimizer import L1Minimizer, OptimalityCertificate
from dlntorch.reference.selection import SelectedMinimizer
from dlntorch.reference.weights import Weights

__all__ = ["minimizer_of_operator", "selected_of_operator"]


def minimizer_of_operator(
    problem: Problem, weights: Any = None, nonnegative: bool = False, max_steps: int | None = None
) -> L1Minimizer:
    """:func:`~dlntorch.reference.l1_minimizer.l1_minimizer` with products alone.

    ``unique`` is True where λ has |A_iᵀλ| = 1 on independent columns only, as conjugate gradients see them, and else None.
    """
    y = problem.y.to(torch.float64)
    found = pursue(problem.operator.to(problem.device, torch.float64), y, weights, nonnegative, max_steps=max_steps)
    size = found.relative.abs()
    support = torch.nonzero(found.x).squeeze(-1)
    ties = torch.nonzero(size >= 1 - TIE).squeeze(-1)
    unique, why = _unique(found, support, ties)
    reasons = [found.reason, why if found.status is Status.CONVERGED else ""]
    signs, x = found.x[support].sign(), found.x.cpu().numpy()
    face = Face(support.cpu().numpy(), signs.cpu().numpy(), 0, found.dual.cpu().numpy(), x, unique, why)
    return L1Minimizer(
        psi=found.x.to(problem.dtype),
        value=found.value,
        dual=found.dual.to(problem.dtype),
        support=support,
        unique=unique,
        certificate=_certificate(found, support, signs, ties),
        status=found.status,
        reason="; ".join(reason for reason in reasons if reason),
        face=face,
        solver="matrix_free",
        weights=Weights.of(weights, problem.n, nonnegative),
    )


def _unique(found: OperatorSolution, support: Tensor, ties: Tensor) -> tuple[bool | None, str]:
    if found.status is not Status.CONVERGED:
        return None, "no minimiser was found"
    if not support.numel():
        return True, ""
    if ties.numel() > found.dual.numel():
        return None, "uniqueness is undecided: |A_iᵀλ| = 1 for more than m indices"
    if found.smallest_on(ties) > INDEPENDENT:
        return True, ""
    return None, "uniqueness is undecided: the columns with |A_iᵀλ| = 1 may be dependent"


def _certificate(found: OperatorSolution, support: Tensor, signs: Tensor, ties: Tensor) -> OptimalityCertificate:
    size = found.x.abs()
    off = torch.ones_like(size, dtype=torch.bool)
    off[ties] = False
    near = 1 - found.relative.abs()[off]
    return OptimalityCertificate(
        primal_residual=found.fit,
        dual_infeasibility=found.excess,
        duality_gap=abs(found.gap),
        complementarity=_largest((found.relative[support] - signs).abs()),
        support_margin=float(size[support].min() / size.max()) if support.numel() else 1.0,
        dual_margin=float(near.min()) if near.numel() else 1.0,
        ties=int(ties.numel()),
        noise=TIE,
        gap_bound=found.bound,
    )


def _largest(values: Tensor) -> float:
    return float(values.max()) if values.numel() else 0.0


def selected_of_operator(
    problem: Problem, selector: Selector, weights: Any, minimizer: L1Minimizer | None
) -> SelectedMinimizer:
    """W_p where the minimiser is unique, or the reason why it is not known."""
    base = minimizer_of_operator(problem, weights, selector.nonnegative) if minimizer is None else minimizer
    status, reason = base.status, base.reason
    if status is Status.CONVERGED and base.unique is not True:
        status = Status.FAILED
        reason = (
            f"{base.reason}; W_p is known without a matrix where the minimiser is unique (problem.to_dense() has one)"
        )
    x = base.psi.double()
    return SelectedMinimizer(
        psi=base.psi,
        p=selector.p,
        status=status,
        reason=reason,
        support=base.support,
        signs=x[base.support].sign().to(base.psi),
        dimension=0,
        unique=base.unique,
        residual=base.certificate.primal_residual,
        stationarity=0.0,
        iterations=0,
        minimizer=base,
        scaled=np.asarray(x.cpu().numpy()),
        selector=selector,
    )
