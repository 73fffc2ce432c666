"""ψ_α(∞) in float64: optimality, other routes to the same number, edges, and honest statuses."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import root

from dlntorch.limit import central_path_engines, curve
from dlntorch.limit.flow_limit import flow_limit
from dlntorch.model import potentials
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem
from tests import problems

PAPER = [problems.line, problems.plane, problems.paper_random]
DEPTHS = [2.0, 2 + 1e-9, 2.2, 2.5, 3.0, 4.0, 7.0]


def is_curve(problem, limit, p, alpha):
    """ψ = α^p h_p(τ), computed by the potentials from τ and its distance to the pole."""
    tau, gap = limit.tau, limit.gap
    if p == 2:
        values = potentials.h(tau, p)
    else:
        u, v = torch.where(tau > 0, gap, 1 + tau.abs()), torch.where(tau > 0, 1 + tau.abs(), gap)
        values = potentials.h(tau, p, u=u, v=v)
    error = (alpha**p * values - limit.psi).abs()
    return bool((error <= 1e-13 * max(1, p / (p - 2) if p > 2.1 else 1) * (limit.psi.abs() + alpha**p)).all())


@pytest.mark.parametrize("make", PAPER)
@pytest.mark.parametrize("p", DEPTHS)
def test_optimality_of_every_point_of_a_sweep(make, p):
    problem = make()
    alphas = [10 ** (-j / p) for j in range(0, 10, 3)]
    sweep = flow_limit(problem, p, alphas)
    assert sweep.psi.shape == sweep.tau.shape == (len(alphas), problem.n)
    assert float(sweep.residual.max()) <= 1e-14
    assert float(sweep.dual_residual.max()) <= 1e-13
    for row, alpha in enumerate(alphas):
        one = flow_limit(problem, p, alpha)
        assert one.status is Status.CONVERGED
        assert torch.allclose(one.psi, sweep.psi[row], rtol=1e-12 + 10 * float(one.uncertainty), atol=1e-15)
        if p == 2 or p > 2.1:
            assert is_curve(problem, one, p, alpha)


@pytest.mark.parametrize("p", [2.0, 2.2, 3.0, 5.0])
def test_against_a_generic_root_finder(p):
    """Route two: scipy's hybrid Powell on F(λ) = α^p A h_p(Aᵀλ) − y, at an α where it works."""
    problem = problems.gaussian(4, 9, seed=5)
    A, y = problem.A.numpy(), problem.y.numpy()
    alpha = 1.0
    start = np.linalg.lstsq(A @ A.T, y, rcond=None)[0] * (0.5 if p == 2 else 0.5 * (p - 2) / p)

    def F(lam):
        tau = np.clip(A.T @ lam, -0.999999, 0.999999) if p > 2 else A.T @ lam
        return alpha**p * A @ potentials.h(tau, p).numpy() - y

    found = root(F, start, tol=1e-13)
    psi = alpha**p * potentials.h(A.T @ found.x, p).numpy()
    assert np.max(np.abs(A @ psi - y)) <= 1e-9
    assert np.allclose(flow_limit(problem, p, alpha).psi.numpy(), psi, rtol=0, atol=1e-8)


@pytest.mark.parametrize("p", [2.0, 2.5, 4.0])
def test_it_minimises_the_potential(p):
    """Σ q_p(ψ_i/α^p) grows along every direction of the null space, to second order and no less."""
    problem = problems.gaussian(3, 7, seed=2)
    alpha = 0.3
    psi = flow_limit(problem, p, alpha).psi
    null = torch.linalg.svd(problem.A)[2][problem.m :]
    x = (psi / alpha**p).requires_grad_()
    (gradient,) = torch.autograd.grad(potentials.q(x, p).sum(), x)
    assert float((null @ gradient).abs().max()) <= 1e-13
    rng = np.random.default_rng(0)
    for _ in range(5):
        direction = torch.from_numpy(rng.standard_normal(len(null))) @ null
        moved = potentials.q((psi + 1e-3 * direction) / alpha**p, p).sum()
        assert float(moved) > float(potentials.q(psi / alpha**p, p).sum())


