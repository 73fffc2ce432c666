"""The generators: shapes, determinism, and the structure each one promises, by a second route."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from dlntorch.matrix.named import MATRIX_GENERATORS
from dlntorch.numerics.validation import InputError
from dlntorch.problem import GENERATORS, Problem, digit_image, make_problem, paper, real, synthetic
from dlntorch.problem.make import OF_MATRICES
from tests import problems as exact

CONF = Path(__file__).parents[2] / "conf" / "problem"


def basis_pursuit_by_linprog(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """A vertex of the ℓ1-minimisers, and the moduli |A_iᵀλ| of the linear programme's dual."""
    A, y = problem.A.numpy(), problem.y.numpy()
    solved = linprog(np.ones(2 * problem.n), A_eq=np.hstack([A, -A]), b_eq=y, method="highs")
    assert solved.status == 0
    return solved.x[: problem.n] - solved.x[problem.n :], np.abs(A.T @ solved.eqlin.marginals)


def smallest_margin(problem: Problem, psi: np.ndarray) -> float:
    """ϱ = min {max_{i∉S} |A_iᵀλ| : A_Sᵀλ = σ_S} as a linear programme of its own."""
    A = problem.A.numpy()
    S = np.abs(psi) > 1e-9 * np.abs(psi).max()
    off, m = A[:, ~S].T, problem.m
    cost = np.r_[np.zeros(m), 1.0]
    above = np.vstack([np.c_[off, -np.ones(len(off))], np.c_[-off, -np.ones(len(off))]])
    solved = linprog(
        cost,
        A_ub=above,
        b_ub=np.zeros(len(above)),
        A_eq=np.c_[A[:, S].T, np.zeros(S.sum())],
        b_eq=np.sign(psi[S]),
        bounds=[(None, None)] * (m + 1),
        method="highs",
    )
    assert solved.status == 0
    return float(solved.fun)


@pytest.mark.parametrize("name", GENERATORS)
def test_the_configuration_holds_exactly_the_defaults(name: str) -> None:
    config = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    assert config["path"] is None
    from_config, from_code = make_problem(**config), GENERATORS[name]()
    assert from_config.name == from_code.name == name
    assert torch.equal(from_config.to_dense().A, from_code.to_dense().A)
    assert torch.equal(from_config.y, from_code.y)
    defaults = GENERATORS[name].__defaults__ or ()
    arguments = dict(zip(GENERATORS[name].__code__.co_varnames, defaults, strict=False))
    assert {key: value for key, value in config.items() if key not in ("name", "path")} == arguments


def test_every_configuration_has_a_generator() -> None:
    assert {file.stem for file in CONF.glob("*.yaml")} == {*GENERATORS, *OF_MATRICES, "file"}
    assert set(OF_MATRICES) == set(MATRIX_GENERATORS)


@pytest.mark.parametrize(
    ("make", "expected"),
    [(paper.line, exact.line), (paper.plane, exact.plane), (paper.random, exact.paper_random)],
)
def test_the_papers_problems(make: Callable[[], Problem], expected: Callable[[], Problem]) -> None:
    assert torch.equal(make().A, expected().A)
    assert torch.equal(make().y, expected().y)


