"""Starts: what they hold, warm ones, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dlntorch as dln
from dlntorch.model import Entropy, as_parametrization


@pytest.mark.parametrize("p", [2, 2.5, 3, 9])
@pytest.mark.parametrize("alpha", [1e-12, 1e-3, 1.0, 50.0])
def test_a_warm_start_is_where_it_was_asked_to_be(p, alpha):
    psi0 = np.array([0.0, 1e-6, -2.0, 40.0, -1e-30])
    start = dln.Initialization.warm(psi0, alpha, p)
    assert float(torch.minimum(start.plus, start.minus).max()) == alpha
    excess = torch.maximum(start.plus, start.minus) / alpha
    expected = (1 + torch.tensor(psi0).abs() / alpha**p) ** (1 / p)
    torch.testing.assert_close(excess, expected, rtol=1e-14, atol=0)


def test_a_depth_of_two_is_the_entropy_and_the_same_object_by_any_way():
    assert type(dln.Power(2)) is Entropy
    assert dln.Power(2) == as_parametrization(2) != dln.Power(3)
    assert dln.Power(3).depth == 3
    assert dln.Product(3).depth is None


def test_numbers_broadcast_and_vectors_must_fit():
    start = dln.Power(3).start(dln.Initialization([1.0, 2.0], 0.5), 2)
    assert start.tolist() == [[1.0, 2.0], [0.5, 0.5]]
    with pytest.raises(dln.InputError, match="alpha must have 3 entries"):
        dln.Power(3).start(dln.Initialization([1.0, 2.0], 0.5), 3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: dln.Initialization(-1.0, 1.0),
        lambda: dln.Initialization([1.0, float("nan")], 1.0),
        lambda: dln.Initialization([1.0, 2.0], [1.0, 2.0, 3.0]),
        lambda: dln.Initialization("one", 1.0),
        lambda: dln.Initialization(np.ma.masked_array([1.0, 2.0], [False, True]), 1.0),
        lambda: dln.Initialization.warm([1.0], 0.0, 3),
        lambda: dln.Initialization.warm([float("inf")], 0.1, 3),
        lambda: dln.Power(3).start(dln.Initialization(0.0, 1.0), 2),
        lambda: dln.Nonnegative(3).start(dln.Initialization(0.1, 0.2), 2),
        lambda: dln.Product(3).start(0.0, 2),
        lambda: dln.Power(1.5),
        lambda: dln.Product(1),
        lambda: as_parametrization("3"),
        lambda: as_parametrization(dln.Power),
    ],
)
def test_what_is_no_start_or_no_parametrization_is_refused_in_one_line(make):
    with pytest.raises(dln.InputError) as found:
        make()
    assert "\n" not in str(found.value)
