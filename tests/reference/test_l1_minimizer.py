"""The ℓ1-minimiser: optimality conditions on the user's own data, uniqueness, scales, ranks."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

import dlntorch as dln
import dlntorch.reference.l1_minimizer as module
from dlntorch.numerics.trajectory import Status
from tests.problems import gaussian, line, line_selected, paper_random, plane


def kkt(problem: dln.Problem, found, tolerance: float = 1e-10) -> None:
    """Aψ = y, |A_iᵀλ| <= 1, yᵀλ = ‖ψ‖₁, computed here from the given data alone."""
    A, y = problem.A.numpy(), problem.y.numpy()
    psi, lam = found.psi.numpy(), found.dual.numpy()
    assert np.all(np.isfinite(psi))
    assert np.all(np.isfinite(lam))
    size = np.linalg.norm(A, 2) * np.linalg.norm(psi) + np.linalg.norm(y)
    assert np.linalg.norm(A @ psi - y) <= tolerance * size
    assert np.abs(A.T @ lam).max() <= 1 + tolerance
    assert abs(y @ lam - np.abs(psi).sum()) <= tolerance * np.abs(psi).sum()
    assert found.value == pytest.approx(np.abs(psi).sum(), rel=1e-14)
    assert found.support.tolist() == np.flatnonzero(psi).tolist()


@pytest.mark.parametrize("problem", [line(), plane(), paper_random()], ids=lambda q: q.name)
def test_papers_problems(problem: dln.Problem) -> None:
    found = dln.l1_minimizer(problem)
    assert found.status is Status.CONVERGED
    kkt(problem, found, 1e-14)
    assert found.unique is (problem.name == "random")
    if problem.name != "random":
        assert found.value == pytest.approx(3.0, rel=1e-15)


@pytest.mark.parametrize(("m", "n", "nonzeros"), [(10, 30, None), (50, 200, 6), (50, 200, None), (20, 60, 3)])
def test_agrees_with_interior_point_and_beats_it(m: int, n: int, nonzeros: int | None) -> None:
    for seed in range(3):
        problem = gaussian(m, n, seed, nonzeros)
        found = dln.l1_minimizer(problem)
        kkt(problem, found, 1e-13)
        A = problem.A.numpy()
        other = linprog(np.ones(2 * n), A_eq=np.hstack([A, -A]), b_eq=problem.y.numpy(), method="highs-ipm")
        assert found.value == pytest.approx(other.fun, rel=1e-7)
        assert found.unique is True
        assert found.support.numel() == (nonzeros or m)
        if nonzeros:
            torch.testing.assert_close(found.psi, problem.truth, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("matrix", [1e-150, 1.0, 1e150])
@pytest.mark.parametrize("data", [1e-150, 1.0, 1e150])
def test_any_scale(matrix: float, data: float) -> None:
    base = gaussian(8, 20, 5)
    reference = dln.l1_minimizer(base)
    found = dln.l1_minimizer(dln.Problem(base.A * matrix, base.y * data))
    assert found.status is Status.CONVERGED
    assert found.unique is True
    torch.testing.assert_close(found.psi * (matrix / data), reference.psi, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(found.dual * matrix, reference.dual, rtol=1e-12, atol=1e-13)


def test_zero_data() -> None:
    found = dln.l1_minimizer(dln.Problem([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]], [0.0, 0.0]))
    assert found.psi.tolist() == [0.0, 0.0, 0.0]
    assert found.dual.tolist() == [0.0, 0.0]
    assert found.unique is True
    assert found.value == 0.0
    assert found.support.numel() == 0
    assert found.status is Status.CONVERGED


def test_rank_deficient_and_inconsistent() -> None:
    base = gaussian(6, 20, 1)
    mix = torch.tensor(np.random.default_rng(0).standard_normal((9, 6)))
    reference = dln.l1_minimizer(base)
    same = dln.Problem(mix @ base.A, mix @ base.y)
    found = dln.l1_minimizer(same)
    kkt(same, found, 1e-12)
    assert found.reason == ""
    torch.testing.assert_close(found.psi, reference.psi, rtol=1e-11, atol=1e-12)
    Q, _ = torch.linalg.qr(mix, mode="complete")
    outside = dln.Problem(mix @ base.A, mix @ base.y + Q[:, 7])
    other = dln.l1_minimizer(outside)
    assert other.status is Status.CONVERGED
    assert "not in range(A)" in other.reason
    torch.testing.assert_close(other.psi, reference.psi, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_duplicated_and_opposite_columns_are_not_unique(sign: float) -> None:
    base = gaussian(6, 15, 3)
    reference = dln.l1_minimizer(base)
    inside = int(reference.support[0])
    outside = next(i for i in range(15) if i not in reference.support.tolist())
    for column, unique in ((inside, False), (outside, True)):
        found = dln.l1_minimizer(dln.Problem(torch.cat([base.A, sign * base.A[:, [column]]], dim=1), base.y))
        assert found.unique is unique
        assert found.value == pytest.approx(reference.value, rel=1e-13)
        assert found.face.dimension == (0 if unique else 1)


def test_kink_is_decided_down_to_the_documented_margin() -> None:
    for delta in (1e-3, 1e-6, 1e-9):
        for sign in (1, -1):
            found = dln.l1_minimizer(dln.Problem([[1.0, 1.0 - sign * delta]], [1.0]))
            assert found.unique is True
            assert found.support.tolist() == [0 if sign > 0 else 1]
    assert dln.l1_minimizer(dln.Problem([[1.0, 1.0]], [1.0])).unique is False
    undecided = dln.l1_minimizer(dln.Problem([[1.0, 1.0 - 1e-12]], [1.0]))
    assert undecided.unique is None
    assert "undecided" in undecided.reason


@pytest.mark.filterwarnings("ignore:A has m")
def test_shapes_without_freedom_and_zero_columns() -> None:
    square = dln.l1_minimizer(dln.Problem([[2.0, 1.0], [0.0, 4.0]], [4.0, 4.0]))
    assert square.psi.tolist() == [1.5, 1.0]
    assert square.unique is True
    single = dln.l1_minimizer(dln.Problem([[-2.0]], [4.0]))
    assert single.psi.tolist() == [-2.0]
    zeros = dln.l1_minimizer(dln.Problem([[0.0, 2.0, 0.0]], [4.0]))
    assert zeros.psi.tolist() == [0.0, 2.0, 0.0]
    assert zeros.unique is True


def test_float32_data_are_solved_in_double_and_rounded_once() -> None:
    double = gaussian(6, 20, 2)
    single = double.to(dtype="float32")
    same = single.to(dtype="float64")
    found, reference = dln.l1_minimizer(single), dln.l1_minimizer(same)
    assert found.psi.dtype == torch.float32
    assert torch.equal(found.psi, reference.psi.float())
    assert found.certificate.duality_gap <= 1e-14
    assert dln.predict_rate(single, 3).constant == pytest.approx(dln.predict_rate(same, 3).constant, rel=1e-12)


def test_data_of_very_different_sizes() -> None:
    """Entries of y far below HiGHS's absolute tolerances are solved for, not dropped."""
    base = gaussian(4, 9, 1)
    alone = dln.l1_minimizer(base)
    A = torch.zeros(8, 18, dtype=torch.float64)
    A[:4, :9] = A[4:, 9:] = base.A
    for small in (1e-9, 1e-12):
        found = dln.l1_minimizer(dln.Problem(A, torch.cat([base.y, small * base.y])))
        assert found.unique is True
        torch.testing.assert_close(found.psi[:9], alone.psi, rtol=1e-12, atol=0)
        torch.testing.assert_close(found.psi[9:] / small, alone.psi, rtol=1e-12, atol=0)


