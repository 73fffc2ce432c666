"""Warm starts: verdicts, and one end by integrating the flow from the warm start with scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dlntorch.limit.flow_limit import flow_limit
from dlntorch.model import Initialization
from dlntorch.studies.base import select
from dlntorch.studies.warm_start import problem_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def result(small):
    return small("warm_start")


def test_the_verdicts(result, confirmed):
    confirmed(result)


def test_a_warm_limit_by_integration(result):
    """θ̇ = −∇L in logarithms, from the wrong guess at p = 3."""
    row = select(result.rows, p=3, power=1e-2, start="wrong guess", seed=0)[0]
    problem, _, begin = problem_of(row)
    A, y, n, p = problem.A.numpy(), problem.y.numpy(), problem.n, 3
    start = Initialization.warm(begin, 1e-2 ** (1 / p), p)
    sign = np.repeat([1.0, -1.0], n)

    def velocity(_, w):
        theta = np.exp(w)
        g = A.T @ (y - A @ (theta[:n] ** p - theta[n:] ** p))
        return sign * p * theta ** (p - 2) * np.tile(g, 2)

    w0 = np.log(np.concatenate(start.expanded(n)))
    theta = np.exp(solve_ivp(velocity, (0, 1e4), w0, method="LSODA", rtol=1e-10, atol=1e-10).y[:, -1])
    np.testing.assert_allclose(theta[:n] ** p - theta[n:] ** p, flow_limit(problem, p, start).psi, atol=1e-6)
