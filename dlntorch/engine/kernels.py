"""The compiled loop: K steps of plain SGD, in the order that :mod:`dlntorch.engine.base` fixes.

One step costs one pass over A (:func:`~dlntorch.numerics.gradient_kernel.gradient`). Of the powers of θ only θ^{p−2} is
made as a power; θ^{p−1}, θ^p and θ^{2p−2} are products with it. The loop allocates nothing.

A parameter is proper when its bits, read as an integer, lie in 1 … bits(inf) − 1; maxima are taken of bits too. Both
vectorise without any promise to the compiler about NaN, and see NaN and infinity for what they are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dlntorch.bounds.certificate_kernel import certificate_step, prepare
from dlntorch.engine.update_kernels import accept_update, propose_update
from dlntorch.numerics.bits import as_bits, as_float
from dlntorch.numerics.compiling import kernel
from dlntorch.numerics.gradient_kernel import gradient, gradient_pair
from dlntorch.numerics.powers import power
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
    "Data",
    "Numbers",
    "Record",
    "Work",
    "run_steps",
]


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


class Work(NamedTuple):
    """θ, and scratch.

    Attributes:
        theta: (2, n), θ_k.
        new: (2, n): the proposed θ, also where it is refused.
        growth: Scratch (2n,).
        base: Scratch (2n,).
        vectors: Scratch (4, n): ψ, g and two more.
    """

    theta: np.ndarray
    new: np.ndarray
    growth: np.ndarray
    base: np.ndarray
    vectors: np.ndarray


class Record(NamedTuple):
    """At which steps θ is kept, and where.

    Attributes:
        due: Step numbers, increasing.
        kept: (len(due), 2, n).
        marks: (len(due), 2): time and η.
    """

    due: np.ndarray
    kept: np.ndarray
    marks: np.ndarray


class Numbers(NamedTuple):
    """The rule's numbers and the budgets.

    Attributes:
        p: Depth.
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
        whole: ⌊p − 2⌋, −1 where θ^{p−2} is not made by multiplication.
        half: Whether p − 2 is a half-integer.
        cold: Iterations of the first power iteration.
        warm: Iterations of the others.
        signed: Whether a parameter may change its sign.
        steps: At most so many steps; 0 only looks at θ_k.
    """

    p: float
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
    whole: int
    half: bool
    cold: int
    warm: int
    signed: bool
    steps: int


#: How :func:`run_steps` ended: it may go on, or θ_k ends the run, or the proposed θ or η is refused.
RUNNING, CONVERGED, MAX_STEPS, MAX_TIME, IMPROPER, BAD_STEP = range(6)
#: Step rules.
CONSTANT, RELATIVE, STABLE = range(3)


@kernel(inline="always")
def _represent(theta, growth, psi):
    """ψ = θ₊^p − θ₋^p from growth = θ^{p−2}."""
    for i in range(psi.size):
        plus, minus = theta[0, i], theta[1, i]
        psi[i] = plus * (plus * growth[0, i]) - minus * (minus * growth[1, i])


@kernel(inline="always")
def _extremes(theta, growth, g):
    """max of max(θ₊, θ₋)^{p−2}|g| and of θ₊^{2p−2} + θ₋^{2p−2} over the coordinates; NaN counts as the largest."""
    rho = as_bits(theta.dtype.type(0))
    top = rho
    for i in range(g.size):
        rho = max(rho, as_bits(max(growth[0, i], growth[1, i]) * abs(g[i])))
        sp, sm = theta[0, i] * growth[0, i], theta[1, i] * growth[1, i]
        top = max(top, as_bits(sp * sp + sm * sm))
    return float(as_float(rho)), float(as_float(top))


@kernel(inline="always")
def _propose(theta, growth, g, factor, new):
    """new = θ − η∇L(θ) with factor = ηp; whether every entry of it is positive and finite."""
    infinity = as_bits(theta.dtype.type(math.inf))
    improper = infinity - infinity
    for i in range(g.size):
        change = factor * g[i]
        plus = theta[0, i] + change * (theta[0, i] * growth[0, i])
        minus = theta[1, i] - change * (theta[1, i] * growth[1, i])
        a, b = as_bits(plus), as_bits(minus)
        improper |= (a - 1) | (infinity - 1 - a) | (b - 1) | (infinity - 1 - b)  # the sign bit tells
        new[0, i] = plus
        new[1, i] = minus
    return improper >= 0


@kernel
def _reseed(direction, start):
    """direction = (direction + RESEED · start) / its norm, as the rule ``stable`` has it."""
    amount, square = direction.dtype.type(RESEED), 0.0
    for side in range(2):
        for i in range(direction.shape[1]):
            mixed = direction[side, i] + amount * start[side, i]
            direction[side, i] = mixed
            square += float(mixed) * float(mixed)
    norm = direction.dtype.type(math.sqrt(square))
    for side in range(2):
        for i in range(direction.shape[1]):
            direction[side, i] /= norm


@kernel
def _hessian_norm(A, zeros, rows, scale, theta, growth, p, g, direction, x, image, iterations):
    """‖∇²L(θ)‖₂ by power iterations from ``direction`` (2, n), which is replaced, as in ``metrics.power_iteration``."""
    kind = theta.dtype.type
    slope, bend, weight = kind(p), kind(p * (p - 1.0)), kind(scale)
    norm = 0.0
    for _ in range(iterations):
        for i in range(g.size):  # the opposite sign, since the product below is y − Aψ with y = 0
            sp, sm = theta[0, i] * growth[0, i], theta[1, i] * growth[1, i]
            x[i] = slope * (sm * direction[1, i] - sp * direction[0, i])
        gradient(A, zeros, rows, x, image)
        square = 0.0
        for i in range(g.size):
            sp, sm = theta[0, i] * growth[0, i], theta[1, i] * growth[1, i]
            common = slope * (weight * image[i])
            plus = sp * common - bend * g[i] * growth[0, i] * direction[0, i]
            minus = bend * g[i] * growth[1, i] * direction[1, i] - sm * common
            x[i], image[i] = plus, minus
            square += float(plus) * float(plus) + float(minus) * float(minus)
        norm = math.sqrt(square)
        if not 0.0 < norm < math.inf:
            return norm
        inverse = kind(norm)
        for i in range(g.size):
            direction[0, i] = x[i] / inverse
            direction[1, i] = image[i] / inverse
    return norm


@kernel
def _sign_changes(theta, new):
    """How many entries of θ change their sign; −1 where one of ``new`` is not finite."""
    changes = 0
    for side in range(2):
        for i in range(theta.shape[1]):
            if not abs(new[side, i]) < math.inf:
                return -1
            if (new[side, i] < 0) != (theta[side, i] < 0):
                changes += 1
    return changes


@kernel
def run_steps(data, work, numbers, record, state, chosen, direction, certificate, q, update):
    """Make up to ``numbers.steps`` steps from θ_k; returns how it ended, one of the constants above.

    Args:
        data: A :class:`Data`.
        work: A :class:`Work`; its ``theta`` is replaced by the last θ.
        numbers: A :class:`Numbers`.
        record: A :class:`Record`.
        state: Step, time, η, its minimum and its maximum, the residual, whether ``direction`` is cold, how many of
            ``record.due`` have been kept, and how often a parameter has changed its sign.
        chosen: (steps, b) row numbers of the mini-batches, None for full-batch steps.
        direction: (4, n) for the rule ``stable``: the power iteration's direction, replaced, and the first one; else
            None.
        certificate: What ``Certificate.arguments`` gives, to be carried along; else None.
        q: p − 2 where θ^{p−2} is not made by multiplication; else None.
        update: An :class:`~dlntorch.engine.update_kernels.UpdateNumbers`; None for plain SGD.
    """
    A, y, every, theta, new, growth = data.A, data.y, data.every, work.theta, work.new, work.growth
    p, kappa, eta, steps = numbers.p, numbers.kappa, numbers.eta, numbers.steps
    psi, g = work.vectors[0], work.vectors[1]
    powers = growth.reshape(theta.shape)
    kind = theta.dtype.type
    k = int(state[0])
    rows, labels, noisy = every, y, False
    if update is not None and update.sigma > 0.0:
        labels, noisy = update.labels, True
    for s in range(steps + 1 if steps == 0 else steps):
        if q is None:
            if numbers.whole > 0 or numbers.half or s == 0:  # θ⁰ = 1 once and for all
                power(theta.reshape(growth.size), q, numbers.whole, numbers.half, work.base, growth)
        else:
            power(theta.reshape(growth.size), q, numbers.whole, numbers.half, work.base, growth)
        _represent(theta, powers, psi)
        if (chosen is None and not noisy) or k % numbers.check_every == 0:
            if certificate is not None and A.itemsize == 8 and prepare(*certificate[3:]):
                # the certificate's own product with the same matrix, in the same pass over it
                other, short = certificate[7], certificate[8]
                square, short[0] = gradient_pair(A, y, psi, g, other[4], other[7])
                short[0], short[2] = math.sqrt(short[0]), 1.0
                state[5] = math.sqrt(square)
            else:
                state[5] = math.sqrt(gradient(A, y, every, psi, g))
            if numbers.watches and state[5] <= numbers.threshold:
                return CONVERGED
        if k >= numbers.max_steps:
            return MAX_STEPS
        if state[1] >= numbers.max_time:
            return MAX_TIME
        if steps == 0:
            return RUNNING
        if noisy:
            add_signs(y, update.sigma, update.seed, k, labels)  # pyright: ignore[reportOptionalMemberAccess]
        if chosen is not None:
            rows = chosen[s]
            gradient(A, labels, rows, psi, g)
            for i in range(g.size):
                g[i] *= kind(numbers.scale)
        elif noisy:
            gradient(A, labels, every, psi, g)
        if direction is not None:
            iterations = numbers.cold
            if state[6] == 0.0:
                iterations = numbers.warm
                _reseed(direction[:2], direction[2:])
            norm = _hessian_norm(
                A,
                data.zeros,
                rows,
                numbers.scale,
                theta,
                powers,
                p,
                g,
                direction[:2],
                work.vectors[2],
                work.vectors[3],
                iterations,
            )
            state[6] = 0.0
            eta = numbers.c / norm
        elif numbers.rule == RELATIVE:
            rho, top = _extremes(theta, powers, g)
            rho *= p
            limit = numbers.c / (p * p * numbers.norm2 * top + (p - 1.0) * rho)
            eta = limit if rho == 0.0 or limit < kappa / rho else kappa / rho
        if not 0.0 < eta < math.inf:
            state[2] = eta
            return BAD_STEP
        if update is None:
            proper = _propose(theta, powers, g, kind(eta * p), new)
        else:
            proper = propose_update(theta, powers, g, p, eta, state[1], k, update, new)
        if not proper:
            changes = _sign_changes(theta, new) if numbers.signed else -1
            if changes < 0:
                return IMPROPER
            state[8] += changes
        if certificate is not None:
            certificate_step(theta[0], theta[1], eta, *certificate)
        for i in range(g.size):  # an array assignment would compile its error message for seconds
            theta[0, i] = new[0, i]
            theta[1, i] = new[1, i]
        if update is not None:
            accept_update(update)
        k += 1
        state[0] = k
        state[1] += eta
        state[2] = eta
        state[3] = min(state[3], eta)
        state[4] = max(state[4], eta)
        count = int(state[7])
        if count < record.due.size and record.due[count] == k:
            for i in range(g.size):
                record.kept[count, 0, i] = theta[0, i]
                record.kept[count, 1, i] = theta[1, i]
            record.marks[count, 0] = state[1]
            record.marks[count, 1] = eta
            state[7] = count + 1.0
    return RUNNING
