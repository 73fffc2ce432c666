"""Enclosures of the limit and of the selected minimiser: against 80 digits, closed forms, and the float64 results' own claims."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest

import dlntorch as dln
from dlntorch.limit.enclosure import enclosed_limit
from dlntorch.numerics.balls import Enclosure
from dlntorch.numerics.trajectory import Status
from tests.problems import gaussian, line, plane
from tests.reference.cases import random_face


def case(rng: np.random.Generator) -> tuple[dln.Problem, float, float]:
    """Random sizes, depths and α, faces, integers with equal columns, deficient ranks."""
    p = float(rng.choice([2.0, 2.1, 2.5, 3.0, 4.0, 7.3, 20.0]))
    alpha = 10.0 ** -rng.uniform(0, 6 / p)
    kind = int(rng.integers(4))
    m = int(rng.integers(1, 5))
    n = m + int(rng.integers(1, 6))
    if kind == 0:
        return gaussian(m, n, int(rng.integers(10**6))), p, alpha
    if kind == 1:
        return random_face(int(rng.integers(10**6)), int(rng.integers(1, 3))).problem, p, alpha
    A = rng.integers(-2, 3, (m, n)).astype(float)
    A[0, 0] = 1.0
    if kind == 2 and m > 1:
        A[-1] = 2 * A[0]
    return dln.Problem(A, A @ rng.integers(-3, 4, n)), p, alpha


def against_80_digits(count: int, seed: int) -> tuple[int, int, float]:
    """How many enclosures were made and contain 80-digit values, and the largest of float64's errors over its claim."""
    rng = np.random.default_rng(seed)
    good, worst = 0, 0.0
    for _ in range(count):
        problem, p, alpha = case(rng)
        found = dln.flow_limit(problem, p, alpha, precision=30, enclosure=True)
        exact = dln.flow_limit(problem, p, alpha, precision=80)
        assert isinstance(found.enclosure, Enclosure), (p, alpha, problem.A.tolist(), problem.y.tolist())
        size = max(1.0, float(found.psi.abs().max()))
        assert found.enclosure.width <= 1e-12 * size
        good += found.enclosure.contains(exact.exact)
        floats = dln.flow_limit(problem, p, alpha)
        if floats.status is Status.CONVERGED:
            psi = floats.psi.numpy()
            unit = np.maximum(np.abs(psi), min(2 * alpha**p, np.abs(psi).max()))
            error = np.array(found.enclosure.error(psi.tolist())) / np.where(unit > 0, unit, 1)
            worst = max(worst, float(error.max()) / max(float(floats.uncertainty), 1e-16))
    return count, good, worst


def test_enclosures_contain_80_digits_and_float64_is_within_its_uncertainty() -> None:
    count, good, worst = against_80_digits(25, 0)
    assert good == count
    assert worst <= 10  # what docs call right


@pytest.mark.slow
def test_five_hundred_enclosures() -> None:
    count, good, worst = against_80_digits(500, 1)
    assert good == count == 500
    assert worst <= 10


@pytest.mark.parametrize("p", [2, 2.5, 3, 4, 10])
def test_selected_minimiser_in_closed_form(p: float) -> None:
    """(1 − t, 2(1 − t), 3t) on the paper's two problems, in 80 digits."""
    with mp.workdps(90):
        if p == 2:
            t = mp.mpf(2) ** (mp.mpf(2) / 3)
            t = t / (3 + t)
        else:
            q = mp.mpf(p)
            t = 1 / (1 + (3 ** (2 / q) / (2 ** (2 / q) + 1)) ** (-q / (q - 2)))
        values = [mp.nstr(v, 80) for v in (1 - t, 2 * (1 - t), 3 * t)]
    for problem in (plane(), dln.Problem([[2, -1, 0, 1], [0, 3, 2, 0]], [0, 6])):
        found = dln.selected_minimizer(problem, p, enclosure=True)
        assert found.enclosure.width <= 1e-29
        assert found.enclosure.contains([*values, *(["0"] if problem.n == 4 else [])])


def test_selected_minimiser_on_random_faces() -> None:
    for seed in range(12):
        known = random_face(seed, 1 + seed % 3)
        for p in (2, 3, 8):
            found = dln.selected_minimizer(known.problem, p, enclosure=True)
            assert found.enclosure is not None
            assert found.dimension == known.dimension
            middle = np.array([float(v) for v in found.enclosure.midpoint])
            np.testing.assert_allclose(found.psi.numpy(), middle, rtol=1e-9, atol=1e-12 * np.abs(middle).max())
            A, y = known.problem.rationals
            inside = list(found.enclosure.midpoint)
            for row, value in zip(A, y, strict=True):
                assert abs(sum(a * v for a, v in zip(row, inside, strict=True)) - value) <= Fraction(1, 10**24)


