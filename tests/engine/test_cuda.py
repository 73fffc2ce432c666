"""The CUDA engine's arithmetic: its step function, and its kernel in Triton's interpreter, equal the eager engine."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

import dlntorch as dln
from dlntorch.engine import Stopping
from dlntorch.engine.cuda import CudaBatch, CudaEngine, eager_steps
from dlntorch.engine.eager import EagerEngine
from dlntorch.model.network import DiagonalLinearNetwork
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError
from dlntorch.optim.step_size import make_schedule
from dlntorch.problem import Problem
from tests.problems import gaussian

ROOT = Path(__file__).resolve().parents[2]
#: (p, schedule, stopping, how many steps): every rule and every way to end.
CASES = [
    (2.0, make_schedule(kappa=0.1), {"tol": 0.0}, 12),
    (3.0, make_schedule(), {"tol": 0.0}, 12),
    (2.7, make_schedule(), {"tol": 0.0}, 12),
    (4.0, make_schedule("constant", eta=2e-3), {"tol": 0.0}, 12),
    (3.0, make_schedule(kappa=0.3), {"tol": 0.5}, 60),
    (3.0, make_schedule(), {"max_steps": 7}, 20),
    (3.0, make_schedule(), {"max_time": 0.05}, 40),
    (3.0, make_schedule("constant", eta=3.0), {}, 20),
    (3.0, make_schedule("constant", eta=1e308), {}, 20),
]


def network(problem: Problem, p: float, alpha: float = 0.2) -> DiagonalLinearNetwork:
    return DiagonalLinearNetwork(problem.n, p, alpha, dtype=problem.dtype, device=problem.device)


def theta(one: DiagonalLinearNetwork) -> torch.Tensor:
    return torch.stack([one.theta_plus.detach(), one.theta_minus.detach()]).cpu()


def plain_steps(state):
    return partial(eager_steps, state)


def check_batch(
    runner, device: str = "cpu", cases=CASES, shape: tuple[int, int] = (5, 11), dtype: str = "float64"
) -> None:
    """A batch over problems and α equals each member alone in the eager engine, at every ending."""
    for p, schedule, rules, steps in cases:
        problems = [gaussian(*shape, seed) for seed in range(2)]
        if schedule.eta == 1e308:
            problems = [Problem(problem.A, 1e4 * problem.y) for problem in problems]
        problems = [problem.to(device, dtype) for problem in problems]
        exact = dtype == "float64"
        alphas, stopping = (0.2, 0.1), Stopping(**rules)
        members = [network(problem, p, alpha) for problem, alpha in zip(problems, alphas, strict=True)]
        batch = CudaBatch(members, problems, schedule, stopping, runner)
        for count in (steps // 3, steps - steps // 3):
            status = batch.advance(count)
        for i, (problem, alpha) in enumerate(zip(problems, alphas, strict=True)):
            alone = EagerEngine(network(problem, p, alpha), problem, schedule, stopping)
            assert alone.advance(steps) == status[i], (p, schedule, rules, i)
            ours, theirs = theta(members[i]), theta(alone.network)
            assert float(((ours - theirs).abs() / theirs).max()) < (1e-12 if exact else 1e-5)
            progress = batch.progress[i]
            assert progress.step == alone.progress.step
            for name in ("time", "eta", "eta_min", "eta_max"):
                assert getattr(progress, name) == pytest.approx(
                    getattr(alone.progress, name), rel=1e-12 if exact else 1e-5
                )
            assert progress.residual == pytest.approx(alone.progress.residual, rel=1e-10 if exact else 1e-4)


def test_the_step_function_equals_the_eager_engine():
    check_batch(plain_steps)
    check_batch(plain_steps, cases=CASES[1:4], dtype="float32")


def test_networks_may_share_a_problem():
    problem, alphas = gaussian(4, 9, 1), (0.1, 0.2, 0.4, 0.8)
    members = [network(problem, 3, alpha) for alpha in alphas]
    batch = CudaBatch(members, problem, make_schedule(), Stopping(tol=0))
    batch.advance(30)
    for member, alpha in zip(members, alphas, strict=True):
        alone = EagerEngine(network(problem, 3, alpha), problem, make_schedule(), Stopping(tol=0))
        alone.advance(30)
        assert float(((theta(member) - theta(alone.network)).abs() / theta(alone.network)).max()) < 1e-12


def test_one_network_continues_bitwise_from_a_saved_state():
    problem = gaussian(4, 9, 1)
    first = CudaEngine(network(problem, 3), problem, make_schedule(), Stopping(tol=0))
    first.advance(20)
    state, start = first.state_dict(), theta(first.network)
    first.advance(20)
    again = CudaEngine(network(problem, 3), problem, make_schedule(), Stopping(tol=0))
    again.network.theta_plus.data.copy_(start[0])
    again.network.theta_minus.data.copy_(start[1])
    again.load_state_dict(state)
    again.advance(20)
    assert torch.equal(theta(first.network), theta(again.network))
    assert first.progress == again.progress


def test_at_the_budget_the_last_residual_still_counts():
    problem, stopping = gaussian(4, 9, 1), Stopping(tol=0.3)
    count = 0
    probe = EagerEngine(network(problem, 3), problem, make_schedule(kappa=0.3), stopping)
    while probe.advance(1) is None:
        count += 1
    for kind in (EagerEngine, CudaEngine):
        engine = kind(
            network(problem, 3), problem, make_schedule(kappa=0.3), Stopping(tol=0.3, max_steps=probe.progress.step)
        )
        status = engine.advance(probe.progress.step)
        assert (status or engine.advance(0)) is Status.CONVERGED


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda q: CudaBatch([], q, make_schedule(), Stopping()), "ensemble must have at least one member"),
        (lambda q: CudaBatch([network(q, 2), network(q, 3)], q, make_schedule(), Stopping()), "one depth p"),
        (lambda q: CudaBatch([network(q, 2)], [q, q], make_schedule(), Stopping()), "one problem, or 1"),
        (lambda q: CudaBatch([network(q, 2)], q, make_schedule("stable"), Stopping()), "relative or constant"),
    ],
)
def test_mistakes_get_one_line(make, words):
    with pytest.raises(InputError, match=words):
        make(gaussian(2, 5, 0))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_asked_for_and_absent_is_one_line():
    with pytest.raises(InputError, match=r"device must be available, got 'cuda': torch finds no CUDA GPU here"):
        dln.train(gaussian(2, 5, 0), 3, 1e-2, engine="cuda")


def test_the_kernel_in_the_interpreter_equals_the_eager_engine():
    pytest.importorskip("triton")
    code = (
        "from tests.engine.test_cuda import CASES, check_batch\n"
        "from dlntorch.engine.triton_kernel import OnChip\n"
        "check_batch(OnChip)\n"
        "check_batch(OnChip, cases=CASES[1:4], dtype='float32')\n"
        "print('equal in', len(CASES), 'cases')\n"
    )
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"equal in {len(CASES)} cases" in done.stdout


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_kernel_and_graphs_on_a_gpu_equal_the_eager_engine():
    from dlntorch.engine.cuda import GraphSteps
    from dlntorch.engine.triton_kernel import OnChip

    check_batch(OnChip, "cuda")
    check_batch(OnChip, "cuda", CASES[:4], (50, 200))
    check_batch(OnChip, "cuda", CASES[:4], (50, 200), "float32")
    check_batch(None, "cuda")
    for case in CASES:
        check_batch(GraphSteps, "cuda", [case], (60, 300))


def test_an_ensemble_trains_its_networks_in_batches(monkeypatch):
    """Each network's record is that of its own run; depths, rules and ends differ, and one batch shrinks."""
    from dlntorch.training import descent as module
    from dlntorch.training.descent import Descent
    from dlntorch.training.ensemble import EnsembleDescent

    monkeypatch.setattr(module, "resolve_engine", lambda *_: "cuda")
    problem = gaussian(4, 9, 1)
    cases = [
        (p, alpha, schedule, rules)
        for p, schedule in ((2.0, make_schedule()), (3.0, make_schedule()), (3.0, make_schedule("constant", eta=1e-2)))
        for alpha, rules in (
            (0.1, {"tol": 0.0}),
            (0.2, {"max_steps": 37}),
            (0.3, {"tol": 0.9}),
            (0.2, {"max_steps": 60}),
        )
    ]

    def descents() -> list[Descent]:
        return [
            Descent(network(problem, p, alpha), problem, schedule, Stopping(**{"max_steps": 300, **rules}))
            for p, alpha, schedule, rules in cases
        ]

    together, alone = EnsembleDescent(descents()), descents()
    assert [len(batch.descents) for batch in together._groups] == [4, 4, 4]
    for _ in range(4):
        together.advance()
    resumed = EnsembleDescent(descents())
    resumed.load_state_dict(together.state_dict())
    for ensemble in (together, resumed):
        while ensemble.advance() is None:
            pass
    assert any(len(batch.descents) < 4 for batch in together._groups)
    for i, one in enumerate(alone):
        while one.advance() is None:
            pass
        for ensemble in (together, resumed):
            other = ensemble.descents[i]
            assert other.status is one.status
            assert other.progress.step == one.progress.step
            assert float(((theta(other.network) - theta(one.network)).abs() / theta(one.network)).max()) < 1e-12
            assert [s.step for s in other.recorder.snapshots] == [s.step for s in one.recorder.snapshots]
