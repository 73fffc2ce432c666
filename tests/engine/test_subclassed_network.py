"""A network that a subclass changed is trained as what it is, or refused; it is never trained as something else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import dlntorch as dln
from dlntorch.engine import Stopping
from dlntorch.engine.cuda import CudaBatch
from dlntorch.optim.step_size import make_schedule
from dlntorch.training.callbacks import MetricsCallback
from dlntorch.training.descent import Descent
from dlntorch.training.fit import fit_descent
from dlntorch.training.measure import Measurer
from tests.problems import gaussian

PROBLEM = gaussian(5, 12, 0)
CONSTANT = make_schedule("constant", eta=1e-4)


class Sinh(dln.DiagonalLinearNetwork):
    @property
    def psi(self) -> torch.Tensor:
        return torch.sinh(self.theta_plus) - torch.sinh(self.theta_minus)


class Positive(dln.DiagonalLinearNetwork):
    """θ₊^p alone: ψ does not depend on θ₋."""

    @property
    def psi(self) -> torch.Tensor:
        return self.theta_plus**self.p


def run(network, engine="auto", schedule=CONSTANT, steps=500, **more):
    descent = Descent(network, PROBLEM, schedule, Stopping(tol=0, max_steps=steps), engine=engine, **more)
    while descent.advance() is None:
        pass
    return descent


@pytest.mark.parametrize("engine", ["auto", "autograd"])
def test_a_network_with_a_psi_of_its_own_takes_that_psis_steps(engine):
    descent = run(Sinh(12, 3, 0.1), engine)
    assert (descent.engine_name, descent.status) == ("autograd", "max_steps")
    A, y = PROBLEM.reduced().A.numpy(), PROBLEM.reduced().y.numpy()
    plus, minus = np.full(12, 0.1), np.full(12, 0.1)
    for _ in range(500):  # θ₊ += η cosh(θ₊) ∘ g, θ₋ −= η cosh(θ₋) ∘ g with g = Aᵀ(y − A(sinh θ₊ − sinh θ₋))
        g = A.T @ (y - A @ (np.sinh(plus) - np.sinh(minus)))
        plus, minus = plus + 1e-4 * np.cosh(plus) * g, minus - 1e-4 * np.cosh(minus) * g
    np.testing.assert_allclose(descent.network.theta_plus.detach().numpy(), plus, rtol=1e-12)
    np.testing.assert_allclose(descent.network.theta_minus.detach().numpy(), minus, rtol=1e-12)


def test_a_parameter_that_psi_does_not_use_stays_where_it_is():
    network = run(Positive(12, 3, 0.1)).network
    assert torch.equal(network.theta_minus, torch.full((12,), 0.1, dtype=torch.float64))
    assert not torch.equal(network.theta_plus, network.theta_minus)


@pytest.mark.parametrize("engine", ["fused", "eager"])
def test_engines_that_step_by_formula_refuse_a_psi_of_its_own(engine):
    with pytest.raises(dln.InputError, match=f"engine must be autograd .* since {engine} steps by the formula"):
        run(Sinh(12, 3, 0.1), engine)


def test_rules_and_measures_by_formula_refuse_a_psi_of_its_own():
    with pytest.raises(dln.InputError, match="schedule must be constant, and certificate false"):
        run(Sinh(12, 3, 0.1), schedule=make_schedule("relative"))
    descent = Descent(Sinh(12, 3, 0.1), PROBLEM, CONSTANT, Stopping(max_steps=5))
    with pytest.raises(dln.InputError, match="must not have MetricsCallback with a network that overrides psi"):
        fit_descent(descent, [MetricsCallback(Measurer(PROBLEM, 3, {}))])
    with pytest.raises(dln.InputError, match="engine must be autograd with a network that overrides psi, since cuda"):
        CudaBatch([Sinh(12, 3, 0.1)], PROBLEM, CONSTANT, Stopping())


def _with_bias() -> dln.DiagonalLinearNetwork:
    network = dln.DiagonalLinearNetwork(12, 3, 0.1)
    network.bias = nn.Parameter(torch.zeros(()))
    return network


def _frozen() -> dln.DiagonalLinearNetwork:
    network = dln.DiagonalLinearNetwork(12, 3, 0.1)
    network.theta_minus.requires_grad_(False)
    return network


def _parametrized() -> dln.DiagonalLinearNetwork:
    network = dln.DiagonalLinearNetwork(12, 3, 0.1)
    nn.utils.parametrize.register_parametrization(network, "theta_plus", nn.Softplus(), unsafe=True)
    return network


class Affine(dln.DiagonalLinearNetwork):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return super().forward(rows) + 1


@pytest.mark.parametrize("engine", ["fused", "eager", "autograd"])
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_with_bias, "must have the parameters theta_plus and theta_minus and no others"),
        (_parametrized, "must have the parameters theta_plus and theta_minus and no others"),
        (_frozen, "theta_minus has requires_grad=False"),
        (lambda: Affine(12, 3, 0.1), "must keep forward"),
        (
            lambda: dln.DiagonalLinearNetwork(12, 3, 0.1, batch=2),
            r"must be one network of n=12, got theta_plus of shape",
        ),
        (lambda: dln.DiagonalLinearNetwork(9, 3, 0.1), r"must be one network of n=12, got theta_plus of shape \(9,\)"),
        (lambda: dln.DiagonalLinearNetwork(12, 3, 0.1, dtype="float32"), "must have the problem's dtype and device"),
    ],
)
def test_what_an_engine_would_ignore_is_refused_in_one_line(engine, make, said):
    with pytest.raises(dln.InputError, match=said) as refused:
        run(make(), engine)
    assert "\n" not in str(refused.value)
