"""Problems with exact answers, from the paper (arXiv 2307.07410), and random families for the tests."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dlntorch.problem import Problem

LINE = ([[1.0, 1.0, 1.0], [3.0, 0.0, 1.0]], [3.0, 3.0])
PLANE = ([[2.0, -1.0, 0.0, 1.0], [0.0, 3.0, 2.0, 0.0]], [0.0, 6.0])
RANDOM = (
    [
        [-0.111, 0.120, -0.370, -0.240, -1.197],
        [0.209, -0.972, -0.755, 0.324, -0.109],
        [0.210, -0.391, 0.235, 0.665, 0.353],
    ],
    [0.973, -0.039, -0.886],
)


def line() -> Problem:
    """Minimisers (1 − t, 2(1 − t), 3t), 0 <= t <= 1."""
    return Problem(*LINE, name="line")


def plane() -> Problem:
    """The same three coordinates as :func:`line`, and a fourth that is zero."""
    return Problem(*PLANE, name="plane")


def paper_random() -> Problem:
    """The paper's 3×5 problem with a unique minimiser."""
    return Problem(*RANDOM, name="random")


def line_selected(p: float) -> Tensor:
    """W_p of :func:`line` in closed form."""
    if p == 2:
        t = 2 ** (2 / 3) / (3 + 2 ** (2 / 3))
    else:
        t = 1 / (1 + (3 ** (2 / p) / (2 ** (2 / p) + 1)) ** (-p / (p - 2)))
    return torch.tensor([1 - t, 2 * (1 - t), 3 * t], dtype=torch.float64)


def gaussian(m: int, n: int, seed: int, nonzeros: int | None = None, scale: float = 1.0) -> Problem:
    """A Gaussian matrix with columns of norm about one; y generic, or planted with ``nonzeros`` entries."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((m, n)) / np.sqrt(m)
    if nonzeros is None:
        return Problem(A, scale * rng.standard_normal(m), name="gaussian")
    truth = np.zeros(n)
    truth[rng.choice(n, nonzeros, replace=False)] = scale * rng.standard_normal(nonzeros)
    return Problem(A, A @ truth, name="sparse", truth=truth)
