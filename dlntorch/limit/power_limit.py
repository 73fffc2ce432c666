"""The limit of depth p in float64: equal starts along one path in α^p, and any other start along its own."""

from __future__ import annotations

import numpy as np
import torch

from dlntorch.limit.answer import Answer, failure_at_start, finite, inconsistency, judged
from dlntorch.problem import Problem
from dlntorch.problem.equal_columns import EqualColumns

__all__ = ["limit_from", "paths", "sweep"]


def sweep(problem: Problem, p: float, alphas: np.ndarray) -> list[Answer]:
    """All α of one problem, in the caller's order."""
    A, y, given = _arrays(problem)
    prefix = [] if problem.consistent else [inconsistency(problem)]
    log_alphas = np.log(alphas)
    if not np.any(y):  # y = 0, or its projection is
        zero = np.zeros(problem.n)
        return [Answer(zero, zero, np.ones(problem.n), reasons=list(prefix)) for _ in alphas]
    answers: list[Answer | None] = [None] * len(alphas)
    for rows, offset in paths(log_alphas):
        order = sorted(rows, key=lambda row: -log_alphas[row, 0])
        equal = EqualColumns.of(given, offset)
        for group, answer in _follow(A, y, p, log_alphas[:, 0], order, offset, equal):
            answer.reasons[:0] = prefix
            for row in group:
                answers[row] = answer
    return [answer for answer in answers if answer is not None]


def limit_from(problem: Problem, p: float, start: np.ndarray) -> Answer:
    """From θ(0) = ``start``, shape (2, n)."""
    from dlntorch.limit.general_start import GeneralStartPath  # compiles its kernels when first used

    plus, minus = start
    if np.array_equal(plus, minus):
        return sweep(problem, p, plus[None, :1] if np.all(plus == plus[0]) else plus[None])[0]
    A, y, given = _arrays(problem)
    starts = start.T
    equal = EqualColumns.of(given, starts, np.ascontiguousarray(starts[:, ::-1]))
    path = GeneralStartPath(A, y, p, plus, minus, equal)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            point = path.point()
    except np.linalg.LinAlgError:
        return failure_at_start(path.minimum_norm, 0)
    answer = finite(judged(point, path.log_mean, "the mean of theta(0)^p"), path.minimum_norm)
    answer.reasons[:0] = [] if problem.consistent else [inconsistency(problem)]
    return answer


def _arrays(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A and y of the full-rank pair, and A as it was given."""
    reduced = problem.reduced().to("cpu", torch.float64)
    A, y = reduced.A.detach().numpy(), reduced.y.detach().numpy()
    return A, y, A if reduced is problem else problem.A.detach().to("cpu", torch.float64).numpy()


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
) -> list[tuple[list[int], Answer]]:
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
        return [(group, failure_at_start(path.minimum_norm, 0)) for group in groups]
    found = []
    for group, target, point in zip(groups, targets, points, strict=True):
        found.append((group, finite(judged(point, target), path.minimum_norm)))
    return found
