"""The integration of two-sided networks, compiled: :class:`dlntorch.flow.collocation.Integrator` without Python.

The rules are that module's, and so are the numbers below; the two are tested against each other.
"""

from __future__ import annotations

import math

import numpy as np

from dlntorch.flow.cell_kernels import change_sides, growth_of, move_sides, sensitivity_of, slope_of
from dlntorch.flow.output_kernel import keep_output, record_outputs
from dlntorch.flow.records import (
    ACCEPTED,
    CHANGED,
    CONVERGED,
    ERROR,
    FAILED,
    FORCE,
    LEFT,
    LEFT_FLOAT64,
    LENGTH,
    LIMIT,
    MASS,
    MAX_STEPS,
    NATURAL,
    RIGHT,
    ROOT,
    RUNNING,
    SENSITIVITY,
    SIZE,
    STEP,
    STRAIGHT,
    TO_X,
    TRIED,
    VELOCITY,
    WEIGHT,
    WEIGHTED,
    Curves,
    D,
    Flow,
    FlowFound,
    K,
    R,
    Rules,
    Sides,
    V,
    Z,
)
from dlntorch.flow.small_products import copy, fill, largest, multiply, norm, times_columns, times_rows
from dlntorch.flow.stage_kernel import rebase, solve_stages, stages_at
from dlntorch.numerics.compiling import SUMS, kernel

__all__ = ["integrate_all"]

_FLOOR = 3e-16
_SAFETY, _GROWTH, _SHRINK = 0.9, 6.0, 0.1
_FAILURES = 60
_PART = 0.3
_EPS = 2.220446049250313e-16
_MANY_OUTPUTS = 6
_FALL = 1e-6
_LONG = 1.5


@kernel
def integrate_all(batch, states):
    """Integrate N networks, one after the other, in the same scratch."""
    A, y, times, curves, sides, found = batch.A, batch.y, batch.times, batch.curves, batch.sides, batch.found
    for index in range(states.size):
        flow = Flow(
            A[min(index, A.shape[0] - 1)],
            y[min(index, y.shape[0] - 1)],
            times[min(index, times.shape[0] - 1)],
            batch.method,
            Curves(curves.kind, curves.k, curves.c[index], curves.start[index]),
            Sides(sides.of[index], sides.psi[index]),
            Rules(batch.rtol, batch.stop_norms[index], batch.max_evaluations),
            FlowFound(found.t[index], found.psi[index], found.u[index]),
            batch.work,
        )
        state = states[index]
        h = _begin(flow, state)
        while state["status"] == RUNNING and state["count"] < flow.times.size:
            h = _advance(flow, state, h)


@kernel(inline="always")
def _begin(flow, state):
    """The residual, the base and the outputs at t = 0; returns the first step, 0 where there is none to make."""
    work, sides, times = flow.work, flow.sides, flow.times
    r = work.rows[R]
    times_rows(flow.A, sides.psi, r)
    for row in range(r.size):
        r[row] = flow.y[row] - r[row]
    for i in range(sides.psi.size):
        work.columns[LENGTH, i] = norm(flow.A[:, i])
    state["largest"] = max(state["largest"], largest(sides.psi))
    sensitivity_of(flow.curves, state["largest"], work.columns[SENSITIVITY])
    fill(work.columns[STEP], 0.0)
    h = 0.0
    if not rebase(flow.A, flow.curves, sides, work, state["steps"]):
        state["status"] = LEFT_FLOAT64
    elif norm(r) <= flow.rules.stop_norm:
        keep_output(flow, state, 0.0)
        state["status"] = CONVERGED
    else:
        if times[0] == 0.0:
            keep_output(flow, state, 0.0)
        h = _first_step(flow.A, flow.curves, sides, work, times[-1])
    return h


