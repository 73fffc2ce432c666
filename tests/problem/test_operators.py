"""Operators: the same products as their matrices, refused when they are not what they say, and enough to train with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.fft
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import aslinearoperator

import dlntorch as dln
from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem, entries, linear_data, load_problem, make_problem, save_problem
from dlntorch.problem.operators import (
    DenseOperator,
    FunctionOperator,
    Operator,
    PartialCosine,
    PartialFourier,
    SparseOperator,
    as_operator,
    check_adjoint,
)
from tests.problems import gaussian


def cosine_matrix(n: int, frequencies: np.ndarray) -> np.ndarray:
    return scipy.fft.dct(np.eye(n), norm="ortho", axis=0)[frequencies]


def fourier_matrix(n: int, frequencies: np.ndarray) -> np.ndarray:
    rows = np.exp(-2j * np.pi * np.outer(frequencies, np.arange(n)) / n) * np.sqrt(2 / n)
    return np.vstack([rows.real, rows.imag])


def equals(operator: Operator, matrix: np.ndarray, accuracy: float = 1e-13) -> None:
    m, n = matrix.shape
    rng = np.random.default_rng(3)
    x, r = torch.from_numpy(rng.standard_normal((2, 3, n))), torch.from_numpy(rng.standard_normal((2, 3, m)))
    x, r = x.to(operator.dtype), r.to(operator.dtype)
    A = torch.from_numpy(matrix).to(operator.dtype)
    assert operator.shape == (m, n)
    assert torch.allclose(operator.matvec(x), x @ A.mT, rtol=0, atol=accuracy * (1 + n))
    assert torch.allclose(operator.rmatvec(r), r @ A, rtol=0, atol=accuracy * (1 + m))
    assert torch.allclose(operator.column_norms(), A.norm(dim=0), rtol=0, atol=10 * accuracy)
    assert torch.allclose(operator.to_dense(), A, rtol=0, atol=accuracy * 10)
    assert operator.spectral_norm == pytest.approx(np.linalg.norm(matrix, 2), rel=1e3 * accuracy)
    chosen, pair = torch.tensor([m - 1, 0]), torch.tensor([0.7, -1.3], dtype=operator.dtype)
    part = operator.rows(chosen, 1.5)
    assert torch.allclose(part.matvec(x), 1.5 * (x @ A[chosen].mT), rtol=0, atol=accuracy * (1 + n))
    assert torch.allclose(part.rmatvec(pair), 1.5 * (pair @ A[chosen]), rtol=0, atol=accuracy * (1 + m))
    check_adjoint(operator)


@given(n=st.integers(1, 40), seed=st.integers(0, 10**6), scale=st.sampled_from([1.0, 0.3]))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_partial_transforms_equal_their_matrices(n: int, seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    frequencies = rng.permutation(n)[: rng.integers(1, n + 1)]
    equals(PartialCosine(n, frequencies, scale), scale * cosine_matrix(n, frequencies))
    inner = (n - 1) // 2
    if inner:
        frequencies = 1 + rng.permutation(inner)[: rng.integers(1, inner + 1)]
        equals(PartialFourier(n, frequencies, scale), scale * fourier_matrix(n, frequencies))


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
@given(
    m=st.integers(1, 12),
    n=st.integers(1, 30),
    seed=st.integers(0, 10**6),
    form=st.sampled_from(["csr", "coo", "torch"]),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_sparse_matrices_equal_their_dense_ones(m: int, n: int, seed: int, form: str) -> None:
    rng = np.random.default_rng(seed)
    dense = rng.standard_normal((m, n)) * (rng.random((m, n)) < 0.4)
    dense[0, 0] = 1.0
    given_as = (
        torch.from_numpy(dense).to_sparse_csr() if form == "torch" else scipy.sparse.csr_array(dense).asformat(form)
    )
    equals(as_operator(given_as), dense)
    equals(as_operator(given_as, torch.float32), dense, 1e-6)


def test_a_users_own_products_are_an_operator() -> None:
    A = np.random.default_rng(0).standard_normal((4, 9))

    class Mine:
        shape = (4, 9)

        def matvec(self, x: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(A) @ x

        def rmatvec(self, r: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(A).T @ r

        def column_norms(self) -> np.ndarray:
            return np.linalg.norm(A, axis=0)

    equals(as_operator(Mine()), A)
    equals(as_operator(aslinearoperator(A)), A)
    equals(FunctionOperator(Mine().matvec, Mine().rmatvec, (4, 9)), A)
    assert not Problem(Mine(), np.ones(4)).dense


def function_operator(scale: float = 1.0, size: int = 9, value: float = 1.0) -> FunctionOperator:
    A = value * torch.from_numpy(np.random.default_rng(0).standard_normal((4, 9)))
    return FunctionOperator(lambda x: A @ x, lambda r: (scale * (A.T @ r))[:size], (4, 9))


@pytest.mark.parametrize(
    ("operator", "words"),
    [
        (function_operator(scale=2.0), "A.rmatvec must be the adjoint of A.matvec: <Ax, r> must equal <x, A'r>"),
        (function_operator(scale=1 + 1e-6), "A.rmatvec must be the adjoint"),
        (function_operator(size=5), "A.rmatvec must give a vector of shape (9,), got shape (5,)"),
        (function_operator(value=np.nan), "A must be finite"),
        (function_operator(value=0.0), "A must have a nonzero entry"),
        (scipy.sparse.csr_array((4, 9)), "A must have a nonzero entry"),
        (scipy.sparse.csr_array(np.full((4, 9), np.inf)), "A must be finite"),
        (scipy.sparse.csr_array(np.full((4, 9), 1j)), "A must be real, got complex numbers"),
        (scipy.sparse.csr_array(np.eye(3)), "y must have one entry for each of the 3 rows of A"),
    ],
)
def test_bad_operators_get_one_line(operator: object, words: str) -> None:
    with pytest.raises(InputError) as caught:
        Problem(operator, np.ones(4))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PartialCosine(8, [0, 8]), "frequencies must be in 0 ... 7, got 0 ... 8"),
        (lambda: PartialCosine(8, [1, 1]), "frequencies must be distinct"),
        (lambda: PartialFourier(8, [4]), "frequencies must be in 1 ... 3, got 4 ... 4"),
        (lambda: PartialCosine(8, [0.5]), "frequencies must be a nonempty vector of integers"),
        (lambda: make_problem("partial_fourier", m=3), "problem.m must be even"),
        (lambda: make_problem("partial_cosine", m=300), "problem.m must be an integer >= 1 and <= 200, got 300"),
        (lambda: make_problem("sparse_csr", per_column=51), "problem.per_column must be an integer >= 1 and <= 50"),
        (lambda: make_problem("sparse_csr", nonzeros=201), "problem.nonzeros must be"),
    ],
)
def test_bad_arguments_get_one_line(make: object, words: str) -> None:
    with pytest.raises(InputError) as caught:
        make()  # type: ignore[operator]
    assert words in str(caught.value)


@given(m=st.integers(1, 12), n=st.integers(1, 20), seed=st.integers(0, 10**6), data=st.data())
@settings(max_examples=25, deadline=None, derandomize=True)
@pytest.mark.filterwarnings("ignore::dlntorch.numerics.validation.DataWarning")
def test_the_sparse_generator_puts_distinct_rows_in_every_column(
    m: int, n: int, seed: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, m))
    problem = make_problem("sparse_csr", m=m, n=n, per_column=count, nonzeros=1, seed=seed)
    assert isinstance(problem.operator, SparseOperator)
    assert np.all(np.bincount(problem.operator.matrix.indices, minlength=n) == count)


# -- what a problem with an operator can and cannot do -------------------------------------------------------------------

NAMES = ("partial_cosine", "partial_fourier", "sparse_csr")


@pytest.mark.parametrize("name", NAMES)
def test_loss_and_gradient_are_those_of_the_dense_problem(name: str) -> None:
    problem = make_problem(name, m=10, n=40)
    dense = problem.to_dense()
    psi = torch.randn(3, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (ours,) = torch.autograd.grad(problem.loss(psi).sum(), psi)
    (theirs,) = torch.autograd.grad(dense.loss(psi).sum(), psi)
    assert torch.allclose(problem.loss(psi), dense.loss(psi), rtol=1e-12)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)
    assert float(dense.truth.ne(0).sum()) == 6  # type: ignore[union-attr]
    assert float(torch.linalg.vector_norm(problem.residual(problem.truth))) < 1e-13  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"schedule": "constant", "eta": 1e-3},
        {"schedule": "stable", "c": 0.1},
        {"batch_size": 5},
        {"batch_size": 5, "schedule": "stable", "c": 0.02},
    ],
)
def test_training_equals_training_on_the_matrix(name: str, options: dict) -> None:
    problem = make_problem(name, m=10, n=40)
    dense = problem.to_dense()
    common = {"max_steps": 300, "references": False, "tol": 0, **options}
    ours = dln.train(problem, 3, 0.2, **common)
    theirs = dln.train(dense, 3, 0.2, engine="eager", **common)
    assert ours.summary["engine"] == "eager"
    for a, b in ((ours.theta_plus, theirs.theta_plus), (ours.theta_minus, theirs.theta_minus)):
        assert float(((a - b).abs() / b).max()) < 1e-12
    assert ours.summary["time"] == pytest.approx(theirs.summary["time"], rel=1e-12)


def test_autograd_trains_on_operators_too() -> None:
    problem = make_problem("partial_cosine", m=10, n=40)
    for batch in (None, 4):
        common = {"max_steps": 15, "references": False, "tol": 0, "batch_size": batch}
        ours, theirs = (dln.train(problem, 2.5, 0.2, engine=engine, **common) for engine in ("autograd", "eager"))
        assert float(((ours.theta_plus - theirs.theta_plus).abs() / theirs.theta_plus).max()) < 1e-12


def test_a_run_without_a_matrix_has_its_minimiser_and_the_reasons_for_the_rest() -> None:
    summary = dln.train(make_problem("sparse_csr", m=300, n=4000), 2, 1e-3, max_steps=20).summary
    assert summary["distance_to_truth"] > 0
    assert summary["distance_to_l1"] == pytest.approx(summary["distance_to_truth"], rel=1e-9)
    assert summary["references"]["solver"] == "matrix_free"
    for key in ("distance_to_limit", "distance_to_flow"):
        assert summary[key] is None
        assert "sparse operator of shape (300, 4000)" in summary[f"{key}_reason"]
        assert "needs a dense A" in summary[f"{key}_reason"]
    assert summary["problem"]["rank"] is None
    assert "rank" in summary["problem"]["rank_reason"]
    assert "smallest singular value" in summary["schedule"]["theorem_log10_eta_reason"]
    known = dln.train(make_problem("partial_cosine"), 2, 1e-3, max_steps=20).summary
    for key in ("distance_to_l1", "distance_to_selected", "distance_to_limit", "distance_to_flow", "l1_gap"):
        assert known[key] is not None  # its matrix is small
    assert known["problem"]["rank"] == 50
    assert known["schedule"]["theorem_log10_eta"] < 0


@pytest.mark.parametrize(
    "call",
    [
        lambda problem: problem.A,
        lambda problem: dln.flow_limit(make_problem("sparse_csr", m=300, n=4000), 3, 1e-2),
        lambda problem: dln.train(problem, 3, 1e-2, engine="fused"),
        lambda problem: dln.train(problem, 3, 1e-2, certificate=True),
        lambda problem: dln.train(problem, 3, 1e-2, "certified"),
        lambda problem: problem.rank,
        lambda problem: problem.sigma_min,
    ],
)
def test_what_needs_a_matrix_says_so_in_one_line(call: object) -> None:
    with pytest.raises(InputError) as caught:
        call(make_problem("sparse_csr"))  # type: ignore[operator]
    assert "operator" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_files_hold_the_operator_not_its_matrix(name: str, tmp_path: Path) -> None:
    problem = make_problem(name)
    again = load_problem(save_problem(problem, tmp_path / "problem.npz"))
    assert type(again.operator) is type(problem.operator)
    assert torch.equal(again.to_dense().A, problem.to_dense().A)
    assert torch.equal(again.y, problem.y)
    assert (tmp_path / "problem.npz").stat().st_size < 40_000
    with pytest.raises(InputError, match="A must be dense, sparse or a known transform"):
        save_problem(Problem(function_operator(), np.ones(4)), tmp_path / "mine.npz")


def test_a_broken_sparse_file_gets_one_line(tmp_path: Path) -> None:
    arrays = {**make_problem("sparse_csr").operator.arrays(), "y": np.ones(50)}
    arrays["csr_indices"] = arrays["csr_indices"] + 190
    np.savez(tmp_path / "broken.npz", **arrays)
    with pytest.raises(InputError, match="path must be a .npz"):
        load_problem(tmp_path / "broken.npz")


# -- large dense problems ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [5, 3])
def test_singular_values_from_the_gram_matrix_are_those_of_the_svd(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(rank)
    A = rng.standard_normal((5, rank)) @ rng.standard_normal((rank, 80))
    small = Problem(A, rng.standard_normal(5))
    monkeypatch.setattr(linear_data, "SVD_ENTRIES", 10)
    large = Problem(A, small.y)
    assert (large.rank, large.m) == (small.rank, 5) == (rank, 5)
    assert torch.allclose(large.singular_values[:rank], small.singular_values[:rank], rtol=1e-12)
    assert large.inconsistency == pytest.approx(small.inconsistency, rel=1e-10, abs=1e-14)
    psi = torch.from_numpy(rng.standard_normal(80))
    assert float(large.reduced().loss(psi)) == pytest.approx(float(small.reduced().loss(psi)), rel=1e-12)


def test_a_large_square_problem_has_its_norm_and_no_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = gaussian(8, 20, 0)
    norm = problem.spectral_norm
    monkeypatch.setattr(linear_data, "SVD_ENTRIES", 10)
    large = Problem(problem.A, problem.y)
    assert large.known_rank is None
    assert large.reduced() is large
    assert large.spectral_norm == pytest.approx(norm, rel=1e-12)


def test_lanczos_finds_the_norm_of_a_matrix_with_a_crowded_spectrum() -> None:
    A = torch.from_numpy(np.random.default_rng(1).standard_normal((120, 150)))
    assert DenseOperator(A).spectral_norm == pytest.approx(float(torch.linalg.matrix_norm(A, 2)), rel=1e-12)


def test_entries_are_checked_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "BLOCK_ENTRIES", 7)
    A = np.zeros((4, 9))
    with pytest.raises(InputError, match="A must have a nonzero entry"):
        Problem(A, np.ones(4))
    A[3, 5] = np.nan
    with pytest.raises(InputError, match=r"A must be finite, got nan at \[3, 5\]"):
        Problem(A, np.ones(4))


def test_memory_is_shared_only_when_asked() -> None:
    A = np.random.default_rng(0).standard_normal((3, 7))
    shared, copied = Problem(A, np.ones(3), copy=False), Problem(A, np.ones(3))
    A[0, 0] = 5.0
    assert float(shared.A[0, 0]) == 5.0 != float(copied.A[0, 0])


def test_the_planted_truth_is_found_from_its_cosine_transform() -> None:
    problem = make_problem("partial_cosine", m=60, n=400, nonzeros=3)
    start, end = (dln.train(problem, 2, 1e-4, kappa=0.1, max_steps=steps).summary for steps in (1, 300))
    assert start["distance_to_truth"] > 1
    assert end["distance_to_truth"] < 5e-3
