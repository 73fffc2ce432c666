"""The continuous flow: two coordinate systems, explicit and implicit methods, events, budgets and bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from dlntorch.flow.integrate import flow_path, integrate_flow
from dlntorch.flow.scipy_solver import Session
from dlntorch.model.dual import DualField, DualState, psi_of_nu, relaxation_time, theta_of_nu, theta_of_psi
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem
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


@pytest.mark.parametrize(("p", "alpha"), [(2, 1e-3), (2.5, 1e-2), (3, 1e-3), (4, 1e-3)])
def test_the_flow_ends_at_its_limit(p: float, alpha: float) -> None:
    from dlntorch.limit.flow_limit import flow_limit

    problem = problems.paper_random()
    limit = flow_limit(problem, p, alpha).psi
    path = integrate_flow(problem, p, alpha, np.array([0.0, 1.0, 1e2, 1e12]) * alpha ** (2 - p))
    assert path.status is Status.MAX_TIME
    assert float(path.psi[0].abs().max()) == 0.0
    assert float((path.final() - limit).abs().max()) < 1e-10 * float(limit.abs().max())


@pytest.mark.slow
@pytest.mark.parametrize(("p", "alpha"), [(3, 1e-3), (4, 1e-2)])
def test_slow_relaxation_is_followed_to_the_limit(p: float, alpha: float) -> None:
    """Fewer nonzeros than equations: the flow takes about 1e7 α^{2−p}, the time that ``relaxation_time`` announces."""
    from dlntorch.limit.flow_limit import flow_limit

    problem = problems.gaussian(10, 30, 1, nonzeros=3)
    limit = flow_limit(problem, p, alpha).psi
    slowest = relaxation_time(problem, p, alpha, limit)
    assert 1e5 * alpha ** (2 - p) < slowest < 1e9 * alpha ** (2 - p)
    path = integrate_flow(problem, p, alpha, [0.1 * slowest, slowest, 40 * slowest])
    gaps = (path.psi - limit).abs().amax(dim=1) / limit.abs().max()
    assert gaps[0] > 1e-9
    assert gaps[2] < 1e-11


def test_a_problem_with_one_row_in_closed_form() -> None:
    """n = m = 1 (A = 1), p = 2: ψ̇ = 4√(ψ² + 4α⁴)(y − ψ), integrated independently by scipy."""
    alpha, y = 0.05, 0.8
    exact = solve_ivp(
        lambda _, x: 4 * np.sqrt(x * x + 4 * alpha**4) * (y - x),
        (0, 3),
        [0.0],
        t_eval=[0.5, 1.0, 3.0],
        rtol=1e-12,
        atol=1e-14,
        method="DOP853",
    )
    with pytest.warns(UserWarning, match="not over-parameterised"):
        problem = Problem([[1.0]], [y])
    path = integrate_flow(problem, 2, alpha, exact.t)
    assert path.psi[:, 0].numpy() == pytest.approx(exact.y[0], rel=1e-8)
    assert path.loss.numpy() == pytest.approx(0.5 * (exact.y[0] - y) ** 2, rel=1e-6)


@pytest.mark.parametrize("method", ["LSODA", "Radau", "BDF", "dopri5", "dopri8", "bosh3"])
def test_methods_agree_on_a_short_horizon(method: str) -> None:
    problem, p, alpha = problems.paper_random(), 3, 0.2
    t = [0.5, 1.0, 4.0]
    best = integrate_flow(problem, p, alpha, t)
    path = integrate_flow(problem, p, alpha, t, rtol=1e-8, method=method)
    assert path.status is Status.MAX_TIME
    assert relative_gap(path, best) < 1e-5


@pytest.mark.parametrize("make", [problems.line, problems.plane, problems.paper_random])
def test_evaluations(make) -> None:
    path = integrate_flow(make(), 3, 1e-3, 100 / 1e-3, rtol=1e-8)
    assert path.evaluations is not None
    assert path.evaluations <= 5000


@pytest.mark.slow
@pytest.mark.parametrize("nonzeros", [None, 3])
def test_evaluations_on_gaussian_problems(nonzeros: int | None) -> None:
    path = integrate_flow(problems.gaussian(10, 30, 0 if nonzeros is None else 1, nonzeros), 3, 1e-3, 1e5, rtol=1e-8)
    assert path.evaluations is not None
    assert path.evaluations <= 5000


def test_looser_tolerances_cost_less_and_err_more() -> None:
    problem, p, alpha = problems.gaussian(4, 9, 2), 3, 1e-2
    paths = [integrate_flow(problem, p, alpha, times(p, alpha), rtol=rtol) for rtol in (1e-4, 1e-7, 1e-12)]
    assert paths[0].evaluations < paths[1].evaluations < paths[2].evaluations
    assert relative_gap(paths[1], paths[2]) < 1e-4
    assert relative_gap(paths[1], paths[2]) < relative_gap(paths[0], paths[2])


@pytest.mark.parametrize(
    ("coordinates", "method"), [("dual", "BDF"), ("dual", "LSODA"), ("theta", "LSODA"), ("dual", "dopri5")]
)
def test_stop_at_a_residual(coordinates: str, method: str) -> None:
    problem, p, alpha, t = problems.paper_random(), 3, 0.2, [0.5, 2.0, 100.0]
    path = integrate_flow(problem, p, alpha, t, coordinates=coordinates, method=method, rtol=1e-9, stop_residual=1e-3)
    assert path.status is Status.CONVERGED
    assert len(path) == 3
    assert 2.0 < float(path.t[-1]) < 100
    assert float(problem.relative_residual(path.final())) == pytest.approx(1e-3, rel=1e-5)
    again = integrate_flow(problem, p, alpha, path.t.numpy())
    assert relative_gap(path, again) < 1e-5


def test_stop_before_the_first_time_and_at_the_start() -> None:
    problem = problems.paper_random()
    early = integrate_flow(problem, 3, 0.2, [1e3], stop_residual=0.5)
    assert len(early) == 1
    assert float(early.t[0]) < 10
    at_once = integrate_flow(problem, 3, 0.2, [1.0, 2.0], stop_residual=1.0)
    assert at_once.status is Status.CONVERGED
    assert at_once.t.tolist() == [0.0]


@pytest.mark.parametrize(("method", "budget"), [("BDF", 300), ("LSODA", 100), ("dopri5", 3000)])
def test_a_spent_budget_is_a_status_and_keeps_what_was_reached(method: str, budget: int) -> None:
    problem, p, alpha = problems.paper_random(), 3, 1e-2
    path = integrate_flow(problem, p, alpha, [1.0, 1e7], method=method, max_evaluations=budget, rtol=1e-9)
    assert path.status is Status.MAX_STEPS
    assert f"budget of {budget}" in path.reason
    assert path.t.tolist() == [1.0]
    assert bool(torch.isfinite(path.psi).all())


def test_a_step_that_underflows_is_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchdiffeq reports it by an assertion, which must not reach the user."""

    def underflow(*_, **__):
        raise AssertionError("underflow in dt 1e-17")

    monkeypatch.setattr("torchdiffeq.odeint", underflow)
    path = integrate_flow(problems.paper_random(), 4, 1e-3, [0.0, 1e8], method="dopri5")
    assert path.status is Status.FAILED
    assert path.reason == "dopri5 stopped before t = 1e+08: underflow in dt 1e-17"
    assert path.t.tolist() == [0.0]


