"""The continuous gradient flow θ̇ = −∇L(θ) (arXiv 2307.07410, equation (2.2)).

The default, ``method="RadauIIA"``, is the package's own integrator of ṡ = y − Aψ(Aᵀs), m numbers
(:mod:`dlntorch.flow.collocation`): its tolerance is on ψ. Independent of it are the routes through torchdiffeq
(:mod:`dlntorch.flow.routes`), for the two-sided networks of depth p from θ₊ = θ₋ = α:

* ``coordinates="dual"`` with scipy's BDF, LSODA or Radau or an explicit method: the same m numbers, with tolerances on θ.
* ``coordinates="theta"``: the 2n numbers log(θ±/α), with d log θ±/dt = ±p θ±^{p−2} Aᵀ(y − Aψ); no closed form is used.
  In float64 they keep 1 − |τ| to an absolute 1e-13 or so, and where W_p lies on a face ψ keeps that error: relative to ‖ψ‖
  it is some 1e-13 (θ/α)^{p−2} (2e-7 on the paper's line at p = 4, α = 1e-3).
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.flow.cells import TwoSided, make_cell
from dlntorch.flow.collocation import Integrator
from dlntorch.flow.compiled import integrate_cells
from dlntorch.flow.path import FlowPath
from dlntorch.flow.routes import EXPLICIT_METHODS, IMPLICIT_METHODS, torchdiffeq_path
from dlntorch.model import Initialization, Parametrization, as_parametrization, check_start
from dlntorch.model.power import Nonnegative, Power
from dlntorch.numerics.threads import with_few_threads
from dlntorch.numerics.trajectory import Status, Trajectory
from dlntorch.numerics.validation import (
    InputError,
    check_alpha,
    check_choice,
    check_count,
    check_device,
    check_dtype,
    check_number,
    check_times,
)
from dlntorch.problem import Problem

__all__ = ["EXPLICIT_METHODS", "IMPLICIT_METHODS", "OWN_METHOD", "FlowPath", "flow_path", "integrate_flow"]

OWN_METHOD = "RadauIIA"
#: Beyond this n no method that forms the Jacobian of the 2n-dimensional ODE is used.
LARGEST_THETA_JACOBIAN = 2000


@with_few_threads
def integrate_flow(
    problem: Problem,
    p: Any,
    alpha: Any,
    t: Any,
    *,
    rtol: float = 1e-11,
    atol: float | None = None,
    method: str | None = None,
    coordinates: str = "dual",
    max_evaluations: int = 1_000_000,
    stop_residual: float | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
) -> Trajectory:
    """The gradient flow from its initialization at given times, as a trajectory ψ(t).

    Args:
        problem: The data. Of a rank-deficient A the equivalent full-rank pair is integrated: the flow is the same.
        p: Depth, any real number >= 2, or any :class:`~dlntorch.model.Parametrization`.
        alpha: Initialization, a number > 0 or an :class:`~dlntorch.model.Initialization`, per coordinate.
        t: Times in the unit of θ̇ = −∇L(θ): finite, >= 0, strictly increasing. The interesting ones are of the order
            of α^{2−p} (p = 2: of log 1/α).
        rtol: Tolerance of one step, relative to ‖ψ‖_∞ (of the other methods: to θ). The result is within a hundred times
            this, relative to ‖ψ(t)‖_∞, also inside a jump and where ψ ≪ α^p; where one rounding of t moves ψ by more,
            ``reason`` says so.
        atol: Absolute tolerance of the other methods in their variable (τ-like numbers, or log θ); None derives it.
        method: None means RadauIIA, of order 9 (``rtol`` > 3e-6) or 13, and LSODA with theta coordinates. Of depth p from
            a number α also BDF, LSODA, Radau (scipy's), or torchdiffeq's dopri5, dopri8, bosh3, fehlberg2, adaptive_heun
            (explicit: only for short horizons).
        coordinates: "dual" (m numbers) or "theta" (2n numbers, an independent route for checks).
        max_evaluations: Budget of evaluations of the right-hand side.
        stop_residual: Stop where ‖Aψ − y‖₂ = stop_residual · ‖y‖₂; the path is cut there and that point appended.
        device: Where the result lives, and where the other methods compute; None keeps the problem's.
        dtype: Precision of the result; the integration is in float64.

    Returns:
        The trajectory. Its status is ``converged`` if ``stop_residual`` was reached, ``max_time`` if the last time was,
        ``max_steps`` if the budget ended before, ``failed`` if the solver gave up (``reason`` says where); in the last
        two cases the times not reached are left out.

    Raises:
        InputError: An argument out of range or unknown; theta coordinates with an implicit method for n > 2000; another
            method for another parametrization or start.

    Example:
        >>> problem = Problem([[1.0, 0.5]], [1.0])
        >>> path = integrate_flow(problem, 3, 1e-2, [10.0, 100.0])
        >>> path.status, path.psi.shape
        (<Status.MAX_TIME: 'max_time'>, torch.Size([2, 2]))
    """
    kind = check_dtype(dtype if dtype is not None else problem.dtype)
    path = flow_path(
        problem,
        p,
        alpha,
        t,
        rtol=rtol,
        atol=atol,
        method=method,
        coordinates=coordinates,
        max_evaluations=max_evaluations,
        stop_residual=stop_residual,
        device=device,
    )
    exact = problem.to(device=path.psi.device, dtype=torch.float64)
    return Trajectory(
        t=path.t.to(kind),
        psi=path.psi.to(kind),
        loss=exact.loss(path.psi).to(kind),
        status=path.status,
        reason=path.reason,
        evaluations=path.evaluations,
    )


def flow_path(
    problem: Problem,
    p: Any,
    alpha: Any,
    t: Any,
    *,
    rtol: float = 1e-11,
    atol: float | None = None,
    method: str | None = None,
    coordinates: str = "dual",
    max_evaluations: int = 1_000_000,
    stop_residual: float | None = None,
    device: torch.device | str | None = None,
) -> FlowPath:
    """The flow as θ(t), in float64; the arguments of :func:`integrate_flow`."""
    parametrization = as_parametrization(p)
    start = _start_of(parametrization, alpha, problem.n)
    times = check_times(t)
    rtol = check_number("rtol", rtol, above=0, at_most=0.1)
    atol = None if atol is None else check_number("atol", atol, above=0)
    check_choice("coordinates", coordinates, ("dual", "theta"))
    max_evaluations = check_count("max_evaluations", max_evaluations)
    if stop_residual is not None:
        stop_residual = check_number("stop_residual", stop_residual, above=0)
    method = _chosen_method(method, coordinates, problem.n)
    place = problem.device if device is None else check_device(device)
    own = method == OWN_METHOD
    single = None if own else _depth_and_scale(parametrization, start, method, coordinates)
    full = problem.reduced().to(device="cpu" if own else place, dtype=torch.float64)
    impossible = _out_of_range(parametrization, start)
    if impossible:
        return FlowPath.failed(impossible, problem.n, parametrization.width, place)
    stop_norm = None if stop_residual is None else stop_residual * float(torch.linalg.vector_norm(full.y))
    if single is None:
        path = _own_path(full, parametrization, start, times, rtol, max_evaluations, stop_norm)
        return path.to(place)
    return torchdiffeq_path(
        full,
        *single,
        torch.as_tensor(times, dtype=torch.float64, device=place),
        rtol=rtol,
        atol=atol,
        method=method,
        coordinates=coordinates,
        max_evaluations=max_evaluations,
        stop_norm=stop_norm,
    )


def _start_of(parametrization: Parametrization, alpha: Any, n: int) -> Tensor:
    """θ(0), shape (width, n)."""
    if isinstance(alpha, Initialization):
        return check_start(parametrization, parametrization.start_from(alpha, n), n)
    return check_start(parametrization, parametrization.start(check_alpha(alpha), n), n)


def _own_path(
    full: Problem,
    parametrization: Parametrization,
    start: Tensor,
    times: np.ndarray,
    rtol: float,
    max_evaluations: int,
    stop_norm: float | None,
) -> FlowPath:
    """The flow by the package's own integrator, on the CPU."""
    A, y = full.A.numpy(), full.y.numpy()
    cell = make_cell(parametrization, start)
    left = full.y - full.A @ torch.from_numpy(cell.psi)
    nearest = torch.linalg.lstsq(full.A, left[:, None], driver="gelsd").solution[:, 0].numpy() + cell.psi
    size = float(np.abs(nearest).max(initial=0.0))
    if isinstance(cell, TwoSided):
        (path,) = integrate_cells(
            A[None], y[None], [cell], times[None], np.array([size]), rtol=rtol, max_evaluations=max_evaluations,
            stop_norms=None if stop_norm is None else np.array([stop_norm]),
        )  # fmt: skip
    else:
        path = Integrator(A, y, cell, rtol, size, max_evaluations=max_evaluations, stop_norm=stop_norm).integrate(times)
    if path.status is Status.MAX_STEPS:
        path.reason += f" at the {path.count}th of {times.size} times"
    if path.count == 0:
        return replace(
            FlowPath.failed(path.reason, start.shape[1], start.shape[0], full.y.device),
            status=path.status,
            evaluations=path.evaluations,
        )
    return FlowPath(
        t=torch.from_numpy(np.concatenate(path.times)),
        theta=torch.from_numpy(np.concatenate(path.theta)),
        psi=torch.from_numpy(np.concatenate(path.psi)),
        status=path.status,
        reason=path.reason,
        evaluations=path.evaluations,
    )


def _depth_and_scale(
    parametrization: Parametrization, start: Tensor, method: str, coordinates: str
) -> tuple[float, float]:
    """p and α of the networks that the other methods integrate."""
    alpha = float(start.reshape(-1)[0])
    if parametrization.depth is None or not bool((start == alpha).all()):
        raise InputError(
            f"method must be {OWN_METHOD}, with coordinates=dual, unless p is a number and all theta start equal, "
            f"got method={method} and coordinates={coordinates} with {parametrization.name}"
        )
    return parametrization.depth, alpha


def _chosen_method(method: str | None, coordinates: str, n: int) -> str:
    """The method asked for, or the default; never one that forms a Jacobian of more than 2·2000 parameters."""
    large = coordinates == "theta" and n > LARGEST_THETA_JACOBIAN
    if method is None:
        return OWN_METHOD if coordinates == "dual" else "dopri5" if large else "LSODA"
    check_choice("method", method, (*IMPLICIT_METHODS, *EXPLICIT_METHODS, OWN_METHOD))
    if method == OWN_METHOD and coordinates != "dual":
        raise InputError(f"method must be another with coordinates={coordinates}, since {OWN_METHOD} is for dual ones")
    if large and method in IMPLICIT_METHODS:
        raise InputError(
            f"method must be explicit with coordinates=theta and n > {LARGEST_THETA_JACOBIAN}, since {method} would form "
            f"the Jacobian of 2n parameters, got n={n}"
        )
    return method


def _out_of_range(parametrization: Parametrization, start: Tensor) -> str:
    """Why the flow cannot be integrated: a number that it needs is 0 or infinite in float64; empty where none is."""
    if not isinstance(parametrization, Power | Nonnegative):
        slope = parametrization.slope(start)
        finite = torch.isfinite(slope * slope).all() and torch.isfinite(parametrization.value(start)).all()
        return "" if bool(finite) else "psi or its slope at the start is out of the range of float64"
    p, top = parametrization.p, math.log(sys.float_info.max)
    for alpha in (float(start.min()), float(start.max())):
        log_alpha = math.log(alpha)
        if p * log_alpha >= top:
            return f"alpha^p = 10^{p * log_alpha / math.log(10):.6g} is out of the range of float64"
        log_scale = 0.0 if p == 2 else (p - 2) * log_alpha + math.log(p) + math.log(p - 2)
        if not math.log(sys.float_info.min) < log_scale < top:
            return f"p(p-2)alpha^(p-2) = 10^{log_scale / math.log(10):.6g} is out of the range of float64"
    return ""
