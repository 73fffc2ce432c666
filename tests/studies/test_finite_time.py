"""Finite time: verdicts, the slowest rate from the Jacobian of θ̇, and the exponent from the one-coordinate equation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from dlntorch.limit.flow_limit import flow_limit
from dlntorch.model.dual import theta_of_psi
from dlntorch.numerics.validation import InputError
from dlntorch.problem.synthetic import gaussian
from dlntorch.studies import load_study, study_settings
from dlntorch.studies.base import select

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def result(small):
    return small("finite_time")


def test_the_verdicts(result, confirmed):
    confirmed(result)
    assert len(result.claims) == 5


@pytest.mark.parametrize("p", [2, 3])
def test_the_rate_is_the_smallest_of_the_hessian(result, p):
    """∇²L at the limit, 2n × 2n, from autograd: its smallest nonzero eigenvalue."""
    settings = result.settings
    problem = gaussian(settings["m"], settings["n"], settings["seed"])
    alpha = settings["exponential_power"] ** (1 / p)
    theta = torch.cat(theta_of_psi(flow_limit(problem, p, alpha).psi, p, alpha))

    def loss(theta: torch.Tensor) -> torch.Tensor:
        plus, minus = theta.chunk(2)
        return problem.loss(plus**p - minus**p)

    values = np.linalg.eigvalsh(torch.autograd.functional.hessian(loss, theta).numpy())
    row = select(result.rows, kind="exponential", p=p)[0]
    assert 1 / values[-settings["m"]] == pytest.approx(row["relaxation"], rel=1e-6)


@pytest.mark.parametrize("p", [2.0, 3.0, 4.0])
def test_the_exponent_is_that_of_one_coordinate(p):
    """ψ̇ = −D(ψ)·gap·ψ-like: off the support D = p²ψ^{2−2/p} and the gradient is proportional to −ψ, so ψ̇ = −ψ^{3−2/p}."""
    found = solve_ivp(
        lambda _, x: -(np.abs(x) ** (3 - 2 / p)), (0, 1e8), [1.0], method="LSODA", rtol=1e-9, atol=0, t_eval=[1e6, 1e8]
    )
    slope = np.log(found.y[0, 1] / found.y[0, 0]) / np.log(100)
    assert slope == pytest.approx(-1 / (2 - 2 / p), abs=1e-3)


def test_every_depth_needs_its_power(small):
    with pytest.raises(InputError, match="study.powers must have one entry for each of the 2 depths, got 1"):
        small("finite_time", powers=[1e-9])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exponential_power": 1}, "study.exponential_power must be a finite real number > 0 and <= 0.1, got 1"),
        ({"powers": [1, 1e-11]}, "study.powers[0] must be a finite real number > 0 and <= 0.1, got 1"),
    ],
)
def test_settings_that_cannot_be_run_are_refused(changes, message):
    with pytest.raises(InputError) as said:
        load_study("finite_time").points(study_settings("finite_time", small=True, changes=changes))
    assert str(said.value) == message


def test_sgd_that_ends_before_the_first_jump_is_compared_all_the_same(small):
    found = small("finite_time", depths=[3], powers=[1e-4], sgd_max_steps=100, times=20)
    assert [claim for claim in found.claims if "SGD after 100 steps" in claim.claim]
