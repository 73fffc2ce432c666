"""A network, a step size and an optimizer of somebody's own, from Python and from the command line."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

import dlntorch as dln
from dlntorch.numerics.validation import InputError
from dlntorch.run.nouns import optimizer_of
from tests.problems import gaussian

PROBLEM = gaussian(5, 12, seed=1)


class Sinh(dln.Parametrization):
    """ψ = sinh θ₊ − sinh θ₋: one coordinate has two parameters, and both start at α."""

    width = 2

    def value(self, theta):
        return torch.sinh(theta[0]) - torch.sinh(theta[1])

    def slope(self, theta):
        return torch.stack([torch.cosh(theta[0]), -torch.cosh(theta[1])])

    def start(self, alpha, n):
        return torch.full((2, n), float(alpha), dtype=torch.float64)


class Decaying(dln.StepSize):
    def __init__(self, first=1e-2):
        self.first = first

    def eta(self, point):
        assert point.theta.shape == point.slope.shape == (2, PROBLEM.n)
        torch.testing.assert_close(point.g, point.residual @ PROBLEM.reduced().A)
        return self.first / math.sqrt(1 + point.step)


class Halved(dln.Update):
    def step(self, theta, gradient, eta, state):
        return theta - 0.5 * eta * gradient, state


def loop(steps, eta, p=3.0, alpha=0.1):
    problem = PROBLEM.reduced()
    A, y = problem.A.numpy(), problem.y.numpy()
    theta = np.full((2, 12), alpha)
    for k in range(steps):
        g = A.T @ (y - A @ (theta[0] ** p - theta[1] ** p))
        theta = theta + eta(k) * p * np.array([[1.0], [-1.0]]) * theta ** (p - 1) * g
    return theta


def test_a_parametrization_of_ones_own_trains_by_the_relative_rule():
    run = dln.train(PROBLEM, Sinh(), 0.1, kappa=0.05)
    assert run.status == "converged"
    assert run.summary["p"] is None
    assert run.summary["model"] == "Sinh()"
    assert run.theta.shape == (2, 12)
    torch.testing.assert_close(run.psi, torch.sinh(run.theta[0]) - torch.sinh(run.theta[1]))
    assert float(PROBLEM.relative_residual(run.psi)) <= 1e-10
    with pytest.raises(AttributeError, match="has no theta_plus"):
        run.theta_plus  # noqa: B018


def test_the_product_trains_as_autograd_trains_it():
    ours, theirs = (
        dln.train(PROBLEM, dln.Product(3), 0.3, engine=engine, max_steps=500, tol=0) for engine in ("auto", "autograd")
    )
    assert (ours.summary["engine"], theirs.summary["engine"]) == ("fused", "autograd")
    torch.testing.assert_close(ours.theta, theirs.theta, rtol=1e-12, atol=1e-14)


def test_a_step_size_of_ones_own():
    eta = lambda k: 1e-2 / math.sqrt(1 + k)  # noqa: E731
    run = dln.train(PROBLEM, 3, 0.1, Decaying(), max_steps=300, tol=0)
    np.testing.assert_allclose(run.theta.numpy(), loop(300, eta), rtol=1e-12)
    again = dln.train(PROBLEM, 3, 0.1, lambda point: eta(point.step), max_steps=300, tol=0, engine="autograd")
    np.testing.assert_allclose(again.theta.numpy(), run.theta.numpy(), rtol=1e-12)
    assert run.summary["schedule"]["name"] == "Decaying"
    assert run.summary["time"] == pytest.approx(sum(map(eta, range(300))), rel=1e-12)


def test_an_update_of_ones_own_and_an_optimizer_of_torch():
    run = dln.train(PROBLEM, 3, 0.1, "constant", eta=2e-2, optimizer=Halved(), max_steps=300, tol=0)
    np.testing.assert_allclose(run.theta.numpy(), loop(300, lambda k: 1e-2), rtol=1e-12)
    torchs = dln.train(PROBLEM, 3, 0.1, optimizer=lambda ps: torch.optim.SGD(ps, lr=1e-2), max_steps=300, tol=0)
    np.testing.assert_allclose(torchs.theta.numpy(), loop(300, lambda k: 1e-2), rtol=1e-12)
    assert (torchs.summary["engine"], torchs.summary["schedule"]["name"]) == ("autograd", "optimizer")


@pytest.mark.parametrize("engine", ["fused", "eager", "autograd"])
def test_the_relative_rule_speaks_of_momentums_whole_effect(engine):
    """A step of η grows to η/(1 − β): with κ and c of the first step alone this run leaves the positive orthant."""
    problem = dln.Problem([[1.0, 0.5]], [1.0])
    run = dln.train(problem, 3, 0.1, optimizer="momentum", optimizer_options={"beta": 0.9}, engine=engine)
    assert run.status == "converged"
    assert run.summary["schedule"]["kappa"] == pytest.approx(0.001)


def test_momentum_is_compared_with_the_flow_at_the_time_of_its_whole_effect():
    errors = [
        dln.train(
            PROBLEM, 3, 0.3, "constant", eta=eta, optimizer="momentum", max_time=0.02, tol=0, max_steps=10**6
        ).summary["budget"]["discretization"]
        for eta in (2e-5, 1e-5)
    ]
    assert errors[1] == pytest.approx(0.5 * errors[0], rel=0.1)  # of first order in the step
    assert errors[1] < 1e-2


def test_a_start_of_two_vectors():
    plus, minus = np.linspace(0.05, 0.2, 12), np.full(12, 0.1)
    run = dln.train(PROBLEM, 3, dln.Initialization(plus, minus), max_steps=0)
    np.testing.assert_array_equal(run.theta.numpy(), np.stack([plus, minus]))
    assert run.summary["alpha"] is None
    assert "plus=0.05" in run.summary["start"]


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((PROBLEM, Sinh, 0.1), {}, r"p must be an object, got the class Sinh: pass Sinh\(\)"),
        ((PROBLEM, 3, [0.1, 0.2]), {}, "alpha must be one number for a run, got several"),
        (
            (PROBLEM, 3, dln.Initialization([0.1, 0.2])),
            {},
            "alpha must have 12 entries, one for each coordinate, got 2",
        ),
        (
            (PROBLEM, Sinh(), 0.1),
            {"engine": "fused"},
            r"engine must be eager or autograd with Sinh\(\), which brings no compiled cell for such steps, got 'fused'",
        ),
        ((PROBLEM, Sinh(), 0.1, "certified"), {}, "certificate must be false"),
        ((PROBLEM, 3, 0.1, "certified"), {"optimizer": "momentum"}, "certificate must be false"),
        ((PROBLEM, 3, 0.1, Decaying), {}, r"schedule must be an object, got the class Decaying"),
        ((PROBLEM, 3, 0.1, Decaying()), {"kappa": 0.1}, "schedule.kappa must be left out with a step size of your own"),
        (
            (PROBLEM, 3, 0.1, Decaying()),
            {"engine": "fused"},
            "engine must be eager or autograd with a step size of your own",
        ),
        ((PROBLEM, 3, 0.1, lambda point: "x"), {}, "schedule must return a number, got 'x'"),
        ((PROBLEM, 3, 0.1), {"optimizer": "adam"}, "schedule must be constant, with an eta"),
        ((PROBLEM, 3, 0.1), {"optimizer": lambda ps: 3}, "optimizer must return a torch.optim.Optimizer, got int"),
        (
            (PROBLEM, 3, 0.1),
            {"optimizer": "sam", "engine": "fused"},
            "engine must be eager or autograd with the optimizer SAM",
        ),
    ],
)
def test_mistakes_are_one_line(arguments, options, said):
    with pytest.raises(dln.InputError, match=said) as refused:
        dln.train(*arguments, **options)
    assert "\n" not in str(refused.value)


class Wrong(Sinh):
    def slope(self, theta):
        return 2 * super().slope(theta)


class Unfinished(dln.Update):
    def step(self, theta, gradient, eta, state):
        return theta * float("nan"), state


def test_a_slope_that_is_not_the_derivative_is_refused():
    with pytest.raises(dln.InputError, match="Wrong.slope must be the derivative of Wrong.value"):
        dln.train(PROBLEM, Wrong(), 0.1)


def test_an_update_that_returns_nan_ends_as_diverged():
    run = dln.train(PROBLEM, 3, 0.1, optimizer=Unfinished(), references=False)
    assert run.status == "diverged"
    assert bool(torch.isfinite(run.psi).all())


@pytest.mark.parametrize(
    ("arguments", "model", "optimizer"),
    [
        (["optimizer=momentum", "optimizer.beta=0.5"], "Power(3)", "Momentum"),
        (["model=product"], "Product(3)", "SGD"),
        (["model=product", "model.layers=2"], "Product(2)", "SGD"),
        (["model._target_=tests.run.test_nouns.Sinh"], "Sinh()", "SGD"),
        (["optimizer._target_=torch.optim.Adam", "optimizer.lr=1e-3"], "Power(3)", "torch.optim.Adam"),
        (["optimizer._target_=tests.run.test_nouns.Halved"], "Power(3)", "Halved"),
        (["schedule._target_=tests.run.test_nouns.Point2", "schedule.first=1e-3"], "Power(3)", "SGD"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_the_command_line_has_groups_and_targets(command, arguments, model, optimizer):
    common = ["problem=line", "alpha=0.1", "max_steps=200", "logger=none", "callbacks.figures=false"]
    done = command(*common, *arguments)
    assert done.status == 0, done.err
    summary = json.loads((done.folder / "summary.json").read_text())
    assert (summary["model"], summary["optimizer"]["name"]) == (model, optimizer)
    run = dln.load_run(done.folder)
    assert run.summary["model"] == model
    torch.testing.assert_close(run.psi, run.trajectory.psi[-1])


class Point2(dln.StepSize):
    def __init__(self, first):
        self.first = first

    def eta(self, point):
        return self.first


def test_alpha_is_a_list_or_a_file_and_alpha_minus_may_differ(command, tmp_path):
    np.save(tmp_path / "alpha.npy", [0.1, 0.2, 0.3])
    common = ["problem=line", "max_steps=0", "logger=none", "callbacks.figures=false"]
    done = command(*common, f"alpha={tmp_path / 'alpha.npy'}", "alpha_minus=[0.3,0.2,0.1]")
    assert done.status == 0, done.err
    run = dln.load_run(done.folder)
    assert run.theta.tolist() == [[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]]
    bad = command(*common, "alpha=[0.1,0.2]")
    assert bad.status == 2
    assert "alpha must have 3 entries, one for each coordinate, got 2" in bad.err


@pytest.mark.parametrize(("more", "depths"), [([], [3]), (["ensemble.p=[2,3]"], [2, 3])])
def test_a_file_of_alpha_alone_is_the_start_of_every_network(command, tmp_path, more, depths):
    """Its numbers are in the folder's configuration, which goes on, and is repeated, when the file is gone."""
    file = tmp_path / "alpha.npy"
    np.save(file, [0.1, 0.2, 0.3])
    common = ["problem=line", "max_steps=5", "logger=none", "callbacks.figures=false"]
    done = command(*common, *more, f"ensemble.alpha={file}")
    assert done.status == 0, done.err
    file.unlink()
    one = dln.train(dln.load_ensemble(done.folder)[-1].problem, 3, dln.Initialization([0.1, 0.2, 0.3]), max_steps=5)
    repeated = command(f"repeat={done.folder}", f"hydra.run.dir={tmp_path / 'again'}")
    assert repeated.status == 0, repeated.err
    resumed = command(f"resume={done.folder}", "max_steps=9")
    assert resumed.status == 0, resumed.err
    found = dln.load_ensemble(tmp_path / "again")
    assert [network.summary["p"] for network in found] == depths
    assert all(network.start == dln.Initialization([0.1, 0.2, 0.3]) for network in found)
    torch.testing.assert_close(found[-1].theta, one.theta, rtol=1e-12, atol=0)


