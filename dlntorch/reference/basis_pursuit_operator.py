"""Basis pursuit with an operator in the caller's units: scaling, the numbers of the certificate, statuses and reasons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.numerics.extended import EPS
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError, check_device
from dlntorch.problem.operators import Operator, as_operator, check_adjoint
from dlntorch.problem.problem import norm
from dlntorch.reference.basis_pursuit import BasisPursuitResult, as_array, basis_pursuit
from dlntorch.reference.matrix_free import Outcome, SolveBudget, nonnegative_fit, solve
from dlntorch.reference.matrix_free_finish import normal_equations_on
from dlntorch.reference.matrix_free_parts import Products, TensorCosts
from dlntorch.reference.nonnegative import INFEASIBLE, infeasible_reason

__all__ = ["MAX_STEPS", "OperatorSolution", "pursue", "with_operator"]

#: First-order steps that a solve with an operator may take; of a small one, whose matrix is asked then, fewer.
MAX_STEPS, FEW_STEPS = 20_000, 3_000
#: 1 − |A_iᵀλ| up to which i counts as a tie, and the least eigenvalue, relative to ‖A‖², of independent columns.
TIE, INDEPENDENT = 1e-9, 1e-8
#: Entries of A (8 MB) up to which the matrix is asked where the steps do not end.
SMALL = 1_000_000
_RESIDUAL = 1e-10
_ROUNDING = 1e-12


@dataclass
class OperatorSolution:
    """A pair (x, λ) in the caller's units, on the operator's device, float64.

    Attributes:
        x: Shape (n,).
        dual: λ, shape (m,).
        relative: Aᵀλ relative to the weights, shape (n,).
        value: The norm of x.
        gap: Relative duality gap.
        bound: What rounding and the residual may have made of it.
        residual: ‖Ax − y‖/‖y‖.
        fit: The same against the projection of y on the range, less the noise.
        products: With B, for what is asked next.
        status: How it ended.
        reason: One line, where the status alone does not tell.
        steps: First-order steps.
    """

    x: Tensor
    dual: Tensor
    relative: Tensor
    value: float
    gap: float
    bound: float
    residual: float
    fit: float
    products: Products
    status: Status
    reason: str
    steps: int

    @property
    def excess(self) -> float:
        """max(0, max|A_iᵀλ| − 1), relative to the weights."""
        return max(0.0, float(self.relative.abs().max()) - 1)

    @cached_property
    def is_vertex(self) -> bool:
        """Whether the columns on the support are independent, as conjugate gradients from a random vector see them."""
        support = torch.nonzero(self.x).squeeze(-1)
        return not support.numel() or (support.numel() <= self.dual.numel() and self.smallest_on(support) > INDEPENDENT)

    def smallest_on(self, columns: Tensor) -> float:
        """The least eigenvalue of A_TᵀA_T over ‖A‖² that conjugate gradients meet from a random vector."""
        drawn = torch.randn(columns.numel(), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        return normal_equations_on(self.products, columns, drawn.to(self.x.device), stop=1e-9)[2]


def pursue(
    operator: Operator,
    y: Tensor,
    weights: Any = None,
    nonnegative: bool = False,
    noise: float = 0.0,
    *,
    tol: float = 1e-9,
    max_steps: int | None = None,
    progress: Callable[..., Any] | None = None,
) -> OperatorSolution:
    """min Σ w₊x⁺ + w₋x⁻ subject to ‖Ax − y‖₂ <= noise, with products alone.

    Args:
        operator: A, in float64.
        y: Shape (m,), on its device.
        weights: As in :func:`~dlntorch.reference.basis_pursuit.basis_pursuit`.
        nonnegative: As there.
        noise: As there.
        tol: As there.
        max_steps: Bound on the first-order steps, 20,000 by default.
        progress: Called with a :class:`~dlntorch.reference.matrix_free.SolveProgress` every ten steps; True ends the solve.
    """
    costs = TensorCosts.of(weights, operator.shape[1], nonnegative, operator.device)
    unit = 1.0 if isinstance(costs.plus, float) else float(costs.plus.median())
    scaled = TensorCosts(costs.plus / unit, costs.minus / unit)
    products = Products(operator)
    size = float(norm(y))
    back = float(products.adjoint(y).abs().max()) / products.norm if size and products.norm > 0 else 0.0
    if size <= noise or not 0 < back < float("inf"):
        return _zero(operator, y, products, noise)
    b = y / (products.norm * back)
    small = operator.shape[0] * operator.shape[1] <= SMALL
    budget = SolveBudget(tol, max_steps or (FEW_STEPS if small else MAX_STEPS), progress)
    outcome = solve(products, b, scaled, noise / (products.norm * back), budget)
    x, dual = back * outcome.pair.x, unit / products.norm * outcome.pair.dual
    if outcome.infeasible and nonnegative:
        x = back * nonnegative_fit(products, b)
    outside = None if outcome.projected is None else products.norm * back * outcome.projected
    return _judged(operator, y, costs, noise, _Raw(x, dual, outside, outcome, products), tol)


@dataclass
class _Raw:
    x: Tensor
    dual: Tensor
    outside: Tensor | None
    outcome: Outcome
    products: Products


def _judged(operator: Operator, y: Tensor, costs: TensorCosts, noise: float, raw: _Raw, tol: float) -> OperatorSolution:
    """The certificate evaluated anew with the A and y given."""
    x, size = raw.x, float(norm(y))
    tau = operator.adjoint(raw.dual)
    ratio = max(1.0, costs.excess(tau) + 1)
    dual, relative = raw.dual / ratio, costs.relative(tau / ratio)
    target = y if raw.outside is None else y - raw.outside
    image = operator.apply(x)
    rest = target - image
    value = costs.value(x)
    length = float(norm(dual))
    proved = float(target @ dual) - noise * length
    gap = (value - proved) / value if value > 0 else 0.0 if not size else 1.0
    left = float(norm(rest))
    over = 4 * EPS * length * (raw.products.norm * float(x.abs().sum()) + size)
    bound = (over + abs(float(rest @ dual) - (noise * length if noise else 0.0))) / value if value > 0 else 0.0
    fit = max(0.0, left - noise) / size
    solved = OperatorSolution(
        x, dual, relative, value, gap, bound, float(norm(y - image)) / size, fit,
        raw.products, raw.outcome.status, "", raw.outcome.steps,
    )  # fmt: skip
    if not all(map(_finite, (value, gap, bound, fit))):
        return _unknown(solved, y)
    _explain(solved, raw, costs, noise, tol, size)
    return solved


def _explain(solved: OperatorSolution, raw: _Raw, costs: TensorCosts, noise: float, tol: float, size: float) -> None:
    proven = -solved.bound <= solved.gap <= tol and solved.bound <= max(tol, _ROUNDING) and solved.fit <= _RESIDUAL
    if raw.outside is not None:
        solved.status = Status.FAILED
        solved.reason = (
            f"y is not in the range of A (relative distance {float(norm(raw.outside)) / size:.1e}): no x has Ax = y, "
            "and this one solves the problem for the projection of y on the range"
        )
    elif raw.outcome.infeasible:
        solved.status = Status.FAILED
        what = "x >= 0" if costs.one_sided else "x"
        solved.reason = f"no {what} has ‖Ax − y‖ <= noise" if noise else infeasible_reason(solved.residual)
        if not noise and (not costs.one_sided or solved.residual <= INFEASIBLE):
            solved.reason = f"no {what} was found to have Ax = y: the dual vector grows without bound"
    elif solved.status is Status.CONVERGED and not proven:
        solved.status = Status.BELOW_INPUT_PRECISION
    if not solved.reason and solved.status is not Status.CONVERGED:
        solved.reason = (
            f"relative gap {solved.gap:.1e} known to {solved.bound:.1e} (tol {tol:.1e}), relative residual "
            f"{solved.fit:.1e}, {int((solved.x != 0).sum())} nonzeros after {solved.steps} first-order steps and "
            f"{raw.products.count} products"
        )


def _zero(operator: Operator, y: Tensor, products: Products, noise: float) -> OperatorSolution:
    """x = 0, for y within the noise, or orthogonal to the range of A."""
    n = operator.shape[1]
    zero, size = torch.zeros(n, dtype=torch.float64, device=y.device), float(norm(y))
    reached = size <= noise
    reason = "" if reached else "y is orthogonal to the range of A: no x has Ax = y, and 0 is nearest"
    status = Status.CONVERGED if reached else Status.FAILED
    fit = 1.0 if size else 0.0
    return OperatorSolution(zero, torch.zeros_like(y), zero, 0.0, 0.0, 0.0, fit, fit, products, status, reason, 0)


def _unknown(solved: OperatorSolution, y: Tensor) -> OperatorSolution:
    zero = torch.zeros_like(solved.x)
    why = "the steps left the range of float64"
    return OperatorSolution(
        zero, torch.zeros_like(y), zero, 0.0, 1.0, 0.0, 1.0, 1.0, solved.products, Status.FAILED, why, solved.steps
    )


def _finite(number: float) -> bool:
    return number == number and abs(number) != float("inf")


def with_operator(
    A: Any, y: Any, norm_and_noise: tuple[Any, Any, float], options: dict[str, Any], kind: torch.dtype, device: Any
) -> BasisPursuitResult:
    """One right-hand side after the other, with products alone; with the matrix of a small A where these do not end."""
    own = A.device if isinstance(A, Tensor | Operator) else torch.device("cpu")
    operator = as_operator(A, torch.float64, own)
    check_adjoint(operator)
    sides, _ = as_array("y", y, (1, 2), "(m,) or (B, m)")
    if sides.shape[-1] != operator.shape[0]:
        raise InputError(
            f"y must have one entry for each of the {operator.shape[0]} rows of A, got shape {sides.shape}"
        )
    rows = torch.from_numpy(np.atleast_2d(sides).copy()).to(operator.device)
    found = [pursue(operator, row, *norm_and_noise, **options) for row in rows]
    if (
        operator.shape[0] * operator.shape[1] <= SMALL
        and options["max_steps"] is None
        and any(one.status is Status.MAX_STEPS for one in found)
    ):
        weights, nonnegative, noise = norm_and_noise
        dense = basis_pursuit(operator.to_dense(), rows if sides.ndim == 2 else rows[0], weights, nonnegative, noise)
        return replace(dense, x=dense.x.to(kind), dual=dense.dual.to(kind))
    place = own if device is None else check_device(device)
    single = sides.ndim == 1

    def tensor(values: list[Any], dtype: torch.dtype = torch.float64) -> Tensor:
        stacked = torch.stack([torch.as_tensor(v, dtype=torch.float64).to(place) for v in values]).to(dtype)
        return stacked[0] if single else stacked

    x = tensor([one.x for one in found])
    return BasisPursuitResult(
        x=x.to(kind),
        value=tensor([one.value for one in found]),
        dual=tensor([one.dual for one in found], kind),
        gap=tensor([one.gap for one in found]),
        primal_residual=tensor([one.residual for one in found]),
        dual_infeasibility=tensor([one.excess for one in found]),
        support=x != 0,
        is_vertex=found[0].is_vertex if single else tensor([one.is_vertex for one in found], torch.bool),
        status=found[0].status if single else tuple(one.status for one in found),
        reason=found[0].reason if single else tuple(one.reason for one in found),
        iterations=found[0].steps if single else tensor([one.steps for one in found], torch.int64),
    )
