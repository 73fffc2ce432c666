"""Selection: verdicts; the maximum-entropy end and the moments of what is selected."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dlntorch.numerics.trajectory import Status
from dlntorch.reference.selection import selected_minimizer
from dlntorch.report.study_figures.selection import charts
from dlntorch.studies import Verdict
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


def test_one_depth_alone_has_no_entropy_that_falls(small):
    falls = small("selection", depths=[3], powers=[1e-3]).claims[-1]
    assert (falls.verdict, falls.rule) == (Verdict.UNDECIDED, "each of 0 differences < 0")


def test_a_minimiser_that_was_not_found_is_undecided(small, monkeypatch):
    from dlntorch.studies import selection

    def fails(problem, p):
        return replace(selected_minimizer(problem, p), status=Status.FAILED)

    monkeypatch.setattr(selection, "selected_minimizer", fails)
    found = small("selection", depths=[2, 3], powers=[1e-3])
    assert {claim.verdict for claim in found.claims} == {Verdict.UNDECIDED}
    assert charts(found.rows, found.settings)
