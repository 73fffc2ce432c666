"""The studies of matrices and groups: verdicts, and what the hardness family is."""

from __future__ import annotations

import numpy as np
import pytest

from dlntorch.matrix import MatrixProblem, nuclear_minimizer
from dlntorch.report.study_figures import study_charts
from dlntorch.studies import Verdict
from dlntorch.studies.base import select
from dlntorch.studies.matrix_gha import measurement, minimiser, read

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["nuclear", "groups", "matrix_gha"])
def test_theorems_and_measurements_are_confirmed(name, small):
    """A conjecture may fail; every claim says which of the three it is."""
    result = small(name)
    for claim in result.claims:
        kind = claim.claim.split()[0].strip(",:")
        assert kind in ("theorem", "measurement", "conjecture")
        assert kind == "conjecture" or claim.verdict is Verdict.CONFIRMED, claim
    assert [chart.name for chart in study_charts(name, result.rows, result.settings)]


@pytest.mark.parametrize("delta", [0.3, -0.3, 1e-3, -1e-3])
def test_the_exact_minimiser_is_the_reference_s(delta):
    A, y = measurement(delta, 2)
    found = nuclear_minimizer(MatrixProblem(A[None], [y]))
    assert found.X.numpy() == pytest.approx(minimiser(delta, 2), abs=1e-9)


def test_what_is_rounded_away_is_the_identity():
    assert (read(measurement(1e-13, 1)[0], 40) == np.eye(2)).all()
    assert (read(measurement(-1e-13, 1)[0], 40) == np.eye(2)).all()
    assert (read(measurement(1e-11, 1)[0], 40) != np.eye(2)).any()


def test_deep_paths_leave_the_diagonal_and_shallow_ones_do_not(small):
    rows = small("nuclear").rows
    assert max(row["off_diagonal"] for row in select(rows, part="path", layers=2)) < 1e-10
    assert min(row["off_diagonal"] for row in select(rows, part="path", layers=4)) > 0.1
