"""Columns spread over two processes: the same run as in one, whatever the schedule; mistakes get one line."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

import dlntorch as dln
from dlntorch.engine import Engine, RowBatches, Stopping, processes
from dlntorch.engine.eager import EagerEngine
from dlntorch.engine.processes import shard_processes
from dlntorch.engine.sharded import ShardedEngine
from dlntorch.model.network import DiagonalLinearNetwork
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError
from dlntorch.optim.step_size import Schedule, make_schedule
from dlntorch.problem import Problem, make_problem
from dlntorch.training.callbacks import SignalCallback
from tests.problems import gaussian

ROOT = Path(__file__).resolve().parents[2]
CASES: list[tuple[float, Schedule, int | None]] = [
    (3.0, make_schedule(), None),
    (2.0, make_schedule(kappa=0.1), None),
    (2.7, make_schedule("constant", eta=2e-3), None),
    (3.0, make_schedule("stable", c=0.3), None),
    (3.0, make_schedule(), 4),
    (4.0, make_schedule("stable", c=0.02), 4),
]


@pytest.fixture(scope="module")
def two_processes():
    with shard_processes(2) as shards:
        yield shards


def make(
    kind: type[Engine], problem: Problem, p: float, schedule: Schedule, batch: int | None, **rules: float
) -> Engine:
    network = DiagonalLinearNetwork(problem.n, p, 0.2)
    stopping = Stopping(**{"tol": 0.0, **rules})  # type: ignore[arg-type]
    return kind(network, problem, schedule, stopping, None if batch is None else RowBatches(problem.m, batch, 7))


def same(ours: Engine, theirs: Engine) -> bool:
    a, b = (torch.stack([e.network.theta_plus.detach(), e.network.theta_minus.detach()]) for e in (ours, theirs))
    return float(((a - b).abs() / b).max()) < 1e-12


@pytest.mark.parametrize(("p", "schedule", "batch"), CASES)
def test_two_processes_equal_one(two_processes, p, schedule, batch):
    problem = gaussian(6, 17, 0)
    whole, parts = (make(kind, problem, p, schedule, batch) for kind in (EagerEngine, ShardedEngine))
    for _ in range(2):
        assert whole.advance(15) == parts.advance(15)
        assert same(parts, whole)
    assert parts.progress.step == 30
    assert parts.progress.time == pytest.approx(whole.progress.time, rel=1e-12)
    assert parts.progress.residual == pytest.approx(whole.progress.residual, rel=1e-12)
    assert float((parts.network.theta_plus.detach() - 0.2).abs().min()) > 0  # every column has moved, in either process


def test_sparse_columns_are_split_too(two_processes):
    problem = make_problem("sparse_csr", m=10, n=31)
    whole, parts = (make(kind, problem, 3, make_schedule(), None) for kind in (EagerEngine, ShardedEngine))
    assert whole.advance(20) == parts.advance(20)
    assert same(parts, whole)


@pytest.mark.parametrize(
    ("schedule", "rules", "status"),
    [
        (make_schedule(kappa=0.3), {"tol": 0.3, "max_steps": 5000}, Status.CONVERGED),
        (make_schedule(), {"max_steps": 7}, Status.MAX_STEPS),
        (make_schedule(), {"max_time": 0.05}, Status.MAX_TIME),
        (make_schedule("constant", eta=3.0), {}, Status.LEFT_POSITIVE_ORTHANT),
        (make_schedule("constant", eta=1e308), {}, Status.DIVERGED),
    ],
)
def test_all_processes_stop_at_the_same_step(two_processes, schedule, rules, status):
    problem = gaussian(6, 17, 0)
    problem = Problem(problem.A, 1e4 * problem.y) if status is Status.DIVERGED else problem
    whole, parts = (make(kind, problem, 3, schedule, None, **rules) for kind in (EagerEngine, ShardedEngine))
    assert parts.advance(5000) == whole.advance(5000) == status
    assert parts.progress.step == whole.progress.step
    assert same(parts, whole)


@pytest.mark.parametrize("rule", ["relative", "stable"])
def test_a_saved_state_continues_bitwise(two_processes, rule):
    problem, schedule = gaussian(6, 17, 0), make_schedule(rule)
    first = make(ShardedEngine, problem, 3, schedule, None)
    first.advance(8)
    state, theta = first.state_dict(), [t.detach().clone() for t in first.network.parameters()]
    first.advance(8)
    again = make(ShardedEngine, problem, 3, schedule, None)
    for parameter, value in zip(again.network.parameters(), theta, strict=True):
        parameter.data.copy_(value)
    again.load_state_dict(state)
    again.advance(8)
    assert again.progress == first.progress
    assert all(torch.equal(a, b) for a, b in zip(first.network.parameters(), again.network.parameters(), strict=True))


@pytest.mark.parametrize(
    ("problem", "options", "words"),
    [
        (gaussian(2, 5, 0), {"shards": 6}, "trainer.shards must be at most the number of columns, 5, got 6"),
        (gaussian(2, 5, 0), {"shards": 0}, "trainer.shards must be an integer >= 1, got 0"),
        (gaussian(2, 5, 0), {"shards": 2, "engine": "fused"}, "engine must be auto or eager with trainer.shards=2"),
        (gaussian(2, 5, 0), {"shards": 2, "certificate": True}, "certificate must be false"),
        (
            make_problem("partial_cosine"),
            {"shards": 2},
            "trainer.shards must be 1 with an A whose columns cannot be had apart",
        ),
    ],
)
def test_mistakes_get_one_line(problem, options, words):
    with pytest.raises(InputError) as caught:
        dln.train(problem, 3, 1e-2, **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


#: What SLURM sets in a job of two tasks: in the batch script, and in each task that srun starts.
BATCH = {"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "2", "SLURM_NPROCS": "2", "SLURM_NNODES": "1", "SLURM_PROCID": "0",
         "SLURM_LOCALID": "0", "SLURM_JOB_NODELIST": "localhost", "SLURM_JOB_NAME": "job.sh"}  # fmt: skip
STEP = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "localhost"}
TASKS = [{**BATCH, **STEP, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(2)]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def launch(folder: Path, launcher: list[str], variables: list[dict[str, str]], *more: str) -> list[tuple[int, str]]:
    """The exit status and standard error of each process."""
    words = ["p=3", "alpha=1e-2", "max_steps=200", "trainer.shards=2", "logger=none", "references=false", *more]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    clean |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, *launcher, str(ROOT / "train.py"), *words, f"hydra.run.dir={folder}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**clean, **one},
        )
        for one in variables
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=300)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    return [(process.returncode, err) for process, err in zip(running, said, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "variables"),
    [([], [{}]), (TORCHRUN, [{}]), ([], TASKS), ([], [{**BATCH, "SLURM_NTASKS_PER_NODE": "2"}])],
    ids=["nobody", "torchrun", "srun -n 2", "a batch script without srun"],
)
def test_the_command_line_spreads_a_run_over_processes(tmp_path, launcher, variables):
    done = launch(tmp_path / "run", launcher, variables)
    assert [status for status, _ in done] == [0] * len(variables), done
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["steps"], summary["engine"]) == ("max_steps", 200, "eager")
    alone = dln.train(make_problem("gaussian"), 3, 1e-2, max_steps=200, references=False)
    ours = dln.load_run(tmp_path / "run").theta_plus
    assert float(((ours - alone.theta_plus).abs() / alone.theta_plus).max()) < 1e-12
    assert np.isfinite(summary["residual"])


@pytest.mark.slow
def test_the_other_processes_end_with_one_line_where_rank_zero_ends(tmp_path):
    first, second = launch(tmp_path / "run", [], TASKS, "schedule=theorem", "max_time=1")
    assert (first[0], second[0]) == (2, 2)
    assert first[1].startswith("error: max_steps must be at least 10^")
    assert second[1].startswith("error: trainer.shards: rank 0 has ended")
    assert (first[1].count("\n"), second[1].count("\n")) == (1, 1)


@pytest.fixture
def environment(monkeypatch):
    """The variables of a launcher, and what :func:`external_rank` sets, for one test."""
    for name in [name for name in os.environ if name.startswith(("SLURM_", "TORCHELASTIC_"))]:
        monkeypatch.delenv(name)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")  # put back afterwards, whoever sets it meanwhile
        monkeypatch.delenv(name)
    return lambda variables: [monkeypatch.setenv(name, value) for name, value in variables.items()]


@pytest.mark.parametrize("given", [{}, {"SLURM_NTASKS_PER_NODE": "2"}, {"SLURM_STEP_NUM_TASKS": "1"}])
def test_a_job_of_two_tasks_whose_script_starts_one_process_is_one_process(environment, given):
    environment({**BATCH, **given})
    assert processes.external_rank(2) is None


@pytest.mark.parametrize("name", ["job.sh", "bash", "interactive"])
def test_each_task_of_srun_is_a_process_whatever_the_job_is_called(environment, name):
    environment({**TASKS[1], "SLURM_JOB_NAME": name, "SLURM_STEP_NODELIST": "node[03-05,7]"})
    assert processes.external_rank(2) == 1
    found = [os.environ[key] for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")]
    assert found == ["1", "2", "1", "node03", str(15000 + 4711)]
    with pytest.raises(InputError, match="must be the number of processes that were started, 2, got 3"):
        processes.external_rank(3)


def test_two_steps_of_one_job_meet_at_ports_of_their_own(environment):
    ports = set()
    for step in ("0", "1"):
        environment({**TASKS[0], "SLURM_STEP_ID": step})
        os.environ.pop("MASTER_PORT", None)
        processes.external_rank(2)
        ports.add(os.environ["MASTER_PORT"])
    assert len(ports) == 2


def test_processes_that_do_not_all_come_are_not_waited_for_without_end(environment, monkeypatch):
    monkeypatch.setattr(processes, "RENDEZVOUS", timedelta(seconds=1))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    environment({**TASKS[0], "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port})
    assert processes.external_rank(2) == 0
    with pytest.raises(InputError, match="must have all of its 2 processes started by torchrun or srun, got fewer"):
        processes.worker()


def test_a_script_of_ones_own_under_a_launcher_is_refused_in_every_process(environment):
    environment(TASKS[0])
    with pytest.raises(InputError, match="shards must be 1 in a script that torchrun or srun starts several times"):
        dln.train(gaussian(2, 5, 0), 3, 1e-2, shards=2)


def test_a_worker_leaves_the_signals_of_a_job_to_rank_zero(monkeypatch):
    """Those that ``callbacks.SignalCallback`` takes; one that ends a worker would leave rank 0 waiting for it."""
    ignored = {}
    monkeypatch.setattr(processes.signal, "signal", lambda number, action: ignored.update({number: action}))
    monkeypatch.setattr(processes, "_join", lambda: None)
    monkeypatch.setattr(processes.dist, "destroy_process_group", lambda: None)
    monkeypatch.setattr("dlntorch.engine.sharded.serve", lambda: None)
    processes.worker()
    taken = {getattr(signal, name) for name in SignalCallback.SIGNALS}
    assert {number for number, action in ignored.items() if action is signal.SIG_IGN} == taken
