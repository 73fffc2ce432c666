"""Updates other than plain SGD in the compiled loop: the formulas of :mod:`dlntorch.optim.update`, coordinate by coordinate.

What an update remembers is kept twice: a step writes the other copy, to which :func:`accept_update` turns when the step is
made. A refused step leaves no trace.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlntorch.model.stored_slopes import not_finite, not_positive
from dlntorch.numerics.bits import as_bits
from dlntorch.numerics.compiling import kernel
from dlntorch.optim.update import Adam, LabelNoise, Momentum, Sign, Update, WeightDecay

__all__ = ["UpdateNumbers", "accept_update", "compiled_updates", "state_tensors", "update_numbers"]

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
        memory: (2, 2, width, n): two copies of the buffers of momentum (the first of them) and Adam, (width, n) each.
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


def update_numbers(update: Update, seed: int, y: np.ndarray, shape: tuple[int, int]) -> UpdateNumbers | None:
    """The record of an update of θ of this shape; None for plain SGD."""
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
    memory, current = np.zeros((2, 2, *shape), y.dtype), np.zeros(1, np.int64)
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


@cache
def compiled_updates(slope_at: Any, width: int, positive: bool) -> Any:
    """The kernel that proposes an update's θ, for a cell's slopes and parameters that have to stay positive or need not.

    Args:
        slope_at: The cell's.
        width: Parameters of a coordinate.
        positive: Whether every parameter has to stay positive.
    """

    refused = not_positive if positive else not_finite

    @kernel(forceinline=True)
    def momentum(numbers, theta, scratch, g, eta, update, new):
        """b = βb + ∇L, and θ − ηb, or θ − η(∇L + βb) where the step looks ahead."""
        kind = theta.dtype.type
        length, rate, steep = kind(eta), kind(update.first), kind(numbers.slope)
        own, share = (kind(1.0), rate) if update.kind == NESTEROV else (kind(0.0), kind(1.0))
        memory, old = update.memory, update.current[0]
        fresh, infinity = 1 - old, as_bits(kind(math.inf))
        improper = infinity - infinity
        for i in range(g.size):
            for j in range(width):
                slope = -(steep * g[i]) * slope_at(numbers.cell, theta, scratch, j, i)
                buffer = rate * memory[old, 0, j, i] + slope
                moved = theta[j, i] - length * (share * buffer + own * slope)
                improper |= refused(moved, infinity)
                memory[fresh, 0, j, i] = buffer
                new[j, i] = moved
        return improper >= 0

    @kernel(forceinline=True)
    def adam(numbers, theta, scratch, g, eta, count, update, new):
        """m and v, and θ − η m̂/(√v̂ + ε)."""
        kind = theta.dtype.type
        memory, old = update.memory, update.current[0]
        steep, fresh, infinity = kind(numbers.slope), 1 - old, as_bits(kind(math.inf))
        one, beta1, beta2, small = kind(1.0), kind(update.first), kind(update.second), kind(update.epsilon)
        size = kind(eta / (1.0 - update.first ** (count + 1.0)))
        root = kind(math.sqrt(1.0 - update.second ** (count + 1.0)))
        improper = infinity - infinity
        for j in range(width):
            for i in range(g.size):
                slope = -(steep * g[i]) * slope_at(numbers.cell, theta, scratch, j, i)
                first = beta1 * memory[old, 0, j, i] + (one - beta1) * slope
                second = beta2 * memory[old, 1, j, i] + (one - beta2) * slope * slope
                memory[fresh, 0, j, i], memory[fresh, 1, j, i] = first, second
                new[j, i] = theta[j, i] - size * (first / (kind(math.sqrt(second)) / root + small))
                improper |= refused(new[j, i], infinity)
        return improper >= 0

    @kernel(forceinline=True)
    def sign(numbers, theta, scratch, g, eta, new):
        """θ − η sign(∇L)."""
        kind = theta.dtype.type
        length, steep, infinity = kind(eta), kind(numbers.slope), as_bits(kind(math.inf))
        improper = infinity - infinity
        for i in range(g.size):
            for j in range(width):
                slope = -(steep * g[i]) * slope_at(numbers.cell, theta, scratch, j, i)
                moved = theta[j, i] - length * kind(np.sign(slope))
                improper |= refused(moved, infinity)
                new[j, i] = moved
        return improper >= 0

    @kernel(forceinline=True)
    def decayed(numbers, theta, scratch, g, eta, strength, new):
        """θ − η(∇L + λθ)."""
        kind = theta.dtype.type
        length, decay, steep = kind(eta), kind(strength), kind(numbers.slope)
        infinity = as_bits(kind(math.inf))
        improper = infinity - infinity
        for i in range(g.size):
            for j in range(width):
                slope = -(steep * g[i]) * slope_at(numbers.cell, theta, scratch, j, i)
                moved = theta[j, i] - length * (slope + decay * theta[j, i])
                improper |= refused(moved, infinity)
                new[j, i] = moved
        return improper >= 0

    @kernel(forceinline=True)
    def propose_update(numbers, theta, scratch, g, eta, state, update, new):
        """The proposed θ into ``new``; whether it is finite, and positive where it has to be.

        Args:
            numbers: The loop's :class:`~dlntorch.engine.kernels.Numbers`.
            theta: (width, n).
            scratch: The cell's, with its slopes.
            g: Aᵀ(y − Aψ), (n,).
            eta: η_k.
            state: The loop's, with k and t_k.
            update: An :class:`UpdateNumbers`.
            new: (width, n), replaced.
        """
        if update.kind == MOMENTUM or update.kind == NESTEROV:
            return momentum(numbers, theta, scratch, g, eta, update, new)
        if update.kind == ADAM:
            return adam(numbers, theta, scratch, g, eta, state.step, update, new)
        if update.kind == SIGN:
            return sign(numbers, theta, scratch, g, eta, new)
        decays = update.kind == DECAY and state.time < update.second
        return decayed(numbers, theta, scratch, g, eta, update.first if decays else 0.0, new)

    return propose_update


@kernel(forceinline=True)
def accept_update(update):
    """Take over what the step that was just made remembers."""
    update.current[0] = 1 - update.current[0]
