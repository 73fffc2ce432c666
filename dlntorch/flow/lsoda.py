"""LSODA from output to output: the loop over its steps is the library's own, and Python sees what is asked for.

A flow to 1e-9 takes some 2,000 steps between 200 outputs, and on a small problem a step costs less than its way through
``solve_ivp``: going from output to output is three times as fast.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.integrate import LSODA, DenseOutput, OdeSolver

from dlntorch.flow.scipy_solver import Session, StateNotes
from dlntorch.numerics.trajectory import Status

__all__ = ["leaping"]

#: LSODA's task: to a given time by interpolation, without steps beyond the end of the whole interval.
_TO_A_TIME = 4


class _SpentError(Exception):
    """The budget of evaluations is used up between two outputs."""


class _Ends(DenseOutput):
    """A dense output that knows the solution where its interval begins and ends, and is asked nowhere else."""

    def __init__(self, t_old: float, t: float, before: np.ndarray, after: np.ndarray) -> None:
        super().__init__(t_old, t)
        self.before, self.after = before, after

    def _call_impl(self, t: np.ndarray) -> np.ndarray:
        at_end = np.asarray(t) == self.t
        column = (-1, *(1,) * at_end.ndim)
        return np.where(at_end, self.after.reshape(column), self.before.reshape(column))


def leaping(session: Session, outputs: np.ndarray) -> type[OdeSolver]:
    """scipy's LSODA, whose steps end at ``outputs`` (increasing, from 0), reporting to ``session``."""

    class Leaping(LSODA):
        def __init__(
            self, fun: Any, t0: float, y0: Any, t_bound: float, *, rtol: float, atol: float, vectorized: bool, **_: Any
        ) -> None:
            on_cpu = session.field.y.device.type == "cpu"

            def velocity(t: float, x: np.ndarray) -> np.ndarray:
                if session.spent():
                    raise _SpentError
                return session.field.velocity(x) if on_cpu else fun(t, x)  # torchdiffeq's own copies every state twice

            super().__init__(velocity, t0, y0, t_bound, rtol=rtol, atol=atol, vectorized=vectorized)
            self.walker = lambda t, x, end: LSODA(velocity, t, x, end, rtol=rtol, atol=atol)
            solver: Any = self._lsoda_solver
            solver.f = velocity  # and not through scipy's own wrappers
            self.integrator = solver._integrator
            self.integrator.call_args[2] = _TO_A_TIME
            self.integrator.iwork[5] = session.max_evaluations  # the limit on steps, of which each needs one

        def _step_impl(self) -> tuple[bool, str | None]:
            begin, before = self.t, self.y
            try:
                success, message = self._leap(float(outputs[np.searchsorted(outputs, begin, side="right")]))
                if success and session.reached(self.y):
                    success, message = self._walk(begin, before, self.t)
            except _SpentError:
                return False, session.reason
            if not success:
                session.status = Status.FAILED
                session.reason = f"LSODA stopped at t = {begin / session.field.scale:.6g}: {message}"
            self.ends = _Ends(begin, self.t, before, self.y)
            return success, message

        def _leap(self, target: float) -> tuple[bool, str | None]:
            """To the next output."""
            solver: Any = self._lsoda_solver
            solver._y, solver.t = self.integrator.run(solver.f, lambda: None, solver._y, solver.t, target, (), ())
            if not solver.successful():
                return False, self.integrator.messages.get(self.integrator.istate, "for an unknown reason")
            self.t, self.y = target, solver._y.copy()  # LSODA goes on in its own array
            return True, None

        def _walk(self, begin: float, before: np.ndarray, end: float) -> tuple[bool, str | None]:
            """Step by step from one output towards the next, before which the residual to stop at is crossed."""
            steps = self.walker(begin, before, end)
            while steps.status == "running":
                message = steps.step()
                if steps.status == "failed":
                    return False, message
                if session.reached(steps.y):
                    break
            session.locate(steps.dense_output(), steps.t_old or begin, steps.t)
            self.t = self.t_bound = steps.t
            self.y = steps.y
            return True, None

        def _dense_output_impl(self) -> DenseOutput:
            return StateNotes(self.ends, session)

    return Leaping
