"""Selection: verdicts; the maximum-entropy end and the moments of what is selected."""

from __future__ import annotations

import numpy as np
import pytest

from dlntorch.studies.base import column, select


@pytest.fixture(scope="module")
def result(small):
    return small("selection")


def test_the_verdicts(result, confirmed):
    confirmed(result)
    assert len(result.claims) == 5


def test_every_selected_vector_is_a_distribution_with_the_mean(result):
    for p in (2, 2.5, 4, 12):
        psi = column(select(result.rows, problem="mean", p=p, power=1e-5), "selected")
        assert psi.min() > 0
        assert psi.sum() == pytest.approx(1, abs=1e-12)
        assert psi @ np.arange(8) == pytest.approx(2, abs=1e-11)


def test_depth_two_is_the_gibbs_distribution(result):
    log_psi = np.log(column(select(result.rows, problem="mean", p=2, power=1e-5), "selected"))
    assert np.diff(log_psi, 2) == pytest.approx(np.zeros(6), abs=1e-8)
