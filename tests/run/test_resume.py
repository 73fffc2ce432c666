"""``resume=FOLDER`` and ``repeat=FOLDER`` from anywhere: whose budget it is, where the data are, what a folder is called."""

from __future__ import annotations

import json

import pytest
import yaml

from dlntorch.problem import make_problem
from dlntorch.run.open_numbers import new_descent
from dlntorch.run.settings import RunSettings
from dlntorch.training.ensemble import EnsembleDescent

QUICK = ("logger=none", "trainer.progress=false", "callbacks.figures=false", "references=false")


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def test_the_wall_clock_budget_is_that_of_one_command(command, tmp_path):
    first = command(*QUICK, "alpha=0.1", "max_wall_seconds=1e-9", folder=tmp_path / "run")
    assert first.status == 0, first.err
    assert summary(first.folder)["status"] == "max_wall_seconds"
    again = command(f"resume={first.folder}", *QUICK[:3])  # it does not stick to the folder
    assert again.status == 0, again.err
    assert summary(first.folder)["status"] == "converged"
    assert yaml.safe_load((first.folder / "config.yaml").read_text())["max_wall_seconds"] is None


@pytest.mark.parametrize("ensemble", [False, True], ids=["one", "ensemble"])
def test_what_earlier_commands_took_does_not_count(ensemble):
    problem = make_problem("line")

    def made():
        settings = RunSettings.checked(problem, 2, 0.1, max_steps=1000, max_wall_seconds=1e5, tol=0)
        one = new_descent(problem, settings)
        return EnsembleDescent([one], max_wall_seconds=1e5) if ensemble else one

    first = made()
    first.advance()
    state = first.state_dict()
    state["wall_seconds"] = 1e6  # a long first part
    second = made()
    second.load_state_dict(state)
    while second.advance() is None:
        pass
    assert second.status == "max_steps"
    assert second.wall_seconds > 1e6  # all of it is in the summary


def test_a_repeated_pass_has_the_budget_that_the_one_before_left():
    problem = make_problem("line")
    settings = RunSettings.checked(problem, 2, 0.1, max_wall_seconds=1e5, tol=0)
    first = new_descent(problem, settings)
    first.wall_seconds, first.wall_before = 1.5e5, 0.7e5
    second = new_descent(problem, settings, after=first)
    assert second.advance() is None
    first.wall_seconds = 1.8e5
    assert new_descent(problem, settings, after=first).advance() == "max_wall_seconds"
