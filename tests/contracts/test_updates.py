"""What every update promises, run over all that are registered: an update is tested by being registered."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

import dlntorch as dln
from dlntorch.engine import CAPABILITIES, Stopping
from dlntorch.engine.batches import RowBatches
from dlntorch.engine.capabilities import NAMED, Needs
from dlntorch.numerics.random_signs import random_signs
from dlntorch.optim.step_size import OWN_RATE, Schedule, make_schedule
from dlntorch.optim.update import UPDATES, Update, make_update
from dlntorch.run.members import network_configs
from dlntorch.training.descent import Descent
from tests.problems import gaussian

OPTIONS = {
    "sgd": [{}],
    "momentum": [{"beta": 0.9}, {"beta": 0.5, "nesterov": True}],
    "weight_decay": [{"strength": 0.3}, {"strength": 0.3, "until": 0.05}],
    "label_noise": [{"sigma": 0.2}],
    "sam": [{"rho": 0.1}, {"rho": 0.1, "normalized": True}],
    "adam": [{}, {"beta1": 0.5, "beta2": 0.9, "eps": 1e-3}],
    "sign": [{}],
}
CASES = [(name, options) for name in UPDATES for options in OPTIONS[name]]
STEPS = 400
ENGINES = [name for name in NAMED if "cpu" in CAPABILITIES[name].devices]
ON_GPU = [pytest.param(name, marks=pytest.mark.gpu) for name in NAMED if "cpu" not in CAPABILITIES[name].devices]


def runs(engine: str, name: str, **what) -> bool:
    return not CAPABILITIES[engine].lacks(Needs(update=make_update(name), **what))


def descend(name, options, engine, *, p=3.0, batch=None, steps=STEPS, seed=5, law=None, alpha=0.3):
    place = CAPABILITIES[engine].devices[0]
    if place == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    problem = gaussian(5, 12, seed=1).to(device=place)
    network = dln.DiagonalLinearNetwork(12, p if law is None else law, alpha).to(place)
    schedule = make_schedule("constant", eta=2e-4 if name in ("adam", "sign") else 2e-3)
    descent = Descent(
        network,
        problem,
        schedule,
        Stopping(tol=0, max_steps=steps),
        engine=engine,
        batch_size=batch,
        seed=seed,
        update=make_update(name, options),
    )
    while descent.advance() is None:
        pass
    return descent


def loop(name, options, p=3.0, batch=None, steps=STEPS, seed=5, alpha=0.3):
    """The same run by the update's textbook formula: numpy, one step after another, nothing of the package but its rows."""
    problem = gaussian(5, 12, seed=1)
    A, y = (problem if batch or name == "label_noise" else problem.reduced()).A.numpy(), None
    y = (problem if batch or name == "label_noise" else problem.reduced()).y.numpy()
    rows = None if batch is None else RowBatches(5, batch, seed).rows(0, steps)
    theta, time = np.full((2, 12), alpha), 0.0
    first, second = np.zeros((2, 12)), np.zeros((2, 12))
    eta = 2e-4 if name in ("adam", "sign") else 2e-3
    sign = np.array([1.0, -1.0])[:, None]

    def gradient(x, k):
        labels = y + options.get("sigma", 0.0) * random_signs(seed, k, 5) if name == "label_noise" else y
        chosen = slice(None) if rows is None else rows[k]
        g = A[chosen].T @ (labels[chosen] - A[chosen] @ (x[0] ** p - x[1] ** p))
        return -(1.0 if batch is None else 5 / batch) * sign * p * x ** (p - 1) * g

    for k in range(steps):
        d = gradient(theta, k)
        if name == "momentum":
            first = options["beta"] * first + d
            d = d + options["beta"] * first if options.get("nesterov") else first
        elif name == "weight_decay" and time < options.get("until", math.inf):
            d = d + options["strength"] * theta
        elif name == "sam":
            length = np.sqrt((d * d).sum()) if options.get("normalized") else 1.0
            d = gradient(theta + options["rho"] * d / length, k)
        elif name == "adam":
            b1, b2 = options.get("beta1", 0.9), options.get("beta2", 0.999)
            first, second = b1 * first + (1 - b1) * d, b2 * second + (1 - b2) * d**2
            unbiased = first / (1 - b1 ** (k + 1)), second / (1 - b2 ** (k + 1))
            d = unbiased[0] / (np.sqrt(unbiased[1]) + options.get("eps", 1e-8))
        elif name == "sign":
            d = np.sign(d)
        theta, time = theta - eta * d, time + eta
    return theta


