"""Rank, range and the full-rank pair of matrices whose rows have any size, against answers known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dlntorch.problem import Problem
from dlntorch.problem.row_space import precision

TINY = 2.0**-57


def graded(seed: int, rank: int, rows: int, columns: int, spread: int) -> tuple[np.ndarray, np.ndarray]:
    """An integer matrix of a known rank, its rows times powers of two up to 2^±spread, and those powers."""
    rng = np.random.default_rng(seed)
    while True:
        A = rng.integers(-3, 4, (rows, rank)).astype(float) @ rng.integers(-3, 4, (rank, columns))
        if np.linalg.matrix_rank(A) == rank and np.all(np.any(A != 0, axis=1)):
            return A, np.exp2(rng.integers(-spread, spread + 1, rows))


@pytest.mark.parametrize("spread", [0, 20, 60, 300])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.filterwarnings("ignore:A has m")
def test_the_rank_does_not_depend_on_the_sizes_of_the_rows(seed: int, spread: int) -> None:
    for rank in (2, 4):
        A, sizes = graded(seed, rank, 4, 9, spread)
        assert Problem(A * sizes[:, None], np.ones(4)).rank == rank


@pytest.mark.parametrize("spread", [20, 60])
@pytest.mark.parametrize("seed", range(4))
def test_the_pair_of_graded_rows_keeps_the_small_ones_and_the_loss(seed: int, spread: int) -> None:
    A, sizes = graded(seed, 3, 5, 9, spread)
    x = np.random.default_rng(seed).integers(-4, 5, 9).astype(float)
    problem = Problem(A * sizes[:, None], sizes * (A @ x))
    full = problem.reduced()
    assert (full.m, full.rank, problem.consistent) == (3, 3, True)
    pair, y = full.A.numpy(), full.y.numpy()
    rows = np.linalg.norm(pair, axis=1)
    assert np.abs(pair @ x - y).max() <= 1e-13 * np.linalg.norm(x) * rows.max()
    assert (np.abs(pair @ x - y) <= 1e-12 * np.linalg.norm(x) * rows).all()  # each row to its own size
    kernel = np.linalg.svd(A)[2][3:]  # of the integers: ker(A) is that of the pair, row by row
    assert (np.abs(pair @ kernel.T).max(axis=1) <= 1e-13 * rows).all()
    psi = torch.randn(9, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    assert float(full.loss(psi)) == pytest.approx(float(problem.loss(psi)), rel=1e-12)


def test_the_smallest_singular_value_of_graded_rows_is_accurate() -> None:
    """det(AAᵀ) = 3e² and ‖A‖₂² = 2 for A = [[1, 1, 0], [0, e, e]], up to factors 1 + O(e²)."""
    problem = Problem([[1, 1, 0], [0, TINY, TINY]], [1, 3 * TINY])
    assert problem.reduced() is problem
    assert problem.sigma_min == pytest.approx(np.sqrt(1.5) * TINY, rel=1e-14)
    twice = Problem(
        [[1, 1, 0, 0], [1, 1, 0, 0], [0, TINY, TINY, 0]], [1, 1, 3 * TINY]
    )  # and 3e²/2 with ‖A‖₂² = 4: (3/2)e² again
    assert twice.rank == 2
    assert twice.sigma_min == pytest.approx(np.sqrt(1.5) * TINY, rel=1e-14)


@pytest.mark.parametrize(
    ("A", "y"),
    [
        ([[0, -1, -1, 1, 0], [0, -1, -1, 1, 0]], [3, -3]),
        ([[1, 2, 3], [2, 4, 6], [3, 6, 9]], [3, 0, -1]),
        ([[0.1, 0.7, 0.3], [0.1, 0.7, 0.3]], [1 / 3, -1 / 3]),
        ([[3, 1, 2], [3 * 2**-30, 2**-30, 2**-29]], [2**-30, -1]),
    ],
)
@pytest.mark.filterwarnings("ignore:A has m")
def test_a_y_orthogonal_to_the_range_has_the_projection_zero(A: list[list[float]], y: list[float]) -> None:
    problem = Problem(A, y)
    assert problem.reduced().y.tolist() == [0.0]
    assert not problem.consistent
    assert problem.inconsistency == pytest.approx(np.linalg.norm(y), rel=1e-15)


def test_the_projection_is_that_of_the_given_rows() -> None:
    """Least squares of A = [[1, 0], [0, 1], [4, 4]] (2⁻³⁰ of the last row and its y in the second case)."""
    for factor, expected in ((1.0, [-1 / 11, 10 / 11]), (2.0**-30, [1.0, 2.0])):
        A = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [4 * factor, 4 * factor, 0, 0]])
        full = Problem(A, [1, 2, 3 * factor]).reduced()
        psi = np.linalg.lstsq(full.A.numpy()[:, :2], full.y.numpy(), rcond=None)[0]
        np.testing.assert_allclose(psi, expected, rtol=1e-13)


def test_single_precision_is_reduced_in_double_once() -> None:
    A, y = [[1, 1, 1], [3, 0, 1], [4, 1, 2]], [3, 3, 6]
    with pytest.warns(UserWarning, match="m = 3 rows"):
        problem = Problem(A, y, dtype="float32")
    single = problem.reduced()
    double = single.to(dtype="float64")
    assert single.dtype == torch.float32
    assert double is single.to(dtype="float64") is problem.to(dtype="float64").reduced()
    given = np.array(A, dtype=float)
    np.testing.assert_allclose(double.A.mT @ double.A, given.T @ given, rtol=1e-14)
    np.testing.assert_allclose(double.A.mT @ double.y, given.T @ y, rtol=1e-14)
    assert torch.equal(single.A, double.A.float())


def test_a_problem_remembers_the_precision_of_its_data() -> None:
    coarse, fine = float(np.finfo(np.float32).eps), float(np.finfo(np.float64).eps)
    A = np.random.default_rng(0).standard_normal((2, 5))
    assert Problem(A, [1, 2]).precision == fine
    assert Problem(A.astype(">f4"), [1, 2]).precision == coarse
    assert Problem(A, np.ones(2, dtype=np.float16)).precision == coarse
    assert Problem(torch.from_numpy(A).float(), [1, 2]).precision == coarse
    assert Problem(A, [1, 2]).to(dtype="float32").to(dtype="float64").precision == coarse
    assert precision(np.arange(3)) == precision([1.0]) == precision(torch.arange(3)) == fine


def test_rounding_to_single_precision_does_not_raise_the_rank() -> None:
    rng = np.random.default_rng(1)
    A = rng.standard_normal((10, 4)) @ rng.standard_normal((4, 30))
    x = rng.standard_normal(30)
    problem = Problem(A.astype(np.float32), (A @ x).astype(np.float32))
    assert (problem.rank, problem.consistent, problem.reduced().m) == (4, True, 4)
    assert problem.to(dtype="float32").rank == 4
    assert Problem(A.astype(np.float32).astype(np.float64), A @ x).rank == 10


@pytest.mark.parametrize("condition", [1e5, 1e7, 1e11])
def test_the_pair_of_ill_conditioned_rows_spans_them_to_the_last_digit(condition: float) -> None:
    """Rows (K, K, 1, 0), (K, K + 1, 3, 1) and their sum: integers that ψ = (1, 2, 0, 4) and a kernel vector solve."""
    K = float(round(condition))
    A = np.array([[K, K, 1, 0], [K, K + 1, 3, 1], [2 * K, 2 * K + 1, 4, 1]])
    full = Problem(A, A @ [1, 2, 0, 4]).reduced()
    pair, y = full.A.numpy(), full.y.numpy()
    assert pair.shape == (2, 4)
    rows = np.linalg.norm(pair, axis=1)
    assert (np.abs(pair @ [1, 2, 0, 4] - y) <= 4e-15 * rows).all()
    assert (np.abs(pair @ [1, -1, 0, 1]) <= 2e-15 * rows).all()
