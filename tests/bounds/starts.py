"""Random problems with a start of their own in every coordinate, and both sides of it."""

from __future__ import annotations

import numpy as np

from dlntorch.model.initialization import Initialization
from dlntorch.problem import Problem
from tests import problems

SPREADS = (1e1, 1e3, 1e6)


def random_start(seed: int) -> tuple[Problem, float, Initialization]:
    """A problem, a depth and α± around 0.03, apart by a factor up to 10, 1e3 or 1e6 (1e-3 to 1e3 times the middle)."""
    rng = np.random.default_rng(seed)
    m = int(rng.integers(2, 6))
    n = int(rng.integers(m + 1, 3 * m + 2))
    problem = problems.gaussian(m, n, seed, int(rng.integers(1, m)) if seed % 3 == 1 else None)
    p = (2.0, 2.5, 3.0, 4.0)[seed % 4]
    half = 0.5 * np.log10(SPREADS[seed // 4 % 3])
    plus, minus = 10 ** (rng.uniform(-2, -1) + rng.uniform(-half, half, (2, n)))
    return problem, p, Initialization(plus, plus if seed % 5 == 4 else minus)