@pytest.mark.parametrize("name", ["gaussian", "sparse", "rank_deficient", "ill_conditioned", "diabetes", "digits"])
def test_a_seed_fixes_the_problem_and_another_changes_it(name: str) -> None:
    first, again, other = (make_problem(name, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.A, again.A)
    assert torch.equal(first.y, again.y)
    assert not torch.equal(first.A, other.A)


def test_the_default_gaussian_has_a_wide_margin_and_m_nonzeros() -> None:
    problem = synthetic.gaussian()
    assert (problem.m, problem.n, problem.rank) == (10, 30, 10)
    psi, dual = basis_pursuit_by_linprog(problem)
    S = np.abs(psi) > 1e-9
    assert S.sum() == 10
    assert dual[~S].max() <= 0.93
    # As the docstring says, by the dual of the programme and by the support's own equations.
    assert dual[~S].max() == pytest.approx(0.691, abs=5e-4)
    lam = np.linalg.solve(problem.A.numpy()[:, S].T, np.sign(psi[S]))
    assert np.abs(problem.A.numpy()[:, ~S].T @ lam).max() == pytest.approx(dual[~S].max(), rel=1e-9)
    assert np.abs(psi[S]).min() == pytest.approx(0.073, abs=5e-4)
    assert np.abs(psi[S]).max() == pytest.approx(0.729, abs=5e-4)
    assert np.linalg.cond(problem.A.numpy()[:, S]) == pytest.approx(5.3, abs=0.05)


def test_the_default_sparse_problem_is_recovered() -> None:
    problem = synthetic.sparse()
    assert (problem.m, problem.n) == (50, 200)
    assert problem.truth is not None
    truth = problem.truth.numpy()
    assert np.count_nonzero(truth) == 6
    assert np.abs(truth[truth != 0]).min() >= 0.5
    assert np.abs(truth).max() <= 1.5
    psi, _ = basis_pursuit_by_linprog(problem)
    np.testing.assert_allclose(psi, truth, atol=1e-9)


def test_noise_has_the_deviation_asked_for() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        quiet, noisy = synthetic.sparse(m=4000, n=20), synthetic.sparse(m=4000, n=20, noise=0.25)
    assert torch.equal(quiet.A, noisy.A)
    assert float((noisy.y - quiet.y).std()) == pytest.approx(0.25, rel=0.05)


@pytest.mark.parametrize(("rank", "inconsistent"), [(1, 0.0), (6, 0.0), (6, 0.5), (9, 3.0), (10, 0.0)])
def test_rank_and_inconsistency_are_what_was_asked(rank: int, inconsistent: float) -> None:
    problem = synthetic.rank_deficient(rank=rank, inconsistent=inconsistent)
    assert problem.rank == np.linalg.matrix_rank(problem.A.numpy()) == rank
    best = np.linalg.pinv(problem.A.numpy(), rcond=1e-10) @ problem.y.numpy()
    assert np.linalg.norm(problem.A.numpy() @ best - problem.y.numpy()) == pytest.approx(inconsistent, abs=1e-13)
    assert problem.inconsistency == pytest.approx(inconsistent, abs=1e-13)
    assert problem.consistent == (inconsistent == 0)


def test_the_default_rank_deficient_problem_is_benign() -> None:
    problem = synthetic.rank_deficient().reduced()
    psi, dual = basis_pursuit_by_linprog(problem)
    S = np.abs(psi) > 1e-9
    assert S.sum() == 6
    assert dual[~S].max() == pytest.approx(0.8413, abs=5e-5)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    m=st.integers(2, 12),
    extra=st.integers(1, 15),
    fewer=st.integers(0, 6),
    digits=st.floats(0, 8),
    support_digits=st.floats(0, 4),
    seed=st.integers(0, 1000),
)
def test_the_condition_dial_is_the_null_space_condition(
    m: int, extra: int, fewer: int, digits: float, support_digits: float, seed: int
) -> None:
    k, condition, support_condition = max(2, m - fewer), 10.0**digits, 10.0**support_digits
    problem = synthetic.ill_conditioned(m, m + extra, k, condition, support_condition, seed)
    assert problem.truth is not None
    truth, A = problem.truth.numpy(), problem.A.numpy()
    S = truth != 0
    assert S.sum() == k
    assert np.linalg.cond(A[:, S]) == pytest.approx(support_condition, rel=1e-9)
    # λ₀ attains the margin asked for (up to rounding), and one column has that margin for every λ.
    sigma = np.sign(truth[S])
    lam = np.linalg.pinv(A[:, S].T) @ sigma
    rho = 1 - 1 / condition
    rounding = 1e-14 * support_condition * m
    assert np.abs(A[:, ~S].T @ lam).max() == pytest.approx(rho, abs=rounding)
    closest = A[:, ~S][:, np.argmax(np.abs(A[:, ~S].T @ lam))]
    if rho > 0.1:
        weights = np.linalg.lstsq(A[:, S], closest, rcond=None)[0]
        np.testing.assert_allclose(A[:, S] @ weights, closest, atol=1e-12)
        assert weights @ sigma == pytest.approx(rho, abs=rounding)


