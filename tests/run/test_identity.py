"""Two objects of one class with other numbers are two runs: described from what their constructors leave in them."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import dlntorch as dln
from dlntorch.engine import Stopping
from dlntorch.numerics.validation import InputError
from dlntorch.optim.step_size import make_schedule
from dlntorch.optim.update import make_update
from dlntorch.run.settings import RunSettings
from dlntorch.store.description import Description, described
from dlntorch.store.identity import check_identity
from dlntorch.training.descent import Descent
from dlntorch.training.identity import run_identity
from tests.problems import line

PROBLEM = line()


class Scaled(dln.Parametrization):
    width = 1

    def __init__(self, scale):
        self.scale = scale

    def value(self, theta):
        return self.scale * torch.sinh(theta[0])

    def slope(self, theta):
        return self.scale * torch.cosh(theta)

    def start(self, alpha, n):
        return torch.zeros(1, n, dtype=torch.float64)


class Hidden(dln.StepSize):
    """Its number is in a private attribute."""

    def __init__(self, c):
        self._c = c

    def eta(self, point):
        return self._c


@dataclass(frozen=True)
class Written(dln.StepSize):
    c: float

    def eta(self, point):
        return self.c


class Slotted(dln.StepSize):
    __slots__ = ("c",)

    def __init__(self, c):
        self.c = c

    def eta(self, point):
        return self.c


class Weighted(dln.Update):
    def __init__(self, weights):
        self.weights = weights

    def step(self, theta, gradient, eta, state):
        return theta - eta * self.weights * gradient, state


class Stepper:
    def __init__(self, c):
        self.c = c

    def choose(self, point):
        return self.c


def fixed(point, c=1e-3, extra=()):
    return c


def closed(c):
    return lambda point: c


def local(c):
    class Local(dln.StepSize):
        def eta(self, point):
            return c

    return Local()


def identity(p=3, schedule="relative", optimizer="sgd", **more):
    """What a run would be known by; kappa and c stay as they are."""
    settings = RunSettings.checked(PROBLEM, p, more.pop("alpha", 0.1), schedule=schedule, optimizer=optimizer, **more)
    found, unknown = run_identity(PROBLEM, settings)
    assert json.loads(json.dumps(found)) == found  # as a checkpoint has it
    return found, unknown


#: Makes the settings of a run from a number; another number is another run.
OBJECTS = {
    "a parametrization": lambda c: {"p": Scaled(c)},
    "a private attribute": lambda c: {"schedule": Hidden(c)},
    "a dataclass": lambda c: {"schedule": Written(c)},
    "slots": lambda c: {"schedule": Slotted(c)},
    "a partial": lambda c: {"schedule": functools.partial(fixed, c=c)},
    "a partial of lists": lambda c: {"schedule": functools.partial(fixed, extra=[{"c": (c, np.float64(c))}])},
    "a method": lambda c: {"schedule": Stepper(c).choose},
    "a small tensor": lambda c: {"optimizer": Weighted(torch.full((2, 3), c))},
    "a large tensor": lambda c: {"optimizer": Weighted(torch.full((200, 3), c))},
    "an array": lambda c: {"optimizer": Weighted(np.full(40, c))},
    "an object in an object": lambda c: {"optimizer": Weighted(Stepper({"inside": [c]}))},
    "a torch optimizer": lambda c: {"optimizer": functools.partial(torch.optim.Adam, lr=c)},
    "an option": lambda c: {"optimizer": "momentum", "optimizer_options": {"beta": c}},
    "a closure": lambda c: {"schedule": closed(c)},
    "a local class": lambda c: {"schedule": local(c)},
    "a start": lambda c: {"alpha": dln.Initialization([c, 0.1, 0.1], 0.1)},
}


@pytest.mark.parametrize("name", OBJECTS)
def test_other_numbers_are_another_run(name):
    make = OBJECTS[name]
    (first, unknown), (same, _), (other, _) = (identity(**make(c)) for c in (0.25, 0.25, 0.5))
    assert first == same
    assert first != other
    with pytest.raises(InputError, match="resume must continue the same run"):
        check_identity(first, other, "resume")
    assert bool(unknown) is (name in ("a closure", "a local class"))


def test_what_cannot_be_seen_is_said():
    for thing in (closed(0.1), local(0.1), object(), iter([1])):
        say = Description()
        say.of(thing)
        assert say.unknown, thing
    loop: list = []
    loop.append(loop)
    say = Description()
    assert say.of(loop)
    assert "refers to itself" in say.unknown[0]


def test_an_edited_function_is_another():
    texts = ("def f(point):\n    return 1e-3\n", "def f(point):\n    return 2e-3\n", "def f(point):\n    return 1e-3\n")
    found = []
    for text in texts:
        names: dict = {"__name__": "theirs"}
        exec(text, names)
        found.append(described(names["f"]))
    assert found[0] == found[2] != found[1]


def test_plain_things_are_themselves():
    things = [None, True, 3, "word", 1.5]
    assert described(things) == things
    assert described(math.inf) == "inf"
    assert described({"b": 1, "a": {2, 1}}) == {"a": [1, 2], "b": 1}
    assert described(torch.float32) == "torch.float32"


def test_a_descent_and_its_settings_are_one_identity():
    """Alone in Lightning, or with a folder: the same run is known by the same values."""
    for given in (
        {},
        {"p": Scaled(2.0)},
        {"schedule": Written(1e-3)},
        OBJECTS["a start"](0.3),
        {"batch_size": 1, "seed": 4},
    ):
        found, _ = identity(**given)
        p, schedule, alpha = given.get("p", 3), given.get("schedule", "relative"), given.get("alpha", 0.1)
        descent = Descent(
            dln.DiagonalLinearNetwork(PROBLEM.n, p, alpha),
            PROBLEM,
            make_schedule(schedule),
            Stopping(),
            update=make_update("sgd", None),
            batch_size=given.get("batch_size"),
            seed=given.get("seed", 0),
        )
        own = descent.identity()
        assert own.pop("psi") is None
        if "p" in given:  # the start of another parametrization is its parameters
            del own["alpha"], found["alpha"]
        assert own == found


def test_an_object_that_changes_along_the_run_is_known_by_what_it_was():
    class Counting(Hidden):
        def eta(self, point):
            self._c *= 0.99
            return self._c

    network = dln.DiagonalLinearNetwork(PROBLEM.n, 3, 0.1)
    descent = Descent(network, PROBLEM, make_schedule(Counting(1e-3)), Stopping(max_steps=20))
    before = descent.identity()
    while descent.advance() is None:
        pass
    assert descent.identity() == before
