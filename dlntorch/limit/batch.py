"""``flow_limit`` for many problems of one shape at once, on the device they live on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dlntorch.limit.answer import FlowLimit, inconsistency, judge
from dlntorch.limit.batched_state import BatchedPoints
from dlntorch.limit.central_path import PathPoint
from dlntorch.limit.central_path_batched import BatchedPath
from dlntorch.limit.power_limit import paths
from dlntorch.numerics.trajectory import Status
from dlntorch.problem import Problem
from dlntorch.problem.equal_columns import EqualColumns

__all__ = ["limits", "limits_from", "pays"]

_TENSORS = ("psi", "tau", "gap", "residual", "dual_residual", "uncertainty")
_ALONE_ON_CUDA = 1e7  # n m² from which the device beats its launch latencies on one problem
_MANY, _TINY = 512, 1000  # problems, and n m² of each, for which torch's own loop is the faster one on the CPU


def pays(problems: Sequence[Problem]) -> bool:
    """Whether the batched path is the faster one: several problems on CUDA, a large one, or many tiny ones on the CPU.

    On the CPU a compiled loop over the problems has no overhead to share; it was measured to be faster or equal except
    where hundreds of problems take a few microseconds each.
    """
    work = problems[0].n * problems[0].m ** 2
    if any(one.device.type != "cpu" for one in problems):
        return len(problems) > 1 or work >= _ALONE_ON_CUDA
    return len(problems) >= _MANY and work <= _TINY


def limits(problems: Sequence[Problem], p: float, alphas: np.ndarray, scalar: bool, place: torch.device) -> FlowLimit:
    """The limits of B problems, every field with a leading axis B.

    Args:
        problems: B problems of one shape. Those of lower rank are solved together with the others of their rank.
        p: Depth.
        alphas: (k, 1), or (k, n) for a per-coordinate α.
        scalar: Whether k = 1 is an axis the caller did not ask for.
        place: Where the result lives.
    """
    B, k, n = len(problems), len(alphas), problems[0].n
    device = next((one.device for one in problems if one.device.type != "cpu"), problems[0].device)
    found = {
        name: torch.zeros((B, k, n) if i < 3 else (B, k), device=device).double() for i, name in enumerate(_TENSORS)
    }
    found["gap"] += 1.0
    statuses, reasons = [[Status.CONVERGED] * k for _ in range(B)], [[""] * k for _ in range(B)]
    steps = 0
    for rows in _by_rank(problems):
        A, y = _stacked([problems[row] for row in rows], device)
        some = torch.nonzero((y != 0).any(-1))[:, 0]  # where y = 0, so is ψ
        if not some.numel():
            continue
        rows = [rows[i] for i in some.tolist()]
        points = _points(A[some], y[some], p, alphas, [problems[row] for row in rows])
        steps += int(points.steps.sum())
        for name in _TENSORS:
            found[name][torch.tensor(rows, device=device)] = getattr(points, name)
        for row, (status, reason) in zip(rows, _judged(points, p * np.log(alphas[:, 0])), strict=True):
            statuses[row], reasons[row] = status, reason
    for row, problem in enumerate(problems):
        if not problem.consistent:
            reasons[row] = ["; ".join(filter(None, (inconsistency(problem), reason))) for reason in reasons[row]]
    return FlowLimit(
        **{name: (value[:, 0] if scalar else value).to(place) for name, value in found.items()},
        status=tuple(status[0] if scalar else tuple(status) for status in statuses),
        reason=tuple(reason[0] if scalar else tuple(reason) for reason in reasons),
        steps=steps,
    )


def limits_from(problems: Sequence[Problem], p: float, start: np.ndarray, place: torch.device) -> FlowLimit:
    """The limits of B problems from one start θ(0), shape (2, n), every field with a leading axis B."""
    from dlntorch.limit.general_start_batched import BatchedGeneralStart

    device = next((one.device for one in problems if one.device.type != "cpu"), problems[0].device)
    B, n = len(problems), problems[0].n
    found = {name: torch.zeros((B, n) if i < 3 else (B,), device=device).double() for i, name in enumerate(_TENSORS)}
    statuses, reasons, steps = [Status.CONVERGED] * B, [""] * B, 0
    keys = np.ascontiguousarray(start.T)
    for rows in _by_rank(problems):
        some = [problems[row] for row in rows]
        A, y = _stacked(some, device)
        opposite = np.ascontiguousarray(keys[:, ::-1])
        equal = [EqualColumns.of(one.A.detach().cpu().double().numpy(), keys, opposite) for one in some]
        path = BatchedGeneralStart(A, y, p, torch.from_numpy(start[0]), torch.from_numpy(start[1]), equal)
        points = path.points([0.0])
        points.log_a = points.log_a + path.log_mean
        steps += int(points.steps.sum())
        for name in _TENSORS:
            found[name][torch.tensor(rows, device=device)] = getattr(points, name)[:, 0]
        verdicts = _judged(points, np.array([path.log_mean]), "the mean of theta(0)^p")
        for row, (status, reason) in zip(rows, verdicts, strict=True):
            statuses[row], reasons[row] = status[0], reason[0]
    for row, problem in enumerate(problems):
        if not problem.consistent:
            reasons[row] = "; ".join(filter(None, (inconsistency(problem), reasons[row])))
    return FlowLimit(
        **{name: value.to(place) for name, value in found.items()},
        status=tuple(statuses),
        reason=tuple(reasons),
        steps=steps,
    )


def _by_rank(problems: Sequence[Problem]) -> list[list[int]]:
    groups: dict[int, list[int]] = {}
    for row, problem in enumerate(problems):
        groups.setdefault(problem.rank, []).append(row)
    return list(groups.values())


def _stacked(problems: Sequence[Problem], device: torch.device) -> tuple[Tensor, Tensor]:
    """A (B, r, n) and y (B, r) of the equivalent full-rank pairs."""
    reduced = [problem.reduced().to(device, torch.float64) for problem in problems]
    return torch.stack([one.A.detach() for one in reduced]), torch.stack([one.y.detach() for one in reduced])


def _points(A: Tensor, y: Tensor, p: float, alphas: np.ndarray, problems: Sequence[Problem]) -> BatchedPoints:
    """The points in the caller's order of α; equal α share one."""
    log_alphas = np.log(alphas)
    parts, order = [], np.empty(len(alphas), dtype=np.int64)
    count = 0
    for rows, offset in paths(log_alphas):
        distinct, which = np.unique(-log_alphas[rows, 0], return_inverse=True)
        order[rows] = count + which
        count += len(distinct)
        equal = [EqualColumns.of(one.A.detach().cpu().double().numpy(), offset) for one in problems]
        path = BatchedPath(A, y, p, None if offset is None else torch.from_numpy(p * offset), equal)
        parts.append(path.points((-p * distinct).tolist()))
    index = torch.from_numpy(order).to(A.device)
    joined = {name: torch.cat([getattr(part, name) for part in parts], dim=1) for name in vars(parts[0])}
    steps = joined.pop("steps")
    return BatchedPoints(**{name: value[:, index] for name, value in joined.items()}, steps=steps)


def _judged(points: BatchedPoints, targets: np.ndarray, scale: str = "alpha^p") -> list[tuple[list[Status], list[str]]]:
    """Status and reason of every problem at every α, by the rules for one problem."""
    scalars = ("log_a", "residual", "dual_residual", "uncertainty", "converged")
    columns = {name: getattr(points, name).cpu().numpy() for name in scalars}
    smallest = points.gap.amin(-1).cpu().numpy()
    outcomes = []
    for i in range(len(smallest)):
        verdicts = []
        for j, target in enumerate(targets):
            values = {name: float(column[i, j]) for name, column in columns.items() if name != "converged"}
            none = np.zeros(0)
            point = PathPoint(
                none, none, smallest[i, j : j + 1], steps=0, converged=bool(columns["converged"][i, j]), **values
            )
            verdicts.append(judge(point, float(target), scale))
        outcomes.append(([status for status, _ in verdicts], [reason for _, reason in verdicts]))
    return outcomes