def test_times_may_include_zero_or_be_a_number() -> None:
    problem = problems.line()
    path = integrate_flow(problem, 2.5, 0.1, [0, 1.0])
    assert path.psi[0].tolist() == [0.0, 0.0, 0.0]
    assert float(path.loss[0]) == pytest.approx(9.0)
    single = integrate_flow(problem, 2.5, 0.1, 1.0)
    assert torch.allclose(single.psi[0], path.psi[1], rtol=1e-9)
    assert len(integrate_flow(problem, 2.5, 0.1, 0)) == 1
    assert integrate_flow(problem, 2.5, 0.1, 1.0, dtype="float32").psi.dtype is torch.float32


def test_deficient_rank_flows_like_the_full_rank_pair() -> None:
    A = np.array([[1.0, 1.0, 2.0, 0.5], [2.0, 2.0, 4.0, 1.0], [0.0, 1.0, -1.0, 1.0]])
    y = np.array([1.0, 3.0, 0.3])
    deficient = integrate_flow(Problem(A, y), 3, 0.1, [3.0, 30.0])
    theta = integrate_flow(Problem(A, y), 3, 0.1, [3.0, 30.0], coordinates="theta")
    assert relative_gap(deficient, theta) < 1e-8
    reduced = Problem(A, y).reduced()
    assert float(reduced.relative_residual(deficient.final())) < 1e-6
    assert float(deficient.loss[-1]) > 0.01


