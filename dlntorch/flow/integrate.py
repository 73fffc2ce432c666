"""The continuous gradient flow θ̇ = −∇L(θ), integrated with torchdiffeq (arXiv 2307.07410, equation (2.2)).

Two independent routes lead to the same ψ(t):

* ``coordinates="dual"``: ṡ = y − Aψ(Aᵀs), m numbers, with θ in closed form (:mod:`dlntorch.model.dual`). It is stiff,
  and close to the pole it wants relative tolerances on θ, not on s: the default method is scipy's BDF in coordinates
  that move with the solution (:class:`~dlntorch.model.dual.DualField`), with the exact Jacobian.
* ``coordinates="theta"``: the 2n numbers log(θ±/α), with d log θ±/dt = ±p θ±^{p−2} Aᵀ(y − Aψ); no closed form is used.
  In float64 they keep 1 − |τ| to an absolute 1e-13 or so, and where W_p lies on a face ψ keeps that error: relative to ‖ψ‖
  it is some 1e-13 (θ/α)^{p−2} (2e-7 on the paper's line at p = 4, α = 1e-3, where the dual route errs by 5e-10).

Both go through ``torchdiffeq.odeint``: the implicit methods through its ``scipy_solver``, the explicit ones as they are.
"""

from __future__ import annotations

import math
import sys
import warnings
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.model.dual import DualField, Point, point_by_torch, residual_norm_by_torch, velocity_by_torch
from dlntorch.numerics.threads import with_few_threads
from dlntorch.numerics.trajectory import Status, Trajectory, short_repr
from dlntorch.numerics.validation import (
    InputError,
    check_alpha,
    check_choice,
    check_count,
    check_depth,
    check_device,
    check_dtype,
    check_number,
    check_times,
)
from dlntorch.problem import Problem

__all__ = ["EXPLICIT_METHODS", "IMPLICIT_METHODS", "FlowPath", "flow_path", "integrate_flow"]

IMPLICIT_METHODS = ("BDF", "LSODA", "Radau")
EXPLICIT_METHODS = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
#: Beyond this n no method that forms the Jacobian of the 2n-dimensional ODE is used.
LARGEST_THETA_JACOBIAN = 2000
#: scipy refuses smaller relative tolerances.
_SMALLEST_RTOL = 100 * torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class FlowPath:
    """θ along the flow: ``t`` (k,), ``theta_plus`` and ``theta_minus`` (k, n), and how the integration ended."""

    t: Tensor
    theta_plus: Tensor
    theta_minus: Tensor
    status: Status
    reason: str
    evaluations: int

    __repr__ = short_repr


