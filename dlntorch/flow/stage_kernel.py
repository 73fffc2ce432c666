"""The stages of one Radau step of a two-sided network, compiled: what an integration spends its time on.

In the coordinates of :mod:`dlntorch.flow.stages`, x = Rs with W Aᵀ = QR and ν = Bx, B = W⁻¹Q, the flow is

    M ẋ = R^{−ᵀ}(y − Aψ) = R^{−ᵀ}r − BᵀΔψ(Bx),      M = R^{−ᵀ}R⁻¹,

since R^{−ᵀ}A = Bᵀ: Newton's systems λ/h M + BᵀDB are symmetric, with a positive definite real part (:mod:`.symmetric`).
Functions that take the whole record are inlined: each that is not is compiled anew into all that call it.
"""

from __future__ import annotations

import math

import numpy as np

from dlntorch.flow.cell_kernels import change_sides, rate_of, slope_of
from dlntorch.flow.records import (
    BASE,
    CHANGE,
    DV,
    ERROR,
    FORCE,
    LEFT,
    LIMIT,
    MASS,
    MOVING,
    NATURAL,
    OFFSET,
    RIGHT,
    ROOT,
    SIZE,
    SLOPE,
    TO_X,
    TRIED,
    VELOCITY,
    WEIGHTED,
    B,
    D,
    G,
    K,
    T,
    V,
    Y,
    Z,
)
from dlntorch.flow.small_products import largest, multiply, times_rows
from dlntorch.flow.symmetric import factor, substitute, substitute_real
from dlntorch.numerics.compiling import SUMS, kernel

__all__ = ["lagrange", "rebase", "solve_stages", "stages_at"]

#: Newton's iteration: how many at most, and when a rate of convergence is none.
_MOST_ITERATIONS, _NO_RATE = 25, 0.9
_EPS = 2.220446049250313e-16
#: A new base is due where a rate has grown or fallen by so much since the last.
_GROWN, _FALLEN = 4.0, 1.0 / 64


@kernel
def rebase(A, curves, sides, work, steps):
    """Take the point's rates as W where that is due, or after no ``steps``; the stages kept for a guess move along.

    False where the rates are no numbers.
    """
    n, weight, base = A.shape[1], work.columns[NATURAL], work.columns[BASE]
    rate_of(curves, sides, weight)
    top = largest(weight)  # M is in proportion to its square, which may be no number
    if not top < math.inf:
        return False
    grown, fallen = 0.0, math.inf
    for i in range(n):
        weight[i] = max(weight[i], 1e-12 * top) if top > 0.0 else 1.0
        if steps > 0:
            grown, fallen = max(grown, weight[i] / base[i]), min(fallen, weight[i] / base[i])
    top = top if top > 0.0 else 1.0
    if steps > 0:
        if grown < _GROWN and fallen > _FALLEN:
            return True
        multiply(work.stages[TRIED], work.squares[ROOT], work.stages[T])  # x = Rs: back to s
    for i in range(n):
        base[i] = weight[i]
    order = np.argsort(-weight, kind="mergesort")  # graded rows: largest first keeps the accuracy of the small ones
    scaled, found = work.tall[WEIGHTED], work.tall[B]
    for row in range(n):
        for a in range(A.shape[0]):
            scaled[row, a] = weight[order[row]] / top * A[a, order[row]]
    Q, R = np.linalg.qr(scaled)
    for row in range(n):
        for a in range(A.shape[0]):
            found[order[row], a] = Q[row, a] / (weight[order[row]] / top)
    _invert(R, work.squares[TO_X], work.squares[ROOT])
    multiply(work.squares[ROOT], work.squares[ROOT].T, work.squares[MASS])
    if steps > 0:
        multiply(work.stages[T], work.squares[TO_X].T, work.stages[TRIED])
    return True


@kernel
def _invert(R, copy, out):
    """A ``copy`` of an upper triangular R, and R^{−ᵀ} into ``out``, lower triangular."""
    m = R.shape[0]
    for i in range(m):
        for j in range(m):
            copy[i, j] = R[i, j]
            out[i, j] = 0.0
    for j in range(m):  # row j of the inverse's transpose is column j of R⁻¹
        out[j, j] = 1.0 / R[j, j]
        for i in range(j - 1, -1, -1):
            total = 0.0
            for k in range(i + 1, j + 1):
                total += R[i, k] * out[j, k]
            out[j, i] = -total / R[i, i]


