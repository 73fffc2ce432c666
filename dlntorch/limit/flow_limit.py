"""The limit t → ∞ of the gradient flow, ψ_α(∞), without integrating.

    ψ_α(∞) = α^p h_p(τ),  τ in range(Aᵀ),  Aψ_α(∞) = y

has exactly one solution (arXiv 2307.07410, section 3): the minimiser of Σ q_p(ψ_i/α^p) subject to Aψ = y.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.numerics.threads import with_few_threads
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.numerics.validation import InputError, check_count, check_depth, check_device, check_flag, check_unmasked
from dlntorch.problem import Problem
from dlntorch.problem.equal_columns import EqualColumns

if TYPE_CHECKING:
    from dlntorch.limit.central_path import PathPoint

__all__ = ["FlowLimit", "flow_limit", "inconsistency", "judge", "paths"]

_DIGITS_LOST = 1e-3  # relative error of some coordinate beyond which float64 has not decided the answer
_RESIDUAL = 1e-10
_UNRESOLVED = 1e-15  # 1 − |τ| that a rounding of A changes entirely
_MULTIPRECISION_SIZE = 2000
ENCLOSED_DIGITS = 30


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
        uncertainty: Largest error of a coordinate that one rounding in every entry of A and y causes, relative to
            max(|ψ_i|, min(2α^p, ‖ψ‖_∞)), shape (k,): first-order analysis. Above 1e-3 the status is
            ``below_input_precision``.
        status: ``converged``, ``below_input_precision`` or ``failed``; a tuple of them for a sequence of α.
        reason: One line, empty for a plain ``converged``; a tuple for a sequence of α.
        steps: Linear systems solved, in all.
        exact: With ``precision``: ψ as decimal strings with up to that many digits (a list of n, or k lists of n); else None.
        enclosure: With ``enclosure=True``: an :class:`~dlntorch.numerics.balls.Enclosure` of ψ (or a list of k); None where
            no precision tried proves one.
    """

    psi: Tensor
    tau: Tensor
    gap: Tensor
    residual: Tensor
    dual_residual: Tensor
    uncertainty: Tensor
    status: Any
    reason: Any
    steps: int
    exact: Any = None
    enclosure: Any = None

    __repr__ = short_repr


@dataclass
class _Answer:
    """One α of one problem."""

    psi: np.ndarray
    tau: np.ndarray
    gap: np.ndarray
    residual: float = 0.0
    dual_residual: float = 0.0
    uncertainty: float = 0.0
    status: Status = Status.CONVERGED
    reasons: list[str] = field(default_factory=list)
    steps: int = 0
    exact: list[str] | None = None


@with_few_threads
def flow_limit(
    problem: Problem | Sequence[Problem],
    p: float,
    alpha: Any,
    *,
    per_coordinate: bool = False,
    precision: int | None = None,
    enclosure: bool = False,
    device: Any = None,
) -> FlowLimit:
    """ψ_α(∞) = argmin Σ q_p(ψ_i/α^p) subject to Aψ = y, by following the path in α^p downwards.

    Args:
        problem: (A, y), or a sequence of problems of one shape. Where rank(A) < m the equivalent full-rank pair is
            used; where y is not in range(A) that is the projection of y, and ``reason`` says so.
        p: Depth, any real number >= 2.
        alpha: θ at t = 0: a number > 0, or a nonempty sequence of k of them in any order, repeats allowed: one sweep
            gives them all.
        per_coordinate: ``alpha`` has one entry for each coordinate: shape (n,), or (k, n) for a sequence of them. The
            flow then starts from θ₊ = θ₋ = alpha, elementwise.
        precision: Decimal digits: computed in multiprecision arithmetic from the float64 entries of A and y taken as
            exact. For problems with m·n <= 2000, scalar α.
        enclosure: Whether intervals are returned, too, that provably contain ψ for the exact (A, y): with ``precision``,
            or 30 digits.
        device: Where the result lives; None keeps the problem's device.

    Several problems on CUDA, or a large one, are solved there in one batch; on the CPU, a batch is a compiled loop
    except for many tiny problems (:func:`dlntorch.limit.batch.pays`). The answers agree to ``uncertainty``.

    Returns:
        :class:`FlowLimit`. Each coordinate is right to a relative accuracy of about ``uncertainty``.

    Raises:
        InputError: p < 2; α not finite, not positive or empty; shapes that do not match; precision out of range.
    """
    depth = check_depth(p)
    problems = _as_problems(problem)
    alphas, scalar = _as_alphas(alpha, per_coordinate, problems[0].n)
    precision = ENCLOSED_DIGITS if check_flag("enclosure", enclosure) and precision is None else precision
    digits = None if precision is None else check_count("precision", precision, at_least=15, at_most=10_000)
    if digits is not None:
        size = problems[0].m * problems[0].n
        if size > _MULTIPRECISION_SIZE:
            raise InputError(f"precision must be left out for m n > {_MULTIPRECISION_SIZE}, got m n = {size}")
        if per_coordinate:
            raise InputError("precision must be left out with per_coordinate=True, got both")
    place = problems[0].device if device is None else check_device(device)
    if digits is None and (len(problems) > 1 or problems[0].device.type != "cpu"):
        from dlntorch.limit import batch as limit_batch  # which needs this module

        if limit_batch.pays(problems):
            many = limit_batch.limits(problems, depth, alphas, scalar, place)
            return _only(many) if isinstance(problem, Problem) else many
    if digits is None:
        solved = [_sweep(one, depth, alphas) for one in problems]
    else:
        solved = [_multiprecision(one, depth, alphas, digits) for one in problems]
    results = [_collect(answers, scalar, place) for answers in solved]
    if enclosure and digits is not None:
        from dlntorch.limit.enclosure import with_enclosures

        sizes = alphas[:, 0].tolist()
        results = [
            with_enclosures(r, one, depth, sizes, digits, scalar) for r, one in zip(results, problems, strict=True)
        ]
    return results[0] if isinstance(problem, Problem) else _stack(results)


