"""Limits from general starts to 1e-13 of ‖ψ‖_∞, against multiprecision, and what they are refined by."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dlntorch as dln
from dlntorch.limit.refined import refined
from dlntorch.model import Nonnegative, Parametrization, Power, Product
from dlntorch.numerics.trajectory import Status

LAWS = [*map(Power, (2, 2.5, 3, 4, 6)), *map(Product, (2, 3, 4)), *map(Nonnegative, (2, 3, 4))]


def drawn(seed: int) -> tuple[dln.Problem, Parametrization, dln.Initialization]:
    """A problem, sparse or not, and a start whose entries are spread over three decades or warm."""
    rng, law = np.random.default_rng(1000 + seed), LAWS[seed % len(LAWS)]
    m = int(rng.integers(2, 5))
    n = int(rng.integers(m + 2, 11))
    A, x = rng.standard_normal((m, n)), rng.standard_normal(n)
    if rng.random() < 0.5:
        x[rng.permutation(n)[max(1, m - 1) :]] = 0
    if isinstance(law, Nonnegative):
        x = np.abs(x)
    scale = 10.0 ** rng.integers(-3, 2)
    shape = 10 ** rng.uniform(-1.5, 1.5, (2, n)) * scale
    if isinstance(law, Product):
        start = dln.Initialization(shape[0], shape[0] * rng.uniform(0, 0.95, n) * (rng.random() < 0.7))
    elif isinstance(law, Nonnegative) or rng.random() < 1 / 3:
        start = dln.Initialization(shape[0])
    elif rng.random() < 0.5:
        start = dln.Initialization(*shape)
    else:
        start = dln.Initialization.warm(rng.standard_normal(n), scale, law.p)
    return dln.Problem(A, A @ x), law, start


@pytest.mark.parametrize(
    "seeds", [range(11), pytest.param(range(11, 231), marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_thirteen_digits_from_any_start(seeds):
    for seed in seeds:
        problem, law, start = drawn(seed)
        limit, exact = (dln.flow_limit(problem, law, start, precision=digits) for digits in (None, 30))
        assert exact.status is Status.CONVERGED
        error = float((limit.psi - exact.psi).abs().max() / exact.psi.abs().max())
        assert error <= 1e-13, (seed, law, error, limit.uncertainty)


def test_an_ill_conditioned_limit_is_refined_to_its_last_digit():
    """A start that makes ψ known to 1e-10 only, as its uncertainty goes on to say, from an answer that is 1e-6 off."""
    rng = np.random.default_rng(3)
    problem = dln.Problem(rng.standard_normal((3, 8)), rng.standard_normal(3))
    start = dln.Initialization(*(0.3 * 10 ** rng.uniform(-1.5, 1.5, (2, 8))))
    exact = dln.flow_limit(problem, 6, start, precision=30).psi.numpy()
    theta = Power(6).start_from(start, 8)
    found = refined(problem, Power(6), theta, exact * (1 + 1e-6 * rng.standard_normal(8)))
    assert found is not None
    assert np.max(np.abs(found - exact)) <= 4e-16 * np.max(np.abs(exact))


def test_what_cannot_be_refined_is_left():
    A = torch.ones(2, 4, dtype=torch.float64)
    dependent = dln.Problem(A, [1.0, 1.0])
    theta = torch.full((2, 4), 0.1, dtype=torch.float64)
    assert refined(dependent, Power(3), theta, np.full(4, 0.25)) is None
    full = dln.Problem(A[:1], [1.0])
    assert refined(full, Product(5), torch.full((5, 4), 0.1, dtype=torch.float64), np.full(4, 0.25)) is None
    assert refined(full, Nonnegative(3), theta[:1], np.array([1.0, 0.0, 0.0, 0.0])) is None


@pytest.mark.parametrize("layers", [2, 3, 4])
def test_products_of_a_last_layer_have_many_digits(layers):
    problem = dln.Problem([[1.0, 2.0, -1.0]], [1.0])
    start = dln.Initialization([0.1, 0.4, 3.0], [0.05, 0.0, 2.0])
    limit, exact = (dln.flow_limit(problem, Product(layers), start, precision=digits) for digits in (None, 30))
    assert exact.status is Status.CONVERGED
    torch.testing.assert_close(limit.psi, exact.psi, rtol=1e-12, atol=1e-14)
