"""Mistakes in starts, weights and ends: one line that names the argument, from Python and from the command line."""

from __future__ import annotations

import numpy as np
import pytest

import dlntorch as dln
from dlntorch.bounds.certificate import Certificate
from dlntorch.bounds.effective import effective_initialization
from dlntorch.bounds.theorem import theorem_bound
from dlntorch.bounds.threshold import step_size_threshold
from dlntorch.problem import make_problem

NAN = float("nan")
PROBLEM = make_problem("random")
SHORT = dln.Initialization([0.1] * 4)
LENGTH = "alpha must have 5 entries, one for each coordinate, got 4"
WEIGHTS = "must have one entry for each of the 5 coordinates, finite and > 0, got"


@pytest.mark.parametrize(
    "use",
    [
        lambda start: dln.train(PROBLEM, 3, start),
        lambda start: dln.train(PROBLEM, 3, start, schedule="certified"),
        lambda start: dln.train(PROBLEM, 3, start, schedule="selecting"),
        lambda start: dln.train(PROBLEM, dln.Product(2), start),
        lambda start: dln.train(PROBLEM, dln.Nonnegative(3), start),
        lambda start: dln.train_ensemble(PROBLEM, 3, [0.1, start]),
        lambda start: dln.DiagonalLinearNetwork(5, 3, start),
        lambda start: dln.flow_limit(PROBLEM, 3, start),
        lambda start: dln.flow_limit(PROBLEM, 3, start, precision=30),
        lambda start: dln.integrate_flow(PROBLEM, 3, start, [1.0]),
        lambda start: dln.selected_minimizer(PROBLEM, 3, start),
        lambda start: dln.predict_rate(PROBLEM, 3, start),
        lambda start: effective_initialization(PROBLEM, 3, [0.1] * 5, [0.1] * 5, start),
        lambda start: step_size_threshold(PROBLEM, 3, start),
        lambda start: theorem_bound(PROBLEM, 3, start, 1.0, 0.1),
        lambda start: Certificate(PROBLEM, 3, start),
    ],
)
def test_a_start_of_the_wrong_length(use):
    with pytest.raises(dln.InputError) as found:
        use(SHORT)
    assert str(found.value) == LENGTH
    with pytest.raises(dln.InputError) as found:
        use(dln.Initialization(0.1, [0.1] * 4))
    assert len(str(found.value).splitlines()) == 1
    assert str(found.value).startswith("alpha must have ")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dln.Initialization([0.1] * 5, [0.1] * 4), "plus and minus must have one length, got 5 and 4"),
        (lambda: dln.Initialization([0.1, -0.1]), "plus must be finite and > 0, got -0.1"),
        (lambda: dln.Initialization(0.1, [0.1, NAN]), "minus must be finite and > 0, got nan"),
        (
            lambda: dln.train(PROBLEM, 3, dln.Initialization([0.1, 0, 0.1, 0.1, 0.1])),
            "alpha must be > 0 with Power, got 0.0",
        ),
        (
            lambda: dln.Initialization.warm([0.0, NAN], 0.1, 3),
            "psi0 must be a finite vector of shape (n,), got nan at [1]",
        ),
        (
            lambda: dln.Initialization.warm([[0.0]], 0.1, 3),
            "psi0 must be a finite vector of shape (n,), got shape (1, 1)",
        ),
        (lambda: dln.Initialization.warm([1.0], -0.1, 3), "alpha must be a finite real number > 0, got -0.1"),
        (lambda: dln.Initialization.warm([1.0], 0.1, 1), "p must be a finite real number >= 2, got 1"),
        (
            lambda: dln.train(PROBLEM, dln.Nonnegative(3), dln.Initialization.warm([0, -1.0, 0, 0, 0], 0.1, 3)),
            "alpha must have no theta_minus with Nonnegative, got",
        ),
        (lambda: dln.train(PROBLEM, 3, dln.Initialization.warm([1.0] * 4, 0.1, 3)), LENGTH),
    ],
)
def test_starts_that_there_are_not(make, message):
    with pytest.raises(dln.InputError) as found:
        make()
    assert str(found.value).startswith(message)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    "find",
    [lambda w: dln.l1_minimizer(PROBLEM, weights=w), lambda w: dln.basis_pursuit(PROBLEM.A, PROBLEM.y, weights=w)],
)
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, 0, 1, 1, 1], f"weights {WEIGHTS} 0.0 at [1]"),
        ([1.0, -2, 1, 1, 1], f"weights {WEIGHTS} -2.0 at [1]"),
        ([1.0, NAN, 1, 1, 1], f"weights {WEIGHTS} nan at [1]"),
        ([1.0, 1, 1, 1], f"weights {WEIGHTS} shape (4,)"),
        (([1.0] * 5, [1.0, 1, 1, NAN, 1]), f"weights_minus {WEIGHTS} nan at [3]"),
    ],
)
def test_weights_that_are_not_positive(find, weights, message):
    with pytest.raises(dln.InputError) as found:
        find(weights)
    assert str(found.value) == message


