"""A real SLURM controller: arrays through the launcher, preemption, kill -9, time limits; the same θ, bit for bit.

Run with ``pytest -m slurm`` as root on Debian; skipped elsewhere. SLURM is installed from Debian's packages if need be.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

import dlntorch as dln
from tests.run.conftest import ROOT
from tests.slurm.cluster import CPUS, Cluster

pytestmark = pytest.mark.slurm

#: A run that lasts a few seconds, long enough to be disturbed, and ends by its step budget.
STEPS = 12_000_000
COMMON = ("alpha=1e-2", "tol=0", "references=false", "logger=none", "trainer.progress=false")


@pytest.fixture(scope="module", autouse=True)
def no_sweep_is_left(cluster):
    yield
    for sweep in Sweep.started:
        if sweep.process.poll() is None:
            sweep.process.kill()
            sweep.process.communicate()


@pytest.fixture(scope="module")
def undisturbed():
    """θ of the run that nobody disturbs, by its seed."""
    found: dict[int, dln.RunResult] = {}

    def result(seed: int) -> dln.RunResult:
        if seed not in found:
            problem = dln.Problem(*_gaussian(seed))
            found[seed] = dln.train(problem, 3, 1e-2, tol=0, max_steps=STEPS, references=False)
        return found[seed]

    return result


def _gaussian(seed: int):
    from dlntorch.problem import make_problem

    problem = make_problem(name="gaussian", m=10, n=30, seed=seed)
    return problem.A, problem.y


class Sweep:
    """``train.py -m hydra/launcher=slurm`` in the background."""

    started: ClassVar[list[Sweep]] = []

    def __init__(self, cluster: Cluster, folder: Path, seed: int, *options: str) -> None:
        self.cluster, self.folder = cluster, folder
        self.command = [
            sys.executable, "train.py", "-m", "hydra/launcher=slurm", f"hydra.sweep.dir={folder}", *COMMON,
            f"problem.seed={seed}", f"max_steps={STEPS}", "hydra.launcher.mem_gb=1", "hydra.launcher.partition=low",
            "callbacks.checkpoint_seconds=1", *options,
        ]  # fmt: skip
        Sweep.started.append(self)
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command, cwd=ROOT, env=self.cluster.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def job(self) -> str:
        """The id of the sweep's job (the newest where it was launched again)."""

        def jobs() -> list[str]:
            names = [path.name for path in (self.folder / ".submitit").glob("*")]
            return [name for name in names if re.fullmatch(r"\d+(_\d+)?", name)]

        return max(wait(jobs, "a job"), key=lambda name: int(name.split("_")[0]))

    def checkpoint(self, after: int = -1) -> None:
        """Wait for a checkpoint past the step ``after``."""

        def step() -> int:
            for path in self.folder.glob("*/checkpoints/last.ckpt"):
                state = torch.load(path, weights_only=True)["state"].numpy().tobytes()
                return int(torch.load(io.BytesIO(state), weights_only=True)["engine"]["progress"]["step"])
            return -1

        wait(lambda: step() > after, f"a checkpoint past step {after}")

    def finish(self, timeout: float = 300) -> int:
        out, err = self.process.communicate(timeout=timeout)
        self.output = out + err
        return self.process.returncode

    def theta(self) -> tuple[torch.Tensor, torch.Tensor]:
        (file,) = self.folder.glob("*/result.npz")
        with np.load(file) as saved:
            return torch.from_numpy(saved["theta_plus"]), torch.from_numpy(saved["theta_minus"])