# -- input --------------------------------------------------------------------------------------------------------


def _as_problems(problem: Any) -> list[Problem]:
    problems = [problem] if isinstance(problem, Problem) else list(problem) if isinstance(problem, Sequence) else []
    if not problems or not all(isinstance(one, Problem) for one in problems):
        raise InputError(f"problem must be a Problem or a nonempty sequence of them, got {type(problem).__name__}")
    shapes = {(one.m, one.n) for one in problems}
    if len(shapes) > 1:
        raise InputError(f"problem must be a sequence of problems of one shape, got shapes {sorted(shapes)}")
    return problems


def _as_alphas(alpha: Any, per_coordinate: bool, n: int) -> tuple[np.ndarray, bool]:
    """α as (k, 1) or (k, n), and whether the axis k is the caller's."""
    check_unmasked("alpha", alpha)
    try:
        values = alpha.detach().cpu().numpy() if isinstance(alpha, Tensor) else np.asarray(alpha)
        if values.dtype.kind not in "iuf":
            raise TypeError
        values = values.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(f"alpha must be a number or a sequence of numbers, got {type(alpha).__name__}") from None
    expected = f"({n},) or (k, {n}) with per_coordinate=True" if per_coordinate else "() or (k,)"
    lowest = 1 if per_coordinate else 0
    if values.ndim not in (lowest, lowest + 1) or values.size == 0 or (per_coordinate and values.shape[-1] != n):
        raise InputError(f"alpha must be nonempty and have shape {expected}, got shape {values.shape}")
    if not (np.all(np.isfinite(values)) and np.all(values > 0)):
        bad = values[~(np.isfinite(values) & (values > 0))].flat[0]
        raise InputError(f"alpha must be finite and > 0, got {bad}")
    scalar = values.ndim == lowest
    if scalar:
        values = values[None]
    return (values if per_coordinate else values[:, None]), scalar


# -- float64 ------------------------------------------------------------------------------------------------------


def _sweep(problem: Problem, p: float, alphas: np.ndarray) -> list[_Answer]:
    """All α of one problem, in the caller's order."""
    reduced = problem.reduced().to("cpu", torch.float64)
    A, y = reduced.A.detach().numpy(), reduced.y.detach().numpy()
    given = A if reduced is problem else problem.A.detach().to("cpu", torch.float64).numpy()
    prefix = [] if problem.consistent else [inconsistency(problem)]
    log_alphas = np.log(alphas)
    if not np.any(y):  # y = 0, or its projection is
        zero = np.zeros(problem.n)
        return [_Answer(zero, zero, np.ones(problem.n), reasons=list(prefix)) for _ in alphas]
    answers: list[_Answer | None] = [None] * len(alphas)
    for rows, offset in paths(log_alphas):
        order = sorted(rows, key=lambda row: -log_alphas[row, 0])
        equal = EqualColumns.of(given, offset)
        for group, answer in _follow(A, y, p, log_alphas[:, 0], order, offset, equal):
            answer.reasons[:0] = prefix
            for row in group:
                answers[row] = answer
    return [answer for answer in answers if answer is not None]


def inconsistency(problem: Problem) -> str:
    return (
        f"y is not in range(A): its distance is {problem.inconsistency:.3g}, no interpolating vector exists, "
        "and psi fits the projection of y"
    )


def paths(log_alphas: np.ndarray) -> list[tuple[list[int], np.ndarray | None]]:
    """Rows of α that lie on one path (all of them for scalar α), with log(α_i/α_0)."""
    if log_alphas.shape[1] == 1:
        return [(list(range(len(log_alphas))), None)]
    return [([row], log_alpha - log_alpha[0]) for row, log_alpha in enumerate(log_alphas)]


