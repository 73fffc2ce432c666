"""Conventions: there and back, the same ψ, and the same step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dlntorch.model import conventions as c
from dlntorch.numerics.validation import InputError


@pytest.fixture
def theta():
    return tuple(torch.from_numpy(x) for x in np.random.default_rng(0).standard_normal((2, 7)))


@pytest.mark.parametrize(
    ("to", "back", "value", "step", "ours"),
    [
        (c.to_product, c.from_product, lambda u, v: u * v, c.product_step, c.ours_from_product_step),
        (
            c.to_half_width,
            c.from_half_width,
            lambda a, b: (a * a - b * b) / 4,
            c.half_width_step,
            c.ours_from_half_width_step,
        ),
    ],
)
def test_there_and_back_and_one_step(theta, to, back, value, step, ours):
    """A gradient step of the paper's variables, by autograd, is ours with the converted η."""
    psi = theta[0] ** 2 - theta[1] ** 2
    theirs = [x.requires_grad_() for x in to(*theta)]
    torch.testing.assert_close(value(*theirs), psi)
    for found, wanted in zip(back(*theirs), theta, strict=True):
        torch.testing.assert_close(found, wanted)
    weights, eta, m = torch.linspace(-1, 2, 7, dtype=torch.float64), 0.03, 5
    gamma = c.mean_loss_step(step(eta), m)
    assert c.ours_from_mean_loss_step(ours(gamma), m) == pytest.approx(eta)
    grads = torch.autograd.grad(0.5 / m * ((value(*theirs) - weights) ** 2).sum(), theirs)
    moved = back(*(x - gamma * d for x, d in zip(theirs, grads, strict=True)))
    leaf = [x.clone().requires_grad_() for x in theta]
    own = torch.autograd.grad(0.5 * ((leaf[0] ** 2 - leaf[1] ** 2 - weights) ** 2).sum(), leaf)
    for found, x, d in zip(moved, theta, own, strict=True):
        torch.testing.assert_close(found, x - eta * d)


def test_rows_must_be_a_count():
    with pytest.raises(InputError, match="m must be an integer >= 1, got 0"):
        c.mean_loss_step(0.1, 0)
