"""Plans: the run meets the accuracy, in the steps that were predicted; what cannot be had is said."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dlntorch as dln
from dlntorch.model.metrics import distance
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError
from dlntorch.problem import synthetic
from dlntorch.run.accuracy import plan
from dlntorch.run.accuracy_parts import Course
from dlntorch.run.reachable import Refusals, first_reachable
from tests import problems


def reached(problem, made):
    """(‖ψ − W_p‖, steps) of the planned run."""
    run = dln.train(
        problem, made.p, made.alpha, kappa=made.kappa, tol=made.tol, max_time=made.max_time, references=False
    )
    return float(distance(run.psi, dln.selected_minimizer(problem, made.p).psi)), run.summary["steps"]


CASES = [
    (problems.paper_random(), 1e-4, None),
    (problems.paper_random(), 1e-9, None),
    (problems.gaussian(8, 24, 0, 2), 4.7e-4, None),
    (problems.line(), 1e-2, 3),
    (problems.plane(), 1e-2, 2),
    (dln.Problem([[1e-3, 5e-4]], [1e-9]), 1e-9, 2.5),
]


@pytest.mark.parametrize(("problem", "accuracy", "p"), CASES)
def test_the_run_meets_the_accuracy_in_the_predicted_steps(problem, accuracy, p):
    made = plan(problem, accuracy, p)
    assert made.status == "converged"
    assert p is None or made.p == p
    error, steps = reached(problem, made)
    assert error <= accuracy
    assert steps == pytest.approx(made.steps, rel=0.3, abs=40)
    assert made.budget["error"] <= accuracy
    assert made.seconds > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_random_problems_meet_their_accuracy(seed):
    rng = np.random.default_rng(seed)
    m = int(rng.integers(3, 9))
    problem = problems.gaussian(m, int(rng.integers(m + 2, 4 * m)), seed, None if seed % 2 else max(1, m // 3))
    accuracy = 10 ** rng.uniform(-4, -1.5)
    made = plan(problem, accuracy)
    assert made.status == "converged"
    if made.steps < 3e6:
        assert reached(problem, made)[0] <= accuracy


@pytest.mark.parametrize("p", [2, 3])
def test_the_effective_initialization_along_the_flow_is_that_of_descent(p):
    """Σ over the steps of descent itself, against the integral along the flow: equal as κ → 0."""
    problem, alpha, kappa = problems.gaussian(4, 9, 1), 0.1, 0.01
    selected = dln.selected_minimizer(problem, p).psi
    course = Course(problem, p, alpha, selected, 1e-3, 0.0)
    A, y = problem.A.numpy(), problem.y.numpy()
    theta = np.full((2, 9), alpha)
    total, norm = np.zeros((2, 9)), problem.spectral_norm
    for _ in range(400_000):
        r = y - A @ (theta[0] ** p - theta[1] ** p)
        if np.linalg.norm(r) < 1e-8:
            break
        g = A.T @ r * np.array([[1.0], [-1.0]])
        rho = p * (theta.max(axis=0) ** (p - 2) * np.abs(g[0])).max()
        bound = p * p * norm**2 * (theta ** (2 * p - 2)).sum(axis=0).max() + (p - 1) * rho
        x = min(1 / bound, kappa / rho) * p * theta ** (p - 2) * g
        if p == 2:
            total += x - np.log1p(x)
        else:
            total += (theta / alpha) ** (2 - p) * ((1 + x) ** (2 - p) - 1 + (p - 2) * x)
        theta *= 1 + x
    else:
        raise AssertionError("descent did not end")
    found = course.effective(kappa)
    sides = torch.stack([found.plus, found.minus]).numpy() / alpha
    shrunk = -np.log(sides) if p == 2 else sides ** (2 - p) - 1
    assert shrunk == pytest.approx(total, rel=0.05, abs=2e-3 * total.max())


@pytest.mark.parametrize(("p", "alpha", "kappa", "within"), [
    (2, 1e-2, 0.3, 0.05), (2.5, 1e-3, 0.3, 0.05), (3, 3e-2, 0.1, 0.03), (4, 0.1, 0.1, 0.06), (4, 0.1, 0.03, 0.02),
])  # fmt: skip
@pytest.mark.parametrize("nonzeros", [None, 2])
def test_large_steps_are_predicted_to_second_order(p, alpha, kappa, within, nonzeros):
    """The weights of a run's end, w₊ + w₋ − 2: what is in range(Aᵀ) of their difference changes no limit."""
    problem = problems.gaussian(5, 14, 1, nonzeros)
    course = Course(problem, p, alpha, dln.selected_minimizer(problem, p).psi, 1e-4, 0.0)
    predicted = course.second_order(kappa).sum(axis=0)
    run = dln.train(problem, p, alpha, kappa=kappa, tol=1e-4, references=False)
    found = dln.effective_initialization(problem, p, run.theta_plus, run.theta_minus, alpha=alpha).initialization
    sides = torch.stack([found.plus, found.minus]).numpy() / alpha
    added = (-np.log(sides) if p == 2 else sides ** (2 - p) - 1).sum(axis=0)
    assert predicted == pytest.approx(added, abs=within * added.max())
    assert np.abs(course.path.added(alpha, kappa).sum(axis=0) - added).max() > np.abs(predicted - added).max()