def test_small_alpha_reaches_the_closed_form_of_the_line():
    for p in (2.5, 3.0, 4.0):
        limit = flow_limit(problems.line(), p, 1e-12 ** (1 / p))
        selected = problems.line_selected(p)
        # The distance is C α^p plus what rounding makes of a face: see uncertainty.
        assert float((limit.psi - selected).abs().max()) <= 1e-10 + 10 * float(limit.uncertainty)
    limit = flow_limit(problems.line(), 2.0, 1e-30)
    assert float((limit.psi - problems.line_selected(2.0)).abs().max()) <= 1e-12


def test_depth_two_is_the_limit_of_depth():
    problem = problems.paper_random()
    near, at = flow_limit(problem, 2 + 1e-7, 1e-3), flow_limit(problem, 2.0, 1e-3)
    assert torch.allclose(near.psi, at.psi, rtol=1e-5, atol=0)


def test_order_repeats_and_shapes():
    problem = problems.plane()
    alphas = [1e-2, 1.0, 1e-2, 1e-3]
    limit = flow_limit(problem, 3, alphas)
    assert torch.equal(limit.psi[0], limit.psi[2])
    ordered = flow_limit(problem, 3, [1.0, 1e-2, 1e-3])
    assert torch.equal(limit.psi[1], ordered.psi[0])
    assert torch.equal(limit.psi[3], ordered.psi[2])
    assert limit.status == (Status.CONVERGED,) * 4
    assert limit.reason == ("",) * 4
    scalar = flow_limit(problem, 3, 1e-2)
    assert scalar.psi.shape == (4,)
    assert scalar.residual.shape == ()
    assert scalar.status is Status.CONVERGED
    assert torch.equal(flow_limit(problem, 3, torch.tensor([1e-2], dtype=torch.float64)).psi[0], scalar.psi)
    assert scalar.exact is None


def test_batch_of_problems():
    batch = [problems.gaussian(3, 8, seed) for seed in range(4)]
    limit = flow_limit(batch, 3, [1e-1, 1e-2])
    assert limit.psi.shape == (4, 2, 8)
    assert limit.residual.shape == (4, 2)
    for i, problem in enumerate(batch):
        assert torch.equal(limit.psi[i], flow_limit(problem, 3, [1e-1, 1e-2]).psi)
        assert limit.status[i] == (Status.CONVERGED,) * 2
    assert flow_limit(batch, 3, 1e-1).psi.shape == (4, 8)


@pytest.mark.parametrize("p", [2.0, 2.5, 4.0])
def test_per_coordinate_alpha(p):
    """Equal entries give the scalar's answer; unequal ones satisfy ψ_i = α_i^p h_p(c_i A_iᵀλ), c_i ∝ α_i^{p−2}."""
    problem = problems.paper_random()
    equal = flow_limit(problem, p, np.full(5, 1e-2), per_coordinate=True)
    assert torch.allclose(equal.psi, flow_limit(problem, p, 1e-2).psi, rtol=1e-12, atol=0)
    alpha = torch.tensor([1e-2, 3e-2, 1e-1, 2e-2, 5e-3], dtype=torch.float64)
    limit = flow_limit(problem, p, alpha, per_coordinate=True)
    assert limit.status is Status.CONVERGED
    assert float(limit.residual) <= 1e-14
    tau = potentials.h_inverse(limit.psi / alpha**p, p)
    assert torch.allclose(tau, limit.tau, rtol=1e-10, atol=0)
    dual = tau / alpha ** (p - 2)
    lam = torch.linalg.lstsq(problem.A.T, dual[:, None]).solution[:, 0]
    assert float((problem.A.T @ lam - dual).abs().max()) <= 1e-12 * float(dual.abs().max())
    stacked = flow_limit(problem, p, torch.stack([alpha, 2 * alpha]), per_coordinate=True)
    assert stacked.psi.shape == (2, 5)
    assert torch.equal(stacked.psi[0], limit.psi)


def test_per_coordinate_limit_of_the_flow():
    """Route two: the flow itself, integrated in θ with unequal starts."""
    from scipy.integrate import solve_ivp

    A, y = (np.array(part) for part in problems.LINE)
    alpha = np.array([0.5, 0.3, 0.4])

    def field(_, theta):
        plus, minus = theta[:3], theta[3:]
        g = A.T @ (y - A @ (plus**3 - minus**3))
        return np.concatenate([3 * plus**2 * g, -3 * minus**2 * g])

    end = solve_ivp(field, (0, 200), np.concatenate([alpha, alpha]), method="Radau", rtol=1e-12, atol=1e-13).y[:, -1]
    limit = flow_limit(problems.line(), 3, alpha, per_coordinate=True)
    assert np.allclose(limit.psi.numpy(), end[:3] ** 3 - end[3:] ** 3, rtol=0, atol=1e-8)


