"""ψ(∞) of parametrizations that are no depth: against closed-form siblings, many digits, and other people's solvers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, nnls

import dlntorch as dln
from dlntorch.numerics.trajectory import Status
from tests import problems
from tests.model.cases import Sinh, Tanh, TwoSinh


class Cubes(dln.Parametrization):
    """Depth 3 without any closed form."""

    width = 2

    def value(self, theta):
        return theta[0] ** 3 - theta[1] ** 3

    def slope(self, theta):
        return torch.stack([3 * theta[0] ** 2, -3 * theta[1] ** 2])

    def start(self, alpha, n):
        return torch.full((2, n), alpha, dtype=torch.float64)


class ThreeLayers(dln.Parametrization):
    """Three layers without any closed form."""

    width = 3

    def value(self, theta):
        return theta[0] * theta[1] * theta[2]

    def slope(self, theta):
        return torch.stack([theta[1] * theta[2], theta[0] * theta[2], theta[0] * theta[1]])

    def start(self, alpha, n):
        theta = torch.full((3, n), alpha, dtype=torch.float64)
        theta[2] = 0.0
        return theta


SLOW_CASES = [(None, 1.0), (None, 1e-8), (4, 1e-3), (4, 1e-8)]


def error(limit, exact) -> float:
    return float((limit.psi - exact.psi).abs().max() / exact.psi.abs().max())


@pytest.mark.parametrize(
    ("nonzeros", "alpha"), [(None, 1e-4), *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW_CASES)]
)
@pytest.mark.parametrize(("ours", "sibling"), [(Cubes(), 3), (ThreeLayers(), dln.Product(3))], ids=repr)
def test_a_user_s_own_class_ends_where_its_closed_form_sibling_does(ours, sibling, nonzeros, alpha):
    problem = problems.gaussian(6, 15, 1, nonzeros)
    assert error(dln.flow_limit(problem, ours, alpha), dln.flow_limit(problem, sibling, alpha)) <= 1e-10


@pytest.mark.parametrize("alpha", [10.0, 0.1, 1e-4])
@pytest.mark.parametrize(
    "parametrization", [dln.Product(2), dln.Product(3), dln.Product(4), dln.Nonnegative(2.5)], ids=repr
)
def test_closed_forms_against_many_digits(parametrization, alpha):
    problem = problems.gaussian(4, 10, 2)
    limit, exact = (dln.flow_limit(problem, parametrization, alpha, precision=digits) for digits in (None, 30))
    assert exact.status is Status.CONVERGED
    assert limit.status is Status.CONVERGED
    assert error(limit, exact) <= 1e-13 + 10 * float(limit.uncertainty)
    assert [float(text) for text in exact.exact] == exact.psi.tolist()


def test_two_layers_are_depth_two_and_layers_select_what_depth_does():
    problem = problems.gaussian(5, 12, 4)
    two, depth = dln.flow_limit(problem, dln.Product(2), 0.2), dln.flow_limit(problem, 2, 0.1)  # ½α² sinh 2ν
    assert error(two, depth) <= 1e-13
    expected = dln.flow_limit(problems.line(), 3, 1e-12 ** (1 / 3)).psi
    assert float((dln.flow_limit(problems.line(), dln.Product(3), 1e-4).psi - expected).abs().max()) <= 1e-9


@pytest.mark.parametrize("parametrization", [Sinh(), TwoSinh(), Tanh()], ids=repr)
def test_the_limit_minimises_the_potential(parametrization):
    """∇Q = ν is orthogonal to the null space of A."""
    problem = problems.gaussian(4, 9, 0, scale=0.2)
    limit = dln.flow_limit(problem, parametrization, 0.1)
    assert limit.status is Status.CONVERGED
    assert float(limit.residual) <= 1e-14
    nu = parametrization.mirror(parametrization.start(0.1, 9)).nu(limit.psi)
    null = torch.linalg.svd(problem.A)[2][problem.m :]
    assert float((null @ nu).abs().max()) <= 1e-11 * float(nu.abs().max())
    assert limit.tau is None
    assert parametrization.name in limit.tau_reason


def test_values_that_a_bounded_curve_does_not_reach_are_a_failure():
    limit = dln.flow_limit(problems.gaussian(4, 9, 0, scale=100.0), Tanh(), 0.1)
    assert limit.status is Status.FAILED
    assert "no psi of Tanh with A psi = y was found" in limit.reason
    assert bool(torch.isfinite(limit.psi).all())


def nonnegative(kind: str, seed: int) -> dln.Problem:
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((6, 16))
    x = np.where(rng.permutation(16) < 3, 1 + rng.random(16), 0.0)
    if kind == "inner":
        return dln.Problem(A, A @ rng.random(16))
    A = np.abs(A)  # the cone of the columns is narrow
    return dln.Problem(A, A @ x if kind == "border" else rng.standard_normal(6))


@pytest.mark.parametrize("kind", ["inner", "border", "outside"])
@pytest.mark.parametrize("p", [2, 3, 4])
def test_nonnegative_ends_at_nonnegative_least_squares(kind, p):
    for seed in range(3):
        problem = nonnegative(kind, seed)
        A, y = problem.A.numpy(), problem.y.numpy()
        x, distance = nnls(A, y)
        limit = dln.flow_limit(problem, dln.Nonnegative(p), 1e-5)
        psi = limit.psi.numpy()
        assert psi.min() >= 0
        assert abs(np.linalg.norm(A @ psi - y) - distance) <= 1e-12 * np.linalg.norm(y)
        assert ("no psi >= 0 has A psi = y" in limit.reason) == (kind == "outside")
        if p > 2:  # the least Σψ among them
            least = linprog(np.ones(16), A_eq=A, b_eq=A @ x, bounds=(0, None)).fun
            assert psi.sum() <= least + 1e-4


def test_nonnegative_limits_are_projections():
    """Where nothing tends to 0, ln(ψ/ψ(0)) (p = 2) lies in range(Aᵀ), from a warm start too."""
    problem = nonnegative("inner", 5)
    theta = torch.rand(16, dtype=torch.float64) * torch.logspace(-4, 0, 16, dtype=torch.float64) + 1e-6
    limit = dln.flow_limit(problem, dln.Nonnegative(2), dln.Initialization(theta))
    assert limit.status is Status.CONVERGED
    log = torch.log(limit.psi / theta**2)
    torch.testing.assert_close(limit.tau, log, rtol=1e-10, atol=1e-12)
    null = torch.linalg.svd(problem.A)[2][problem.m :]
    assert float((null @ log).abs().max()) <= 1e-11 * float(log.abs().max())


@pytest.mark.parametrize("p", [2, 3])
def test_nonnegative_warm_starts_agree_with_many_digits(p):
    """Entries of the size of the answer beside entries of 1e-3: the start is followed, not the data."""
    for seed in range(3):
        problem = nonnegative("inner", seed)
        rng = np.random.default_rng(seed)
        theta = (1e-3**p + np.where(rng.random(16) < 0.5, rng.random(16), 0)) ** (1 / p)
        limit, exact = (
            dln.flow_limit(problem, dln.Nonnegative(p), dln.Initialization(theta), precision=digits)
            for digits in (None, 20)
        )
        assert exact.status is limit.status is Status.CONVERGED
        assert error(limit, exact) <= 1e-13 + 2 * float(limit.uncertainty)


def test_shapes_sequences_and_rank():
    problem = problems.paper_random()
    sweep = dln.flow_limit(problem, dln.Product(3), [0.1, 1e-2])
    assert sweep.psi.shape == (2, 5)
    assert torch.equal(sweep.psi[1], dln.flow_limit(problem, dln.Product(3), 1e-2).psi)
    both = dln.flow_limit([problem, problem], dln.Product(3), [0.1, 1e-2])
    assert both.psi.shape == (2, 2, 5)
    A, y = torch.cat([problem.A, problem.A[:1]]), torch.cat([problem.y, problem.y[:1]])
    again = dln.flow_limit(dln.Problem(A, y), dln.Product(3), 1e-2)
    torch.testing.assert_close(again.psi, sweep.psi[1], rtol=1e-9, atol=1e-12)
    starts = [dln.Initialization(0.1, 0.2), dln.Initialization(0.1, 0.3)]
    assert dln.flow_limit(problem, 3, starts).psi.shape == (2, 5)


def test_a_start_that_interpolates_already_is_returned():
    problem = problems.line()
    zero = dln.Problem(problem.A, torch.zeros(2))
    assert not dln.flow_limit(zero, dln.Product(3), 0.1).psi.any()
    theta = torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64).sqrt()
    there = dln.Problem(problem.A, problem.A @ theta**2)
    limit = dln.flow_limit(there, dln.Nonnegative(2), dln.Initialization(theta))
    torch.testing.assert_close(limit.psi, theta**2, rtol=1e-15, atol=0)


def test_mistakes_are_named():
    with pytest.raises(dln.InputError, match=r"^alpha must be a number with Sinh"):
        dln.flow_limit(problems.line(), Sinh(), dln.Initialization(0.1, 0.2))
    with pytest.raises(dln.InputError, match=r"^precision must be left out with TwoSinh\(\)"):
        dln.flow_limit(problems.line(), TwoSinh(), 0.1, precision=30)
    with pytest.raises(dln.InputError, match=r"^p must be an object"):
        dln.flow_limit(problems.line(), Sinh, 0.1)
    with pytest.raises(dln.InputError, match=r"^alpha must be a sequence of numbers or of Initializations"):
        dln.flow_limit(problems.line(), 3, [dln.Initialization(0.1), 0.1])
