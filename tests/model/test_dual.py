"""The dual field: its domain, its estimates of distance and rounding, and the time to relax, each against another route."""

from __future__ import annotations

import inspect

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlntorch.flow import integrate as flow
from dlntorch.flow import routes
from dlntorch.flow.scipy_solver import Session
from dlntorch.limit.central_path_engines import spare_compilation
from dlntorch.limit.flow_limit import flow_limit
from dlntorch.model.dual import DualField, relaxation_time, theta_of_psi
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem
from tests import problems


@pytest.fixture(autouse=True)
def _interpreted():
    """A few limits of small problems are not worth compiling for."""
    with spare_compilation():
        yield


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("p", [2.5, 3.0])
def test_a_point_is_inside_only_between_both_poles(p: float) -> None:
    """A = (1, −½): τ = (σ, −σ/2), so that σ = ±1.5 is beyond one pole of the first coordinate only."""
    field = DualField(Problem([[1.0, -0.5]], [1.0]), p, 0.1)
    assert [field.inside(vector(sigma)) for sigma in (-1.5, -0.9, 0.0, 0.9, 1.5)] == [False, True, True, True, False]


@pytest.mark.parametrize(("p", "alpha"), [(2, 1e-3), (2.5, 1e-2), (4, 1e-2)])
def test_the_distance_to_the_limit_is_the_change_of_theta_that_is_left(p: float, alpha: float) -> None:
    problem = problems.paper_random()
    limit = flow_limit(problem, p, alpha)
    end = torch.cat(theta_of_psi(limit.psi, p, alpha))
    field = DualField(problem, p, alpha)
    sigma = torch.linalg.lstsq(problem.A.mT, limit.tau[:, None]).solution[:, 0]
    field.rebase(sigma)
    for size in (1e-2, 1e-4):
        x = size * vector(1.0, -0.7, 0.4)
        left = (torch.cat(field.theta(x)) - end).abs().max() / end.max()
        assert field.distance_to_limit(x) == pytest.approx(float(left), rel=0.05)


def test_far_from_the_limit_there_is_no_distance() -> None:
    field = DualField(problems.paper_random(), 3, 1e-2)
    assert field.distance_to_limit(torch.zeros(3, dtype=torch.float64)) == np.inf


def test_the_rounding_error_of_the_residual_is_within_what_is_said() -> None:
    """At the limit of a problem of one sign, where y − Aψ is nothing but rounding; exactly, by mpmath."""
    problem = Problem([[0.3, 0.7, 0.9, 0.21, 0.57], [0.11, 0.4, 0.8, 0.63, 0.35]], [2.7, 2.3])
    limit = flow_limit(problem, 3, 0.5)
    assert bool((limit.psi > 0).all())
    field = DualField(problem, 3, 0.5)
    sigma = torch.linalg.lstsq(problem.A.mT, limit.tau[:, None]).solution[:, 0]
    psi = field.psi(sigma)
    with mp.workdps(60):
        exact = mp.matrix(problem.y.tolist()) - mp.matrix(problem.A.tolist()) * mp.matrix(psi.tolist())
        error = float(mp.norm(mp.matrix(field.residual(sigma).tolist()) - exact))
    said, R = field.rounding(sigma)
    assert 0 < error <= (problem.n + 1) * said
    assert said <= 1e-15
    assert torch.equal(R, torch.eye(2, dtype=torch.float64))


@pytest.mark.parametrize("p", [2, 3])
def test_the_matrix_beside_the_rounding_error_takes_the_residual_to_the_velocity(p: float) -> None:
    field = DualField(problems.gaussian(3, 7, 0), p, 0.1)
    for x in (vector(0.1, -0.05, 0.07), vector(0.02, 0.01, -0.03)):
        _, R = field.rounding(x)
        assert torch.allclose(R @ field.residual(x), field(x, x), rtol=1e-14)
        field.rebase(x)


def test_a_new_base_is_due_where_the_distance_from_the_pole_has_changed_by_a_factor_of_two() -> None:
    """A = (1, 1): τ = σ in both coordinates, and the base is at τ = 0.8."""
    for slack, due in ((0.09, True), (0.11, False), (0.2, False), (0.38, False), (0.42, True), (0.55, True)):
        field = DualField(Problem([[1.0, 1.0]], [1.0]), 3, 0.1)
        field.rebase(vector(0.8))
        x = (0.2 - slack) / field.B[0]
        assert field.slack(x)[0].tolist() == pytest.approx([slack, slack], rel=1e-12)
        assert field.needs_rebase(x) is due


