"""Shapes: verdicts, and one limit by following the flow's own curve."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dlntorch.limit.flow_limit import flow_limit
from dlntorch.model import Power
from dlntorch.studies.base import select
from dlntorch.studies.shapes import problem_of, shape_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def result(small):
    return small("shapes")


def test_the_verdicts(result, confirmed):
    confirmed(result)


def test_the_limits_lie_on_their_curves(result):
    """ν of the limit, by the mirror of the start, is in range(Aᵀ), and Aψ = y."""
    for row in select(result.rows, power=1e-3, shape=0):
        problem = problem_of(row)
        start = shape_of(row, problem.n).scaled(1e-3 ** (1 / row["p"]))
        psi = flow_limit(problem, row["p"], start).psi
        form = Power(row["p"])
        nu = form.mirror(torch.stack(start.expanded(problem.n))).nu(psi).numpy()
        rest = nu - np.linalg.pinv(problem.A.numpy()) @ (problem.A.numpy() @ nu)
        assert np.linalg.norm(rest) <= 1e-8 * np.linalg.norm(nu)
        np.testing.assert_allclose(problem.A @ psi, problem.y, atol=1e-12)
