"""The flow by torchdiffeq, with scipy's stiff methods and its own explicit ones: the independent routes.

Two fields: :class:`~dlntorch.model.dual.DualField`, m numbers with θ in closed form, and :class:`ThetaField`, the 2n numbers
log(θ±/α). Both go through ``torchdiffeq.odeint``: the implicit methods through its ``scipy_solver``, the explicit ones as
they are. Their tolerances are relative to θ.
"""

from __future__ import annotations

import math
import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.flow.path import FlowPath
from dlntorch.model.depth_law import depth_law
from dlntorch.model.dual import DualField, DualState, point_by_torch, residual_norm_by_torch, velocity_by_torch
from dlntorch.numerics.trajectory import Status
from dlntorch.problem import Problem

__all__ = ["EXPLICIT_METHODS", "IMPLICIT_METHODS", "ThetaField", "torchdiffeq_path"]

IMPLICIT_METHODS = ("BDF", "LSODA", "Radau")
EXPLICIT_METHODS = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
#: scipy refuses smaller relative tolerances.
_SMALLEST_RTOL = 100 * torch.finfo(torch.float64).eps


def torchdiffeq_path(
    full: Problem,
    p: float,
    alpha: float,
    horizon: Tensor,
    *,
    rtol: float,
    atol: float | None,
    method: str,
    coordinates: str,
    max_evaluations: int,
    stop_norm: float | None,
) -> FlowPath:
    """The flow of a full-rank pair from θ± = α by one of torchdiffeq's or scipy's methods.

    Args:
        full: In float64, where it is to be computed.
        p: Depth.
        alpha: θ± at t = 0.
        horizon: Times, there.
        rtol: As of :func:`~dlntorch.flow.integrate.integrate_flow`, like the rest.
        atol: Likewise.
        method: Likewise.
        coordinates: Likewise.
        max_evaluations: Likewise.
        stop_norm: ‖Aψ − y‖₂ at which to stop, or None.
    """
    field: Any = DualField(full, p, alpha) if coordinates == "dual" else ThetaField(full, p, alpha)
    apart = _told_apart(horizon * field.scale)
    if apart:
        return FlowPath.failed(apart, full.n, 2, horizon.device)
    moving = coordinates == "dual" and method == "BDF"
    if atol is None:
        explicit_theta = coordinates == "theta" and method not in IMPLICIT_METHODS
        atol = rtol if moving or explicit_theta else max(rtol * _expected_slack(full, p, alpha), 1e-300)
    from dlntorch.flow.scipy_solver import Session

    scaled = horizon * field.scale
    session = Session(field, max_evaluations, stop_norm, moving, atol)
    start = torch.zeros(field.size, dtype=torch.float64, device=horizon.device)
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

    def point(self, x: np.ndarray) -> DualState:
        """θ and ‖y − Aψ‖₂ at z; not counted as an evaluation."""
        return point_by_torch(self, x)


def _expected_slack(problem: Problem, p: float, alpha: float) -> float:
    """The smallest 1 − |τ| to expect, (θ_max/α)^{2−p} with θ_max^p = max|A⁺y|: what a tolerance on σ must resolve."""
    if not depth_law(p).has_pole:
        return 1.0
    nearest = torch.linalg.lstsq(problem.A.cpu(), problem.y.cpu()[:, None], driver="gelsd").solution
    size = max(float(nearest.abs().max()) ** (1 / p), alpha)
    return (p - 2) * (size / alpha) ** (2 - p)


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
    theta = torch.stack([torch.stack(list(pair)) for pair in thetas]) if thetas else horizon.new_zeros((0, 2, n))
    return FlowPath(
        t=t,
        theta=theta,
        psi=theta[:, 0] ** p - theta[:, 1] ** p,
        status=session.status,
        reason=session.reason,
        evaluations=session.field.evaluations,
    )
