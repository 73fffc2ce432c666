"""Signals, full disks, read-only folders, unreachable servers: what was written before is kept, and runs go on from it."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

import dlntorch as dln
from dlntorch.numerics.validation import DataWarning, InputError
from dlntorch.run.open_numbers import new_descent
from dlntorch.run.settings import RunSettings
from dlntorch.store import folder as folder_module
from dlntorch.store.folder import RunFolder
from dlntorch.training.callbacks import CheckpointCallback, SignalCallback
from dlntorch.training.fit import fit_descent
from dlntorch.training.identity import run_identity
from tests.run.conftest import ROOT
from tests.run.interrupted import KINDS

pytestmark = pytest.mark.slow

QUICK = ("references=false", "trainer.progress=false", "alpha=0.1")


def disturbed(kind: str, name: str, count: int) -> dict:
    command = [sys.executable, "-m", "tests.run.interrupted", kind, name, str(count), "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGKILL", "SIGUSR1"])
@pytest.mark.parametrize("kind", KINDS)
def test_some_runs_hit_at_random_moments_are_resumed_to_the_same_bits(kind, name):
    found = disturbed(kind, name, 4)
    assert found["equal"] == 4, found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGKILL", "SIGUSR1", "SIGTERM"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_runs_hit_at_random_moments_are_resumed_to_the_same_bits(kind, name):
    found = disturbed(kind, name, 100)
    assert found["equal"] == 100, found
    assert set(found["phases"]) >= {"training", "done"} | ({"writing"} if (kind, name) == ("sgd", "SIGKILL") else set())


# -- handlers ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def descent():
    problem = dln.Problem([[1.0, 1.0, 1.0], [3.0, 0.0, 1.0]], [3.0, 3.0])
    settings = RunSettings.checked(problem, 3, 0.1, tol=0, max_steps=400, engine="eager", references=False)
    return new_descent(problem, settings, block_seconds=1e-6)


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGUSR2", "SIGTERM"])
def test_the_programs_own_handler_is_called_between_steps_once_the_checkpoint_is_whole(descent, name):
    number = getattr(signal, name)
    seen, states = [], []

    class AtStep(SignalCallback):
        def on_train_batch_end(self, trainer, pl_module, *arguments):
            if descent.progress.step == 100:
                os.kill(os.getpid(), number)  # this handler runs before the next bytecode, between steps or not
            super().on_train_batch_end(trainer, pl_module, *arguments)

    def handler(received, frame):
        seen.append((received, len(states)))

    before = signal.signal(number, handler)
    try:
        writes = CheckpointCallback(states.append, 1e9)
        fit_descent(descent, [writes, AtStep(writes.save)])
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)
    assert seen == [(number, 2)]  # one checkpoint at the start, one for the signal
    assert states[1]["engine"]["progress"]["step"] == 100
    assert descent.status == "max_steps"  # the handler returned, and so the run went on to its end
    assert descent.progress.step == 400


def test_a_handler_that_exits_leaves_a_checkpoint_that_goes_on_to_the_same_bits(descent, tmp_path):
    place = RunFolder(tmp_path)
    writes = CheckpointCallback(lambda state: place.write_checkpoint(state, {}), 1e9)

    class AtStep(SignalCallback):
        def on_train_batch_end(self, trainer, pl_module, *arguments):
            if descent.progress.step == 100:
                os.kill(os.getpid(), signal.SIGUSR2)
            super().on_train_batch_end(trainer, pl_module, *arguments)

    def requeue(number, frame):
        raise SystemExit(-1)

    before = signal.signal(signal.SIGUSR2, requeue)
    try:
        with pytest.raises(SystemExit):
            fit_descent(descent, [writes, AtStep(writes.save)])
    finally:
        signal.signal(signal.SIGUSR2, before)
    settings = RunSettings.checked(descent.problem, 3, 0.1, tol=0, max_steps=400, engine="eager", references=False)
    resumed, whole = new_descent(descent.problem, settings), new_descent(descent.problem, settings)
    resumed.load_state_dict(place.read_checkpoint({}))
    assert resumed.progress.step == 100
    for run in (resumed, whole):
        while run.advance() is None:
            pass
    assert torch.equal(resumed.network.theta_plus, whole.network.theta_plus)
    assert torch.equal(resumed.network.theta_minus, whole.network.theta_minus)


# -- checkpoints ------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_refused_where_it_is_another_runs_or_versions(command, tmp_path, monkeypatch):
    part = command(*QUICK, "max_steps=100")
    place = RunFolder(part.folder)
    problem = dln.load_run(part.folder).problem
    settings = RunSettings.checked(problem, 3, 0.1)
    identity, _ = run_identity(problem, settings)
    assert place.read_checkpoint(identity)["engine"]["progress"]["step"] == 100
    for key, value, words in (("p", 4.0, "p=3.0, got 4.0"), ("problem", "0" * 64, "problem='")):
        with pytest.raises(InputError, match="resume must continue the same run: its checkpoint has") as error:
            place.read_checkpoint({**identity, key: value})
        assert words in str(error.value)
    place.close()
    monkeypatch.setattr(folder_module, "__version__", "9.9")
    done = command(f"resume={part.folder}")
    assert done.status == 2
    assert "resume must have a checkpoint of dlntorch 9.9, got one of " in done.err
    assert "to continue it, or start anew" in done.err


def test_a_tampered_checkpoint_is_refused(tmp_path):
    place = RunFolder(tmp_path)
    place.write_checkpoint({"x": torch.arange(100.0)}, {"p": 3.0})
    assert torch.equal(place.read_checkpoint({"p": 3.0})["x"], torch.arange(100.0))
    saved = torch.load(place.checkpoint, weights_only=True)
    for change in ({"identity": {"p": 4.0}}, {"state": saved["state"].flip(0)}, {"sha256": "0" * 64}):
        torch.save({**saved, **change}, place.checkpoint)
        with pytest.raises(InputError, match="truncated or altered"):
            place.read_checkpoint({"p": 4.0})
    torch.save({**saved, "format": 1}, place.checkpoint)
    with pytest.raises(InputError, match="resume must have a checkpoint of format 4, got format 1"):
        place.read_checkpoint({})
    with pytest.raises(InputError, match="checkpoints/last.ckpt"):
        RunFolder(tmp_path / "new").read_checkpoint({})


def test_one_process_at_a_time(command, tmp_path):
    place = RunFolder(tmp_path / "run")
    done = command(*QUICK, "max_steps=10", folder=tmp_path / "run")
    assert done.status == 2
    assert "hydra.run.dir must be a folder that no other process is running in" in done.err
    place.close()
    assert command(*QUICK, "max_steps=10", folder=tmp_path / "run").status == 0


def test_resume_auto_starts_and_then_continues(command, tmp_path):
    whole = command(*QUICK, "max_steps=200", folder=tmp_path / "whole")
    assert command(*QUICK, "max_steps=200", "resume=auto").status == 0
    again = command(*QUICK, "max_steps=200", "resume=auto")
    assert again.status == 0
    assert torch.equal(dln.load_run(again.folder).theta_plus, dln.load_run(whole.folder).theta_plus)
    assert dln.load_run(again.folder).config["resume"] is None


# -- disks ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def failing(monkeypatch):
    """Makes writing of files with a given word in their name fail."""

    def fail(word: str, number: int = errno.ENOSPC) -> None:
        replace = os.replace

        def broken(source, target):
            if word in str(target):
                raise OSError(number, os.strerror(number))
            replace(source, target)

        monkeypatch.setattr(folder_module.os, "replace", broken)

    return fail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_checkpoint_that_cannot_be_written_does_not_end_the_run(command, failing, number):
    failing("last.ckpt", number)
    done = command(*QUICK, "callbacks.checkpoint_seconds=1e-9", "max_steps=300")
    assert done.status == 0
    (line,) = done.err.strip().splitlines()
    assert line.startswith("warning: ")
    assert os.strerror(number) in line
    assert "the run goes on, and the checkpoint before it stays" in line
    assert json.loads((done.folder / "summary.json").read_text())["status"] == "max_steps"
    assert not list(done.folder.rglob("*.tmp"))


@pytest.mark.parametrize("file", ["result.npz", "trajectory.csv", "report.html", "summary.json"])
def test_results_that_cannot_be_written_end_the_run_and_can_be_had_later(command, failing, monkeypatch, tmp_path, file):
    whole = command(*QUICK, "max_steps=300", folder=tmp_path / "whole")
    failing(file)
    done = command(*QUICK, "max_steps=300")
    assert done.status == 3
    (line,) = done.err.strip().splitlines()
    assert line.startswith("error: ")
    assert f"{file} could not be written (No space left on device); what was written before it is kept" in line
    monkeypatch.undo()
    again = command(f"resume={done.folder}")
    assert again.status == 0, again.err
    one, two = dln.load_run(whole.folder), dln.load_run(done.folder)
    assert torch.equal(one.theta_plus, two.theta_plus)
    assert torch.equal(one.trajectory.psi, two.trajectory.psi)


@pytest.mark.slow
def test_a_disk_that_is_really_full(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk can be mounted by root only")
    try:
        words = ["train.py", *QUICK, "max_steps=2000000", "tol=0", "logger=none", "callbacks.checkpoint_seconds=0.05"]
        process = subprocess.Popen(
            [sys.executable, *words, f"hydra.run.dir={disk / 'run'}"], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        while not (disk / "run" / "checkpoints" / "last.ckpt").exists() and process.poll() is None:
            pass
        (disk / "filler").write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize))
        _, err = process.communicate()
        assert process.returncode == 3, err
        assert "No space left on device" in err
        (disk / "filler").unlink()
        subprocess.run(["mount", "-o", "remount,size=40m", str(disk)], check=True)
        done = subprocess.run([sys.executable, "train.py", f"resume={disk / 'run'}"], cwd=ROOT, check=False)
        assert done.returncode == 0
        run = dln.load_run(disk / "run")
        whole = dln.train(run.problem, 3, 0.1, tol=0, max_steps=2000000, references=False)
        assert torch.equal(run.theta_plus, whole.theta_plus)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# -- W&B --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def wandb_key(monkeypatch):
    key = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens there
    return key


def run_with_wandb(command, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wandb's own imports
        warnings.simplefilter("always", DataWarning)
        return command("logger=wandb", *QUICK, "max_steps=100", "logger.timeout=2", *arguments)


def test_wandb_out_of_reach(command, wandb_key):
    done = run_with_wandb(command)
    assert done.status == 0, done.err
    (line,) = done.err.strip().splitlines()
    assert line.startswith("warning: W&B cannot be used (")
    assert "this run is logged offline, send it later with `wandb sync " in line
    assert len(list(done.folder.glob("wandb/offline-run-*/run-*.wandb"))) == 1
    assert (done.folder / "summary.json").is_file()
    refused = run_with_wandb(command, "logger.offline=false")
    assert refused.status == 2
    assert "logger.offline must be auto or true where W&B cannot be used, got False" in refused.err
    for path in done.folder.rglob("*"):
        assert not path.is_file() or wandb_key.encode() not in path.read_bytes(), path


def test_no_key_is_ever_written_and_a_resumed_run_keeps_its_wandb_id(command, wandb_key):
    part = run_with_wandb(command, "logger.offline=true")
    again = run_with_wandb(command, "logger.offline=true", "resume=auto", "max_steps=200")
    assert part.status == again.status == 0, again.err
    files = [path for path in part.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert {path.name for path in files} >= {"config.yaml", "last.ckpt", "summary.json", "debug.log"}
    for path in files:
        assert wandb_key.encode() not in path.read_bytes(), path
    assert wandb_key not in part.out + part.err + again.out + again.err
    identities = {path.stem.removeprefix("run-") for path in part.folder.glob("wandb/offline-run-*/run-*.wandb")}
    assert identities == {(part.folder / "wandb" / "run_id.txt").read_text()}
    assert len(list(part.folder.glob("wandb/offline-run-*"))) == 2
    steps = [row["step"] for file in wandb_files(part.folder) for row in rows_of(file)]
    assert steps == sorted(set(steps))  # every step once, over both parts
    assert steps == [int(step) for step in dln.load_run(part.folder).history["step"] if step in steps]


def wandb_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("wandb/offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime)


def rows_of(file: Path) -> list[dict]:
    from tests.run.test_loggers import _records

    found = []
    for record in _records(file):
        if record.HasField("history"):
            row = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
            if "residual" in row:
                found.append(row)
    return found
