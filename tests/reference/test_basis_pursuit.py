"""dln.basis_pursuit against HiGHS, closed forms and its own certificate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

import dlntorch as dln
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError
from dlntorch.reference.basis_pursuit import BasisPursuitResult, _begin_together, _solve, basis_pursuit
from dlntorch.reference.basis_pursuit_batched import starts
from dlntorch.reference.scaling import ScaledProblem
from tests.problems import LINE, PLANE, RANDOM, gaussian

KINDS = ("gaussian", "integer", "signs", "low_rank", "repeated", "columns", "rows")


def draw(kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A small problem with y in the range of A; planted, generic, integer or degenerate, at a random scale."""
    rng = np.random.default_rng(seed)
    m, n = int(rng.integers(1, 9)), int(rng.integers(1, 20))
    A = rng.standard_normal((m, n))
    if kind == "integer":
        A = rng.integers(-2, 3, (m, n)).astype(float)
    elif kind == "signs":
        A = rng.choice([-1.0, 1.0], (m, n))
    elif kind == "low_rank":
        r = int(rng.integers(1, min(m, n) + 1))
        A = rng.standard_normal((m, r)) @ rng.standard_normal((r, n))
    elif kind == "repeated":
        A = np.hstack([A, A[:, rng.integers(0, n, 3)], -A[:, rng.integers(0, n, 2)], np.zeros((m, 1))])
    elif kind == "columns":
        A = A * 10.0 ** rng.uniform(-2, 2, n)
    elif kind == "rows":
        A = A * 10.0 ** rng.uniform(-3, 3, m)[:, None]
    n = A.shape[1]
    k = int(rng.integers(0, n + 1))
    if rng.random() < 0.5:
        k = min(k, max(1, m // 2))
    x = np.zeros(n)
    coefficients = rng.choice([1, 1, 2, -1], k) if kind in ("integer", "signs") else rng.standard_normal(k)
    x[rng.choice(n, k, replace=False)] = coefficients
    scale_A, scale_x = 10.0 ** rng.uniform(-6, 6, 2)
    return A * scale_A, (A @ x) * scale_A * scale_x


def highs_value(A: np.ndarray, y: np.ndarray) -> float:
    """min ‖x‖₁ from HiGHS, on data scaled to size one."""
    rows = np.abs(A).max(axis=1)
    rows[rows == 0] = 1.0
    b = y / rows
    size = np.abs(b).max()
    if size == 0:
        return 0.0
    n = A.shape[1]
    B = A / rows[:, None]
    options = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    out = linprog(np.ones(2 * n), A_eq=np.hstack([B, -B]), b_eq=b / size, method="highs", options=options)
    assert out.status == 0, out.message
    return float(out.fun) * size


def check_certificate(A: np.ndarray, y: np.ndarray, r: BasisPursuitResult) -> None:
    """Feasible x, feasible λ, equal values, a vertex: all recomputed here from A and y alone."""
    x, dual = r.x.numpy(), r.dual.numpy()
    assert np.all(np.isfinite(x))
    assert np.all(np.isfinite(dual))
    assert np.linalg.norm(A @ x - y) <= 2e-12 * np.linalg.norm(y)
    # Aᵀλ carries a rounding error of eps·|A|ᵀ|λ|, which is all that may exceed one.
    assert np.all(np.abs(dual @ A) <= 1 + 1e-14 * (10 + np.abs(dual) @ np.abs(A)))
    value = np.abs(x).sum()
    assert float(r.value) == pytest.approx(value, rel=1e-14, abs=0)
    assert value - y @ dual <= 1e-9 * value + 1e-13 * np.abs(y) @ np.abs(dual)
    assert abs(float(r.gap)) <= 1e-9
    support = np.flatnonzero(x)
    assert np.array_equal(np.flatnonzero(r.support.numpy()), support)
    assert r.is_vertex is True
    if support.size:
        A_S = A[:, support] / np.maximum(np.abs(A).max(axis=1), 1e-300)[:, None]
        A_S = A_S / np.linalg.norm(A_S, axis=0)
        singular = np.linalg.svd(A_S, compute_uv=False)
        assert support.size <= A.shape[0]
        assert singular[-1] > 1e-11 * singular[0]


def check_against_highs(kind: str, seed: int) -> None:
    A, y = draw(kind, seed)
    r = basis_pursuit(A, y)
    assert r.status is Status.CONVERGED, r.reason
    check_certificate(A, y, r)
    expected = highs_value(A, y)
    assert float(r.value) == pytest.approx(expected, rel=1e-7, abs=0)
    assert float(r.value) <= expected * (1 + 1e-8)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 2**32 - 1))
