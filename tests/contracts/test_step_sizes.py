"""What every schedule promises, run over all that are registered × all engines, and over a step size of a user's."""

from __future__ import annotations

import math

import pytest
import torch

import dlntorch as dln
from dlntorch.engine import CAPABILITIES
from dlntorch.engine.capabilities import NAMED
from dlntorch.optim.step_size import SCHEDULES, StepSize, make_schedule
from tests.problems import gaussian

#: What each needs beside its defaults to end soon.
NEEDS: dict[str, dict] = {
    "relative": {},
    "certified": {"epsilon": 0.1, "max_time": 30.0},
    "selecting": {"max_steps": 300},
    "theorem": {"epsilon": 0.5, "max_time": 1e-3, "max_steps": 300},
    "constant": {"eta": 1e-3},
    "stable": {"c": 0.5},
}
ENGINES = [name for name in NAMED if "cpu" in CAPABILITIES[name].devices]
ALPHA = 0.3


class Cooling(StepSize):
    """A user's: no longer than a tenth of the smallest |θ/∇L|, at most 0.05, and shorter as time goes on."""

    def eta(self, point):
        change = (point.slope * point.g).abs() / point.theta.abs()
        return min(0.1 / float(change.max()), 0.05) / (1 + 0.01 * point.time)


def trained(schedule, engine, **options):
    given = {"max_steps": 400, "tol": 1e-4, "references": False} | options
    return dln.train(gaussian(3, 7, seed=2, nonzeros=2), 3, ALPHA, schedule, engine=engine, **given)


def test_every_schedule_is_here():
    assert set(NEEDS) == set(SCHEDULES)


@pytest.mark.parametrize("name", SCHEDULES)
def test_engines_make_the_same_steps(name):
    """η is positive and finite, t = Σ η, and the summary says which schedule it was."""
    runs = [trained(name, engine, **NEEDS[name]) for engine in ENGINES]
    for run in runs:
        summary = run.summary
        assert run.status in ("converged", "max_steps", "max_time"), summary["reason"]
        assert summary["schedule"]["name"] == name
        if summary["steps"]:
            low, high = summary["schedule"]["eta_min"], summary["schedule"]["eta_max"]
            assert 0 < low <= high < math.inf
            assert low * summary["steps"] <= summary["time"] * (1 + 1e-12) <= high * summary["steps"] * (1 + 2e-12)
        assert (run.status, summary["steps"]) == (runs[0].status, runs[0].summary["steps"])
        torch.testing.assert_close(torch.as_tensor(run.psi), torch.as_tensor(runs[0].psi), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["relative", "certified"])
def test_no_parameter_changes_by_more_than_kappa(name):
    """Of two runs cut one step apart: |θ_{k+1}/θ_k − 1| <= κ."""
    for steps in (1, 7, 40):
        before, after = (
            trained("relative", "eager", kappa=0.05, max_steps=k, tol=0) for k in (steps, steps + 1)
        )  # certified chooses κ for the same rule
        for old, new in ((before.theta_plus, after.theta_plus), (before.theta_minus, after.theta_minus)):
            assert float((torch.as_tensor(new) / torch.as_tensor(old) - 1).abs().max()) <= 0.05 * (1 + 1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_number_that_is_not_used_is_refused(name):
    used = {
        "relative": "kappa c",
        "certified": "epsilon kappa c",
        "theorem": "epsilon",
        "constant": "eta",
        "stable": "c",
    }
    for key in {"kappa", "c", "eta", "epsilon"} - set(used.get(name, "").split()):
        with pytest.raises(dln.InputError, match=rf"schedule.{key} must be left out with schedule={name}"):
            make_schedule(name, **{key: 0.1})


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("law", [3, dln.Product(2)], ids=repr)
def test_a_step_size_of_the_users_runs_where_it_can_and_is_refused_elsewhere(engine, law):
    problem = gaussian(3, 7, seed=2, nonzeros=2)
    if not CAPABILITIES[engine].own_step_sizes:
        with pytest.raises(dln.InputError, match="engine must be eager or autograd with"):
            dln.train(problem, law, ALPHA, Cooling(), engine=engine)
        return
    if law == 3:
        run = dln.train(problem, law, ALPHA, Cooling(), engine=engine, tol=1e-2, max_steps=3000, references=False)
        other = dln.train(problem, law, ALPHA, Cooling().eta, engine=engine, tol=1e-2, max_steps=3000, references=False)
        assert run.status == other.status == "converged"
        assert torch.equal(torch.as_tensor(run.psi), torch.as_tensor(other.psi))
        assert run.summary["schedule"]["name"] == "Cooling"
    else:
        run = dln.train(problem, law, ALPHA, lambda point: 1e-2, engine=engine, max_steps=30, tol=0, references=False)
        assert run.summary["time"] == pytest.approx(0.3)


@pytest.mark.parametrize("engine", [name for name in ENGINES if CAPABILITIES[name].own_step_sizes])
@pytest.mark.parametrize("eta", [0.0, -1.0, math.nan, math.inf])
def test_a_step_size_that_is_none_ends_the_run_with_its_name(engine, eta):
    class Broken(StepSize):
        def eta(self, point):
            return 1e-3 if point.step < 5 else eta

    run = trained(Broken(), engine)
    assert (run.status, run.summary["steps"]) == ("failed", 5)
    assert f"Broken gives the step size {eta:g} at step 5" in run.summary["reason"]