def test_large_alpha_is_the_minimum_norm_solution():
    problem = problems.gaussian(5, 12, seed=3)
    expected = torch.linalg.pinv(problem.A) @ problem.y
    for p in (2.0, 3.0, 50.0):
        limit = flow_limit(problem, p, 1e3)
        assert limit.status is Status.CONVERGED
        assert torch.allclose(limit.psi, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("p", "alpha"), [(2.0, 1e-300), (4.0, 1e-300), (4.0, 1e-80), (50.0, 1e-10), (3.0, 1e-200)])
def test_alpha_out_of_the_range_of_float64_is_said(p, alpha):
    limit = flow_limit(problems.paper_random(), p, alpha)
    assert limit.status is Status.BELOW_INPUT_PRECISION
    assert "out of the range of float64" in limit.reason
    assert float(limit.residual) <= 1e-14
    vertex = flow_limit(problems.paper_random(), 3, 1e-10).psi
    assert torch.allclose(limit.psi, vertex, rtol=0, atol=1e-12)


def test_lost_digits_are_said():
    sparse = problems.gaussian(10, 30, seed=0, nonzeros=3)
    fine, lost = flow_limit(sparse, 3, 1e-3), flow_limit(sparse, 3, 1e-6)
    assert fine.status is Status.CONVERGED
    assert lost.status is Status.BELOW_INPUT_PRECISION
    assert "rounding" in lost.reason
    assert float(lost.residual) <= 1e-14
    assert torch.allclose(lost.psi, sparse.truth, rtol=0, atol=1e-14 * 30)
    face = flow_limit(problems.line(), 4, 1e-10)
    assert face.status is Status.BELOW_INPUT_PRECISION


def test_uncertainty_covers_equal_columns():
    """ψ splits equally between a column and its opposite; how equally, float64 knows to eps/(1 − |τ|) only."""
    A = [[-1.2e-5, -8.05e-6, -2.158e-5, 3.2087e-5, -1.2e-5, -8.05e-6, 2.158e-5, -3.2087e-5]]
    limit = flow_limit(Problem(A, [-0.7546]), 3, 2.17e-5)
    difference = abs(float(limit.psi[3] + limit.psi[7])) / abs(float(limit.psi[3]))
    assert difference <= 10 * float(limit.uncertainty)
    assert float(limit.uncertainty) >= 1e-16 / float(limit.gap.min())


def test_uncertainty_covers_a_support_of_one_column_of_one_sign():
    """|A||ψ| + |y| is then a multiple of that column, a direction in which only ψ_1 moves; the others do depend on y."""
    A = torch.from_numpy(np.random.default_rng(1).standard_normal((4, 11)))
    A[:, 1] = A[:, 1].abs()
    problem = Problem(A, 1e5 * A[:, 1])
    limit, exact = flow_limit(problem, 2.2, 4e-6), flow_limit(problem, 2.2, 4e-6, precision=30)
    error = (limit.psi - exact.psi).abs() / torch.maximum(exact.psi.abs(), torch.tensor(2 * 4e-6**2.2).double())
    assert float(limit.uncertainty) >= 1e-9
    assert float(error.max()) <= 100 * float(limit.uncertainty)


def spread_problem(m: int, n: int, condition: float, seed: int, support: int) -> Problem:
    """Singular values from 1 to 1/condition, a planted y, and the first column of its support once more."""
    rng = np.random.default_rng(seed)
    U, V = np.linalg.qr(rng.standard_normal((m, m)))[0], np.linalg.qr(rng.standard_normal((n, m)))[0]
    A = (U * np.logspace(0, -np.log10(condition), m)) @ V.T
    x = np.zeros(n)
    S = rng.choice(n, support, replace=False)
    x[S] = rng.choice([-1, 1], support) * (1 + rng.random(support))
    y = A @ x
    return Problem(np.column_stack([A, rng.choice([-1, 1]) * A[:, S[0]]]), y)


def relative_error(limit, exact, p, alpha):
    """Of every coordinate, in the units of ``uncertainty``."""
    scale = exact.psi.abs().clamp(min=min(2 * alpha**p, float(exact.psi.abs().max())))
    return float(((limit.psi - exact.psi).abs() / scale).max())


