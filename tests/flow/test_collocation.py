"""The package's own integrator: ψ against quadrature in many digits, other integrators, closed forms, and itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import dlntorch as dln
from dlntorch.flow.cell_kernels import change_sides
from dlntorch.flow.cells import make_cell
from dlntorch.flow.collocation import Integrator
from dlntorch.flow.compiled import integrate_cells
from dlntorch.flow.integrate import flow_path
from dlntorch.flow.many import integrate_flows
from dlntorch.flow.radau import tableau
from dlntorch.flow.stages import StageSolver
from dlntorch.flow.symmetric import factor, substitute
from dlntorch.flow.torchdiffeq_method import GradientFlow, odeint
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError
from dlntorch.problem import make_problem
from tests import problems
from tests.flow.one_row import mixed, moment

ROW = [1.0, 0.5]


def gap(psi: torch.Tensor, exact: np.ndarray) -> float:
    """Largest error relative to the largest |ψ|."""
    return float(np.abs(psi.numpy() - exact).max() / np.abs(exact).max())


# -- accuracy of ψ ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "alpha"), [(2, 1e-4), (2.5, 1e-2), (3, 1e-3), (4, 1e-2), (4, 1e-3), (6, 0.03), (12, 0.3)]
)
def test_psi_is_right_inside_a_jump(p: float, alpha: float) -> None:
    """Where ψ₁ is half its limit, and one rounding of t moves ψ by up to 1e-10 (other methods: 1e-7 to 1e-2)."""
    exact = moment(ROW, 1.0, p, alpha, part=0.5)
    path = dln.integrate_flow(dln.Problem([ROW], [1.0]), p, alpha, [0.5 * exact.t, exact.t, 50 * exact.t])
    assert path.status is Status.MAX_TIME
    assert path.reason == ""
    assert gap(path.psi[1], exact.psi) < 1e-9
    assert gap(path.psi[2], exact.limit) < 1e-9


@pytest.mark.parametrize(
    ("p", "alpha", "y"),
    [(3, 1.0, 2.0**-20), (3, 1.0, 2.0**-40), (3, 1.0, 2.0**-50), (3, 3.6, 1.0), (2, 1e3, 1.0), (2, 1e6, 1.0),
     (3, 1e6, -1.0), (4, 1e6, 1.0), (2.5, 1e3, 1.0)],
)  # fmt: skip
def test_psi_is_right_in_the_kernel_regime(p: float, alpha: float, y: float) -> None:
    """ψ ≪ α^p has its own digits, from the first times to the last."""
    problem = dln.Problem([ROW], [y])
    for part in (1e-3, 0.9):
        exact = moment(ROW, y, p, alpha, part=part)
        path = dln.integrate_flow(problem, p, alpha, [exact.t, 1e3 * exact.t])
        assert gap(path.psi[0], exact.psi) < 1e-10
        assert part < 0.1 or gap(path.psi[1], exact.limit) < 1e-10


def test_many_rows_at_large_alpha_are_a_matrix_exponential() -> None:
    """At α = 1e6, p = 2, D = 8α² to 1e-24: ψ = A⁺(1 − exp(−8α² A Aᵀ t)) y."""
    problem, alpha = problems.gaussian(4, 9, 3), 1e6
    A, y = problem.A.numpy(), problem.y.numpy()
    values, vectors = np.linalg.eigh(A @ A.T)
    t = np.array([1e-3, 0.3, 1.0, 20.0]) / (8 * alpha**2)
    path = dln.integrate_flow(problem, 2, alpha, t)
    for time, psi in zip(t, path.psi, strict=True):
        factors = -np.expm1(-8 * alpha**2 * values * time) / values
        assert gap(psi, A.T @ (vectors @ (factors * (vectors.T @ y)))) < 1e-10


@pytest.mark.parametrize(("p", "alpha"), [(3, 1e-2), (4, 3e-2)])
def test_each_row_of_an_orthogonal_mixture_flows_on_its_own(p: float, alpha: float) -> None:
    """Four rows, whose jumps come one after the other: each in its middle, beside others at rest or yet to come."""
    rows, values = [[1.0, 0.5], [0.75, -1.0], [0.5, 0.25], [1.0, 0.125]], [1.0, 1.0, 0.5, -0.75]
    A, y = mixed(rows, values)
    exact = [moment(row, value, p, alpha, part=0.5) for row, value in zip(rows, values, strict=True)]
    order = np.argsort([at.t for at in exact])
    path = dln.integrate_flow(dln.Problem(A, y), p, alpha, np.array([at.t for at in exact])[order] / 4)  # H Hᵀ = 4
    for row, psi in zip(order, path.psi.numpy(), strict=True):
        assert np.abs(psi[2 * row : 2 * row + 2] - exact[row].psi).max() < 1e-9 * np.abs(psi).max()


def test_what_one_rounding_of_t_decides_is_said() -> None:
    """p = 6, α = 1e-3: the jump takes a part 1e-12 of t, and ψ in it has four digits."""
    exact = moment(ROW, 1.0, 6, 1e-3, part=0.5)
    path = dln.integrate_flow(dln.Problem([ROW], [1.0]), 6, 1e-3, [exact.t, 2 * exact.t])
    assert path.status is Status.MAX_TIME
    assert "is known to" in path.reason
    assert "one rounding of t" in path.reason
    said = float(path.reason.split("known to ")[1].split()[0])
    assert 1e-5 < said < 1e-2
    assert gap(path.psi[0], exact.psi) < 10 * said
    assert gap(path.psi[1], exact.limit) < 1e-9


def test_unequal_starts_in_many_digits() -> None:
    plus, minus = [0.01, 0.02], [0.03, 0.005]
    problem, start = dln.Problem([ROW], [1.0]), dln.Initialization(plus, minus)
    for p in (2, 2.5, 3, 4):
        exact = moment(ROW, 1.0, p, plus, minus, part=0.5)
        path = dln.integrate_flow(problem, p, start, [exact.t])
        assert gap(path.psi[0], exact.psi) < 1e-9


# -- other parametrizations and starts --------------------------------------------------------------------------------


class Sinh(dln.Parametrization):
    width = 1

    def value(self, theta):
        return torch.sinh(theta[0])

    def slope(self, theta):
        return torch.cosh(theta)

    def start(self, alpha, n):
        return torch.zeros(1, n, dtype=torch.float64)


class Cubic(dln.Parametrization):
    """Depth 3 as a user would write it, without closed forms."""

    width = 2
    positive = True

    def value(self, theta):
        return theta[0] ** 3 - theta[1] ** 3

    def slope(self, theta):
        return torch.stack([3 * theta[0] ** 2, -3 * theta[1] ** 2])

    def start(self, alpha, n):
        return torch.full((2, n), float(alpha), dtype=torch.float64)


def on_theta(problem: dln.Problem, G: dln.Parametrization, start: torch.Tensor, t: np.ndarray) -> np.ndarray:
    """ψ from the flow of θ itself, by an explicit method of order 8."""

    def velocity(_, flat):
        theta = torch.from_numpy(flat.reshape(start.shape))
        return (G.slope(theta) * (problem.A.mT @ (problem.y - problem.A @ G.value(theta)))).numpy().reshape(-1)

    found = solve_ivp(
        velocity, (0, t[-1]), start.numpy().reshape(-1), method="DOP853", t_eval=t, rtol=1e-13, atol=1e-16
    )
    return np.stack([G.value(torch.from_numpy(column.reshape(start.shape).copy())).numpy() for column in found.y.T])


def starts(plus: tuple[float, float], minus: tuple[float, float]) -> dln.Initialization:
    rng = np.random.default_rng(5)
    return dln.Initialization(rng.uniform(*plus, 6), rng.uniform(*minus, 6))


CASES = [
    (dln.Power(2), starts((0.1, 0.3), (0.1, 0.5))),
    (dln.Power(2.7), starts((0.1, 0.3), (0.1, 0.5))),
    (dln.Power(3), starts((0.1, 0.3), (0.1, 0.5))),
    (dln.Power(4), starts((0.3, 0.4), (0.1, 0.5))),
    (dln.Power(3), dln.Initialization.warm([0.5, -0.3, 0, 0, 1e-6, 0.2], 0.1, 3)),
    (dln.Nonnegative(2), 0.2),
    (dln.Nonnegative(3), starts((0.1, 0.4), (0.1, 0.1)).plus),
    (dln.Product(2), 0.1),
    (dln.Product(2), starts((0.1, 0.3), (0.0, 0.5))),
    (dln.Product(3), 0.3),
    (dln.Product(3), starts((0.1, 0.3), (0.0, 0.5))),
    (dln.Product(4), 0.4),
    (dln.Product(4), starts((0.2, 0.4), (0.0, 0.5))),
    (dln.Product(5), 0.5),
    (Sinh(), 1.0),
    (Cubic(), 0.2),
]


@pytest.mark.parametrize(("G", "alpha"), CASES, ids=lambda value: str(value)[:24])
def test_every_parametrization_flows_as_its_theta_does(G: dln.Parametrization, alpha) -> None:
    problem, t = problems.gaussian(3, 6, 1), np.array([0.1, 1.0, 3.0])
    alpha = dln.Initialization(alpha) if isinstance(alpha, torch.Tensor) else alpha
    theta = G.start_from(alpha, 6) if isinstance(alpha, dln.Initialization) else G.start(alpha, 6)
    exact = on_theta(problem, G, theta, t)
    path = flow_path(problem, G, alpha, np.concatenate([[0.0], t]))
    assert path.status is Status.MAX_TIME
    assert torch.allclose(path.psi[0], G.value(theta), rtol=1e-14, atol=0)
    assert torch.allclose(path.theta[0], theta, rtol=1e-12, atol=1e-300)
    for psi, at_theta, expected in zip(path.psi[1:], path.theta[1:], exact, strict=True):
        assert gap(psi, expected) < 1e-10
        assert gap(G.value(at_theta), expected) < 1e-10


def test_a_parametrization_without_closed_forms_is_as_accurate_in_a_jump() -> None:
    exact = moment(ROW, 1.0, 3, 1e-2, part=0.5)
    path = dln.integrate_flow(dln.Problem([ROW], [1.0]), Cubic(), 1e-2, [exact.t])
    assert gap(path.psi[0], exact.psi) < 1e-9


def test_a_start_at_rest_stays_there() -> None:
    with pytest.warns(UserWarning, match="not over-parameterised"):
        problem = dln.Problem(np.eye(3), [0.0, 0.0, 0.0])
    assert not bool(dln.integrate_flow(problem, 3, 0.1, [0.0, 1.0, 1e9]).psi.any())


def test_psi_decays_where_y_is_zero() -> None:
    """Product(2) from (1, 1): ψ̇ = −2ψ² … the residual falls, and ψ keeps its digits while it does."""
    with pytest.warns(UserWarning, match="not over-parameterised"):
        problem = dln.Problem([[1.0]], [0.0])
    t = np.array([0.1, 1.0, 10.0])
    # u₁ = u₂ = u: u̇ = −u³, ψ = u² = 1/(1 + 2t)
    path = dln.integrate_flow(problem, dln.Product(2), dln.Initialization(1.0, 1.0), t)
    assert np.abs(path.psi[:, 0].numpy() * (1 + 2 * t) - 1).max() < 1e-9


# -- problems of every kind -------------------------------------------------------------------------------------------


def test_scales_of_rows_do_not_matter() -> None:
    """The flow depends on A, but rows of very different size are integrated as accurately: against 40 times the digits."""
    A, y = mixed([[1.0, 0.5], [2.0**-13, 2.0**-14]], [1.0, 2.0**-13])
    problem = dln.Problem(np.diag([1.0, 1.0]) @ A, y)
    alpha, p = 0.1, 3
    for part in (0.5, 0.9):
        late = moment([2.0**-13, 2.0**-14], 2.0**-13, p, alpha, part=part)
        first = moment([1.0, 0.5], 1.0, p, alpha, part=0.9).limit
        path = dln.integrate_flow(problem, p, alpha, [late.t / 2])
        assert gap(path.psi[0], np.concatenate([first, late.psi])) < 1e-8


def test_times_do_not_disturb_each_other() -> None:
    """Thousands of outputs, few outputs and one at a time give the same ψ, and cost no step each."""
    problem, p, alpha = problems.gaussian(4, 9, 2), 3, 1e-2
    many = np.geomspace(0.01, 100, 3001) / alpha
    path = dln.integrate_flow(problem, p, alpha, many, rtol=1e-9)
    few = dln.integrate_flow(problem, p, alpha, many[::300], rtol=1e-9)
    assert len(path) == 3001
    difference = (path.psi[::300] - few.psi).abs().amax(dim=1) / few.psi.abs().amax(dim=1)
    assert float(difference.max()) < 1e-7
    assert path.evaluations is not None
    assert path.evaluations < 40_000
    alone = dln.integrate_flow(problem, p, alpha, many[1500], rtol=1e-9)
    assert gap(path.psi[1500], alone.psi[0].numpy()) < 1e-7


@pytest.mark.parametrize("rtol", [1e-4, 1e-7, 1e-10])
@pytest.mark.parametrize(("p", "alpha"), [(2, 1e-3), (3, 1e-2), (4, 1e-1)])
def test_the_result_is_within_a_hundred_times_the_tolerance(p: float, alpha: float, rtol: float) -> None:
    problem = problems.gaussian(5, 12, 4)
    t = np.geomspace(0.05, 50, 60) * alpha ** (2 - p) * (5 if p == 2 else 1)
    best = dln.integrate_flow(problem, p, alpha, t, rtol=1e-13)
    path = dln.integrate_flow(problem, p, alpha, t, rtol=rtol)
    error = (path.psi - best.psi).abs().amax(dim=1) / best.psi.abs().amax(dim=1)
    assert float(error.max()) < 100 * rtol


@pytest.mark.parametrize("G", [dln.Power(2.5), dln.Product(3), Sinh()])
def test_a_stop_and_a_budget(G: dln.Parametrization) -> None:
    problem = problems.paper_random()
    path = dln.integrate_flow(problem, G, 0.3, [0.5, 2.0, 1e3], stop_residual=1e-4)
    assert path.status is Status.CONVERGED
    assert float(problem.relative_residual(path.final())) == pytest.approx(1e-4, rel=1e-9)
    spent = dln.integrate_flow(problem, G, 0.3, [1e-3, 1e3], max_evaluations=150)
    assert spent.status is Status.MAX_STEPS
    assert "budget of 150" in spent.reason
    assert spent.t.tolist() == [1e-3]


def test_a_budget_of_nothing_leaves_the_start() -> None:
    path = dln.integrate_flow(problems.line(), 3, 0.1, [0.0, 1.0], max_evaluations=1)
    assert path.status is Status.MAX_STEPS
    assert path.t.tolist() == [0.0]
    assert len(dln.integrate_flow(problems.line(), 3, 0.1, [1.0], max_evaluations=1)) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": dln.Initialization(0.1, 0.2), "method": "LSODA"}, "method must be RadauIIA, with coordinates=dual"),
        ({"p": dln.Product(3), "coordinates": "theta"}, "method must be RadauIIA, with coordinates=dual"),
        ({"method": "RadauIIA", "coordinates": "theta"}, "method must be another with coordinates=theta"),
        ({"alpha": dln.Initialization([0.1, 0.2])}, "alpha must have 3 entries"),
        ({"alpha": [0.1, 0.2, 0.3]}, "alpha must be a finite real number"),
        ({"p": dln.Nonnegative(3), "alpha": dln.Initialization(0.1, 0.2)}, "alpha must have no theta_minus"),
        ({"p": Sinh(), "alpha": dln.Initialization(0.1)}, "alpha must be a number with Sinh"),
        ({"p": "three"}, "p must be a finite real number >= 2"),
    ],
)
def test_bad_input(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        dln.integrate_flow(problems.line(), **{"p": 3, "alpha": 0.1, "t": 1.0, **options})
    assert "\n" not in str(error.value)


# -- its parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stages", [3, 5, 7])
def test_the_coefficients_are_those_of_radau(stages: int) -> None:
    t = tableau(stages)
    a = np.linalg.inv(t.inverse)
    for q in range(1, 2 * stages):
        assert a[-1] @ t.nodes ** (q - 1) == pytest.approx(1 / q, rel=1e-12)
    for q in range(1, stages + 1):
        assert a @ t.nodes ** (q - 1) == pytest.approx(t.nodes**q / q, rel=1e-11)
    again = np.real(t.from_modes @ (t.eigenvalues[:, None] * t.to_modes))
    assert again == pytest.approx(t.inverse, rel=1e-9, abs=1e-9)
    x = np.array([0.0, 0.3, 1.0, 1.7])
    assert t.interpolation(x) @ t.nodes**stages == pytest.approx(x**stages, rel=1e-10, abs=1e-14)
    if stages == 3:  # Hairer and Wanner, table 5.6
        root = np.sqrt(6)
        assert t.nodes == pytest.approx([(4 - root) / 10, (4 + root) / 10, 1])
        assert a[0, 0] == pytest.approx((88 - 7 * root) / 360)


@pytest.mark.parametrize("G", [dln.Power(2), dln.Power(2.5), dln.Power(3), dln.Power(4), dln.Nonnegative(3)], ids=str)
@pytest.mark.parametrize("stop", [None, 1e-3])
def test_the_compiled_integration_is_the_one_in_numpy(G: dln.Parametrization, stop: float | None) -> None:
    """Two linear algebras (symmetric in real arithmetic, LU in complex), one set of rules: the same steps.

    At rtol = 1e-11 what is promised of either, 100 rtol, is below what is compared: one step more or less may move ψ so far.
    """
    problem, t = problems.gaussian(5, 11, 0), np.geomspace(0.01, 30.0, 40)
    A, y = problem.A.numpy(), problem.y.numpy()
    level = None if stop is None else stop * float(np.linalg.norm(y))
    plain = Integrator(A, y, make_cell(G, G.start(0.1, 11)), 1e-11, 1.0, stop_norm=level).integrate(t)
    (found,) = integrate_cells(
        A[None], y[None], [make_cell(G, G.start(0.1, 11))], t[None], np.ones(1), rtol=1e-11,
        stop_norms=None if level is None else np.array([level]),
    )  # fmt: skip
    assert found.status is plain.status
    assert abs(found.steps - plain.steps) <= 2
    for one, other in ((found.psi[0], np.concatenate(plain.psi)), (found.theta[0], np.concatenate(plain.theta))):
        assert one == pytest.approx(other, rel=1e-8, abs=1e-9 * np.abs(other).max())
    assert found.times[0] == pytest.approx(np.concatenate(plain.times), rel=1e-9)


def test_large_systems_are_factored_in_blocks() -> None:
    """LDLᵀ of a complex symmetric matrix of 120 columns, graded over 30 decades, against LU in complex arithmetic."""
    rng = np.random.default_rng(0)
    grades = 10.0 ** rng.uniform(-15, 15, 120)
    M, K = (part @ part.T for part in (rng.standard_normal((120, 120)), rng.standard_normal((120, 60))))
    matrix = (3.0 + 4.0j) * M + 10 * K
    right = rng.standard_normal(120) + 1j * rng.standard_normal(120)
    graded = grades[:, None] * matrix * grades
    real, imag = np.ascontiguousarray(graded.real), np.ascontiguousarray(graded.imag)
    x, z = np.real(grades * right).copy(), np.imag(grades * right).copy()
    assert factor(real, imag, np.empty((2, 120)))
    substitute(real, imag, x, z)
    assert grades * (x + 1j * z) == pytest.approx(np.linalg.solve(matrix, right), rel=1e-8, abs=1e-8)


def test_a_step_beyond_the_pole_is_refused_by_both() -> None:
    problem, G = problems.gaussian(5, 11, 0), dln.Power(3)
    solver = StageSolver(problem.A.numpy(), make_cell(G, G.start(1e-3, 11)), tableau(5))
    velocity = solver.velocity(problem.y.numpy())
    h = 20 / float((solver.cell.rate() * np.abs(solver.B @ velocity)).max())
    assert solver.solve(h, np.zeros((5, 5)), velocity, solver.cell.slope(), np.full(11, 1e-10)) is None
    change, steps = np.empty((1, 11)), (h * solver.B @ velocity)[None]
    cell = make_cell(G, G.start(1e-3, 11))
    change_sides(cell.curves, cell.sides, steps, change)
    assert not np.isfinite(change).all()


@pytest.mark.parametrize("size", [1e-300, 1e-20, 1e-8, 0.3, 0.5, 7.0, 29.9, 31.0, 690.0])
def test_the_exponential_s_change_has_all_digits(size: float) -> None:
    start = np.array([[0.3] * 4, [0.2] * 4])
    cell = make_cell(dln.Power(2), torch.from_numpy(start))
    steps = size / 4 * np.array([[1.0, -1.0, 0.37, -0.83]])
    exact = 0.09 * np.expm1(4 * steps) - 0.04 * np.expm1(-4 * steps)
    assert cell.change(steps) == pytest.approx(exact, rel=2e-15 if size < 30 else 1e-13, abs=0)


def test_the_descent_at_large_alpha_is_as_far_from_the_flow_as_it_is() -> None:
    """p = 2, α = 1e4: the flow is a matrix exponential, from which the run's ψ is 3.5e-6 away (and not 0.27)."""
    problem = problems.line()
    run = dln.train(problem, 2, 1e4, kappa=1e-3, tol=1e-6, max_steps=1000)
    A, y = problem.A.numpy(), problem.y.numpy()
    values, vectors = np.linalg.eigh(A @ A.T)
    psi = A.T @ (vectors @ (-np.expm1(-8e8 * values * run.summary["time"]) / values * (vectors.T @ y)))
    truth = float(np.linalg.norm(run.psi.numpy() - psi))
    assert run.summary["budget"]["discretization"] == pytest.approx(truth, rel=1e-6)
    assert truth == pytest.approx(3.5e-6, rel=0.02)


