"""Conditioning: verdicts, and constants against the generator's own null-space constant."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from dlntorch.numerics.validation import InputError
from dlntorch.problem.synthetic import ill_conditioned
from dlntorch.report.study_figures.conditioning import charts
from dlntorch.studies import Verdict, load_study, study_settings
from dlntorch.studies.base import pick, select, values_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def result(small):
    return small("conditioning")


def test_the_verdicts(result, confirmed):
    confirmed(result)
    assert any("power of the condition in the constant" in claim.claim for claim in result.claims)
    assert any("time of the flow’s tail" in claim.claim for claim in result.claims)


@pytest.mark.parametrize("condition", [10.0, 1e4])
def test_the_exponent_at_depth_two_is_that_of_the_dial(result, condition):
    """1 − ϱ by a linear programme of its own: min t subject to |A_iᵀλ| <= t off S and A_Sᵀλ = σ."""
    m, n = result.settings["m"], result.settings["n"]
    problem = ill_conditioned(m, n, m, condition, 1.0, result.settings["seed"])
    A, truth = problem.A.numpy(), problem.truth.numpy()
    on = truth != 0
    off = A[:, ~on].T
    rows = np.vstack([np.hstack([off, -np.ones((len(off), 1))]), np.hstack([-off, -np.ones((len(off), 1))])])
    equal = np.hstack([A[:, on].T, np.zeros((on.sum(), 1))])
    found = linprog([0] * m + [1], rows, np.zeros(len(rows)), equal, np.sign(truth[on]), bounds=(None, None))
    row = select(result.rows, kind="sweep", p=2, condition=condition)[0]
    assert row["exponent"] == pytest.approx(1 - found.fun, rel=1e-6)
    assert row["exponent"] == pytest.approx(1 / condition, rel=1e-6)


def test_the_tail_hardly_sees_the_null_space_condition(result):
    times = [row for row in select(result.rows, kind="time", p=2) if row["support_condition"] == 1]
    assert len(values_of(times, "condition")) == 3
    measured = [row["measured_relaxation"] for row in times]
    assert max(measured) <= 1.5 * min(measured)


def test_a_row_of_the_sweep(result):
    """‖ψ − W‖ anew from the limit of one α."""
    from dlntorch.limit.flow_limit import flow_limit

    m, n = result.settings["m"], result.settings["n"]
    problem = ill_conditioned(m, n, m, 100.0, 1.0, result.settings["seed"])
    row = pick(result.rows, kind="sweep", p=3, condition=100.0, power=1e-9)
    psi = flow_limit(problem, 3, 1e-3).psi
    assert row["distance"] == pytest.approx(float((psi - problem.truth).norm()), rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decades": 2}, "study.decades must be an integer >= 3 and <= 8, got 2"),
        ({"smallest_power": 1}, "study.smallest_power must be an integer >= 2 and <= 60, got 1"),
    ],
)
def test_settings_that_cannot_be_run_are_refused(changes, message):
    with pytest.raises(InputError) as said:
        load_study("conditioning").points(study_settings("conditioning", small=True, changes=changes))
    assert str(said.value) == message


def test_what_is_not_known_is_undecided_or_left_out(result):
    """A tail that did not end; a constant beyond float64, as p close to 2 has it."""
    unknown = {"measured_relaxation": None, "constant": None, "predicted_next": None}
    rows = [row | {key: value for key, value in unknown.items() if key in row} for row in result.rows]
    found = load_study("conditioning").claims(rows, result.settings)
    tails = [claim for claim in found if "flow’s tail" in claim.claim]
    assert tails
    assert {(claim.measured, claim.verdict) for claim in tails} == {(None, Verdict.UNDECIDED)}
    (slope,) = [claim for claim in found if "in the constant" in claim.claim]
    assert (slope.measured, slope.verdict) == (None, Verdict.UNDECIDED)


def test_the_figure_of_distances_shows_the_largest_condition(result):
    _, distances, _ = charts(result.rows, result.settings)
    for panel in distances.panels:
        assert [panel.series[0].name, panel.series[-1].name] == ["condition 1", "condition 1e+06"]
