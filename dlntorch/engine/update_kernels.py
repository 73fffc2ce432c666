"""Updates other than plain SGD in the compiled loop: the formulas of :mod:`dlntorch.optim.update`, coordinate by coordinate.

What an update remembers is kept twice: a step writes the other copy, to which :func:`accept_update` turns when the step is
made. A refused step leaves no trace.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlntorch.numerics.bits import as_bits
from dlntorch.numerics.compiling import kernel
from dlntorch.optim.update import Adam, LabelNoise, Momentum, Sign, Update, WeightDecay

__all__ = ["UpdateNumbers", "accept_update", "propose_update", "state_tensors", "update_numbers"]

#: Kinds of updates.
NOISE, MOMENTUM, NESTEROV, DECAY, ADAM, SIGN = range(6)


class UpdateNumbers(NamedTuple):
    """An update, as the compiled loop has it.

    Attributes:
        kind: One of the kinds above.
        sigma: Of the label noise.
        seed: Of the label noise.
        first: β of momentum, λ of weight decay, β₁ of Adam.
        second: When weight decay ends, β₂ of Adam.
        epsilon: ε of Adam.
        memory: (2, 2, 2, n): two copies of the buffers of momentum (the first of them) and Adam, (2, n) each.
        current: (1,), which copy is that of θ_k.
        labels: Scratch (m,) for noisy labels.
    """

    kind: int
    sigma: float
    seed: int
    first: float
    second: float
    epsilon: float
    memory: np.ndarray
    current: np.ndarray
    labels: np.ndarray


def update_numbers(update: Update, seed: int, y: np.ndarray, n: int) -> UpdateNumbers | None:
    """The record of an update; None for plain SGD."""
    kind, numbers = None, (0.0, 0.0, 0.0)
    if type(update) is Momentum:
        kind, numbers = NESTEROV if update.nesterov else MOMENTUM, (update.beta, 0.0, 0.0)
    elif type(update) is WeightDecay:
        kind, numbers = DECAY, (update.strength, math.inf if update.until is None else update.until, 0.0)
    elif type(update) is Adam:
        kind, numbers = ADAM, (update.beta1, update.beta2, update.eps)
    elif type(update) is Sign:
        kind = SIGN
    elif type(update) is LabelNoise:
        kind = NOISE
    if kind is None:
        return None
    memory, current = np.zeros((2, 2, 2, n), y.dtype), np.zeros(1, np.int64)
    first, second, epsilon = map(float, numbers)
    return UpdateNumbers(kind, float(update.sigma), int(seed), first, second, epsilon, memory, current, y.copy())


def state_tensors(update: Update, numbers: UpdateNumbers) -> dict[str, Tensor]:
    """What the update remembers, by name, as views of the record's memory."""
    memory = numbers.memory[numbers.current[0]]
    if isinstance(update, Momentum):
        return {"momentum": torch.from_numpy(memory[0])}
    if isinstance(update, Adam):
        return {"first": torch.from_numpy(memory[0]), "second": torch.from_numpy(memory[1])}
    return {}


@kernel(inline="always")
def _improper(x, infinity):
    """A negative integer where x is not positive and finite: the bits tell, and their sign."""
    bits = as_bits(x)
    return (bits - 1) | (infinity - 1 - bits)


@kernel(forceinline=True)
def _momentum(theta, growth, g, p, eta, update, new):
    """b = βb + ∇L, and θ − ηb, or θ − η(∇L + βb) where the step looks ahead."""
    kind = theta.dtype.type
    length, rate, steep = kind(eta), kind(update.first), kind(p)
    own, share = (kind(1.0), rate) if update.kind == NESTEROV else (kind(0.0), kind(1.0))
    memory, old = update.memory, update.current[0]
    fresh = 1 - old
    infinity = as_bits(kind(math.inf))
    improper = infinity - infinity
    for i in range(g.size):
        change = steep * g[i]
        down = change * (theta[0, i] * growth[0, i])
        up = change * (theta[1, i] * growth[1, i])
        left, right = rate * memory[old, 0, 0, i] - down, rate * memory[old, 0, 1, i] + up
        plus = theta[0, i] - length * (share * left - own * down)
        minus = theta[1, i] - length * (share * right + own * up)
        improper |= _improper(plus, infinity) | _improper(minus, infinity)
        memory[fresh, 0, 0, i] = left
        memory[fresh, 0, 1, i] = right
        new[0, i] = plus
        new[1, i] = minus
    return improper >= 0


