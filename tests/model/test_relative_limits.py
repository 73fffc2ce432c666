"""What the relative rule is made of: ρ is the largest relative change per unit of η, and Λ bounds ‖∇²L‖₂."""

from __future__ import annotations

import pytest
import torch

import dlntorch as dln
from tests.model.cases import TwoSinh
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
