"""Flows of optimizers: their ends are the limits that their integrals predict; textbook integration agrees."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import dlntorch as dln
from dlntorch.flow.regularized import DecayFlow, HeavyBallFlow, SAMFlow, integrate_update_flow
from dlntorch.limit.flow_limit import flow_limit
from tests.problems import gaussian

FLOWS = [HeavyBallFlow(0.02), DecayFlow(0.3, until=2.0), SAMFlow(0.01)]
ALPHA = 0.2


def textbook(problem, p, alpha, t, update):
    """θ(t) by scipy's LSODA on θ (and its velocity): none of the package's variables."""
    A, y, n = problem.A.numpy(), problem.y.numpy(), problem.n
    sign = np.repeat([1.0, -1.0], n)

    def gradient(x):
        g = A.T @ (y - A @ (x[:n] ** p - x[n:] ** p))
        return -sign * p * x ** (p - 1) * np.tile(g, 2)

    def rate(time, x):
        if isinstance(update, HeavyBallFlow):
            return np.concatenate([x[2 * n :], (-gradient(x[: 2 * n]) - x[2 * n :]) / update.mass])
        if isinstance(update, SAMFlow):
            return -gradient(x + update.rho * gradient(x))
        return -gradient(x) - (update.strength * x if time < update.until else 0)

    x = np.concatenate([np.full(2 * n, alpha), np.zeros(2 * n if isinstance(update, HeavyBallFlow) else 0)])
    begin = 0.0
    for end in sorted({min(t, getattr(update, "until", t)), t}):
        last = np.nextafter(end, 0)
        solved = solve_ivp(
            lambda s, x, last=last: rate(min(s, last), x), (begin, end), x, "LSODA", rtol=1e-11, atol=1e-14
        )
        x, begin = solved.y[:, -1], end
    return x[: 2 * n].reshape(2, n)


@pytest.mark.parametrize("update", FLOWS, ids=lambda u: type(u).__name__)
@pytest.mark.parametrize("p", [2, 3.5])
def test_the_path_is_that_of_the_textbook(update, p):
    problem = gaussian(4, 9, seed=3)
    path = integrate_update_flow(problem, p, ALPHA, [1.0, 5.0], update)
    assert path.trajectory.status == "max_time"
    np.testing.assert_allclose(path.theta[-1], textbook(problem, p, ALPHA, 5.0, update), rtol=1e-8)
    np.testing.assert_allclose(path.theta[0], textbook(problem, p, ALPHA, 1.0, update), rtol=1e-8)


@pytest.mark.parametrize("update", FLOWS, ids=lambda u: type(u).__name__)
@pytest.mark.parametrize(("p", "seed"), [(2, 0), (2.5, 1), (4, 0)])
def test_the_end_is_the_limit_of_the_predicted_start(update, p, seed):
    """Three routes: the integrals along the flow, the invariants of the end, and the limit itself."""
    problem = gaussian(4, 9, seed=seed)
    shape = np.exp(0.2 * np.random.default_rng(seed).standard_normal((2, 9)))
    start = dln.Initialization(*(ALPHA * shape))
    path = integrate_update_flow(problem, p, start, [1e3], update, stop_residual=1e-9)
    assert path.trajectory.status == "converged"
    psi = path.trajectory.final()
    limit = flow_limit(dln.Problem(problem.A, problem.A @ psi), p, path.initialization).psi
    assert float((psi - limit).abs().max()) < 1e-8 * float(psi.abs().max())
    end = dln.effective_initialization(problem, p, *path.theta[-1], alpha=start)
    predicted = _effective_numbers(problem, p, path.initialization, start)
    np.testing.assert_allclose(end.gain, predicted.gain, atol=1e-8)
    np.testing.assert_allclose(end.relative_tilt, predicted.relative_tilt, atol=1e-8)


def _effective_numbers(problem, p, predicted, start):
    """Gain and tilt of an initialization itself: the run that takes no step from it."""
    return dln.effective_initialization(problem, p, *predicted.expanded(problem.n), alpha=start)


@pytest.mark.parametrize("update", FLOWS, ids=lambda u: type(u).__name__)
@pytest.mark.parametrize("p", [2, 3])
def test_the_identity_holds_on_the_way(update, p):
    """w±(t) = θ^{2−p} ± cν is α±_eff(t)^{2−p} at every time, not only at the end."""
    problem = gaussian(4, 9, seed=2)
    path = integrate_update_flow(problem, p, ALPHA, np.linspace(0.1, 8, 12), update)
    nu = path.s.numpy() @ problem.reduced().A.numpy()
    log_theta = np.log(path.theta.numpy())
    sign = np.array([[1.0], [-1.0]])
    if p == 2:
        measured = log_theta - sign * 2 * nu[:, None]
    else:
        measured = np.log(np.exp((2 - p) * log_theta) + sign * p * (p - 2) * nu[:, None]) / (2 - p)
    assert np.abs(measured - path.log_start.numpy()).max() < 1e-8


@pytest.mark.parametrize("p", [2, 3, 4])
def test_decay_switched_off_is_a_smaller_alpha(p):
    problem, T, strength = gaussian(4, 9, seed=5), 1.5, 0.4
    path = integrate_update_flow(problem, p, ALPHA, [1e3], DecayFlow(strength, until=T), stop_residual=1e-9)
    limit = flow_limit(
        dln.Problem(problem.A, problem.A @ path.trajectory.final()), p, ALPHA * math.exp(-strength * T)
    ).psi
    assert float((path.trajectory.final() - limit).abs().max()) < 1e-9


@pytest.mark.parametrize("p", [2, 3, 4])
def test_decay_kept_on_ends_where_the_penalised_loss_is_stationary(p):
    """∇(L + (λ/2)‖θ‖²) = 0: on the support g = λ/p |ψ|^{2/p−1}, off it ψ decays."""
    problem, strength = gaussian(4, 9, seed=6), 0.1
    path = integrate_update_flow(problem, p, 0.5, [4e3 if p == 2 else 1e3], DecayFlow(strength), method="LSODA")
    psi = path.trajectory.final().numpy()
    g = problem.A.numpy().T @ (problem.y.numpy() - problem.A.numpy() @ psi)
    on = np.abs(psi) > 1e-3
    assert on.any()
    np.testing.assert_allclose(g[on], strength / p * np.sign(psi[on]) * np.abs(psi[on]) ** (2 / p - 1), rtol=1e-6)


def test_momentum_in_small_steps_follows_heavy_ball():
    problem, beta, eta = gaussian(4, 9, seed=3), 0.9, 2e-5
    flow = HeavyBallFlow.of(eta, beta)
    steps = 40_000
    run = dln.train(problem, 2, ALPHA, "constant", eta=eta, optimizer="momentum", optimizer_options={"beta": beta},
                    max_steps=steps, tol=0, references=False)  # fmt: skip
    path = integrate_update_flow(problem, 2, ALPHA, [steps * eta / (1 - beta)], flow)
    off = float((run.psi - path.trajectory.final()).abs().max())
    plain = dln.integrate_flow(problem, 2, ALPHA, [steps * eta / (1 - beta)]).final()
    assert off < 0.1 * float((run.psi - plain).abs().max()) or off < 1e-5


def test_a_parameter_that_heavy_ball_carries_through_zero_is_said():
    problem = dln.Problem([[1.0, 2.0]], [3.0])
    path = integrate_update_flow(problem, 2, 0.5, [50.0], HeavyBallFlow(5.0))
    assert path.trajectory.status == "left_positive_orthant"
    assert "theta_minus" in path.trajectory.reason
    assert torch.isfinite(path.trajectory.psi).all()


def test_a_used_up_budget_is_said():
    path = integrate_update_flow(gaussian(4, 9, seed=0), 2, ALPHA, [1.0, 1e3], SAMFlow(0.01), max_evaluations=300)
    assert path.trajectory.status == "max_steps"
    assert "300 evaluations" in path.trajectory.reason


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: HeavyBallFlow(0), "mass must be a finite real number > 0, got 0"),
        (lambda: HeavyBallFlow.of(0.1, 1.0), "beta must be .* < 1, got 1.0"),
        (lambda: DecayFlow(-1), "strength must be .* >= 0, got -1"),
        (lambda: SAMFlow(math.nan), "rho must be"),
        (lambda: integrate_update_flow(gaussian(2, 4, 0), 2, 0.1, [1.0], "sam"), "update must be a HeavyBallFlow"),
        (
            lambda: integrate_update_flow(gaussian(2, 4, 0), dln.Product(3), 0.1, [1.0], SAMFlow(0.1)),
            "p must be a depth",
        ),
    ],
)
def test_a_mistake_is_one_line(make, said):
    with pytest.raises(dln.InputError, match=said) as refused:
        make()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("beta", [0.0, 0.7])
@pytest.mark.parametrize("seed", [0, 1])
def test_discrete_heavy_ball_keeps_a_product_of_ratios(beta, seed):
    """p = 2: ρ_k = θ_{k+1}/θ_k = 1 ± 2ηg_k + β(1 − 1/ρ_{k−1}); gain and tilt are the projected sums of ln|ρ|, to rounding."""
    problem, eta = gaussian(4, 9, seed=seed), 0.02
    A, y = problem.A.numpy(), problem.y.numpy()
    theta, before, logs = np.full((2, 9), ALPHA), None, np.zeros((2, 9))
    sign = np.array([[1.0], [-1.0]])
    buffer = np.zeros((2, 9))
    for _ in range(3000):
        g = A.T @ (y - A @ (theta[0] ** 2 - theta[1] ** 2))
        buffer = beta * buffer - sign * 2 * theta * g
        after = theta - eta * buffer
        ratio = after / theta
        recursion = 1 + sign * 2 * eta * g + (0 if before is None else beta * (1 - 1 / before))
        np.testing.assert_allclose(
            ratio, recursion, atol=1e-12 * max(1, np.abs(1 / (before if before is not None else 1)).max())
        )
        logs += np.log(np.abs(ratio))
        theta, before = after, ratio
    end = dln.effective_initialization(problem, 2, *theta, alpha=ALPHA)
    np.testing.assert_allclose(-end.gain, logs[0] + logs[1], atol=1e-11)
    difference = 0.25 * (logs[0] - logs[1])
    outside = difference - np.linalg.pinv(A) @ (A @ difference)
    np.testing.assert_allclose(end.tilt, outside, atol=1e-11)