@pytest.mark.parametrize("condition", [1e5, 1e8, 1e11])
def test_ill_conditioned(condition: float) -> None:
    """ψ solves the problem; λ, rounded, may not prove it any more, and then the status says so."""
    rng = np.random.default_rng(3)
    U, V = np.linalg.qr(rng.standard_normal((8, 8)))[0], np.linalg.qr(rng.standard_normal((20, 8)))[0]
    truth = np.zeros(20)
    truth[[2, 11]] = [1.5, -0.5]
    A = U @ np.diag(np.geomspace(1, 1 / condition, 8)) @ V.T
    problem = dln.Problem(A, A @ truth)
    found = dln.l1_minimizer(problem)
    np.testing.assert_allclose(found.psi.numpy(), truth, rtol=0, atol=1e-14 * condition)
    assert float(problem.relative_residual(found.psi)) <= 1e-14
    assert found.certificate.holds(1e-13)
    if found.status is Status.CONVERGED:
        kkt(problem, found)
    else:
        assert found.status is Status.BELOW_INPUT_PRECISION
        assert "ill-conditioned" in found.reason


def test_entries_that_highs_takes_for_zeros_are_seen() -> None:
    """y is column 0 plus column 2, at cost 2; without its small entry column 2 would be column 0 again."""
    for small in (1e-9, 1e-11, 1e-13):
        A = np.array([[1.0, 1.0, 1.0, 0.0], [0.0, 0.0, small, 0.5]])
        found = dln.l1_minimizer(dln.Problem(A, [2.0, small]))
        assert found.status is Status.CONVERGED
        assert found.value == pytest.approx(2, rel=1e-10)  # to which the conditions are asked to hold
        assert np.abs(A @ found.psi.numpy() - [2.0, small]).max() <= 1e-12
        assert np.abs(A.T @ found.dual.numpy()).max() <= 1 + 1e-10