@pytest.mark.parametrize(
    ("A", "y", "psi"), [([[1, 1]], [-2], [-1, -1]), ([[1, 0, 0], [-2, -1, 1]], [1, 0], [1, -1, 1])]
)
def test_where_the_start_is_the_root_itself(A, y, psi) -> None:
    for p in (2, 3):
        assert dln.selected_minimizer(dln.Problem(A, y), p, enclosure=True).enclosure.contains(psi)


def test_unique_minimisers_are_their_own_enclosure() -> None:
    found = dln.selected_minimizer(gaussian(3, 7, 1), 3, enclosure=True)
    assert found.enclosure.width == 0
    assert list(found.enclosure.lower) == found.minimizer.exact.psi


def test_the_limit_tends_to_the_selected_minimiser_within_its_enclosure() -> None:
    problem = line()
    near = dln.flow_limit(problem, 3, 1e-12, enclosure=True).enclosure
    selected = dln.selected_minimizer(problem, 3, enclosure=True).enclosure
    for a, b in zip(near.midpoint, selected.midpoint, strict=True):
        assert abs(float(a - b)) < 1e-30 * 1e3


def test_two_sided_starts_in_closed_form() -> None:
    """One equation, one coordinate: ψ = y whatever the start; two equal columns with the shape (1, 2) at p = 2: a ratio."""
    problem = dln.Problem([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [1, 3])
    one = enclosed_limit(problem, 3, [0.1, 0.2, 0.5], [0.3, 0.1, 0.25], [0.5, 3, 0.1], 30)
    assert one.contains([Fraction(1, 2), 3, Fraction(1, 8) - Fraction(1, 64)])
    two = enclosed_limit(dln.Problem([[1.0, 1.0]], [5.0]), 2, [1.0, 2.0], [1.0, 2.0], [1, 4], 30)
    assert two.contains([1, 4])  # ψ_i = a_i² · 2 sinh v


def test_rationals_and_sequences() -> None:
    problem = dln.Problem.from_rationals([["1", "1/3", "0.2"]], ["0.7"])
    found = dln.flow_limit(problem, 3, [1e-1, 1e-3], precision=30, enclosure=True)
    assert len(found.enclosure) == 2
    for one in found.enclosure:
        total = [a * v for a, v in zip((Fraction(1), Fraction(1, 3), Fraction(1, 5)), one.midpoint, strict=True)]
        assert abs(sum(total) - Fraction(7, 10)) < Fraction(1, 10**28)
    assert found.enclosure[0].contains(dln.flow_limit(problem, 3, 1e-1, precision=80).exact)
    assert all(len(text) < 45 for text in found.exact[0])


def test_bad_input_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    large = gaussian(50, 200, 0)
    with pytest.raises(dln.InputError, match="enclosure must be False for m n > 2000, got m n = 10000"):
        dln.flow_limit(large, 3, 0.1, enclosure=True)
    with pytest.raises(
        dln.InputError, match="enclosure must be False for a face of more than 300 coordinates, got 301"
    ):
        dln.selected_minimizer(dln.Problem([[1.0] * 301], [1]), 3, enclosure=True)
    with pytest.raises(dln.InputError, match="enclosure must be False for m n > 2000, got m n = 10000"):
        enclosed_limit(large, 3, [0.1] * 200, [0.1] * 200, [0.0] * 200, 30)
    with pytest.raises(dln.InputError, match="enclosure must be true or false"):
        dln.flow_limit(line(), 3, 0.1, enclosure="yes")  # type: ignore[arg-type]
    from dlntorch.numerics import balls

    monkeypatch.setattr(balls, "flint_library", lambda: None)
    with pytest.raises(dln.InputError, match="python-flint"):
        dln.flow_limit(line(), 3, 0.1, enclosure=True)


def test_an_enclosure_compares_exactly() -> None:
    box = Enclosure((Fraction(1, 3), Fraction(0)), (Fraction(2, 3), Fraction(0)), 15, 64)
    assert box.contains(["0.5", 0])
    assert not box.contains([Fraction(1, 3) - Fraction(1, 10**40), 0])
    assert box.error([0.5, 1e-3]) == (pytest.approx(1 / 6), 1e-3)
    assert box.width == pytest.approx(1 / 3)
    assert math.isclose(float(box.midpoint[0]), 0.5)
    assert box.decimals()[0] == "0.5"
