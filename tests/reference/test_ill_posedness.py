"""The distance to a problem without a unique minimiser: closed forms, a search of its own, perturbations in rationals."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations, permutations, product

import numpy as np
import pytest
from scipy.optimize import nnls

import dlntorch as dln
from dlntorch.numerics.trajectory import Status
from dlntorch.reference.uniqueness_radius import _spectral
from tests.problems import gaussian
from tests.reference.brute_force import brute_force


def changed(problem: dln.Problem, perturbation) -> tuple[list[list[Fraction]], list[Fraction]]:
    (A, y), (dA, dy) = problem.rationals, perturbation
    rows = [[a + d for a, d in zip(row, more, strict=True)] for row, more in zip(A, dA.tolist(), strict=True)]
    return rows, [a + d for a, d in zip(y, dy.tolist(), strict=True)]


def size(problem: dln.Problem, perturbation) -> float:
    """The size of a change, computed here in floats."""
    A, y = problem.A.numpy(), problem.y.numpy()
    dA, dy = (part.astype(float) for part in perturbation)
    columns = np.linalg.norm(dA, axis=0).sum() / np.linalg.norm(A, axis=0).max()
    return max(columns, np.linalg.norm(dy) / np.linalg.norm(y))


@pytest.mark.parametrize("delta", ["0.1", "0.01", "1e-5", "1e-12", "1e-40"])
def test_papers_line_in_closed_form(delta: str) -> None:
    problem = dln.Problem.from_rationals([[1, 1 - Fraction(delta)]], [1])
    found = dln.ill_posedness(problem)
    assert found.lower <= Fraction(delta) <= found.upper
    assert found.upper == pytest.approx(float(delta), rel=1e-15)
    assert found.lower == pytest.approx(float(delta), rel=2 * float(delta) + 1e-8)
    assert found.digits == round(-math.log10(float(delta)))
    assert found.spread == pytest.approx(2)
    assert not dln.l1_minimizer(dln.Problem.from_rationals(*changed(problem, found.perturbation)), exact=True).unique


def test_one_row_in_closed_form() -> None:
    """max|A_i| and the second largest have to meet, and Σ‖dA_i‖ is then at least their difference."""
    rng = np.random.default_rng(0)
    for n in (2, 3, 6):
        A = rng.standard_normal((1, n))
        found = dln.ill_posedness(dln.Problem(A, [0.7]))
        top = np.sort(np.abs(A[0]))[::-1]
        truth = 1 - top[1] / top[0]
        assert found.lower <= truth * (1 + 1e-12)
        assert found.upper == pytest.approx(truth, rel=1e-12)


def search(problem: dln.Problem) -> float:
    """The smallest change of one column, without y, that ends uniqueness for m = 2: three points ±A_i on one line.

    All triples and all ways to move one of them to the line through the others are tried, and judged by brute force.
    """
    A, y = problem.A.numpy(), problem.y.numpy()
    top, best = np.linalg.norm(A, axis=0).max(), np.inf
    for triple in combinations(range(A.shape[1]), 3):
        for moved, i, j in set(permutations(triple)):
            if i > j:
                continue
            for si in (1, -1):
                for sj in (1, -1):
                    a, b, c = si * A[:, i], sj * A[:, j], A[:, moved]
                    direction = (b - a) / np.linalg.norm(b - a)
                    foot = a + direction * float(direction @ (c - a))
                    if (cost := float(np.linalg.norm(foot - c)) / top) >= best:
                        continue
                    exact_a, exact_b = [si * Fraction(v) for v in A[:, i]], [sj * Fraction(v) for v in A[:, j]]
                    s = Fraction(float(direction @ (c - a) / np.linalg.norm(b - a)))
                    rows = [[Fraction(v) for v in row] for row in A]
                    for k in range(2):
                        rows[k][moved] = exact_a[k] + s * (exact_b[k] - exact_a[k])
                    if not brute_force(rows, y.tolist()).unique:
                        best = cost
    return best


def test_two_rows_against_a_search() -> None:
    ratios = []
    for seed in range(8):
        problem = gaussian(2, 5, seed)
        found, truth = dln.ill_posedness(problem), search(problem)
        assert found.lower <= truth * (1 + 1e-9)
        ratios.append(found.upper / truth)
        assert found.upper <= truth * (1 + 1e-9)  # a neighbouring basis, reached by moving y too, may be nearer
    assert np.median(ratios) > 0.5


def nearest_by_all_bases(problem: dln.Problem) -> float:
    """The smallest change of one column, and of y, that ends uniqueness, found by looking at all bases and signs.

    A basis whose λ violates |A_iᵀλ| <= 1 at most at one column: that one, or any other, is moved along λ onto a tie, and y
    to the nearest point of the basis' cone. The winner is confirmed by brute force in rationals.
    """
    A, y = problem.A.numpy(), problem.y.numpy()
    (m, n), top = A.shape, np.linalg.norm(A, axis=0).max()
    found = []
    for columns in combinations(range(n), m):
        B = A[:, columns]
        for signs in product((1.0, -1.0), repeat=m):
            sigma = np.array(signs)
            lam = np.linalg.solve(B.T, sigma)
            tau = np.abs(A.T @ lam)
            tau[list(columns)] = 1.0
            outside = np.flatnonzero(tau > 1 + 1e-12)
            if len(outside) > 1:
                continue
            x, far = nnls(B * sigma, y)
            for i in outside if len(outside) else set(range(n)) - set(columns):
                size_ = max(abs(1 - tau[i]) / np.linalg.norm(lam) / top, far / np.linalg.norm(y))
                found.append((size_, columns, signs, int(i), x, lam))
    for size_, columns, signs, i, x, lam in sorted(found, key=lambda f: f[0]):
        exact = [[Fraction(v) for v in row] for row in A]
        B = A[:, columns] * np.array(signs)
        sign = 1.0 if A[:, i] @ lam > 0 else -1.0
        moved = A[:, i] + lam * float(sign - A[:, i] @ lam) / float(lam @ lam)
        c = [Fraction(v) for v in np.linalg.solve(B, moved).tolist()]
        c[0] += Fraction(int(sign)) - sum(c)
        inside = [Fraction(v) + Fraction(1, 10**30) for v in x.tolist()]
        columns_of_B = [[int(s) * exact[k][j] for j, s in zip(columns, signs, strict=True)] for k in range(m)]
        target = [sum(a * v for a, v in zip(row, inside, strict=True)) for row in columns_of_B]
        for row, values in zip(exact, columns_of_B, strict=True):
            row[i] = sum(a * v for a, v in zip(values, c, strict=True))
        truth = brute_force(exact, target)
        if truth is not None and not truth.unique:
            return size_
    raise AssertionError("no basis gives a change")


@pytest.mark.parametrize(("m", "n", "nonzeros"), [(2, 6, 1), (3, 6, None), (3, 6, 1), (3, 7, 2)])
def test_all_bases_of_small_problems(m: int, n: int, nonzeros: int | None) -> None:
    """Of a planted minimiser many bases meet at y: the nearest of all is between the bounds, which are close."""
    ratios = []
    for seed in range(12):
        problem = gaussian(m, n, seed, nonzeros)
        found, truth = dln.ill_posedness(problem), nearest_by_all_bases(problem)
        assert 0 < found.lower <= truth * (1 + 1e-9)
        assert found.upper <= truth * 1.1
        ratios.append(found.upper / found.lower)
    assert np.median(ratios) < 2
    assert max(ratios) < 4


def test_no_smaller_change_found_at_random_ends_uniqueness_or_leaves_the_bound() -> None:
    rng = np.random.default_rng(1)
    for seed, nonzeros in ((0, None), (1, None), (2, 2), (4, 1), (5, 2)):
        problem = gaussian(4, 9, seed, nonzeros)
        found = dln.ill_posedness(problem)
        assert 0 < found.lower <= found.upper
        A, y = problem.A.numpy(), problem.y.numpy()
        for _ in range(20):
            dA, dy = rng.standard_normal(A.shape), rng.standard_normal(4)
            if rng.integers(2):
                dA *= np.arange(9) == rng.integers(9)
            dA *= found.lower * np.linalg.norm(A, axis=0).max() / np.linalg.norm(dA, axis=0).sum()
            dy *= found.lower * np.linalg.norm(y) / np.linalg.norm(dy)
            assert dln.l1_minimizer(dln.Problem(A + dA, y + dy), exact=True).unique


CASES = [(3, 7, None), (5, 12, None), (5, 12, 1), (5, 12, 2), (8, 20, 2)]


@pytest.mark.parametrize(("m", "n", "nonzeros"), CASES)
def test_the_perturbation_ends_uniqueness_in_rationals(m: int, n: int, nonzeros: int | None) -> None:
    for seed in range(2):
        problem = gaussian(m, n, seed, nonzeros)
        found = dln.ill_posedness(problem)
        assert found.status is Status.CONVERGED
        assert size(problem, found.perturbation) <= found.upper * (1 + 1e-12)
        assert found.upper == pytest.approx(size(problem, found.perturbation), rel=1e-12)
        again = dln.l1_minimizer(dln.Problem.from_rationals(*changed(problem, found.perturbation)), exact=True)
        assert again.unique is False
        assert found.digits is not None


KINDS = [(3, 7, None), (5, 12, None), (10, 30, None), (5, 12, 1), (5, 12, 2), (8, 20, 2), (10, 30, 4)]


@pytest.mark.slow
@pytest.mark.parametrize(("m", "n", "nonzeros"), KINDS)
def test_the_bounds_are_close_by_kind_of_problem(m: int, n: int, nonzeros: int | None) -> None:
    """Each perturbation is applied and solved in rationals; the median of upper/lower is below two for each kind."""
    ratios = []
    for seed in range(100, 130):
        problem = gaussian(m, n, seed, nonzeros)
        found = dln.ill_posedness(problem)
        assert 0 < found.lower <= found.upper
        assert found.lower_reason == ""
        again = dln.l1_minimizer(dln.Problem.from_rationals(*changed(problem, found.perturbation)), exact=True)
        assert again.unique is False
        ratios.append(found.upper / found.lower)
    assert np.median(ratios) < 2
    assert max(ratios) < 10


@pytest.mark.slow
def test_more_bases_than_can_be_visited_are_said() -> None:
    found = dln.ill_posedness(gaussian(20, 60, 0, 3))
    assert 0 < found.lower < 1e-12
    assert "more than 500 bases meet near y" in found.lower_reason


def test_integer_problems() -> None:
    rng = np.random.default_rng(3)
    unique = 0
    for _ in range(60):
        m, n = int(rng.integers(1, 4)), int(rng.integers(4, 7))
        A, y = rng.integers(-2, 3, (m, n)), rng.integers(-2, 3, m)
        if not A.any() or not y.any():
            continue
        problem = dln.Problem(A, y)
        found = dln.ill_posedness(problem)
        truth = brute_force(A.tolist(), y.tolist())
        if not truth.value:
            assert found.upper is None
            continue
        if not truth.unique:
            assert found.lower == found.upper == 0
            assert found.digits is None
            continue
        unique += 1
        if found.upper is None:  # every column is a tie for all dual vectors
            assert found.upper_reason
            continue
        assert found.lower <= found.upper
        assert not brute_force(*changed(problem, found.perturbation)).unique
    assert unique > 5


def test_alpha_has_to_follow() -> None:
    """At the α of log10_alpha the limit on A = (1, 1 − δ) is half-way between the two candidates."""
    for delta, p in ((1e-2, 3), (1e-3, 4)):
        problem = dln.Problem([[1, 1 - delta]], [1])
        found = dln.ill_posedness(problem)
        alpha = 10 ** found.log10_alpha(p)
        for factor, low, high in ((1.0, 0.5, 0.8), (0.1, 0.9, 1.0), (10.0, 0.4, 0.55)):
            share = float(dln.flow_limit(problem, p, alpha * factor).psi[0])
            assert low < share <= high
    assert dln.ill_posedness(dln.Problem([[1, 0.9]], [1])).log10_alpha(2) == pytest.approx(-5 / math.log(10))


def test_what_has_no_answer_says_so() -> None:
    zero = dln.ill_posedness(dln.Problem([[1, 2.0]], [0]))
    assert zero.upper is None
    assert "y" in zero.reason
    twice = dln.ill_posedness(dln.Problem([[1, 1.0]], [1]))
    assert (twice.lower, twice.upper, twice.digits) == (0, 0, None)
    assert twice.spread == pytest.approx(2)
    deficient = dln.ill_posedness(dln.Problem([[1, 0.5, 0.25], [2, 1, 0.5]], [1, 2]))
    assert deficient.lower == 0
    assert "rank" in deficient.lower_reason
    assert deficient.upper == pytest.approx(0.5)
    with pytest.raises(dln.InputError, match="A must be a dense matrix"):
        dln.ill_posedness(dln.Problem(_Sparse(), [1.0, 2.0]))


class _Sparse:
    shape = (2, 3)

    def matvec(self, x):
        return x[..., :2]

    def rmatvec(self, r):
        import torch

        return torch.nn.functional.pad(r, (0, 1))


def test_the_bound_of_the_spectral_norm_is_one_and_is_close() -> None:
    rng = np.random.default_rng(4)
    for size_ in (1, 3, 40):
        X = rng.standard_normal((size_, size_))
        truth = np.linalg.norm(X, 2)
        assert truth <= _spectral(X) <= 1.35 * truth