def test_nothing_to_fit_with_a_matrix_that_is_nearly_singular():
    found = dln.l1_minimizer(dln.Problem([[1, 1, 0], [1, 1 + 1e-6, 0]], [0, 0]))
    assert found.status is Status.CONVERGED
    assert found.psi.tolist() == [0.0, 0.0, 0.0]
    assert found.dual.tolist() == [0.0, 0.0]


# -- what float64 took for exact ----------------------------------------------------------------------------------------


def test_rows_that_are_small_beside_the_others_count_as_much() -> None:
    """ψ = (0, 1, 3): the first row gives ψ₀ + ψ₁ = 1 and the second, 1e-17 times it or less, ψ₁ + ψ₂ = 3."""
    for tiny in (2.0**-57, 2.0**-300, 2.0**60):
        problem = dln.Problem([[1, 1, 0], [0, tiny, tiny]], [1, 3 * tiny])
        found = dln.l1_minimizer(problem)
        assert found.psi.tolist() == [0.0, 1.0, 2.0]
        assert (found.unique, found.status, found.reason) == (True, Status.CONVERGED, "")
        assert dln.selected_minimizer(problem, 3).psi.tolist() == [0.0, 1.0, 2.0]
        assert dln.basis_pursuit(problem.A, problem.y).x.tolist() == [0.0, 1.0, 2.0]
    np.testing.assert_allclose(
        dln.flow_limit(dln.Problem([[1, 1, 0], [0, 2.0**-57, 2.0**-57]], [1, 3 * 2.0**-57]), 3, 1e-4).psi,
        [0, 1, 2],
        atol=1e-9,
    )


@pytest.mark.parametrize("repeated", [False, True])
def test_the_sizes_of_the_rows_change_nothing(repeated: bool) -> None:
    base = gaussian(10, 30, 0)
    sizes = torch.exp2(torch.linspace(-46, 13, 10).round().double())
    if repeated:  # rank 10 of 12 rows, the repeated ones at another size
        base = dln.Problem(torch.cat([base.A, base.A[:2]]), torch.cat([base.y, base.y[:2]]))
        sizes = torch.cat([sizes, sizes[:2] * 2.0**30])
    graded = dln.Problem(base.A * sizes[:, None], base.y * sizes)
    found, reference = dln.l1_minimizer(graded), dln.l1_minimizer(base)
    assert (found.status, found.unique) == (Status.CONVERGED, True)
    torch.testing.assert_close(found.psi, reference.psi, rtol=1e-12, atol=1e-14)
    rate, expected = dln.predict_rate(graded, 3), dln.predict_rate(base, 3)
    assert rate.constant == pytest.approx(expected.constant, rel=1e-8)


@pytest.mark.filterwarnings("ignore:A has m")
def test_integers_in_single_precision_are_solved_like_integers() -> None:
    """The paper's line, with the sum of its rows as a third: the same face, hence the same W_3 and the same limit."""
    problem = dln.Problem([[1, 1, 1], [3, 0, 1], [4, 1, 2]], [3, 3, 6], dtype="float32")
    found = dln.l1_minimizer(problem)
    assert (found.unique, found.face.dimension, found.status) == (False, 1, Status.CONVERGED)
    for p in (2, 3):
        chosen = dln.selected_minimizer(problem, p)
        np.testing.assert_allclose(chosen.psi.double(), line_selected(p), rtol=1e-7)
        assert chosen.status is Status.CONVERGED
    single, double = dln.flow_limit(problem, 3, 1e-2), dln.flow_limit(line(), 3, 1e-2)
    torch.testing.assert_close(single.psi.double(), double.psi, rtol=1e-7, atol=0)


