"""What the relative rule is made of: ρ is the largest relative change per unit of η, and Λ bounds ‖∇²L‖₂."""

from __future__ import annotations

import math

import pytest
import torch

import dlntorch as dln
from tests.model.cases import Sinh, TwoSinh
from tests.problems import gaussian

PARAMETRIZATIONS = [*(dln.Power(p) for p in (2, 2.5, 3, 5)), dln.Nonnegative(3), dln.Product(3), TwoSinh()]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS, ids=repr)
def test_the_limits_are_those_of_the_loss_itself(parametrization, seed):
    torch.manual_seed(seed)
    problem = gaussian(4, 9, seed)
    theta = torch.rand(parametrization.width, 9, dtype=torch.float64) + 0.1

    def loss(point):
        return problem.loss(parametrization.value(point))

    g = problem.A.mT @ problem.residual(parametrization.value(theta))
    gradient = torch.autograd.functional.jacobian(loss, theta)
    size = theta if parametrization.positive else theta.amax(dim=0)
    hessian = torch.autograd.functional.hessian(loss, theta).reshape(theta.numel(), theta.numel())
    extremes = parametrization.extremes(theta, g).tolist()
    change, bound = parametrization.limits(extremes, problem.spectral_norm**2)
    assert change == pytest.approx(float((gradient / size).abs().max()), rel=1e-12)
    assert bound >= float(torch.linalg.matrix_norm(hessian, 2))


def test_the_closed_form_of_a_power_is_the_generic_one():
    theta, g = torch.rand(2, 7, dtype=torch.float64) + 0.1, torch.randn(7, dtype=torch.float64)
    for p in (2, 2.5, 4):
        power = dln.Power(p)
        change, steepest, _ = dln.Parametrization.extremes(power, theta, g).tolist()
        ours = power.extremes(theta, g).tolist()
        assert power.limits(ours, 0.0)[0] == pytest.approx(change, rel=1e-13)
        assert p * p * ours[1] == pytest.approx(steepest, rel=1e-13)


def test_a_parameter_may_pass_through_zero():
    """Its size is the length ‖∇G‖/‖∇²G‖ over which the slope changes, where that is larger than the parameter."""
    for x in (0.0, 1e-9, -0.5, 3.0):
        point = torch.tensor([[x]], dtype=torch.float64)
        change = float(Sinh().extremes(point, torch.ones(1, dtype=torch.float64))[0])
        size = max(abs(x), 1 / math.tanh(abs(x)) if x else math.inf)
        assert change == pytest.approx(math.cosh(x) / size, rel=1e-12)


@pytest.mark.parametrize("layers", [2, 3, 4, 5])
def test_the_size_of_a_product_is_its_largest_layer(layers):
    """G is homogeneous: ‖∇G‖ <= ‖∇²G‖‖θ‖/(L − 1), so the length over which the slope changes is never larger."""
    torch.manual_seed(layers)
    product, g = dln.Product(layers), torch.randn(50, dtype=torch.float64)
    for scale in (1e-3, 1.0, 1e3):
        theta = torch.full((layers, 50), 0.3 * scale, dtype=torch.float64)
        theta[-1] = scale * torch.randn(50, dtype=torch.float64)
        expected = ((product.slope(theta) * g).abs() / theta.abs().amax(dim=0)).max()
        assert float(product.extremes(theta, g)[0]) == float(expected)
        torch.testing.assert_close(
            product.curvature(theta), dln.Parametrization.curvature(product, theta), rtol=1e-14, atol=0
        )
