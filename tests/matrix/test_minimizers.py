"""The nuclear and the group minimiser against conic solvers, ℓ1-minimisers and closed forms; certificates; uniqueness."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import dlntorch as dln
from dlntorch.matrix import generators
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError


def _conic(objective, constraints) -> float:
    """The value by a conic solver."""
    cvxpy = pytest.importorskip("cvxpy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problem = cvxpy.Problem(cvxpy.Minimize(objective), constraints)
        return float(problem.solve(solver="CLARABEL"))


def _nuclear_by_conic(problem, psd=False) -> float:
    cvxpy = pytest.importorskip("cvxpy")
    X = cvxpy.Variable(problem.shape, PSD=True) if psd else cvxpy.Variable(problem.shape)
    A = problem.flat.to_dense().A.numpy()
    size = cvxpy.trace(X) if psd else cvxpy.normNuc(X)
    return _conic(size, [A @ cvxpy.vec(X, order="C") == problem.y.numpy()])


def _check(problem, found):
    """The certificate, computed again from what is returned."""
    assert found.status is Status.CONVERGED, found.reason
    assert found.gap <= 1e-9
    assert float(problem.relative_residual(found.X)) < 1e-12
    images = problem.adjoint(found.dual)
    assert float(torch.linalg.matrix_norm(images, 2)) <= 1 + 1e-12
    assert float(torch.linalg.svdvals(found.X).sum()) == pytest.approx(found.value, rel=1e-12)
    assert float(problem.y @ found.dual) == pytest.approx(found.value, rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("m", "d1", "d2", "rank"), [(12, 5, 7, 1), (40, 8, 6, 2), (15, 6, 6, 3), (4, 3, 9, 1)])
def test_sensing_as_the_conic_solver_has_it(m, d1, d2, rank, seed):
    problem = generators.gaussian_sensing(m, d1, d2, rank, seed=seed)
    found = dln.nuclear_minimizer(problem)
    _check(problem, found)
    assert found.value == pytest.approx(_nuclear_by_conic(problem), rel=1e-6)
    assert found.unique is True


@pytest.mark.parametrize("m", [6, 12, 20])
def test_positive_semidefinite_as_the_conic_solver_has_it(m):
    problem = generators.gaussian_sensing(m, 6, 6, 1, psd=True, seed=m)
    found = dln.nuclear_minimizer(problem, psd=True)
    assert found.status is Status.CONVERGED
    assert found.gap <= 1e-9
    assert found.value == pytest.approx(_nuclear_by_conic(problem, psd=True), rel=1e-6)
    assert float(torch.linalg.eigvalsh(found.X)[0]) > -1e-9 * found.value
    assert float(torch.linalg.eigvalsh(problem.adjoint(found.dual))[-1]) <= 1 + 1e-9


def test_completion_recovers_a_planted_matrix_with_a_certificate():
    problem = generators.completion(20, 25, rank=2, share=0.6, seed=2)
    found = dln.nuclear_minimizer(problem)
    _check(problem, found)
    assert found.rank == 2
    assert found.unique is True
    assert float((found.X - problem.truth).norm()) < 1e-9 * found.value


def test_two_by_two_has_its_closed_form():
    for epsilon in (0.0, 0.3, -0.9):
        found = dln.nuclear_minimizer(generators.two_by_two(epsilon))
        assert float(found.X[0, 0]) == pytest.approx(epsilon, abs=1e-6)
        assert found.value == pytest.approx(2.0, rel=1e-9)
        assert found.unique is True


@pytest.mark.parametrize("seed", range(5))
def test_a_diagonal_problem_is_basis_pursuit(seed):
    rng = np.random.default_rng(seed)
    vector = dln.Problem(rng.standard_normal((4, 9)), rng.standard_normal(4))
    Q = generators.random_orthogonal(9, seed)
    found, reference = dln.nuclear_minimizer(generators.embedded(vector, Q)), dln.l1_minimizer(vector)
    assert found.value == pytest.approx(reference.value, rel=1e-9)
    assert found.rank == len(reference.support)
    assert found.X.numpy() == pytest.approx(Q * reference.psi.numpy() @ Q.T, abs=1e-7)
    # off-diagonal parts between two nonzeros are measured by nothing and cost nothing: only rank one is unique
    assert found.unique is (found.rank == 1)


def test_where_there_are_several_it_says_so():
    # ⟨I, X⟩ = 1 on 2×2: every positive semidefinite X of trace one
    found = dln.nuclear_minimizer(dln.MatrixProblem(np.eye(2)[None], [1.0]))
    assert found.value == pytest.approx(1.0)
    assert found.unique is False
    # the same for vectors: ‖(1, 1)‖: all of the simplex
    vector = dln.group_minimizer(dln.Problem([[1.0, 1.0]], [1.0]), 1)
    assert vector.unique is False
    assert dln.group_minimizer(dln.Problem([[1.0, 1.0, 0.5]], [1.0]), [[0, 1], [2]]).unique is True


def test_measurements_that_no_matrix_has_are_a_status():
    A = np.ones((2, 2, 2))
    found = dln.nuclear_minimizer(dln.MatrixProblem(A, [1.0, 2.0]))
    assert found.status is Status.FAILED
    assert "no X has these measurements" in found.reason
    assert found.unique is None
    assert found.unique_reason
    assert bool(torch.isfinite(found.X).all())


def test_no_positive_semidefinite_matrix_is_a_status():
    A = np.stack([np.diag([1.0, 0.0, 0.0]), np.diag([0.0, 1.0, 1.0])])
    found = dln.nuclear_minimizer(dln.MatrixProblem(A, [-1.0, 1.0]), psd=True)
    assert found.status is Status.FAILED
    assert "positive semidefinite" in found.reason
    assert found.unique is None
    assert bool(torch.isfinite(found.X).all())
    assert np.isfinite(found.gap)


def test_dependent_measurements_and_zero():
    problem = generators.gaussian_sensing(8, 4, 4, 1)
    doubled = dln.MatrixProblem(torch.cat([problem.measurements] * 2), torch.cat([problem.y] * 2))
    assert dln.nuclear_minimizer(doubled).value == pytest.approx(dln.nuclear_minimizer(problem).value, rel=1e-8)
    zero = dln.nuclear_minimizer(dln.MatrixProblem(problem.measurements, torch.zeros(8)))
    assert (zero.value, zero.rank, zero.unique, zero.status) == (0.0, 0, True, Status.CONVERGED)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_scales_do_not_matter(scale):
    problem = generators.gaussian_sensing(12, 5, 5, 1)
    reference = dln.nuclear_minimizer(problem)
    scaled = dln.nuclear_minimizer(dln.MatrixProblem(problem.measurements * 3, problem.y * scale))
    assert scaled.value == pytest.approx(reference.value * scale / 3, rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_groups_as_the_conic_solver_has_them(seed):
    cvxpy = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(seed)
    A, y, weights = rng.standard_normal((7, 18)), rng.standard_normal(7), rng.uniform(0.5, 2, 6)
    found = dln.group_minimizer(dln.Problem(A, y), 3, weights)
    x = cvxpy.Variable(18)
    size = sum(weights[g] * cvxpy.norm(x[3 * g : 3 * g + 3]) for g in range(6))
    assert found.status is Status.CONVERGED
    assert found.value == pytest.approx(_conic(size, [A @ x == y]), rel=1e-6)
    assert np.abs(A @ found.psi.numpy() - y).max() < 1e-11
    Z = (A.T @ found.dual.numpy()).reshape(6, 3)
    assert (np.linalg.norm(Z, axis=1) <= weights * (1 + 1e-12)).all()
    assert float(y @ found.dual.numpy()) == pytest.approx(found.value, rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_groups_of_one_are_basis_pursuit(seed):
    rng = np.random.default_rng(seed)
    problem = dln.Problem(rng.standard_normal((6, 15)), rng.standard_normal(6))
    found = dln.group_minimizer(problem, np.arange(15))
    reference = dln.l1_minimizer(problem)
    assert found.psi.numpy() == pytest.approx(reference.psi.numpy(), abs=1e-8)
    assert found.unique is reference.unique is True


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (2, "groups must divide n = 3"),
        ([[0, 1]], "groups must cover every coordinate"),
        ([[0, 1], [1, 2]], r"groups\[1\] must hold coordinates"),
        ([[0, 1], [2, 3]], r"groups\[1\] must hold coordinates"),
        ([[], [0, 1, 2]], r"groups\[0\] must be a nonempty list"),
        (np.zeros(2, int), "groups must be a size, 3 group numbers"),
    ],
)
def test_groups_have_to_partition(groups, message):
    with pytest.raises(InputError, match=message):
        dln.group_minimizer(dln.Problem([[1.0, 2.0, 3.0]], [1.0]), groups)


def test_other_mistakes():
    with pytest.raises(InputError, match="problem must be a MatrixProblem"):
        dln.nuclear_minimizer(dln.Problem([[1.0, 2.0]], [1.0]))
    with pytest.raises(InputError, match="problem must have square matrices with psd=True"):
        dln.nuclear_minimizer(dln.MatrixProblem(np.ones((1, 2, 3)), [1.0]), psd=True)
    with pytest.raises(InputError, match="weights must be finite and > 0"):
        dln.group_minimizer(dln.Problem([[1.0, 2.0]], [1.0]), 1, [1.0, -1.0])
