"""Runs packed side by side: each is what it is alone."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from lightning.pytorch.loggers import Logger
from omegaconf import OmegaConf

import dlntorch as dln
from dlntorch.numerics.validation import DataWarning, InputError
from dlntorch.run import lifecycle, planning, run_experiment, run_experiments
from dlntorch.run.configuration import config_directory
from dlntorch.sweep import packing
from dlntorch.trackers import loggers
from dlntorch.training.ensemble import EnsembleDescent
from dlntorch.training.recorder import Recorder
from tests.run.conftest import hit

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
    together = run_experiments(configs, [tmp_path / str(i) for i in range(len(configs))], threads=2)
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
    run_experiments([short, short], [tmp_path / "a", tmp_path / "b"])
    alone = run_experiment({**whole, "resume": str(tmp_path / "a")}, tmp_path / "a")
    (packed,) = run_experiments([{**whole, "resume": str(tmp_path / "b")}], [tmp_path / "b"])
    for result in (alone, packed):
        assert torch.equal(result.theta_plus, expected.theta_plus)
        assert torch.equal(result.trajectory.psi, expected.trajectory.psi)
        assert result.summary["steps"] == expected.summary["steps"]


def test_no_runs_give_no_results() -> None:
    assert run_experiments([], []) == []


def test_mistakes_are_named_before_training(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="p must be a finite real number >= 2, got 1"):
        run_experiments([configuration(), configuration("p=1")], [tmp_path / "a", tmp_path / "b"])
    with pytest.raises(InputError, match="folders must be one for each of the 1 configurations, got 2"):
        run_experiments([configuration()], [tmp_path / "a", tmp_path / "b"])
    with pytest.raises(InputError, match="threads must be an integer >= 1, got 0"):
        run_experiments([configuration("max_steps=10")], [tmp_path / "a"], threads=0)


def test_a_thinned_record_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorder.__init__, "__defaults__", (40, 10_000))
    config = configuration("alpha=1e-2", "callbacks.logging_share=1", "trainer.block_seconds=1e-4")
    alone = run_experiment(config, tmp_path / "alone")
    (packed,) = run_experiments([config], [tmp_path / "packed"])
    for result, name in ((alone, "alone"), (packed, "packed")):
        history = dln.load_run(tmp_path / name).history
        assert result.trajectory.step is not None
        assert len(result.trajectory.step) <= 10_000 // 192
        assert history["step"].astype(int).tolist() == result.trajectory.step.tolist()
        assert "distance_to_flow" in history


# -- what was chosen, and signals -------------------------------------------------------------------------------------


@pytest.fixture
def too_coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """A coarse pass that predicts steps three times too long, so that the first pass misses ε."""
    chosen = planning.chosen_schedule

    def coarse(problem: Any, settings: Any) -> Any:
        schedule = chosen(problem, settings)
        return schedule.with_steps(kappa=3 * (schedule.kappa or 0.0), c=min(1.0, 3 * schedule.c))

    monkeypatch.setattr(planning, "chosen_schedule", coarse)


CERTIFIED = (
    "schedule=certified",
    "schedule.epsilon=2e-3",
    "alpha=0.1",
    "references=false",
    "problem.m=4",
    "problem.n=9",
)


@pytest.mark.usefixtures("too_coarse")
def test_a_certified_run_cut_in_its_second_pass_goes_on_packed_and_alone(tmp_path: Path) -> None:
    config = configuration(*CERTIFIED)
    expected = run_experiment(config, tmp_path / "whole")
    names = ("packed", "alone")
    with pytest.MonkeyPatch.context() as patch:
        hit(patch, signal.SIGTERM, passes=2)
        cut = run_experiments([config, config], [tmp_path / name for name in names])
    assert [result.status for result in cut] == ["interrupted"] * 2
    resumed = [{**config, "resume": str(tmp_path / name)} for name in names]
    (packed,) = run_experiments(resumed[:1], [tmp_path / "packed"])
    alone = run_experiment(resumed[1], tmp_path / "alone")
    for result in (packed, alone):
        assert torch.equal(result.theta_plus, expected.theta_plus)
        assert result.summary["schedule"] == expected.summary["schedule"]


def test_the_theorem_goes_on_alone_and_not_over_another_horizon(tmp_path: Path) -> None:
    file = tmp_path / "small.npz"
    np.savez(file, A=np.array([[0.3, 0.1]]), y=np.array([0.05]))
    config = configuration(f"problem.path={file}", "p=2", "alpha=0.5", "schedule=theorem", "schedule.epsilon=0.1")
    config |= {"problem": {**config["problem"], "m": None, "n": None}, "max_time": 0.5, "max_wall_seconds": 1e-9}
    run_experiments([config], [tmp_path / "run"])
    resumed = {**config, "resume": str(tmp_path / "run"), "max_wall_seconds": 100}
    with pytest.raises(InputError, match="max_time must be left as it was when schedule=theorem is resumed"):
        run_experiments([{**resumed, "max_time": 0.6}], [tmp_path / "run"])
    assert run_experiment(resumed, tmp_path / "run").status == "max_time"


@pytest.mark.parametrize(("name", "requeued"), [("SIGUSR1", 1), ("SIGTERM", 0)])
def test_sigusr1_requeues_the_job_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, requeued: int
) -> None:
    asked: list[bool] = []
    folders = [tmp_path / "a", tmp_path / "b"]
    requeue = lambda: asked.append(all((folder / "summary.json").is_file() for folder in folders))  # noqa: E731
    monkeypatch.setattr(lifecycle, "requeue_slurm_job", requeue)
    hit(monkeypatch, getattr(signal, name))
    run_experiments([configuration("tol=0"), configuration("tol=0", "alpha=1e-2")], folders)
    assert asked == [True] * requeued


def test_a_signal_while_results_are_written_waits(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]

    def draw(result: dln.RunResult) -> dict[str, Path]:
        if result.folder == folders[0]:
            os.kill(os.getpid(), signal.SIGINT)
        return {}

    with pytest.raises(KeyboardInterrupt):
        run_experiments([configuration("max_steps=10")] * 2, folders, draw=draw)
    assert all((folder / "summary.json").is_file() for folder in folders)


# -- loggers ----------------------------------------------------------------------------------------------------------


def test_a_logger_that_cannot_be_is_refused_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setattr(EnsembleDescent, "advance", None)
    configs = [configuration("logger=none"), configuration("logger=wandb", "logger.offline=false")]
    with pytest.raises(InputError, match="logger.offline must be auto or true where no W&B API key is"):
        run_experiments(configs, [tmp_path / "a", tmp_path / "b"])


class Kept(Logger):
    """A logger that keeps what it gets."""

    @property
    def name(self) -> str:
        return "kept"

    @property
    def version(self) -> str:
        return "kept"

    def __init__(self, resumed: bool) -> None:
        super().__init__()
        self.resumed = resumed
        self.steps: list[int] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        assert step is not None
        self.steps.append(step)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None: ...


def test_every_result_is_written_where_a_logger_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no server")

    monkeypatch.setattr(loggers, "make_logger", broken)
    folders = [tmp_path / str(i) for i in range(3)]
    with pytest.warns(DataWarning, match="logger=csv failed and is left out for 3 of 3 runs: no server") as seen:
        run_experiments([configuration("max_steps=10", "logger=csv")] * 3, folders)
    assert len(seen) == 1
    assert all((folder / "summary.json").is_file() for folder in folders)


def test_a_resumed_pack_goes_on_with_its_loggers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Kept] = []

    def make(config: Any, folder: Any, run_config: Any, resumed: bool = False) -> Kept:
        kept.append(Kept(resumed))
        return kept[-1]

    monkeypatch.setattr(loggers, "make_logger", make)
    short, whole = (configuration(f"max_steps={k}", "logger=wandb", "logger.offline=true") for k in (50, 200))
    folders = [tmp_path / "packed", tmp_path / "alone"]
    run_experiments([short] * 2, folders)
    (packed,) = run_experiments([{**whole, "resume": str(folders[0])}], folders[:1])
    run_experiment({**whole, "resume": str(folders[1])}, folders[1])
    assert [logger.resumed for logger in kept] == [False, False, True, True]
    for first, then in ((kept[0], kept[2]), (kept[1], kept[3])):
        steps = first.steps + then.steps
        assert steps == sorted(set(steps))  # each once
        assert set(packed.history["step"]) <= set(steps)


@pytest.mark.parametrize("mistake", ["trainer.block_seconds=abc", "callbacks.checkpoint_seconds=-1"])
def test_a_point_with_a_mistake_about_its_training_is_left_alone(mistake: str, tmp_path: Path) -> None:
    good = configuration("alpha=1e-2")
    assert packing.packs([good, good, configuration(mistake)]) == [[0, 1]]
    with pytest.raises(InputError, match=mistake.partition("=")[0]):
        run_experiments([good, configuration(mistake)], [tmp_path / "a", tmp_path / "b"])