def _follow(
    A: np.ndarray,
    y: np.ndarray,
    p: float,
    log_alpha: np.ndarray,
    order: list[int],
    offset: np.ndarray | None,
    equal: EqualColumns,
) -> list[tuple[list[int], _Answer]]:
    """The path through α in decreasing order; equal α share an answer."""
    from dlntorch.limit.central_path import CentralPath  # compiles its kernels when first used

    groups: list[list[int]] = []
    for row in order:
        if groups and log_alpha[groups[-1][0]] == log_alpha[row]:
            groups[-1].append(row)
        else:
            groups.append([row])
    targets = [p * float(log_alpha[group[0]]) for group in groups]
    path = CentralPath(A, y, p, None if offset is None else p * offset, equal)
    # where α_i are hundreds of decades apart numpy warns and LAPACK gives up; what comes of it is judged below
    quiet = np.errstate() if offset is None else np.errstate(over="ignore", invalid="ignore")
    try:
        with quiet:
            points = list(path.points(targets))
    except np.linalg.LinAlgError:
        if offset is None:
            raise
        return [(group, _out_of_range(path.minimum_norm, 0)) for group in groups]
    found = []
    for group, target, point in zip(groups, targets, points, strict=True):
        status, reason = judge(point, target)
        answer = _Answer(
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
        found.append((group, _finite(answer, path.minimum_norm)))
    return found


def _finite(answer: _Answer, minimum_norm: np.ndarray) -> _Answer:
    """The answer, where float64 holds it."""
    numbers = (answer.residual, answer.dual_residual, answer.uncertainty)
    finite = all(map(math.isfinite, numbers)) and all(
        np.isfinite(value).all() for value in (answer.psi, answer.tau, answer.gap)
    )
    return answer if finite else _out_of_range(minimum_norm, answer.steps)


def _out_of_range(minimum_norm: np.ndarray, steps: int) -> _Answer:
    """A failure, at the point where every path starts."""
    return _Answer(
        minimum_norm,
        np.zeros_like(minimum_norm),
        np.ones_like(minimum_norm),
        dual_residual=1.0,
        uncertainty=1.0,
        status=Status.FAILED,
        reasons=["the path left the range of float64; psi is given for alpha = inf, the least ||psi||_2"],
        steps=steps,
    )


def judge(point: PathPoint, target: float) -> tuple[Status, str]:
    """What float64 could tell at log(α^p) = ``target``."""
    short = abs(point.log_a - target) > 1e-9 * abs(target)
    rounding = max(point.residual, point.dual_residual)
    if point.converged and not short and point.uncertainty <= _DIGITS_LOST and rounding <= _RESIDUAL:
        return Status.CONVERGED, ""
    wanted, reached = (f"10^{value / math.log(10):.6g}" for value in (target, point.log_a))
    given = f"; psi is given for alpha^p = {reached} instead of {wanted}" if short else ""
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
    return Status.BELOW_INPUT_PRECISION, f"alpha^p = {wanted} is out of the range of float64{given}"


# -- multiprecision -----------------------------------------------------------------------------------------------


def _multiprecision(problem: Problem, p: float, alphas: np.ndarray, digits: int) -> list[_Answer]:
    from dlntorch.limit.multiprecision import limits_mp

    A, y = (problem.A, problem.y) if problem._rationals is None else problem.rationals_as_text
    found = limits_mp(A, y, p, alphas[:, 0].tolist(), dps=digits)
    prefix = [] if problem.consistent else [inconsistency(problem)]
    return [
        _Answer(
            np.array([float(value) for value in one.psi]),
            np.array([float(value) for value in one.tau]),
            np.array([float(value) for value in one.gap]),
            residual=float(one.residual),
            status=one.status,
            reasons=prefix + ([one.reason] if one.reason else []),
            steps=one.steps,
            exact=one.decimals(),
        )
        for one in found
    ]


# -- output -------------------------------------------------------------------------------------------------------


def _collect(answers: list[_Answer], scalar: bool, device: torch.device) -> FlowLimit:
    def tensor(values: list[Any]) -> Tensor:
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
    )


def _only(many: FlowLimit) -> FlowLimit:
    """The one problem's limit, without the axis for problems."""
    names = ("psi", "tau", "gap", "residual", "dual_residual", "uncertainty", "status", "reason")
    return FlowLimit(**{name: getattr(many, name)[0] for name in names}, steps=many.steps)


def _stack(results: list[FlowLimit]) -> FlowLimit:
    def tensor(name: str) -> Tensor:
        return torch.stack([getattr(result, name) for result in results])

    names = ("psi", "tau", "gap", "residual", "dual_residual", "uncertainty")
    return FlowLimit(
        **{name: tensor(name) for name in names},
        status=tuple(result.status for result in results),
        reason=tuple(result.reason for result in results),
        steps=sum(result.steps for result in results),
        exact=None if results[0].exact is None else tuple(result.exact for result in results),
        enclosure=None if results[0].enclosure is None else tuple(result.enclosure for result in results),
    )
