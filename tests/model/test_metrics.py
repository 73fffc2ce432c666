"""Distances, gaps, Hessian products and the sharpness, each against another route."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from dlntorch.model import Nonnegative, Power, Product, objective
from dlntorch.model.metrics import distance, l1_gap, sharpness, starting_direction
from dlntorch.model.objective import hessian_vector, power_iteration
from tests.problems import gaussian


def _state(n: int, count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    plus, minus = (0.05 + torch.rand(count, n, generator=generator, dtype=torch.float64) for _ in range(2))
    return plus, 0.3 * minus


def _dense_hessian(problem, plus, minus, p):
    n = problem.n

    def loss(theta):
        return problem.loss(theta[:n] ** p - theta[n:] ** p)

    return torch.autograd.functional.hessian(loss, torch.cat([plus, minus]))


@pytest.mark.parametrize("p", [2, 2.5, 3, 6])
def test_hessian_products_equal_autograds(p):
    problem = gaussian(3, 7, seed=1)
    plus, minus = _state(7, 1)
    v = torch.randn(14, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    g = problem.residual(plus[0] ** p - minus[0] ** p) @ problem.A
    ours = torch.cat(hessian_vector(problem.A, g, (plus[0], minus[0]), Power(p), (v[:7], v[7:])))
    exact = _dense_hessian(problem, plus[0], minus[0], p) @ v
    torch.testing.assert_close(ours, exact, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("m", "n", "p"), [(1, 2, 2), (3, 5, 3), (10, 40, 2.5), (20, 90, 4)])
def test_sharpness_is_the_largest_eigenvalue_in_modulus(m, n, p):
    problem = gaussian(m, n, seed=m)
    plus, minus = _state(n, 3)
    found = sharpness(problem, plus, minus, p)
    for i in range(3):
        exact = torch.linalg.eigvalsh(_dense_hessian(problem, plus[i], minus[i], p)).abs().max()
        assert float(found[i]) == pytest.approx(float(exact), rel=1e-7)
        assert float(sharpness(problem, plus[i], minus[i], p)) == pytest.approx(float(found[i]), rel=1e-12)


def test_the_sharpness_does_not_depend_on_where_in_memory_its_vectors_lie():
    """Small allocations between the calls move those of a call nearer to each other, or apart."""
    problem, (plus, minus), generator, found, kept = gaussian(2, 4, seed=2), _state(4, 16), random.Random(0), set(), []
    for _ in range(400):
        kept += [np.empty(generator.randrange(1, 40)) for _ in range(generator.randrange(30))]
        generator.shuffle(kept)
        del kept[len(kept) // 2 :]
        found.add(sharpness(problem, plus, minus, 3).numpy().tobytes())
    assert len(found) == 1


def test_power_iteration_approaches_the_sharpness_from_below():
    problem = gaussian(5, 12, seed=2)
    plus, minus = _state(12, 1)
    g = problem.residual(plus[0] ** 3 - minus[0] ** 3) @ problem.A
    norm, v = power_iteration(problem.A, g, (plus[0], minus[0]), Power(3), starting_direction(12), 300)
    exact = float(sharpness(problem, plus[0], minus[0], 3))
    assert norm <= exact * (1 + 1e-12)
    assert norm == pytest.approx(exact, rel=1e-6)
    assert float(torch.linalg.vector_norm(v)) == pytest.approx(1.0, rel=1e-14)


def test_distance_and_gap():
    psi = torch.tensor([[3.0, -4.0], [0.0, 1.0]], dtype=torch.float64)
    assert distance(psi, torch.zeros(2, dtype=torch.float64)).tolist() == [5.0, 1.0]
    np.testing.assert_allclose(l1_gap(psi, 2.0).numpy(), [5.0, -1.0])


@pytest.mark.parametrize(
    "law", [Product(2), Product(3), Product(4), Nonnegative(2), Nonnegative(2.5), Power(3)], ids=repr
)
def test_the_objective_of_every_parametrization_equals_autograds(law):
    problem, n = gaussian(3, 5, seed=4), 5
    generator = torch.Generator().manual_seed(1)
    theta = 0.2 + torch.rand(law.width, n, generator=generator, dtype=torch.float64)
    v = torch.randn(law.width, n, generator=generator, dtype=torch.float64)

    def loss(flat):
        return problem.loss(law.value(flat.reshape(law.width, n)))

    exact = torch.autograd.functional.jacobian(loss, theta.reshape(-1))
    hessian = torch.autograd.functional.hessian(loss, theta.reshape(-1))
    g = problem.residual(law.value(theta)) @ problem.A
    ours = torch.cat(objective.gradient(law, theta.unbind(0), g))
    torch.testing.assert_close(ours, exact, rtol=1e-12, atol=1e-13)
    product = torch.cat(hessian_vector(problem.A, g, theta.unbind(0), law, v.unbind(0)))
    torch.testing.assert_close(product, hessian @ v.reshape(-1), rtol=1e-11, atol=1e-12)
    largest = torch.linalg.eigvalsh(hessian).abs().max()
    found = objective.sharpness(problem, torch.stack([theta, 0.5 * theta]), law)
    assert float(found[0]) == pytest.approx(float(largest), rel=1e-9)


def test_the_sharpness_of_an_overflowing_state_is_infinite_and_others_keep_theirs():
    problem = gaussian(4, 9, seed=0)
    theta = torch.full((2, 9), 0.3, dtype=torch.float64)
    theta[1] = 1e200
    found = sharpness(problem, theta, theta, 3)
    assert found[1] == torch.inf
    assert float(found[0]) == pytest.approx(float(sharpness(problem, theta[0], theta[0], 3)))