def test_files_of_alpha_inside_an_ensemble_are_read_once(command, tmp_path):
    """A list of networks may mix numbers and files; its folder goes on, and is repeated, when the files are gone."""
    file = tmp_path / "alpha.npy"
    np.save(file, [0.1, 0.2, 0.3])
    common = ["problem=line", "max_steps=5", "logger=none", "callbacks.figures=false"]
    done = command(*common, f"ensemble.alpha=[0.1,{file}]")
    assert done.status == 0, done.err
    file.unlink()
    resumed = command(f"resume={done.folder}", "max_steps=9")
    assert resumed.status == 0, resumed.err
    repeated = command(f"repeat={done.folder}", f"hydra.run.dir={tmp_path / 'again'}")
    assert repeated.status == 0, repeated.err
    gone = command(*common, f"ensemble.alpha=[0.1,{file}]")
    assert gone.status == 2
    assert "ensemble.alpha must be a number, a list or a file of numbers" in gone.err
    np.save(file, [0.1, 0.2])
    assert (
        "alpha must have 3 entries, one for each coordinate, got 2"
        in command(*common, f"ensemble.alpha=[0.1,{file}]").err
    )


def test_mistakes_of_targets_are_one_line(command):
    for argument, said in (
        ("optimizer._target_=torch.optim.Adm", "optimizer._target_ must be the import path of an object"),
        ("model._target_=math.sqrt", "model._target_ must make a Parametrization"),
        ("optimizer=own", "optimizer._target_ must be given with optimizer=own"),
        ("optimizer.beta=0.5", "optimizer.beta"),
    ):
        done = command("problem=line", argument, "logger=none")
        assert done.status == 2, argument
        assert said in done.err
        assert len(done.err.strip().splitlines()) == 1


def test_nothing_else_says_that_a_target_is_none(caplog):
    """Hydra would log it in three lines beside the one of the error."""
    with pytest.raises(InputError, match="optimizer._target_ must be the import path of an object, got 'no.Thing'"):
        optimizer_of({"name": "own", "_target_": "no.Thing"})
    assert not caplog.records
