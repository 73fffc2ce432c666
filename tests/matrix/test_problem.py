"""MatrixProblem: its products, what it refuses, and its generators."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import dlntorch as dln
from dlntorch.matrix import generators
from dlntorch.numerics.validation import InputError

SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(1, 5))


def _random(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape)


@given(SHAPES, st.integers(0, 99))
def test_products_are_those_of_the_tensors(shape, seed):
    A, X, y = _random(shape, seed), _random(shape[1:], seed + 1), _random(shape[0], seed + 2)
    problem = dln.MatrixProblem(A, y)
    matrix, r = torch.from_numpy(X), torch.from_numpy(_random(shape[0], seed + 3))
    assert problem.apply(matrix).numpy() == pytest.approx(np.tensordot(A, X, 2), abs=1e-12)
    assert problem.adjoint(r).numpy() == pytest.approx(np.tensordot(r.numpy(), A, 1), abs=1e-12)
    assert float(problem.loss(matrix)) == pytest.approx(0.5 * np.sum((np.tensordot(A, X, 2) - y) ** 2), abs=1e-12)
    assert problem.measurements.numpy() == pytest.approx(A)


@given(st.integers(0, 99))
def test_a_mask_indices_an_operator_and_tensors_are_one_problem(seed):
    rng = np.random.default_rng(seed)
    mask, X = rng.random((4, 5)) < 0.5, rng.standard_normal((4, 5))
    mask[0, 0] = True
    places = np.argwhere(mask)
    dense = np.zeros((len(places), 4, 5))
    dense[np.arange(len(places)), places[:, 0], places[:, 1]] = 1.0
    whole = dln.MatrixProblem(dense, X[mask])
    others = [
        dln.MatrixProblem.completion(mask, X),
        dln.MatrixProblem.completion(torch.from_numpy(mask), X[mask]),
        dln.MatrixProblem.completion(places, X[mask], (4, 5)),
        dln.MatrixProblem(whole.operator, X[mask], shape=(4, 5)),
    ]
    Z = torch.from_numpy(rng.standard_normal((3, 4, 5)))
    r = torch.from_numpy(rng.standard_normal((3, len(places))))
    for problem in others:
        assert torch.equal(problem.residual(Z), whole.residual(Z))
        assert torch.equal(problem.adjoint(r), whole.adjoint(r))
        assert problem.spectral_norm == pytest.approx(1.0)


def test_completion_keeps_no_more_than_its_entries():
    places = np.column_stack([np.arange(1000), np.arange(1000)])
    problem = dln.MatrixProblem.completion(places, np.ones(1000), (1000, 1000))
    kept = [value for value in vars(problem.operator).values() if isinstance(value, torch.Tensor)]
    assert sum(value.numel() for value in [*kept, problem.y]) == 2000


def test_embedded_measurements_commute_and_measure_the_diagonal():
    vector = dln.Problem([[1.0, -0.5, 2.0], [0.0, 1.0, 1.0]], [1.0, 2.0])
    Q = generators.random_orthogonal(3, 5)
    problem = generators.embedded(vector, Q)
    A, B = problem.measurements
    assert float((A @ B - B @ A).abs().max()) < 1e-14
    psi = torch.tensor([0.3, -1.0, 0.7], dtype=torch.float64)
    X = torch.from_numpy(Q * psi.numpy() @ Q.T)
    assert torch.allclose(problem.residual(X), vector.residual(psi), atol=1e-14)
    assert problem.symmetric
    mixed = generators.embedded(vector, Q, noncommuting=0.3)
    A, B = mixed.measurements
    assert float((A @ B - B @ A).abs().max()) > 1e-2
    assert torch.allclose(mixed.residual(X), vector.residual(psi), atol=1e-14)


def test_generators_plant_what_they_say():
    sensing = generators.gaussian_sensing(m=20, d1=6, d2=6, rank=2, psd=True)
    assert sensing.truth is not None
    assert sensing.symmetric
    assert int(torch.linalg.matrix_rank(sensing.truth)) == 2
    assert float(torch.linalg.eigvalsh(sensing.truth)[0]) > -1e-12
    assert float(sensing.relative_residual(sensing.truth)) < 1e-14
    table = generators.digits_table(images=20)
    assert table.shape == (20, 64)
    assert table.truth is not None
    assert float(table.truth.max()) <= 1.0
    assert float(table.relative_residual(table.truth)) == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dln.MatrixProblem(np.ones((2, 3)), [1, 2]), r"measurements must have shape \(m, d1, d2\)"),
        (lambda: dln.MatrixProblem(np.ones((2, 3, 3)), [1.0]), "y must have one entry for each of the 2 rows"),
        (
            lambda: dln.MatrixProblem(np.zeros((2, 3, 3)), [1, 2]),
            "measurements must have a nonzero entry|nonzero entry",
        ),
        (lambda: dln.MatrixProblem(np.full((1, 2, 2), np.nan), [1.0]), "finite, got nan"),
        (lambda: dln.MatrixProblem("text", [1.0]), "measurements must be a real array"),
        (lambda: dln.MatrixProblem(np.ones((1, 2, 2)), [1.0], truth=np.ones(2)), "truth must have shape"),
        (lambda: dln.MatrixProblem(np.eye(4)[:2].reshape(2, 2, 2), [1, 2], shape=(3, 3)), "shape must be that"),
        (lambda: dln.MatrixProblem.completion(np.zeros((2, 2), bool), []), "where must observe at least one entry"),
        (lambda: dln.MatrixProblem.completion([[0, 0], [0, 0]], [1, 2], (2, 2)), "where must name each place once"),
        (lambda: dln.MatrixProblem.completion([[0, 2]], [1], (2, 2)), "where must lie within the shape"),
        (lambda: dln.MatrixProblem.completion([[0, 1]], [1]), "shape must be given"),
        (lambda: dln.MatrixProblem.completion(np.eye(2, dtype=bool), [1.0]), r"values must have shape \(2,\)"),
        (lambda: dln.MatrixProblem.completion(np.eye(2), [1.0]), "where must be a boolean mask"),
        (lambda: generators.gaussian_sensing(d1=3, d2=4, psd=True), "d2 must equal d1"),
    ],
)
def test_one_line_for_what_is_wrong(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
