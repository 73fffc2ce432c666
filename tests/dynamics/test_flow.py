"""The continuous flow: two coordinate systems, explicit and implicit methods, events, budgets and bad input."""

from __future__ import annotations

import numpy as np
import pytest

from dlntorch.dynamics.flow import integrate_flow
from dlntorch.trajectory import Status
from tests import problems


def times(p: float, alpha: float, last: float = 50.0, count: int = 7) -> np.ndarray:
    """``count`` times over [0.05, last]·α^{2−p}."""
    return np.geomspace(0.05, last, count) * alpha ** (2 - p)


def relative_gap(a, b) -> float:
    """Largest difference of two paths, relative to the largest |ψ|."""
    assert len(a) == len(b)
    return float((a.psi - b.psi).abs().max() / b.psi.abs().max())


@pytest.mark.parametrize("p", [2, 2.5, 3, 4])
@pytest.mark.parametrize("alpha", [1e-1, 1e-2])
def test_dual_and_theta_coordinates_agree(p: float, alpha: float) -> None:
    problem = problems.paper_random()
    dual = integrate_flow(problem, p, alpha, times(p, alpha))
    theta = integrate_flow(problem, p, alpha, times(p, alpha), coordinates="theta")
    assert dual.status is theta.status is Status.MAX_TIME
    assert relative_gap(dual, theta) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("p", [2, 2.5, 3, 4])
@pytest.mark.parametrize("alpha", [1e-1, 1e-2, 1e-3])
@pytest.mark.parametrize("nonzeros", [None, 3])
def test_dual_and_theta_coordinates_agree_on_gaussian_problems(p: float, alpha: float, nonzeros: int | None) -> None:
    problem = problems.gaussian(6, 14, 1, nonzeros)
    dual = integrate_flow(problem, p, alpha, times(p, alpha))
    theta = integrate_flow(problem, p, alpha, times(p, alpha), coordinates="theta")
    assert relative_gap(dual, theta) < 1e-8
