"""The flows of many networks in one compiled call: starts, data, or both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from dlntorch.flow.integrate import trajectory_of
from dlntorch.flow.own import Limits, own_paths, start_of
from dlntorch.model import Initialization, as_parametrization
from dlntorch.numerics.threads import numeric_threads
from dlntorch.numerics.trajectory import Trajectory
from dlntorch.numerics.validation import InputError, check_count, check_number, check_times
from dlntorch.problem import Problem

__all__ = ["integrate_flows"]


def integrate_flows(
    problems: Problem | Sequence[Problem],
    p: Any,
    alphas: Any,
    t: Any,
    *,
    rtol: float = 1e-11,
    max_evaluations: int = 1_000_000,
    stop_residual: float | None = None,
) -> list[Trajectory]:
    """The gradient flows of N networks at the same times, as :func:`~dlntorch.flow.integrate.integrate_flow` each.

    Those of depth p, of ψ = θ^p and of two layers go through one compiled call.

    Args:
        problems: One for all, or one a network.
        p: Depth or parametrization of all.
        alphas: A start for all (a number or an :class:`~dlntorch.model.Initialization`), or a sequence of them, one a network.
        t: Times, as for one network.
        rtol: Likewise.
        max_evaluations: Likewise, of each network.
        stop_residual: Likewise.

    Returns:
        N trajectories, in float64, on the CPU.

    Raises:
        InputError: As for one network; or problems and alphas are of different numbers.

    Example:
        >>> problem = Problem([[1.0, 0.5]], [1.0])
        >>> [round(float(path.final()[0]), 3) for path in integrate_flows(problem, 2, [1e-1, 1e-2], [10.0])]
        [0.943, 0.994]
    """
    several = not isinstance(problems, Problem)
    pairs: list[Problem] = list(problems) if several else [problems]  # type: ignore[list-item, arg-type]
    one_start = isinstance(alphas, Initialization | float | int)
    starts = [alphas] if one_start else list(alphas)
    count = len(pairs) if several else len(starts)
    if not pairs or not starts or (several and not one_start and len(starts) != len(pairs)):
        raise InputError(
            f"alphas must be one start, or one for each problem, got {len(starts)} for {len(pairs)} problems"
        )
    parametrization = as_parametrization(p)
    times = check_times(t)
    limits = Limits(
        check_number("rtol", rtol, above=0, at_most=0.1),
        check_count("max_evaluations", max_evaluations),
        None if stop_residual is None else check_number("stop_residual", stop_residual, above=0),
    )
    of_network = pairs if several else pairs * count
    made = [
        start_of(parametrization, starts[0 if one_start else index], pair.n) for index, pair in enumerate(of_network)
    ]
    with numeric_threads("auto", pairs[0]):
        paths = own_paths(pairs, parametrization, made, times, limits)
    return [trajectory_of(pair, path, torch.float64) for pair, path in zip(of_network, paths, strict=True)]