@kernel
def _first_step(A, curves, sides, work, end):
    """A step over which the curve hardly bends and the fastest direction hardly relaxes."""
    columns, squares, tall = work.columns, work.squares, work.tall
    slope_of(curves, sides, columns[STEP], columns[D])
    times_columns(A, work.rows[R], columns[STRAIGHT])
    fastest, stiffness = 0.0, 0.0
    for i in range(A.shape[1]):
        fastest = max(fastest, _rate(curves, sides, i) * abs(columns[STRAIGHT, i]))
        for row in range(A.shape[0]):
            tall[WEIGHTED, i, row] = columns[D, i] * A[row, i]
    multiply(A, tall[WEIGHTED], squares[K])  # in coordinates in which a unit is a step of order one:
    multiply(squares[TO_X], squares[K], squares[MASS])
    multiply(squares[MASS], squares[ROOT].T, squares[K])
    multiply(squares[ROOT], squares[ROOT].T, squares[MASS])
    for row in range(A.shape[0]):
        total = 0.0
        for other in range(A.shape[0]):
            total += abs(squares[K, row, other])
        stiffness = max(stiffness, total)
    first = min(end, 1e-2 / fastest) if fastest > 0.0 else end
    return min(first, 0.1 / stiffness) if stiffness > 0.0 else first


@kernel(inline="always")
def _rate(curves, sides, i):
    """The faster growth of a coordinate's sides."""
    u = sides.of[0]
    rate = growth_of(curves, u[0, i], 0, i)
    return max(rate, growth_of(curves, u[1, i], 1, i)) if u.shape[0] == 2 else rate


@kernel(inline="always")
def _advance(flow, state, h):
    """One accepted step and the outputs in it, or the path's end; returns the next step to try."""
    work, times, rules = flow.work, flow.times, flow.rules
    _look(flow.A, flow.curves, flow.sides, work)
    if norm(work.rows[R]) == 0.0:  # nothing moves any more
        for index in range(state["count"], times.size):
            keep_output(flow, state, times[index])
    part, length, failures, trying = 1.0, state["last_h"], 0, state["count"] < times.size
    order = work.stages.shape[1] + 1
    while trying:
        if state["evaluations"] >= rules.max_evaluations or failures >= _FAILURES:
            state["status"] = FAILED if failures >= _FAILURES else MAX_STEPS
            break
        remaining = (times[-1] - state["t"]) - state["low"]
        ends = h >= remaining * (1.0 - 1e-10)
        h = remaining if ends else h
        _weigh(flow.curves, flow.sides, work, state, rules.rtol, h)
        fill(work.stages[Z].reshape(-1), 0.0)
        if length > 0.0:
            stages_at(flow.method, work, part, h / length)
        failures += 1
        state["rejected"] += 1
        state["fresh"] = 1
        if not solve_stages(flow, state, h):
            length, h = 0.0, 0.3 * h
            continue
        inside = np.searchsorted(times, state["t"] + (state["low"] + h)) - state["count"]
        exact, ratio = _ratios(flow.method.nodes, work, rules.rtol, h, inside > _MANY_OUTPUTS)
        copy(work.stages[Z].reshape(-1), work.stages[TRIED].reshape(-1))
        if not ratio <= 1.0:
            part, length = 0.0, h
            h *= max(_SHRINK, _SAFETY * ratio ** (-1.0 / order)) if ratio < math.inf else _SHRINK
            continue
        state["rejected"] -= 1
        copy(work.steps[V, -1], work.columns[ACCEPTED])
        record_outputs(flow, state, h, ends, exact)
        growth = _next_growth(state, h, ratio, failures, order)
        if state["status"] == RUNNING:
            _accept(flow.A, flow.y, flow.curves, flow.sides, work, state, h)
            if ends:
                state["t"], state["low"] = times[-1], 0.0
            if not rebase(flow.A, flow.curves, flow.sides, work, state["steps"]):
                state["status"] = LEFT_FLOAT64
        h *= growth
        trying = False
    return h


@kernel
def _look(A, curves, sides, work):
    """Velocity, force, ν̇ and D at the point; STEP is 0."""
    rows, columns = work.rows, work.columns
    times_rows(work.squares[TO_X], rows[R], rows[VELOCITY])
    times_rows(work.squares[ROOT], rows[R], rows[FORCE])
    times_columns(A, rows[R], columns[STRAIGHT])
    fill(columns[STEP], 0.0)
    slope_of(curves, sides, columns[STEP], columns[D])


