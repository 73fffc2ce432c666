"""Where runs end: the limit of the flow from the effective initialization, for every update, depth and batch."""

from __future__ import annotations

import numpy as np
import pytest

import dlntorch as dln
from dlntorch.bounds.effective import effective_initialization
from tests.bounds.runs import gaussian

UPDATES = ("sgd", "momentum", "weight decay", "label noise", "sam")


def descend(A, y, p, alpha, update, kappa, batch, rng, steps, tol):
    """(θ₊, θ₋, ‖Aψ − y‖) after an optimizer written out here; all of them end as plain descent, to the last digits."""
    m, n = A.shape
    theta, velocity = np.full((2, n), float(alpha)), np.zeros((2, n))
    norm2, signs = np.linalg.norm(A, 2) ** 2, np.array([[1.0], [-1.0]])

    def gradient(at, rows, noise=0.0):
        share = m / len(rows)
        g = share * A[rows].T @ (y[rows] + noise - A[rows] @ (at[0] ** p - at[1] ** p))
        return -signs * p * at ** (p - 1) * g, share

    for k in range(steps):
        if k % 50 == 0 and np.linalg.norm(y - A @ (theta[0] ** p - theta[1] ** p)) <= tol:
            break
        early = k < 300
        rows = rng.choice(m, batch, replace=False) if batch else np.arange(m)
        noise = 0.05 * rng.standard_normal(len(rows)) if update == "label noise" and early else 0.0
        slope, share = gradient(theta, rows, noise)
        rho = np.max(np.abs(slope / theta))
        if rho == 0:
            break
        eta = min(
            0.5 / (p * p * norm2 * share * np.max(np.sum(theta ** (2 * p - 2), axis=0)) + (p - 1) * rho), kappa / rho
        )
        if update == "sam" and early:
            slope, _ = gradient(theta + 0.02 * slope, rows)
        beta = 0.7 if update == "momentum" else 0.0
        velocity = beta * velocity - eta * (1 - beta) * slope
        theta = theta + velocity
        if update == "weight decay" and early:
            theta = theta * (1 - 1e-3)
    return theta, np.linalg.norm(y - A @ (theta[0] ** p - theta[1] ** p))


def random_run(seed):
    """|ψ − limit(α_eff)|, the residual, and what was run."""
    rng = np.random.default_rng(seed)
    p, update = float(rng.choice([2, 2.5, 3, 4])), UPDATES[seed % 5]
    m = int(rng.integers(2, 5))
    A, y = gaussian(seed, m, m + int(rng.integers(2, 6)))
    alpha, kappa = 10 ** rng.uniform(-1.3, -0.4), 10 ** rng.uniform(-1.5, -0.6)
    batch = (None, 1, 2)[seed % 3]
    theta, residual = descend(A, y, p, alpha, update, kappa, batch, rng, 40_000, 1e-13)
    if not np.all(np.isfinite(theta)) or (p not in (2, 4) and np.any(theta <= 0)) or residual > 1e-7:
        return None
    end = effective_initialization(dln.Problem(A, y), p, *theta, alpha)
    limit = dln.flow_limit(dln.Problem(A, y), p, end.initialization)
    error = np.linalg.norm(theta[0] ** p - theta[1] ** p - limit.psi.numpy())
    return error, residual, end.sign_changes, update


def judge(seeds):
    found = [run for run in map(random_run, seeds) if run is not None]
    for error, residual, _, update in found:
        assert error <= 10 * residual + 1e-12, update
    return found


def test_ends_are_limits_of_effective_starts():
    assert len(judge(range(5))) >= 3


@pytest.mark.slow
def test_three_hundred_random_runs():
    """300 ends at residuals below 1e-7, over all updates, depths and batches."""
    found = judge(range(450))
    assert len(found) >= 300
    assert {update for *_, update in found} == set(UPDATES)
