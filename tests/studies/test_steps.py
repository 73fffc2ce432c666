"""Steps: verdicts, and one threshold by its own formula."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from dlntorch.reference.l1_minimizer import l1_minimizer
from dlntorch.studies.base import select
from dlntorch.studies.steps import problem_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def result(small):
    return small("steps")


def test_the_verdicts(result, confirmed):
    confirmed(result)


def test_margins_by_enumeration(result):
    """δ* of a minimiser with m nonzeros: weights 1 or 1 + d on the support, all 2^m of them, by HiGHS on either side."""
    row = select(result.rows, kind="onset")[0]
    problem = problem_of(row)
    A, y = problem.A.numpy(), problem.y.numpy()
    W = l1_minimizer(problem).psi.numpy()
    S = np.flatnonzero(W)
    for factor, changes in ((0.99, False), (1.01, True)):
        changed = []
        for corner in range(2**S.size):
            w = np.ones(A.shape[1])
            w[S] += factor * row["margin"] * np.array([corner >> j & 1 for j in range(S.size)])
            found = linprog(np.append(w, w), A_eq=np.hstack([A, -A]), b_eq=y, method="highs")
            changed.append(np.abs(found.x[: w.size] - found.x[w.size :] - W).max() > 1e-7)
        assert any(changed) is changes
