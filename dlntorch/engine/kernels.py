"""The compiled loop: K steps of SGD, in the order that :mod:`dlntorch.engine.base` fixes, for any compiled cell.

One step costs one pass over A (:func:`~dlntorch.numerics.gradient_kernel.gradient`); ψ and its slopes are the cell's
(:mod:`dlntorch.model.cells`). The loop allocates nothing.

A parameter is proper when its bits, read as an integer, lie in 1 … bits(inf) − 1; maxima are taken of bits too. Both
vectorise without any promise to the compiler about NaN, and see NaN and infinity for what they are.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from dlntorch.bounds.certificate_kernel import certificate_step, prepare
from dlntorch.engine.update_kernels import accept_update, compiled_updates
from dlntorch.model.cells import Scratch
from dlntorch.numerics.compiling import kernel
from dlntorch.numerics.gradient_kernel import gradient, gradient_pair
from dlntorch.numerics.random_signs import add_signs
from dlntorch.optim.step_size import RESEED

__all__ = [
    "BAD_STEP",
    "CONSTANT",
    "CONVERGED",
    "IMPROPER",
    "MAX_STEPS",
    "MAX_TIME",
    "RELATIVE",
    "RUNNING",
    "STABLE",
    "STATE",
    "Data",
    "Numbers",
    "Record",
    "Work",
    "compiled_loop",
]

#: How a compiled loop ended: it may go on, or θ_k ends the run, or the proposed θ or η is refused.
RUNNING, CONVERGED, MAX_STEPS, MAX_TIME, IMPROPER, BAD_STEP = range(6)
#: Step rules.
CONSTANT, RELATIVE, STABLE = range(3)

#: What a loop carries from step to step: the progress, whether the power iteration's direction is cold, and how many of
#: ``Record.due`` have been kept.
STATE = np.dtype(
    [
        ("step", np.int64),
        ("time", np.float64),
        ("eta", np.float64),
        ("eta_min", np.float64),
        ("eta_max", np.float64),
        ("residual", np.float64),
        ("cold", np.int64),
        ("kept", np.int64),
        ("sign_changes", np.int64),
    ]
)


class Data(NamedTuple):
    """What is trained on.

    Attributes:
        A: (m, n).
        y: (m,).
        zeros: (m,), zeros.
        every: 0 … m − 1, int64.
    """

    A: np.ndarray
    y: np.ndarray
    zeros: np.ndarray
    every: np.ndarray


class Record(NamedTuple):
    """At which steps θ is kept, and where.

    Attributes:
        due: Step numbers, increasing.
        kept: (len(due), width, n).
        marks: (len(due), 2): time and η.
    """

    due: np.ndarray
    kept: np.ndarray
    marks: np.ndarray


class Work(NamedTuple):
    """θ, and scratch.

    Attributes:
        theta: (width, n), θ_k.
        new: (width, n): the proposed θ, also where it is refused.
        scratch: A :class:`~dlntorch.model.cells.Scratch`.
        vectors: Scratch (4, n): ψ, g and two more.
        record: A :class:`Record`.
    """

    theta: np.ndarray
    new: np.ndarray
    scratch: Scratch
    vectors: np.ndarray
    record: Record


class Numbers(NamedTuple):
    """The rule's numbers and the budgets.

    Attributes:
        cell: The cell's own numbers.
        slope: What the cell's slopes are divided by.
        c: Fraction of the stability limit.
        kappa: κ.
        eta: The step of the rule ``constant``.
        norm2: ‖A‖₂², times m/b for mini-batches.
        scale: m/b.
        threshold: The residual that ends the run.
        max_time: Time budget.
        rule: One of the rules above.
        max_steps: Step budget.
        check_every: With mini-batches or noisy labels the residual is looked at every so many steps.
        watches: Whether the residual may end the run.
        cold: Iterations of the first power iteration.
        warm: Iterations of the others.
        signed: Whether a parameter that starts positive may change its sign.
        steps: At most so many steps; 0 only looks at θ_k.
    """

    cell: Any
    slope: float
    c: float
    kappa: float
    eta: float
    norm2: float
    scale: float
    threshold: float
    max_time: float
    rule: int
    max_steps: int
    check_every: int
    watches: bool
    cold: int
    warm: int
    signed: bool
    steps: int


@kernel
def _reseed(direction, start):
    """direction = (direction + RESEED · start) / its norm, as the rule ``stable`` has it."""
    amount, square = direction.dtype.type(RESEED), 0.0
    for j in range(direction.shape[0]):
        for i in range(direction.shape[1]):
            mixed = direction[j, i] + amount * start[j, i]
            direction[j, i] = mixed
            square += float(mixed) * float(mixed)
    norm = direction.dtype.type(math.sqrt(square))
    for j in range(direction.shape[0]):
        for i in range(direction.shape[1]):
            direction[j, i] /= norm


@kernel
def _sign_changes(theta, new):
    """How many entries of θ change their sign; −1 where one of ``new`` is not finite."""
    changes = 0
    for j in range(theta.shape[0]):
        for i in range(theta.shape[1]):
            if not abs(new[j, i]) < math.inf:
                return -1
            if (new[j, i] < 0) != (theta[j, i] < 0):
                changes += 1
    return changes


@kernel(inline="always")
def _move(theta, new, width):
    """θ = new; an array assignment would compile its error message for seconds."""
    for i in range(theta.shape[1]):
        for j in range(width):
            theta[j, i] = new[j, i]


@kernel(inline="always")
def _keep(record, theta, state):
    """Keep θ_k where its step number is due."""
    count = state.kept
    if count < record.due.size and record.due[count] == state.step:
        for j in range(theta.shape[0]):
            for i in range(theta.shape[1]):
                record.kept[count, j, i] = theta[j, i]
        record.marks[count, 0] = state.time
        record.marks[count, 1] = state.eta
        state.kept = count + 1


@kernel(inline="always")
def _count(state, eta):
    """One more step, of size η."""
    state.step += 1
    state.time += eta
    state.eta = eta
    state.eta_min = min(state.eta_min, eta)
    state.eta_max = max(state.eta_max, eta)


@kernel(inline="always")
def _residual(data, psi, g, certificate):
    """‖Aψ − y‖₂ with all rows, and g; the certificate's product with the same matrix is made in the same pass over it."""
    if certificate is not None and data.A.itemsize == 8 and prepare(*certificate[3:]):
        other, short = certificate[7], certificate[8]
        square, short[0] = gradient_pair(data.A, data.y, psi, g, other[4], other[7])
        short[0], short[2] = math.sqrt(short[0]), 1.0
        return math.sqrt(square)
    return math.sqrt(gradient(data.A, data.y, data.every, psi, g))


