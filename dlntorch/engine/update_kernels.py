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


@kernel
def _momentum(theta, gradient, eta, beta, ahead, old, fresh, new):
    """b = βb + ∇L from ``old`` to ``fresh``, and θ − ηb, or θ − η(∇L + βb) where the step looks ahead."""
    kind = theta.dtype.type
    length, rate = kind(eta), kind(beta)
    own, share = (kind(1.0), rate) if ahead else (kind(0.0), kind(1.0))
    for j in range(theta.shape[0]):
        for i in range(theta.shape[1]):
            buffer = rate * old[j, i] + gradient[j, i]
            fresh[j, i] = buffer
            new[j, i] = theta[j, i] - length * (share * buffer + own * gradient[j, i])


@kernel
def _adam(theta, gradient, eta, count, update, old, fresh, new):
    """m and v, and θ − η m̂/(√v̂ + ε)."""
    kind = theta.dtype.type
    one, beta1, beta2, small = kind(1.0), kind(update.first), kind(update.second), kind(update.epsilon)
    size = kind(eta / (1.0 - update.first ** (count + 1.0)))
    root = kind(math.sqrt(1.0 - update.second ** (count + 1.0)))
    for j in range(theta.shape[0]):
        for i in range(theta.shape[1]):
            slope = gradient[j, i]
            first = beta1 * old[0, j, i] + (one - beta1) * slope
            second = beta2 * old[1, j, i] + (one - beta2) * slope * slope
            fresh[0, j, i], fresh[1, j, i] = first, second
            new[j, i] = theta[j, i] - size * (first / (kind(math.sqrt(second)) / root + small))


@kernel
def _sign(theta, gradient, eta, new):
    """θ − η sign(∇L)."""
    kind = theta.dtype.type
    for j in range(theta.shape[0]):
        for i in range(theta.shape[1]):
            new[j, i] = theta[j, i] - kind(eta) * kind(np.sign(gradient[j, i]))


@kernel
def _decayed(theta, gradient, eta, strength, new):
    """θ − η(∇L + λθ)."""
    length, decay = theta.dtype.type(eta), theta.dtype.type(strength)
    for j in range(theta.shape[0]):
        for i in range(theta.shape[1]):
            new[j, i] = theta[j, i] - length * (gradient[j, i] + decay * theta[j, i])


@kernel
def propose_update(theta, gradient, eta, time, count, update, new):
    """The proposed θ into ``new``.

    Args:
        theta: (width, n).
        gradient: ∇L(θ), (width, n).
        eta: η_k.
        time: t_k.
        count: k.
        update: An :class:`UpdateNumbers`.
        new: (width, n), replaced.
    """
    old, fresh = update.memory[update.current[0]], update.memory[1 - update.current[0]]
    if update.kind == MOMENTUM or update.kind == NESTEROV:
        _momentum(theta, gradient, eta, update.first, update.kind == NESTEROV, old[0], fresh[0], new)
    elif update.kind == ADAM:
        _adam(theta, gradient, eta, count, update, old, fresh, new)
    elif update.kind == SIGN:
        _sign(theta, gradient, eta, new)
    else:
        decays = update.kind == DECAY and time < update.second
        _decayed(theta, gradient, eta, update.first if decays else 0.0, new)


@kernel
def accept_update(update):
    """Take over what the step that was just made remembers."""
    update.current[0] = 1 - update.current[0]