@pytest.mark.parametrize("condition", [1e1, 1e3, 1e4, 1e6])
@pytest.mark.parametrize(("p", "alpha"), [(2, 1.0), (3, 1e-2), (6, 1e-2), (3, 10.0), (10, 10.0)])
def test_uncertainty_is_about_the_error_at_every_condition_number_and_alpha(condition, p, alpha):
    """In many digits from the same floats. One rounding in A moves τ by a rounding of the terms of A_iᵀλ, not of τ."""
    for seed in range(4):
        problem = spread_problem(2 + seed % 3, 6 + seed, condition, seed, 1 + seed % 2)
        limit, exact = flow_limit(problem, p, alpha), flow_limit(problem, p, alpha, precision=30)
        error = relative_error(limit, exact, p, alpha)
        assert limit.status is not Status.CONVERGED or error <= 10 * max(float(limit.uncertainty), 1e-15)
        if alpha >= 10:  # where the answer is nearly A⁺y
            assert float(limit.uncertainty) >= 1e-17 * condition


@pytest.mark.parametrize(("p", "alpha"), [(3, 1e3), (50, 10.0)])
def test_a_limit_without_digits_says_so_where_alpha_is_large(p, alpha):
    """Condition 1e14 and ψ ≪ α^p: relative to 2α^p nothing is ever uncertain."""
    rng = np.random.default_rng(1)
    U, V = np.linalg.qr(rng.standard_normal((3, 3)))[0], np.linalg.qr(rng.standard_normal((6, 3)))[0]
    A = (U * np.array([1, 0.5, 1e-14])) @ V.T
    problem = Problem(A, A @ rng.standard_normal(6))
    limit, exact = flow_limit(problem, p, alpha), flow_limit(problem, p, alpha, precision=30)
    assert relative_error(limit, exact, p, alpha) <= 10 * float(limit.uncertainty)
    assert limit.status is Status.BELOW_INPUT_PRECISION


@pytest.mark.parametrize("size", [(3, 7), (20, 700)])  # the second goes by LAPACK
@pytest.mark.parametrize("p", [2, 3, 6])
def test_columns_that_are_the_same_floats_have_the_same_tau_and_psi(size, p):
    rng = np.random.default_rng(3)
    A = np.linalg.qr(rng.standard_normal(size[::-1]))[0].T * np.logspace(0, -5, size[0])[:, None]
    A = rng.standard_normal((size[0], size[0])) @ A
    y = A[:, 0] - 2 * A[:, 1]
    both = np.column_stack([A, A[:, 0], -A[:, 1], A[:, 2], A[:, 0]])
    n = A.shape[1]
    limits = [flow_limit(Problem(both, y), p, [1e-1, 1e-3])]
    # Rank is lost by a row that repeats: columns that are equal in A are equal in the reduced pair only to rounding.
    limits.append(flow_limit(Problem(np.vstack([both, both[:1]]), np.append(y, y[0])), p, [1e-1, 1e-3]))
    if size[0] == 3:
        batch = flow_limit([Problem(both, y)] * 600, p, [1e-1, 1e-3])
        assert torch.equal(batch.psi[5, :, 0], batch.psi[5, :, n])
        assert torch.equal(batch.tau[5, :, 1], -batch.tau[5, :, n + 1])
    for limit in limits:
        for values in (limit.psi, limit.tau):
            assert torch.equal(values[:, 0], values[:, n])
            assert torch.equal(values[:, 0], values[:, n + 3])
            assert torch.equal(values[:, 1], -values[:, n + 1])
            assert torch.equal(values[:, 2], values[:, n + 2])


@pytest.mark.parametrize(("p", "alpha"), [(2.5, 0.1), (3.0, 1e-2), (2.0, 1e-3)])
def test_coordinates_that_only_tend_to_zero_are_not_waited_for(p, alpha):
    """2ψ₁ + ψ₂ = 0 = 2ψ₁ − 2ψ₂: Newton halves their digits for ever, and no residual is small beside its terms."""
    A, y = [[-1.0, 2.0, 0.0, 1.0], [2.0, 1.0, 0.0, 0.0], [2.0, -2.0, 0.0, 0.0]], [2.0, 0.0, 0.0]
    limits = [flow_limit(Problem(A, y), p, alpha), flow_limit([Problem(A, y)] * 600, p, alpha)]
    for status, psi in ((limits[0].status, limits[0].psi), (limits[1].status[0], limits[1].psi[0])):
        assert status is Status.CONVERGED
        assert torch.allclose(psi, torch.tensor([0.0, 0, 0, 2]).double(), rtol=0, atol=1e-15)


