"""The certificate: its bounds hold, are tight and finite, resume, and agree with a slow evaluation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dlntorch.bounds import certificate_kernel as kernel
from dlntorch.bounds.certificate import Certificate
from dlntorch.flow.integrate import flow_path
from dlntorch.model.dual import psi_of_nu, theta_of_nu
from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem
from tests import problems
from tests.bounds.descent import Descent


def random_run(seed: int) -> Descent:
    """A random problem and depth, planted in every second case."""
    rng = np.random.default_rng(seed)
    m = int(rng.integers(3, 9))
    n = int(rng.integers(m + 2, 3 * m + 3))
    nonzeros = int(rng.integers(1, m)) if seed % 2 else None
    problem = problems.gaussian(m, n, seed, nonzeros, scale=float(rng.choice([0.3, 1.0, 2.0])))
    p = float(rng.choice([2, 2.5, 3, 4]))
    alpha = float(10 ** rng.uniform(-2, -1))
    return Descent(problem, p, alpha, kappa=float(rng.choice([0.01, 0.03])))


def errors_and_bounds(run: Descent, chunks: int, steps: int, residual: float = 1e-6) -> tuple[np.ndarray, np.ndarray]:
    """True errors ‖θ_k − θ(t_k)‖ against the flow at 1e-11, and their bounds, at up to ``chunks`` times of a run."""
    times, thetas, bounds = [], [], []
    for _ in range(chunks):
        done = run.run(steps, residual)
        if times and run.time == times[-1]:
            break
        times.append(run.time)
        thetas.append(run.theta())
        bounds.append(run.certificate.theta_error(run.plus, run.minus))
        if done:
            break
    flow = flow_path(run.problem, run.p, run.alpha, times, rtol=1e-11)
    assert len(flow.t) == len(times), flow.reason
    truth = torch.cat([flow.theta_plus, flow.theta_minus], dim=1).numpy()
    return np.linalg.norm(np.array(thetas) - truth, axis=1), np.array(bounds)


@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(k, marks=pytest.mark.slow) for k in (0, *range(3, 12)))])
def test_the_true_error_is_below_the_bound(seed: int) -> None:
    run = random_run(seed)
    errors, bounds = errors_and_bounds(run, chunks=6, steps=2000)
    assert np.all(errors <= bounds)
    assert run.certificate.finite
    assert np.all(bounds <= run.certificate.theta_error_sup)


def test_the_bound_is_tight_at_the_end() -> None:
    errors, bounds = errors_and_bounds(Descent(problems.gaussian(10, 30, 0), 3, 1e-2), chunks=2, steps=100_000)
    assert errors[-1] <= bounds[-1] <= 1.01 * errors[-1]


@pytest.mark.parametrize(("p", "alpha"), [(2, 0.01), (2.5, 0.05), (3, 0.02), (3.7, 0.1)])
def test_the_box_contains_the_flow(p: float, alpha: float) -> None:
    run = Descent(problems.gaussian(5, 12, 3), p, alpha)
    run.run(1500)
    box = run.certificate.enclosure()
    flow = flow_path(run.problem, p, alpha, run.time, rtol=1e-12)
    psi = flow.theta_plus[0] ** p - flow.theta_minus[0] ** p
    for low, value, high in (
        (box.theta_plus_low, flow.theta_plus[0], box.theta_plus_high),
        (box.theta_minus_low, flow.theta_minus[0], box.theta_minus_high),
        (box.psi_low, psi, box.psi_high),
    ):
        assert bool(torch.all(low <= value))
        assert bool(torch.all(value <= high))
    error = np.linalg.norm(run.plus**p - run.minus**p - psi.numpy())
    assert error <= run.certificate.psi_error(run.plus, run.minus)


@pytest.mark.parametrize("p", [2, 2.5, 3, 10 / 3])
def test_the_mirror_path_and_the_energy_without_decay(p: float) -> None:
    """A slow evaluation in s itself: the same ŝ, and E at most (½ Σ G)^{1/2}, of which it keeps most over few steps."""
    problem, alpha, eta = problems.gaussian(4, 9, 5), 0.1, 1e-3
    certificate = Certificate(problem, p, alpha)
    theta = np.full(problem.n, alpha)
    s = torch.zeros(4, dtype=torch.float64)
    energy = 0.0
    for _ in range(50):
        certificate.update(theta, theta, eta)
        nu = problem.A.mT @ s
        r = problem.residual(psi_of_nu(nu, p, alpha))
        g = problem.A.mT @ r
        plus, minus = theta_of_nu(nu.abs() + eta * g.abs(), p, alpha)
        energy += 0.5 * eta**3 / 3 * float((p * p * (plus ** (2 * p - 2) + minus ** (2 * p - 2)) * g * g).sum())
        s = s + eta * r
    plus, minus = theta_of_nu(problem.A.mT @ s, p, alpha)
    box = certificate.enclosure()
    assert bool(torch.all(box.theta_plus_low <= plus) and torch.all(plus <= box.theta_plus_high))
    middle = 0.5 * (box.theta_plus_low + box.theta_plus_high)
    assert torch.allclose(middle, plus, rtol=1e-5)
    assert 0.5 * math.sqrt(energy) < certificate.energy <= 1.01 * math.sqrt(energy)


def test_the_error_is_of_first_order_in_the_step() -> None:
    """With c scaled like κ, the error at a fixed time is proportional to κ: slope 1.00 ± 0.05 in log-log, as is E."""
    problem, p, alpha, horizon = problems.gaussian(5, 12, 3), 3, 0.1, 5.0
    kappas = np.array([4e-3, 2e-3, 1e-3])
    errors, energies = [], []
    for kappa in kappas:
        run = Descent(problem, p, alpha, kappa=kappa, c=100 * kappa)
        while run.time < horizon:
            run.run(20)
        flow = flow_path(problem, p, alpha, run.time, rtol=1e-12)
        truth = torch.cat([flow.theta_plus[0], flow.theta_minus[0]]).numpy()
        errors.append(np.linalg.norm(run.theta() - truth))
        energies.append(run.certificate.energy)
    assert np.polyfit(np.log(kappas), np.log(errors), 1)[0] == pytest.approx(1, abs=0.05)
    assert np.polyfit(np.log(kappas), np.log(energies), 1)[0] == pytest.approx(1, abs=0.1)


def test_a_long_step_is_divided_by_the_mirror_path() -> None:
    """p = 4, α = 0.01: gradient descent lags, and its steps would carry the mirror path over the pole."""
    run = Descent(problems.paper_random(), 4, 1e-2)
    errors, bounds = errors_and_bounds(run, chunks=3, steps=100_000)
    assert run.certificate.finite
    assert np.all(errors <= bounds)
    assert run.steps < run.certificate.state[kernel.SUBSTEPS] < 1.01 * run.steps


@pytest.mark.parametrize("eta", [1.0, 100.0, 1e4])
def test_senseless_steps_of_descent_still_give_a_true_bound(eta: float) -> None:
    """The bound is about any θ_k: steps far beyond stability move ŝ by divided steps, and stay finite by M."""
    problem = problems.gaussian(3, 7, 2)
    certificate = Certificate(problem, 3, 0.2)
    theta = np.full(7, 0.2)
    certificate.update(theta, theta, eta if eta < 1e6 else 1e4)
    flow = flow_path(problem, 3, 0.2, eta if eta < 1e6 else 1e4)
    error = float(
        np.linalg.norm(np.concatenate([theta - flow.theta_plus[0].numpy(), theta - flow.theta_minus[0].numpy()]))
    )
    assert error <= certificate.theta_error(theta, theta) < math.inf


def test_state_dict_resumes_bit_for_bit() -> None:
    problem = problems.gaussian(6, 15, 4)
    whole = Descent(problem, 3, 0.05)
    whole.run(700)
    first = Descent(problem, 3, 0.05)
    first.run(333)
    second = Descent(problem, 3, 0.05)
    second.plus, second.minus = first.plus, first.minus
    second.certificate.load_state_dict(first.certificate.state_dict())
    second.run(367)
    assert np.array_equal(second.certificate.state, whole.certificate.state)
    assert np.array_equal(second.certificate.path, whole.certificate.path)
    assert second.certificate.steps == 700


def test_update_equals_the_compiled_loop_and_pure_python() -> None:
    run = Descent(problems.gaussian(4, 10, 6), 2.5, 0.1)
    stepped = Certificate(run.problem, 2.5, 0.1)
    for _ in range(30):
        plus, minus, before = run.plus.copy(), run.minus.copy(), run.time
        run.run(1)
        stepped.update(torch.from_numpy(plus), minus, run.time - before)
    assert stepped.energy == pytest.approx(run.certificate.energy, rel=1e-9)
    python = Certificate(run.problem, 2.5, 0.1)
    kernel.certificate_step.py_func(plus, minus, 0.01, *python.arguments())
    compiled = Certificate(run.problem, 2.5, 0.1)
    compiled.update(plus, minus, 0.01)
    assert np.allclose(python.state, compiled.state, rtol=1e-12)


def test_deficient_rank_zero_columns_and_zero_data() -> None:
    A = np.array([[1.0, 2.0, 0.0, 1.0], [2.0, 4.0, 0.0, 2.0]])
    run = Descent(Problem(A, [1.0, 2.0]), 3, 0.1)
    errors, bounds = errors_and_bounds(run, chunks=2, steps=20_000)
    assert np.all(errors <= bounds)
    assert run.certificate.finite
    still = Certificate(Problem([[1.0, 2.0]], [0.0]), 3, 0.1)
    theta = np.full(2, 0.1)
    still.update(theta, theta, 1.0)
    assert still.theta_error(theta, theta) < 1e-12


def test_bad_input() -> None:
    problem = problems.paper_random()
    with pytest.raises(InputError, match="alpha must be a finite real number > 0"):
        Certificate(problem, 3, 0)
    with pytest.raises(InputError, match=r"theta_plus must have shape \(5,\)"):
        Certificate(problem, 3, 0.1).update(np.ones(4), np.ones(5), 0.1)


@pytest.mark.parametrize(("p", "alpha"), [(3, 1e150), (2, 1e160), (400, 10.0)])
def test_constants_beyond_float64_are_named_as_those_of_the_theorem_are(p: float, alpha: float) -> None:
    with pytest.raises(InputError, match="must leave the certificate's constants in the range of float64, got p="):
        Certificate(problems.line(), p, alpha)
