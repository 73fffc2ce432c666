"""A plan made in a second process: the same to the bit, and never the cause of a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from dlntorch.bounds.threshold import step_size_threshold
from dlntorch.numerics.validation import InputError
from dlntorch.problem import make_problem
from dlntorch.run import background_plan as ahead
from dlntorch.run.background_plan import BackgroundPlan
from dlntorch.run.configuration import config_directory
from dlntorch.run.planning import plan_run

ROOT = Path(__file__).resolve().parents[2]


def configuration(*overrides):
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        config = OmegaConf.to_container(compose("train", [*overrides]), resolve=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


@pytest.fixture
def before_lightning(monkeypatch):
    """As in a fresh process on two cores."""
    monkeypatch.delitem(sys.modules, "lightning.pytorch", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)


def test_the_plan_is_the_one_made_here(before_lightning):
    config = configuration("problem=plane", "p=2.5", "alpha=1e-2")
    problem = make_problem(**config["problem"])
    with BackgroundPlan(config) as make_plan:
        assert make_plan._process is not None
        there = make_plan(config, problem)
    here = plan_run(config, problem)
    assert there.settings == here.settings
    assert there.prediction == here.prediction
    for name, vector in here.references.vectors(problem).items():
        assert torch.equal(there.references.vectors(problem)[name], vector)
    assert there.references.rate is not None
    assert here.references.rate is not None
    assert there.references.rate.constant == here.references.rate.constant
    assert there.references.l1 is not None
    thresholds = [step_size_threshold(problem, 2.5, 1e-2, minimizer=plan.references.l1) for plan in (there, here)]
    assert thresholds[0] == thresholds[1]  # the minimiser of ones is known as that in another process


def test_a_mistake_is_reported_here(before_lightning):
    config = configuration("p=1.5")
    with BackgroundPlan(config) as make_plan, pytest.raises(InputError, match="p must be"):
        make_plan(config, make_problem(**config["problem"]))


def test_a_run_that_ends_first_ends_the_second_process(before_lightning):
    with BackgroundPlan(configuration()) as make_plan:
        process = make_plan._process
        assert process is not None
    assert process.returncode == -9


@pytest.mark.parametrize(
    "overrides",
    [
        ("device=cuda",),
        ("engine=autograd",),
        ("schedule=certified",),
        ("problem.m=2000", "problem.n=200000"),
        ("problem=file", "problem.path=missing.npz"),
    ],
)
def test_where_it_cannot_help_it_is_not_started(before_lightning, overrides):
    with BackgroundPlan(configuration(*overrides)) as make_plan:
        assert make_plan._process is None


def test_it_is_not_started_once_lightning_is_there_or_on_one_core(before_lightning, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert not ahead._saves_time(configuration())
    monkeypatch.undo()
    import lightning.pytorch  # noqa: F401

    assert not ahead._saves_time(configuration())


@pytest.mark.slow
def test_the_script_by_itself_ends_with_its_status_and_whole_output(tmp_path):
    words = ["problem=plane", "p=2", "alpha=1e-2", "logger=csv", f"hydra.run.dir={tmp_path / 'run'}"]
    good = subprocess.run([sys.executable, "train.py", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stderr
    assert good.stdout.rstrip().endswith(f"run folder: {tmp_path / 'run'}")
    bad = subprocess.run([sys.executable, "train.py", "p=1"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.startswith("error: p must be")