@pytest.mark.parametrize(
    ("p", "plus", "minus", "message"),
    [
        (3, [0.1, -0.1, 0.1, 0.1, 0.1], [0.1] * 5, "theta_plus must be > 0 at p=3, got -0.1 at [1]"),
        (2.5, [0.1] * 5, [0.1, 0.1, 0.0, 0.1, 0.1], "theta_minus must be > 0 at p=2.5, got 0 at [2]"),
        (4, [0.1] * 5, [0.1, 0.1, 0.0, 0.1, 0.1], "theta_minus must be nonzero, got 0 at [2]"),
        (4, [0.1, NAN, 0.1, 0.1, 0.1], [0.1] * 5, "theta_plus must be finite, got nan"),
        (dln.Nonnegative(3), [0.1, -0.1, 0.1, 0.1, 0.1], None, "theta_plus must be > 0 at p=3, got -0.1 at [1]"),
    ],
)
def test_ends_without_an_effective_start(p, plus, minus, message):
    with pytest.raises(dln.InputError) as found:
        effective_initialization(PROBLEM, p, plus, minus, 0.1)
    assert str(found.value).startswith(message)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["alpha=[0.1,0.1]"], "alpha must have 3 entries, one for each coordinate, got 2"),
        (["alpha_minus=[0.1,0.1]"], "alpha must have 3 entries, one for each coordinate, got 2"),
        (["alpha=[0.1,0.1]", "schedule=certified"], "alpha must have 3 entries, one for each coordinate, got 2"),
        (["alpha=[0.1,0.1,0.1]", "alpha_minus=[0.1,0.1]"], "plus and minus must have one length, got 3 and 2"),
        (["alpha=[0.1,-0.1,0.1]"], "plus must be finite and > 0, got -0.1"),
        (["alpha=[0.1,0,0.1]"], "alpha must be > 0 with Power, got 0.0"),
        (["alpha=[0.1,nan,0.1]"], "plus must be finite and > 0, got nan"),
        (["alpha_minus=-1"], "minus must be finite and > 0, got -1"),
        (["alpha=FILE"], "plus must be finite and > 0, got nan"),
        (["ensemble.alpha=FILE"], "plus must be finite and > 0, got nan"),
        (["alpha=gone.npy"], "alpha must be a number, a list or a file of numbers, got 'gone.npy'"),
        (["ensemble.alpha=gone.npy"], "ensemble.alpha must be a number, a list or a file of numbers, got 'gone.npy'"),
        (["model=nonnegative", "alpha_minus=0.1"], "alpha must have no theta_minus with Nonnegative"),
    ],
)
def test_the_command_line_says_it_in_one_line(command, tmp_path, arguments, message):
    np.save(tmp_path / "start.npy", [0.1, NAN, 0.1])
    given = [argument.replace("FILE", str(tmp_path / "start.npy")) for argument in arguments]
    done = command("problem=line", "max_steps=5", "logger=none", "callbacks.figures=false", *given)
    lines = [line for line in done.err.splitlines() if line.strip()]
    assert done.status == 2
    assert len(lines) == 1
    assert f"error: {message}" in lines[0]
