"""The limit of any parametrization in float64, by its mirror."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from dlntorch.limit.answer import Answer, finite, inconsistency, judged
from dlntorch.limit.central_path import PathPoint
from dlntorch.limit.mirror_path import MirrorPath
from dlntorch.limit.nonnegative import reachable
from dlntorch.model import Parametrization
from dlntorch.model.mirror import Mirror
from dlntorch.numerics.trajectory import Status
from dlntorch.problem import Problem
from dlntorch.problem.equal_columns import EqualColumns

__all__ = ["mirror_limit", "no_tau", "within_nonnegative"]


def mirror_limit(problem: Problem, parametrization: Parametrization, start: Tensor) -> Answer:
    """From θ(0) = ``start``, shape (width, n)."""
    if parametrization.one_sided:
        answer = within_nonnegative(
            problem, parametrization, start, lambda one, theta: _interpolating(one, parametrization, theta)
        )
    else:
        answer = _interpolating(problem, parametrization, start)
        answer.tau_reason = no_tau(parametrization)
    answer.reasons[:0] = [] if problem.consistent else [inconsistency(problem)]
    return answer


def no_tau(parametrization: Parametrization) -> str:
    return f"{parametrization.name} has no tau: its curve has no scale that a pole would be 1 of"


def _interpolating(problem: Problem, parametrization: Parametrization, start: Tensor) -> Answer:
    """The limit of a flow that can reach Aψ = y, or a failure that says how far the path came."""
    reduced = problem.reduced().to("cpu", torch.float64)
    A, y = reduced.A.detach().numpy(), reduced.y.detach().numpy()
    given = problem.A.detach().to("cpu", torch.float64).numpy()
    mirror = parametrization.mirror(start)
    # Columns of opposite sign are no twins here: the curve need not be odd.
    keys = start.numpy().T.copy()
    equal = EqualColumns.of(given, keys, np.full_like(keys, np.nan))
    if not A.size:
        return Answer(mirror.origin.numpy(), None, None)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        try:
            point = MirrorPath(A, y, mirror, equal, _starts(parametrization, start, A, y)).point()
        except np.linalg.LinAlgError:
            point = None
    if point is None or (not point.converged and point.log_a > 0):
        return finite(_unreached(parametrization, mirror, point), mirror.origin.numpy())
    answer = judged(point, 0.0)
    answer.tau = answer.gap = None
    return finite(answer, mirror.origin.numpy())


def _unreached(parametrization: Parametrization, mirror: Mirror, point: PathPoint | None) -> Answer:
    """A failure, with the point that the path came to."""
    psi, steps = (mirror.origin.numpy(), 0) if point is None else (point.psi, point.steps)
    if point is not None and point.residual <= 1e-6:  # the data were reached, from another start
        larger = f"{math.exp(point.log_a):.3g} times as large"
        reason = f"Newton's method stalled; psi is given for small entries of the start {larger}"
    else:
        missing = 0.0 if point is None else math.exp(-point.log_a)
        way = f"{missing:.3g} of the way of A psi from the start to y"
        reason = f"no psi of {parametrization.name} with A psi = y was found; psi is given for {way}"
    residual = 1.0 if point is None else point.residual
    return Answer(psi, None, None, residual, uncertainty=1.0, status=Status.FAILED, steps=steps, reasons=[reason])


def _starts(
    parametrization: Parametrization, start: Tensor, A: np.ndarray, y: np.ndarray
) -> tuple[Callable[[float], Mirror], float] | None:
    """The curves from θ(S) = min(Sθ(0), B), where the start is uneven and its curves are cheap; else None."""
    power = parametrization.p
    if power is None or not parametrization.one_sided or bool((start == start[0, 0]).all()):
        return None
    size = float(np.max(np.abs(np.linalg.lstsq(A, y, rcond=None)[0])))
    ceiling = max(float(start.max()), size ** (1 / power))

    def mirror_at(level: float) -> Mirror:
        return parametrization.mirror((start * math.exp(level)).clamp(max=ceiling))

    return mirror_at, math.log(ceiling / float(start.min()))


def within_nonnegative(
    problem: Problem, parametrization: Parametrization, start: Tensor, solve: Callable[[Problem, Tensor], Answer]
) -> Answer:
    """The limit within ψ >= 0, by ``solve`` in the coordinates that do not tend to 0.

    Which those are is decided in float64. Where y is out of reach, what they reach is the projection of y on the range
    of their columns, which is what ``solve`` makes of it.
    """
    A = problem.A.detach().to("cpu", torch.float64).numpy()
    y = problem.y.detach().to("cpu", torch.float64).numpy()
    inside = y if problem.consistent else A @ np.linalg.lstsq(A, y, rcond=None)[0]
    above, distance = reachable(A, inside)
    if above.all() and distance == 0:
        answer = solve(problem, start)
    elif not above.any():
        answer = Answer(np.zeros(problem.n), None, None)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of the part's shape and consistency: ours, not the caller's
            part = Problem(A[:, above], y)
        answer = solve(part, start[:, torch.from_numpy(above)])
        psi = np.zeros(problem.n)
        psi[above] = answer.psi
        answer.psi = psi
        if answer.exact is not None:
            digits = iter(answer.exact)
            answer.exact = [next(digits) if one else "0.0" for one in above]
        answer.reasons = [reason for reason in answer.reasons if not reason.startswith("y is not in range(A)")]
        answer.tau = answer.gap = None
    if distance > 0:
        answer.residual = float(np.linalg.norm(A @ answer.psi - inside) / np.linalg.norm(inside))
        answer.reasons.append(
            f"no psi >= 0 has A psi = y: the nearest is {distance:.3g} of the norm of y away, and psi is the limit "
            "of the flow among the nonnegative least-squares solutions"
        )
    _add_tau(answer, parametrization, start, above)
    return answer


def _add_tau(answer: Answer, parametrization: Parametrization, start: Tensor, above: np.ndarray) -> None:
    """τ = c α^{p−2} ν and 1 − τ, or ln(ψ/ψ(0)) and 1 − |τ| at p = 2, where all coordinates have them."""
    if not above.all():
        zeros = int(np.count_nonzero(~above))
        answer.tau_reason = f"tau tends to minus infinity in {zeros} coordinates, which end at 0"
    elif parametrization.small_start is None:
        answer.tau_reason = no_tau(parametrization)
    elif answer.tau is None:
        ratio = answer.psi / parametrization.value(start).numpy()
        answer.tau, answer.gap = parametrization.small_start.one_sided_tau(ratio)