@cache
def _hessian_norm(slope_at, bent):
    """The power iteration for a cell's second derivatives."""

    @kernel
    def hessian_norm(data, rows, numbers, work, direction, iterations):
        """‖∇²L(θ)‖₂ by power iterations from ``direction[0]``, which is replaced, as in ``model.objective``."""
        theta, scratch, g, x, image = work.theta, work.scratch, work.vectors[1], work.vectors[2], work.vectors[3]
        v, out = direction[0], direction[2]
        kind = theta.dtype.type
        steep, weight = kind(numbers.slope), kind(numbers.scale)
        norm = 0.0
        for _ in range(iterations):
            for i in range(g.size):  # the opposite sign, since the product below is y − Aψ with y = 0
                along = slope_at(numbers.cell, theta, scratch, 0, i) * v[0, i]
                for j in range(1, theta.shape[0]):
                    along += slope_at(numbers.cell, theta, scratch, j, i) * v[j, i]
                x[i] = -steep * along
            gradient(data.A, data.zeros, rows, x, image)
            bent(numbers.cell, theta, scratch, g, v, out)
            square = 0.0
            for i in range(g.size):
                common = steep * (weight * image[i])
                part = 0.0
                for j in range(theta.shape[0]):
                    moved = slope_at(numbers.cell, theta, scratch, j, i) * common - out[j, i]
                    out[j, i] = moved
                    part += float(moved) * float(moved)
                square += part
            norm = math.sqrt(square)
            if not 0.0 < norm < math.inf:
                return norm
            inverse = kind(norm)
            for j in range(theta.shape[0]):
                for i in range(g.size):
                    v[j, i] = out[j, i] / inverse
        return norm

    return hessian_norm