@kernel(fastmath=SUMS)
def lagrange(points, barycentric, x, out):
    """Weights (s,) of the stages in the collocation polynomial at x, in units of the step; it is 0 at 0."""
    for j in range(1, points.size):
        product = barycentric[j]
        for k in range(points.size):
            if k != j:
                product *= x - points[k]
        out[j - 1] = product


@kernel
def stages_at(method, work, part, scale):
    """Z from the polynomial through TRIED, at the nodes of a step of ``scale`` times its length.

    It begins at the ``part`` 0 or 1 of that step, and Z are changes from there.
    """
    stages = work.stages
    s, m = stages[Z].shape
    for j in range(s):
        lagrange(method.points, method.barycentric, part + method.nodes[j] * scale, work.lagrange[j])
    multiply(work.lagrange, stages[TRIED], stages[Z])
    if part > 0.0:
        for j in range(s):
            for a in range(m):
                stages[Z, j, a] -= stages[TRIED, s - 1, a]


@kernel(fastmath=SUMS)
def _weighted(slope, rows, out):
    """out = diag(slope)·rows."""
    for i in range(slope.size):
        for a in range(rows.shape[1]):
            out[i, a] = slope[i] * rows[i, a]


@kernel(inline="always")
def _form_jacobian(flow, moving):
    """K = BᵀDB, with D in the middle of the stages in V, or at the point."""
    work = flow.work
    slope = work.columns[SLOPE]
    inside = slope_of(flow.curves, flow.sides, work.steps[V, flow.method.middle], slope) if moving else False
    if not inside:
        for i in range(slope.size):
            slope[i] = work.columns[D, i]
    _weighted(slope, work.tall[B], work.tall[WEIGHTED])
    multiply(work.tall[B].T, work.tall[WEIGHTED], work.squares[K])


@kernel(fastmath=SUMS)
def _factors(lambdas, h, work):
    """The factors of λ/h M + K; False where there are none."""
    real, imag, mass, jacobian = work.factors[0], work.factors[1], work.squares[MASS], work.squares[K]
    modes, m, _ = real.shape
    for q in range(modes):
        a, b = lambdas[0, q] / h, lambdas[1, q] / h
        for i in range(m):
            for j in range(i + 1):
                real[q, i, j] = a * mass[i, j] + jacobian[i, j]
                imag[q, i, j] = b * mass[i, j]
        if not factor(real[q], imag[q], work.rows[LEFT:]):
            return False
    return True


@kernel(fastmath=SUMS)
def _split(nodes, h, moving, work):
    """Z = Y + offset, the offset being motion at constant velocity in the components where that is no larger than Z.

    LEFT receives ẋ in the others.
    """
    stages, velocity, rest = work.stages, work.rows[VELOCITY], work.rows[LEFT]
    _, s, m = stages.shape
    for a in range(m):
        straight = not moving or abs(h * velocity[a]) <= 4.0 * abs(stages[Z, s - 1, a])
        rest[a] = 0.0 if straight else velocity[a]
        for j in range(s):
            stages[OFFSET, j, a] = nodes[j] * h * velocity[a] if straight else 0.0
            stages[Y, j, a] = stages[Z, j, a] - stages[OFFSET, j, a]


@kernel(fastmath=SUMS)
def _defect(inverse, h, work):
    """G = M(rest − a⁻¹Y/h) − BᵀΔψ; False where Δψ is no number."""
    stages, change, rest = work.stages, work.steps[CHANGE], work.rows[LEFT]
    _, s, m = stages.shape
    bad = 0
    for j in range(s):
        for i in range(change.shape[1]):
            bad += 0 if abs(change[j, i]) < math.inf else 1
        for a in range(m):
            stages[T, j, a] = rest[a]
        for q in range(s):
            w = inverse[j, q] / h
            for a in range(m):
                stages[T, j, a] -= w * stages[Y, q, a]
    if bad:
        return False
    multiply(stages[T], work.squares[MASS], stages[G])
    multiply(change, work.tall[B], stages[T])
    for j in range(s):
        for a in range(m):
            stages[G, j, a] -= stages[T, j, a]
    return True


