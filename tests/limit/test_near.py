"""The limit of the flow through a point of it, by Newton's method from there, against the path from the start."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dlntorch as dln
from dlntorch.limit.near import limit_through
from dlntorch.model import Nonnegative, Parametrization, Power, Product
from tests import problems

LAWS = [Power(2), Power(2.5), Power(3), Power(6), Nonnegative(2), Nonnegative(3), Product(2), Product(3), Product(4)]


def start(law: Parametrization, n: int, seed: int, alpha: float = 0.1) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    theta = torch.from_numpy(alpha * np.exp(0.3 * rng.standard_normal((law.width, n))))
    if isinstance(law, Product):
        theta[1:-1] = theta[0]
        theta[-1] = theta[0] * torch.from_numpy(rng.uniform(-0.8, 0.8, n))
    return theta


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_a_move_along_the_curve_is_the_mirror_s(law):
    theta = start(law, 7, 1)
    slope = torch.linalg.vector_norm(law.slope(theta), dim=0)
    move = torch.linspace(-0.2, 0.2, 7, dtype=torch.float64) * theta[0] / slope
    moved, mirror = law.along(theta, move), law.mirror(theta)
    expected = mirror.psi(move)
    torch.testing.assert_close(law.value(moved), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(moved, mirror.theta(expected), rtol=1e-10, atol=0)
    # and one move after another is their sum
    torch.testing.assert_close(law.along(law.along(theta, 0.3 * move), 0.7 * move), moved, rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("law", [law for law in LAWS if (law.p or law.width) > 2], ids=repr)
def test_beyond_the_end_of_the_curve_there_is_no_number(law):
    theta = start(law, 3, 2)
    far = 1e3 * theta[0] / torch.linalg.vector_norm(law.slope(theta), dim=0)
    assert bool(law.along(theta, far)[0].isnan().all())


@pytest.mark.parametrize("law", LAWS, ids=repr)
@pytest.mark.parametrize("seed", range(4))
def test_points_of_a_flow_lead_to_its_limit(law, seed):
    """From θ after moves of ν in range(Aᵀ), small and large, as from the start."""
    problem = problems.gaussian(4, 9, seed)
    if isinstance(law, Nonnegative):
        problem = dln.Problem(problem.A, problem.A @ torch.rand(9, dtype=torch.float64).add(0.1))
    theta = start(law, 9, seed)
    first = dln.Initialization(theta[0], theta[-1]) if law.width > 1 and bool((theta[-1] > 0).all()) else None
    if law.width == 1:
        first = dln.Initialization(theta[0])
    expected = dln.flow_limit(problem, law, first).psi if first is not None else limit_through(problem, law, theta)
    rate = torch.linalg.vector_norm(law.slope(theta), dim=0) / theta[0]
    direction = problem.A.T @ torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    for share in (0.0, 0.01, 0.2):
        on = law.along(theta, share * direction / float((direction.abs() * rate).max()))
        found = limit_through(problem, law, on)
        assert found is not None
        assert float((found - expected).abs().max()) <= 1e-11 * float(expected.abs().max())


def test_where_there_is_no_end_it_says_so():
    unreachable = dln.Problem([[1.0, 2.0, 0.5]], [-1.0])
    assert limit_through(unreachable, Nonnegative(3), torch.full((1, 3), 0.1, dtype=torch.float64)) is None
    assert limit_through(problems.line(), Product(5), torch.full((5, 3), 0.1, dtype=torch.float64)) is None
