"""Ensembles: every member is what it is alone, and ends by itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dlntorch.dynamics.schedule import make_schedule
from dlntorch.engine import RowBatches, Stopping
from dlntorch.engine.ensemble import EnsembleEngine, make_ensemble, train_ensemble
from dlntorch.engine.fused import FusedEngine
from dlntorch.network import DiagonalLinearNetwork
from dlntorch.trajectory import Status
from dlntorch.validation import InputError
from tests.problems import gaussian

RELATIVE = make_schedule("relative", kappa=0.1)


def alone(problem, p, alpha, schedule, stopping, batch=None, seed=0) -> tuple[FusedEngine, Status | None]:
    network = DiagonalLinearNetwork(problem.n, p, alpha, dtype=problem.dtype)
    engine = FusedEngine(
        network, problem, schedule, stopping, None if batch is None else RowBatches(problem.m, batch, seed)
    )
    return engine, engine.advance(10**6)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("batch", [None, 4])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_each_member_is_bitwise_what_it_is_alone(dtype: str, batch: int | None, threads: int) -> None:
    problems = [gaussian(6, 17, seed, nonzeros=2).to(dtype=dtype) for seed in range(6)]
    depths, alphas, seeds = [2, 2.5, 2.7, 3, 4, 7], [0.01, 0.1, 0.2, 0.1, 0.3, 0.4], [5, 4, 3, 2, 1, 0]
    stopping = Stopping(tol=1e-4, max_steps=1500, check_every=50)
    ensemble = make_ensemble(
        problems, depths, alphas, RELATIVE, stopping, batch_size=batch, seed=seeds, threads=threads
    )
    while ensemble.running:
        ensemble.advance(333)
    for i, member in enumerate(ensemble.members):
        engine, status = alone(problems[i], depths[i], alphas[i], RELATIVE, stopping, batch, seeds[i])
        assert ensemble.status[i] == status
        assert member.engine.progress == engine.progress
        assert torch.equal(ensemble.theta[0][i], engine.network.theta_plus)
        assert torch.equal(ensemble.theta[1][i], engine.network.theta_minus)
        assert torch.equal(ensemble.psi[i], engine.network.psi)


def test_members_end_by_themselves_and_stay_as_they_ended() -> None:
    problem = gaussian(6, 17, 0, nonzeros=2)
    ensemble = make_ensemble(problem, 3, [0.3, 0.1, 0.03], RELATIVE, Stopping(tol=1e-3, max_steps=10**6), threads=2)
    ended: dict[int, np.ndarray] = {}
    while ensemble.running:
        ensemble.advance(1000)
        for i, theta in ended.items():
            assert np.array_equal(ensemble.psi[i].numpy(), theta)
        ended.update({i: ensemble.psi[i].numpy().copy() for i in range(3) if ensemble.status[i] is not None})
    steps = [progress.step for progress in ensemble.progress]
    assert ensemble.status == [Status.CONVERGED] * 3
    assert steps[0] < steps[1] < steps[2]


def test_a_member_that_ends_badly_stops_no_other() -> None:
    problem = gaussian(6, 17, 0)
    constant = make_schedule("constant", eta=0.05)
    ensemble = train_ensemble(problem, 3, [0.1, 4.0], constant, Stopping(max_steps=500), threads=2)
    assert ensemble.status == [Status.MAX_STEPS, Status.LEFT_POSITIVE_ORTHANT]
    assert ensemble.progress[0].step == 500 > 10 > ensemble.progress[1].step
    assert bool(torch.all(torch.isfinite(ensemble.psi)))


def test_one_value_means_all_members_and_nothing_but_values_one_member() -> None:
    problem, stopping = gaussian(6, 17, 0), Stopping(max_steps=10)
    seeds = train_ensemble(problem, 3, 0.1, RELATIVE, stopping, batch_size=2, seed=[0, 1, 2])
    assert [(member.p, member.alpha, member.seed) for member in seeds.members] == [(3, 0.1, s) for s in range(3)]
    assert not torch.equal(seeds.psi[0], seeds.psi[1])
    assert len(train_ensemble(problem, 3, 0.1, stopping=stopping)) == 1


def test_a_saved_ensemble_continues_bitwise() -> None:
    problem, stopping = gaussian(6, 17, 0), Stopping(tol=1e-2, max_steps=400)
    first, second, whole = (make_ensemble(problem, [2, 3, 4], 0.2, RELATIVE, stopping, threads=2) for _ in range(3))
    first.advance(150)
    second.load_state_dict(first.state_dict())
    second.run()
    whole.run()
    assert second.status == whole.status
    assert second.progress == whole.progress
    assert torch.equal(second.psi, whole.psi)


def test_wall_clock_budget_and_blocks() -> None:
    problem, seen = gaussian(6, 17, 0), []
    stopping = Stopping(tol=0, max_steps=10**12)
    ensemble = make_ensemble(problem, 3, [0.1, 0.2], RELATIVE, stopping, threads=2)
    ends = ensemble.run(0.2, block_seconds=0.02, on_block=lambda e: seen.append(e.progress[0].step))
    assert ends == [Status.MAX_WALL_SECONDS] * 2
    assert len(seen) >= 2
    assert seen == sorted(seen)
    assert ensemble.suggested_block() == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": [0.1, 0.2], "p": [2, 3, 4]}, "sequences of one length, got p: 3, alpha: 2"),
        ({"alpha": []}, "at least one member"),
        ({"alpha": [0.1, -1.0]}, "alpha must be finite and > 0"),
        ({"p": [3, 1.5]}, "p must be a finite real number >= 2"),
        ({"problem": [gaussian(6, 17, 0), gaussian(5, 17, 0)]}, "problems of one shape"),
        ({"threads": 0}, "threads must be an integer >= 1"),
        ({"batch_size": 7}, "batch_size must be an integer >= 1 and <= 6"),
    ],
)
def test_bad_input(change: dict, message: str) -> None:
    arguments = {"problem": gaussian(6, 17, 0), "p": 3, "alpha": 0.1, "schedule": RELATIVE, "stopping": Stopping()}
    with pytest.raises(InputError, match=message):
        make_ensemble(**{**arguments, **change})


def test_the_default_number_of_threads_is_the_cores_at_hand() -> None:
    ensemble = make_ensemble(gaussian(6, 17, 0), 3, 0.1, RELATIVE, Stopping())
    assert isinstance(ensemble, EnsembleEngine)
    assert ensemble.threads >= 1
    assert math.isfinite(ensemble.suggested_block())