@kernel(fastmath=SUMS)
def _correct(to_modes, from_modes, work):
    """Newton's correction of the defect in G: into G, Y and Z."""
    stages, x, z = work.stages, work.modes[0], work.modes[1]
    modes, m = x.shape
    s = stages.shape[1]
    for q in range(modes):
        for a in range(m):
            x[q, a], z[q, a] = 0.0, 0.0
        for j in range(s):
            for a in range(m):
                x[q, a] += to_modes[0, q, j] * stages[G, j, a]
                z[q, a] += to_modes[1, q, j] * stages[G, j, a]
        if q == 0:
            substitute_real(work.factors[0, 0], x[0])
        else:
            substitute(work.factors[0, q], work.factors[1, q], x[q], z[q])
    for j in range(s):
        for a in range(m):
            stages[G, j, a] = from_modes[0, j, 0] * x[0, a]
        for q in range(1, modes):
            for a in range(m):
                stages[G, j, a] += from_modes[0, j, q] * x[q, a] - from_modes[1, j, q] * z[q, a]
        for a in range(m):
            stages[Y, j, a] += stages[G, j, a]
            stages[Z, j, a] = stages[Y, j, a] + stages[OFFSET, j, a]


@kernel(fastmath=SUMS)
def _largest_move(steps, columns):
    """Add DV to V; the largest move relative to what may be left of an error, infinite where it is no number."""
    _, s, n = steps.shape
    moved, size = columns[MOVING], columns[SIZE]
    worst, bad = 0.0, 0
    for i in range(n):
        moved[i], size[i] = 0.0, 0.0
    for j in range(s):
        for i in range(n):
            bad += 0 if abs(steps[DV, j, i]) < math.inf else 1
            steps[V, j, i] += steps[DV, j, i]
            moved[i] = max(moved[i], abs(steps[DV, j, i]))
            size[i] = max(size[i], abs(steps[V, j, i]))
    for i in range(n):
        worst = max(worst, moved[i] / max(columns[LIMIT, i], 2.0 * _EPS * size[i]))
    return math.inf if bad else worst


@kernel(fastmath=SUMS)
def _estimate(embedded, scale, work):
    """The estimate of the step's error in ν: |B(λ₀/h M + K)⁻¹(M ẋ + λ₀/h M e·Z)|, with λ₀/h the ``scale``."""
    sums, right, stages, error = work.rows[LEFT], work.rows[RIGHT], work.stages, work.columns[ERROR]
    _, s, m = stages.shape
    for a in range(m):
        total = 0.0
        for j in range(s):
            total += embedded[j] * stages[Z, j, a]
        sums[a] = scale * total
    times_rows(work.squares[MASS], sums, right)
    for a in range(m):
        right[a] += work.rows[FORCE, a]
    substitute_real(work.factors[0, 0], right)
    times_rows(work.tall[B], right, error)
    for i in range(error.size):
        error[i] = abs(error[i])


@kernel
def solve_stages(flow, state, h):
    """Solve for the stages Z of a step of length h, from the guess in it; V = BZ, CHANGE and ERROR follow.

    The Jacobian is their own where the state says so, and otherwise the last one's. Velocity, force, D and limits are in
    the scratch. False where Newton's iteration does not converge.
    """
    method, work = flow.method, flow.work
    stages, steps = work.stages, work.steps
    s = stages.shape[1]
    moving = largest(stages[Z].reshape(-1)) > 0.0
    multiply(stages[Z], work.tall[B].T, steps[V])
    if state["fresh"] > 0:
        _form_jacobian(flow, moving)
    if not _factors(method.lambdas, h, work):
        return False
    _split(method.nodes, h, moving, work)
    last = 0.0
    for iteration in range(1, _MOST_ITERATIONS + 1):
        state["evaluations"] += s
        change_sides(flow.curves, flow.sides, steps[V], steps[CHANGE])
        if not _defect(method.inverse, h, work):
            return False
        _correct(method.to_modes, method.from_modes, work)
        multiply(stages[G], work.tall[B].T, steps[DV])
        worst = _largest_move(steps, work.columns)
        if not worst < math.inf:
            return False
        rate = worst / last if iteration > 1 else 0.0
        done = worst <= 1.0 or (iteration > 1 and rate < 1.0 and rate / (1.0 - rate) * worst <= 1.0)
        if not done and iteration > 1 and (rate >= 2.0 or (iteration > 3 and rate >= _NO_RATE)):
            if worst >= 100.0:
                return False
            done = True  # rounding
        if done:
            _estimate(method.embedded, method.lambdas[0, 0] / h, work)
            return True
        last = worst
    return False
