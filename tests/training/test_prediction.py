"""Predicted steps against the steps of the runs themselves, and what is said where there is nothing to predict."""

from __future__ import annotations

import pytest

import dlntorch as dln
from dlntorch.optim.step_size import make_schedule
from dlntorch.problem import make_problem
from dlntorch.training.prediction import predict_run
from tests import problems


@pytest.mark.parametrize("rule", ["relative", "stable"])
@pytest.mark.parametrize(("p", "alpha"), [(2, 1e-2), (3, 1e-2), (4, 0.1)])
def test_the_steps_of_a_run_are_predicted_within_a_tenth(rule: str, p: float, alpha: float) -> None:
    problem = problems.gaussian(5, 12, 1)
    # with stable's own c = 1 the first steps leave the flow, which is what the prediction follows
    c = 0.1 if rule == "stable" else None
    found = predict_run(problem, p, alpha, make_schedule(rule, c=c), 1e-8)
    run = dln.train(problem, p, alpha, rule, c=c, tol=1e-8, references=False)
    assert run.status == "converged"
    assert found.steps == pytest.approx(run.summary["steps"], rel=0.1)
    assert found.time == pytest.approx(run.summary["time"], rel=0.1)


@pytest.mark.parametrize(
    ("problem", "p", "alpha", "tol"),
    [
        (problems.gaussian(8, 24, 0, 2), 2.5, 1e-4, 1e-5),  # coordinates switch on at a residual below 1e-3
        (make_problem("sparse", m=20, n=60, noise=0.1), 2, 1e-20, 1e-4),
        (problems.line(), 4, 0.1, 1e-10),  # an algebraic tail
    ],
)
def test_the_flow_is_followed_to_the_tolerance(problem, p, alpha, tol) -> None:
    """Where it was followed to a residual of 1e-3 only, these were up to 1e8 times off."""
    found = predict_run(problem, p, alpha, make_schedule("relative", kappa=0.005), tol)
    run = dln.train(problem, p, alpha, kappa=0.005, tol=tol, references=False)
    assert run.status == "converged"
    assert found.steps == pytest.approx(run.summary["steps"], rel=0.1)
    assert found.time == pytest.approx(run.summary["time"], rel=0.1)


def test_the_clock_tells_when_a_budget_of_steps_is_used_up() -> None:
    problem = problems.gaussian(5, 12, 1)
    found = predict_run(problem, 3, 1e-2, make_schedule("relative"), 1e-8)
    for count in (30, 300, 0.9 * found.steps):
        cut = dln.train(problem, 3, 1e-2, tol=0, max_steps=int(count), references=False)
        assert found.time_of(int(count)) == pytest.approx(cut.summary["time"], rel=0.1)
    assert found.time_of(2 * found.steps) == float("inf")
    assert predict_run(problem, 3, 1e-2, make_schedule("relative"), 0).time_of(5) == float("inf")


def test_the_time_of_a_constant_step_is_predicted_before_the_step_is_chosen() -> None:
    problem = problems.gaussian(5, 12, 1)
    found = predict_run(problem, 3, 0.1, make_schedule("theorem", epsilon=0.1), 1e-6)
    assert found.steps is None
    assert "has not been chosen yet" in found.reason
    known = predict_run(problem, 3, 0.1, make_schedule("constant", eta=1e-3), 1e-6)
    assert found.time == pytest.approx(known.time, rel=1e-12)
    assert known.steps == pytest.approx(known.time / 1e-3, rel=1e-2)


@pytest.mark.parametrize(("A", "y"), [([[1.0, 2.0]], [0.0]), ([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]], [0.0, 1.0])])
def test_a_limit_of_zero_takes_no_step(A, y) -> None:
    found = predict_run(dln.Problem(A, y), 3, 0.1, make_schedule("relative"), 1e-8)
    assert (found.steps, found.time) == (0.0, 0.0)


@pytest.mark.parametrize(("p", "alpha"), [(4, 1e-200), (8, 1e-60), (3, 1e-300)])
def test_where_times_leave_the_range_of_floats_there_is_a_reason(p: float, alpha: float) -> None:
    found = predict_run(problems.line(), p, alpha, make_schedule("relative"), 1e-8)
    assert found.steps is None
    assert "out of range" in found.reason


def test_a_run_that_never_stops_on_the_residual_has_no_prediction() -> None:
    assert "tol=0" in predict_run(problems.line(), 3, 0.1, make_schedule("relative"), 0).reason