@pytest.mark.parametrize("engine", [*ENGINES, *ON_GPU])
@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize("p", [2, 2.7, pytest.param(3, marks=pytest.mark.slow)])
def test_every_engine_takes_the_textbook_steps(engine, name, options, batch, p):
    if not runs(engine, name):
        with pytest.raises(dln.InputError, match="engine must be .* with the optimizer"):
            descend(name, options, engine, batch=batch)
        return
    descent = descend(name, options, engine, p=p, batch=batch)
    assert (descent.status, descent.engine_name) == ("max_steps", engine)
    expected = loop(name, options, p, batch)
    ours = descent.network.whole_theta().cpu().numpy()
    assert np.max(np.abs(ours - expected) / np.abs(expected)) < 1e-12


@pytest.mark.parametrize("engine", [*ENGINES, *ON_GPU])
@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_a_cut_run_continues_bitwise(engine, name, options):
    if not runs(engine, name):
        return
    whole = descend(name, options, engine)
    first = descend(name, options, engine, steps=150)
    saved = copy.deepcopy({"identity": first.identity(), "state": first.state_dict()})
    second = descend(name, options, engine, steps=0)
    second.engine.stopping = whole.engine.stopping
    assert second.identity() == saved["identity"]
    if engine == "fused":
        second.engine._numbers = whole.engine._numbers
    second.load_state_dict(saved["state"])
    while second.advance() is None:
        pass
    assert torch.equal(second.network.whole_theta(), whole.network.whole_theta())
    assert [s.step for s in second.recorder.snapshots] == [s.step for s in whole.recorder.snapshots]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("label_noise", [{"sigma": 0.1}, {"sigma": 0.2}]),
        ("momentum", [{"beta": 0.5}, {"beta": 0.9}]),
        ("weight_decay", [{"strength": 0.1}, {"strength": 0.2, "until": 0.1}]),
        ("sam", [{"rho": 0.1}, {"rho": 0.2}]),
    ],
)
def test_an_ensemble_over_options_and_seeds_is_each_run_alone(name, options):
    same = {"schedule": "constant", "eta": 1e-3, "max_steps": 200, "tol": 0, "references": False, "optimizer": name}
    problem, batches, seeds = gaussian(5, 12, seed=1), [None, 2], [1, 2]
    together = dln.train_ensemble(problem, 2.7, 0.3, optimizer_options=options, batch_size=batches, seed=seeds, **same)
    for i, (own, batch, seed) in enumerate(zip(options, batches, seeds, strict=True)):
        alone = dln.train(problem, 2.7, 0.3, optimizer_options=own, batch_size=batch, seed=seed, **same)
        assert torch.equal(together.psi[i], alone.psi)


def test_ensemble_keys_of_an_optimizer_vary_its_options():
    config = {"problem": {}, "optimizer": {"name": "label_noise", "sigma": 0.1}, "ensemble": {"sigma": [0.1, 0.3]}}
    assert [one["optimizer"]["sigma"] for one in network_configs(config)] == [0.1, 0.3]
    with pytest.raises(
        dln.InputError, match="ensemble.beta must be left out with optimizer=label_noise, which has no beta"
    ):
        network_configs({**config, "ensemble": {"beta": [0.1, 0.3]}})


def test_seeds_are_streams_of_their_own():
    one, other, again = (descend("label_noise", {"sigma": 0.2}, "fused", seed=seed) for seed in (1, 2, 1))
    assert torch.equal(one.network.whole_theta(), again.network.whole_theta())
    assert not torch.equal(one.network.whole_theta(), other.network.whole_theta())