@pytest.mark.parametrize("alpha", [1e-2, 1e-5, 1e-8])
def test_the_time_to_relax_where_the_equations_are_graded(alpha: float) -> None:
    """One large coordinate, three equations: 1/λ_min(A D Aᵀ) with D spread over up to 32 decades, in 120 digits."""
    problem, p = problems.gaussian(3, 8, 4), 3
    psi = torch.zeros(8, dtype=torch.float64)
    psi[5] = 1.0
    with mp.workdps(120):
        a = mp.mpf(alpha)
        largest = mp.findroot(lambda x: x**p - (2 / a - 1 / x) ** -p - 1, 1)
        D = [p * p * 2 * a**4] * 8
        D[5] = p * p * (largest**4 + (2 / a - 1 / largest) ** -4)
        A = mp.matrix(problem.A.tolist())
        exact = 1 / min(mp.eigsy(A * mp.diag(D) * A.T, eigvals_only=True))
    assert relaxation_time(problem, p, alpha, psi) == pytest.approx(float(exact), rel=1e-8)


def test_the_path_of_theta_has_the_defaults_of_the_trajectory() -> None:
    whole, theta = (inspect.signature(f).parameters for f in (flow.integrate_flow, flow.flow_path))
    assert {name: p.default for name, p in theta.items()} == {name: whole[name].default for name in theta}


@pytest.mark.parametrize("make", [problems.line, problems.paper_random])
@pytest.mark.parametrize(("p", "alpha"), [(2.5, 1e-3), (3, 1e-3), (4, 1e-2)])
def test_the_slack_that_a_tolerance_is_made_from_is_that_of_the_limit(make, p: float, alpha: float) -> None:
    """1 − |τ| where it is smallest, to the order of magnitude; without a pole, at p = 2, it is one."""
    smallest = float(flow_limit(make(), p, alpha).gap.min())
    assert 0.1 * smallest <= routes._expected_slack(make(), p, alpha) <= 10 * smallest
    assert routes._expected_slack(make(), 2, alpha) == 1.0


def test_a_point_of_a_loss_that_no_flow_has_is_refused() -> None:
    """The loss never grows along the flow: a residual of 2.5‖y‖ is an error of the solver, one of 0.9‖y‖ a point."""
    field = DualField(Problem([[1.0, 0.0]], [1.0]), 2, 0.1)
    for psi, status in ((0.1, None), (-1.5, Status.FAILED)):
        session = Session(field, 10, None, False, 1e-9)
        session.record(1.0, np.array([np.arcsinh(psi / (2 * 0.1**2))]))
        assert session.status is status
        assert session.times == ([1.0] if status is None else [])
    assert session.reason == "the solver accepted a point of residual 2.5"


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), p=st.floats(2.05, 8.0), log_alpha=st.floats(-6.0, 0.0), size=st.floats(0.0, 3.0)
)  # fmt: skip
def test_the_compiled_field_is_the_one_in_torch(seed, p, log_alpha, size):
    """Velocity, residual and the question of a new base, in plain and in moved coordinates, near the pole and beyond."""
    problem = problems.gaussian(4, 9, seed)
    field = DualField(problem, p, 10.0**log_alpha)
    rng = np.random.default_rng(seed)
    for _ in range(2):
        x = torch.from_numpy(size * rng.standard_normal(field.size) / max(1.0, float(field.B.abs().max())))
        residual = field.residual(x)
        scale = float(torch.linalg.vector_norm(problem.A) * torch.linalg.vector_norm(field.psi(x))) + 1.0
        expected = residual if field.R is None else field.R @ residual
        growth = 1.0 if field.R is None else float(torch.linalg.matrix_norm(field.R, 2))
        assert np.abs(field.velocity(x.numpy()) - expected.numpy()).max() <= 1e-12 * scale * growth
        assert abs(field.residual_norm(x.numpy()) - float(torch.linalg.vector_norm(residual))) <= 1e-12 * scale
        u, v = field.slack(x)
        ratio = torch.minimum(u, v) / torch.minimum(field.u, field.v)
        assert field.needs_rebase(x) == bool((ratio < 0.5).any() or (ratio > 2).any())
        if field.inside(0.01 * x):
            field.rebase(0.01 * x)


@pytest.mark.parametrize(("p", "alpha"), [(3, 1e150), (2, 1e155), (3, 1e80)])
def test_an_alpha_beyond_float64_is_named(p: float, alpha: float) -> None:
    with pytest.raises(InputError, match="alpha.* in the range of float64, got"):
        relaxation_time(problems.line(), p, alpha, torch.ones(3))