def test_the_jacobian_matches_finite_differences_in_moving_coordinates() -> None:
    field = DualField(problems.gaussian(3, 7, 0), 3, 0.1)
    x = torch.tensor([0.1, -0.05, 0.07], dtype=torch.float64)
    for _ in range(2):
        exact = field.jacobian(x)
        h = 1e-6
        for j in range(3):
            e = torch.zeros(3, dtype=torch.float64)
            e[j] = h
            assert torch.allclose((field(x, x + e) - field(x, x - e)) / (2 * h), exact[:, j], rtol=1e-5, atol=1e-8)
        before = field.theta(x)
        sigma = field.global_sigma(x)
        field.rebase(x)
        x = torch.zeros(3, dtype=torch.float64)
        assert torch.allclose(field.theta(x)[0], before[0], rtol=1e-14)
        assert torch.allclose(field.global_sigma(x), sigma, rtol=1e-13)
        tau = field.A.mT @ field.global_sigma(torch.full((3,), 0.01, dtype=torch.float64))
        assert torch.allclose(1 - tau, field.slack(torch.full((3,), 0.01, dtype=torch.float64))[0], rtol=1e-12)


@pytest.mark.parametrize("p", [2, 2.2, 3, 4.5])
def test_closed_form_of_theta(p: float) -> None:
    alpha, nu = 0.3, torch.linspace(-0.2, 0.2, 9, dtype=torch.float64)
    plus, minus = theta_of_nu(nu, p, alpha)
    h = 1e-6
    ahead, behind = theta_of_nu(nu + h, p, alpha), theta_of_nu(nu - h, p, alpha)
    assert torch.allclose((ahead[0] - behind[0]) / (2 * h), p * plus ** (p - 1), rtol=1e-6)
    assert torch.allclose((ahead[1] - behind[1]) / (2 * h), -p * minus ** (p - 1), rtol=1e-6)
    again = theta_of_psi(psi_of_nu(nu, p, alpha), p, alpha)
    assert torch.allclose(again[0], plus, rtol=1e-12)
    assert torch.allclose(again[1], minus, rtol=1e-12)


def test_relaxation_time_is_the_rate_of_the_last_decay() -> None:
    """‖ψ(t) − ψ(∞)‖ ~ e^{−t/T}: the slope of its logarithm late on a generic problem."""
    from dlntorch.limit.flow_limit import flow_limit

    problem, p, alpha = problems.paper_random(), 3, 0.1
    limit = flow_limit(problem, p, alpha)
    slowest = relaxation_time(problem, p, alpha, limit)
    path = integrate_flow(problem, p, alpha, 30 + slowest * np.array([3.0, 4.0]))
    gaps = (path.psi - limit.psi).norm(dim=1)
    assert math.log(gaps[0] / gaps[1]) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"t": [-1.0, 2.0]}, "t must be finite and >= 0"),
        ({"t": [2.0, 1.0]}, "t must be sorted"),
        ({"t": [1.0, math.inf]}, "t must be finite"),
        ({"t": [1.0, math.nan]}, "t must be finite"),
        ({"t": []}, "t must be a nonempty"),
        ({"p": 1.9}, "p must be"),
        ({"alpha": 0}, "alpha must be"),
        ({"rtol": 0}, "rtol must be"),
        ({"rtol": -1e-3}, "rtol must be"),
        ({"atol": 0}, "atol must be"),
        ({"method": "euler"}, "method must be one of BDF, LSODA"),
        ({"coordinates": "psi"}, "coordinates must be one of dual, theta"),
        ({"max_evaluations": 0}, "max_evaluations must be"),
        ({"stop_residual": 0}, "stop_residual must be"),
        ({"device": "tpu"}, "device must be"),
    ],
)
def test_bad_input(options: dict, message: str) -> None:
    arguments = {"p": 3, "alpha": 0.1, "t": 1.0, **options}
    with pytest.raises(InputError, match=message) as error:
        integrate_flow(problems.line(), **arguments)
    assert "\n" not in str(error.value)


def test_no_jacobian_of_many_parameters() -> None:
    wide = Problem(np.ones((1, 2001)), [1.0])
    with pytest.raises(InputError, match="method must be explicit with coordinates=theta and n > 2000"):
        integrate_flow(wide, 3, 0.1, 1.0, coordinates="theta", method="LSODA")
    path = flow_path(wide, 3, 0.1, 1.0, coordinates="theta", rtol=1e-9)
    dual = flow_path(wide, 3, 0.1, 1.0)
    assert torch.allclose(path.theta_plus, dual.theta_plus, rtol=1e-6)