def test_random_signs_are_fair_and_independent():
    signs = np.array([random_signs(3, step, 8) for step in range(4000)])
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert np.abs(signs.mean(axis=0)).max() < 5 / math.sqrt(4000)
    correlations = signs.T @ signs / 4000 - np.eye(8)
    assert np.abs(correlations).max() < 5 / math.sqrt(4000)
    assert abs((signs[1:] * signs[:-1]).mean()) < 5 / math.sqrt(32_000)
    assert abs((signs * np.array([random_signs(4, step, 8) for step in range(4000)])).mean()) < 5 / math.sqrt(32_000)


class Halved(Update):
    def step(self, theta, gradient, eta, state):
        return theta - 0.5 * eta * gradient, state


@pytest.mark.parametrize("engine", ENGINES)
def test_an_update_of_the_users_runs_where_it_can_and_is_refused_elsewhere(engine):
    descent = lambda: Descent(  # noqa: E731
        dln.DiagonalLinearNetwork(12, 3, 0.3),
        gaussian(5, 12, seed=1),
        make_schedule("constant", eta=4e-3),
        Stopping(tol=0, max_steps=STEPS),
        engine=engine,
        update=Halved(),
    )
    if not CAPABILITIES[engine].own_updates:
        with pytest.raises(dln.InputError, match="engine must be eager or autograd with an Update of your own"):
            descent()
        return
    run = descent()
    while run.advance() is None:
        pass
    np.testing.assert_allclose(run.network.whole_theta().numpy(), loop("sgd", {}), rtol=1e-12)


