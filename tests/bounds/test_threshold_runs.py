"""A thousand runs at their thresholds select the ℓ1-minimiser, by HiGHS; and the smallest κ that does not, beside them."""

from __future__ import annotations

import numpy as np
import pytest

import dlntorch as dln
from dlntorch.bounds.threshold import norm_weights, step_size_threshold
from tests.bounds.test_threshold import weighted

LEAST = 3e-4  # smaller thresholds would take more than a second a run


def selects(problem, p, alpha, W, batch, kappa, c, seed):
    """Whether the run's weighted norm has W as its minimiser."""
    budget: dict = {"tol": 1e-5, "max_steps": 30_000, "references": False}
    run = dln.train(problem, p, alpha, kappa=kappa, c=c, batch_size=batch, seed=seed, **budget)
    weights = norm_weights(p, alpha, run.effective, np.abs(W).max())
    assert weights is not None
    found = weighted(problem.A.numpy(), problem.y.numpy(), *(side.numpy() for side in weights))
    return np.abs(found - W).max() <= 1e-6 * np.abs(W).max()


def random_problem(seed):
    """A problem, with a sparse solution for even seeds, and the generator, for what else is drawn."""
    rng = np.random.default_rng(seed)
    m = int(rng.integers(2, 7))
    n = int(rng.integers(2 * m, 5 * m))
    A = rng.standard_normal((m, n))
    signal = np.where(np.arange(n) < rng.integers(1, m), rng.standard_normal(n), 0)
    problem = dln.Problem(A, rng.standard_normal(m) if seed % 2 else A @ signal)
    return problem, rng


def cases(seed):
    """A random problem with its minimiser, and (p, batch, α, threshold) on it."""
    problem, rng = random_problem(seed)
    minimizer = dln.l1_minimizer(problem)
    for p in (2, 2.5, 3, 4):
        for batch in (None, 1):
            alpha = 10 ** rng.uniform(-3, -1)
            found = step_size_threshold(problem, p, alpha, batch_size=batch, minimizer=minimizer)
            if found.kappa is not None and found.kappa >= LEAST:
                yield problem, minimizer.psi.numpy(), p, alpha, batch, found


def count_runs(seeds):
    runs = wrong = 0
    for seed in seeds:
        for problem, W, p, alpha, batch, found in cases(seed):
            for c in (found.c, 1.0):  # c = 1 is not proved where found.c is smaller; it has not been seen to fail
                runs += 1
                wrong += not selects(problem, p, alpha, W, batch, found.kappa, c, seed)
    return runs, wrong


def test_runs_at_their_thresholds_select_rightly():
    runs, wrong = count_runs(range(1))
    assert runs >= 8
    assert wrong == 0


@pytest.mark.slow
def test_a_thousand_runs():
    runs, wrong = count_runs(range(1000, 1080))
    assert runs >= 1000
    assert wrong == 0


@pytest.mark.slow
def test_the_onset_is_above_the_threshold():
    """The smallest κ of a search that selects wrongly, over the threshold; its median says how sharp the theorem is."""
    ratios = []
    for seed in range(2000, 2030):
        for problem, W, p, alpha, batch, found in cases(seed):
            for kappa in np.geomspace(found.kappa, 0.3, 8) if batch is None and p > 2 else ():
                if not selects(problem, p, alpha, W, batch, float(kappa), 1.0, seed):
                    ratios.append(kappa / found.kappa)
                    break
    assert len(ratios) >= 3
    assert min(ratios) > 1
    assert np.median(ratios) < 1000
