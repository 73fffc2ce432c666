"""Depth: verdicts; the constant against one that is measured by extrapolation."""

from __future__ import annotations

import numpy as np
import pytest

from dlntorch.limit.flow_limit import flow_limit
from dlntorch.numerics.validation import InputError
from dlntorch.studies import Verdict
from dlntorch.studies.base import select
from dlntorch.studies.depth import PROBLEMS
from tests import problems


@pytest.fixture(scope="module")
def result(small):
    return small("depth")


def test_the_verdicts(result, confirmed):
    confirmed(result)
    assert len(result.claims) == 8 + 3 * 3


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


def test_the_boundary_is_told_by_enclosures(result):
    """At p = 2.2 the error of 1e-42 is known to a relative 1e-20, and is C·αᵖ to 1e-3."""
    rows = [row for row in result.rows if "boundary" in row and row["p"] == 2.2]
    assert len(rows) == 6
    for row in rows:
        assert row["width"] < 1e-20
        assert row["log_error"] == pytest.approx(row["log_power"] + np.log10(row["constant"]), abs=3e-3)


def test_depths_too_close_to_two_are_refused(small):
    with pytest.raises(InputError, match="boundary_depths must be >= 2.02"):
        small("depth", boundary_depths=[2.001])
