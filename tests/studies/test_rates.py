"""Rates: verdicts; distances against multiprecision."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from dlntorch.limit.flow_limit import flow_limit
from dlntorch.reference.selection import selected_minimizer
from dlntorch.studies.base import select
from dlntorch.studies.rates import decided, problem_of


@pytest.fixture(scope="module")
def result(small):
    return small("rates")


def test_the_verdicts(result, confirmed):
    confirmed(result)
    assert len(decided(result.rows)) == 8
    assert np.ptp([row["exponent"] for row in decided(result.rows)]) > 0.3


def test_distances_without_subtraction_are_right(result):
    """At α^p = 1e-10 against 40 digits, where W on its support is solved for in multiprecision too."""
    (row,) = [r for r in select(result.rows, family="gaussian", p=4, seed=0) if r["power"] == 1e-10]
    problem = problem_of(row)
    exact = flow_limit(problem, 4, 1e-10 ** (1 / 4), precision=40).exact
    support = selected_minimizer(problem, 4).support.tolist()
    with mpmath.workdps(40):
        columns = mpmath.matrix(problem.A.numpy()[:, support].tolist())
        on = mpmath.lu_solve(columns, mpmath.matrix(problem.y.tolist()))
        W = [mpmath.mpf(0)] * problem.n
        for index, value in zip(support, on, strict=True):
            W[index] = value
        distance = mpmath.sqrt(sum((mpmath.mpf(a) - b) ** 2 for a, b in zip(exact, W, strict=True)))
    assert row["distance"] == pytest.approx(float(distance), rel=1e-9)