def test_the_descent_at_alpha_of_some_size_too() -> None:
    """p = 3, α = 3.6: against ν̇ = Aᵀ(y − AΨ(ν)) by an explicit method of order 8."""
    problem, alpha = problems.line(), 3.6
    run = dln.train(problem, 3, alpha, kappa=1e-2, tol=1e-8)
    A, y, c = problem.A.numpy(), problem.y.numpy(), 3 * alpha

    def psi(nu):
        return 2 * alpha**3 * np.sinh(3 * np.arctanh(c * nu)) * (1 - (c * nu) ** 2) ** -1.5

    flow = solve_ivp(
        lambda _, nu: A.T @ (y - A @ psi(nu)), (0, run.summary["time"]), np.zeros(3), "DOP853", rtol=1e-13, atol=1e-18
    )
    truth = float(np.linalg.norm(run.psi.numpy() - psi(flow.y[:, -1])))
    assert run.summary["budget"]["discretization"] == pytest.approx(truth, rel=1e-6)


def test_the_integrator_needs_no_outputs_to_be_right() -> None:
    """An integration to one time and one with a hundred outputs on the way end within the tolerance of each other."""
    problem, G = problems.gaussian(4, 9, 1), dln.Power(3)
    ends = []
    for times in (np.array([500.0]), np.linspace(5.0, 500.0, 100)):
        cell = make_cell(G, G.start(1e-2, 9))
        integrator = Integrator(problem.A.numpy(), problem.y.numpy(), cell, 1e-11, 1.0)
        ends.append(np.concatenate(integrator.integrate(times).psi)[-1])
    assert np.abs(ends[0] - ends[1]).max() < 1e-10 * np.abs(ends[0]).max()


