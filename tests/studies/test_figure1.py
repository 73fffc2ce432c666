"""Figure 1: verdicts of the small version; distances against Radau on the paper's grid."""

from __future__ import annotations

import numpy as np
import pytest

from dlntorch.limit.flow_limit import flow_limit
from dlntorch.studies.base import column, pick, select
from dlntorch.studies.measure import radau_limit
from tests import problems


@pytest.fixture(scope="module")
def result(small):
    return small("figure1")


def test_the_verdicts(result, confirmed):
    confirmed(result)
    slopes = [claim for claim in result.claims if "slope" in claim.claim]
    assert len(slopes) == 4
    for claim in slopes:
        assert abs(claim.measured - claim.predicted) <= (0.03 if "p = 2" in claim.claim else 0.02)


def test_distances_are_those_of_the_closed_form(result):
    """W_p of the line is known in closed form."""
    for p in (2, 3):
        for row in select(result.rows, problem="line", p=p, method="limit")[::6]:
            psi = flow_limit(problems.line(), p, row["alpha"]).psi
            exact = float((psi - problems.line_selected(p)).norm())
            assert row["distance"] == pytest.approx(exact, rel=1e-2 if row["resolved"] else 10, abs=1e-15)


def test_sgd_is_seen_to_leave_the_limit(small):
    """With a coarse step SGD's distance is that of its step size, not the limit's: the overlay is a real run."""
    rows = small("figure1", sgd_kappa=0.01, problems=["line"], depths=[3], sgd_powers=[1e-4], flow_powers=[1]).rows
    row = pick(rows, method="sgd")
    assert row["distance"] > 100 * row["limit_distance"]
    assert column(select(rows, method="flow"), "difference_from_limit").max() < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("make", [problems.line, problems.plane, problems.paper_random])
@pytest.mark.parametrize("p", [2.0, 2.5, 3.0, 4.0])
def test_distances_agree_with_radau_to_1e9(make, p):
    """The paper's whole grid, α^p from 1 to 1e-9."""
    powers = 10.0 ** -np.arange(10)
    limit = flow_limit(make(), p, powers ** (1 / p)).psi.numpy()
    for power, psi in zip(powers, limit, strict=True):
        integrated = radau_limit(make(), p, power ** (1 / p), rtol=1e-12)
        assert integrated is not None
        assert np.max(np.abs(integrated - psi)) <= 1e-9
