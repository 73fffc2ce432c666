"""Step rules against their definitions, and the schedules' arguments."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlntorch.model.metrics import sharpness
from dlntorch.numerics.validation import InputError
from dlntorch.optim.step_size import StepRule, make_schedule
from tests.problems import gaussian


def _point(problem, p, seed):
    generator = torch.Generator().manual_seed(seed)
    plus, minus = (10 ** (-3 + 3.3 * torch.rand(problem.n, generator=generator, dtype=torch.float64)) for _ in range(2))
    g = problem.residual(plus**p - minus**p) @ problem.A
    return (plus, minus), g


@given(
    m=st.integers(1, 6),
    extra=st.integers(1, 8),
    p=st.floats(2, 8),
    kappa=st.floats(1e-4, 0.3),
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_the_relative_rule_changes_no_parameter_by_more_than_kappa_and_is_stable(m, extra, p, kappa, seed, scale):
    problem = gaussian(m, m + extra, seed, scale=scale)
    theta, g = _point(problem, p, seed)
    eta = StepRule(make_schedule(kappa=kappa), p, problem.A, problem.spectral_norm).eta(theta, g)
    change = [eta * p * t ** (p - 2) * g.abs() for t in theta]  # |θ_{k+1} − θ_k| / θ_k
    assert max(float(c.max()) for c in change) <= kappa * (1 + 1e-12)
    assert eta * float(sharpness(problem, *theta, p)) <= 1 + 1e-9


def test_the_stable_rule_is_c_over_the_sharpness():
    problem = gaussian(4, 9, 3)
    theta, g = _point(problem, 3.0, 7)
    rule = StepRule(make_schedule("stable", c=1.5), 3.0, problem.A, problem.spectral_norm)
    eta = rule.eta(theta, g)
    assert eta * float(sharpness(problem, *theta, 3.0)) == pytest.approx(1.5, rel=1e-3)
    assert rule.direction is not None


def test_the_mini_batch_bound_covers_every_batch():
    problem = gaussian(6, 12, 5)
    theta, _ = _point(problem, 2.5, 8)
    rule = StepRule(make_schedule(), 2.5, problem.A, problem.spectral_norm)
    for rows in ([0, 1], [2, 5], [3, 4]):
        scaled = problem.A[rows] * math.sqrt(3.0)
        r = problem.residual(theta[0] ** 2.5 - theta[1] ** 2.5)[rows]
        g = 3.0 * (r @ problem.A[rows])
        eta = rule.eta(theta, g, scaled)
        top = float((theta[0] ** 3 + theta[1] ** 3).max())
        assert eta <= 1 / (2.5**2 * float(torch.linalg.matrix_norm(scaled, 2)) ** 2 * top)


def test_rules_of_the_schedules():
    assert make_schedule("certified").rule == "relative"
    assert make_schedule("theorem").rule == "constant"
    assert make_schedule("constant", eta=0.1).with_steps(eta=0.2).eta == 0.2


def test_the_stable_rule_takes_any_step_where_the_loss_is_flat():
    """At θ = 0 and p = 3 every second derivative vanishes."""
    problem = gaussian(4, 9, 3)
    zero = torch.zeros(9, dtype=torch.float64)
    rule = StepRule(make_schedule("stable"), 3.0, problem.A, problem.spectral_norm)
    assert rule.eta((zero, zero), zero) == math.inf


def test_the_fraction_of_the_stability_limit_may_be_as_large_as_is_said():
    assert make_schedule("relative", c=1).c == make_schedule("certified", c=1).c == 1
    assert make_schedule("stable", c=4).c == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kappa": 0.31}, "schedule.kappa must be a finite real number > 0 and <= 0.3, got 0.31"),
        ({"kappa": 0}, "schedule.kappa must be"),
        ({"c": 1.01}, "schedule.c must be a finite real number > 0 and <= 1, got 1.01"),
        ({"name": "stable", "c": 4.01}, "schedule.c must be a finite real number > 0 and <= 4, got 4.01"),
        ({"name": "constant"}, "schedule.eta must be given with schedule=constant, got None"),
        ({"name": "constant", "eta": 0}, "schedule.eta must be a finite real number > 0, got 0"),
        ({"name": "constant", "eta": -1.0}, "schedule.eta must be a finite real number > 0, got -1"),
        ({"name": "relative", "eta": 0.1}, "schedule.eta must be left out with schedule=relative"),
        ({"name": "certified", "epsilon": -1}, "schedule.epsilon must be a finite real number > 0, got -1"),
        ({"name": "certified", "over": "most"}, "schedule.over must be one of end, all, got 'most'"),
        (
            {"name": "adam"},
            "schedule must be one of relative, certified, selecting, theorem, constant, stable, got 'adam'",
        ),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(InputError, match=message):
        make_schedule(**arguments)


def test_over_is_for_the_schedule_that_proves_a_bound():
    assert make_schedule("certified", over="all").over == "all"
    for name, numbers in (("relative", {}), ("stable", {}), ("theorem", {}), ("constant", {"eta": 0.1})):
        assert make_schedule(name, over="end", **numbers).over == "end"
        with pytest.raises(InputError, match=f"schedule.over must be end with schedule={name}.*, got 'all'"):
            make_schedule(name, over="all", **numbers)
