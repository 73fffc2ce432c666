"""The descent through Lightning and without it; stopping, interruption, resuming."""

from __future__ import annotations

import copy
import math

import pytest
import torch

import dlntorch as dln
from dlntorch.engine import Stopping
from dlntorch.optim.step_size import make_schedule
from dlntorch.training.descent import Descent
from dlntorch.training.fit import fit_descent
from tests.problems import gaussian

SCHEDULES = [
    make_schedule("relative", kappa=0.05),
    make_schedule("constant", eta=1e-3),
    make_schedule("stable", c=0.5),
]


def _descent(engine="eager", schedule=SCHEDULES[0], alpha=0.1, p=3, seed=0, batch_size=None, **stopping):
    problem = gaussian(5, 12, seed)
    network = dln.DiagonalLinearNetwork(12, p, alpha)
    return Descent(network, problem, schedule, Stopping(**stopping), engine=engine, batch_size=batch_size)


def _run(descent: Descent) -> Descent:
    while descent.advance() is None:
        pass
    return descent


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
@pytest.mark.parametrize("batch_size", [None, 2])
def test_autograd_through_lightning_equals_the_gradient_by_hand(schedule, batch_size):
    slow = _descent("autograd", schedule, batch_size=batch_size, max_steps=300)
    fit_descent(slow, [])
    fast = _run(_descent("eager", schedule, batch_size=batch_size, max_steps=300))
    assert slow.progress.step == fast.progress.step == 300
    torch.testing.assert_close(slow.network.psi, fast.network.psi, rtol=1e-12, atol=1e-15)
    assert slow.progress.time == pytest.approx(fast.progress.time, rel=1e-13)


def test_sgd_step_alone_changes_theta(monkeypatch):
    calls = []
    original = torch.optim.SGD.step

    def counted(self, closure=None):
        before = [p.detach().clone() for group in self.param_groups for p in group["params"]]
        assert all(torch.equal(a, b) for a, b in zip(before, calls[-1] if calls else before, strict=True))
        result = original(self, closure)
        calls.append([p.detach().clone() for group in self.param_groups for p in group["params"]])
        return result

    monkeypatch.setattr(torch.optim.SGD, "step", counted)
    descent = _descent("autograd", max_steps=50)
    fit_descent(descent, [])
    assert len(calls) == descent.progress.step == 50
    assert torch.equal(calls[-1][0], descent.network.theta_plus.detach())


def test_every_way_of_ending_is_named():
    assert _run(_descent(max_steps=100_000, tol=1e-8)).status == "converged"
    assert _run(_descent(max_steps=10)).status == "max_steps"
    late = _run(_descent(max_steps=100_000, max_time=0.5))
    assert late.status == "max_time"
    assert 0.5 <= late.progress.time <= 0.5 + late.progress.eta_max
    outside = _run(_descent(schedule=make_schedule("constant", eta=50.0), max_steps=1000))
    assert outside.status == "left_positive_orthant"
    assert outside.network.smallest_parameter() > 0
    assert "step size is too large" in outside.reason
    slow = _descent(max_steps=10**9, tol=0.0)
    slow.max_wall_seconds = 1e-3
    assert _run(slow).status == "max_wall_seconds"
    stopped = _descent(max_steps=10**9, tol=0.0)
    stopped.interrupt()
    assert _run(stopped).status == "interrupted"


def test_a_converged_run_meets_its_tolerance_against_the_norm_of_y():
    descent = _run(_descent(max_steps=100_000, tol=1e-9))
    problem = descent.problem
    assert float(problem.relative_residual(descent.network.psi.detach())) <= 1e-9


def test_y_zero_is_converged_at_once():
    problem = dln.Problem([[1.0, 2.0]], [0.0])
    descent = Descent(dln.DiagonalLinearNetwork(2, 3, 0.1), problem, SCHEDULES[0], Stopping(), engine="eager")
    assert descent.advance() == "converged"
    assert descent.progress.step == 0


def test_rank_deficient_and_inconsistent_data_converge_to_the_projection():
    A = [[1.0, 0.5, 0.2], [2.0, 1.0, 0.4]]
    problem = dln.Problem(A, [1.0, 0.0])
    descent = Descent(dln.DiagonalLinearNetwork(3, 3, 0.1), problem, SCHEDULES[0], Stopping(), engine="eager")
    assert _run(descent).status == "converged"
    gradient = problem.residual(descent.network.psi.detach()) @ problem.A
    assert float(gradient.abs().max()) < 1e-9


@pytest.mark.parametrize("engine", ["autograd", "eager"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
@pytest.mark.parametrize("batch_size", [None, 3])
def test_a_resumed_run_is_bitwise_the_uninterrupted_one(engine, schedule, batch_size):
    whole = _run(_descent(engine, schedule, batch_size=batch_size, max_steps=200))
    first = _descent(engine, schedule, batch_size=batch_size, max_steps=200)
    for _ in range(7):
        first.advance()
    first.interrupt()
    first.advance()
    assert first.status == "interrupted"
    state = copy.deepcopy(first.state_dict())
    second = _descent(engine, schedule, batch_size=batch_size, max_steps=200)
    second.load_state_dict(state)
    _run(second)
    assert torch.equal(whole.network.theta_plus, second.network.theta_plus)
    assert torch.equal(whole.network.theta_minus, second.network.theta_minus)
    assert whole.progress == second.progress
    assert [s.step for s in whole.recorder.snapshots] == [s.step for s in second.recorder.snapshots]


def test_budgets_may_be_raised_when_resuming():
    first = _run(_descent(max_steps=50))
    second = _descent(max_steps=120)
    second.load_state_dict(first.state_dict())
    _run(second)
    assert torch.equal(second.network.psi, _run(_descent(max_steps=120)).network.psi)


def test_recorded_times_are_the_sums_of_the_step_sizes():
    descent = _run(_descent(schedule=make_schedule("constant", eta=1e-3), max_steps=64))
    for snapshot in descent.recorder.snapshots:
        assert snapshot.time == pytest.approx(snapshot.step * 1e-3, rel=1e-12)
    assert math.isclose(descent.progress.time, 0.064)