@pytest.mark.parametrize("nonzeros", [3, 10])
@pytest.mark.parametrize("condition", [1.0, 2.0, 100.0, 1e4])
def test_the_condition_dial_by_a_linear_programme(condition: float, nonzeros: int) -> None:
    problem = synthetic.ill_conditioned(condition=condition, nonzeros=nonzeros)
    assert problem.truth is not None
    psi, _ = basis_pursuit_by_linprog(problem)
    np.testing.assert_allclose(psi, problem.truth.numpy(), atol=1e-7)
    assert smallest_margin(problem, problem.truth.numpy()) == pytest.approx(1 - 1 / condition, abs=1e-8)


def test_kink_moves_its_minimiser_through_zero() -> None:
    for delta, best in ((0.1, [1.0, 0.0]), (-0.1, [0.0, 1 / 1.1])):
        psi, _ = basis_pursuit_by_linprog(paper.kink(delta))
        np.testing.assert_allclose(psi, best, atol=1e-9)
    assert torch.equal(paper.kink().A, torch.tensor([[1.0, 0.9]], dtype=torch.float64))


def test_diabetes_is_standardised_and_has_rank_one_less() -> None:
    problem = real.diabetes()
    assert (problem.m, problem.n, problem.rank) == (120, 285, 119)
    assert problem.consistent
    for values in (problem.A, problem.y):
        assert float(values.mean(dim=0).abs().max()) < 1e-12
        assert float((values.std(dim=0, correction=0) - 1).abs().max()) < 1e-12
    # The powers of the two-valued feature are one column up to sign, as the docstring warns.
    gram = (problem.A.T @ problem.A / 120)[1]
    assert torch.nonzero((gram.abs() - 1).abs() < 1e-10).flatten().tolist() == [1, 20, 120]
    psi, dual = basis_pursuit_by_linprog(problem.reduced())
    S = np.abs(psi) > 1e-9
    assert S.sum() == 119
    assert dual[~S].max() == pytest.approx(0.9962, abs=5e-5)
    assert not S[[1, 20, 120]].any()


def test_diabetes_columns_are_the_monomials() -> None:
    from sklearn.datasets import load_diabetes

    rows = np.sort(np.random.default_rng(1).choice(442, 120, replace=False))
    x = load_diabetes().data[rows]
    problem = real.diabetes()
    for column, monomial in ((0, x[:, 0]), (10, x[:, 0] ** 2), (65, x[:, 0] ** 3), (284, x[:, 9] ** 3)):
        expected = (monomial - monomial.mean()) / monomial.std()
        np.testing.assert_allclose(problem.A[:, column].numpy(), expected, rtol=1e-9, atol=1e-11)


def test_a_digit_is_recovered_from_its_measurements() -> None:
    from sklearn.datasets import load_digits

    problem = real.digits()
    assert (problem.m, problem.n, problem.rank) == (40, 64, 40)
    assert problem.truth is not None
    truth = problem.truth.numpy()
    assert np.count_nonzero(truth) == 10
    psi, _ = basis_pursuit_by_linprog(problem)
    np.testing.assert_allclose(psi, truth, atol=1e-9)
    image = load_digits().images[0] / 16
    energy = np.sum(truth**2) / np.sum(image**2)  # the basis is orthonormal
    assert energy == pytest.approx(0.9288, abs=1e-4)
    assert np.sum((digit_image(truth) - image) ** 2) == pytest.approx((1 - energy) * np.sum(image**2), rel=1e-12)
    whole = real.digits(nonzeros=None)
    assert whole.truth is not None
    np.testing.assert_allclose(digit_image(whole.truth.numpy()), image, atol=1e-14)
    assert digit_image(np.zeros((3, 2, 64))).shape == (3, 2, 8, 8)
    # A measures the pixels: A ψ = G x.
    pixels = np.random.default_rng(0).standard_normal((40, 64)) / np.sqrt(40) @ digit_image(truth).ravel()
    np.testing.assert_allclose(problem.y.numpy(), pixels, atol=1e-14)


