"""Basis pursuit with products alone, against the dense solver, planted truths and a dual certificate of its own."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import dlntorch as dln
from dlntorch.numerics.validation import InputError
from dlntorch.problem.implicit import partial_cosine, partial_fourier, sparse_csr
from dlntorch.reference.basis_pursuit_operator import pursue

KINDS = ("cosine", "fourier", "csr", "function", "graded")
MODES = ("plain", "weights", "pair", "nonnegative", "noise", "generic")


def problem_of(kind: str, rng: np.random.Generator) -> dln.Problem:
    m = int(rng.integers(4, 40))
    n, k, seed = int(m * rng.uniform(1.5, 5)) + 2, int(rng.integers(1, m)), int(rng.integers(1000))
    if kind == "cosine":
        return partial_cosine(m, n, k, seed=seed)
    if kind == "fourier":
        return partial_fourier(2 * (m // 2), 2 * n + 3, k, seed=seed)
    if kind == "csr":
        return sparse_csr(m, n, min(m, 4), k, seed=seed)
    A = rng.standard_normal((m, n))
    if kind == "graded":
        A *= 10.0 ** rng.uniform(-1, 1, (m, 1))
    truth = np.zeros(n)
    truth[rng.choice(n, k, replace=False)] = rng.standard_normal(k)
    return dln.Problem(aslinearoperator(A), A @ truth, truth=truth)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::dlntorch.numerics.validation.DataWarning")
def test_the_dense_solver_agrees(kind: str, mode: str) -> None:
    """7 random problems of each of 30 sorts: the same value to rounding, and a pair that proves it."""
    for seed in range(7):
        rng = np.random.default_rng([KINDS.index(kind), MODES.index(mode), seed])
        problem = problem_of(kind, rng)
        n, y, options = problem.n, problem.y, {}
        if mode == "weights":
            options["weights"] = rng.uniform(0.5, 2, n)
        if mode == "pair":
            options["weights"] = (rng.uniform(0.5, 2, n), rng.uniform(0.5, 2, n))
        if mode == "nonnegative":
            options["nonnegative"] = True
            y = problem.operator.apply(problem.truth.abs())
        if mode == "noise":
            options["noise"] = 0.1 * float(y.norm())
        if mode == "generic":
            y = torch.from_numpy(rng.standard_normal(problem.m))
        A = problem.operator.to_dense()
        exact = dln.basis_pursuit(A, y, **options)
        found = dln.basis_pursuit(problem.operator, y, **options)
        assert exact.status == found.status == "converged", (seed, found.reason)
        assert float(found.value) == pytest.approx(float(exact.value), rel=1e-10)
        certified(A, y, found, **options)


def certified(
    A: torch.Tensor, y: torch.Tensor, found: Any, weights: Any = None, nonnegative: bool = False, noise: float = 0.0
) -> None:
    """x and λ prove each other, evaluated from the dense A alone."""
    n = A.shape[1]
    plus, minus = weights if isinstance(weights, tuple) else (weights, weights)
    plus, minus = (np.ones(n) if w is None else w for w in (plus, minus))
    x, dual = found.x.numpy(), found.dual.numpy()
    tau = A.numpy().T @ dual
    value = float(plus @ np.maximum(x, 0) - minus @ np.minimum(x, 0))
    assert np.all(tau <= plus * (1 + 1e-12))
    assert nonnegative or np.all(-tau <= minus * (1 + 1e-12))
    assert not nonnegative or np.all(x >= 0)
    assert np.linalg.norm(A.numpy() @ x - y.numpy()) <= noise + 1e-10 * float(y.norm())
    bound = float(dual @ y.numpy()) - noise * float(np.linalg.norm(dual))
    assert abs(value - bound) <= 1e-9 * value


@pytest.mark.parametrize(("share", "decaying"), [(10, False), (5, False), (10, True)])
def test_planted_truths_are_found_to_rounding(share: int, decaying: bool) -> None:
    problem = partial_cosine(2**11, 2**13, 2**11 // share)
    truth = problem.truth.clone()
    if decaying:
        truth[truth != 0] *= torch.logspace(0, -4, int((truth != 0).sum()), dtype=torch.float64)
    found = dln.basis_pursuit(problem.operator, problem.operator.apply(truth))
    assert found.status == "converged"
    assert found.is_vertex
    assert float((found.x - truth).norm()) <= 1e-12 * float(truth.norm())
    assert abs(float(found.gap)) <= 1e-12
    tau = problem.operator.adjoint(found.dual)
    assert float(tau.abs().max()) <= 1 + 1e-12
    assert float((tau[truth != 0] - truth[truth != 0].sign()).abs().max()) <= 1e-11


def test_every_kind_of_operator_is_taken() -> None:
    problem = sparse_csr(60, 240, 6, 8)
    csr = problem.operator.matrix
    y = problem.y
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "Sparse CSR tensor support is in beta state"
        torch_csr = problem.to_dense().A.to_sparse_csr()
    user = LinearOperator(csr.shape, matvec=lambda v: csr @ v, rmatvec=lambda v: csr.T @ v, dtype=np.float64)
    for A in (csr, sparse.csc_array(csr), torch_csr, user, problem.operator):
        assert dln.basis_pursuit(A, y).x.numpy() == pytest.approx(problem.truth.numpy(), abs=1e-12)


def test_several_right_hand_sides_are_a_batch() -> None:
    problem = partial_cosine(100, 400, 8)
    found = dln.basis_pursuit(problem.operator, torch.stack([problem.y, 2 * problem.y]))
    assert found.x.shape == (2, 400)
    assert found.status == ("converged", "converged")
    assert torch.allclose(found.x[1], 2 * found.x[0], rtol=0, atol=1e-11)


def test_a_wrong_adjoint_is_one_line() -> None:
    A = np.random.default_rng(0).standard_normal((20, 60))
    wrong = LinearOperator(A.shape, matvec=lambda v: A @ v, rmatvec=lambda v: 1.01 * (A.T @ v), dtype=np.float64)
    with pytest.raises(InputError, match=r"A\.rmatvec must be the adjoint of A\.matvec"):
        dln.basis_pursuit(wrong, np.ones(20))


def test_a_budget_that_does_not_suffice_keeps_what_was_reached() -> None:
    problem = partial_cosine(512, 2048, 146)  # m/3.5 nonzeros: the minimiser is not the truth, and has m nonzeros
    found = dln.basis_pursuit(problem.operator, problem.y, max_iterations=300)
    assert found.status == "max_steps"
    assert "relative gap" in found.reason
    assert 0 < abs(float(found.gap)) < 0.1
    assert float(found.primal_residual) < 0.1
    assert float(found.value) < float(problem.truth.abs().sum()) * 1.01
    assert float(problem.operator.adjoint(found.dual).abs().max()) <= 1 + 1e-12


def test_progress_is_told_and_may_stop() -> None:
    problem = partial_cosine(512, 2048, 146)
    seen: list[Any] = []

    def stop(progress: Any) -> bool:
        seen.append(progress)
        return progress.steps >= 50

    found = dln.basis_pursuit(problem.operator, problem.y, progress=stop)
    assert found.status == "interrupted"
    assert [p.steps for p in seen] == [10, 20, 30, 40, 50]
    assert seen[-1].products > seen[0].products >= 20
    assert seen[-1].nonzeros == int(found.support.sum())
    with pytest.raises(InputError, match="progress must be left out where A is a matrix"):
        dln.basis_pursuit(np.ones((1, 2)), [1.0], progress=stop)


def test_what_cannot_be_met_is_said() -> None:
    rng = np.random.default_rng(1)
    A = rng.standard_normal((12, 30))
    A[-1] = A[0] + A[1]
    y = rng.standard_normal(12)
    found = dln.basis_pursuit(aslinearoperator(A), y)
    assert found.status == "failed"
    assert "y is not in the range of A" in found.reason
    dense = dln.basis_pursuit(A, y)
    assert found.x.numpy() == pytest.approx(dense.x.numpy(), abs=1e-8)
    positive = aslinearoperator(np.abs(A[:5]))
    found = dln.basis_pursuit(positive, -np.ones(5), nonnegative=True)
    assert found.status == "failed"
    assert "nonnegative least squares" in found.reason
    assert not found.x.any()


def test_zero_and_orthogonal_right_hand_sides() -> None:
    problem = partial_cosine(20, 60, 3)
    found = dln.basis_pursuit(problem.operator, torch.zeros(20, dtype=torch.float64))
    assert found.status == "converged"
    assert not found.x.any()
    found = dln.basis_pursuit(problem.operator, problem.y, noise=2 * float(problem.y.norm()))
    assert found.status == "converged"
    assert not found.x.any()


@pytest.mark.parametrize("size", [1e-120, 1e-8, 1e8, 1e120])
def test_scales_do_not_matter(size: float) -> None:
    problem = partial_cosine(100, 400, 8)
    found = dln.basis_pursuit(problem.operator, size * problem.y)
    assert found.status == "converged"
    assert (found.x / size).numpy() == pytest.approx(problem.truth.numpy(), abs=1e-12)


def test_the_minimiser_of_a_large_operator() -> None:
    """l1_minimizer, selected_minimizer and predict_rate where no matrix is made, beside those with one."""
    large = partial_cosine(600, 2400, 40)
    assert large.m * large.n > 1_000_000
    found = dln.l1_minimizer(large)
    assert (found.status, found.solver, found.unique) == ("converged", "matrix_free", True)
    assert found.certificate.holds()
    dense = dln.l1_minimizer(large.to_dense(), solver="basis_pursuit")
    assert found.psi.numpy() == pytest.approx(dense.psi.numpy(), abs=1e-11)
    assert found.value == pytest.approx(dense.value, rel=1e-12)
    chosen = dln.selected_minimizer(large, 3, minimizer=found)
    assert torch.equal(chosen.psi, found.psi)
    assert chosen.unique
    rate = dln.predict_rate(large, 3, selected=chosen)
    assert rate.exponent == 3
    assert rate.constant is None
    assert "dense" in rate.constant_reason
    with pytest.raises(InputError, match="solver must be auto or matrix_free"):
        dln.l1_minimizer(large, solver="linprog")


def test_small_operators_get_everything() -> None:
    problem = sparse_csr(50, 200, 8, 6)
    assert dln.predict_rate(problem, 3).constant == pytest.approx(
        dln.predict_rate(problem.to_dense(), 3).constant, rel=1e-8
    )
    assert dln.l1_minimizer(problem).solver == "linprog"
    asked = dln.l1_minimizer(problem.to_dense(), solver="matrix_free")
    assert asked.psi.numpy() == pytest.approx(problem.truth.numpy(), abs=1e-12)


def test_ties_on_dependent_columns_leave_uniqueness_open() -> None:
    problem = partial_cosine(600, 2400, 40)
    operator, n = problem.operator, problem.n
    twice = LinearOperator(
        (600, 2 * n),
        matvec=lambda v: operator.apply(torch.from_numpy(v[:n] + v[n:])).numpy(),
        rmatvec=lambda r: np.tile(operator.adjoint(torch.from_numpy(r)).numpy(), 2),
        dtype=np.float64,
    )
    found = dln.l1_minimizer(dln.Problem(twice, problem.y))
    assert found.unique is None
    assert "may be dependent" in found.reason
    assert dln.selected_minimizer(dln.Problem(twice, problem.y), 3, minimizer=found).status == "failed"


def test_memory_is_a_few_vectors() -> None:
    """Numbers of a solve's own beside A and y: below 40 vectors of n, here of 2¹⁶ columns."""
    import tracemalloc

    problem = sparse_csr(2**14, 2**16, 8, 800)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    found = pursue(problem.operator, problem.y)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert found.status == "converged"
    assert peak <= 40 * 8 * problem.n


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_device_tensors_stay_on_the_device() -> None:
    problem = partial_cosine(2**10, 2**12, 100)
    here = dln.basis_pursuit(problem.operator, problem.y)
    there = dln.basis_pursuit(problem.to("cuda").operator, problem.y.cuda())
    assert there.x.device.type == "cuda"
    assert there.x.cpu().numpy() == pytest.approx(here.x.numpy(), abs=1e-11)


def test_complex_operators_are_refused() -> None:
    A = np.eye(3, 6) + 1j
    for given in (aslinearoperator(A), sparse.csr_array(A), torch.from_numpy(A)):
        for front in (dln.Problem, dln.basis_pursuit):
            with pytest.raises(InputError, match=r"A must be real, got complex numbers: stack A as"):
                front(given, np.ones(3))
    with pytest.raises(InputError, match="y must be real"):
        dln.basis_pursuit(aslinearoperator(A.real), 1j * np.ones(3))


def test_a_run_names_its_solver() -> None:
    for asked, found in (("auto", "linprog"), ("basis_pursuit", "basis_pursuit"), ("matrix_free", "matrix_free")):
        run = dln.train(partial_cosine(20, 60, 2), 3, 1e-2, max_steps=20, references=asked)
        assert run.summary["references"]["solver"] == found
    with pytest.raises(InputError, match="must be one of auto, linprog, basis_pursuit, matrix_free"):
        dln.train(partial_cosine(20, 60, 2), 3, 1e-2, max_steps=20, references="highs")
