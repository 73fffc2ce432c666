"""scipy's solvers step by step: values at given times, a condition that ends the path, a budget, jumps of the rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlntorch.numerics.trajectory import Status

__all__ = ["Solver", "step_along"]

Ending = tuple[Status, str]


@dataclass(frozen=True)
class Solver:
    """What integrates: a class of ``scipy.integrate`` by name, its relative tolerance, and the evaluations allowed."""

    method: str
    rtol: float
    budget: int


def step_along(
    rhs: Callable[[float, np.ndarray], np.ndarray],
    x0: np.ndarray,
    times: np.ndarray,
    knots: Sequence[float],
    stop: Callable[[np.ndarray], Ending | None],
    solver: Solver,
    atol: np.ndarray,
    evaluations: Callable[[], int],
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[Status, str, int]]:
    """ẋ = rhs(t, x) from x(0) = x0.

    Args:
        rhs: The rate.
        x0: State (d,) at t = 0.
        times: Where x is wanted, >= 0, increasing.
        knots: Times at which the rate jumps: the solver starts anew there.
        stop: Called after every step; an ending cuts the path there, and that point is appended.
        solver: What integrates, and how long.
        atol: Absolute tolerances of a step, (d,).
        evaluations: The count.

    Returns:
        (t (k,), x (k, d)) at the times reached, and (status, reason, evaluations).
    """
    import scipy.integrate

    solve: Any = getattr(scipy.integrate, solver.method)
    rtol = solver.rtol
    found_t, found_x, t, x = [], [], 0.0, x0
    last = float(times[-1])
    corners = [knot for knot in sorted(knots) if 0 < knot < last] + [last]
    if times[0] == 0:
        found_t.append(np.zeros(1))
        found_x.append(x0[None])

    def ended(status: Status, reason: str) -> tuple[tuple[np.ndarray, np.ndarray], tuple[Status, str, int]]:
        ts = np.concatenate(found_t) if found_t else np.zeros(0)
        xs = np.concatenate(found_x) if found_x else np.zeros((0, x0.size))
        return (ts, xs), (status, reason, evaluations())

    for corner in corners:
        if corner <= t:
            continue
        run = solve(_before(rhs, corner), t, x, corner, rtol=rtol, atol=atol)
        while run.status == "running":
            words = run.step()
            if run.status == "failed" or not np.all(np.isfinite(run.y)):
                return ended(Status.FAILED, f"the solver gave up at t = {run.t:.6g}: {words or 'a value overflowed'}")
            inside = times[(times > t) & (times <= run.t)]
            ending = stop(run.y)
            if inside.size:
                found_t.append(inside)
                # The dense output is of a lower order than the step: land on the wanted times.
                found_x.append(_landed(solve, rhs, corner, t, x, inside, rtol, atol))
            t, x = float(run.t), run.y.copy()
            if ending is not None:
                if not (inside.size and inside[-1] == t):
                    found_t.append(np.array([t]))
                    found_x.append(x[None])
                return ended(ending[0], f"{ending[1]} at t = {t:.6g}" if ending[1] else "")
            if evaluations() >= solver.budget:
                return ended(Status.MAX_STEPS, f"{solver.budget} evaluations were used up at t = {t:.6g}")
    return ended(Status.MAX_TIME, "")


def _before(rhs: Callable[[float, np.ndarray], np.ndarray], corner: float) -> Callable[[float, np.ndarray], np.ndarray]:
    """The rate of the interval that ends at the corner, at the corner too."""
    inside = np.nextafter(corner, -np.inf)
    return lambda t, x: rhs(min(t, inside), x)


def _landed(
    solve: Any,
    rhs: Callable[[float, np.ndarray], np.ndarray],
    corner: float,
    t: float,
    x: np.ndarray,
    wanted: np.ndarray,
    rtol: float,
    atol: np.ndarray,
) -> np.ndarray:
    """States at times within the step just taken from (t, x), by steps that end there."""
    states = []
    for time in wanted:
        solver = solve(_before(rhs, corner), t, x, float(time), rtol=rtol, atol=atol, first_step=float(time) - t)
        while solver.status == "running":
            solver.step()
        t, x = float(time), solver.y.copy()
        states.append(x)
    return np.array(states)
