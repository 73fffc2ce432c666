"""Saddle paths of small integer data, where ties are common, against the same path in rational arithmetic."""

from __future__ import annotations

import warnings
from fractions import Fraction

import numpy as np
import pytest

import dlntorch as dln
from dlntorch.numerics.validation import DataWarning

ZERO = Fraction(0)


def solve(M, b):
    """x with Mx = b, M square and regular, by elimination in ℚ."""
    rows = [[*row, value] for row, value in zip(M, b, strict=True)]
    k = len(rows)
    for i in range(k):
        pivot = next(r for r in range(i, k) if rows[r][i])
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for r in range(k):
            if r != i and rows[r][i]:
                rows[r] = [a - rows[r][i] * b for a, b in zip(rows[r], rows[i], strict=True)]
    return [row[-1] for row in rows]


def dot(a, b):
    return sum((x * y for x, y in zip(a, b, strict=True)), ZERO)


def nonnegative(columns, y):
    """A least-squares x >= 0 by Lawson and Hanson's method in ℚ; its passive columns are independent."""
    x, passive = [ZERO] * len(columns), []
    while True:
        rest = [v - sum((x[j] * columns[j][i] for j in passive), ZERO) for i, v in enumerate(y)]
        slopes = [dot(column, rest) if j not in passive else ZERO for j, column in enumerate(columns)]
        if not any(slope > 0 for slope in slopes):
            return x
        passive.append(max(range(len(columns)), key=slopes.__getitem__))
        while True:
            gram = [[dot(columns[i], columns[j]) for j in passive] for i in passive]
            z = solve(gram, [dot(columns[j], y) for j in passive])
            if all(value > 0 for value in z):
                break
            share = min(x[j] / (x[j] - value) for j, value in zip(passive, z, strict=True) if value <= 0)
            for j, value in zip(passive, z, strict=True):
                x[j] += share * (value - x[j])
            passive = [j for j in passive if x[j] > 0]
        x = [ZERO] * len(columns)
        for j, value in zip(passive, z, strict=True):
            x[j] = value


def exact_path(A, y):
    """(times, entered pairs, fits, gradients, saddles, signs at the walls) with walls at ±1; no rounding anywhere."""
    n = A.shape[1]
    columns = [[Fraction(int(v)) for v in A[:, i]] for i in range(n)]
    y = [Fraction(int(v)) for v in y]
    q, signs, T, psi = [ZERO] * n, [0] * n, ZERO, [ZERO] * n
    found = []
    while True:
        rest = [v - sum((psi[j] * columns[j][i] for j in range(n) if psi[j]), ZERO) for i, v in enumerate(y)]
        g = [dot(column, rest) for column in columns]
        if found:
            found[-1] += ([a - b for a, b in zip(y, rest, strict=True)], g, psi, list(signs))
        signs = [0 if s * v < 0 else s for s, v in zip(signs, g, strict=True)]
        waits = {i: ((1 if g[i] > 0 else -1) - q[i]) / g[i] for i in range(n) if g[i] and not signs[i]}
        if not waits:
            return found
        wait = min(waits.values())
        T, q = T + wait, [a + wait * b for a, b in zip(q, g, strict=True)]
        new = [i for i, value in waits.items() if value == wait]
        for i in new:
            signs[i] = 1 if g[i] > 0 else -1
        wall = [i for i in range(n) if signs[i]]
        x = nonnegative([[signs[i] * v for v in columns[i]] for i in wall], y)
        psi = [ZERO] * n
        for i, value in zip(wall, x, strict=True):
            psi[i] = signs[i] * value
        found.append([T, tuple((i, signs[i]) for i in new)])


def integer_pair(seed):
    """Entries −2 … 2; every third problem has equal and opposite columns, every fifth dependent rows."""
    rng = np.random.default_rng(seed)
    m = int(rng.integers(2, 6))
    n = int(rng.integers(m + 1, 3 * m + 3))
    A, y = rng.integers(-2, 3, (m, n)), rng.integers(-2, 3, m)
    if seed % 3 == 0:
        A[:, -1] = rng.choice([-1, 1]) * A[:, 0]
    if seed % 5 == 0:
        A[-1] = A[0]
    return A, y


def numbers(values):
    return np.array([[float(v) for v in row] for row in values])


@pytest.mark.parametrize("part", range(4))
def test_paths_with_ties_are_those_of_rational_arithmetic(part):
    """Times, who enters together, fits and velocities of every plateau; ψ where the columns at walls are independent."""
    tied = compared = saddles = 0
    for seed in range(part, 400, 4):
        A, y = integer_pair(seed)
        if not (A.T @ y).any():
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            path = dln.saddle_path(dln.Problem(A.astype(float), y.astype(float)))
        times, entered, fits, gradients, psi, signs = zip(*exact_path(A, y), strict=True)
        assert path.times.numpy() == pytest.approx([float(T) for T in times], rel=1e-11)
        assert path.entered == entered
        assert path.ties == tuple((j, tuple(i for i, _ in pairs)) for j, pairs in enumerate(entered) if len(pairs) > 1)
        assert path.psi.numpy()[1:] @ A.T == pytest.approx(numbers(fits), abs=1e-11)
        assert path.gradient.numpy()[1:] == pytest.approx(numbers(gradients), abs=1e-11)
        for j, at_wall in enumerate(signs):
            wall = np.flatnonzero(at_wall)
            if np.linalg.matrix_rank(A[:, wall]) == wall.size:
                assert path.psi[j + 1].numpy() == pytest.approx(numbers(psi)[j], abs=1e-11)
                saddles += 1
        compared += 1
        tied += bool(path.ties)
    assert compared >= 85
    assert tied >= 45
    assert saddles >= 100
