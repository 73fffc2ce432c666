"""What every engine promises, run over all that are registered: the same θ, the same end, and cuts that do not show."""

from __future__ import annotations

import copy
import math
from dataclasses import fields

import pytest
import torch

import dlntorch as dln
from dlntorch.engine import CAPABILITIES, Stopping, engine_class
from dlntorch.engine.base import Engine, RecordingEngine
from dlntorch.engine.capabilities import NAMED, Needs, capable, refusal
from dlntorch.numerics.trajectory import Status
from dlntorch.optim.step_size import make_schedule
from dlntorch.optim.update import Update
from dlntorch.training.descent import Descent
from tests.problems import gaussian

#: Engines that run in this process; ``sharded`` has processes of its own (tests/engine/test_sharded.py).
ENGINES = [pytest.param(name, marks=[] if "cpu" in CAPABILITIES[name].devices else pytest.mark.gpu) for name in NAMED]
every_engine = pytest.mark.parametrize("engine", ENGINES)
ALL = Stopping(tol=1e-2, max_steps=400)


def descent_of(engine, stopping=ALL, p=3.0, batch=None, schedule="relative", **options):
    place = CAPABILITIES[engine].devices[0]
    if place == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    network = dln.DiagonalLinearNetwork(8, p, 0.2).to(place)
    problem = gaussian(3, 8, seed=4, nonzeros=2).to(device=place)
    return Descent(
        network,
        problem,
        make_schedule(schedule, **(options or {"kappa": 0.1})),
        stopping,
        engine=engine,
        batch_size=batch,
        seed=2,
    )


def finished(descent):
    while descent.advance() is None:
        pass
    return descent


def test_every_engine_is_a_class_of_that_name():
    for name in CAPABILITIES:
        kind = engine_class(name)
        assert issubclass(kind, Engine)
        assert kind.name == name


def test_every_capability_is_one_that_some_engine_has_and_some_lacks():
    for field in fields(CAPABILITIES["fused"]):
        assert len({getattr(one, field.name) for one in CAPABILITIES.values()}) > 1, field.name


def test_whatever_a_run_needs_is_made_or_refused_with_those_that_can():
    class Own(Update):
        def step(self, theta, gradient, eta, state):
            return theta, state

    needs = [
        Needs(),
        Needs(power=False, parametrization="Product(3)"),
        Needs(power=False, cell=False, parametrization="Sinh()"),
        Needs(update=Own()),
        Needs(own_step_size=True),
        Needs(dense=False),
        Needs(own_psi="Sinh"),
    ]
    for need in needs:
        able = capable(need)
        assert able
        for name in NAMED:
            said = refusal(name, need)
            assert (name in able) == (not said)
            assert not said or all(other in said for other in able if other != "cuda")


@every_engine
@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize("p", [2, 2.7, 3])
def test_theta_status_and_steps_are_the_reference_s(engine, p, batch):
    ours, reference = (finished(descent_of(name, p=p, batch=batch)) for name in (engine, "autograd"))
    assert (ours.status, ours.progress.step) == (reference.status, reference.progress.step)
    theta = ours.network.whole_theta().detach().cpu()
    torch.testing.assert_close(theta, reference.network.whole_theta().detach(), rtol=1e-10, atol=0)
    assert ours.progress.time == pytest.approx(reference.progress.time, rel=1e-10)


@every_engine
@pytest.mark.parametrize("batch", [None, 2])
def test_a_cut_does_not_show(engine, batch):
    whole = finished(descent_of(engine, Stopping(tol=0, max_steps=137), batch=batch))
    first = finished(descent_of(engine, Stopping(tol=0, max_steps=60), batch=batch))
    saved = copy.deepcopy(first.state_dict())
    second = descent_of(engine, Stopping(tol=0, max_steps=137), batch=batch)
    second.load_state_dict(saved)
    finished(second)
    assert torch.equal(second.network.whole_theta(), whole.network.whole_theta())
    assert second.progress.time == whole.progress.time


@every_engine
def test_budgets_and_ends(engine):
    assert finished(descent_of(engine, Stopping(tol=0, max_steps=0))).progress.step == 0
    assert finished(descent_of(engine, Stopping(tol=0, max_steps=10))).status is Status.MAX_STEPS
    timed = finished(descent_of(engine, Stopping(tol=0, max_time=0.5, max_steps=10_000)))
    assert timed.status is Status.MAX_TIME
    assert timed.progress.time >= 0.5 > timed.progress.time - timed.progress.eta
    assert finished(descent_of(engine)).status is Status.CONVERGED
    far = finished(descent_of(engine, Stopping(tol=0, max_steps=100), schedule="constant", eta=10.0))
    assert far.status is Status.LEFT_POSITIVE_ORTHANT
    assert bool((far.network.whole_theta() > 0).all())


@every_engine
def test_kept_steps_are_those_asked_for(engine):
    descent = descent_of(engine, Stopping(tol=0, max_steps=50))
    kept = [s for s in finished(descent).recorder.snapshots if s.step]
    assert kept
    assert all(s.theta.shape == (2, 8) for s in kept)
    for snapshot in kept[:3]:
        alone = finished(descent_of(engine, Stopping(tol=0, max_steps=snapshot.step)))
        assert torch.equal(torch.from_numpy(snapshot.theta), alone.network.whole_theta().detach().cpu())
        assert math.isclose(snapshot.time, alone.progress.time, rel_tol=1e-15)
    assert isinstance(descent.engine, RecordingEngine) or descent.engine.name in CAPABILITIES
