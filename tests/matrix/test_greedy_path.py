"""The greedy low-rank path: the vectors' saddles where measurements commute, and flows from tiny starts where they do not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import dlntorch as dln
from dlntorch.matrix import generators
from dlntorch.matrix.greedy_path import greedy_path
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError

EXACT = dln.Problem([[1, 0.5, 0.7, 0], [0.5, 1, 0.1, 0.7]], [1.0, 0.0])


def _vector(seed):
    if seed == 0:
        return EXACT
    rng = np.random.default_rng(seed)
    return dln.Problem(rng.standard_normal((3, 5)), rng.standard_normal(3))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("kind", "p", "slower"), [("difference", 2, 1), ("psd", dln.Nonnegative(2), 1), ("product", dln.Product(2), 2)]
)
def test_where_measurements_commute_it_is_the_vectors_path(kind, p, slower, seed):
    vector = _vector(seed)
    Q = generators.random_orthogonal(vector.n, seed)
    network = dln.MatrixFactorization((vector.n, vector.n), 2, 0.1, kind)
    path, known = greedy_path(generators.embedded(vector, Q), network), dln.saddle_path(vector, p)
    assert path.status is Status.CONVERGED
    assert path.times.numpy() / slower == pytest.approx(known.times.numpy(), rel=1e-6)
    for X, psi in zip(path.X.numpy(), known.psi.numpy(), strict=True):
        assert Q * psi @ Q.T == pytest.approx(X, abs=1e-7)


@pytest.mark.parametrize("kind", ["psd", "product"])
def test_flows_from_smaller_starts_stand_nearer_to_its_first_saddle(kind):
    problem = generators.gaussian_sensing(8, 4, 4, 2, psd=True, seed=0)
    path = greedy_path(problem, dln.MatrixFactorization((4, 4), 2, 0.1, kind))
    assert path.ranks == (0, 1, 2)
    away = []
    for alpha in (1e-4, 1e-8, 1e-16):
        middle = path.jump_times(alpha).mean()
        network = dln.MatrixFactorization((4, 4), 2, alpha, kind)
        found = dln.integrate_matrix_flow(problem, network, [float(middle)], rtol=1e-11)
        away.append(float((found.X[0] - path.X[1]).norm() / path.X[1].norm()))
    assert away[0] < 1e-2
    assert away[1] < 1e-2 * away[0]
    assert away[2] < 1e-8


def test_each_saddle_is_at_rest_and_the_loss_falls():
    problem = generators.gaussian_sensing(10, 5, 5, 2, psd=True, seed=3)
    path = greedy_path(problem, dln.MatrixFactorization((5, 5), 2, 0.1, "psd"))
    for X in path.X:
        G = problem.adjoint(problem.residual(X))
        assert float((G @ X).norm()) < 1e-7 * float(problem.adjoint(problem.y).norm()) * max(float(X.norm()), 1)
    assert bool((path.loss.diff() < 0).all())
    assert [int(torch.linalg.matrix_rank(X, rtol=1e-7)) for X in path.X] == list(path.ranks)
    assert path.jump_times(math.exp(-2)).tolist() == path.times.tolist()
    short = greedy_path(problem, dln.MatrixFactorization((5, 5), 2, 0.1, "psd"), max_jumps=1)
    assert (short.status, len(short)) == (Status.MAX_STEPS, 2)


def test_more_layers_are_refused():
    problem = generators.gaussian_sensing(4, 3, 3, 1)
    with pytest.raises(InputError, match="network must have two layers and no batch"):
        greedy_path(problem, dln.MatrixFactorization((3, 3), 3, 0.1))
