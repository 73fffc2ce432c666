"""The package's own integrator behind one door: problems, parametrizations and starts in, paths out.

Networks of depth p and its kin go through the compiled loop, all of one shape in one call (:mod:`.compiled`); other
parametrizations one by one through :mod:`.collocation`.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.flow.cells import TwoSided, make_cell
from dlntorch.flow.collocation import FlowBlocks, Integrator
from dlntorch.flow.compiled import integrate_cells
from dlntorch.flow.krylov_stages import Map
from dlntorch.flow.path import FlowPath
from dlntorch.model import Initialization, Parametrization, check_start
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import check_alpha
from dlntorch.problem import Problem

__all__ = ["Limits", "out_of_range", "own_paths", "start_of"]


@dataclass(frozen=True)
class Limits:
    """What an integration may be wrong by and may cost: as in :func:`~dlntorch.flow.integrate.integrate_flow`."""

    rtol: float = 1e-11
    max_evaluations: int = 1_000_000
    stop_residual: float | None = None


def own_paths(
    problems: Sequence[Problem],
    parametrization: Parametrization,
    starts: Sequence[Tensor],
    times: np.ndarray,
    limits: Limits,
) -> list[FlowPath]:
    """The flows of N networks, on the CPU.

    Args:
        problems: One for all, or one a network.
        parametrization: Of all of them.
        starts: θ(0), shape (width, n) each.
        times: Increasing, >= 0, (k,) for all or (N, k).
        limits: Tolerance, budget, stop.
    """
    full = [(pair.reduced() if pair.dense else pair).to(device="cpu", dtype=torch.float64) for pair in problems]
    found: list[FlowPath | None] = [None] * len(starts)
    groups: dict[tuple[int, int, bool], list[int]] = defaultdict(list)
    for index, start in enumerate(starts):
        pair = full[min(index, len(full) - 1)]
        impossible = out_of_range(parametrization, start)
        if impossible:
            found[index] = FlowPath.failed(impossible, pair.n, parametrization.width, pair.y.device)
        else:
            groups[pair.m, pair.n, pair.dense].append(index)
    for indices in groups.values():
        pairs = [full[0]] if len(full) == 1 else [full[index] for index in indices]
        chosen = times[None] if times.ndim == 1 else times[indices]
        paths = _integrated(pairs, parametrization, [starts[index] for index in indices], chosen, limits)
        for row, (index, path) in enumerate(zip(indices, paths, strict=True)):
            found[index] = _flow_path(path, starts[index], chosen[min(row, len(chosen) - 1)].size)
    return [path for path in found if path is not None]


def _integrated(
    pairs: Sequence[Problem],
    parametrization: Parametrization,
    starts: Sequence[Tensor],
    times: np.ndarray,
    limits: Limits,
) -> list[FlowBlocks]:
    """The flows of pairs of one shape and full rank; of one pair, or of one a network."""
    cells = [make_cell(parametrization, start) for start in starts]
    of_cell = [pairs[min(index, len(pairs) - 1)] for index in range(len(cells))]
    at_rest = [_expected_size(pair, np.zeros(pair.n)) for pair in pairs]
    sizes = np.array([
        _expected_size(of_cell[index], cell.psi) if cell.psi.any() else at_rest[min(index, len(pairs) - 1)]
        for index, cell in enumerate(cells)
    ])  # fmt: skip
    stops = None
    if limits.stop_residual is not None:
        stops = np.array([limits.stop_residual * float(torch.linalg.vector_norm(pair.y)) for pair in of_cell])
    two_sided: list[Any] = [cell for cell in cells if isinstance(cell, TwoSided)]
    if len(two_sided) == len(cells) and pairs[0].dense:
        return integrate_cells(
            np.stack([pair.A.numpy() for pair in pairs]), np.stack([pair.y.numpy() for pair in pairs]), two_sided,
            times, sizes, rtol=limits.rtol, max_evaluations=limits.max_evaluations, stop_norms=stops,
        )  # fmt: skip
    return [
        Integrator(
            pair.A.numpy() if pair.dense else Map(pair.operator), pair.y.numpy(), cell, limits.rtol, float(sizes[index]),
            max_evaluations=limits.max_evaluations, stop_norm=None if stops is None else float(stops[index]),
        ).integrate(times[min(index, len(times) - 1)])
        for index, (pair, cell) in enumerate(zip(of_cell, cells, strict=True))
    ]  # fmt: skip


def _expected_size(pair: Problem, psi: np.ndarray) -> float:
    """‖ψ‖_∞ of the nearest solution; without a matrix, of the first step of steepest descent towards one."""
    if not pair.dense:
        left = pair.y - pair.operator.apply(torch.from_numpy(psi))
        nearest = pair.operator.adjoint(left) / pair.operator.spectral_norm**2 + torch.from_numpy(psi)
        return float(nearest.abs().max())
    left = pair.y - pair.A @ torch.from_numpy(psi)
    nearest = torch.linalg.lstsq(pair.A, left[:, None], driver="gelsd").solution[:, 0].numpy() + psi
    return float(np.abs(nearest).max(initial=0.0))


def _flow_path(path: FlowBlocks, start: Tensor, asked: int) -> FlowPath:
    """The path in tensors."""
    if path.status is Status.MAX_STEPS:
        path.reason += f" at the {path.count}th of {asked} times"
    if path.count == 0:
        failed = FlowPath.failed(path.reason, start.shape[1], start.shape[0], torch.device("cpu"))
        return replace(failed, status=path.status, evaluations=path.evaluations)
    return FlowPath(
        t=torch.from_numpy(np.concatenate(path.times)),
        theta=torch.from_numpy(np.concatenate(path.theta)),
        psi=torch.from_numpy(np.concatenate(path.psi)),
        status=path.status,
        reason=path.reason,
        evaluations=path.evaluations,
    )


def start_of(parametrization: Parametrization, alpha: Any, n: int) -> Tensor:
    """θ(0), shape (width, n)."""
    if isinstance(alpha, Initialization):
        return check_start(parametrization, parametrization.start_from(alpha, n), n)
    return check_start(parametrization, parametrization.start(check_alpha(alpha), n), n)


def out_of_range(parametrization: Parametrization, start: Tensor) -> str:
    """Why the flow cannot be integrated: a number that it needs is 0 or infinite in float64; empty where none is."""
    p, law = parametrization.p, parametrization.small_start
    if p is None or law is None:
        slope = parametrization.slope(start)
        finite = torch.isfinite(slope * slope).all() and torch.isfinite(parametrization.value(start)).all()
        return "" if bool(finite) else "psi or its slope at the start is out of the range of float64"
    top = math.log(sys.float_info.max)
    for alpha in (float(start.min()), float(start.max())):
        log_alpha = math.log(alpha)
        if p * log_alpha >= top:
            return f"alpha^p = 10^{p * log_alpha / math.log(10):.6g} is out of the range of float64"
        log_scale = (p - 2) * log_alpha + math.log(p) + math.log(p - 2) if law.has_pole else 0.0
        if not math.log(sys.float_info.min) < log_scale < top:
            return f"p(p-2)alpha^(p-2) = 10^{log_scale / math.log(10):.6g} is out of the range of float64"
    return ""