# -- many networks, and torchdiffeq's interface -----------------------------------------------------------------------


def test_many_networks_are_each_on_its_own() -> None:
    """Starts, data, or both differ, also in shape and rank; outputs and stops as for one."""
    t = [0.5, 20.0, 300.0]
    several = [problems.gaussian(4, 9, seed) for seed in range(3)] + [problems.gaussian(3, 5, 7)]
    starts = [1e-1, 1e-2, dln.Initialization(0.1, 0.2), 0.3]
    for G in (dln.Power(2), dln.Power(3), dln.Product(2), dln.Product(3)):
        alphas = starts if isinstance(G, dln.Power) else [0.1, 0.2, 0.3, 0.4]
        for data, begin in ((several, alphas), (several[0], alphas), (several, alphas[1])):
            found = integrate_flows(data, G, begin, t, rtol=1e-8, stop_residual=1e-3)
            for index, path in enumerate(found):
                problem = data if isinstance(data, dln.Problem) else data[index]
                alpha = begin if isinstance(begin, float) else begin[index]
                alone = dln.integrate_flow(problem, G, alpha, t, rtol=1e-8, stop_residual=1e-3)
                assert path.status is alone.status
                assert torch.equal(path.psi, alone.psi)
                assert torch.equal(path.t, alone.t)


