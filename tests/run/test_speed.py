"""How long a run would take: predicted steps at a measured speed, and a warning of budgets that end it early."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dlntorch.numerics.durations import format_seconds
from dlntorch.numerics.trajectory import Status
from dlntorch.problem import make_problem
from dlntorch.run.planning import Plan
from dlntorch.run.references import compute_references
from dlntorch.run.settings import RunSettings
from dlntorch.run.speed import Speed, budget_notes, expected_seconds, measure_speed
from dlntorch.training.prediction import Prediction

PROBLEM = make_problem("line")


def planned(steps=None, t=None, **options):
    settings = RunSettings.checked(PROBLEM, 3, 0.1, **options)
    return Plan(PROBLEM, settings, compute_references(PROBLEM, 3, 0.1, False), Prediction(steps, t, "why not"))


def test_seconds_are_steps_over_speed():
    speed = Speed(1000.0, 10, 0.01)
    assert expected_seconds([planned(5000.0)], speed) == "5 s"
    assert expected_seconds([planned(5000.0, max_steps=2000)], speed) == "2 s"
    assert expected_seconds([planned(5000.0)] * 4, speed, at_once=2) == "10 s"
    assert expected_seconds([planned(5000.0)], speed, at_once=8) == "5 s"
    assert expected_seconds([planned()], speed) == "at most 2.8 h, where max_steps ends it"
    assert expected_seconds([planned(5000.0, max_wall_seconds=3)], speed) == "3 s, where max_wall_seconds ends it"
    assert (
        expected_seconds([planned(5.0)], Speed(None, reason="no step could be made"))
        == "not predicted: no step could be made"
    )


def test_durations():
    shown = {1e-9: "less than 1 ms", 0.034: "0.03 s", 7.6: "8 s", 250: "4 min", 11_600: "3.2 h", 432_000: "5 days"}
    assert {seconds: format_seconds(seconds) for seconds in shown} == shown
    assert format_seconds(3.2e9 * 3) == "3e+02 years"


def test_each_budget_that_ends_the_run_early_is_named():
    assert budget_notes(planned(100.0, 5.0, max_steps=100, max_time=5.0)) == []
    (steps,) = budget_notes(planned(3.2e9, 5.0))
    assert steps == "max_steps=10,000,000 is 0.31 % of the 3.2e+09 steps that are predicted to reach the tolerance"
    (time,) = budget_notes(planned(100.0, 5.0, max_time=2.5))
    assert time == "max_time=2.5 is less than the t = 5 that is predicted to reach the tolerance"
    (wall,) = budget_notes(planned(1e6, 5.0, max_wall_seconds=10), Speed(1000.0))
    assert wall == "max_wall_seconds=10 is less than the 17 min that are predicted to reach the tolerance"
    (ended,) = budget_notes(planned(100.0, 5.0), Speed(1000.0, ended=(Status.DIVERGED, 7)))
    assert ended == "at step 7 a trial of it ended as diverged"
    assert budget_notes(planned(6.0, 5.0), Speed(1000.0, ended=(Status.DIVERGED, 7))) == []
    assert budget_notes(planned()) == []


@pytest.mark.parametrize("engine", ["fused", "eager", "autograd"])
def test_the_speed_is_that_of_the_engine(engine):
    plan = planned(engine=engine)
    before = replace(plan)
    speed = measure_speed(plan, seconds=0.05)
    assert speed.steps_per_second == speed.steps / speed.seconds
    assert 0.02 < speed.seconds < 5
    assert plan == before


def test_a_trial_that_ends_by_itself_says_how_the_run_will_end(command):
    plan = planned(schedule="constant", eta=100.0)
    speed = measure_speed(plan, seconds=0.02)
    assert speed.ended is not None
    assert speed.ended[0] is Status.LEFT_POSITIVE_ORTHANT
    done = command("problem=line", "alpha=0.1", "schedule=constant", "schedule.eta=100", "dry_run=true")
    assert f"at step {speed.ended[1]} a trial of it ended as left_positive_orthant" in done.err
    run = command("problem=line", "alpha=0.1", "schedule=constant", "schedule.eta=100", "callbacks.figures=false")
    assert run.status == 3
    assert f" {speed.ended[1]} " in run.out


def test_a_dry_run_shows_seconds_and_warns_before_the_run(command):
    enough = command("problem=line", "alpha=0.1", "dry_run=true")
    assert enough.status == 0
    assert enough.err == ""
    (line,) = [line for line in enough.out.splitlines() if "predicted training time" in line]
    assert " s " in line or " ms " in line
    assert "steps per second" in enough.out
    short = command("problem=line", "alpha=0.1", "dry_run=true", "max_steps=20", "max_time=0.5", "max_wall_seconds=9")
    assert short.status == 0
    assert "20 steps, t = 0.5, 9 s" in short.out
    first, second = short.err.splitlines()
    assert first.startswith("warning: this run will end before it converges: max_steps=20 is ")
    assert second.startswith("warning: this run will end before it converges: max_time=0.5 is less than the t = ")
    assert not short.folder.exists()


def test_an_ensemble_too(command):
    done = command("problem=line", "ensemble.alpha=[0.1,0.2]", "max_steps=20", "dry_run=true")
    assert done.status == 0
    assert "predicted training time: " in done.out
    assert done.err.startswith("warning: 2 of 2 networks will end before they converge; of the first max_steps=20 is ")


def test_what_is_announced_before_training(command):
    words = ("problem=line", "alpha=0.1", "trainer.progress=false", "callbacks.figures=false")
    done = command(*words, "max_time=0.5", "max_wall_seconds=1e-9")
    assert ", beyond max_time=0.5, in less than 1 ms, where max_wall_seconds ends it" in done.out.splitlines()[0]
