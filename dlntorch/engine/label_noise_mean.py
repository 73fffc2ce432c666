"""The mean of ψ over the steps of SGD with label noise at p = 2, with its standard errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlntorch.model import Power
from dlntorch.model.initialization import Initialization
from dlntorch.numerics.compiling import kernel
from dlntorch.numerics.random_signs import add_signs
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.numerics.validation import check_alpha, check_count, check_number
from dlntorch.problem import Problem

__all__ = ["LabelNoiseMean", "label_noise_mean"]

BLOCKS = 32


@dataclass(frozen=True)
class LabelNoiseMean:
    """The mean of ψ over a run.

    Attributes:
        psi: Mean of ψ, shape (n,).
        standard_error: Of it, from the means of 32 blocks, shape (n,).
        covariance: Of the mean of ψ, from the same blocks, shape (n, n).
        theta: θ at the end, shape (2, n).
        status: ``max_steps``, or ``diverged``, where the numbers before are not to be used.
    """

    psi: Tensor
    standard_error: Tensor
    covariance: Tensor
    theta: Tensor
    status: Status

    __repr__ = short_repr


def label_noise_mean(
    problem: Problem, alpha: Any, eta: Any, sigma: Any, *, steps: int, burn_in: int = 0, seed: int = 0
) -> LabelNoiseMean:
    """Run SGD with labels y ± σ at p = 2, the steps of ``optimizer=label_noise``, and average ψ.

    Args:
        problem: The data, dense.
        alpha: Start, a number or an :class:`~dlntorch.model.Initialization`.
        eta: Step size.
        sigma: σ.
        steps: Steps that are averaged over; a multiple of 32 is used.
        burn_in: Steps before.
        seed: Of the signs, those of the run with this seed.
    """
    form = Power(2)
    start = form.start_from(alpha, problem.n) if isinstance(alpha, Initialization) else None
    theta = (form.start(check_alpha(alpha), problem.n) if start is None else start).numpy().astype(np.float64)
    eta, sigma = check_number("eta", eta, above=0), check_number("sigma", sigma, at_least=0)
    steps, burn_in = check_count("steps", steps, at_least=BLOCKS), check_count("burn_in", burn_in, at_least=0)
    exact = problem.to("cpu", "float64")
    sums = np.zeros((BLOCKS, problem.n))
    length = steps // BLOCKS
    A, y = np.ascontiguousarray(exact.A.numpy()), exact.y.numpy()
    noise = _Noise(eta, sigma, check_count("seed", seed, at_least=0), burn_in, length)
    _run(A, y, theta, noise, sums)
    means = sums / length
    good = bool(np.all(np.isfinite(theta)) and np.all(np.isfinite(means)))
    if not good:
        means, theta = np.zeros_like(means), np.zeros_like(theta)
    covariance = np.atleast_2d(np.cov(means.T)) / BLOCKS
    error = np.sqrt(np.diag(covariance))
    return LabelNoiseMean(
        torch.from_numpy(means.mean(axis=0)),
        torch.from_numpy(error),
        torch.from_numpy(covariance),
        torch.from_numpy(theta),
        Status.MAX_STEPS if good else Status.DIVERGED,
    )


class _Noise(NamedTuple):
    """The run's numbers, as the kernel takes them; ``length`` steps make a block."""

    eta: float
    sigma: float
    seed: int
    burn_in: int
    length: int


@kernel
def _run(A, y, theta, noise, sums):
    """θ in place; the sums of ψ_k (before step k) over each block after ``burn_in`` steps."""
    m, n = A.shape
    eta, burn_in, length = noise.eta, noise.burn_in, noise.length
    labels, psi, g = np.empty(m), np.empty(n), np.empty(n)
    for step in range(burn_in + length * sums.shape[0]):
        add_signs(y, noise.sigma, noise.seed, step, labels)
        block = (step - burn_in) // length if step >= burn_in else -1
        for i in range(n):
            psi[i] = theta[0, i] * theta[0, i] - theta[1, i] * theta[1, i]
            g[i] = 0.0
            if block >= 0:
                sums[block, i] += psi[i]
        for j in range(m):
            r = labels[j]
            for i in range(n):
                r -= A[j, i] * psi[i]
            for i in range(n):
                g[i] += A[j, i] * r
        for i in range(n):
            theta[0, i] += 2 * eta * theta[0, i] * g[i]
            theta[1, i] -= 2 * eta * theta[1, i] * g[i]