def test_small_problems_agree_with_highs(kind: str, seed: int) -> None:
    check_against_highs(kind, seed)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 2**32 - 1))
def test_a_thousand_problems_agree_with_highs(kind: str, seed: int) -> None:
    check_against_highs(kind, seed)


@pytest.mark.parametrize("data", [LINE, PLANE, RANDOM], ids=["line", "plane", "random"])
def test_the_papers_problems(data: tuple[list[list[float]], list[float]]) -> None:
    A, y = np.array(data[0]), np.array(data[1])
    r = basis_pursuit(A, y)
    check_certificate(A, y, r)
    assert float(r.value) == pytest.approx(highs_value(A, y), rel=1e-9)
    if data is not RANDOM:  # the minimisers are (1 − t, 2(1 − t), 3t[, 0]): the two vertices are t = 0 and t = 1
        assert float(r.value) == pytest.approx(3.0, rel=1e-15)
        ends = np.array([[1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0]])[:, : A.shape[1]]
        assert np.abs(ends - r.x.numpy()).max(axis=1).min() <= 1e-14


@pytest.mark.parametrize("shape", [(30, 100), (100, 400)])
def test_planted_signal_is_found_exactly(shape: tuple[int, int]) -> None:
    problem = gaussian(*shape, seed=3, nonzeros=shape[0] // 8)
    r = basis_pursuit(problem.A, problem.y)
    assert r.status is Status.CONVERGED
    assert problem.truth is not None
    assert torch.equal(r.support, problem.truth != 0)
    assert torch.allclose(r.x, problem.truth, rtol=1e-12, atol=1e-14)
    assert float(r.primal_residual) <= 1e-14
    assert abs(float(r.gap)) <= 1e-13
    assert float(r.dual_infeasibility) <= 1e-14


@pytest.mark.parametrize("nonzeros", [None, 5, 25, 45])
@pytest.mark.parametrize("seed", range(4))
def test_medium_problems(seed: int, nonzeros: int | None) -> None:
    problem = gaussian(50, 160, seed=seed, nonzeros=nonzeros, scale=10.0 ** (3 * seed - 4))
    A, y = problem.A.numpy(), problem.y.numpy()
    r = basis_pursuit(problem.A, problem.y)
    assert r.status is Status.CONVERGED, r.reason
    check_certificate(A, y, r)
    assert float(r.value) == pytest.approx(highs_value(A, y), rel=1e-8)


def test_face_of_minimisers_gives_a_vertex() -> None:
    """Each column three times: 3^20 vertices, one value; the certificate must survive |Aᵀλ| = 1 on the whole face."""
    problem = gaussian(20, 60, seed=0)
    A = torch.cat([problem.A, problem.A, -problem.A], dim=1)
    r, single = basis_pursuit(A, problem.y), basis_pursuit(problem.A, problem.y)
    check_certificate(A.numpy(), problem.y.numpy(), r)
    assert float(r.value) == pytest.approx(float(single.value), rel=1e-13)


def test_degenerate_cube() -> None:
    """y = the sum of all columns of (I, ones): the vertex is one column, and m − 1 basic values are zero."""
    A = np.hstack([np.eye(12), np.ones((12, 1))])
    r = basis_pursuit(A, np.ones(12))
    check_certificate(A, np.ones(12), r)
    assert float(r.value) == 1.0
    assert r.x.numpy()[-1] == 1.0


# -- scales, ranks and shapes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale_A", [1e-150, 1e-6, 1e6, 1e150])
@pytest.mark.parametrize("scale_x", [1e-150, 1.0, 1e150])
def test_powers_of_two_change_nothing_but_the_exponent(scale_A: float, scale_x: float) -> None:
    problem = gaussian(6, 15, seed=1)
    two_A, two_x = 2.0 ** np.round(np.log2([scale_A, scale_x]))
    if not 1e-290 < two_A * two_x < 1e290:
        pytest.skip("y itself leaves the range of float64")
    base = basis_pursuit(problem.A, problem.y)
    r = basis_pursuit(problem.A * two_A, problem.y * two_A * two_x)
    assert r.status is Status.CONVERGED
    assert torch.equal(r.x, base.x * two_x)
    assert torch.equal(r.dual, base.dual / two_A)
    assert float(r.gap) == float(base.gap)
    assert float(r.primal_residual) == pytest.approx(float(base.primal_residual), rel=1e-10)


def test_answer_outside_the_range_of_float64_is_an_honest_failure() -> None:
    r = basis_pursuit([[1e-200, 2e-200]], [1e200])
    assert r.status is Status.FAILED
    assert "range of float64" in r.reason
    assert torch.all(torch.isfinite(r.x))
    assert torch.isfinite(r.value)


def test_dependent_rows() -> None:
    problem = gaussian(5, 14, seed=2)
    A = torch.cat([problem.A, problem.A[:2] + problem.A[2:4], torch.zeros(1, 14, dtype=torch.float64)])
    y = torch.cat([problem.y, problem.y[:2] + problem.y[2:4], torch.zeros(1, dtype=torch.float64)])
    r, full = basis_pursuit(A, y), basis_pursuit(problem.A, problem.y)
    assert r.status is Status.CONVERGED
    check_certificate(A.numpy(), y.numpy(), r)
    assert torch.allclose(r.x, full.x, rtol=1e-12, atol=1e-14)


def test_y_outside_the_range_solves_the_projected_problem() -> None:
    problem = gaussian(5, 14, seed=2)
    A = torch.cat([problem.A, problem.A[:1]])
    y = torch.cat([problem.y, problem.y[:1] + 1])
    r = basis_pursuit(A, y)
    assert r.status is Status.FAILED
    assert "not in the range of A" in r.reason
    projected = problem.y.clone()
    projected[0] += 0.5
    assert torch.allclose(r.x, basis_pursuit(problem.A, projected).x, rtol=1e-11, atol=1e-13)
    assert float(r.primal_residual) == pytest.approx(np.sqrt(0.5) / float(torch.linalg.vector_norm(y)), rel=1e-12)
    assert abs(float(r.gap)) <= 1e-9


@pytest.mark.parametrize("size", [2.0**-40, 1.0, 2.0**40])
@pytest.mark.filterwarnings("ignore:A has m")
def test_the_projection_is_the_least_squares_of_the_rows_as_given(size: float) -> None:
    """(A₂ᵀA₂)⁻¹A₂ᵀy for A₂ = [[1, 0], [0, 1], [4, 4]] is (−1/11, 10/11); not that of rows of one length."""
    A = size * np.array([[1.0, 0.0], [0.0, 1.0], [4.0, 4.0]])
    r = basis_pursuit(A, [1.0, 2.0, 3.0])
    np.testing.assert_allclose(r.x, np.array([-1, 10]) / 11 / size, rtol=1e-14)
    assert r.status is Status.FAILED
    assert float(r.primal_residual) == pytest.approx(np.sqrt(297) / 11 / np.sqrt(14), rel=1e-13)
    both = dln.l1_minimizer(dln.Problem(A, [1.0, 2.0, 3.0]))
    np.testing.assert_allclose(both.psi, r.x, rtol=1e-13)


def test_zero_row_with_nonzero_y_is_inconsistent() -> None:
    r = basis_pursuit([[1.0, 2.0], [0.0, 0.0]], [2.0, 1.0])
    assert r.status is Status.FAILED
    assert r.x.tolist() == [0.0, 1.0]
    assert float(r.primal_residual) == pytest.approx(1 / np.sqrt(5))


@pytest.mark.parametrize("A", [[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0]], [[3.0]]])
def test_y_zero(A: list[list[float]]) -> None:
    r = basis_pursuit(A, [0.0] * len(A))
    assert r.status is Status.CONVERGED
    assert not torch.any(r.x)
    assert float(r.value) == float(r.gap) == float(r.primal_residual) == 0.0


