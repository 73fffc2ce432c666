"""scipy's ODE methods with what a gradient flow needs added: budgets, a stop at a residual, coordinates that move.

torchdiffeq's ``scipy_solver`` passes any subclass of :class:`scipy.integrate.OdeSolver` on to scipy, so these classes
are ordinary torchdiffeq methods. :func:`hooked` makes one from scipy's BDF or Radau (LSODA: :mod:`.flow_lsoda`); a
:class:`Session` is what it reports to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.integrate import BDF, DenseOutput, OdeSolver, Radau
from scipy.optimize import brentq
from torch import Tensor

from dlntorch.numerics.trajectory import Status

__all__ = ["Session", "StateNotes", "hooked"]

_METHODS: dict[str, type[OdeSolver]] = {"BDF": BDF, "Radau": Radau}

#: Up to this m the moving coordinates take a new Jacobian at every step: a tenth fewer evaluations, and more accurate.
FRESH_JACOBIAN = 100
#: Safety factor of the second-order term that a single Newton step leaves.
SECOND_ORDER = 10.0
#: A recorded residual above this times ‖y‖ is refused; the flow's own never exceeds ‖y‖.
LARGEST_GROWTH = 2.0
#: How far the moving coordinates may relax their tolerance before they give up.
LARGEST_TOLERANCE = 1e-3


class Session:
    """What one integration is allowed, and what it has found.

    Args:
        field: The right-hand side: a ``DualField`` in m numbers or a ``ThetaField`` in 2n numbers.
        max_evaluations: Budget of its evaluations.
        stop_norm: ‖y − Aψ‖₂ at which to stop, or None.
        moving: Whether the coordinates follow the solution (dual field, BDF only).
        tolerance: Absolute tolerance in moving coordinates.
    """

    def __init__(
        self, field: Any, max_evaluations: int, stop_norm: float | None, moving: bool, tolerance: float
    ) -> None:
        self.field: Any = field
        self.max_evaluations = max_evaluations
        self.stop_norm = stop_norm
        self.moving = moving
        self.tolerance = tolerance
        self.times: list[float] = []
        self.thetas: list[tuple[Tensor, Tensor]] = []
        # (time, θ₊, θ₋), kept apart: outputs before it come later
        self.stop: tuple[float, Tensor, Tensor] | None = None
        self.status: Status | None = None
        self.reason = ""
        self.accepted = np.zeros(field.size)
        self.relaxed = 0.0
        self.largest_residual = LARGEST_GROWTH * float(torch.linalg.vector_norm(field.y))

    def jacobian(self, _: float, x: np.ndarray) -> np.ndarray:
        """The Jacobian at x; at the last accepted point instead where x, a prediction, lies at or beyond the pole.

        scipy keeps one Jacobian through all the shorter trials of a step, and one from beyond the pole fails them all.
        """
        state = self.tensor(x)
        if self.field.needs_rebase(state):
            state = self.tensor(self.accepted)
        return self.field.jacobian(state).cpu().numpy()

    def tensor(self, x: np.ndarray) -> Tensor:
        """A state as a tensor where the field lives."""
        return torch.as_tensor(x, dtype=self.field.y.dtype, device=self.field.y.device)

    def spent(self) -> bool:
        """Whether the integration is over: it has failed, or the budget is used up; notes the status in that case."""
        if self.status is Status.FAILED:
            return True
        if self.field.evaluations < self.max_evaluations:
            return False
        self.status = Status.MAX_STEPS
        self.reason = f"the budget of {self.max_evaluations} evaluations of the right-hand side was used up"
        return True

    def record(self, time: float, x: np.ndarray) -> None:
        """Keep θ at an output time; a state that no flow has ends the path."""
        found = self._theta(x)
        if found is not None:
            self.times.append(float(time))
            self.thetas.append(found)

    def stop_at(self, time: float, x: np.ndarray) -> None:
        """End the path with θ at the time where the residual to stop at is reached."""
        found = self._theta(x)
        if found is not None:
            self.stop, self.status = (float(time), *found), Status.CONVERGED

    def _theta(self, x: np.ndarray) -> tuple[Tensor, Tensor] | None:
        """θ± at a state; None, and the status, where the flow cannot be there or an earlier state was refused."""
        if self.status is Status.FAILED:
            return None
        point = self.field.point(x)
        if not point.inside:
            self.status, self.reason = Status.FAILED, "the solver accepted a point beyond the pole |τ| = 1"
            return None
        # the loss never grows along the flow, from ‖y‖²/2 at ψ = 0: such a point is an error of the solver
        if not point.residual_norm <= self.largest_residual:
            self.status = Status.FAILED
            self.reason = f"the solver accepted a point of residual {point.residual_norm:.3g}"
            return None
        return point.theta_plus, point.theta_minus

    def norm(self, x: np.ndarray) -> float:
        """‖y − Aψ‖₂ at a state; costs one evaluation."""
        return self.field.residual_norm(x)

    def reached(self, x: np.ndarray) -> bool:
        """Whether the residual has reached the norm to stop at."""
        return self.stop_norm is not None and self.norm(x) <= self.stop_norm

    def locate(self, path: Callable[[float], np.ndarray], start: float, end: float) -> None:
        """Stop at the time in [start, end] at which the residual, which decreases along the flow, crosses the norm."""
        level = self.stop_norm or 0.0
        gap = lambda time: self.norm(path(time)) - level  # noqa: E731
        time = end
        if gap(start) > 0 > gap(end):
            time = float(brentq(gap, start, end, xtol=1e-14 * end, rtol=1e-14))  # type: ignore[arg-type]
        self.stop_at(time, path(time))


class StateNotes(DenseOutput):
    """A dense output that tells the session which states were asked for."""

    def __init__(self, inner: Any, session: Session) -> None:
        super().__init__(inner.t_old, inner.t)
        self.inner, self.session = inner, session

    def _call_impl(self, t: np.ndarray) -> np.ndarray:
        x = self.inner(t)
        for time, state in zip(np.atleast_1d(t), x.reshape(x.shape[0], -1).T, strict=True):
            if time > 0 and (self.session.stop is None or time < self.session.stop[0]):
                self.session.record(time, state)
        return x


class _Held(DenseOutput):
    """A dense output up to ``end``, and constant from there to ``t``."""

    def __init__(self, inner: Any, end: float, t: float, state: np.ndarray) -> None:
        super().__init__(inner.t_old, t)
        self.inner, self.end, self.state = inner, end, state

    def _call_impl(self, t: np.ndarray) -> np.ndarray:
        x = self.inner(np.minimum(t, self.end))
        late = np.asarray(t) > self.end
        return np.where(late, self.state.reshape((-1, *(1,) * late.ndim)), x)


def hooked(method: str, session: Session) -> type[OdeSolver]:
    """A scipy method that reports to ``session``; to be passed as ``options={"solver": …}`` to torchdiffeq."""
    base: Any = _METHODS[method]
    arguments: dict[str, Any] = {}
    if hasattr(session.field, "jacobian"):
        arguments["jac"] = session.jacobian

    class Hooked(base):
        def __init__(
            self, fun: Any, t0: float, y0: Any, t_bound: float, *, rtol: float, atol: float, vectorized: bool, **_: Any
        ) -> None:
            session.accepted = np.asarray(y0)
            self.steps_since_check = 0
            self.held: _Held | None = None
            if session.moving:
                session.field.rebase(session.tensor(y0))
            if session.field.y.device.type == "cpu":
                fun = lambda _, x: session.field.velocity(x)  # noqa: E731  torchdiffeq's own copies every state twice
            super().__init__(fun, t0, y0, t_bound, rtol=rtol, atol=atol, vectorized=vectorized, **arguments)
            if session.moving:
                # sqrt(rtol), scipy's choice, iterates on rounding noise when rtol is small
                self.newton_tol = 0.03
                self.evaluate, self.solve = self.fun, self.solve_lu
                self.fun, self.solve_lu = self._velocity, self._newton_step
                self.predicted, self.fresh, self.enough = np.asarray(y0), False, False

        def _step_impl(self) -> tuple[bool, str | None]:
            if session.spent():
                return False, session.reason
            start = self.t
            if session.moving and self.n <= FRESH_JACOBIAN:
                self._predict()
            if session.moving and self.steps_since_check % 5 == 0:
                self._respect_rounding()
            success, message = self._relaxing_step() if session.moving else super()._step_impl()
            if not success:
                session.status = Status.FAILED
                session.reason = f"{method} stopped at t = {start / session.field.scale:.6g}: {message}"
                return success, message
            session.accepted = self.y
            if session.reached(self.y):
                self.t_old = start
                session.locate(super()._dense_output_impl(), start, self.t)
                self.t_bound = self.t
            elif session.moving and self._settled():
                self.t_old = start
                self.held = _Held(super()._dense_output_impl(), self.t, self.t_bound, self.y)
                self.t = self.t_bound
            elif session.moving and session.field.needs_rebase(session.tensor(self.y)):
                self._rebase()
            return success, message

        def _predict(self) -> None:
            """The Jacobian where Newton's iteration will start, at the predicted end of the step."""
            self.predicted = np.sum(self.D[: self.order + 1], axis=0)
            if session.field.needs_rebase(session.tensor(self.predicted)):
                self.predicted = np.full_like(self.y, np.nan)  # equal to no state: the shortcut below is not taken
                self.J, self.LU = self.jac(self.t, self.y), None
            else:
                self.J, self.LU = self.jac(self.t, self.predicted), None

        def _velocity(self, t: float, x: np.ndarray) -> np.ndarray:
            """The right-hand side; not evaluated again where the last Newton step was enough."""
            if not self.enough:
                self.fresh = np.array_equal(x, self.predicted)
                self.velocity = self.evaluate(t, x)
            return self.velocity

        def _newton_step(self, LU: Any, right: np.ndarray) -> np.ndarray:
            """A Newton step, then zero, which scipy takes for convergence, where a second one would be negligible.

            With the Jacobian of the starting point the error left is about p‖dx‖² (x is the relative change of θ). scipy
            itself needs two steps to estimate it: half of all evaluations.
            """
            if self.enough:
                self.enough = False
                return np.zeros_like(right)
            step = self.solve(LU, right)
            left = SECOND_ORDER * session.field.p * float(step @ step)
            self.enough = self.fresh and left < self.newton_tol * self.atol
            return step

        def _relaxing_step(self) -> tuple[bool, str | None]:
            """A step, with ten times the tolerance from here on if float64 times are too coarse for the one asked for.

            In a jump θ changes by a large factor within Δt ~ α^{p−2} t: there t itself decides only a few digits of θ.
            """
            before, step = self.D.copy(), self.h_abs
            success, message = super()._step_impl()
            while not success and self.atol < LARGEST_TOLERANCE:
                self.atol, self.rtol = 10 * self.atol, 10 * self.rtol
                session.relaxed = self.atol
                session.reason = (
                    f"the tolerance was relaxed to {self.atol:.1g} where float64 times are too coarse for less"
                )
                self.D, self.h_abs = before.copy(), step
                success, message = super()._step_impl()
            return success, message

        def _rebase(self) -> None:
            """Move the origin to the current point: differences of the solution map linearly, so no history is lost."""
            change = session.field.rebase(session.tensor(self.y)).cpu().numpy()
            self.D[1:] = self.D[1:] @ change.T
            self.y = session.accepted = np.zeros_like(self.y)
            self.D[0] = 0
            self.J = self.jac(self.t, self.y)
            self.LU = None

        def _respect_rounding(self) -> None:
            """Never ask for less than what rounding errors of y − Aψ, carried over a step, make of the state.

            They matter over long horizons, in directions in which the flow hardly moves ψ.
            """
            c = self.h_abs / self.alpha[self.order]
            size, R = session.field.rounding(session.tensor(self.y))
            carried = np.linalg.solve(self.I - c * self.J, c * R.cpu().numpy())
            floor = 30 * size * float(np.linalg.norm(carried))
            self.atol = self.rtol = max(session.tolerance, session.relaxed, min(floor, LARGEST_TOLERANCE))

        def _settled(self) -> bool:
            """Whether the limit, estimated by a Newton step, is within a tenth of the tolerance: then the rest is constant.

            The flow never moves away from its limit. Without this, rounding noise of the right-hand side would have to be
            followed over horizons far beyond the time to relax.
            """
            self.steps_since_check += 1
            if self.steps_since_check < 10:
                return False
            self.steps_since_check = 0
            return session.field.distance_to_limit(session.tensor(self.y)) <= 0.1 * session.tolerance

        def _dense_output_impl(self) -> DenseOutput:
            return StateNotes(self.held or super()._dense_output_impl(), session)

    return Hooked