@pytest.mark.parametrize("method", [None, "LSODA"])
@pytest.mark.parametrize(("p", "alpha"), [(2, 1e-100), (2, 1e-300), (2.5, 1e-100), (3, 1e-60)])
def test_an_alpha_at_the_edge_of_float64_ends_in_a_status(p: float, alpha: float, method: str | None) -> None:
    """What is returned never has a loss above that of ψ = 0, whatever the solver did."""
    problem = problems.gaussian(4, 10, 0)
    times = np.logspace(-1, 6, 8) * alpha ** (2 - p)
    path = integrate_flow(problem, p, alpha, times, rtol=1e-8, method=method, max_evaluations=3000)
    start = float(problem.loss(torch.zeros(10, dtype=torch.float64)))
    assert bool((path.loss <= start * (1 + 1e-8)).all())
    assert path.status is Status.MAX_TIME or path.reason


@pytest.mark.parametrize("method", ["BDF", "Radau", "LSODA", "dopri5", "bosh3"])
@pytest.mark.parametrize("coordinates", ["dual", "theta"])
def test_outputs_in_the_step_of_the_stop_keep_their_times(method: str, coordinates: str) -> None:
    """On a grid far denser than the steps, θ is that of its own time, and the stop comes last."""
    problem, p, alpha, t = problems.paper_random(), 3, 0.2, np.linspace(0.0, 20.0, 401)
    path = integrate_flow(
        problem, p, alpha, t, coordinates=coordinates, method=method, rtol=1e-6, stop_residual=1e-2, atol=1e-7
    )
    assert path.status is Status.CONVERGED
    assert 50 < len(path) < 400
    assert bool((path.t.diff() > 0).all())
    assert path.t[:-1].tolist() == t[: len(path) - 1].tolist()
    assert float(problem.relative_residual(path.final())) == pytest.approx(1e-2, rel=1e-3)
    assert relative_gap(path, integrate_flow(problem, p, alpha, path.t.numpy())) < 1e-3


@pytest.mark.parametrize("coordinates", ["dual", "theta"])
@pytest.mark.parametrize(
    ("p", "alpha", "power"), [(200, 1e-3, "p-2"), (8, 1e-60, "p-2"), (3, 1e150, "p"), (2, 1e155, "p")]
)
def test_powers_of_alpha_beyond_float64_are_a_status(p: float, alpha: float, power: str, coordinates: str) -> None:
    path = integrate_flow(problems.line(), p, alpha, [0.0, 1.0], coordinates=coordinates, stop_residual=1e-3)
    assert path.status is Status.FAILED
    assert f"alpha^{power if power == 'p' else '(p-2)'} = 10^" in path.reason
    assert "out of the range of float64" in path.reason
    assert path.psi.shape == (0, 3)


def test_times_that_underflow_in_the_unit_of_the_flow_are_the_start() -> None:
    path = integrate_flow(problems.line(), 3, 1e-100, [1e-300, 1e-250, 1.0])
    assert path.t.tolist() == [1e-300, 1e-250, 1.0]
    assert not bool(path.psi[:2].any())


def test_a_failed_session_stays_failed_and_has_no_stop() -> None:
    """Neither a spent budget nor a stop replaces the reason, and a refused stop leaves no time without θ."""
    session = Session(DualField(Problem([[1.0, 0.0]], [1.0]), 2, 0.1), 10, 0.5, False, 1e-9)
    beyond = np.array([np.arcsinh(-1.5 / (2 * 0.1**2))])  # residual 2.5‖y‖
    session.locate(lambda _: beyond, 0.0, 1.0)
    assert (session.status, session.stop) == (Status.FAILED, None)
    reason = session.reason
    session.field.evaluations = 20
    assert session.spent()
    assert (session.status, session.reason) == (Status.FAILED, reason)
    session.stop_at(1.0, np.zeros(1))
    session.record(1.0, np.zeros(1))
    assert (session.status, session.stop, session.times) == (Status.FAILED, None, [])


@pytest.mark.parametrize("method", ["BDF", "Radau", "LSODA", "dopri5"])
def test_a_refused_output_ends_the_integration(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows it is not computed."""
    whole = integrate_flow(problems.line(), 3, 0.1, [1.0, 30.0], method=method, rtol=1e-6)
    monkeypatch.setattr(DualField, "point", lambda *_: DualState(False, torch.ones(3), torch.ones(3), 0.0))
    path = integrate_flow(problems.line(), 3, 0.1, [1.0, 30.0], method=method, rtol=1e-6)
    assert path.status is Status.FAILED
    assert "beyond the pole" in path.reason
    assert path.evaluations < whole.evaluations
