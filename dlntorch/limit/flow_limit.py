"""The limit t → ∞ of the gradient flow, ψ(∞), without integrating.

    Aψ = y,   ψ_i = Ψ_i(ν_i),   ν ∈ range(Aᵀ),

has at most one solution, Ψ being the increasing function that the flow moves a coordinate along from its start
(:mod:`dlntorch.model.mirror`). For depth p and equal starts that is ψ_α(∞) = α^p h_p(τ), τ in range(Aᵀ), the minimiser of
Σ q_p(ψ_i/α^p) subject to Aψ = y (arXiv 2307.07410, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.limit.answer import Answer, FlowLimit, collect, inconsistency, only, stack
from dlntorch.limit.power_limit import limit_from, sweep
from dlntorch.model import Initialization, Parametrization, as_parametrization, check_start
from dlntorch.numerics.threads import with_few_threads
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError, check_count, check_device, check_flag, check_unmasked
from dlntorch.problem import Problem

if TYPE_CHECKING:
    from dlntorch.limit.multiprecision import MultiprecisionLimit

__all__ = ["FlowLimit", "flow_limit"]

_MULTIPRECISION_SIZE = 2000
ENCLOSED_DIGITS = 30
#: Uncertainty beyond which the answer from a general start is refined with residuals in many digits.
_REFINED = 7e-14
#: Operators of at most so many entries get their matrix.
MADE_DENSE = 1_000_000


@with_few_threads
def flow_limit(
    problem: Problem | Sequence[Problem],
    p: float | Parametrization,
    alpha: Any,
    *,
    per_coordinate: bool = False,
    precision: int | None = None,
    enclosure: bool = False,
    device: Any = None,
) -> FlowLimit:
    """ψ(∞), the point where the gradient flow from a given start ends, by following a path of starts or data to it.

    Args:
        problem: (A, y), or a sequence of problems of one shape. An operator of at most 10⁶ entries gets its matrix, a larger
            one is refused. Where rank(A) < m the equivalent full-rank pair is
            used; where y is not in range(A) that is the projection of y, and ``reason`` says so.
        p: Depth, any real number >= 2, or a :class:`~dlntorch.Parametrization`.
        alpha: θ at t = 0: a number > 0; a nonempty sequence of k of them in any order, repeats allowed (for a depth, one
            sweep gives them all); an :class:`~dlntorch.Initialization`, or a sequence of k of them.
        per_coordinate: ``alpha`` has one entry for each coordinate: shape (n,), or (k, n) for a sequence of them. The
            flow of a depth then starts from θ₊ = θ₋ = alpha, elementwise.
        precision: Decimal digits: computed in multiprecision arithmetic from the float64 entries of A, y and the start
            taken as exact. For problems with m·n <= 2000, and parametrizations with closed forms.
        enclosure: Whether intervals are returned, too, that provably contain ψ for the exact (A, y) and start: for a
            depth, with ``precision``, or 30 digits.
        device: Where the result lives; None keeps the problem's device.

    Several problems on CUDA, or a large one, are solved there in one batch where p is a depth; on the CPU, a batch is a
    compiled loop except for many tiny problems (:func:`dlntorch.limit.batch.pays`). The answers agree to
    ``uncertainty``. Other parametrizations are solved one by one, on the CPU.

    ``Nonnegative(p)``: where no ψ >= 0 has Aψ = y, the flow's limit among the nonnegative least-squares solutions is
    returned, and ``reason`` says so; coordinates that only tend to 0 are 0.

    Returns:
        :class:`FlowLimit`. Each coordinate is right to a relative accuracy of about ``uncertainty``. From an Initialization,
        and for other parametrizations with closed forms, ψ is refined where it has to be (m·n <= 5000): it is right to 1e-13 of
        ‖ψ‖_∞ for the numbers as given.

    Raises:
        InputError: p < 2; α not finite, not positive, empty, or not what the parametrization starts from; shapes that
            do not match; precision out of range or without closed forms.

    Example:
        >>> import dlntorch as dln
        >>> problem = dln.Problem([[1.0, 2.0]], [2.0])
        >>> dln.flow_limit(problem, 3, 1e-3).psi.round(decimals=4)
        tensor([0., 1.], dtype=torch.float64)
        >>> warm = dln.Initialization.warm([1.0, 0.0], alpha=1e-3, p=3)
        >>> dln.flow_limit(problem, 3, warm).psi.round(decimals=4)
        tensor([2., 0.], dtype=torch.float64)
    """
    parametrization = as_parametrization(p)
    problems = _as_problems(problem)
    n = problems[0].n
    precision = ENCLOSED_DIGITS if check_flag("enclosure", enclosure) and precision is None else precision
    digits = None if precision is None else check_count("precision", precision, at_least=15, at_most=10_000)
    given = _as_initializations(alpha)
    alphas, scalar = _as_alphas(alpha, per_coordinate, n) if given is None else (np.zeros((0, 1)), given[1])
    if digits is not None:
        size = problems[0].m * n
        if size > _MULTIPRECISION_SIZE:
            rule = "enclosure must be False" if enclosure else "precision must be left out"
            raise InputError(f"{rule} for m n > {_MULTIPRECISION_SIZE}, got m n = {size}")
    place = problems[0].device if device is None else check_device(device)
    depth = parametrization.depth
    if depth is not None and given is None and not (digits is not None and per_coordinate):
        if digits is None and _in_one_batch(problems):
            from dlntorch.limit import batch

            many = batch.limits(problems, depth, alphas, scalar, place)
            return only(many) if isinstance(problem, Problem) else many
        if digits is None:
            solved = [sweep(one, depth, alphas) for one in problems]
        else:
            solved = [_multiprecision(one, depth, alphas, digits) for one in problems]
    else:
        starts = _starts(parametrization, alphas if given is None else given[0], n)
        if depth is not None and digits is None and given is not None and scalar and _in_one_batch(problems):
            from dlntorch.limit import batch

            many = batch.limits_from(problems, depth, starts[0].numpy(), place)
            return only(many) if isinstance(problem, Problem) else many
        solved = [[_limit(one, parametrization, start, digits) for start in starts] for one in problems]
    results = [collect(answers, scalar, place) for answers in solved]
    if enclosure and digits is not None:
        from dlntorch.limit.enclosure import with_enclosures

        starts = _starts(parametrization, alphas if given is None else given[0], n)
        results = [
            with_enclosures(found, one, parametrization, starts, digits, scalar)
            for found, one in zip(results, problems, strict=True)
        ]
    return results[0] if isinstance(problem, Problem) else stack(results)


def _in_one_batch(problems: list[Problem]) -> bool:
    if len(problems) == 1 and problems[0].device.type == "cpu":
        return False
    from dlntorch.limit import batch

    return batch.pays(problems)


def _limit(problem: Problem, parametrization: Parametrization, start: Tensor, digits: int | None) -> Answer:
    """From θ(0) = ``start``, shape (width, n)."""
    if digits is not None:
        return _multiprecision_from(problem, parametrization, start, digits)
    if parametrization.depth is not None:
        answer = limit_from(problem, parametrization.depth, start.numpy())
        if bool((start == start[0, 0]).all()):  # what the number gives, to the bit
            return answer
    else:
        from dlntorch.limit.mirror_limit import mirror_limit

        answer = mirror_limit(problem, parametrization, start)
    if answer.uncertainty > _REFINED and answer.status is not Status.FAILED and problem.device.type == "cpu":
        from dlntorch.limit.refined import refined

        better = refined(problem, parametrization, start, answer.psi)
        answer.psi = answer.psi if better is None else better
    return answer


# -- input --------------------------------------------------------------------------------------------------------


def _as_problems(problem: Any) -> list[Problem]:
    problems = [problem] if isinstance(problem, Problem) else list(problem) if isinstance(problem, Sequence) else []
    if not problems or not all(isinstance(one, Problem) for one in problems):
        raise InputError(f"problem must be a Problem or a nonempty sequence of them, got {type(problem).__name__}")
    shapes = {(one.m, one.n) for one in problems}
    if len(shapes) > 1:
        raise InputError(f"problem must be a sequence of problems of one shape, got shapes {sorted(shapes)}")
    small = problems[0].m * problems[0].n <= MADE_DENSE
    return [one.to_dense() if small else one for one in problems]


def _as_initializations(alpha: Any) -> tuple[list[Initialization], bool] | None:
    """The starts that ``alpha`` is made of, and whether it is one; None where it is numbers."""
    if isinstance(alpha, Initialization):
        return [alpha], True
    if isinstance(alpha, (list, tuple)) and alpha and isinstance(alpha[0], Initialization):
        if not all(isinstance(one, Initialization) for one in alpha):
            raise InputError("alpha must be a sequence of numbers or of Initializations, got both")
        return list(alpha), False
    return None


def _starts(parametrization: Parametrization, alphas: Sequence[Any] | np.ndarray, n: int) -> list[Tensor]:
    """θ(0) of every limit asked for, (width, n) each."""
    starts = []
    for alpha in alphas:
        if isinstance(alpha, Initialization):
            theta = parametrization.start_from(alpha, n)
        else:
            theta = parametrization.start(float(alpha[0]) if len(alpha) == 1 else torch.from_numpy(alpha.copy()), n)
        starts.append(check_start(parametrization, theta, n))
    return starts


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


# -- multiprecision -----------------------------------------------------------------------------------------------


def _multiprecision(problem: Problem, p: float, alphas: np.ndarray, digits: int) -> list[Answer]:
    from dlntorch.limit.multiprecision import limits_mp

    A, y = (problem.A, problem.y) if problem._rationals is None else problem.rationals_as_text
    found = limits_mp(A, y, p, alphas[:, 0].tolist(), dps=digits)
    return [_answer(problem, one) for one in found]


def _multiprecision_from(problem: Problem, parametrization: Parametrization, start: Tensor, digits: int) -> Answer:
    from dlntorch.limit.multiprecision_starts import has_exact_curves

    theta = start.numpy()
    if not has_exact_curves(parametrization, theta):
        raise InputError(f"precision must be left out with {parametrization!r}, which has no closed form, got {digits}")
    if parametrization.one_sided:
        from dlntorch.limit.mirror_limit import within_nonnegative

        return within_nonnegative(
            problem, parametrization, start, lambda one, theta: _multiprecision_of(one, parametrization, theta, digits)
        )
    return _multiprecision_of(problem, parametrization, start, digits)


def _multiprecision_of(problem: Problem, parametrization: Parametrization, start: Tensor, digits: int) -> Answer:
    from dlntorch.limit.mirror_limit import no_tau
    from dlntorch.limit.multiprecision_starts import limit_mp_from

    answer = _answer(problem, limit_mp_from(problem.A, problem.y, parametrization, start.numpy(), dps=digits))
    answer.tau_reason = "" if answer.tau is not None else no_tau(parametrization)
    return answer


def _answer(problem: Problem, found: MultiprecisionLimit) -> Answer:
    prefix = [] if problem.consistent else [inconsistency(problem)]
    return Answer(
        np.array([float(value) for value in found.psi]),
        np.array([float(value) for value in found.tau]) if found.tau else None,
        np.array([float(value) for value in found.gap]) if found.gap else None,
        residual=float(found.residual),
        status=found.status,
        reasons=prefix + ([found.reason] if found.reason else []),
        steps=found.steps,
        exact=found.decimals(),
    )