def test_equal_columns_with_different_starts_are_not_made_equal():
    A, alpha = [[1.0, 2.0, 1.0]], [0.1, 0.1, 0.2]
    limit = flow_limit(Problem(A, [1.0]), 3, alpha, per_coordinate=True)
    assert float(limit.psi[2]) > 1.5 * float(limit.psi[0])


def test_zero_data_zero_columns_and_one_coordinate():
    zero = flow_limit(Problem([[1.0, 2.0]], [0.0]), 3, [1.0, 1e-3])
    assert not torch.any(zero.psi)
    assert zero.status == (Status.CONVERGED,) * 2
    A = problems.gaussian(2, 5, seed=1).A
    A[:, 2] = 0
    limit = flow_limit(Problem(A, [1.0, -2.0]), 2.5, 1e-2)
    assert float(limit.psi[2]) == float(limit.tau[2]) == 0
    rest = [0, 1, 3, 4]
    assert torch.allclose(limit.psi[rest], flow_limit(Problem(A[:, rest], [1.0, -2.0]), 2.5, 1e-2).psi, rtol=1e-13)
    with pytest.warns(UserWarning, match="not over-parameterised"):
        one = Problem([[2.0]], [3.0])
    assert float(flow_limit(one, 3, 1e-3).psi) == 1.5


def test_square_tall_and_inconsistent():
    rng = np.random.default_rng(4)
    with pytest.warns(UserWarning, match="not over-parameterised"):
        square = Problem(rng.standard_normal((4, 4)), rng.standard_normal(4))
    with pytest.warns(UserWarning, match="not over-parameterised"):
        tall = Problem(rng.standard_normal((6, 3)), rng.standard_normal(6))
    assert torch.allclose(flow_limit(square, 3, 1e-2).psi, torch.linalg.solve(square.A, square.y), rtol=1e-12)
    limit = flow_limit(tall, 3, 1e-2)
    expected = torch.linalg.lstsq(tall.A, tall.y[:, None]).solution[:, 0]
    assert torch.allclose(limit.psi, expected, rtol=1e-12)
    assert limit.status is Status.CONVERGED
    assert "not in range(A)" in limit.reason


def test_dependent_rows():
    problem = problems.paper_random()
    A = torch.cat([problem.A, problem.A[:1] + problem.A[1:2]])
    y = torch.cat([problem.y, problem.y[:1] + problem.y[1:2]])
    limit = flow_limit(Problem(A, y), 3, 1e-2)
    assert limit.status is Status.CONVERGED
    assert torch.allclose(limit.psi, flow_limit(problem, 3, 1e-2).psi, rtol=1e-11)


def test_large_problem_by_lapack_agrees_with_the_compiled_kernel():
    from dlntorch.limit.central_path import CentralPath

    problem = problems.gaussian(30, 90, seed=7, nonzeros=6)
    A, y = problem.A.numpy(), problem.y.numpy()
    small, large = (CentralPath(A, y, 3.0) for _ in range(2))
    small._steps, small._solver = small._small_steps, small._small_solver
    large._steps, large._solver = large._large_steps, large._large_solver
    targets = [3 * math.log(alpha) for alpha in (1e-1, 1e-2, 1e-3)]
    for one, two in zip(small.points(targets), large.points(targets), strict=True):
        assert one.converged
        assert two.converged
        assert np.allclose(one.psi, two.psi, rtol=100 * max(one.uncertainty, 1e-14), atol=0)


