"""Depth: verdicts; the constant against one that is measured by extrapolation."""

from __future__ import annotations

import numpy as np
import pytest

from dlntorch.limit.flow_limit import flow_limit
from dlntorch.studies import Verdict
from dlntorch.studies.base import select
from dlntorch.studies.depth import PROBLEMS
from tests import problems


@pytest.fixture(scope="module")
def result(small):
    return small("depth")


def test_the_verdicts(result, confirmed):
    confirmed(result)
    assert len(result.claims) == 8


def test_the_constant_is_that_of_multiprecision(result):
    """At p = 12 and α^p = 1e-12, the largest coordinates off the support in 30 digits."""
    row = next(row for row in select(result.rows, problem="random") if row["p"] == 12)
    exact = np.array([float(x) for x in flow_limit(problems.paper_random(), 12, 1e-1, precision=30).exact])
    at_alpha = flow_limit(PROBLEMS["random"](), 12, 1e-1).psi.numpy()
    assert at_alpha == pytest.approx(exact, rel=1e-10, abs=1e-25)
    off = np.abs(exact) < 1e-6
    assert row["constant"] >= np.linalg.norm(exact[off]) / 1e-12 * (1 - 1e-4)
    assert row["constant"] <= 3 * np.linalg.norm(exact[off]) / 1e-12


def test_constants_beyond_float64_are_undecided(small):
    found = small("depth", p_min=2.001, p_max=2.002, count=3, problems=["sparse"])
    constants = [claim for claim in found.claims if "constant C(p)" in claim.claim or "d log C" in claim.claim]
    assert [claim.verdict for claim in constants] == [Verdict.UNDECIDED] * 2
