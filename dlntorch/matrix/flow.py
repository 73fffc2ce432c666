"""The gradient flow of the layers, U̇_j = −∂L/∂U_j, by torchdiffeq; and where it ends, by following it far enough."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchdiffeq import odeint

from dlntorch.matrix.groups import GroupNetwork, network_parts
from dlntorch.matrix.network import MatrixFactorization
from dlntorch.matrix.problem import MatrixProblem
from dlntorch.matrix.training import KEEP_ENTRIES, MatrixTrajectory, check_factorization, effective_rank
from dlntorch.numerics.threads import numeric_threads
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.numerics.validation import InputError, check_choice, check_count, check_number, check_times
from dlntorch.problem import Problem

__all__ = ["MatrixLimit", "group_limit", "integrate_matrix_flow", "matrix_limit"]

#: torchdiffeq's explicit methods, and scipy's implicit ones through torchdiffeq.
EXPLICIT, IMPLICIT = ("dopri8", "dopri5"), ("LSODA", "BDF", "Radau")
#: Largest number of parameters for which an implicit method may form its Jacobian.
LARGEST_IMPLICIT = 3000


class _Spent(Exception):
    """The budget of evaluations is used up."""


@dataclass(frozen=True, repr=False)
class MatrixLimit:
    """X(∞).

    Attributes:
        X: Shape (d1, d2): the flow's point at ``t``.
        layers: U_1 … U_N there.
        residual: ‖𝒜X − y‖₂/‖y‖₂.
        change: ‖X(t) − X(t/2)‖_F/‖X(t)‖_F: how far it still was from standing still.
        t: How long the flow was followed.
        status: ``converged`` where residual and change are below the tolerance; else ``max_time`` or ``max_steps``.
        reason: One line where the status alone does not tell.
    """

    X: Tensor
    layers: tuple[Tensor, ...]
    residual: float
    change: float
    t: float
    status: Status
    reason: str

    __repr__ = short_repr


class _Flow:
    """The right-hand side on one vector of all layers."""

    def __init__(self, data: Any, kind: Any, layers: Sequence[Tensor], budget: int) -> None:
        self.data, self.kind, self.budget = data, kind, budget
        self.start = torch.cat([u.detach().reshape(-1) for u in layers])
        self.shapes = [tuple(u.shape) for u in layers]
        self.sizes = [u.numel() for u in layers]
        self.evaluations = 0

    def layers(self, theta: Tensor) -> list[Tensor]:
        parts = torch.split(theta, self.sizes)
        return [part.reshape(1, *shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def X(self, theta: Tensor) -> Tensor:
        return self.kind.value(self.layers(theta))[0]

    def __call__(self, t: Tensor, theta: Tensor) -> Tensor:
        self.evaluations += 1
        if self.evaluations > self.budget:
            raise _Spent
        layers = self.layers(theta)
        G = self.data.adjoint(self.data.residual(self.kind.value(layers)))
        return torch.cat([g.reshape(-1) for g in self.kind.gradient(layers, G)])

    def solve(self, theta: Tensor, times: np.ndarray, method: str, rtol: float, atol: float) -> Tensor:
        """θ at the times after the first, shape (k, P); the first is where ``theta`` is."""
        grid = torch.from_numpy(np.ascontiguousarray(times)).to(theta.device)
        if method in IMPLICIT:
            chosen: dict[str, Any] = {"method": "scipy_solver", "options": {"solver": method}}
        else:
            chosen = {
                "method": method,
                "options": {"step_t": grid},
            }  # end on the times: its interpolation is of low order
        found = odeint(self, theta, grid, rtol=rtol, atol=atol, **chosen)
        assert isinstance(found, Tensor)  # a tensor goes in
        return found[1:]


def integrate_matrix_flow(
    problem: MatrixProblem,
    network: MatrixFactorization,
    t: Any,
    *,
    rtol: float = 1e-10,
    method: str = "dopri8",
    max_evaluations: int = 1_000_000,
) -> MatrixTrajectory:
    """The gradient flow from the network's layers at given times; the network is left as it is.

    Args:
        problem: The measurements.
        network: One network (no batch).
        t: Times, finite, >= 0, strictly increasing.
        rtol: Relative tolerance of a step, on each entry of the layers; the absolute one is this times the smallest
            nonzero size of a layer at the start.
        method: ``dopri8``, ``dopri5`` (torchdiffeq), ``LSODA``, ``BDF``, ``Radau`` (scipy's, which form a Jacobian).
        max_evaluations: Budget of evaluations of the right-hand side.

    Returns:
        X at the times: status ``max_time`` where the last was reached; ``max_steps`` where the budget ended before,
        ``failed`` where the integrator gave up, and the times not reached are left out.

    Raises:
        InputError: naming the argument.

    Example:
        >>> problem = MatrixProblem([[[1.0, 0.0], [0.0, 0.5]]], [1.0])
        >>> path = integrate_matrix_flow(problem, MatrixFactorization((2, 2), 2, 0.1, kind="psd"), [1.0, 10.0])
        >>> path.status, path.X.shape
        (<Status.MAX_TIME: 'max_time'>, torch.Size([2, 2, 2]))
    """
    flow = _checked(problem, network, method, max_evaluations)
    times = check_times(t)
    rtol = check_number("rtol", rtol, at_least=1e-14, below=1)
    thetas, status, reason = _follow(flow, times, method, rtol)
    with torch.no_grad():
        X = torch.stack([flow.X(theta) for theta in thetas]) if thetas else flow.start.new_zeros(0, *problem.shape)
        values = torch.linalg.svdvals(X)
    return MatrixTrajectory(
        t=torch.from_numpy(times[: len(thetas)]),
        step=None,
        loss=problem.loss(X),
        singular_values=values,
        effective_rank=effective_rank(values),
        X=X if X.numel() <= KEEP_ENTRIES * max(len(times), 1) else None,
        status=status,
        reason=reason,
    )


def _follow(flow: _Flow, times: np.ndarray, method: str, rtol: float) -> tuple[list[Tensor], Status, str]:
    """θ at the times that were reached."""
    theta, now, found = flow.start, 0.0, []
    atol = rtol * _smallest(flow)
    with torch.no_grad(), numeric_threads(1):
        for time in times:
            if time > now:
                try:
                    theta = flow.solve(theta, np.array([now, time]), method, rtol, atol)[-1]
                except _Spent:
                    return found, Status.MAX_STEPS, f"{flow.budget} evaluations ended after t = {now:.6g}"
                except (AssertionError, RuntimeError) as error:  # torchdiffeq asserts that its step does not underflow
                    return found, Status.FAILED, f"{method} gave up after t = {now:.6g}: {' '.join(str(error).split())}"
                if not bool(torch.isfinite(theta).all()):
                    return found, Status.FAILED, f"{method} left the numbers after t = {now:.6g}"
            found.append(theta)
            now = float(time)
    return found, Status.MAX_TIME, ""


def matrix_limit(
    problem: MatrixProblem,
    network: MatrixFactorization,
    *,
    tol: float = 1e-10,
    max_time: float = 1e12,
    rtol: float = 1e-10,
    method: str = "LSODA",
    max_evaluations: int = 2_000_000,
) -> MatrixLimit:
    """X(∞) by following the flow over doubling times until it fits the data and stands still; no closed form is used.

    Where the measurements commute, :func:`dlntorch.flow_limit` of the vector network is the same to the tolerance, in a
    fraction of the time.

    Args:
        problem: The measurements.
        network: One network; it is left as it is.
        tol: Of the relative residual and of the relative change of X from t/2 to t.
        max_time: Longest t.
        rtol, method, max_evaluations: As for :func:`integrate_matrix_flow`.

    Raises:
        InputError: naming the argument.
    """
    flow = _checked(problem, network, method, max_evaluations)
    return _limit(flow, tol, max_time, rtol, method)


def group_limit(
    problem: Problem,
    network: GroupNetwork,
    *,
    tol: float = 1e-10,
    max_time: float = 1e12,
    rtol: float = 1e-10,
    method: str = "LSODA",
    max_evaluations: int = 2_000_000,
) -> MatrixLimit:
    """ψ(∞) of a group network, as :func:`matrix_limit` finds X(∞); ``X`` of the result is ψ, the layers are u and v.

    Args:
        problem: (A, y).
        network: One network; it is left as it is.
        tol, max_time, rtol, method, max_evaluations: As there.

    Raises:
        InputError: naming the argument.
    """
    data, kind, layers = network_parts(problem, network)
    if network.batch:
        raise InputError(f"network must be one network for the flow, got a batch of {network.batch[0]}")
    flow = _within_method(_Flow(data, kind, layers, check_count("max_evaluations", max_evaluations)), method)
    return _limit(flow, tol, max_time, rtol, method)


def _limit(flow: _Flow, tol: Any, max_time: Any, rtol: Any, method: str) -> MatrixLimit:
    tol = check_number("tol", tol, above=0, below=1)
    longest = check_number("max_time", max_time, above=0)
    rtol = check_number("rtol", rtol, at_least=1e-14, below=1)
    atol = rtol * _smallest(flow)
    theta, now, step = flow.start, 0.0, _natural_time(flow)
    X, change, residual = flow.X(theta), math.inf, math.inf
    status, reason = Status.MAX_TIME, ""
    scale = float(torch.linalg.vector_norm(flow.data.y)) or 1.0
    with torch.no_grad(), numeric_threads(1):
        while now < longest:
            later = min(max(2 * now, step), longest)
            try:
                theta = flow.solve(theta, np.array([now, later]), method, rtol, atol)[-1]
            except _Spent:
                status, reason = Status.MAX_STEPS, f"{flow.budget} evaluations ended after t = {now:.6g}"
                break
            except (AssertionError, RuntimeError) as error:
                status, reason = Status.FAILED, f"{method} gave up after t = {now:.6g}: {' '.join(str(error).split())}"
                break
            before, X, now = X, flow.X(theta), later
            size = float(torch.linalg.vector_norm(X)) or 1.0
            change = float(torch.linalg.vector_norm(X - before)) / size
            residual = float(torch.linalg.vector_norm(flow.data.residual(X))) / scale
            if residual <= tol and change <= tol:
                status = Status.CONVERGED
                break
        residual = float(torch.linalg.vector_norm(flow.data.residual(X))) / scale
    layers = tuple(layer[0] for layer in flow.layers(theta))
    return MatrixLimit(X, layers, residual, min(change, 1.0), now, status, reason)


def _natural_time(flow: _Flow) -> float:
    """The time in which the layers change by about their own size at the start."""
    speed = float(torch.linalg.vector_norm(flow(torch.tensor(0.0), flow.start)))
    return float(torch.linalg.vector_norm(flow.start)) / speed if speed > 0 else 1.0


def _smallest(flow: _Flow) -> float:
    sizes = [float(part.abs().max()) for part in torch.split(flow.start, flow.sizes)]
    return min((size for size in sizes if size > 0), default=1.0)


def _checked(problem: MatrixProblem, network: MatrixFactorization, method: str, evaluations: Any) -> _Flow:
    check_factorization(problem, network)
    if network.batch:
        raise InputError(f"network must be one network for the flow, got a batch of {network.batch[0]}")
    return _within_method(
        _Flow(problem, network.kind, list(network.layers), check_count("max_evaluations", evaluations)), method
    )


def _within_method(flow: _Flow, method: str) -> _Flow:
    """Refuse an unknown method, and an implicit one for many parameters."""
    check_choice("method", method, (*EXPLICIT, *IMPLICIT))
    if method in IMPLICIT and flow.start.numel() > LARGEST_IMPLICIT:
        raise InputError(
            f"method must be one of {', '.join(EXPLICIT)} for more than {LARGEST_IMPLICIT} parameters, "
            f"got {method} for {flow.start.numel()}"
        )
    return flow