def test_a_run_near_another_minimiser_takes_smaller_steps():
    """Its κ = 0.3 ends 0.66 from W_p, though the limit to first order in κ is within the accuracy."""
    problem = synthetic.gaussian(12, 33, 880026)
    made = plan(problem, 1.2224158015413933e-3, 2.5)
    assert made.kappa <= 0.05
    assert reached(problem, made)[0] <= made.accuracy


def test_what_cannot_be_had_is_a_status_with_what_can():
    problem = problems.paper_random()
    floor = plan(problem, 1e-17)
    assert floor.status == "below_input_precision"
    assert floor.p is None
    assert 1e-17 < floor.reachable < 1e-10
    large = plan(problem, 1e-4, 3, alpha=0.3)
    assert large.status == "failed"
    assert large.reason.startswith("initialization: the limit at p = 3, alpha = 0.3 is ")
    again = plan(problem, 1.01 * large.reachable, 3, alpha=0.3)
    assert again.status == "converged"
    assert again.alpha == 0.3
    cliff = plan(dln.Problem([[1.0, 1.0 - 1e-12]], [1.0]), 1e-3)
    assert cliff.status == "below_input_precision"
    assert cliff.reason.startswith("W_p at p = 2: uniqueness is undecided")


@pytest.mark.parametrize(
    ("problem", "accuracy", "options"),
    [
        (problems.paper_random(), 1e-17, {}),
        (problems.line(), 1e-12, {"p": 2.5}),  # a face: α would allow 5e-11, the steps do not
        (problems.plane(), 1e-6, {"p": 3}),
        (problems.gaussian(3, 9, 1), 1e-4, {"p": 2, "kappa": 0.3}),
    ],
)
def test_what_is_said_to_be_reachable_is_reached(problem, accuracy, options):
    refused = plan(problem, accuracy, **options)
    assert refused.p is None
    assert refused.reachable > accuracy
    assert float(f"{refused.reachable:.2g}") == refused.reachable  # as it is shown
    made = plan(problem, refused.reachable, **options)
    assert made.status == "converged"
    assert reached(problem, made)[0] <= refused.reachable


def test_accuracies_are_tried_until_one_has_a_plan():
    tried = []

    def refused(accuracy, least=0.5, named=None):
        tried.append(accuracy)
        if accuracy >= least:
            return None
        found = Refusals()
        found.add(Status.FAILED, "too small", named)
        return found

    assert first_reachable(0.1234, refused) == 0.5
    assert tried == [0.13, 0.25, 0.5]
    assert first_reachable(0.13, lambda accuracy: refused(accuracy, 0.7, 0.701)) == 0.71
    assert first_reachable(1e-9, refused) is first_reachable(None, refused) is first_reachable(np.inf, refused) is None


def test_a_run_of_too_many_steps_is_not_planned(monkeypatch):
    monkeypatch.setattr("dlntorch.run.accuracy.MOST_STEPS", 300)
    made = plan(problems.gaussian(8, 24, 0, 2), 1e-3, 3)
    assert made.status == "max_steps"
    assert made.reason.startswith("finite time: at p = 3")
    assert made.reachable > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "accuracy must be a finite real number > 0, got 0"),
        ((-1e-3,), "accuracy must be a finite real number > 0, got -0.001"),
        ((float("nan"),), "accuracy must be a finite real number > 0, got nan"),
        (("1e-4",), "accuracy must be a finite real number > 0, got '1e-4'"),
        ((1e-3, 1.5), "p must be a finite real number >= 2, got 1.5"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    with pytest.raises(InputError) as said:
        plan(problems.paper_random(), *arguments)
    assert str(said.value) == message


def test_data_that_ask_for_nothing_are_refused():
    with pytest.raises(InputError, match="the part of y in range"):
        plan(dln.Problem([[1.0, 0.5]], [0.0]), 1e-3)
