"""What a limit is returned as, and what float64 could tell of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.problem import Problem

if TYPE_CHECKING:
    from dlntorch.limit.central_path import PathPoint

__all__ = [
    "Answer",
    "FlowLimit",
    "collect",
    "failure_at_start",
    "finite",
    "inconsistency",
    "judge",
    "judged",
    "only",
    "stack",
]

_DIGITS_LOST = 1e-3  # relative error of some coordinate beyond which float64 has not decided the answer
_RESIDUAL = 1e-10
_UNRESOLVED = 1e-15  # 1 − |τ| that a rounding of A changes entirely


@dataclass(frozen=True)
class FlowLimit:
    """ψ_α(∞) and how well it is known. Shapes are for k values of α; the axis k is absent where ``alpha`` was scalar.

    For a sequence of problems every tensor has a leading axis, and ``status``, ``reason`` and ``exact`` are tuples with
    one entry per problem.

    Attributes:
        psi: ψ_α(∞), shape (k, n).
        tau: τ = A^Tλ with ψ = α^p h_p(τ), shape (k, n). Close to ±1 it has too few digits to recompute ψ: see ``gap``.
        gap: 1 − |τ|, shape (k, n), to full relative accuracy (p = 2 has no pole).
        residual: ‖Aψ − y‖₂/‖y‖₂ of the reduced full-rank pair, shape (k,); 0 where y = 0.
        dual_residual: Distance of kτ (τ at p = 2) from range(Aᵀ) in the largest entry, relative to its largest entry,
            shape (k,); k = p/(p − 2).
        uncertainty: Largest error of a coordinate that one rounding in every entry of A and y causes (in A, of the largest
            entry of the column), relative to max(|ψ_i|, min(2α^p, ‖ψ‖_∞)), shape (k,): first-order analysis; at least a
            rounding of ln α^p, as which α^p is carried. Above 1e-3 the status is ``below_input_precision``.
        status: ``converged``, ``below_input_precision`` or ``failed``; a tuple of them for a sequence of α.
        reason: One line, empty for a plain ``converged``; a tuple for a sequence of α.
        steps: Linear systems solved, in all.
        tau_reason: Why ``tau`` and ``gap`` are None, empty where they are not; one for each problem of a sequence.
        exact: With ``precision``: ψ as decimal strings with up to that many digits (a list of n, or k lists of n); else None.
        enclosure: With ``enclosure=True``: an :class:`~dlntorch.numerics.balls.Enclosure` of ψ (or a list of k); None where
            no precision tried proves one.
    """

    psi: Tensor
    tau: Tensor | None
    gap: Tensor | None
    residual: Tensor
    dual_residual: Tensor
    uncertainty: Tensor
    status: Any
    reason: Any
    steps: int
    exact: Any = None
    tau_reason: Any = ""
    enclosure: Any = None

    __repr__ = short_repr


@dataclass
class Answer:
    """One α of one problem."""

    psi: np.ndarray
    tau: np.ndarray | None
    gap: np.ndarray | None
    residual: float = 0.0
    dual_residual: float = 0.0
    uncertainty: float = 0.0
    status: Status = Status.CONVERGED
    reasons: list[str] = field(default_factory=list)
    steps: int = 0
    exact: list[str] | None = None
    tau_reason: str = ""


def inconsistency(problem: Problem) -> str:
    return (
        f"y is not in range(A): its distance is {problem.inconsistency:.3g}, no interpolating vector exists, "
        "and psi fits the projection of y"
    )


def judged(point: PathPoint, target: float, scale: str = "alpha^p") -> Answer:
    status, reason = judge(point, target, scale)
    return Answer(
        point.psi,
        point.tau,
        point.gap,
        point.residual,
        point.dual_residual,
        point.uncertainty,
        status,
        [reason] if reason else [],
        point.steps,
    )


def finite(answer: Answer, minimum_norm: np.ndarray) -> Answer:
    """The answer, where float64 holds it."""
    numbers = (answer.residual, answer.dual_residual, answer.uncertainty)
    finite = all(map(math.isfinite, numbers)) and all(
        np.isfinite(value).all() for value in (answer.psi, answer.tau, answer.gap) if value is not None
    )
    return answer if finite else failure_at_start(minimum_norm, answer.steps)


def failure_at_start(minimum_norm: np.ndarray, steps: int) -> Answer:
    """A failure, at the point where every path starts."""
    return Answer(
        minimum_norm,
        np.zeros_like(minimum_norm),
        np.ones_like(minimum_norm),
        dual_residual=1.0,
        uncertainty=1.0,
        status=Status.FAILED,
        reasons=["the path left the range of float64; psi is given for alpha = inf, the least ||psi||_2"],
        steps=steps,
    )


def judge(point: PathPoint, target: float, scale: str = "alpha^p") -> tuple[Status, str]:
    """What float64 could tell at log(α^p) = ``target``; ``scale`` is what α^p is called."""
    short = abs(point.log_a - target) > 1e-9 * abs(target)
    rounding = max(point.residual, point.dual_residual)
    if point.converged and not short and point.uncertainty <= _DIGITS_LOST and rounding <= _RESIDUAL:
        return Status.CONVERGED, ""
    wanted, reached = (f"10^{value / math.log(10):.6g}" for value in (target, point.log_a))
    given = f"; psi is given for {scale} = {reached} instead of {wanted}" if short else ""
    if point.uncertainty > _DIGITS_LOST:
        return Status.BELOW_INPUT_PRECISION, (
            f"rounding of A and y changes a coordinate of psi by a relative {point.uncertainty:.1e} (1 is no digit): "
            f"float64 cannot tell it, precision=… can{given}"
        )
    if not point.converged:
        smallest = float(point.gap.min())
        if smallest <= _UNRESOLVED:
            return Status.BELOW_INPUT_PRECISION, (
                f"1 - |tau| is {smallest:.1e}, below the rounding of A: the path cannot be followed in float64{given}"
            )
        return Status.FAILED, f"Newton's method stalled{given}"
    if rounding > _RESIDUAL:
        return Status.BELOW_INPUT_PRECISION, (
            f"the equations hold to {rounding:.1e} only, the rounding level of their terms{given}"
        )
    return Status.BELOW_INPUT_PRECISION, f"{scale} = {wanted} is out of the range of float64{given}"


# -- output -------------------------------------------------------------------------------------------------------


def collect(answers: list[Answer], scalar: bool, device: torch.device) -> FlowLimit:
    """The answers of one problem as tensors on ``device``."""

    def tensor(values: list[Any]) -> Any:
        if any(value is None for value in values):
            return None
        stacked = torch.from_numpy(np.array(values[0] if scalar else values, dtype=np.float64))
        return stacked if device.type == "cpu" else stacked.to(device)

    exact = [answer.exact for answer in answers]
    return FlowLimit(
        psi=tensor([answer.psi for answer in answers]),
        tau=tensor([answer.tau for answer in answers]),
        gap=tensor([answer.gap for answer in answers]),
        residual=tensor([answer.residual for answer in answers]),
        dual_residual=tensor([answer.dual_residual for answer in answers]),
        uncertainty=tensor([answer.uncertainty for answer in answers]),
        status=answers[0].status if scalar else tuple(answer.status for answer in answers),
        reason="; ".join(answers[0].reasons) if scalar else tuple("; ".join(answer.reasons) for answer in answers),
        steps=sum({id(answer): answer.steps for answer in answers}.values()),
        exact=None if exact[0] is None else exact[0] if scalar else exact,
        tau_reason=next((answer.tau_reason for answer in answers if answer.tau_reason), ""),
    )


def only(many: FlowLimit) -> FlowLimit:
    """The one problem's limit, without the axis for problems."""
    names = ("psi", "tau", "gap", "residual", "dual_residual", "uncertainty", "status", "reason")
    return FlowLimit(**{name: getattr(many, name)[0] for name in names}, steps=many.steps)


def stack(results: list[FlowLimit]) -> FlowLimit:
    """Those of several problems, with an axis for them in front."""

    def tensor(name: str) -> Any:
        values = [getattr(result, name) for result in results]
        return None if any(value is None for value in values) else torch.stack(values)

    names = ("psi", "tau", "gap", "residual", "dual_residual", "uncertainty")
    reasons = tuple(result.tau_reason for result in results)
    return FlowLimit(
        **{name: tensor(name) for name in names},
        status=tuple(result.status for result in results),
        reason=tuple(result.reason for result in results),
        steps=sum(result.steps for result in results),
        exact=None if results[0].exact is None else tuple(result.exact for result in results),
        tau_reason=reasons if any(reasons) else "",
        enclosure=None if results[0].enclosure is None else tuple(result.enclosure for result in results),
    )
