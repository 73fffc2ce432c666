"""The certificate's parts against slow evaluations of their equations: not below the truth, and not far above it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dlntorch.bounds import certificate_box as box
from dlntorch.bounds import certificate_kernel as kernel
from dlntorch.bounds.certificate import Certificate
from dlntorch.limit.central_path_engines import spare_compilation
from dlntorch.limit.flow_limit import flow_limit
from dlntorch.model.dual import psi_slope_of_theta, theta_of_psi
from tests import problems

DEPTHS = [2.0, 2.5, 3.0, 3.7, 5.0]


def at(p: float, tau: np.ndarray) -> Certificate:
    """A certificate whose mirror path is at τ̂, with θ̂, ψ̂ and D there; no cap binds."""
    certificate = Certificate(problems.gaussian(4, tau.size, 1, scale=1e6), p, 0.1)
    certificate.path[0] = tau
    c = certificate
    assert kernel.prepare(c.norms, c.numbers, c.state, c.path, c.work, c.short)
    return certificate


def farness(certificate: Certificate) -> np.ndarray:
    """‖A_i‖/min(u_i, v_i), to which what widens a side of the box is proportional."""
    return certificate.norms * np.maximum(certificate.work[0], certificate.work[1])


@pytest.mark.parametrize("p", DEPTHS)
@pytest.mark.parametrize("widening", [1e-3, 0.1, 0.249, 0.27, 0.45, 0.9])
def test_the_noted_bound_is_the_distance_to_the_farthest_corner(p: float, widening: float) -> None:
    """Above what :meth:`theta_error` computes with powers; by no more than the second order that Bernoulli neglects."""
    certificate = at(p, np.array([0.5, -0.6, 0.05, 0.0, 0.7, -0.2, 0.3, -0.75, 0.65]))
    j = certificate.numbers[box.J]
    reach = widening / (max(1.0, j) * farness(certificate).max())
    certificate.state[box.E2] = (reach / certificate.numbers[box.SCALE]) ** 2
    centre_plus, centre_minus = certificate._theta(1, np.zeros(9)), certificate._theta(-1, np.zeros(9))
    size = math.hypot(np.linalg.norm(centre_plus), np.linalg.norm(centre_minus))
    for up, down in ((1.0, 1.0), (0.8, 1.3), (1.3, 0.8), (0.7, 0.6), (1.5, 1.7)):
        plus, minus = up * centre_plus, down * centre_minus
        noted = box.theta_bound(
            plus, minus, certificate.numbers, certificate.norms, certificate.state, certificate.work
        )
        exact = certificate.theta_error(plus, minus)
        assert exact * (1 - 1e-12) <= noted <= exact + min(widening, 0.25) ** 2 * size


def slope(p: float, alpha: float, tau: np.ndarray) -> np.ndarray:
    """D = p²(θ₊^{2p−2} + θ₋^{2p−2}) at τ, from the closed form of θ±."""
    if p == 2:
        return 8 * alpha**2 * np.cosh(tau)
    power = (2 * p - 2) / (p - 2)
    return p * p * alpha ** (2 * p - 2) * ((1 - tau) ** -power + (1 + tau) ** -power)


@pytest.mark.parametrize("p", DEPTHS)
@pytest.mark.parametrize("reach", [1e-3, 0.05, 0.2, 0.4, 0.7])
def test_the_slopes_enclose_those_of_the_step_within_a_twentieth(p: float, reach: float) -> None:
    """Equation (4) at |τ̂| ± c_p b, where one of θ± dominates, so that D is a power of the distance to the pole."""
    tau = np.array([0.9, -0.85, 0.8, -0.9, 0.95, -0.8, 0.85]) * (4.0 if p == 2 else 1.0)
    c = at(p, tau)
    scale, g = c.numbers[box.SCALE], np.linspace(-1.0, 1.0, 7)
    c.work[7] = g
    relative = scale * (c.norms + np.abs(g)) * np.maximum(c.work[0], c.work[1])
    eta = bound = reach / relative.max()
    high, low = np.zeros(7), np.zeros(7)
    kernel._widened(c.numbers, c.norms, eta, bound, c.work, high, low)
    b = scale * (eta * np.abs(g) + c.norms * bound)
    above, below = slope(p, 0.1, np.abs(tau) + b), slope(p, 0.1, np.abs(tau) - b)
    assert np.all(above <= high)
    assert np.all(high <= 1.05 * above)
    assert np.all((low <= below) & (low > 0))


@pytest.mark.parametrize("p", [2.0, 3.0])
def test_the_energy_of_the_first_step_is_that_of_its_equation(p: float) -> None:
    """E² = ½G and G = η³ Σ D ĝ²/3, where ĝ = Aᵀy and D = 2p²α^{2p−2} at the start, to which D̄ is close on a short step."""
    problem, alpha, eta = problems.gaussian(4, 9, 5), 0.1, 1e-4
    certificate = Certificate(problem, p, alpha)
    certificate.update(np.full(9, alpha), np.full(9, alpha), eta)
    g = (problem.A.mT @ problem.y).numpy()
    exact = math.sqrt(0.5 * eta**3 / 3 * 2 * p * p * alpha ** (2 * p - 2) * float(g @ g))
    assert exact <= certificate.energy <= 1.01 * exact


@pytest.mark.parametrize("p", [2.0, 2.5, 4.0])
def test_no_slope_along_the_flow_is_above_the_cap(p: float) -> None:
    problem = problems.paper_random()
    for alpha in (0.3, 1e-3):
        with spare_compilation():
            limit = flow_limit(problem, p, alpha)
        cap = Certificate(problem, p, alpha).numbers[box.CAP_SLOPE]
        assert float(psi_slope_of_theta(*theta_of_psi(limit.psi, p, alpha), p).max()) <= cap


def test_a_step_of_too_many_parts_ends_the_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then there is no bound any more, at this step or later; the loop as plain Python, which sees the smaller number."""
    monkeypatch.setattr(kernel, "_MOST_SUBSTEPS", 2)
    certificate = Certificate(problems.gaussian(3, 7, 2), 3, 0.2)
    theta = np.full(7, 0.2)
    kernel.certificate_step.py_func(theta, theta, 100.0, *certificate.arguments())
    for _ in range(2):
        assert not certificate.finite
        assert certificate.energy == certificate.theta_error_sup == certificate.theta_error(theta, theta) == math.inf
        kernel.certificate_step.py_func(theta, theta, 1e-3, *certificate.arguments())
    assert certificate.steps == 1