def test_zero_matrix_with_nonzero_y() -> None:
    r = basis_pursuit([[0.0, 0.0]], [1.0])
    assert r.status is Status.FAILED
    assert not torch.any(r.x)
    assert float(r.primal_residual) == 1.0


def test_one_column_square_and_tall() -> None:
    assert basis_pursuit([[2.0]], [-3.0]).x.tolist() == [-1.5]
    tall = basis_pursuit([[2.0], [4.0]], [-3.0, -6.0])
    assert tall.status is Status.CONVERGED
    assert tall.x[0] == pytest.approx(-1.5, rel=1e-15)
    rng = np.random.default_rng(0)
    for shape in [(6, 6), (9, 6)]:
        A, x = rng.standard_normal(shape), rng.standard_normal(6)
        r = basis_pursuit(A, A @ x)
        assert r.status is Status.CONVERGED
        check_certificate(A, A @ x, r)
        assert np.allclose(r.x.numpy(), x, rtol=1e-11)


def test_zero_columns_stay_out() -> None:
    r = basis_pursuit([[0.0, 1.0, 0.0, 3.0]], [6.0])
    assert r.x.tolist() == [0.0, 0.0, 0.0, 2.0]


# -- the contract of tensors ------------------------------------------------------------------------------------------


def test_batch_equals_singles() -> None:
    problems = [gaussian(8, 20, seed=s, nonzeros=None if s % 2 else 2) for s in range(6)]
    A, y = torch.stack([q.A for q in problems]), torch.stack([q.y for q in problems])
    r = basis_pursuit(A, y)
    singles = [basis_pursuit(q.A, q.y) for q in problems]
    for name in ("x", "psi", "dual", "value", "gap", "primal_residual", "dual_infeasibility", "support"):
        assert torch.equal(getattr(r, name), torch.stack([getattr(s, name) for s in singles])), name
    assert r.status == tuple(s.status for s in singles)
    assert r.reason == tuple(s.reason for s in singles)
    assert isinstance(r.is_vertex, torch.Tensor)
    assert r.is_vertex.tolist() == [True] * 6
    assert isinstance(r.iterations, torch.Tensor)
    assert r.iterations.tolist() == [s.iterations for s in singles]


