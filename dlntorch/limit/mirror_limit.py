"""The limit of any parametrization in float64, by its mirror."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from dlntorch.limit.answer import Answer, finite, inconsistency, judged
from dlntorch.limit.mirror_path import MirrorPath
from dlntorch.limit.nonnegative import reachable
from dlntorch.model import Nonnegative, Parametrization
from dlntorch.numerics.trajectory import Status
from dlntorch.problem import Problem
from dlntorch.problem.equal_columns import EqualColumns

__all__ = ["mirror_limit"]


def mirror_limit(problem: Problem, parametrization: Parametrization, start: Tensor) -> Answer:
    """From θ(0) = ``start``, shape (width, n)."""
    if isinstance(parametrization, Nonnegative):
        answer = _nonnegative(problem, parametrization, start)
    else:
        answer = _interpolating(problem, parametrization, start)
        answer.tau_reason = f"{parametrization.name} has no tau: its curve has no scale that a pole would be 1 of"
    answer.reasons[:0] = [] if problem.consistent else [inconsistency(problem)]
    return answer


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
            point = MirrorPath(A, y, mirror, equal).point()
        except np.linalg.LinAlgError:
            point = None
    if point is None or not point.converged and point.log_a > 0:
        psi = mirror.origin.numpy() if point is None else point.psi
        where = "psi is given at its start" if point is None else f"psi is given for {_part(point.log_a)} of the way of A psi"
        return finite(
            Answer(psi, None, None, uncertainty=1.0, status=Status.FAILED, steps=0 if point is None else point.steps,
                   reasons=[f"no psi of {parametrization.name} with A psi = y was found; {where} from the start to y"]),
            mirror.origin.numpy(),
        )  # fmt: skip
    answer = judged(point, 0.0)
    answer.tau = answer.gap = None
    return finite(answer, mirror.origin.numpy())


def _part(missing: float) -> str:
    return f"{np.exp(-missing):.3g}"


def _nonnegative(problem: Problem, parametrization: Nonnegative, start: Tensor) -> Answer:
    """The limit within ψ >= 0, in the coordinates that do not tend to 0."""
    A = problem.A.detach().to("cpu", torch.float64).numpy()
    y = problem.y.detach().to("cpu", torch.float64).numpy()
    if not problem.consistent:
        y = A @ np.linalg.lstsq(A, y, rcond=None)[0]
    b, above, distance = reachable(A, y)
    whole = bool(above.all())
    if whole and distance == 0:
        answer = _interpolating(problem, parametrization, start)
    elif not above.any():
        answer = Answer(np.zeros(problem.n), None, None)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the caller's problem has been warned of
            part = Problem(A[:, above], b)
        answer = _interpolating(part, parametrization, start[:, torch.from_numpy(above)])
        psi = np.zeros(problem.n)
        psi[above] = answer.psi
        answer.psi = psi
    if distance > 0:
        answer.residual = float(np.linalg.norm(A @ answer.psi - y) / np.linalg.norm(y))
        answer.reasons.append(
            f"no psi >= 0 has A psi = y: the nearest is {distance:.3g} of the norm of y away, and psi is the limit "
            "of the flow among the nonnegative least-squares solutions"
        )
    if whole and answer.status is not Status.FAILED:
        ratio = answer.psi / parametrization.value(start).numpy()
        if parametrization.p == 2:
            answer.tau = np.log(ratio)
            answer.gap = 1 - np.abs(answer.tau)
        else:
            answer.gap = ratio ** ((2 - parametrization.p) / parametrization.p)
            answer.tau = 1 - answer.gap
    else:
        zeros = int(np.count_nonzero(~above))
        answer.tau_reason = f"tau tends to minus infinity in {zeros} coordinates, which end at 0"
    return answer