def test_many_networks_of_different_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="alphas must be one start, or one for each problem, got 2 for 3 problems"):
        integrate_flows([problems.line()] * 3, 2, [0.1, 0.2], [1.0])


@pytest.mark.parametrize("G", [dln.Power(2), dln.Power(3), dln.Product(3), Sinh()], ids=str)
def test_torchdiffeq_has_the_integrator_as_a_method(G: dln.Parametrization) -> None:
    """The same field by torchdiffeq's own explicit method of order 8, from a start in the middle of a path."""
    problem, t = problems.gaussian(3, 6, 1), torch.tensor([2.0, 2.5, 4.0, 7.0], dtype=torch.float64)
    field, start = GradientFlow(problem, G), G.start(0.3, 6)
    on_time = {"step_t": t[1:]}  # its dense output has a lower order
    by_theirs: torch.Tensor = odeint(field, start, t, method="dopri8", rtol=1e-11, atol=1e-13, options=on_time)  # type: ignore[assignment]
    by_ours: torch.Tensor = odeint(field, start, t, method="RadauIIA", rtol=1e-10)  # type: ignore[assignment]
    assert torch.allclose(by_ours, by_theirs, rtol=1e-8, atol=1e-9)
    assert torch.equal(by_ours[0], start)


def test_torchdiffeq_is_told_what_the_method_cannot() -> None:
    field, start = GradientFlow(problems.line(), 3), torch.full((2, 3), 0.1, dtype=torch.float64)
    with pytest.raises(InputError, match="needs func to be a GradientFlow"):
        odeint(lambda t, x: -x, start, torch.tensor([0.0, 1.0]), method="RadauIIA")
    with pytest.raises(InputError, match="and t to increase"):
        odeint(field, start, torch.tensor([1.0, 0.0]), method="RadauIIA")