@pytest.mark.parametrize("name", ["diabetes", "digits"])
def test_without_scikit_learn_one_line_names_the_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(InputError, match=r"problem.name must be .*pip install 'dlntorch\[data\]'"):
        make_problem(name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "gaussian", "m": 0}, "problem.m must be an integer >= 1, got 0"),
        ({"name": "gaussian", "m": 2.5}, "problem.m must be an integer >= 1, got 2.5"),
        ({"name": "gaussian", "n": "many"}, "problem.n must be an integer >= 1, got 'many'"),
        ({"name": "gaussian", "seed": -1}, "problem.seed must be an integer >= 0, got -1"),
        ({"name": "gaussian", "seed": True}, "problem.seed must be an integer >= 0, got True"),
        ({"name": "gaussian", "m": 10**6, "n": 10**6}, "problem.m times n must be at most 536870912 entries"),
        ({"name": "rank_deficient", "m": 10**5, "n": 3}, "problem.m must be at most 23170, got 100000"),
        ({"name": "sparse", "nonzeros": 300}, "problem.nonzeros must be an integer >= 1 and <= 200, got 300"),
        ({"name": "sparse", "noise": float("nan")}, "problem.noise must be a finite real number >= 0"),
        ({"name": "kink", "delta": 1.5}, "problem.delta must be a finite real number >= -1 and <= 0.999, got 1.5"),
        ({"name": "rank_deficient", "rank": 11}, "problem.rank must be an integer >= 1 and <= 10, got 11"),
        ({"name": "rank_deficient", "rank": 10, "inconsistent": 1}, "problem.inconsistent must be 0 when rank = m"),
        ({"name": "ill_conditioned", "condition": 0.5}, "problem.condition must be a finite real number >= 1"),
        ({"name": "ill_conditioned", "n": 10}, "problem.nonzeros must be an integer < n = 10, got 10"),
        ({"name": "diabetes", "m": 443}, "problem.m must be an integer >= 2 and <= 442, got 443"),
        ({"name": "diabetes", "m": 2, "seed": 0}, "problem.m must be large enough that no column is constant"),
        ({"name": "digits", "index": 1797}, "problem.index must be an integer >= 0 and <= 1796, got 1797"),
        ({"name": "gausian"}, "(did you mean gaussian?)"),
        ({"name": None}, "problem.name must be one of gaussian, sparse"),
        ({"name": "sparse", "nonzero": 3}, "problem.nonzero is not a key of problem 'sparse'"),
        ({"name": "sparse", "nonzero": 3}, "(did you mean nonzeros?)"),
        ({"name": "line", "pth": "x"}, "(did you mean path?)"),
        ({"name": "gaussian", "dtype": "float16"}, "dtype must be float64 or float32, got 'float16'"),
        ({"name": "file"}, "problem.path must be a file when the problem is 'file', got None"),
        ({"name": "gaussian", "path": 3}, "problem.path must be the name of a file, got 3"),
        ({"name": "file", "path": "x.npz", "max_bytes": 0}, "problem.max_bytes must be an integer >= 1, got 0"),
    ],
)
def test_mistakes_get_one_line_that_names_the_key(arguments: dict, message: str) -> None:
    with pytest.raises(InputError) as caught:
        make_problem(**arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_dtype_and_the_warning_reach_the_problem() -> None:
    assert make_problem("line", dtype="float32").A.dtype == torch.float32
    with pytest.warns(UserWarning, match="not over-parameterised"):
        make_problem("gaussian", m=5, n=5)


def test_a_path_wins_over_the_generator(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", A=np.ones((1, 2)), y=np.ones(1))
    problem = make_problem("gaussian", path=str(tmp_path / "mine.npz"), m=10, n=30, seed=0)
    assert (problem.name, problem.m, problem.n) == ("mine", 1, 2)
    with pytest.raises(InputError, match="problem.path must be a .npz with the keys A"):
        make_problem("gaussian", path=str(tmp_path / "missing.npz"))
