"""Mini-batches: verdicts; E g² by listing the batches; the drift against limits from shifted initializations and runs."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlntorch.limit.flow_limit import flow_limit
from dlntorch.model.dual import relaxation_time
from dlntorch.numerics.validation import InputError
from dlntorch.problem.synthetic import gaussian
from dlntorch.report.study_figures import study_charts
from dlntorch.studies.base import select
from dlntorch.studies.drift import end_drift, lost_initialization, mean_square_gradient


@pytest.fixture(scope="module")
def result(small):
    return small("sgd")


def test_the_verdicts(result, confirmed):
    confirmed(result)
    assert sum("over predicted" in claim.claim for claim in result.claims) == 6
    assert sum("scatter" in claim.claim for claim in result.claims) == 4


def test_mini_batches_are_not_full_batch(result):
    """The smallest step, p = 2: one row a step ends ten times as far from the limit of the flow as full batch does."""
    ends = {
        batch: np.median([row["displacement"] for row in select(result.rows, p=2, kappa=0.005, batch=batch)])
        for batch in (1, 3, 6)
    }
    assert ends[1] > 3 * ends[3]
    assert ends[3] > 2 * ends[6]


@given(st.integers(2, 6), st.data())
def test_mean_square_gradient_is_the_mean_over_all_batches(m, data):
    batch = data.draw(st.integers(1, m))
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    A, r = rng.standard_normal((m, 3)), rng.standard_normal(m)
    every = [(m / batch * A[list(B)].T @ r[list(B)]) ** 2 for B in combinations(range(m), batch)]
    found = mean_square_gradient(A, r[None], batch)[0]
    assert found == pytest.approx(np.mean(every, axis=0), rel=1e-12, abs=1e-12)
    assert np.all(found >= (A.T @ r) ** 2 - 1e-12)


def test_one_row_problems_have_no_noise():
    A, r = np.array([[1.0, 2.0]]), np.array([[3.0]])
    assert mean_square_gradient(A, r, 1) == pytest.approx(np.array([[9.0, 36.0]]))


@pytest.mark.parametrize("batch", [1, 2, 6])
def test_the_drift_at_depth_two_is_that_of_the_limit_with_a_smaller_initialization(batch):
    """d/dη of the limit from α·exp(−ηE), by central differences of another routine."""
    problem, alpha = gaussian(6, 12, 0), 1e-2
    drift = end_drift(problem, 2.0, alpha, batch)
    slowest = relaxation_time(problem, 2.0, alpha, flow_limit(problem, 2.0, alpha))
    (plus, minus), _ = lost_initialization(problem, 2.0, alpha, batch, slowest)
    assert np.array_equal(plus, minus)
    step = 1e-4 / plus.max()
    ends = [
        flow_limit(problem, 2.0, alpha * np.exp(-sign * step * plus), per_coordinate=True).psi.numpy()
        for sign in (1, -1)
    ]
    assert drift.direction == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("p", [2.0, 2.5, 3.0])
def test_the_drift_keeps_interpolating_and_its_integral_has_converged(p):
    problem, alpha = gaussian(6, 12, 0), 1e-4 ** (1 / p)
    drift, finer = end_drift(problem, p, alpha, 2), end_drift(problem, p, alpha, 2, times=2000)
    size = np.linalg.norm(finer.direction)
    assert np.linalg.norm(problem.A.numpy() @ drift.direction) < 1e-9 * size
    assert np.linalg.norm(drift.direction - finer.direction) < 2e-4 * size
    assert drift.rho == pytest.approx(finer.rho, rel=1e-3)


def test_p_two_is_the_limit_of_larger_p():
    problem, alpha = gaussian(6, 12, 0), 1e-2
    near, at = (end_drift(problem, p, alpha, 2).direction for p in (2 + 1e-5, 2.0))
    assert near == pytest.approx(at, rel=1e-3, abs=1e-3 * np.linalg.norm(at))


def test_charts_have_bands_and_predictions(result):
    displacement, scatter, effective = study_charts("sgd", result.rows, result.settings)
    assert [len(chart.panels) for chart in (displacement, scatter, effective)] == [2, 2, 1]
    for panel in displacement.panels:
        for series in panel.series:
            if series.kind == "guide":
                continue
            low, high = series.band
            assert all(a <= y <= b for a, y, b in zip(low, series.y, high, strict=True))


def test_every_depth_needs_its_power(small):
    with pytest.raises(InputError, match="study.powers must have one entry for each of the 2 depths, got 1"):
        small("sgd", powers=[1e-4])
