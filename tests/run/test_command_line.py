"""The main job from the command line: what it writes, how it ends, and what a mistake gets."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import dlntorch as dln
from tests.run.conftest import ROOT


def _finite(value) -> bool:
    if isinstance(value, dict):
        return all(_finite(v) for v in value.values())
    if isinstance(value, float):
        return bool(np.isfinite(value))
    return True


def test_the_main_job_finds_the_minimiser_and_writes_its_folder(command):
    done = command("p=3", "alpha=1e-3")
    assert done.status == 0, done.err
    summary = json.loads((done.folder / "summary.json").read_text())
    assert summary["status"] == "converged"
    assert summary["residual"] <= 1e-10
    assert summary["distance_to_l1"] <= 1e-4
    assert summary["distance_to_selected"] <= 1e-4
    budget = summary["budget"]
    parts = [budget[k] for k in ("discretization", "finite_time", "initialization")]
    assert summary["distance_to_selected"] <= sum(parts) * (1 + 1e-9)
    assert budget["dominant"] == ("discretization", "finite_time", "initialization")[int(np.argmax(parts))]
    assert summary["predicted"]["exponent"] == 3
    assert summary["predicted"]["initialization"] == pytest.approx(budget["initialization"], rel=0.05)
    assert _finite(summary)
    for name in ("config.yaml", "problem.npz", "result.npz", "trajectory.csv", "report.html", "checkpoints/last.ckpt"):
        assert (done.folder / name).is_file(), name
    assert {p.name for p in (done.folder / "figures").iterdir()} == {
        "distances.png",
        "residual.png",
        "coefficients.png",
        "steps.png",
        "budget.png",
    }
    assert "run folder: " in done.out
    run = dln.load_run(done.folder)
    assert torch.equal(run.psi, run.theta_plus**3 - run.theta_minus**3)
    assert float(torch.linalg.vector_norm(run.psi - dln.l1_minimizer(run.problem).psi)) == pytest.approx(
        summary["distance_to_l1"], rel=1e-6
    )
    assert run.history["step"][-1] == summary["steps"]


def test_dry_run_trains_and_writes_nothing(command):
    done = command("dry_run=true", "p=2.5")
    assert done.status == 0, done.err
    assert "predicted steps" in done.out
    assert "min ||psi||_1" in done.out
    assert not done.folder.exists()


MISTAKES = [
    (["p=1.5"], "p must be a finite real number >= 2, got 1.5"),
    (["p=three"], "p must be a finite real number >= 2, got 'three'"),
    (["p=nan"], "p must be a finite real number >= 2, got nan"),
    (["alpha=0"], "alpha must be a finite real number > 0, got 0"),
    (["alpha=nan"], "alpha must be a finite real number > 0, got nan"),
    (["alpha=-1e-3"], "alpha must be a finite real number > 0, got -0.001"),
    (["schedule.kappa=0.5"], "schedule.kappa must be a finite real number > 0 and <= 0.3, got 0.5"),
    (["schedule.kappa=0"], "schedule.kappa must be a finite real number > 0 and <= 0.3, got 0"),
    (["schedule=constant", "schedule.eta=0"], "schedule.eta must be a finite real number > 0, got 0"),
    (["schedule=constant"], "schedule.eta must be given with schedule=constant, got None"),
    (
        ["schedule=adam"],
        "schedule must be one of certified, constant, own, relative, selecting, stable, theorem, got 'adam'",
    ),
    (["alhpa=1e-3"], "unknown key 'alhpa'; did you mean alpha?"),
    (["+alhpa=1e-3"], "unknown key 'alhpa'; did you mean alpha?"),
    (["schedule.kapa=0.1"], "unknown key 'schedule.kapa'; did you mean schedule.kappa?"),
    (["kappa=0.1"], "unknown key 'kappa'; did you mean schedule.kappa?"),
    (["problem=gausian"], "problem must be one of"),
    (["problem.m=0"], "problem.m must be an integer >= 1, got 0"),
    (["batch_size=0"], "batch_size must be an integer >= 1 and <= 10, got 0"),
    (["batch_size=11"], "batch_size must be an integer >= 1 and <= 10, got 11"),
    (["problem.path=nowhere.npz"], "problem.path"),
    (["engine=warp"], "engine must be one of"),
    (["device=tpu"], "device must be auto, cpu, cuda or cuda:N, got 'tpu'"),
    (["tol=-1"], "tol must be a finite real number >= 0 and <= 1, got -1"),
    (["max_steps=1.5"], "max_steps must be an integer >= 0, got 1.5"),
    (["trainer.threads=0"], "trainer.threads must be an integer >= 1, got 0"),
    (["resume=/nonexistent/run"], "resume must be a run folder"),
    (["p=[3"], "p=[3"),
    (["pack=maybe"], "pack must be auto, true or false, got 'maybe'"),
    (["schedule=theorem"], "max_time must be given with schedule=theorem"),
    (["~trainer.shards"], "trainer.shards must be given"),
    (["~trainer"], "trainer must be given"),
    (["dry_run=no"], "dry_run must be true or false, got 'no'"),
    (["callbacks.figures=no"], "callbacks.figures must be true or false, got 'no'"),
    (["problem.path=5"], "path must be"),
    (["ensemble=[1,2]"], "ensemble must be given key by key, such as ensemble.alpha=…, got [1,2]"),
    (["hydra.run=5"], "hydra.run must be given key by key, got 5"),
    (
        ["schedule=[a]"],
        "schedule must be one of certified, constant, own, relative, selecting, stable, theorem, got 'a'",
    ),
    (["callbacks=false"], "callbacks must be one of default, got false"),
    (["-m", "engine=1,2"], "engine must be one of auto, autograd, cuda, eager, fused, got 1"),
    (["-m", "p=2,3", "--cfg", "hydra"], "the command line must have one at most of --run, --multirun"),
    (["+engine=3"], "engine must be one of auto, autograd, cuda, eager, fused, got 3"),
    (["problem.path=[a.npy,b.npy]"], "path must be"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=lambda v: "_".join(v) if isinstance(v, list) else "")
def test_a_mistake_is_one_line_and_exit_status_two(command, arguments, message):
    done = command(*arguments)
    assert done.status == 2
    lines = done.err.strip().splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert not done.folder.exists() or not any(done.folder.iterdir())


def test_debug_shows_the_traceback(command):
    done = command("p=1", "debug=true")
    assert done.status == 2
    assert "Traceback" in done.err


def test_files_with_bad_contents(command, tmp_path):
    file = tmp_path / "data.npz"
    np.savez(file, A=np.array([[1.0, np.nan]]), y=np.array([1.0]))
    assert "A must be finite, got nan at [0, 1]" in command(f"problem.path={file}").err
    np.savez(file, B=np.eye(2))
    done = command(f"problem.path={file}")
    assert done.status == 2
    assert "A" in done.err
    np.savez(file, A=np.zeros((1, 2)), y=np.ones(1))
    assert "A must have a nonzero entry" in command(f"problem.path={file}").err
    np.savez(file, A=np.ones((2, 3)), y=np.ones(3))
    assert "y must have one entry for each of the 2 rows of A" in command(f"problem.path={file}").err


def test_not_overparameterised_only_warns(command, tmp_path):
    file = tmp_path / "square.npz"
    np.savez(file, A=np.eye(2) + 0.1, y=np.array([1.0, 2.0]))
    done = command(f"problem.path={file}", "alpha=1e-2", "trainer.progress=false")
    assert done.status == 0, done.err
    assert done.err.startswith("warning: A has m = 2 rows and n = 2 columns")
    assert len(done.err.strip().splitlines()) == 1


def test_y_zero(command, tmp_path):
    file = tmp_path / "zero.npz"
    np.savez(file, A=np.array([[1.0, 2.0, 3.0]]), y=np.zeros(1))
    done = command(f"problem.path={file}")
    assert done.status == 0, done.err
    summary = json.loads((done.folder / "summary.json").read_text())
    assert summary["status"] == "converged"
    assert summary["steps"] == 0
    assert summary["distance_to_l1"] == 0
    assert _finite(summary)


def test_too_long_a_constant_step_leaves_the_positive_orthant(command):
    done = command("schedule=constant", "schedule.eta=10", "alpha=0.1")
    assert done.status == 3
    summary = json.loads((done.folder / "summary.json").read_text())
    assert summary["status"] == "left_positive_orthant"
    assert "zero or negative" in summary["reason"]
    assert (done.folder / "result.npz").is_file()


def test_a_used_up_budget_exits_zero_and_resumes_to_the_bitwise_same_end(command, tmp_path):
    whole = command("alpha=1e-2", folder=tmp_path / "whole")
    part = command("alpha=1e-2", "max_steps=5000", folder=tmp_path / "part")
    assert part.status == 0
    assert json.loads((part.folder / "summary.json").read_text())["status"] == "max_steps"
    again = command(f"resume={part.folder}", "max_steps=10000000")
    assert again.status == 0, again.err
    one, two = dln.load_run(whole.folder), dln.load_run(part.folder)
    assert torch.equal(one.theta_plus, two.theta_plus)
    assert torch.equal(one.theta_minus, two.theta_minus)
    assert torch.equal(one.trajectory.psi, two.trajectory.psi)
    timings = {"wall_seconds", "logging_seconds"}
    assert {k: v for k, v in one.summary.items() if k not in timings} == {
        k: v for k, v in two.summary.items() if k not in timings
    }
    refused = command(f"resume={part.folder}", "p=4")
    assert refused.status == 2
    assert "p must be left out with resume" in refused.err


def test_a_damaged_checkpoint_is_refused(command, tmp_path):
    part = command("alpha=1e-2", "max_steps=100", folder=tmp_path / "part")
    path = part.folder / "checkpoints" / "last.ckpt"
    data = bytearray(path.read_bytes())
    for broken in (data[: len(data) // 2], data[:-700] + bytes(700), b""):
        path.write_bytes(broken)
        done = command(f"resume={part.folder}")
        assert done.status == 2, done.err
        assert "truncated or altered" in done.err


def test_a_folder_that_cannot_be_written(command, tmp_path):
    (tmp_path / "file").write_text("")
    done = command(f"hydra.run.dir={tmp_path / 'file' / 'run'}")
    assert done.status == 2
    assert done.err.startswith("error: hydra.run.dir must be a folder that can be written")


def test_a_sweep_goes_on_past_a_bad_point(command, tmp_path):
    done = command("-m", "p=1,3", "alpha=1e-2", f"hydra.sweep.dir={tmp_path / 'sweep'}", "trainer.progress=false")
    assert done.status == 2
    assert "error: p must be" in done.err
    assert len(list((tmp_path / "sweep").glob("gaussian-p3-*/summary.json"))) == 1
    assert not list((tmp_path / "sweep").glob("gaussian-p1-*"))


def test_every_experiment_file_composes(command):
    for file in sorted((ROOT / "conf" / "experiment").glob("*.yaml")):
        done = command(f"experiment={file.stem}", "dry_run=true")
        assert done.status == 0, done.err


def test_mini_batches(command):
    done = command("batch_size=2", "max_steps=2000", "alpha=0.1")
    assert done.status == 0, done.err
    assert json.loads((done.folder / "summary.json").read_text())["batch_size"] == 2


@pytest.mark.parametrize("engine", ["autograd", "eager"])
def test_engines_agree_from_the_command_line(command, tmp_path, engine):
    options = ("alpha=0.1", "max_steps=300", "trainer.progress=false")
    fused = command("engine=fused", *options, folder=tmp_path / "fused")
    other = command(f"engine={engine}", *options, folder=tmp_path / engine)
    assert fused.status == other.status == 0
    torch.testing.assert_close(dln.load_run(fused.folder).psi, dln.load_run(other.folder).psi, rtol=1e-12, atol=1e-15)


def test_ctrl_c_saves_summarises_and_exits_three(tmp_path):
    import os
    import signal
    import time

    folder = tmp_path / "run"
    command = [
        sys.executable, "train.py", "tol=0", "max_steps=1000000000000", "logger=none", "references=false",
        "trainer.progress=false", f"hydra.run.dir={folder}",
    ]  # fmt: skip

    def heed_ctrl_c() -> None:
        signal.signal(
            signal.SIGINT, signal.SIG_DFL
        )  # a suite in the background of a shell ignores it, and so would the run

    pipes: dict = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, preexec_fn=heed_ctrl_c, **pipes) as process:
        deadline = time.monotonic() + 120
        while not (folder / "problem.npz").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(4)
        os.kill(process.pid, signal.SIGINT)
        try:
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 3, err
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert (folder / "checkpoints" / "last.ckpt").is_file()
    assert "interrupted" in out


def test_a_key_of_another_choice_of_a_group_is_not_proposed_again(command):
    done = command("optimizer.beta=0.9")
    assert done.status == 2
    assert done.err.strip() == (
        "error: unknown key 'optimizer.beta': the chosen optimizer does not have it, another optimizer=NAME does"
    )
