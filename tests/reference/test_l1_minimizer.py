"""The ℓ1-minimiser: optimality conditions on the user's own data, uniqueness, scales, ranks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

import dlntorch as dln
from dlntorch.trajectory import Status
from tests.problems import gaussian, line, paper_random, plane


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
