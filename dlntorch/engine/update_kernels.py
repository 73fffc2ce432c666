"""Updates other than plain SGD in the compiled loop: the formulas of :mod:`dlntorch.optim.update`, coordinate by coordinate.

What an update remembers is changed in a copy, which :func:`accept_update` takes over when the step is made: a refused step
leaves no trace.
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
        memory: (2, 2, n): the buffers of momentum (the first of them) and Adam.
        fresh: What the proposed step would make of ``memory``.
        labels: Scratch (m,) for noisy labels.
    """

    kind: int
    sigma: float
    seed: int
    first: float
    second: float
    epsilon: float
    memory: np.ndarray
    fresh: np.ndarray
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
    memory, fresh = np.zeros((2, 2, n), y.dtype), np.zeros((2, 2, n), y.dtype)
    return UpdateNumbers(kind, float(update.sigma), int(seed), *map(float, numbers), memory, fresh, y.copy())


def state_tensors(update: Update, numbers: UpdateNumbers) -> dict[str, Tensor]:
    """What the update remembers, by name, as views of the record's memory."""
    if isinstance(update, Momentum):
        return {"momentum": torch.from_numpy(numbers.memory[0])}
    if isinstance(update, Adam):
        return {"first": torch.from_numpy(numbers.memory[0]), "second": torch.from_numpy(numbers.memory[1])}
    return {}


@kernel
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
    kind = theta.dtype.type
    n = g.size
    length, rate, one = kind(eta), kind(update.first), kind(1.0)
    decay = rate if update.kind == DECAY and time < update.second else kind(0.0)
    size = root = rate2 = small = kind(0.0)
    if update.kind == ADAM:
        size = kind(eta / (1.0 - update.first ** (count + 1.0)))
        root = kind(math.sqrt(1.0 - update.second ** (count + 1.0)))
        rate2, small = kind(update.second), kind(update.epsilon)
    memory, fresh = update.memory, update.fresh
    for side in range(2):
        factor = kind(-p) if side == 0 else kind(p)
        for i in range(n):
            x = theta[side, i]
            slope = factor * g[i] * (x * growth[side, i])
            if update.kind == MOMENTUM or update.kind == NESTEROV:
                buffer = rate * memory[0, side, i] + slope
                fresh[0, side, i] = buffer
                slope = slope + rate * buffer if update.kind == NESTEROV else buffer
                new[side, i] = x - length * slope
            elif update.kind == ADAM:
                first = rate * memory[0, side, i] + (one - rate) * slope
                second = rate2 * memory[1, side, i] + (one - rate2) * slope * slope
                fresh[0, side, i] = first
                fresh[1, side, i] = second
                new[side, i] = x - size * (first / (kind(math.sqrt(second)) / root + small))
            elif update.kind == SIGN:
                new[side, i] = x - length * kind(np.sign(slope))
            else:
                new[side, i] = x - length * (slope + decay * x)
    infinity = as_bits(kind(math.inf))
    improper = infinity - infinity
    for side in range(2):
        for i in range(n):
            a = as_bits(new[side, i])
            improper |= (a - 1) | (infinity - 1 - a)  # the sign bit tells
    return improper >= 0


@kernel
def accept_update(update):
    """Take over what the step that was just made remembers."""
    if update.kind == MOMENTUM or update.kind == NESTEROV or update.kind == ADAM:
        for part in range(2 if update.kind == ADAM else 1):
            for side in range(2):
                for i in range(update.memory.shape[2]):
                    update.memory[part, side, i] = update.fresh[part, side, i]