@pytest.mark.parametrize(("m", "n"), [(1, 4), (3, 9), (6, 7), (8, 30), (30, 300)])  # the last goes by LAPACK
@pytest.mark.parametrize("p", [2.0, 2.01, 3.0, 10.0])
def test_interpreted_kernels_give_the_bits_of_compiled_ones(m, n, p, monkeypatch):
    for seed in range(4 if n < 100 else 1):
        problem = problems.gaussian(m, n, seed=seed, nonzeros=None if seed % 2 else (m + 1) // 2)
        scale = 10.0 ** (3 * seed - 4)
        problem = Problem(scale * problem.A, problem.y)
        alphas = [2.0, 1e-2, 1e-5]
        routes = []
        for loops in (math.inf, -1):
            monkeypatch.setattr(central_path_engines, "INTERPRETED_LOOPS", loops)
            with central_path_engines.spare_compilation():
                routes.append(flow_limit(problem, p, alphas))
        for name in ("psi", "tau", "gap", "residual", "dual_residual", "uncertainty"):
            assert torch.equal(getattr(routes[0], name), getattr(routes[1], name)), name
        assert (routes[0].steps, routes[0].reason) == (routes[1].steps, routes[1].reason)


def test_what_python_raises_is_left_to_the_compiled_kernels(monkeypatch):
    monkeypatch.setattr(central_path_engines, "INTERPRETED_LOOPS", math.inf)
    kernels = central_path_engines.Kernels(loops=1)
    with pytest.raises(OverflowError):
        curve.curve_values(np.array([800.0]), np.array([0.0]), 0.0)
    with central_path_engines.spare_compilation():
        assert kernels.curve_values(np.array([800.0]), np.array([0.0]), 0.0)[0] == math.inf


def test_result_on_a_device_and_float32_problem():
    problem = problems.paper_random().to(dtype=torch.float32)
    limit = flow_limit(problem, 3, 1e-2, device="cpu")
    assert limit.psi.dtype == torch.float64
    assert torch.allclose(limit.psi, flow_limit(problems.paper_random(), 3, 1e-2).psi, rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((problems.line(), 1.5, 0.1), "p"),
        ((problems.line(), math.nan, 0.1), "p"),
        ((problems.line(), 3, 0.0), "alpha"),
        ((problems.line(), 3, -1.0), "alpha"),
        ((problems.line(), 3, math.inf), "alpha"),
        ((problems.line(), 3, [0.1, math.nan]), "alpha"),
        ((problems.line(), 3, []), "alpha"),
        ((problems.line(), 3, [[0.1]]), "alpha"),
        ((problems.line(), 3, "small"), "alpha"),
        ((problems.line(), 3, None), "alpha"),
        ((problems.line(), 3, True), "alpha"),
        (([], 3, 0.1), "problem"),
        (([problems.line(), problems.plane()], 3, 0.1), "problem"),
        (("line", 3, 0.1), "problem"),
    ],
)
def test_mistakes_are_named(arguments, name):
    with pytest.raises(InputError, match=rf"^{name} "):
        flow_limit(*arguments)


def test_mistakes_of_options_are_named():
    with pytest.raises(InputError, match=r"^alpha .*per_coordinate"):
        flow_limit(problems.line(), 3, [0.1, 0.2], per_coordinate=True)
    with pytest.raises(InputError, match=r"^precision "):
        flow_limit(problems.gaussian(50, 100, 0), 3, 0.1, precision=50)
    with pytest.raises(InputError, match=r"^precision "):
        flow_limit(problems.line(), 3, 0.1, precision=3)
    with pytest.raises(InputError, match=r"^device "):
        flow_limit(problems.line(), 3, 0.1, device="tpu")


# -- any problem whatsoever ---------------------------------------------------------------------------------------------


@st.composite
def any_case(draw):
    """(A, y, p, alphas): scales 1e-6 to 1e6, duplicated, opposite and zero columns, ranks, planted and generic y."""
    m, n = draw(st.integers(1, 8)), draw(st.integers(1, 24))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["generic", "integer", "duplicates", "low rank"]))
    A = rng.standard_normal((m, n))
    if kind == "integer":
        A = rng.integers(-2, 3, (m, n)).astype(float)
    elif kind == "duplicates" and n > 1:
        A[:, n // 2 :] = A[:, : n - n // 2] * rng.choice([-1, 1], n - n // 2)
    elif kind == "low rank":
        rank = draw(st.integers(1, min(m, n)))
        A = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n))
    if draw(st.booleans()):
        A[:, rng.integers(n)] = 0
    if draw(st.booleans()):
        A = A * 10.0 ** rng.uniform(-3, 3, (m, 1))
    A = A * 10.0 ** draw(st.floats(-6, 6))
    if not A.any():
        A[0, 0] = 1
    scale = 10.0 ** draw(st.floats(-6, 6))
    if draw(st.booleans()):
        planted = np.zeros(n)
        planted[rng.choice(n, draw(st.integers(0, n)), replace=False)] = scale
        y = A @ (planted * rng.standard_normal(n))
    else:
        y = scale * rng.standard_normal(m)
    p = draw(st.sampled_from([2.0, 2 + 1e-9, 2.01, 2.2, 2.5, 3.0, 4.0, 5.0, 7.0, 50.0]))
    return A, y, p, list(10.0 ** rng.uniform(-8, 3, 3))


