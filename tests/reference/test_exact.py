"""Exact answers: equal to brute force over all bases in rationals, and what they cost."""

from __future__ import annotations

import warnings
from fractions import Fraction

import numpy as np
import pytest

import dlntorch as dln
from dlntorch.numerics import rational
from dlntorch.numerics.rational import IntegerMatrix
from dlntorch.numerics.trajectory import Status
from dlntorch.reference.exact import exact_minimizer
from tests.problems import gaussian
from tests.reference.brute_force import brute_force, rank, solve


def integer_problem(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Entries in −2 … 2: most are degenerate, many of deficient rank, some with y outside range(A)."""
    while True:
        m, n = int(rng.integers(1, 4)), int(rng.integers(2, 7))
        A, y = rng.integers(-2, 3, (m, n)), rng.integers(-2, 3, m)
        if A.any():
            return A, y


def make(A, y) -> dln.Problem:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dln.Problem(A, y)


def check(A, y, found) -> None:
    truth = brute_force(A.tolist(), y.tolist())
    assert truth is not None
    exact = found.exact
    assert found.status is Status.CONVERGED
    assert exact.value == truth.value
    assert found.unique is exact.unique is truth.unique
    assert tuple(exact.psi) in truth.vertices
    assert exact.support == truth.support
    assert exact.dimension == truth.dimension
    assert {tuple(vertex) for vertex in exact.vertices} == truth.vertices
    tau = [sum(int(a) * v for a, v in zip(column, exact.dual, strict=True)) for column in A.T]
    assert max(map(abs, tau)) <= 1
    assert sum(int(b) * v for b, v in zip(y, exact.dual, strict=True)) == truth.value


def run(count: int, seed: int) -> int:
    rng, degenerate = np.random.default_rng(seed), 0
    for _ in range(count):
        A, y = integer_problem(rng)
        found = dln.l1_minimizer(make(A, y), exact=True)
        check(A, y, found)
        degenerate += len(found.support) < found.exact.rank or len(found.exact.ties) > found.exact.rank
    return degenerate


def test_integer_problems_equal_brute_force_over_bases() -> None:
    assert run(100, 0) > 50


@pytest.mark.slow
def test_two_thousand_integer_problems() -> None:
    run(2000, 1)


def test_without_a_start_the_simplex_method_finds_the_same() -> None:
    rng = np.random.default_rng(5)
    for _ in range(60):
        A, y = integer_problem(rng)
        exact = exact_minimizer(make(A, y))
        truth = brute_force(A.tolist(), y.tolist())
        assert (exact.value, exact.support, exact.dimension) == (truth.value, truth.support, truth.dimension)


def test_weights_and_signs() -> None:
    rng, none = np.random.default_rng(6), 0
    for _ in range(80):
        A, y = integer_problem(rng)
        n = A.shape[1]
        weights = rng.integers(1, 5, n) / 2, rng.integers(1, 5, n) / 4
        nonnegative = bool(rng.integers(2))
        exact = exact_minimizer(make(A, y), weights, nonnegative)
        truth = brute_force(A.tolist(), y.tolist(), weights, nonnegative)
        assert (exact is None) is (truth is None)
        none += truth is None
        if truth is not None:
            assert (exact.value, exact.support, exact.dimension) == (truth.value, truth.support, truth.dimension)
            assert {tuple(vertex) for vertex in exact.vertices} == truth.vertices
            projected = sum(Fraction(int(b)) * v for b, v in zip(y, exact.dual, strict=True))
            assert projected == truth.value
    assert none > 5


def test_python_integers_do_the_same_as_flint(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    cases = [integer_problem(rng) for _ in range(40)]
    with_flint = [exact_minimizer(make(*case)) for case in cases]
    monkeypatch.setattr(rational, "flint_library", lambda: None)
    assert [exact_minimizer(make(*case)) for case in cases] == with_flint


@pytest.mark.parametrize("library", [True, False])
def test_linear_algebra(library: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not library:
        monkeypatch.setattr(rational, "flint_library", lambda: None)
    rng = np.random.default_rng(8)
    for size in (1, 2, 5):
        rows = rng.integers(-9, 10, (size, size + 2)).tolist()
        matrix = IntegerMatrix(rows)
        square = [row[:size] for row in rows]
        right = rng.integers(-9, 10, size).tolist()
        truth = solve([[Fraction(v) for v in row] for row in square], [Fraction(v) for v in right])
        if truth is not None:
            values, unit = IntegerMatrix(square).solve(right)
            assert unit > 0
            assert [Fraction(v, unit) for v in values] == truth
        assert matrix.rank() == rank([[Fraction(v) for v in row] for row in rows])
        double = IntegerMatrix([*rows, [2 * v for v in rows[0]]])
        assert double.rank() == matrix.rank()
        assert len(double.independent(range(size + 2))) == matrix.rank()
        x = rng.integers(-9, 10, size + 2).tolist()
        assert matrix.times(x) == (np.array(rows) @ np.array(x)).tolist()
        assert matrix.transpose_times(right) == (np.array(rows).T @ np.array(right)).tolist()


@pytest.mark.parametrize("library", [True, False])
def test_minors_that_are_multiples_of_a_prime(library: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elimination modulo 2⁶¹ − 1, 2⁶¹ − 31 or 2⁶¹ − 45 sees dependent columns, where they are not."""
    if not library:
        monkeypatch.setattr(rational, "flint_library", lambda: None)
    for step in (2**61 - 1, (2**61 - 1) * (2**61 - 31) * (2**61 - 45)):
        for A, y in (([[1, 2, 3], [1, 2 + step, 3]], [1, 2]), ([[1, 1, 2], [1, 1 + step, 2]], [3, 4])):
            found, truth = exact_minimizer(dln.Problem.from_rationals(A, y)), brute_force(A, y)
            assert found is not None
            assert truth is not None
            assert found.rank == 2
            assert found.value == truth.value
            assert found.unique is truth.unique
            assert tuple(found.psi) in truth.vertices
    assert IntegerMatrix([[step, 1], [0, step]]).rank() == 2
    assert len(IntegerMatrix([[step, 1], [step, 1]]).independent([0, 1])) == 1


def test_floats_are_rationals_and_rounded_data_have_a_full_support() -> None:
    problem = gaussian(10, 30, 5, 2)
    exact = dln.l1_minimizer(problem, exact=True)
    A, y = problem.rationals
    assert [sum(a * x for a, x in zip(row, exact.exact.psi, strict=True)) for row in A] == y
    assert max(abs(sum(a * v for a, v in zip(col, exact.exact.dual, strict=True))) for col in zip(*A, strict=True)) == 1
    assert len(exact.support) == 10  # y = Aψ was rounded
    np.testing.assert_allclose(exact.psi.numpy(), problem.truth.numpy(), atol=1e-14)
    assert exact.unique is True


def test_given_exactly_decided_one_way_in_floats_undecided() -> None:
    delta = Fraction(1, 10**30)
    for sign in (1, -1, 0):
        problem = dln.Problem.from_rationals([[1, 1 - sign * delta]], ["1"])
        found = dln.l1_minimizer(problem, exact=True)
        assert problem.A[0, 1] == 1
        assert dln.l1_minimizer(problem).unique is False
        assert found.unique is (sign != 0)
        assert found.support.tolist() == ([0, 0, 1][sign::3][:1] if sign >= 0 else [1])


def test_selected_minimizer_from_an_exact_face() -> None:
    problem = dln.Problem([[1, 1, 1], [3, 0, 1]], [3, 3])
    exact = dln.l1_minimizer(problem, exact=True)
    for p in (2, 3):
        mine = dln.selected_minimizer(problem, p, minimizer=exact)
        np.testing.assert_allclose(mine.psi, dln.selected_minimizer(problem, p).psi, rtol=1e-12)


@pytest.mark.parametrize(
    ("A", "y", "words"),
    [
        ([["1", "abc"]], [1], "A must hold rational numbers"),
        ([[1, float("nan")]], [1], "at [0, 1]"),
        ([[1, True]], [1], "got 'True'"),
        ([[1, 2]], ["1/0"], "y must hold rational numbers"),
        ([["1e99999999", 2]], [1], "at most 4000 digits, got one of 100000000 digits at [0, 0]"),
        ([["1" * 4001, 2]], [1], "at most 4000 digits, got one of 4001 digits at [0, 0]"),
        ([[1, "1/" + "3" * 4001]], [1], "at most 4000 digits, got one of 4001 digits at [0, 1]"),
        ([[1, 2]], [Fraction(1, 10**5000)], "at most 4000 digits, got one of 5001 digits at [0]"),
        ([["1e400", 2]], [1], "range of float64"),
        ([[1, 2], [1]], [1, 1], "rows of unequal length"),
        ("12", [1], "nested sequences"),
    ],
)
def test_bad_rationals(A, y, words: str) -> None:
    with pytest.raises(dln.InputError) as error:
        dln.Problem.from_rationals(A, y)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_numbers_too_long_for_the_budget() -> None:
    tiny = Fraction(1, 10**3900)
    problem = dln.Problem.from_rationals(
        [[Fraction(i * 40 + j + 1, 7) + tiny for j in range(40)] for i in range(12)], [1] * 12
    )
    big = dln.Problem(
        np.random.default_rng(0).standard_normal((200, 400)) * 2.0 ** np.arange(400) * 1e-100, np.ones(200)
    )
    big.A[:, 0] = 2.0**-900
    assert dln.l1_minimizer(problem, exact=True).exact is not None
    with pytest.raises(
        dln.InputError, match=r"exact must be False for numbers of that length: .* got 200² · 400 · \d+ = "
    ):
        dln.l1_minimizer(big, exact=True)
    with pytest.raises(dln.InputError, match="exact must be true or false"):
        dln.l1_minimizer(problem, exact=1)  # type: ignore[arg-type]


def test_weights_and_signs_through_the_public_name() -> None:
    rng = np.random.default_rng(9)
    for _ in range(25):
        A, y = integer_problem(rng)
        n = A.shape[1]
        plus, minus = rng.integers(1, 5, n) / 2, rng.integers(1, 5, n) / 4
        one_sided = bool(rng.integers(2))
        truth = brute_force(A.tolist(), y.tolist(), (plus, plus if one_sided else minus), one_sided)
        weights = plus if one_sided else (plus, minus)
        found = dln.l1_minimizer(make(A, y), weights, one_sided, exact=True)
        if truth is None:
            assert found.status is Status.FAILED
            assert "exact arithmetic proves it" in found.reason
            continue
        assert found.exact.value == truth.value
        assert found.unique is truth.unique
        assert found.exact.support == truth.support == sorted(found.face.support.tolist())