def wait(ready: Callable, what: str, seconds: float = 300):
    end = time.monotonic() + seconds
    while not (value := ready()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(0.2)
    return value


def start_again_now(cluster: Cluster, job: str, *changes: str, meanwhile: Callable[[], None] = lambda: None) -> None:
    """A requeued job waits for two minutes; let it start at once, with changes to it."""

    def pending() -> bool:
        meanwhile()
        return "PENDING" in cluster.run("squeue", "-h", "-o", "%T", "-j", job, check=False)

    wait(pending, f"job {job} to be requeued")
    time.sleep(2)  # started in the very second of its end, the job was once given the exit status of its first half
    cluster.run("scontrol", "update", f"JobId={job}", *changes, "StartTime=now")


def same(theta: tuple[torch.Tensor, torch.Tensor], run: dln.RunResult) -> bool:
    return torch.equal(theta[0], run.theta_plus) and torch.equal(theta[1], run.theta_minus)


def processes(cluster: Cluster, job: str) -> list[int]:
    """The Python processes that submitit runs in a job (not the ``srun`` that started them)."""
    found = []
    for line in cluster.run("scontrol", "listpids", job).splitlines()[1:]:
        words = Path(f"/proc/{line.split()[0]}/cmdline").read_bytes().split(b"\0")
        if b"python" in words[0] and b"submitit.core._submit" in words:
            found.append(int(line.split()[0]))
    assert found, f"job {job} has no Python process"
    return found


@pytest.fixture(scope="module", autouse=True)
def near_its_limit(cluster, tmp_path_factory):
    """A sweep whose job is near its time limit, and its id; first, since SLURM looks at limits every 30 s only.

    Stopped in mid-training, the job cannot end before its limit, which is then brought to one or two minutes from now.
    """
    options = ("hydra.launcher.timeout_min=9", "hydra.launcher.signal_delay_s=85")
    sweep = Sweep(cluster, tmp_path_factory.mktemp("limit") / "sweep", 4, *options)
    sweep.checkpoint()
    job = sweep.job()
    for pid in processes(cluster, job):
        os.kill(pid, signal.SIGSTOP)  # SLURM wakes it for the signal before the limit
    ran = cluster.run("squeue", "-h", "-o", "%M", "-j", job).strip()  # [hours:]minutes:seconds
    cluster.run("scontrol", "update", f"JobId={job}", f"TimeLimit={int(ran.split(':')[-2]) + 2}")
    return sweep, job


def test_an_array_through_the_launcher_equals_runs_here(cluster, tmp_path):
    folder = tmp_path / "sweep"
    command = [
        sys.executable, "train.py", "-m", "hydra/launcher=slurm", f"hydra.sweep.dir={folder}", "p=1,2,3",
        "alpha=1e-1", "logger=none", "trainer.progress=false", "hydra.launcher.mem_gb=1",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, env=cluster.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr  # of the point p=1, which did not stop the others
    assert json.loads(next((folder / "failed").iterdir()).read_text())["reason"].startswith("p must be")
    for p in (2, 3):
        (run,) = map(dln.load_run, folder.glob(f"gaussian-p{p}-*"))
        here = dln.train(run.problem, p, 1e-1)
        assert torch.equal(run.theta_plus, here.theta_plus)
        assert torch.equal(run.theta_minus, here.theta_minus)


def test_a_killed_job_is_resumed_when_the_sweep_is_run_again(cluster, undisturbed, tmp_path):
    sweep = Sweep(cluster, tmp_path / "sweep", 2)
    job = sweep.job()
    sweep.checkpoint(after=1000)
    for pid in processes(cluster, job):
        os.kill(pid, signal.SIGKILL)
    assert sweep.finish() == 3, sweep.output
    assert "ended without a result" in sweep.output
    sweep.start()
    expected = undisturbed(2)  # while the job runs
    assert sweep.finish() == 0, sweep.output
    assert "1 cut and resumed" in sweep.output
    assert same(sweep.theta(), expected)


def test_a_job_goes_on_past_its_time_limit(cluster, undisturbed, near_its_limit):
    sweep, job = near_its_limit
    # with the limit that it has now, its second half would be signalled as soon as it starts
    start_again_now(cluster, job, "TimeLimit=9")
    expected = undisturbed(4)
    assert sweep.finish() == 0, sweep.output
    assert "Restarts=1" in cluster.run("scontrol", "show", "job", job)
    assert same(sweep.theta(), expected)


def test_a_preempted_job_is_requeued_and_goes_on(cluster, undisturbed, tmp_path):
    sweep = Sweep(cluster, tmp_path / "sweep", 1)
    job = sweep.job()
    sweep.checkpoint(after=1000)
    pids = processes(cluster, job)

    def hold() -> None:  # it must not end before SLURM has decided: preempting wakes it, and after a while kills it
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    hold()
    cluster.run("sbatch", "-p", "high", "-c", str(CPUS), "-o", "/dev/null", "--wrap", "sleep 1")
    start_again_now(cluster, job, meanwhile=hold)
    expected = undisturbed(1)
    assert sweep.finish() == 0, sweep.output
    assert "Restarts=1" in cluster.run("scontrol", "show", "job", job)
    assert same(sweep.theta(), expected)


def test_a_plain_batch_script_is_requeued_on_sigusr1(cluster, undisturbed, tmp_path):
    folder = tmp_path / "run"
    script = tmp_path / "job.sh"
    words = [sys.executable, "train.py", *COMMON, "problem.seed=3", f"max_steps={STEPS}", "resume=auto"]
    script.write_text(f"#!/bin/bash\nexec {' '.join(words)} hydra.run.dir={folder}\n")
    options = ("--requeue", "--parsable", "-p", "low", f"--chdir={ROOT}", f"--output={tmp_path / 'log'}")
    job = cluster.run("sbatch", *options, "--open-mode=append", str(script)).strip()
    wait((folder / "checkpoints" / "last.ckpt").exists, "training to begin")
    cluster.run("scancel", "--signal=USR1", "--full", job)
    start_again_now(cluster, job)
    expected = undisturbed(3)
    going = re.compile("JobState=(PENDING|RUNNING|COMPLETING|CONFIGURING)")
    wait(lambda: not going.search(cluster.run("scontrol", "show", "job", job)), "the end of the job")
    shown = cluster.run("scontrol", "show", "job", job)
    assert "JobState=COMPLETED" in shown, shown + (tmp_path / "log").read_text()
    assert json.loads((folder / "summary.json").read_text())["status"] == "max_steps"
    run = dln.load_run(folder)
    assert same((run.theta_plus, run.theta_minus), expected)
