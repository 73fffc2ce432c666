"""Ensembles of descents: every network is what it is alone, and ends by itself."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from dlntorch.engine import Stopping
from dlntorch.model.network import DiagonalLinearNetwork
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError
from dlntorch.optim.step_size import make_schedule
from dlntorch.training.descent import Descent
from dlntorch.training.ensemble import EnsembleDescent, overall_status
from tests.problems import gaussian

RELATIVE = make_schedule("relative", kappa=0.1)


def descent(seed=0, p=3.0, alpha=0.1, schedule=RELATIVE, batch=None, dtype="float64", engine="auto", **stopping):
    problem = gaussian(6, 17, seed, nonzeros=2).to(dtype=dtype)
    network = DiagonalLinearNetwork(problem.n, p, alpha, dtype=problem.dtype)
    rules = Stopping(**{"tol": 1e-4, "max_steps": 1500, "check_every": 50, **stopping})
    return Descent(network, problem, schedule, rules, batch_size=batch, seed=seed, engine=engine)


def members(**options):
    depths, alphas = [2, 2.5, 2.7, 3, 4, 7], [0.01, 0.1, 0.2, 0.1, 0.3, 0.4]
    return [descent(seed, p, alpha, **options) for seed, (p, alpha) in enumerate(zip(depths, alphas, strict=True))]


@pytest.mark.parametrize(
    ("threads", "options"),
    [
        (1, {}),
        (2, {}),
        (5, {"batch": 4}),
        (2, {"dtype": "float32"}),
        (2, {"engine": "eager", "max_steps": 200}),
        (2, {"engine": "autograd", "max_steps": 60}),
        (2, {"batch": 4, "schedule": make_schedule("stable", c=0.02)}),
    ],
)
def test_each_network_is_bitwise_what_it_is_alone(threads: int, options: dict) -> None:
    ensemble = EnsembleDescent(members(**options), threads=threads, block_seconds=0.001)
    assert ensemble.threads == (1 if "engine" in options else threads)
    while ensemble.advance() is None:
        pass
    for packed, alone in zip(ensemble.descents, members(**options), strict=True):
        while alone.advance() is None:
            pass
        assert packed.status == alone.status
        assert packed.progress == alone.progress
        assert torch.equal(packed.network.theta_plus, alone.network.theta_plus)
        assert torch.equal(packed.network.theta_minus, alone.network.theta_minus)
        assert np.array_equal(packed.recorder.column("step"), alone.recorder.column("step"))
        assert np.array_equal(packed.recorder.column("theta"), alone.recorder.column("theta"))


def test_an_ended_network_is_not_called_again() -> None:
    runs = [descent(alpha=alpha, tol=1e-3, max_steps=10**6) for alpha in (0.3, 0.1, 0.03)]
    calls = [0, 0, 0]

    def counted(i: int) -> None:
        inner = runs[i].engine.advance

        def advance(steps: int) -> Status | None:
            assert runs[i].status is None
            calls[i] += 1
            return inner(steps)

        runs[i].engine.advance = advance

    for i in range(3):
        counted(i)
    ensemble = EnsembleDescent(runs, threads=2, block_seconds=1e-4)
    while ensemble.advance() is None:
        pass
    before = list(calls)
    assert ensemble.advance() is Status.CONVERGED
    assert calls == before
    assert all(run.status is Status.CONVERGED for run in runs)
    assert runs[0].progress.step < runs[1].progress.step < runs[2].progress.step


def test_a_network_that_ends_badly_stops_no_other() -> None:
    constant = make_schedule("constant", eta=0.05)
    runs = [descent(alpha=alpha, schedule=constant, max_steps=500, tol=0) for alpha in (0.1, 4.0)]
    ensemble = EnsembleDescent(runs, threads=2)
    while ensemble.advance() is None:
        pass
    assert [run.status for run in runs] == [Status.MAX_STEPS, Status.LEFT_POSITIVE_ORTHANT]
    assert ensemble.status is Status.LEFT_POSITIVE_ORTHANT
    assert ensemble.reason == "1 of 2 max_steps, 1 of 2 left_positive_orthant"
    assert ensemble.steps == sum(run.progress.step for run in runs)


def test_all_networks_progress_and_an_interruption_ends_them_where_they_are() -> None:
    runs = [descent(alpha=alpha, tol=0, max_steps=10**12) for alpha in (0.1, 0.2, 0.3, 0.4, 0.5)]
    ensemble = EnsembleDescent(runs, threads=2, block_seconds=0.2)
    assert ensemble.advance() is None
    timer = threading.Timer(0.02, ensemble.interrupt)
    timer.start()
    while ensemble.advance() is None:
        pass
    timer.join()
    assert ensemble.status is Status.INTERRUPTED
    assert all(run.status is Status.INTERRUPTED and run.progress.step > 0 for run in runs)
    assert all(run.recorder.snapshots[-1].step == run.progress.step for run in runs)


def test_a_wall_clock_budget_is_the_whole_ensembles() -> None:
    runs = [descent(alpha=alpha, tol=0, max_steps=10**12) for alpha in (0.1, 0.2)]
    ensemble = EnsembleDescent(
        [*runs, descent(alpha=0.3, max_steps=20)], threads=2, max_wall_seconds=0.5, block_seconds=0.02
    )
    while ensemble.advance() is None:
        pass
    assert ensemble.status is Status.MAX_WALL_SECONDS
    assert [run.status for run in runs] == [Status.MAX_WALL_SECONDS] * 2
    assert ensemble.descents[2].status is Status.MAX_STEPS
    assert ensemble.wall_seconds >= 0.5


def test_a_saved_ensemble_continues_bitwise() -> None:
    first = EnsembleDescent(members(max_steps=200), threads=2)
    whole, second = (EnsembleDescent(members(max_steps=700), threads=2) for _ in range(2))
    for ensemble in (first, whole):
        while ensemble.advance() is None:
            pass
    second.load_state_dict(first.state_dict())
    assert second.running == list(range(6))
    while second.advance() is None:
        pass
    for a, b in zip(second.descents, whole.descents, strict=True):
        assert a.status == b.status
        assert a.progress == b.progress
        assert torch.equal(a.network.psi, b.network.psi)
        assert np.array_equal(a.recorder.column("theta"), b.recorder.column("theta"))
    with pytest.raises(InputError, match="must have the 6 networks saved, got 1"):
        EnsembleDescent([descent()]).load_state_dict(first.state_dict())


def test_an_error_in_a_thread_is_raised() -> None:
    runs = members()

    def broken(steps: int) -> Status | None:
        raise ZeroDivisionError("here")

    runs[3].engine.advance = broken
    ensemble = EnsembleDescent(runs, threads=2, block_seconds=10.0)
    with pytest.raises(ZeroDivisionError, match="here"):
        ensemble.advance()


def test_bad_input() -> None:
    with pytest.raises(InputError, match="at least one network"):
        EnsembleDescent([])
    with pytest.raises(InputError, match="threads must be an integer >= 1, got 0"):
        EnsembleDescent([descent()], threads=0)


def test_the_gravest_status_is_the_ensembles() -> None:
    assert overall_status([Status.CONVERGED, Status.MAX_STEPS]) is Status.MAX_STEPS
    assert overall_status([Status.MAX_STEPS, Status.DIVERGED, None]) is Status.DIVERGED
    assert overall_status([Status.DIVERGED, Status.INTERRUPTED]) is Status.INTERRUPTED
