"""Problem: what it accepts, its one loss, rank, and the equivalent full-rank pair."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem

A = [[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]]
Y = [1.0, 2.0]


@pytest.mark.parametrize(
    ("a", "y", "words"),
    [
        (A, [1.0], "y must have one entry for each of the 2 rows of A"),
        ([1.0, 2.0], Y, "A must have shape (m, n), got shape (2,)"),
        (A, [[1.0], [2.0]], "y must have shape (m,), got shape (2, 1)"),
        ([[1.0, 2.0]], 3.0, "y must have shape (m,), got shape ()"),
        ([[1.0, np.nan], [0, 1]], Y, "A must be finite, got nan at [0, 1]"),
        (A, [1.0, -np.inf], "y must be finite, got -inf at [1]"),
        (np.zeros((2, 3)), Y, "A must have a nonzero entry"),
        (np.zeros((0, 3)), [], "A must have at least one row and one column"),
        ([[1.0, 2.0], [3.0]], Y, "A must be a rectangular array"),
        ([["a", "b"]], [1.0], "A must be an array of real numbers"),
        (np.array([[1, None]], dtype=object), [1.0], "A must be an array of real numbers, got dtype object"),
        (np.ones((1, 2)) * 1j, [1.0], "A must be real, got complex numbers: stack A as [[Re A, -Im A], [Im A, Re A]]"),
        ([[1.0, 2.0]], [1j], "y must be real, got complex numbers"),
        (torch.ones(1, 2).to_sparse(), [1.0], "A must be a dense real tensor"),
        ([[torch.ones(2, requires_grad=True)]], [1.0], "A must be"),
    ],
)
def test_bad_data_get_one_line(a: object, y: object, words: str) -> None:
    with pytest.raises(InputError) as caught:
        Problem(a, y)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truth_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(InputError, match="truth must have one entry for each of the 3 columns"):
        Problem(A, Y, truth=[1.0])


@pytest.mark.skipif(np.finfo(np.longdouble).max <= np.finfo(float).max, reason="longdouble is float64 here")
def test_a_longdouble_beyond_float64_is_refused_without_a_warning() -> None:
    with pytest.raises(InputError, match="A must be finite, got inf"):
        Problem(np.array([[1, np.longdouble("1e4000")]]), [1.0])


@pytest.mark.parametrize(
    "convert", [np.array, torch.tensor, copy.deepcopy, lambda x: np.asfortranarray(np.array(x, dtype=">f4"))]
)
def test_array_likes_become_float64_copies(convert: object) -> None:
    source = convert(A)  # type: ignore[operator]
    problem = Problem(source, Y)
    assert problem.A.dtype == torch.float64
    assert torch.equal(problem.A, torch.tensor(A, dtype=torch.float64))
    source[0][0] = 99.0
    assert problem.A[0, 0] == 1.0


def test_not_overparameterised_warns_and_proceeds() -> None:
    with pytest.warns(UserWarning, match="m = 2 rows and n = 2 columns"):
        problem = Problem(np.eye(2), Y)
    assert problem.rank == 2
    assert problem.to(dtype="float32").dtype == torch.float32  # and says it once


def test_the_loss_is_half_the_squared_residual() -> None:
    problem = Problem(A, Y)
    psi = torch.randn(4, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    by_hand = torch.tensor(
        [[0.5 * sum((np.array(A) @ v.numpy() - np.array(Y)) ** 2) for v in row] for row in psi], dtype=torch.float64
    )
    torch.testing.assert_close(problem.loss(psi), by_hand, rtol=1e-14, atol=1e-14)
    relative = (2 * by_hand).sqrt() / np.sqrt(5.0)
    torch.testing.assert_close(problem.relative_residual(psi), relative, rtol=1e-14, atol=1e-14)


def test_y_zero_divides_by_nothing() -> None:
    problem = Problem(A, [0.0, 0.0])
    assert problem.relative_residual(torch.zeros(3, dtype=torch.float64)) == 0
    assert problem.relative_residual(torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)) == 1
    assert problem.consistent


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    m=st.integers(1, 8), n=st.integers(2, 12), rank=st.integers(1, 8), scale=st.integers(-6, 6), seed=st.integers(0, 99)
)
def test_the_reduced_pair_has_the_same_loss_up_to_a_constant(m: int, n: int, rank: int, scale: int, seed: int) -> None:
    n, rank = max(n, m + 1), min(rank, m)
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.standard_normal((m, rank)))[0]
    right = np.linalg.qr(rng.standard_normal((n, rank)))[0]
    problem = Problem(10.0**scale * left @ np.diag(rng.uniform(0.5, 2, rank)) @ right.T, rng.standard_normal(m))
    reduced = problem.reduced()
    assert (problem.rank, reduced.m, reduced.rank, reduced.n) == (rank, rank, rank, n)
    outside = problem.y.numpy() - left @ (left.T @ problem.y.numpy())
    assert problem.inconsistency == pytest.approx(np.linalg.norm(outside), abs=1e-13)
    psi = torch.from_numpy(10.0**-scale * rng.standard_normal((3, n)))
    torch.testing.assert_close(
        problem.loss(psi), reduced.loss(psi) + 0.5 * problem.inconsistency**2, rtol=1e-12, atol=0
    )
    # Equal gradients: A^T r = Ã^T r̃, so flow and descent are the same.
    torch.testing.assert_close(
        problem.residual(psi) @ problem.A, reduced.residual(psi) @ reduced.A, rtol=1e-11, atol=1e-12 * 10.0**scale
    )


def test_norms_and_singular_values() -> None:
    problem = Problem(A, Y)
    gram = np.linalg.eigvalsh(np.array(A) @ np.array(A).T)
    assert problem.spectral_norm == pytest.approx(np.sqrt(gram[-1]), rel=1e-14)
    assert problem.sigma_min == pytest.approx(np.sqrt(gram[0]), rel=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_reduced_problem_keeps_precision_and_truth(dtype: torch.dtype) -> None:
    problem = Problem([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]], [1.0, 2.0], truth=[1.0, 0.0, 0.0], dtype=dtype)
    reduced = problem.reduced()
    assert reduced.m == problem.rank == 1
    assert reduced.dtype == dtype
    assert reduced.truth is not None
    assert torch.equal(reduced.truth, torch.tensor([1.0, 0, 0], dtype=dtype))
    assert problem.consistent


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_problems_can_be_copied(clone: object) -> None:
    problem = Problem(A, Y, name="mine", truth=[0.0, 0.0, 1.0])
    other = clone(problem)  # type: ignore[operator]
    assert other.name == "mine"
    assert torch.equal(other.A, problem.A)
    assert torch.equal(other.truth, problem.truth)