@cache
def compiled_loop(cell, width, positive):
    """The loop for a parametrization, compiled when it is first called.

    Args:
        cell: Its :class:`~dlntorch.model.cells.CellKernels`.
        width: Parameters of a coordinate.
        positive: Whether every parameter has to stay positive.
    """
    represent, limits, propose, fill, slope_at, bent = cell
    hessian_norm, propose_update = _hessian_norm(slope_at, bent), compiled_updates(slope_at, width, positive)

    @kernel
    def run_steps(data, work, numbers, state, chosen, direction, certificate, update):
        """Make up to ``numbers.steps`` steps from θ_k; returns how it ended, one of the constants above.

        Args:
            data: A :class:`Data`.
            work: A :class:`Work`; its ``theta`` is replaced by the last θ.
            numbers: A :class:`Numbers`.
            state: A record of the type :data:`STATE`.
            chosen: (steps, b) row numbers of the mini-batches, None for full-batch steps.
            direction: (3, width, n) for the rule ``stable``: the power iteration's direction, replaced, the first one,
                and scratch; else None.
            certificate: What ``Certificate.arguments`` gives, to be carried along; else None.
            update: An :class:`~dlntorch.engine.update_kernels.UpdateNumbers`; None for plain SGD.
        """
        theta, new, scratch = work.theta, work.new, work.scratch
        psi, g = work.vectors[0], work.vectors[1]
        eta, kind = numbers.eta, theta.dtype.type
        rows, labels, noisy = data.every, data.y, False
        if update is not None and update.sigma > 0.0:
            labels, noisy = update.labels, True
        for s in range(numbers.steps + 1 if numbers.steps == 0 else numbers.steps):
            represent(numbers.cell, theta, scratch, psi, s == 0)
            if (chosen is None and not noisy) or state.step % numbers.check_every == 0:
                state.residual = _residual(data, psi, g, certificate)
                if numbers.watches and state.residual <= numbers.threshold:
                    return CONVERGED
            if state.step >= numbers.max_steps:
                return MAX_STEPS
            if state.time >= numbers.max_time:
                return MAX_TIME
            if numbers.steps == 0:
                return RUNNING
            if update is not None and noisy:
                add_signs(data.y, update.sigma, update.seed, state.step, labels)
            if chosen is not None:
                rows = chosen[s]
                gradient(data.A, labels, rows, psi, g)
                for i in range(g.size):
                    g[i] *= kind(numbers.scale)
            elif noisy:
                gradient(data.A, labels, data.every, psi, g)
            if direction is not None:
                fill(numbers.cell, theta, scratch)
                iterations = numbers.cold
                if state.cold == 0:
                    iterations = numbers.warm
                    _reseed(direction[0], direction[1])
                norm = hessian_norm(data, rows, numbers, work, direction, iterations)
                state.cold = 0
                eta = numbers.c / norm
            elif numbers.rule == RELATIVE:
                rho, limit = limits(numbers.cell, theta, scratch, g, numbers.norm2)
                eta = numbers.c / limit
                if not (rho == 0.0 or eta < numbers.kappa / rho):
                    eta = numbers.kappa / rho
            if not 0.0 < eta < math.inf:
                state.eta = eta
                return BAD_STEP
            if update is None:
                proper = propose(numbers.cell, theta, scratch, g, eta, new)
            else:
                fill(numbers.cell, theta, scratch)
                proper = propose_update(numbers, theta, scratch, g, eta, state, update, new)
            if not proper:
                changes = _sign_changes(theta, new) if positive and numbers.signed else -1
                if changes < 0:
                    return IMPROPER
                state.sign_changes += changes
            if certificate is not None:
                certificate_step(theta[0], theta[1], eta, *certificate)
            _move(theta, new, width)
            if update is not None:
                accept_update(update)
            _count(state, eta)
            _keep(work.record, theta, state)
        return RUNNING

    return run_steps