def test_the_path_of_a_batch_ends_in_the_same_vertices() -> None:
    """What CUDA does, on the CPU: one path for all, then each crossover; easy, hopeless and empty problems side by side."""
    problems = [gaussian(8, 20, seed=s, nonzeros=None if s % 2 else 2, scale=10.0 ** (3 * s - 9)) for s in range(6)]
    A, y = torch.stack([q.A for q in problems]).numpy(), torch.stack([q.y for q in problems]).numpy()
    A[1, 7], y[1, 7] = A[1, 0], y[1, 0]  # rank 7
    A[2, :, 5] = 0
    y[3] = 0
    A[4, 1] = A[4, 0] * (1 + 1e-15)  # y is outside the range
    scaled = [ScaledProblem(a, 2.0**-52) for a in A]
    begun = _begin_together(scaled, y, 100, torch.device("cpu"))
    assert [start is None for start in begun] == [False, False, False, True, False, False]
    for one, a, b, start in zip(scaled, A, y, begun, strict=True):
        together, alone = _solve(one, b, 1e-9, 100, start), basis_pursuit(a, b)
        assert together.status is alone.status
        assert np.allclose(together.x, alone.x.numpy(), rtol=1e-10, atol=1e-13 * (np.abs(together.x).max() or 1))
        assert together.value == pytest.approx(float(alone.value), rel=1e-12)
        assert start is None or 1 <= start.iterations <= together.iterations
    one, several = ScaledProblem(A[0], 2.0**-52), np.stack([y[0], -2 * y[0]])  # one matrix, two sides
    first, second = (
        _solve(one, b, 1e-9, 100, start).x
        for b, start in zip(several, _begin_together([one, one], several, 100, torch.device("cpu")), strict=True)
    )
    assert np.allclose(second, -2 * first, rtol=1e-12)
    sound = starts(torch.from_numpy(A[[0, 5]]), torch.from_numpy(y[[0, 5]]), 100)
    for start, a, b in zip(sound, A[[0, 5]], y[[0, 5]], strict=True):
        assert start is not None
        state = start.state
        assert min(part.min() for part in (state.plus, state.minus, state.u, state.v)) > 0
        assert np.linalg.norm(a @ state.psi * start.size - b) <= 1e-6 * np.linalg.norm(b)
        assert np.allclose(state.dual @ a, 0.5 * (state.v - state.u), rtol=0, atol=1e-10)
        assert 1 - state.dual @ b / start.size / np.abs(state.psi).sum() <= 1e-4


