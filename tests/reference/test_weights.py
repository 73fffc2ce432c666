"""Weighted, two-sided and nonnegative minimisers: against HiGHS on the data as given, and their optimality conditions."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import OptimizeResult, linprog, nnls

import dlntorch as dln
import dlntorch.reference.l1_minimizer as module
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import DataWarning
from dlntorch.reference.costs import Costs
from dlntorch.reference.crossover import leading_basis, simplex
from dlntorch.reference.weights import Weights
from tests.problems import LINE, gaussian, line

KINDS = ("two-sided", "one vector", "nonnegative")


class Case:
    """A random problem, with ties in every fourth, repeated rows in every fifth, integer weights in every third."""

    def __init__(self, seed: int, kind: str) -> None:
        rng = np.random.default_rng(seed)
        m = int(rng.integers(1, 10))
        n = m + int(rng.integers(1, 20))
        self.A = rng.integers(-2, 3, (m, n)).astype(float) if seed % 4 == 1 else rng.standard_normal((m, n))
        if seed % 5 == 2:
            self.A[-1] = self.A[0]
        if not self.A.any():
            self.A[0, 0] = 1.0
        decades = (1, 2, 4)[seed % 7 % 3] / 2
        plus, minus = 10 ** rng.uniform(-decades, decades, (2, n))
        if seed % 3 == 0:
            plus, minus = np.ceil(plus), np.ceil(minus)
        planted = rng.standard_normal(n) * (rng.random(n) < rng.random())
        if kind == "nonnegative":
            planted = np.abs(planted)
        self.y = self.A @ planted
        self.plus, self.minus = plus, plus if kind == "one vector" else None if kind == "nonnegative" else minus

    @property
    def options(self) -> dict[str, Any]:
        """The arguments that say the same."""
        if self.minus is None:
            return {"weights": self.plus, "nonnegative": True}
        return {"weights": self.plus if self.minus is self.plus else (self.plus, self.minus)}

    def value(self, psi: np.ndarray) -> float:
        if self.minus is None:
            assert np.all(psi >= 0)
            return float(self.plus @ psi)
        return float(self.plus @ np.maximum(psi, 0) + self.minus @ np.maximum(-psi, 0))

    def best(self) -> float:
        """The least value, by HiGHS."""
        both = self.minus is not None
        found: OptimizeResult = linprog(
            np.concatenate([self.plus, self.minus]) if both else self.plus,
            A_eq=np.hstack([self.A, -self.A]) if both else self.A,
            b_eq=self.y,
            method="highs-ds",
            options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
        )
        assert found.status == 0
        return float(found.fun)

    def check(self, psi: np.ndarray, dual: np.ndarray) -> None:
        """Aψ = y, −w₋ <= Aᵀλ <= w₊, and equal values of both programmes."""
        size = np.linalg.norm(self.A) * np.linalg.norm(psi) + np.linalg.norm(self.y)
        assert np.linalg.norm(self.A @ psi - self.y) <= 1e-12 * size
        tau = dual @ self.A
        slack = 1e-13 * np.abs(dual) @ np.abs(self.A)
        assert np.all(tau <= self.plus * (1 + 1e-10) + slack)
        if self.minus is not None:
            assert np.all(-tau <= self.minus * (1 + 1e-10) + slack)
        assert dual @ self.y == pytest.approx(self.value(psi), rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_both_solvers_and_basis_pursuit_find_what_highs_finds(kind: str) -> None:
    """200 random problems, with ties, faces and repeated rows among them; the ask is 1e-10."""
    decided = 0
    for seed in range(200 // len(KINDS) + 1):
        case = Case(seed, kind)
        best = case.best()
        problem = dln.Problem(case.A, case.y)
        vertices = [dln.l1_minimizer(problem, **case.options, solver=name) for name in ("linprog", "basis_pursuit")]
        for found in (*vertices, dln.basis_pursuit(case.A, case.y, **case.options)):
            if found.status is not Status.CONVERGED:  # λ is so large that 1e-10 is not proven by float64
                assert found.status is Status.BELOW_INPUT_PRECISION
                continue
            decided += 1
            psi, dual = found.psi.numpy(), found.dual.numpy()
            case.check(psi, dual)
            assert case.value(psi) == pytest.approx(best, rel=1e-10, abs=1e-300)
            assert float(found.value) == pytest.approx(case.value(psi), rel=1e-13, abs=1e-300)
        assert vertices[0].unique == vertices[1].unique
        assert vertices[0].face.dimension == vertices[1].face.dimension
        assert vertices[0].face.support.tolist() == vertices[1].face.support.tolist()
    assert decided > 180


def test_the_result_says_which_solver_found_it(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = gaussian(10, 30, 0)
    assert dln.l1_minimizer(problem).solver == "linprog"
    assert dln.l1_minimizer(problem, solver="basis_pursuit").solver == "basis_pursuit"
    monkeypatch.setattr(module, "LINPROG_WORK", 1000)
    large = dln.l1_minimizer(problem)
    assert large.solver == "basis_pursuit"
    assert large.reason == ""
    torch.testing.assert_close(large.psi, dln.l1_minimizer(problem, solver="linprog").psi, rtol=1e-13, atol=0)


@pytest.mark.parametrize("solver", ["linprog", "basis_pursuit"])
def test_equal_weights_are_the_l1_norm_times_their_value(solver: str) -> None:
    problem = gaussian(8, 24, 3)
    plain = dln.l1_minimizer(problem, solver=solver)
    for weights in (np.full(24, 3.0), (np.full(24, 3.0), np.full(24, 3.0))):
        found = dln.l1_minimizer(problem, weights, solver=solver)
        assert torch.equal(found.psi, plain.psi)
        assert torch.equal(found.dual, 3 * plain.dual)
        assert found.value == 3 * plain.value


def test_weights_are_a_scaling_of_the_columns() -> None:
    problem = gaussian(8, 24, 4)
    weights = np.random.default_rng(0).uniform(0.1, 10, 24)
    scaled = dln.l1_minimizer(dln.Problem(problem.A.numpy() / weights, problem.y))
    found = dln.l1_minimizer(problem, weights)
    np.testing.assert_allclose(found.psi.numpy() * weights, scaled.psi.numpy(), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(found.dual, scaled.dual, rtol=1e-12, atol=0)
    other = dln.l1_minimizer(problem, 2.0**-40 * weights)
    assert torch.equal(other.psi, found.psi)
    assert torch.equal(other.dual, 2.0**-40 * found.dual)


def test_the_sides_change_places_with_the_sign_of_y() -> None:
    case = Case(3, "two-sided")
    found = dln.l1_minimizer(dln.Problem(case.A, case.y), (case.plus, case.minus))
    other = dln.l1_minimizer(dln.Problem(case.A, -case.y), (case.minus, case.plus))
    torch.testing.assert_close(found.psi, -other.psi, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("scale", [1e-140, 1e-10, 1e140])
def test_any_scale_of_weights_and_data(scale: float) -> None:
    case = Case(6, "two-sided")
    problem = dln.Problem(case.A, case.y)
    found = dln.l1_minimizer(problem, (case.plus, case.minus))
    other = dln.l1_minimizer(problem, (scale * case.plus, scale * case.minus))
    assert other.status is Status.CONVERGED
    torch.testing.assert_close(other.psi, found.psi, rtol=1e-12, atol=1e-14)
    moved = dln.basis_pursuit(case.A * scale, case.y / scale, (case.plus, case.minus))
    torch.testing.assert_close(moved.x * scale * scale, found.psi, rtol=1e-11, atol=1e-13)


def test_one_cheap_column_among_columns_of_huge_weight() -> None:
    problem = gaussian(5, 12, 1)
    weights = np.full(12, 1e40)
    weights[[1, 4, 5, 8, 10]] = [1.0, 2.0, 3.0, 4.0, 5.0]
    found = dln.l1_minimizer(problem, weights)
    only = np.linalg.solve(problem.A.numpy()[:, [1, 4, 5, 8, 10]], problem.y.numpy())
    np.testing.assert_allclose(found.psi.numpy()[[1, 4, 5, 8, 10]], only, rtol=1e-11)
    assert found.support.tolist() == [1, 4, 5, 8, 10]


def test_weights_on_the_range_of_the_adjoint_make_a_face() -> None:
    """w = Aᵀλ with λ = (1, 1/16): every ψ >= 0 with Aψ = y has the same weighted norm."""
    A = np.array(LINE[0])
    weights = np.array([1.0, 0.0625]) @ A
    for solver in ("linprog", "basis_pursuit"):
        found = dln.l1_minimizer(line(), weights, solver=solver)
        assert found.unique is False
        assert found.face.dimension == 1
        assert found.face.support.tolist() == [0, 1, 2]
        assert found.value == pytest.approx(np.array([1.0, 0.0625]) @ np.array(LINE[1]), rel=1e-14)
    assert dln.l1_minimizer(line(), weights * [1, 1, 1.01]).unique is True
    # the other side's weight does not count: no minimiser is negative
    assert dln.l1_minimizer(line(), (weights, weights * [1, 2, 3])).face.dimension == 1


def test_what_no_nonnegative_vector_reaches_ends_at_nonnegative_least_squares() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        A, y = rng.standard_normal((6, 9)), rng.standard_normal(6)
        psi, residual = nnls(A, y)
        for found in (
            dln.l1_minimizer(dln.Problem(A, y), nonnegative=True),
            dln.l1_minimizer(dln.Problem(A, y), nonnegative=True, solver="basis_pursuit"),
            dln.basis_pursuit(A, y, rng.uniform(1, 2, 9), True),
        ):
            if residual < 1e-10:
                assert found.status is Status.CONVERGED
                continue
            assert found.status is Status.FAILED
            assert "no psi >= 0 has A psi = y" in found.reason
            assert f"{residual / np.linalg.norm(y):.6g}" in found.reason
            np.testing.assert_allclose(found.psi.numpy(), psi, rtol=1e-12)
            slope = A.T @ (A @ found.psi.numpy() - y)  # >= 0, and 0 where psi > 0
            assert slope.min() >= -1e-12
            assert np.abs(slope[psi > 0]).max() <= 1e-12
            assert torch.all(torch.isfinite(found.dual))


def test_a_projection_that_is_reached_is_solved_for() -> None:
    """y outside range(A) means its projection, here as without weights."""
    A, y = np.array([[1.0, 2.0], [1.0, 2.0]]), np.array([1.0, 3.0])
    with pytest.warns(DataWarning):
        problem = dln.Problem(A, y)
    found = dln.l1_minimizer(problem, [1.0, 3.0], True)
    assert found.psi.tolist() == pytest.approx([2.0, 0.0])
    assert "not in range(A)" in found.reason


def test_phase_one_leaves_a_basis_that_is_not_admitted() -> None:
    """From any basis, Σx⁻ and then Σx find the nonnegative minimiser."""
    for seed in range(10):
        case = Case(4 * seed + 3, "nonnegative")
        m, n = case.A.shape
        if np.linalg.matrix_rank(case.A) < m or not case.y.any():
            continue
        rng = np.random.default_rng(seed)
        basis = leading_basis(case.A, rng.random(n))
        assert basis is not None
        assert simplex(case.A, case.y, basis, np.zeros(n), 500, rng, Costs(np.zeros(n), np.ones(n)))[1]
        values, zero = basis.values(case.y)
        assert np.all(values[~zero] > 0)
        dual, optimal, _ = simplex(case.A, case.y, basis, np.zeros(n), 500, rng, Costs(case.plus, None))
        assert optimal
        assert dual @ case.y == pytest.approx(case.best(), rel=1e-10)


def test_batches_share_the_weights() -> None:
    rng = np.random.default_rng(0)
    A, y, weights = rng.standard_normal((20, 3, 8)), rng.standard_normal((20, 3)), rng.uniform(0.5, 2, (2, 8))
    together = dln.basis_pursuit(A, y, tuple(weights))
    for i in (0, 7, 19):
        assert torch.equal(together.x[i], dln.basis_pursuit(A[i], y[i], weights).x)


def test_zero_data_and_zero_columns() -> None:
    weights = [1.0, 2.0, 3.0]
    zero = dln.l1_minimizer(dln.Problem([[1.0, 0.0, 2.0]], [0.0]), weights, True)
    assert zero.psi.tolist() == [0.0, 0.0, 0.0]
    assert zero.unique is True
    assert dln.basis_pursuit([[1.0, 0.0, 2.0]], [0.0], weights).x.tolist() == [0.0, 0.0, 0.0]
    found = dln.basis_pursuit([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]], [4.0, 0.0], (weights, [9.0, 9.0, 9.0]))
    assert found.x.tolist() == [4.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        ([1.0, 2.0], {}, "weights must have one entry for each of the 3 coordinates, finite and > 0, got shape (2,)"),
        (2.0, {}, "got shape ()"),
        ([1.0, 0.0, 1.0], {}, "got 0.0 at [1]"),
        ([1.0, -1.0, 1.0], {}, "got -1.0 at [1]"),
        ([1.0, np.nan, 1.0], {}, "got nan at [1]"),
        ([1.0, 1.0, np.inf], {}, "got inf at [2]"),
        (["a", "b", "c"], {}, "got dtype"),
        ([1j, 1.0, 1.0], {}, "got dtype complex128"),
        (object(), {}, "got dtype object"),
        (([1.0, 1.0, 1.0], [1.0, 1.0]), {}, "weights_minus must have one entry for each of the 3 coordinates"),
        (([1.0, 1.0], [1.0, 1.0, 1.0]), {}, "weights_plus must have one entry for each of the 3 coordinates"),
        (([1.0, 1.0, 1.0], 2.0), {}, "weights_minus must have one entry"),
        (np.ones((3, 3)), {}, "got shape (3, 3)"),
        (([1.0, 1.0, 1.0], [1.0, 1.0, 0.0]), {}, "weights_minus"),
        (np.ones((2, 3)), {"nonnegative": True}, "weights must have one entry for each of the 3 coordinates with"),
        ([1e-200, 1.0, 1e200], {}, "weights must differ by less than a factor of 2^500"),
        (None, {"nonnegative": 1}, "nonnegative must be true or false, got 1"),
        (np.ma.masked_array([1.0, 2.0, 3.0], [False, True, False]), {}, "weights must have no masked entries"),
    ],
)
def test_mistakes_get_one_line(weights: Any, options: dict[str, Any], message: str) -> None:
    problem = dln.Problem([[1.0, 2.0, 3.0]], [1.0])
    for call in (
        lambda: dln.l1_minimizer(problem, weights, **options),
        lambda: dln.basis_pursuit(problem.A, problem.y, weights, **options),
    ):
        with pytest.raises(dln.InputError) as caught:
            call()
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_unknown_solver_is_refused() -> None:
    with pytest.raises(
        dln.InputError, match="solver must be one of auto, linprog, basis_pursuit, matrix_free, got 'simplex'"
    ):
        dln.l1_minimizer(line(), solver="simplex")


def test_nearly_equal_columns_of_an_optimal_basis() -> None:
    """2^{-33} … 2^{-42} apart, with a value of 1e-10 between them: HiGHS and the path stop at a wrong basis of two seeds."""
    refined = 0
    for k in (33, 35, 38, 42):
        for seed in range(10):
            rng = np.random.default_rng(seed)
            A = rng.standard_normal((6, 15))
            first = dln.l1_minimizer(dln.Problem(A, rng.standard_normal(6)))
            i, j = first.support.tolist()[:2]
            x = first.psi.numpy()
            near = A[:, i] + 2.0**-k * np.linalg.norm(A[:, i]) * rng.standard_normal(6)
            A[:, j] = np.sign(x[i] * x[j]) * near
            found = dln.l1_minimizer(dln.Problem(A, A @ x))
            assert found.status is Status.CONVERGED
            assert found.certificate.holds()
            refined += found.solver == "refined"
    assert refined in (1, 2)  # the second by the last bits of A @ x, which the processor decides


@pytest.mark.slow
def test_a_large_problem_costs_about_what_basis_pursuit_does() -> None:
    from time import perf_counter

    problem = gaussian(500, 2000, 0)
    times: dict[str, list[float]] = {"path": [], "l1": [], "selected": []}
    for _ in range(3):
        for name, call in (
            ("path", lambda: dln.basis_pursuit(problem.A, problem.y)),
            ("l1", lambda: dln.l1_minimizer(problem)),
            ("selected", lambda: dln.selected_minimizer(problem, 3)),
        ):
            begun = perf_counter()
            call()
            times[name].append(perf_counter() - begun)
    best = {name: min(values) for name, values in times.items()}
    assert best["l1"] <= 2 * best["path"]
    assert best["selected"] <= 2 * best["path"]


def test_ones_are_known_as_that_after_pickling() -> None:
    plain, weighted = Weights.of(None, 3), Weights.of(np.array([1.0, 2.0, 3.0]), 3)
    again, other = (pickle.loads(pickle.dumps(one)) for one in (plain, weighted))
    assert again.plain
    assert again.same_as(plain)
    assert other.same_as(weighted)
    assert not other.same_as(plain)
    assert pickle.loads(pickle.dumps(plain.costs.times(2.0))).plus == 2.0