# -- without a matrix -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "p", "alpha"), [("partial_cosine", 2, 1e-3), ("sparse_csr", 3, 1e-2), ("partial_fourier", 4, 1e-1)]
)
def test_operators_flow_as_their_matrices_do(name: str, p: float, alpha: float) -> None:
    """Conjugate gradients against factors, and a stop; ψ within a hundred times the tolerance."""
    problem = make_problem(name, m=12, n=40, nonzeros=3)
    t = np.geomspace(0.05, 20, 12) * alpha ** (2 - p) * (10 if p == 2 else 1)
    found = dln.integrate_flow(problem, p, alpha, t, rtol=1e-8, stop_residual=1e-3)
    best = dln.integrate_flow(problem.to_dense(), p, alpha, t, rtol=1e-12, stop_residual=1e-3)
    assert found.status is best.status
    assert len(found) == len(best)
    assert found.t.numpy() == pytest.approx(best.t.numpy(), rel=1e-5)
    before = min(len(found), len(t)) - 1
    error = (found.psi - best.psi)[:before].abs().amax(dim=1) / best.psi[:before].abs().amax(dim=1)
    assert float(error.max()) < 1e-6
    assert found.loss.numpy() == pytest.approx(best.loss.numpy(), rel=1e-4, abs=1e-14)


