"""Planted problems whose A is never a dense matrix: partial transforms and sparse matrices, for large n.

Every generator draws from ``numpy.random.default_rng(seed)`` in a fixed order. Columns have norm about one, as in the
dense generators.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from dlntorch.numerics.validation import InputError, check_count
from dlntorch.problem.operators import Operator, PartialCosine, PartialFourier, SparseOperator
from dlntorch.problem.problem import Problem
from dlntorch.problem.synthetic import planted, planted_values

__all__ = ["partial_cosine", "partial_fourier", "sparse_csr"]

_LARGEST = 2**27  # n, and entries of a sparse matrix: 1 GiB a vector in float64


def partial_cosine(m: int = 50, n: int = 200, nonzeros: int = 6, noise: float = 0.0, seed: int = 7) -> Problem:
    """m random rows of the n-point cosine transform (DCT-II), and a planted sparse truth: y = A·truth + noise·N(0, I).

    A = √(n/m) times orthonormal rows: every singular value is √(n/m), and the columns have norm about one. The support
    of the truth is drawn without replacement; its nonzeros have random signs and moduli uniform in [0.5, 1.5].

    Args:
        m: Rows, 1 … n: the frequencies kept, drawn without replacement.
        n: Columns.
        nonzeros: Nonzeros of the truth, 1 … n.
        noise: Standard deviation of the noise on each entry of y, >= 0.
        seed: Seed of the generator, >= 0.

    Raises:
        InputError: naming the argument.
    """
    n = check_count("n", n, at_most=_LARGEST)
    m = check_count("m", m, at_most=n)
    rng = np.random.default_rng(check_count("seed", seed, at_least=0))
    A = PartialCosine(n, np.sort(rng.choice(n, m, replace=False)), math.sqrt(n / m))
    return _planted(A, nonzeros, noise, rng, "partial_cosine")


def partial_fourier(m: int = 50, n: int = 200, nonzeros: int = 6, noise: float = 0.0, seed: int = 7) -> Problem:
    """Real and imaginary parts of m/2 random frequencies of the n-point Fourier transform, and a planted sparse truth.

    As :func:`partial_cosine`, with frequencies strictly between 0 and n/2; all columns have the same norm, one.

    Args:
        m: Rows, even, 2 … 2⌊(n−1)/2⌋.
        n: Columns, >= 3.
        nonzeros: Nonzeros of the truth, 1 … n.
        noise: Standard deviation of the noise on each entry of y, >= 0.
        seed: Seed of the generator, >= 0.

    Raises:
        InputError: naming the argument.
    """
    n = check_count("n", n, at_least=3, at_most=_LARGEST)
    m = check_count("m", m, at_most=2 * ((n - 1) // 2))
    if m % 2:
        raise InputError(f"m must be even (a real and an imaginary part for each frequency), got {m}")
    rng = np.random.default_rng(check_count("seed", seed, at_least=0))
    frequencies = 1 + np.sort(rng.choice((n - 1) // 2, m // 2, replace=False))
    return _planted(PartialFourier(n, frequencies, math.sqrt(n / m)), nonzeros, noise, rng, "partial_fourier")


def sparse_csr(
    m: int = 50, n: int = 200, per_column: int = 8, nonzeros: int = 6, noise: float = 0.0, seed: int = 7
) -> Problem:
    """A sparse matrix with ``per_column`` nonzeros N(0, 1/per_column) in random rows of each column; a planted truth.

    The truth and y are made as in :func:`partial_cosine`.

    Args:
        m: Rows, >= 1.
        n: Columns, >= 1; m >= n only warns.
        per_column: Nonzeros of each column, 1 … m.
        nonzeros: Nonzeros of the truth, 1 … n.
        noise: Standard deviation of the noise on each entry of y, >= 0.
        seed: Seed of the generator, >= 0.

    Raises:
        InputError: naming the argument.
    """
    from scipy import sparse

    m, n = check_count("m", m, at_most=_LARGEST), check_count("n", n, at_most=_LARGEST)
    count = check_count("per_column", per_column, at_most=m)
    if n * count > _LARGEST:
        raise InputError(f"n times per_column must be at most {_LARGEST} entries, got {n} * {count}")
    rng = np.random.default_rng(check_count("seed", seed, at_least=0))
    rows = np.empty((n, count), dtype=np.int64)
    for k in range(count):  # Floyd's sampling without replacement, of all columns at once
        last = m - count + k
        drawn = rng.integers(0, last + 1, size=n)
        taken = (rows[:, :k] == drawn[:, None]).any(axis=1)
        rows[:, k] = np.where(taken, last, drawn)
    values = rng.standard_normal(n * count) / math.sqrt(count)
    columns = sparse.csc_array((values, rows.ravel(), np.arange(n + 1) * count), shape=(m, n))
    return _planted(SparseOperator(columns), nonzeros, noise, rng, "sparse_csr")


def _planted(A: Operator, nonzeros: int, noise: float, rng: np.random.Generator, name: str) -> Problem:
    """y = A·truth + noise·N(0, I) with a sparse truth."""
    n = A.shape[1]
    nonzeros = check_count("nonzeros", nonzeros, at_most=n)
    truth = np.zeros(n)
    truth[np.sort(rng.choice(n, nonzeros, replace=False))] = planted_values(rng, nonzeros)
    return planted(A, A.matvec(torch.from_numpy(truth)).numpy(), truth, noise, rng, name)
