"""The lasso's path against optimality conditions, scikit-learn's path, and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from dlntorch.problem import Problem
from dlntorch.reference.lasso import lasso_path
from tests.problems import gaussian


@pytest.mark.parametrize("seed", range(40))
def test_every_point_of_the_path_is_optimal(seed):
    """Aᵀ(y − Aψ) = λ sign ψ on the support and at most λ elsewhere; ‖Aψ − y‖ is least at λ = 0."""
    rng = np.random.default_rng(seed)
    m = int(rng.integers(1, 12))
    n = m + int(rng.integers(1, 20))
    problem = gaussian(m, n, seed)
    A, y = problem.A.numpy(), problem.y.numpy()
    path = lasso_path(problem)
    assert path.status == "converged"
    assert path.strengths[0] == pytest.approx(np.abs(A.T @ y).max(), rel=1e-14)
    for strength in [*rng.uniform(0, path.strengths[0], 10), *path.strengths]:
        psi = path.at(strength)
        g = A.T @ (y - A @ psi)
        assert np.abs(g).max() <= strength + 1e-11 * path.strengths[0]
        assert g[psi != 0] == pytest.approx(strength * np.sign(psi[psi != 0]), abs=1e-11 * path.strengths[0])
    least = np.linalg.lstsq(A, y, rcond=None)[0]
    assert np.linalg.norm(A @ path.nodes[-1] - y) <= np.linalg.norm(A @ least - y) + 1e-10


@pytest.mark.parametrize("seed", range(20))
def test_the_path_is_that_of_scikit_learn(seed):
    lars_path = pytest.importorskip("sklearn.linear_model").lars_path
    problem = gaussian(3 + seed % 8, 6 + seed, seed)
    strengths, _, nodes = lars_path(problem.A.numpy(), problem.y.numpy(), method="lasso")[:3]
    strengths, path = strengths * problem.m, lasso_path(problem)
    for strength in np.random.default_rng(seed).uniform(0, strengths[0], 20):
        want = np.array([np.interp(-strength, -strengths, row) for row in nodes])
        assert path.at(strength) == pytest.approx(want, abs=1e-9)


def test_orthogonal_columns_are_soft_thresholded():
    y = np.array([3.0, -2.0, 0.5])
    path = lasso_path(Problem(np.eye(3, 4), y))
    assert path.strengths.tolist() == [3.0, 2.0, 0.5, 0.0]
    assert path.at(1.0).tolist() == [2.0, -1.0, 0.0, 0.0]
    distance, strength = path.nearest(np.array([2.5, -1.5, 0.0, 0.0]))
    assert (distance, strength) == pytest.approx((0.0, 0.5))


def test_ties_are_said():
    path = lasso_path(Problem([[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, -1.0]], [0.0, 1.0]))
    assert path.status == "failed"
    assert "lambda = " in path.reason
    assert lasso_path(Problem([[1.0, 2.0]], [0.0])).nodes.tolist() == [[0.0, 0.0]]
