"""The compiled loop: K steps of plain SGD, in the order that :mod:`dlntorch.engine.base` fixes.

One step costs one pass over A (:func:`~dlntorch.numerics.gradient_kernel.gradient`). Of the powers of θ only θ^{p−2} is
made as a power; θ^{p−1}, θ^p and θ^{2p−2} are products with it. The loop allocates nothing.

A parameter is proper when its bits, read as an integer, lie in 1 … bits(inf) − 1; maxima are taken of bits too. Both
vectorise without any promise to the compiler about NaN, and see NaN and infinity for what they are.
"""

from __future__ import annotations

import math

from dlntorch.bounds.certificate_kernel import certificate_step, prepare
from dlntorch.numerics.bits import as_bits, as_float
from dlntorch.numerics.compiling import kernel
from dlntorch.numerics.gradient_kernel import gradient, gradient_pair
from dlntorch.numerics.powers import power
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
    "run_steps",
]

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
def run_steps(
    A,
    y,
    zeros,
    every,
    chosen,
    steps,
    theta,
    new,
    growth,
    base,
    vectors,
    direction,
    certificate,
    q,
    numbers,
    counts,
    state,
    due,
    kept,
    marks,
):
    """Make up to ``steps`` steps from θ_k; returns how it ended, one of the constants above.

    Args:
        A: (m, n); with y (m,), zeros (m,), and every = 0 … m − 1 as int64.
        chosen: (steps, b) row numbers of the mini-batches, None for full-batch steps.
        steps: At most so many steps; 0 only looks at θ_k.
        theta: (2, n), replaced by the last θ; ``new`` (2, n) holds the proposed θ when it is refused.
        growth, base: Scratch (2n,) each.
        vectors: Scratch (4, n): ψ, g and two more.
        direction: (4, n) for the rule ``stable``: the power iteration's direction, replaced, and the first one; else
            None.
        certificate: What ``Certificate.arguments`` gives, to be carried along; else None.
        q: p − 2 where θ^{p−2} is not made by multiplication; else None.
        numbers: p, c, κ, η, ‖A‖₂² (times m/b), m/b, the residual's threshold, the time budget.
        counts: Rule, step budget, ``check_every``, whether the residual may end the run, ⌊p−2⌋, whether p−2 is a
            half-integer, iterations of the first power iteration, and of the others.
        state: Step, time, η, its minimum and its maximum, the residual, whether ``direction`` is cold, and how many of
            ``due`` have been kept.
        due: Step numbers, increasing, at which θ is kept: in ``kept`` (len(due), 2, n), with (time, η) in ``marks``.
    """
    p, c, kappa, eta, norm2 = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    scale, threshold, max_time = numbers[5], numbers[6], numbers[7]
    rule, max_steps, check_every, watches = counts[0], counts[1], counts[2], counts[3]
    whole, half, cold, warm = counts[4], counts[5], counts[6], counts[7]
    psi, g = vectors[0], vectors[1]
    powers = growth.reshape(theta.shape)
    kind = theta.dtype.type
    k = int(state[0])
    rows = every
    for s in range(steps + 1 if steps == 0 else steps):
        if q is None:
            if whole > 0 or half or s == 0:  # θ⁰ = 1 once and for all
                power(theta.reshape(growth.size), q, whole, half, base, growth)
        else:
            power(theta.reshape(growth.size), q, whole, half, base, growth)
        _represent(theta, powers, psi)
        if chosen is None or k % check_every == 0:
            if certificate is not None and A.itemsize == 8 and prepare(*certificate[3:]):
                # the certificate's own product with the same matrix, in the same pass over it
                work, short = certificate[7], certificate[8]
                square, short[0] = gradient_pair(A, y, psi, g, work[4], work[7])
                short[0], short[2] = math.sqrt(short[0]), 1.0
                state[5] = math.sqrt(square)
            else:
                state[5] = math.sqrt(gradient(A, y, every, psi, g))
            if watches and state[5] <= threshold:
                return CONVERGED
        if k >= max_steps:
            return MAX_STEPS
        if state[1] >= max_time:
            return MAX_TIME
        if steps == 0:
            return RUNNING
        if chosen is not None:
            rows = chosen[s]
            gradient(A, y, rows, psi, g)
            for i in range(g.size):
                g[i] *= kind(scale)
        if direction is not None:
            iterations = cold
            if state[6] == 0.0:
                iterations = warm
                _reseed(direction[:2], direction[2:])
            norm = _hessian_norm(
                A, zeros, rows, scale, theta, powers, p, g, direction[:2], vectors[2], vectors[3], iterations
            )
            state[6] = 0.0
            eta = c / norm
        elif rule == RELATIVE:
            rho, top = _extremes(theta, powers, g)
            rho *= p
            limit = c / (p * p * norm2 * top + (p - 1.0) * rho)
            eta = limit if rho == 0.0 or limit < kappa / rho else kappa / rho
        if not 0.0 < eta < math.inf:
            state[2] = eta
            return BAD_STEP
        if not _propose(theta, powers, g, kind(eta * p), new):
            return IMPROPER
        if certificate is not None:
            certificate_step(theta[0], theta[1], eta, *certificate)
        for i in range(g.size):  # an array assignment would compile its error message for seconds
            theta[0, i] = new[0, i]
            theta[1, i] = new[1, i]
        k += 1
        state[0] = k
        state[1] += eta
        state[2] = eta
        state[3] = min(state[3], eta)
        state[4] = max(state[4], eta)
        count = int(state[7])
        if count < due.size and due[count] == k:
            for i in range(g.size):
                kept[count, 0, i] = theta[0, i]
                kept[count, 1, i] = theta[1, i]
            marks[count, 0] = state[1]
            marks[count, 1] = eta
            state[7] = count + 1.0
    return RUNNING