def test_data_rounded_to_single_precision_have_the_rank_of_what_was_rounded() -> None:
    rng = np.random.default_rng(1)
    A = rng.standard_normal((10, 6)) @ rng.standard_normal((6, 30))
    x = np.zeros(30)
    x[:2] = 1.0, -0.5
    exact = dln.l1_minimizer(dln.Problem(A, A @ x))
    rounded = dln.Problem(A.astype(np.float32), (A @ x).astype(np.float32))
    found = dln.l1_minimizer(rounded)
    assert found.status is Status.CONVERGED
    assert found.value == pytest.approx(exact.value, rel=1e-5)
    assert "taken as rounded to 1.2e-07" in found.reason
    other = dln.basis_pursuit(rounded.A.float(), rounded.y.float())
    assert other.status is Status.CONVERGED
    assert float(other.value) == pytest.approx(exact.value, rel=1e-5)
    assert "rounded to 1.2e-07" in other.reason


def test_uniqueness_is_undecided_where_it_hangs_on_digits_that_the_data_have_lost() -> None:
    """Two equal columns of the minimiser, rounded apart, in data of rank 2 to single precision and 3 in full."""
    A = np.array([[1, 1, 0.2], [1 / 3, 1 / 3, 1], [4 / 3, 4 / 3, 1.2]])
    A = np.column_stack([A, [0.1, 0.3, 0.4]]).astype(np.float32)
    A[2, 1] = np.nextafter(A[2, 1], np.float32(2))
    A = A.astype(np.float64)
    problem = dln.Problem(A.astype(np.float32), A[:, 0].astype(np.float32))
    assert problem.rank == 2
    assert dln.l1_minimizer(problem).unique is not True


@pytest.mark.parametrize("y", [[3, -3], [1, -1], [1e-3, -1e-3]])
def test_the_projection_of_an_orthogonal_y_is_zero_not_its_rounding(y: list[float]) -> None:
    problem = dln.Problem([[0, -1, -1, 1, 0], [0, -1, -1, 1, 0]], y)
    found = dln.l1_minimizer(problem)
    assert found.psi.tolist() == [0.0] * 5
    assert (found.value, found.unique, found.face.dimension) == (0.0, True, 0)
    assert "not in range(A)" in found.reason
    assert dln.selected_minimizer(problem, 3).dimension == 0
    assert not dln.flow_limit(problem, 3, 1e-2).psi.any()
    assert not dln.basis_pursuit(problem.A, problem.y).x.any()


def test_a_projection_that_is_nearly_rounding_is_no_certain_answer() -> None:
    """y = (3, −3) + 1e-9 (1, 1): its projection on the range of two equal rows has seven digits."""
    found = dln.l1_minimizer(dln.Problem([[0, -1, -1, 1, 0], [0, -1, -1, 1, 0]], [3 + 1e-9, -3 + 1e-9]))
    assert found.value == pytest.approx(1e-9, rel=1e-6)
    assert found.status is Status.BELOW_INPUT_PRECISION
    assert "its projection is known to" in found.reason


@pytest.mark.parametrize("k", [5, 26, 34, 40, 45])
def test_nearly_parallel_rows_cost_no_digit(k: int) -> None:
    """A = [[K, K, 1], [K, K + 1, 3]] and y = A(1, 2, 0), integers: λ = (1/K, 0) proves ψ = (1, 2, 0), alone."""
    K = 2.0**k
    problem = dln.Problem([[K, K, 1], [K, K + 1, 3]], [3 * K, 3 * K + 2])
    found = dln.l1_minimizer(problem)
    assert (found.status, found.unique, found.support.tolist()) == (Status.CONVERGED, True, [0, 1])
    np.testing.assert_allclose(found.psi, [1, 2, 0], rtol=2e-16)
    assert found.error <= 1e-15
    np.testing.assert_allclose(dln.selected_minimizer(problem, 3).psi, [1, 2, 0], rtol=2e-16)
    solved = dln.basis_pursuit(problem.A, problem.y)
    assert solved.status is Status.CONVERGED
    np.testing.assert_allclose(solved.x, [1, 2, 0], rtol=1e-13)