def test_many_tiny_problems() -> None:
    problems = [gaussian(6, 15, seed=s, nonzeros=None if s % 2 else 2) for s in range(32)]
    r = basis_pursuit(torch.stack([q.A for q in problems]), torch.stack([q.y for q in problems]))
    assert r.status == (Status.CONVERGED,) * 32
    for i, problem in enumerate(problems):
        one = basis_pursuit(problem.A, problem.y)
        assert torch.equal(r.support[i], one.support)
        assert torch.allclose(r.x[i], one.x, rtol=1e-12, atol=0)
        assert abs(float(r.gap[i])) <= 1e-12


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_batch_on_cuda() -> None:
    problems = [gaussian(20, 60, seed=s, nonzeros=None if s % 2 else 4) for s in range(8)]
    A, y = torch.stack([q.A for q in problems]), torch.stack([q.y for q in problems])
    there, here = basis_pursuit(A.cuda(), y.cuda()), basis_pursuit(A, y)
    assert there.x.is_cuda
    assert there.gap.is_cuda
    assert there.status == here.status
    assert torch.allclose(there.x.cpu(), here.x, rtol=1e-10, atol=1e-13)


def test_several_right_hand_sides_of_one_matrix() -> None:
    A = gaussian(8, 20, seed=0).A
    Y = torch.stack([gaussian(8, 20, seed=s).y for s in range(4)])
    Y[2] = 0
    r = basis_pursuit(A, Y)
    assert r.x.shape == (4, 20)
    assert r.dual.shape == (4, 8)
    for i in range(4):
        assert torch.equal(r.x[i], basis_pursuit(A, Y[i]).x)


def test_dtypes_and_devices() -> None:
    problem = gaussian(8, 20, seed=0)
    r = basis_pursuit(problem.A, problem.y)
    assert r.x.dtype == r.dual.dtype == r.value.dtype == torch.float64
    assert r.x.device == problem.A.device
    coarse = basis_pursuit(problem.A, problem.y, dtype=torch.float32)
    assert coarse.x.dtype == coarse.dual.dtype == torch.float32
    assert coarse.gap.dtype == torch.float64
    assert torch.equal(coarse.x, r.x.float())
    A32, y32 = problem.A.float(), problem.y.float()
    computed = basis_pursuit(A32, y32)
    assert torch.equal(computed.x, basis_pursuit(A32.double(), y32.double()).x)
    assert float(computed.primal_residual) <= 1e-14
    from_numpy = basis_pursuit(problem.A.numpy(), problem.y.numpy())
    assert torch.equal(from_numpy.x, r.x)
    assert torch.equal(basis_pursuit(problem.A.clone().requires_grad_(), problem.y).x, r.x)
    assert torch.equal(basis_pursuit([[1, 2]], [2]).x, torch.tensor([0.0, 1.0], dtype=torch.float64))


def test_float32_data_of_low_rank_are_consistent_to_float32() -> None:
    rng = np.random.default_rng(5)
    A = torch.tensor(rng.standard_normal((12, 4)) @ rng.standard_normal((4, 30)), dtype=torch.float32)
    x = torch.zeros(30)
    x[3] = 1.0
    r = basis_pursuit(A, A @ x)
    assert int(r.support.sum()) <= 4
    assert float(r.primal_residual) <= 1e-6
    assert abs(float(r.gap)) <= 1e-9


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_tensors_come_back_on_cuda() -> None:
    problem = gaussian(8, 20, seed=0)
    r = basis_pursuit(problem.A.cuda(), problem.y.cuda())
    assert r.x.is_cuda
    assert torch.equal(r.x.cpu(), basis_pursuit(problem.A, problem.y).x)


def test_input_is_not_changed() -> None:
    problem = gaussian(8, 20, seed=0)
    A, y = problem.A.clone(), problem.y.clone()
    basis_pursuit(A, y)
    assert torch.equal(A, problem.A)
    assert torch.equal(y, problem.y)


# -- outcomes and mistakes --------------------------------------------------------------------------------------------