class Rows:
    """A map known by its products alone."""

    def __init__(self, A: torch.Tensor) -> None:
        self.A, self.shape = A, tuple(A.shape)

    def matvec(self, x):
        return x @ self.A.mT

    def rmatvec(self, r):
        return r @ self.A


@pytest.mark.parametrize("G", [dln.Product(2), dln.Product(3), Sinh()], ids=str)
def test_every_parametrization_flows_without_a_matrix(G: dln.Parametrization) -> None:
    problem, t = problems.gaussian(3, 6, 1), [0.1, 1.0, 3.0]
    found = dln.integrate_flow(dln.Problem(Rows(problem.A), problem.y), G, 0.3, t, rtol=1e-9)
    assert gap(found.psi, dln.integrate_flow(problem, G, 0.3, t).psi.numpy()) < 1e-8


def test_a_slack_below_rounding_is_said_without_a_matrix() -> None:
    """p = 6, α = 1e-3: slacks of 1e-12. What is reached is right, and the rest is not given."""
    problem = problems.gaussian(6, 15, 0)
    t = np.geomspace(0.05, 50, 30) * 1e12
    found = dln.integrate_flow(dln.Problem(Rows(problem.A), problem.y), 6, 1e-3, t, rtol=1e-8)
    assert found.status is Status.FAILED
    assert "no step is short enough" in found.reason
    assert len(found) < len(t)


def test_without_a_matrix_there_is_one_method() -> None:
    with pytest.raises(
        InputError, match="method must be RadauIIA, with coordinates=dual, without a matrix, got method=LSODA"
    ):
        dln.integrate_flow(make_problem("partial_cosine", m=5, n=10), 3, 0.1, [1.0], method="LSODA")
