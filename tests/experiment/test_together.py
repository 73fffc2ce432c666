"""Runs packed side by side: each is what it is alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import dlntorch as dln
from dlntorch.experiment import run_ensemble, run_experiment
from dlntorch.experiment.configuration import config_directory
from dlntorch.validation import InputError

#: minutes in all; the single run's tests cover the same ground in seconds
pytestmark = pytest.mark.slow

#: Values that are about the clock, or that a shared sweep of the limit rounds differently.
OF_THE_CLOCK = {"wall_seconds", "logging_seconds", "versions"}
ROUNDED = 1e-12


def configuration(*overrides: str) -> dict[str, Any]:
    """What the command line would compose."""
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        words = ["logger=none", "trainer.progress=false", "problem.m=5", "problem.n=12", *overrides]
        plain = OmegaConf.to_container(compose("train", overrides=words))
    assert isinstance(plain, dict)
    plain.pop("experiment", None)
    return {str(key): value for key, value in plain.items()}


def same(left: Any, right: Any, where: str = "") -> None:
    """Whether two summaries say the same, numbers to the rounding of a shared limit."""
    if isinstance(left, dict):
        assert set(left) == set(right), where
        for key in set(left) - OF_THE_CLOCK:
            same(left[key], right[key], f"{where}.{key}")
    elif isinstance(left, float) and isinstance(right, float):
        assert left == pytest.approx(right, rel=1e-6, abs=ROUNDED), where
    elif not isinstance(left, str):
        assert left == right, where


def test_packed_runs_leave_what_they_leave_alone(tmp_path: Path) -> None:
    configs = [
        configuration("alpha=1e-2"),
        configuration("alpha=2e-2", "schedule.kappa=0.03"),
        configuration("p=2.5", "alpha=0.1", "batch_size=3", "max_steps=3000"),
        configuration("problem.seed=3", "schedule=stable", "schedule.c=0.5", "max_steps=500", "references=false"),
        configuration("engine=eager", "max_steps=300", "logger=csv"),
        configuration("schedule=certified", "schedule.epsilon=0.1", "alpha=0.1"),
    ]
    together = run_ensemble(configs, [tmp_path / str(i) for i in range(len(configs))], threads=2)
    for i, config in enumerate(configs):
        alone, packed = run_experiment(config, tmp_path / f"alone{i}"), together[i]
        for name in ("theta_plus", "theta_minus", "psi"):
            assert torch.equal(getattr(alone, name), getattr(packed, name))
        assert torch.equal(alone.trajectory.psi, packed.trajectory.psi)
        assert set(alone.history) == set(packed.history)
        same(alone.summary, packed.summary)
        left = {path.relative_to(tmp_path / f"alone{i}") for path in (tmp_path / f"alone{i}").rglob("*")}
        assert {path.relative_to(tmp_path / str(i)) for path in (tmp_path / str(i)).rglob("*")} == left
        again = dln.load_run(tmp_path / str(i))
        assert torch.equal(again.psi, alone.psi)
        assert np.array_equal(again.history["residual"], alone.history["residual"])
        assert json.loads((tmp_path / str(i) / "summary.json").read_text())["status"] == alone.summary["status"]


def test_a_packed_run_resumes_alone_and_an_alone_run_resumes_packed(tmp_path: Path) -> None:
    whole = configuration("alpha=1e-2")
    short = configuration("alpha=1e-2", "max_steps=1000")
    expected = run_experiment(whole, tmp_path / "whole")
    run_ensemble([short, short], [tmp_path / "a", tmp_path / "b"])
    alone = run_experiment({**whole, "resume": str(tmp_path / "a")}, tmp_path / "a")
    (packed,) = run_ensemble([{**whole, "resume": str(tmp_path / "b")}], [tmp_path / "b"])
    for result in (alone, packed):
        assert torch.equal(result.theta_plus, expected.theta_plus)
        assert torch.equal(result.trajectory.psi, expected.trajectory.psi)
        assert result.summary["steps"] == expected.summary["steps"]


def test_without_folders_nothing_is_written_and_no_runs_give_no_results() -> None:
    (result,) = run_ensemble([configuration("max_steps=10")])
    assert result.folder is None
    assert result.config["max_steps"] == 10
    assert run_ensemble([]) == []


def test_mistakes_are_named_before_training(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="p must be a finite real number >= 2, got 1"):
        run_ensemble([configuration(), configuration("p=1")])
    with pytest.raises(InputError, match="folders must be one for each of the 1 configurations, got 2"):
        run_ensemble([configuration()], [tmp_path / "a", tmp_path / "b"])
    with pytest.raises(InputError, match="threads must be an integer >= 1, got 0"):
        run_ensemble([configuration("max_steps=10")], threads=0)