@kernel(forceinline=True)
def _adam(theta, growth, g, p, eta, count, update, new):
    """m and v, and θ − η m̂/(√v̂ + ε)."""
    kind = theta.dtype.type
    memory, old = update.memory, update.current[0]
    fresh = 1 - old
    one, beta1, beta2, small = kind(1.0), kind(update.first), kind(update.second), kind(update.epsilon)
    size = kind(eta / (1.0 - update.first ** (count + 1.0)))
    root = kind(math.sqrt(1.0 - update.second ** (count + 1.0)))
    infinity = as_bits(kind(math.inf))
    improper = infinity - infinity
    for side in range(2):
        factor = kind(-p) if side == 0 else kind(p)
        for i in range(g.size):
            x = theta[side, i]
            slope = factor * g[i] * (x * growth[side, i])
            first = beta1 * memory[old, 0, side, i] + (one - beta1) * slope
            second = beta2 * memory[old, 1, side, i] + (one - beta2) * slope * slope
            memory[fresh, 0, side, i], memory[fresh, 1, side, i] = first, second
            new[side, i] = x - size * (first / (kind(math.sqrt(second)) / root + small))
            improper |= _improper(new[side, i], infinity)
    return improper >= 0


@kernel(forceinline=True)
def _sign(theta, growth, g, p, eta, new):
    """θ − η sign(∇L)."""
    kind = theta.dtype.type
    length, steep = kind(eta), kind(p)
    infinity = as_bits(kind(math.inf))
    improper = infinity - infinity
    for i in range(g.size):
        change = steep * g[i]
        plus = theta[0, i] + length * kind(np.sign(change * (theta[0, i] * growth[0, i])))
        minus = theta[1, i] - length * kind(np.sign(change * (theta[1, i] * growth[1, i])))
        improper |= _improper(plus, infinity) | _improper(minus, infinity)
        new[0, i] = plus
        new[1, i] = minus
    return improper >= 0


@kernel(forceinline=True)
def _decayed(theta, growth, g, p, eta, strength, new):
    """θ − η(∇L + λθ)."""
    kind = theta.dtype.type
    length, decay, steep = kind(eta), kind(strength), kind(p)
    infinity = as_bits(kind(math.inf))
    improper = infinity - infinity
    for i in range(g.size):
        change = steep * g[i]
        left, right = theta[0, i], theta[1, i]
        plus = left - length * (decay * left - change * (left * growth[0, i]))
        minus = right - length * (change * (right * growth[1, i]) + decay * right)
        improper |= _improper(plus, infinity) | _improper(minus, infinity)
        new[0, i] = plus
        new[1, i] = minus
    return improper >= 0


@kernel(forceinline=True)
def propose_update(theta, growth, g, p, eta, time, count, update, new):
    """The proposed θ into ``new``; whether every entry of it is positive and finite.

    Args:
        theta: (2, n).
        growth: θ^{p−2}, (2, n).
        g: Aᵀ(y − Aψ), (n,).
        p: Depth.
        eta: η_k.
        time: t_k.
        count: k.
        update: An :class:`UpdateNumbers`.
        new: (2, n), replaced.
    """
    if update.kind == MOMENTUM or update.kind == NESTEROV:
        return _momentum(theta, growth, g, p, eta, update, new)
    if update.kind == ADAM:
        return _adam(theta, growth, g, p, eta, count, update, new)
    if update.kind == SIGN:
        return _sign(theta, growth, g, p, eta, new)
    decays = update.kind == DECAY and time < update.second
    return _decayed(theta, growth, g, p, eta, update.first if decays else 0.0, new)


@kernel(forceinline=True)
def accept_update(update):
    """Take over what the step that was just made remembers."""
    update.current[0] = 1 - update.current[0]