class Downhill(torch.optim.Optimizer):
    """A user's own optimizer: plain descent."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter -= group["lr"] * parameter.grad


TORCH = {
    "Adam": lambda params: torch.optim.Adam(params, lr=1e-3),
    "RMSprop": lambda params: torch.optim.RMSprop(params, lr=1e-4),
    "Adagrad": lambda params: torch.optim.Adagrad(params, lr=1e-3),
    "NAdam": lambda params: torch.optim.NAdam(params, lr=1e-4),
    "SGD": lambda params: torch.optim.SGD(params, lr=1e-3, momentum=0.9, weight_decay=0.1),
    "L-BFGS": lambda params: torch.optim.LBFGS(params, lr=0.1, max_iter=3),
    "L-BFGS, line search": lambda params: torch.optim.LBFGS(params, max_iter=4, line_search_fn="strong_wolfe"),
    "own": lambda params: Downhill(params, 1e-3),
}


def torch_descent(make, batch=None, steps=60):
    """At p = 2, where parameters may change their sign."""
    descent = Descent(
        dln.DiagonalLinearNetwork(12, 2, 0.3),
        gaussian(5, 12, seed=1),
        Schedule(OWN_RATE, kappa=None),
        Stopping(tol=0, max_steps=steps),
        batch_size=batch,
        seed=5,
        update=make_update(make),
    )
    while descent.advance() is None:
        pass
    return descent


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("batch", [None, 2])
def test_any_optimizer_of_torch_takes_the_steps_of_a_bare_loop(name, batch):
    problem = gaussian(5, 12, seed=1) if batch else gaussian(5, 12, seed=1).reduced()
    rows = None if batch is None else RowBatches(5, batch, 5).rows(0, 60)
    parameters = [torch.full((12,), 0.3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    optimizer = TORCH[name](parameters)
    for k in range(60):
        chosen = slice(None) if rows is None else torch.from_numpy(rows[k])
        scale = 1.0 if batch is None else 5 / batch

        def loss(chosen=chosen, scale=scale):
            optimizer.zero_grad()
            residual = problem.y[chosen] - problem.A[chosen] @ (parameters[0] ** 2 - parameters[1] ** 2)
            value = (0.5 * scale) * (residual @ residual)  # the engine's own order: a line search magnifies last bits
            value.backward()
            return value

        if not name.startswith("L-BFGS"):
            loss()
        optimizer.step(loss if name.startswith("L-BFGS") else None)
    ours = torch_descent(TORCH[name], batch)
    assert ours.engine._asks_for_loss == name.startswith("L-BFGS")  # the others evaluate the loss once a step
    assert (ours.status, ours.progress.step, ours.engine_name) == ("max_steps", 60, "autograd")
    theta, expected = ours.network.whole_theta(), torch.stack([one.detach() for one in parameters])
    assert float((theta - expected).abs().max() / expected.abs().max()) < 1e-12


class Rateless(torch.optim.Optimizer):
    def __init__(self, params):
        super().__init__(params, {})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (torch.optim.SparseAdam, r"^optimizer must make its step, got RuntimeError: SparseAdam does not support dense"),
        (Rateless, r"^optimizer must have a learning rate lr in every group, got Rateless without one$"),
        (
            lambda params: torch.optim.Adam(params, lr=-1),
            "^optimizer must accept its options, got .*Invalid learning rate",
        ),
    ],
)
def test_an_optimizer_that_cannot_step_is_one_line(make, said):
    with pytest.raises(dln.InputError, match=said):
        torch_descent(make)


def test_nesterov_without_momentum_is_plain_descent_on_every_engine():
    for engine in ENGINES:
        ours = descend("momentum", {"beta": 0.0, "nesterov": True}, engine, steps=50)
        np.testing.assert_allclose(ours.network.whole_theta().numpy(), loop("sgd", {}, steps=50), rtol=1e-13)


@pytest.mark.parametrize("name", TORCH)
def test_a_cut_run_of_an_optimizer_of_torch_continues_bitwise(name):
    whole, first = (torch_descent(TORCH[name], 2, steps) for steps in (60, 25))
    saved = copy.deepcopy(first.state_dict())
    second = torch_descent(TORCH[name], 2, 0)
    second.engine.stopping = whole.engine.stopping
    second.load_state_dict(saved)
    while second.advance() is None:
        pass
    assert torch.equal(second.network.whole_theta(), whole.network.whole_theta())


@pytest.mark.parametrize("engine", [name for name in ENGINES if CAPABILITIES[name].own_updates])
@pytest.mark.parametrize("wrong", [lambda theta: theta[:, :1], lambda theta: theta[:1], lambda theta: None])
def test_an_update_that_returns_something_else_is_one_line(engine, wrong):
    """A column would be spread over all coordinates otherwise."""

    class Wrong(Update):
        def step(self, theta, gradient, eta, state):
            return wrong(theta), state

    with pytest.raises(dln.InputError, match=r"^optimizer must return theta of shape \(2, 12\), got .* of Wrong$"):
        dln.train(gaussian(5, 12, seed=1), 3, 0.3, optimizer=Wrong(), engine=engine, max_steps=3, references=False)


@pytest.mark.parametrize(
    ("optimizer", "options", "said"),
    [
        ("sgd", {"beta": 0.9}, "optimizer.beta must be left out with optimizer=sgd, which has no options"),
        ("sign", {"rho": 1}, "optimizer.rho must be left out with optimizer=sign, which has no options"),
        (
            "momentum",
            {"sigma": 1},
            "optimizer.sigma must be left out with optimizer=momentum, which takes beta, nesterov",
        ),
        ("momentum", {"beta": 1.0}, "optimizer.beta must be a finite real number >= 0 and < 1, got 1.0"),
        ("momentum", {"nesterov": "yes"}, "optimizer.nesterov must be"),
        ("label_noise", {"sigma": -1}, "optimizer.sigma must be a finite real number >= 0, got -1"),
        ("adagrad", {}, "optimizer must be one of sgd, momentum"),
        (Halved, {}, r"optimizer must be an object, got the class Halved: pass Halved\(\)"),
        (Halved(), {"beta": 1}, "optimizer_options must be left out with an optimizer of your own"),
        ("momentum", 3, "optimizer_options must be a mapping of names to values, got 3"),
        (3, {}, "optimizer must be a name, an Update or a callable"),
    ],
)
def test_a_mistake_is_one_line(optimizer, options, said):
    with pytest.raises(dln.InputError, match=said) as refused:
        make_update(optimizer, options)
    assert "\n" not in str(refused.value)
