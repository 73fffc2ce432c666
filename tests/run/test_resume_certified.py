"""``schedule=certified`` interrupted and resumed: in its first pass, and in the pass that repeats it with smaller steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import dlntorch as dln
from dlntorch.run import planning
from dlntorch.training.descent import Descent

#: minutes in all; the single run's tests cover the same ground in seconds
pytestmark = pytest.mark.slow

ASKED = (
    *("problem=gaussian", "problem.m=4", "problem.n=9", "alpha=0.1", "references=false"),
    *("schedule=certified", "schedule.epsilon=2e-3"),
)
TIMINGS = {"wall_seconds", "logging_seconds"}


@pytest.fixture
def too_coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """A coarse pass that predicts steps three times too long, so that the first pass misses ε."""
    chosen = planning.chosen_schedule

    def coarse(problem: Any, settings: Any) -> Any:
        schedule = chosen(problem, settings)
        return schedule.with_steps(kappa=3 * schedule.kappa, c=min(1.0, 3 * schedule.c))

    monkeypatch.setattr(planning, "chosen_schedule", coarse)


def interrupted_at(monkeypatch: pytest.MonkeyPatch, passes: int, step: int) -> None:
    """Ask the ``passes``-th descent of the next run to end from ``step`` on, as a signal would."""
    made: list[Descent] = []
    new_descent, advance = planning.new_descent, Descent.advance

    def counted(*arguments: Any) -> Descent:
        made.append(new_descent(*arguments))
        made[-1].block_seconds = 1e-6  # a longer block could go past the run's end
        return made[-1]

    def watched(descent: Descent) -> Any:
        if len(made) == passes and descent is made[-1] and descent.progress.step >= step:
            descent.interrupt()
        return advance(descent)

    monkeypatch.setattr(planning, "new_descent", counted)
    monkeypatch.setattr(Descent, "advance", watched)


def same(one: dln.RunResult, two: dln.RunResult) -> None:
    """Bitwise the same end, path and summary."""
    assert torch.equal(one.theta_plus, two.theta_plus)
    assert torch.equal(one.theta_minus, two.theta_minus)
    assert torch.equal(one.trajectory.psi, two.trajectory.psi)
    assert torch.equal(one.trajectory.t, two.trajectory.t)
    summaries = [{k: v for k, v in run.summary.items() if k not in TIMINGS} for run in (one, two)]
    assert summaries[0] == summaries[1]


@pytest.mark.usefixtures("too_coarse")
@pytest.mark.parametrize(("passes", "step"), [(1, 300), (2, 900)])
def test_it_ends_as_if_it_had_never_stopped(command, tmp_path, passes: int, step: int):
    whole = command(*ASKED, folder=tmp_path / "whole")
    assert whole.status == 0, whole.err
    assert "repeated with kappa=" in whole.out
    with pytest.MonkeyPatch.context() as patch:
        interrupted_at(patch, passes, step)
        part = command(*ASKED, folder=tmp_path / "part")
    assert part.status == 3
    before = dln.load_run(part.folder)
    assert before.status == "interrupted"
    full = dln.load_run(whole.folder)
    assert step <= before.summary["steps"] < full.summary["steps"]
    again = command(f"resume={part.folder}")
    assert again.status == 0, again.err
    assert ("repeated with kappa=" in again.out) is (passes == 1)
    after = dln.load_run(part.folder)
    same(full, after)
    assert after.summary["schedule"]["certified_theta_error"] <= 2e-3
    assert after.summary["schedule"]["epsilon_met"] is True


def test_a_resumed_run_makes_no_coarse_pass_and_may_have_another_budget(command, tmp_path, monkeypatch):
    part = command(*ASKED, "tol=1e-6", folder=tmp_path / "part")
    assert part.status == 0, part.err
    done = dln.load_run(part.folder)
    monkeypatch.setattr("dlntorch.run.open_numbers.coarse_pass", None)
    again = command(f"resume={part.folder}", "tol=1e-8", "max_steps=100000000")
    assert again.status == 0, again.err
    longer = dln.load_run(part.folder)
    assert longer.summary["steps"] > done.summary["steps"]
    assert longer.summary["schedule"]["kappa"] == done.summary["schedule"]["kappa"]
    assert longer.summary["residual"] <= 1e-8


def test_the_theorem_is_not_resumed_over_another_horizon(command, tmp_path):
    file = tmp_path / "small.npz"
    np.savez(file, A=np.array([[0.3, 0.1]]), y=np.array([0.05]))
    asked = (f"problem.path={file}", "p=2", "alpha=0.5", "schedule=theorem", "schedule.epsilon=0.1")
    part = command(*asked, "max_time=0.5", "max_wall_seconds=1e-9", folder=tmp_path / "part")
    assert part.status == 0, part.err
    refused = command(f"resume={part.folder}", "max_time=0.6")
    assert refused.status == 2
    assert "max_time must be left as it was when schedule=theorem is resumed" in refused.err
    assert refused.err.count("\n") == 1
    assert command(f"resume={part.folder}", "max_wall_seconds=100").status == 0