@kernel
def _weigh(curves, sides, work, state, rtol, h):
    """What an error of ν counts on the curve's own scale and for ψ now and later, and what Newton may leave of it."""
    columns = work.columns
    size = largest(sides.psi)
    if state["steps"] == 0:  # ψ may start at 0: what it will be at the end of the step
        for i in range(sides.psi.size):
            size = max(size, abs(columns[D, i] * columns[STRAIGHT, i]) * h)
    else:
        size = max(size, _FALL * state["largest"])
    for i in range(sides.psi.size):
        natural = max(_rate(curves, sides, i), columns[D, i] / size if size > 0.0 else 0.0)
        columns[NATURAL, i] = natural
        columns[WEIGHT, i] = min(max(columns[SENSITIVITY, i], natural), natural * (rtol / _FLOOR))
        columns[LIMIT, i] = 0.3 * rtol / columns[WEIGHT, i]


@kernel(fastmath=SUMS)
def _ratios(nodes, work, rtol, h, dense):
    """(whether the polynomial of the whole step is exact, the estimate over what it may be).

    It may be the tolerance, or more where outputs are not ``dense`` and the step's end is of a higher order.
    """
    steps, columns, left = work.steps, work.columns, work.columns[SIZE]
    _, s, n = steps.shape
    order = (s + 1) / (2 * s)
    fill(left, 0.0)
    for j in range(s):
        moved = nodes[j] * h
        for i in range(n):
            left[i] = max(left[i], abs(steps[V, j, i] - moved * columns[STRAIGHT, i]))
    most, plain = 1e-30, 0.0
    for i in range(n):
        tolerance = rtol / columns[WEIGHT, i]
        ratio = columns[ERROR, i] / tolerance
        plain = max(plain, ratio)
        if not ratio <= most:
            if not dense:  # the powers only where they decide
                bend = min(left[i], 1.0 / columns[NATURAL, i])
                ratio = columns[ERROR, i] / max(tolerance, _PART * bend ** (1.0 - order) * tolerance**order)
            if not ratio <= most:
                most = ratio
    return plain <= 1.0, most


@kernel
def _next_growth(state, h, ratio, tries, order):
    """By what the next step is longer: as the error alone has it, or as it is going (Gustafsson 1994)."""
    growth = _SAFETY * ratio ** (-1.0 / order)
    if state["last_ratio"] > 0.0:
        growth = min(growth, _SAFETY * h / state["last_h"] * (state["last_ratio"] / ratio**2) ** (1.0 / order))
    state["last_ratio"] = max(ratio, 1e-2)
    return min(max(growth, 0.2), 1.0 if tries > 1 else _GROWTH)


@kernel(fastmath=SUMS)
def _accept(A, y, curves, sides, work, state, h):
    """Move to the end of the step, which is in ACCEPTED."""
    columns, r, moved, actual = work.columns, work.rows[R], work.rows[LEFT], work.rows[RIGHT]
    change_sides(curves, sides, columns[ACCEPTED : ACCEPTED + 1], columns[CHANGED : CHANGED + 1])
    move_sides(curves, sides, columns[ACCEPTED], columns[CHANGED])
    times_rows(A, columns[CHANGED], moved)
    times_rows(A, sides.psi, actual)
    drift = 0
    for row in range(r.size):
        r[row] -= moved[row]
        actual[row] = y[row] - actual[row]
        rounding = abs(y[row])
        for i in range(A.shape[1]):
            rounding += abs(A[row, i] * sides.psi[i])
        drift += 1 if abs(actual[row] - r[row]) > 8.0 * _EPS * rounding else 0
    if drift > 0:
        copy(actual, r)
    low = state["low"] + h
    time = state["t"] + low
    state["t"], state["low"] = time, low - (time - state["t"])
    size = largest(sides.psi)
    if size > _LONG * state["largest"]:
        state["largest"] = size
        sensitivity_of(curves, size, columns[SENSITIVITY])
    state["steps"] += 1
    state["last_h"] = h