def check_any(case):
    A, y, p, alphas = case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        problem = Problem(A, y)
    limit = flow_limit(problem, p, alphas)
    for name in ("psi", "tau", "gap", "residual", "dual_residual", "uncertainty"):
        assert torch.isfinite(getattr(limit, name)).all(), name
    reduced = problem.reduced()
    scale = torch.linalg.vector_norm(reduced.y)
    for row, status in enumerate(limit.status):
        if status is Status.CONVERGED:
            assert float(limit.residual[row]) <= 1e-10
            assert float(limit.dual_residual[row]) <= 1e-10
            # The same, in plain torch, with the rounding that the size of A and ψ makes unavoidable.
            floor = 1e-15 * float((reduced.A.abs() @ limit.psi[row].abs()).max())
            assert float(torch.linalg.vector_norm(reduced.residual(limit.psi[row]))) <= 1e-10 * float(scale) + floor
        else:
            assert status is Status.BELOW_INPUT_PRECISION
            assert limit.reason[row]


@settings(deadline=None, max_examples=150, derandomize=True)
@given(any_case())
def test_any_problem(case):
    check_any(case)


@pytest.mark.slow
@settings(deadline=None, max_examples=1000, derandomize=True)
@given(any_case())
def test_a_thousand_problems(case):
    check_any(case)


@pytest.mark.parametrize(("p", "alpha"), [(2.0, 1e160), (3.0, 1e150), (50.0, 1e300)])
def test_alpha_above_the_range_of_float64_is_the_minimum_norm_solution_and_said(p, alpha):
    problem = problems.paper_random()
    limit = flow_limit(problem, p, [alpha, 0.1])
    assert limit.status == (Status.BELOW_INPUT_PRECISION, Status.CONVERGED)
    assert "out of the range of float64; psi is given for alpha^p = 10^300" in limit.reason[0]
    assert torch.allclose(limit.psi[0], torch.linalg.pinv(problem.A) @ problem.y, rtol=1e-12, atol=1e-12)
    assert torch.allclose(limit.psi[1], flow_limit(problem, p, 0.1).psi, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("alpha", [[1e-3, 1e150, 1e150, 1e200, 1], [1e-300, 1e300, 1, 1e-200, 1e200]])
def test_alpha_spread_over_hundreds_of_decades_is_a_failure_without_a_nan(alpha: list[float]) -> None:
    problem = problems.gaussian(2, 5, 0)
    limit = flow_limit(problem, 3, alpha, per_coordinate=True)
    assert limit.status is not Status.CONVERGED
    assert limit.reason
    for values in (limit.psi, limit.tau, limit.gap, limit.residual, limit.dual_residual, limit.uncertainty):
        assert bool(torch.isfinite(values).all())


@pytest.mark.parametrize("p", [2, 3, 7.3])
def test_data_and_alpha_near_the_smallest_floats_end_with_a_status(p):
    problem = problems.gaussian(3, 6, 0)
    limit = flow_limit(Problem(problem.A, problem.y * 1e-200), p, 1e-300)
    assert limit.status is not Status.CONVERGED
    assert bool(torch.isfinite(limit.psi).all())


@pytest.mark.parametrize(("p", "scale"), [(3, 1e290), (7.3, 1e200), (50, 1e200)])
def test_data_near_the_largest_floats_warn_of_nothing(p, scale):
    """Warnings are errors here. ψ_α(∞) of (A, cy) is c times that of (A, y) from α c^{−1/p}."""
    problem = problems.gaussian(3, 6, 0)
    large, small = flow_limit(Problem(problem.A, problem.y * scale), p, 1.0), flow_limit(problem, p, scale ** (-1 / p))
    assert torch.allclose(large.psi / scale, small.psi, rtol=1e-10, atol=1e-15)
    assert math.isclose(float(large.uncertainty), float(small.uncertainty), rel_tol=10)
