"""The run's own dual certificate of its support, against HiGHS."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dlntorch as dln
from dlntorch.bounds.support import support_certified, weighted_minimizer
from tests.bounds.runs import gaussian


def planted(seed, m=6, n=14, k=2):
    rng = np.random.default_rng(seed)
    A, x = rng.standard_normal((m, n)), np.zeros(n)
    x[rng.choice(n, k, replace=False)] = rng.choice([-1, 1], k) * rng.uniform(0.5, 1.5, k)
    return A, A @ x


@pytest.mark.parametrize("p", [2, 2.5, 3, 4])
def test_true_only_where_the_support_is_right(p):
    """Small and large steps: what is certified is what the linear programme finds, and False is never said of it."""
    said, alpha = [], 1e-3 if p == 2 else 0.02
    for seed in range(5):
        A, y = planted(seed) if seed % 2 else gaussian(seed, 5, 12)
        problem = dln.Problem(A, y)
        W = dln.l1_minimizer(problem)
        for kappa in (0.02, 0.3):
            run = dln.train(problem, p, alpha, kappa=kappa, tol=1e-6, max_steps=50_000, references=False)
            found = support_certified(problem, p, run.theta_plus, run.theta_minus, alpha)
            said.append(found.certified)
            if found.certified:
                assert found.support.tolist() == W.support.tolist()
                assert found.violation < 0
            if found.certified is False:
                assert found.support.tolist() != W.support.tolist()
                assert found.violation > 0
            if found.certified is not True:
                assert found.reason
    assert said.count(True) >= 4


def test_a_wrong_selection_is_called_wrong():
    """|S| = m: an end on another basis than the minimiser's has no certificate."""
    A = np.array([[1.0, 0.9, 0.2], [0.0, 0.5, 1.0]])
    y = A @ np.array([1.0, 0.0, 1.0])
    problem = dln.Problem(A, y)
    assert dln.l1_minimizer(problem).support.tolist() != [0, 2]
    plus, minus = np.array([1.0, 1e-4, 1.0]), np.full(3, 1e-4)
    found = support_certified(problem, 3, plus, minus, 1e-4)
    assert found.certified is False
    assert found.support.tolist() == [0, 2]
    lam = np.linalg.solve(A[:, [0, 2]].T, [1, 1])
    assert found.violation == pytest.approx(abs(A[:, 1] @ lam) - 1, rel=1e-9)


def test_undecided_ends_say_why():
    A, y = planted(1)
    problem = dln.Problem(A, y)
    early = dln.train(problem, 3, 1e-3, max_steps=10, references=False)
    found = support_certified(problem, 3, early.theta_plus, early.theta_minus, 1e-3)
    assert found.certified is None
    assert found.reason
    assert support_certified(dln.Problem(A, 0 * y), 3, np.ones(14), np.ones(14)).certified is None


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_rows_of_any_size(scale):
    A, y = gaussian(2, 5, 12)
    run = dln.train(dln.Problem(A, y), 3, 1e-3, kappa=0.02, tol=1e-6, max_steps=50_000, references=False)
    sizes = np.where(np.arange(5) < 3, scale, 1)
    plain = support_certified(dln.Problem(A, y), 3, run.theta_plus, run.theta_minus, 1e-3)
    graded = support_certified(dln.Problem(A * sizes[:, None], y * sizes), 3, run.theta_plus, run.theta_minus, 1e-3)
    assert plain.certified
    assert graded.certified
    assert graded.violation == pytest.approx(plain.violation, rel=1e-9)


@pytest.mark.parametrize("shaped", [False, True])
@pytest.mark.parametrize("p", [2.5, 3, 4])
def test_the_weighted_minimiser_that_a_run_proves_is_the_solver_s(p, shaped):
    """With the run's weights w± = α±_eff^{2−p}, also where they select another vertex than the plain norm."""
    proved, other, alpha = 0, 0, 0.1 if p == 4 else 0.02
    for seed in range(6):
        A, y = planted(seed) if seed % 2 else gaussian(seed, 5, 12)
        problem = dln.Problem(A, y)
        n, rng = problem.n, np.random.default_rng(seed)
        start = dln.Initialization(*(alpha * np.exp(0.3 * shaped * rng.standard_normal((2, n)))))
        run = dln.train(problem, p, start, kappa=0.3, tol=1e-6, max_steps=50_000, references=False)
        end = dln.effective_initialization(problem, p, run.theta_plus, run.theta_minus, start)
        plain = dln.l1_minimizer(problem)
        sides = torch.stack([run.theta_plus, run.theta_minus])
        found = weighted_minimizer(problem, p, sides, end, plain.support)
        if found is None:
            continue
        weights = [(side / float(end.initialization.plus.max())) ** (2 - p) for side in end.initialization.expanded(n)]
        expected = dln.l1_minimizer(problem, weights=tuple(weights))
        assert expected.unique is True
        torch.testing.assert_close(found, expected.psi, rtol=1e-9, atol=1e-10)
        proved += 1
        other += not torch.allclose(found, plain.psi, atol=1e-6)
    assert proved >= 4
    assert other or not shaped
