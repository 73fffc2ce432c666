"""One vertex and its dual by HiGHS: the numbers that describe them, and what happens where HiGHS is of no help."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import OptimizeResult

import dlntorch as dln
from dlntorch.numerics.trajectory import Status
from dlntorch.reference import l1_minimizer as module
from dlntorch.reference import vertex as solver
from dlntorch.reference.basis_pursuit import basis_pursuit
from dlntorch.reference.costs import PLAIN
from dlntorch.reference.faces import find_face
from dlntorch.reference.l1_minimizer import certify, l1_minimizer
from dlntorch.reference.standard_form import StandardForm
from dlntorch.reference.vertex import Vertex, _polish_primal, dual_noise, least_squares, solve_vertex
from tests.problems import gaussian

EPS = 2.0**-52


@pytest.fixture
def no_highs(monkeypatch: pytest.MonkeyPatch) -> None:
    """HiGHS gives up on everything."""
    monkeypatch.setattr(solver, "linprog", lambda *_, **__: OptimizeResult(status=4, message="gave\nup", x=None))


@pytest.mark.usefixtures("no_highs")
def test_without_highs_the_least_norm_solution_comes_with_how_far_its_dual_is_from_its_signs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = gaussian(4, 10, 0)
    A, y = problem.A.numpy(), problem.y.numpy()
    vertex = solve_vertex(A, y)
    np.testing.assert_allclose(vertex.x, np.linalg.pinv(A) @ y, rtol=1e-12)
    assert vertex.message == "gave up"
    tau = A.T @ vertex.lam
    wrong = np.abs(tau - np.sign(vertex.x)).max()  # ten signs, four numbers in λ
    assert wrong > 0.1
    assert vertex.infeasibility == pytest.approx(max(wrong, np.abs(tau).max() - 1), rel=1e-12)
    found = l1_minimizer(problem)  # the path needs no HiGHS
    assert found.status is Status.CONVERGED
    assert "basis_pursuit" in found.reason
    assert found.value == pytest.approx(float(basis_pursuit(A, y).value), rel=1e-12)
    monkeypatch.setattr(module, "fast_vertex", lambda *_: None)
    monkeypatch.setattr(module, "refined_simplex", lambda *_: None)
    monkeypatch.setattr(module, "polished_vertex", lambda *_: vertex)
    found = l1_minimizer(problem)
    assert found.status is Status.FAILED
    assert "HiGHS failed (gave up)" in found.reason
    assert found.unique is None


def test_rounding_in_the_dual_is_never_taken_for_zero() -> None:
    """32 eps (1 + max‖A_i‖‖λ‖): the 1 of 1 − |A_iᵀλ| is rounded also where λ = 0."""
    A = np.array([[3.0, 1.0], [4.0, 0.0]])
    assert dual_noise(A, np.zeros(2)) == 32 * EPS
    assert dual_noise(A, np.array([0.0, 2.0])) == 32 * EPS * 11
    assert l1_minimizer(dln.Problem([[1.0, 2.0, 3.0]], [0.0])).certificate.noise == 32 * EPS


def test_data_along_the_largest_singular_vector_are_solved_exactly() -> None:
    """‖Ax‖ = ‖A‖‖x‖: no room is left between the two sizes that the residual is compared with."""
    A = np.array([[0.375, 0.5, 0.0], [0.5, -0.375, 0.0]])
    for x in ([0.75, 0.75, 0.0], [1.0, 0.5, 0.0], [0.25, -0.5, 0.0]):
        vertex = solve_vertex(A, A @ x)
        np.testing.assert_allclose(vertex.x, x, rtol=1e-15)
        assert vertex.residual <= 1e-16
        assert vertex.infeasibility <= 1e-15


@pytest.mark.parametrize("exponent", [-40, 0, 40])
def test_a_vertex_is_polished_whatever_the_size_of_its_columns(exponent: int) -> None:
    problem = gaussian(5, 12, 0)
    A = problem.A.numpy() * 2.0**exponent
    x = np.zeros(12)
    x[[2, 5, 9]] = [1.0, -2.0, 0.5]
    rough = x * (1 + 1e-9 * np.sin(np.arange(12)))
    np.testing.assert_allclose(_polish_primal(A, A @ x, rough), x, rtol=1e-14)


def test_columns_that_are_no_basis_leave_a_vertex_as_it_is() -> None:
    A = np.array([[0.5, 0.5, 0.25], [0.25, 0.25, 0.5]])
    x = np.array([0.75, 0.25, 0.0])
    assert np.array_equal(_polish_primal(A, A @ x, x), x)
    assert np.array_equal(least_squares(np.zeros((3, 2)), np.ones(3)), np.zeros(2))


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.5])
def test_a_certificate_measures_each_condition_by_itself(factor: float) -> None:
    problem = gaussian(5, 12, 0)
    form = StandardForm.of(problem)
    good = solve_vertex(form.A, form.y)
    lam = factor * good.lam
    found = certify(form, Vertex(good.x, lam, form.A.T @ lam, good.ties, good.noise, good.near, good.residual, 0.0))
    assert found.dual_infeasibility == pytest.approx(max(0.0, factor - 1), abs=1e-13)
    assert found.duality_gap == pytest.approx(abs(factor - 1), abs=1e-13)
    assert found.complementarity == pytest.approx(abs(factor - 1), abs=1e-13)
    assert found.primal_residual <= 1e-15
    assert found.holds() is (factor == 1.0)


def test_a_pair_that_is_not_optimal_fails_and_the_worst_condition_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = gaussian(5, 12, 0)
    form = StandardForm.of(problem)
    good = solve_vertex(form.A, form.y)
    lam = 0.75 * good.lam
    bad = Vertex(good.x, lam, form.A.T @ lam, good.ties, good.noise, good.near, good.residual, 0.25)
    monkeypatch.setattr(module, "solve_vertex", lambda *_: bad)
    monkeypatch.setattr(module, "fast_vertex", lambda *_: None)
    monkeypatch.setattr(module, "refined_simplex", lambda *_: None)
    monkeypatch.setattr(module, "polished_vertex", lambda *_: bad)
    found = l1_minimizer(problem)
    assert found.status is Status.FAILED
    assert "hold only to 2.5e-01 (asked 1e-10)" in found.reason


def test_the_reason_of_consistent_data_is_empty() -> None:
    assert StandardForm.of(gaussian(5, 12, 0)).reason == ""
    outside = dln.Problem([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]], [1.0, 1.0])
    assert "not in range(A)" in StandardForm.of(outside).reason


@pytest.mark.parametrize(
    ("apart", "unique", "dimension"), [(1e-3, True, 0), (1e-9, True, 0), (1e-13, None, 0), (0.0, False, 1)]
)
def test_two_columns_of_a_minimiser_that_rounding_hardly_tells_apart_are_undecided(
    apart: float, unique: bool | None, dimension: int
) -> None:
    """Beside them two equal columns that are ties, too, but in no minimiser: the ties are dependent in any case."""
    A = np.array([[1.0, 1.0, 1.0, 1.0], [0.0, apart, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    lam, x = np.array([1.0, 0.0, 0.0]), np.array([1.0, 1.0, 0.0, 0.0])
    vertex = Vertex(x, lam, A.T @ lam, np.arange(4), dual_noise(A, lam), 1.0, 0.0, 0.0)
    face = find_face(A, vertex)
    assert face.unique is unique
    assert face.support.tolist() == [0, 1]
    assert face.dimension == dimension
    assert ("undecided" in face.reason) == (unique is None)


def test_nothing_is_polished_where_there_is_no_support() -> None:
    assert _polish_primal(np.eye(2, 3), np.full(2, 1e-300), np.zeros(3)).tolist() == [0.0, 0.0, 0.0]


def test_a_wrong_sign_on_the_support_is_solved_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A feasible pair of a dual vector within its bounds is no minimiser where an entry has the other sign."""
    A, y = np.array([[1.0, 1.0]]), np.array([1.0])
    polished = iter([(np.array([2.0, -1.0]), np.ones(1), np.ones(2), np.arange(2))])
    real = solver._polished
    monkeypatch.setattr(solver, "_polished", lambda *arguments: next(polished, None) or real(*arguments))
    x, *_ = solver._refined(A, y, np.array([2.0, -1.0]), np.ones(1), PLAIN)
    assert np.abs(x).sum() == pytest.approx(1.0, abs=1e-12)
    assert (x >= 0).all()