def test_iteration_budget_is_reported() -> None:
    problem = gaussian(100, 500, seed=0, nonzeros=12)
    full, short = basis_pursuit(problem.A, problem.y), basis_pursuit(problem.A, problem.y, max_iterations=1)
    assert full.status is Status.CONVERGED
    assert isinstance(full.iterations, int)
    assert full.iterations > 1
    assert short.status is Status.MAX_STEPS
    assert short.iterations == 1
    assert "after 1 iterations" in short.reason
    assert float(short.primal_residual) <= 1e-12  # what is returned is still feasible on both sides
    assert float(short.dual_infeasibility) <= 1e-13
    assert float(problem.y @ short.dual) < float(full.value) < float(short.value)


def test_tolerance_below_rounding_is_named() -> None:
    problem = gaussian(60, 200, seed=0)
    r = basis_pursuit(problem.A, problem.y, tol=1e-30)
    assert abs(float(r.gap)) <= 1e-13
    reached = float(r.gap) <= 1e-30  # rounding may leave a gap of zero, or below
    assert r.status is (Status.CONVERGED if reached else Status.BELOW_INPUT_PRECISION)
    assert ("tol 1.0e-30" in r.reason) == (not reached)


@pytest.mark.parametrize(
    ("A", "y", "options", "message"),
    [
        (np.zeros((0, 3)), np.zeros(0), {}, "A must not be empty"),
        (np.ones((2, 3)), np.ones(3), {}, "y must have one entry for each of the 2 rows"),
        (np.ones(3), np.ones(3), {}, r"A must have shape \(m, n\)"),
        (np.ones((1, 1, 1, 1)), np.ones(1), {}, "A must have shape"),
        (np.ones((2, 2, 3)), np.ones(2), {}, r"y must have shape \(B, m\)"),
        (np.ones((2, 2, 3)), np.ones((3, 2)), {}, "one row for each of the 2 matrices"),
        ([[1.0, np.nan]], [1.0], {}, r"A must be finite, got nan at \[0, 1\]"),
        ([[1.0, 2.0]], [np.inf], {}, r"y must be finite, got inf at \[0\]"),
        ([[1.0, 2.0], [1.0]], [1.0, 1.0], {}, "A must be a rectangular array"),
        ([["a"]], [1.0], {}, "A must be an array of real numbers"),
        (torch.ones(1, 2, dtype=torch.complex128), [1.0], {}, "another one than"),
        ([[1.0, 2.0]], [1.0], {"tol": 0}, "tol must be a finite real number > 0"),
        ([[1.0, 2.0]], [1.0], {"tol": float("nan")}, "tol must be a finite real number > 0"),
        ([[1.0, 2.0]], [1.0], {"max_iterations": 0}, "max_iterations must be an integer >= 1"),
        ([[1.0, 2.0]], [1.0], {"dtype": "int8"}, "dtype must be"),
        ([[1.0, 2.0]], [1.0], {"device": "nowhere"}, "device must be"),
    ],
)
def test_mistakes(A: object, y: object, options: dict[str, object], message: str) -> None:
    with pytest.raises(dln.InputError, match=message) as caught:
        basis_pursuit(A, y, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(4))
def test_hopeless_conditioning_is_below_input_precision(seed: int) -> None:
    """Gaussian bumps far wider than their spacing: κ(A) > 1e12, so that |Aᵀλ| <= 1 cannot be checked to 1e-9."""
    rng = np.random.default_rng(seed)
    centres, points = np.linspace(0, 1, 80), np.linspace(0, 1, 200)
    A = np.exp(-(((points[None] - centres[:, None]) * 80 / 3) ** 2))
    x = rng.standard_normal(200)
    r = basis_pursuit(A, A @ x)
    assert torch.all(torch.isfinite(r.x))
    assert np.linalg.norm(A @ r.x.numpy() - A @ x) <= 1e-10 * np.linalg.norm(A @ x)
    assert float(r.dual_infeasibility) <= 1e-5
    reached = float(r.gap) <= 1e-9
    assert r.status is (Status.CONVERGED if reached else Status.BELOW_INPUT_PRECISION)
    assert ("rounding in Aᵀλ" in r.reason) == (not reached)


def test_public_name() -> None:
    assert dln.basis_pursuit is basis_pursuit


def test_lists_of_tensors_that_require_gradients_are_refused_in_one_line():
    entry = torch.ones((), requires_grad=True)
    with pytest.raises(InputError, match="A must be an array of real numbers, got list: ") as error:
        basis_pursuit([[entry, entry]], [1.0])
    assert "\n" not in str(error.value)