@pytest.mark.parametrize("k", [18, 22, 25])
def test_nearly_parallel_columns_of_the_support_cost_no_digit(k: int) -> None:
    """A well-conditioned A, a basis of condition 2^k: λ = (1, 0) proves ψ = (1, 2, 0), alone."""
    c, d = 1365 / 4096, 2.0**-k
    problem = dln.Problem([[1, 1, 0], [c, c + d, 1]], [3, 3 * c + 2 * d])
    for psi, status in (
        ((found := dln.l1_minimizer(problem)).psi, found.status),
        ((solved := dln.basis_pursuit(problem.A, problem.y)).x, solved.status),
    ):
        np.testing.assert_allclose(psi, [1, 2, 0], rtol=2e-16)
        assert status is Status.CONVERGED
    # Beyond, another vertex costs less than 1e-10 more, which is what the conditions are asked to hold to.
    near = dln.l1_minimizer(dln.Problem([[1, 1, 0], [c, c + 2.0**-40, 1]], [3, 3 * c + 2.0**-39]))
    assert near.value == pytest.approx(3, rel=1e-10)
    assert near.unique is None


def test_a_basis_that_float64_cannot_solve_is_below_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "refine", lambda values, *_: (values, 3e-7))
    found = dln.l1_minimizer(gaussian(5, 12, 0))
    assert found.status is Status.BELOW_INPUT_PRECISION
    assert found.error == 3e-7
    assert "psi may be off by 3.0e-07" in found.reason


def in_rationals(A: np.ndarray, b: np.ndarray) -> list[Fraction]:
    """A⁻¹b of square float64 numbers taken as exact."""
    rows = [[Fraction(float(v)) for v in (*row, value)] for row, value in zip(A, b, strict=True)]
    for i in range(len(rows)):
        pivot = next(k for k in range(i, len(rows)) if rows[k][i])
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [v / rows[i][i] for v in rows[i]]
        rows = [
            row if k == i else [v - row[i] * w for v, w in zip(row, rows[i], strict=True)] for k, row in enumerate(rows)
        ]
    return [row[-1] for row in rows]


@pytest.mark.parametrize("condition", [1e6, 1e9, 1e12])
@pytest.mark.parametrize("seed", range(4))
def test_a_gap_is_called_closed_only_where_rounding_lets_it_be_known(seed: int, condition: float) -> None:
    """The vertex and λ on its basis, in rationals, prove the value; what λ in float64 proves is another matter."""
    rng = np.random.default_rng(seed)
    U, V = np.linalg.qr(rng.standard_normal((5, 5)))[0], np.linalg.qr(rng.standard_normal((12, 5)))[0]
    A, y = U @ np.diag(np.geomspace(1, 1 / condition, 5)) @ V.T, rng.standard_normal(5)
    found, solved = dln.l1_minimizer(dln.Problem(A, y)), dln.basis_pursuit(A, y)
    basis = found.support.numpy()
    x = in_rationals(A[:, basis], y)
    lam = in_rationals(A[:, basis].T, np.sign([float(v) for v in x]))
    tau = [sum(Fraction(float(a)) * v for a, v in zip(column, lam, strict=True)) for column in A.T]
    assert max(abs(v) for v in tau) == 1
    np.testing.assert_allclose(found.psi[basis], [float(v) for v in x], rtol=0, atol=2e-16 * float(max(map(abs, x))))
    value = float(sum(abs(v) for v in x))
    assert found.value == pytest.approx(value, rel=1e-15)
    assert float(solved.value) == pytest.approx(value, rel=1e-15)
    known = 1e-16 * max(float(abs(v)) for v in lam)  # what rounding λ does to Aᵀλ, ‖A‖ = 1
    for status, tolerance in ((found.status, 1e-10), (solved.status, 1e-9)):
        if known > 10 * tolerance:
            assert status is Status.BELOW_INPUT_PRECISION
        if known < 1e-3 * tolerance:
            assert status is Status.CONVERGED
    if solved.status is Status.BELOW_INPUT_PRECISION:
        assert "known to" in solved.reason


def test_a_negative_gap_is_no_proof() -> None:
    """Four rows, two of them nearly opposite: (2e-7, 0, 0, 0, −3e-7) at cost 5e-7, by rationals."""
    A = np.array(
        [[1e7, 0.01, -0.001, 0, -1e7], [-1e7, 0.01, -0.001, 0, 0], [1e7, -0.01, 0, 0, 0], [-1e7, -0.01, 0.001, 0, 0]]
    )
    y = np.array([5.0, -2, 2, -2])
    for one in (dln.l1_minimizer(dln.Problem(A, y)), dln.basis_pursuit(A, y)):
        np.testing.assert_allclose(one.psi, [2e-7, 0, 0, 0, -3e-7], rtol=1e-12)
        assert float(one.value) == pytest.approx(5e-7, rel=1e-14)
        assert one.status is Status.CONVERGED
