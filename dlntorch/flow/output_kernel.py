"""Outputs of the compiled integration inside a step, and the stop where the residual reaches its norm."""

from __future__ import annotations

import math

import numpy as np

from dlntorch.flow.cell_kernels import change_sides, slope_of
from dlntorch.flow.records import (
    ACCEPTED,
    CHANGED,
    CONVERGED,
    LEFT,
    LENGTH,
    MOVING,
    RIGHT,
    SENSITIVITY,
    SIZE,
    STEP,
    TRIED,
    B,
    R,
    V,
)
from dlntorch.flow.small_products import copy, largest, norm, times_columns, times_rows
from dlntorch.flow.stage_kernel import lagrange, solve_stages, stages_at
from dlntorch.numerics.compiling import kernel

__all__ = ["keep_output", "record_outputs"]

#: A change by rounding that is not worth a word.
_BLUR = 1e-9
_EPS = 2.220446049250313e-16
_TRIALS = 200


@kernel
def keep_output(flow, state, time):
    """Keep ψ and the slacks at a time, the STEP in ν from the point."""
    work, sides, found, curves = flow.work, flow.sides, flow.found, flow.curves
    index = state["count"]
    state["count"] += 1
    columns, u = work.columns, sides.of[0]
    step, change = columns[STEP], columns[CHANGED]
    n = step.size
    change_sides(curves, sides, columns[STEP : STEP + 1], columns[CHANGED : CHANGED + 1])
    found.t[index] = time
    for i in range(n):
        found.psi[index, i] = sides.psi[i] + change[i]
    for side in range(u.shape[0]):
        for i in range(n):
            found.u[index, side, i] = u[side, i] - (1.0 - 2.0 * side) * curves.c[side, i] * step[i]
    size = largest(found.psi[index])
    if size == 0.0:
        return
    # the residual never grows: a bound over the step, which spares most outputs the rest
    spacing, speed, bound = np.spacing(time), norm(work.rows[R]), 0.0
    for i in range(n):
        travelled = _EPS * abs(1.0 - u[0, i]) / curves.c[0, i]
        bound = max(bound, columns[SENSITIVITY, i] * (spacing * columns[LENGTH, i] * speed + travelled))
    if bound * state["largest"] > _BLUR * size:
        slope, moving, left = columns[SIZE], columns[MOVING], work.rows[LEFT]
        times_rows(flow.A, change, left)
        for row in range(left.size):
            left[row] = work.rows[R, row] - left[row]
        times_columns(flow.A, left, moving)
        inside = slope_of(curves, sides, step, slope)
        blur = 0.0
        for i in range(n):
            travelled = _EPS * abs(1.0 - u[0, i]) / curves.c[0, i]
            blur = max(blur, slope[i] * (spacing * abs(moving[i]) + travelled) / size)
        if inside and blur > state["blur"]:
            state["blur"], state["blur_time"] = blur, time


@kernel
def _step_to(flow, state, part, h, exact):
    """The step in ν to a ``part`` of a step of length h, into STEP: interpolated where that is ``exact``.

    Returns ‖y − Aψ‖₂ there, where a residual is to be reached.
    """
    work = flow.work
    step, columns = work.columns[STEP], work.columns
    solved = False
    if part >= h:
        copy(columns[ACCEPTED], step)
        solved = True
    elif not exact:
        stages_at(flow.method, work, 0.0, part / h)
        state["fresh"] = 0
        solved = solve_stages(flow, state, part)
        if solved:
            copy(work.steps[V, -1], step)
        else:
            state["rough"] = state["t"] + (state["low"] + part)
    if not solved:
        lagrange(flow.method.points, flow.method.barycentric, part / h, work.lagrange[0])
        times_columns(work.stages[TRIED], work.lagrange[0], work.rows[RIGHT])
        times_rows(work.tall[B], work.rows[RIGHT], step)
    if flow.rules.stop_norm < 0.0:
        return 0.0
    left = work.rows[LEFT]
    change_sides(flow.curves, flow.sides, columns[STEP : STEP + 1], columns[CHANGED : CHANGED + 1])
    times_rows(flow.A, columns[CHANGED], left)
    for row in range(left.size):
        left[row] = work.rows[R, row] - left[row]
    return norm(left)


@kernel(inline="always")
def _stop_inside(flow, state, h, exact):
    """The part of the step where the residual, which decreases, reaches the norm to stop at; beyond h where it does not.

    Regula falsi with halved weights (Illinois), and a bisection where that has not halved the bracket in three steps.
    """
    level = flow.rules.stop_norm
    low, high, side, width = 0.0, h, 0, h
    above, below = norm(flow.work.rows[R]) - level, 1.0
    stop = math.inf
    for trial in range(_TRIALS if level >= 0.0 else 0):
        part = h
        if trial > 0:
            if below == 0.0 or high - low <= 1e-14 * h + 1e-13 * high:
                break
            part = high - (high - low) * (below / (below - above))
            if trial % 3 == 0:
                part = 0.5 * (low + high) if high - low > 0.5 * width else part
                width = high - low
            if not low < part < high:
                part = 0.5 * (low + high)
        value = _step_to(flow, state, part, h, exact) - level
        if trial == 0 and not value <= 0.0:
            break
        if value > 0.0:
            low, above = part, value
            below *= 0.5 if side > 0 else 1.0
            side = 1
        else:
            stop = high = part
            below = value
            above *= 0.5 if side < 0 else 1.0
            side = -1
    return stop


@kernel(inline="always")
def record_outputs(flow, state, h, ends, exact):
    """Record the outputs in a step of length h, and find the stop where the residual reaches its norm."""
    times, budget = flow.times, flow.rules.max_evaluations
    stop = _stop_inside(flow, state, h, exact)
    index = state["count"]
    going = index < times.size or stop <= h
    while going and state["evaluations"] < budget:  # where that is used up, the next step says so
        part = max((times[index] - state["t"]) - state["low"], 0.0) if index < times.size else math.inf
        if ends and index == times.size - 1:
            part = h
        time = times[min(index, times.size - 1)]
        if part >= stop:
            part, time, going = stop, state["t"] + (state["low"] + stop), False
            state["status"] = CONVERGED
        if part > h:
            break
        _step_to(flow, state, part, h, exact)
        keep_output(flow, state, time)
        index += 1
        going = going and index < times.size