@with_few_threads
def integrate_flow(
    problem: Problem,
    p: float,
    alpha: float,
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
    """The gradient flow from θ₊ = θ₋ = α at given times, as a trajectory ψ(t).

    Args:
        problem: The data. Of a rank-deficient A the equivalent full-rank pair is integrated: the flow is the same.
        p: Depth, any real number >= 2.
        alpha: Initialization, > 0.
        t: Times in the unit of θ̇ = −∇L(θ): finite, >= 0, strictly increasing. The interesting ones are of the order
            of α^{2−p} (p = 2: of log 1/α).
        rtol: Tolerance of one step, relative to θ. The result is typically within a hundred times this, relative to ‖ψ‖_∞.
        atol: Absolute tolerance in the integrated variable (τ-like numbers, or log θ); None derives it from ``rtol``.
        method: BDF, LSODA or Radau (stiff), or torchdiffeq's dopri5, dopri8, bosh3, fehlberg2 or adaptive_heun
            (explicit: only for short horizons). None means BDF, and with theta coordinates LSODA.
        coordinates: "dual" (m numbers) or "theta" (2n numbers, an independent route for checks).
        max_evaluations: Budget of evaluations of the right-hand side.
        stop_residual: Stop where ‖Aψ − y‖₂ = stop_residual · ‖y‖₂; the path is cut there and that point appended.
        device: Where to compute; None keeps the problem's.
        dtype: Precision of the result; the integration is in float64.

    Returns:
        The trajectory. Its status is ``converged`` if ``stop_residual`` was reached, ``max_time`` if the last time was,
        ``max_steps`` if the budget ended before, ``failed`` if the solver gave up (``reason`` says where); in the last
        two cases the times not reached are left out.

    Raises:
        InputError: An argument out of range or unknown; theta coordinates with an implicit method for n > 2000.
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
    psi = path.theta_plus**p - path.theta_minus**p
    exact = problem.to(device=psi.device, dtype=torch.float64)
    return Trajectory(
        t=path.t.to(kind),
        psi=psi.to(kind),
        loss=exact.loss(psi).to(kind),
        status=path.status,
        reason=path.reason,
        evaluations=path.evaluations,
    )


def flow_path(
    problem: Problem,
    p: float,
    alpha: float,
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
    p, alpha = check_depth(p), check_alpha(alpha)
    times = check_times(t)
    rtol = check_number("rtol", rtol, above=0, at_most=0.1)
    atol = None if atol is None else check_number("atol", atol, above=0)
    check_choice("coordinates", coordinates, ("dual", "theta"))
    max_evaluations = check_count("max_evaluations", max_evaluations)
    if stop_residual is not None:
        stop_residual = check_number("stop_residual", stop_residual, above=0)
    method = _chosen_method(method, coordinates, problem.n)
    place = problem.device if device is None else check_device(device)
    full = problem.reduced().to(device=place, dtype=torch.float64)
    horizon = torch.as_tensor(times, dtype=torch.float64, device=place)
    nothing = horizon.new_zeros((0, problem.n))
    impossible = _out_of_range(p, alpha)
    if impossible:
        return FlowPath(horizon[:0], nothing, nothing.clone(), Status.FAILED, impossible, 0)
    field: Any = DualField(full, p, alpha) if coordinates == "dual" else ThetaField(full, p, alpha)
    apart = _told_apart(horizon * field.scale)
    if apart:
        return FlowPath(horizon[:0], nothing, nothing.clone(), Status.FAILED, apart, 0)
    stop_norm = None if stop_residual is None else stop_residual * float(torch.linalg.vector_norm(full.y))
    moving = coordinates == "dual" and method == "BDF"
    if atol is None:
        explicit_theta = coordinates == "theta" and method not in IMPLICIT_METHODS
        atol = rtol if moving or explicit_theta else max(rtol * _expected_slack(full, p, alpha), 1e-300)
    from dlntorch.flow.scipy_solver import Session

    scaled = horizon * field.scale
    session = Session(field, max_evaluations, stop_norm, moving, atol)
    start = torch.zeros(field.size, dtype=torch.float64, device=place)
    _start(session, start, int((scaled == 0).sum()))
    if session.status is None and scaled[-1] > 0:
        grid = torch.cat([torch.zeros_like(scaled[:1]), scaled[scaled > 0]])
        run = _run_implicit if method in IMPLICIT_METHODS else _run_explicit
        run(session, method, start, grid, rtol, atol)
    return _collect(session, horizon, p)


class ThetaField:
    """The flow of z = log(θ±/α), 2n numbers: dz±/dT = ±e^{(p−2)z±} Aᵀ(y − Aψ) with T = p α^{p−2} t."""

    def __init__(self, problem: Problem, p: float, alpha: float) -> None:
        self.p, self.alpha = p, alpha
        self.A, self.y = problem.A, problem.y
        self.size = 2 * problem.n
        self.scale = p * alpha ** (p - 2)
        self.evaluations = 0
        self.largest = 230.0 / p - math.log(alpha)  # θ^p = 1e100

    def inside(self, x: Tensor) -> bool:
        """Whether θ is where :meth:`theta` does not cut it off."""
        return bool((x < self.largest).all())

    def theta(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(θ₊, θ₋) at z; in a solver's wild trial points θ^p is kept at 1e100, so that the step is rejected."""
        plus, minus = (self.alpha * torch.exp(x.clamp_max(self.largest))).chunk(2)
        return plus, minus

    def residual(self, x: Tensor) -> Tensor:
        """y − Aψ, shape (m,)."""
        plus, minus = self.theta(x)
        return self.y - self.A @ (plus**self.p - minus**self.p)

    def __call__(self, _: Tensor, x: Tensor) -> Tensor:
        """dz/dT, shape (2n,)."""
        self.evaluations += 1
        g = self.A.mT @ self.residual(x)
        growth = torch.exp((self.p - 2) * x.clamp_max(self.largest))
        return growth * torch.cat([g, -g])

    def velocity(self, x: np.ndarray) -> np.ndarray:
        """dz/dT for a field on the CPU."""
        return velocity_by_torch(self, x)

    def residual_norm(self, x: np.ndarray) -> float:
        """‖y − Aψ‖₂ at z; counts as an evaluation."""
        return residual_norm_by_torch(self, x)

    def point(self, x: np.ndarray) -> Point:
        """θ and ‖y − Aψ‖₂ at z; not counted as an evaluation."""
        return point_by_torch(self, x)


def _chosen_method(method: str | None, coordinates: str, n: int) -> str:
    """The method asked for, or the default; never one that forms a Jacobian of more than 2·2000 parameters."""
    large = coordinates == "theta" and n > LARGEST_THETA_JACOBIAN
    if method is None:
        return "BDF" if coordinates == "dual" else "dopri5" if large else "LSODA"
    check_choice("method", method, IMPLICIT_METHODS + EXPLICIT_METHODS)
    if large and method in IMPLICIT_METHODS:
        raise InputError(
            f"method must be explicit with coordinates=theta and n > {LARGEST_THETA_JACOBIAN}, since {method} would form "
            f"the Jacobian of 2n parameters, got n={n}"
        )
    return method


def _expected_slack(problem: Problem, p: float, alpha: float) -> float:
    """The smallest 1 − |τ| to expect, (θ_max/α)^{2−p} with θ_max^p = max|A⁺y|: what a tolerance on σ must resolve."""
    if p == 2:
        return 1.0
    nearest = torch.linalg.lstsq(problem.A.cpu(), problem.y.cpu()[:, None], driver="gelsd").solution
    size = max(float(nearest.abs().max()) ** (1 / p), alpha)
    return (p - 2) * (size / alpha) ** (2 - p)


def _out_of_range(p: float, alpha: float) -> str:
    """Why the flow cannot be integrated: a number that it needs is 0 or infinite in float64; empty where none is."""
    log_alpha, top = math.log(alpha), math.log(sys.float_info.max)
    if p * log_alpha >= top:
        return f"alpha^p = 10^{p * log_alpha / math.log(10):.6g} is out of the range of float64"
    log_scale = 0.0 if p == 2 else (p - 2) * log_alpha + math.log(p) + math.log(p - 2)
    if not math.log(sys.float_info.min) < log_scale < top:
        return f"p(p-2)alpha^(p-2) = 10^{log_scale / math.log(10):.6g} is out of the range of float64"
    return ""


def _told_apart(scaled: Tensor) -> str:
    """Why the rescaled times cannot be integrated over: they left float64, or two of them have become one."""
    moving = scaled[scaled > 0]
    if not bool(torch.isfinite(scaled).all()) or bool((moving.diff() <= 0).any()):
        return "times in the flow's own unit cannot be told apart in float64, or leave its range"
    return ""


def _start(session: Any, state: Tensor, count: int) -> None:
    """The point t = 0: recorded for the ``count`` outputs there, and the end if the residual is small enough there."""
    x = state.cpu().numpy()
    if session.reached(x):
        session.stop_at(0.0, x)
        return
    for _ in range(count):  # several where rescaled times underflow
        session.record(0.0, x)


def _run_implicit(session: Any, method: str, start: Tensor, grid: Tensor, rtol: float, atol: float) -> None:
    """One call of torchdiffeq's scipy solver; the session records the outputs."""
    from torchdiffeq import odeint

    from dlntorch.flow.lsoda import leaping
    from dlntorch.flow.scipy_solver import hooked

    solver = leaping(session, grid.cpu().numpy()) if method == "LSODA" else hooked(method, session)
    if not session.moving:
        rtol = _SMALLEST_RTOL  # the absolute tolerance rules
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LSODA also reports by warnings what its status says
        try:
            odeint(
                session.field,
                start,
                grid,
                rtol=max(rtol, _SMALLEST_RTOL),
                atol=max(atol, 1e-15),
                method="scipy_solver",
                options={"solver": solver},
            )
        except (ValueError, ArithmeticError) as error:  # scipy's checks for finite matrices
            session.status = Status.FAILED
            session.reason = f"{method} left the range of float64: {' '.join(str(error).split())}"


def _run_explicit(session: Any, method: str, start: Tensor, grid: Tensor, rtol: float, atol: float) -> None:
    """One call of torchdiffeq for every output time, so that what was reached before a failure is kept."""
    from torchdiffeq import odeint

    field = session.field

    def counted(time: Tensor, x: Tensor) -> Tensor:
        if session.spent():
            raise _BudgetError
        return field(time, x)

    def gap(_: Tensor, x: Tensor) -> Tensor:
        field.evaluations += 1
        return torch.linalg.vector_norm(field.residual(x)) - session.stop_norm

    state = start
    options: dict[str, Any] = {"rtol": rtol, "atol": atol, "method": method}
    for begin, end in pairwise(grid):
        interval = torch.stack([begin, end])
        try:
            on_time = {"step_t": end[None]}  # a step ends there: interpolation would have a lower order
            after: Tensor = odeint(counted, state, interval, options=on_time, **options)[-1]  # type: ignore[assignment]
            if session.reached(after.cpu().numpy()):
                time, states = odeint(counted, state, interval, event_fn=gap, **options)  # type: ignore[misc]
                last: Tensor = states[-1]
                session.stop_at(float(time), last.cpu().numpy())
                return
        except _BudgetError:
            return
        except AssertionError as error:  # torchdiffeq's way to report a step that underflows
            session.status = Status.FAILED
            session.reason = f"{method} stopped before t = {float(end) / field.scale:.6g}: {str(error).splitlines()[0]}"
            return
        state = after
        session.record(float(end), state.cpu().numpy())
        if session.status is not None:
            return


class _BudgetError(Exception):
    """The budget of evaluations is used up inside a solver that has no other way to stop."""


def _collect(session: Any, horizon: Tensor, p: float) -> FlowPath:
    """The recorded points as a path; output times are the user's own numbers, not rescaled ones."""
    count = len(session.times)
    t, thetas = horizon[:count], session.thetas
    if session.status is None:
        session.status = Status.MAX_TIME
    if session.status is Status.CONVERGED:
        time, *last = session.stop
        end = horizon.new_tensor([time / session.field.scale])
        t = torch.cat([t[t < end], end])  # in the user's unit an output just before may have been rounded to the same
        thetas = [*thetas[: len(t) - 1], last]
    if session.status is Status.MAX_STEPS:
        session.reason += f" at the {count}th of {len(horizon)} times"
    n = session.field.A.shape[1]
    plus, minus = zip(*thetas, strict=True) if thetas else ((), ())
    empty = horizon.new_zeros((0, n))
    return FlowPath(
        t=t,
        theta_plus=torch.stack(plus) if thetas else empty,
        theta_minus=torch.stack(minus) if thetas else empty.clone(),
        status=session.status,
        reason=session.reason,
        evaluations=session.field.evaluations,
    )
