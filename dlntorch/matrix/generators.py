"""Matrix problems with a known structure, random ones, and one from real data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from dlntorch.matrix.problem import MatrixProblem
from dlntorch.numerics.validation import InputError, check_count, check_number
from dlntorch.problem import Problem
from dlntorch.problem.real import digits_images

__all__ = ["completion", "digits_table", "embedded", "gaussian_sensing", "random_orthogonal", "two_by_two"]


def _planted(rng: np.random.Generator, shape: tuple[int, int], rank: int, symmetric: bool, psd: bool) -> np.ndarray:
    """A product of Gaussian factors with entries of variance one."""
    U = rng.standard_normal((shape[0], rank))
    if psd:
        return U @ U.T / np.sqrt(rank)
    if symmetric:
        return (U * rng.choice([-1.0, 1.0], rank)) @ U.T / np.sqrt(rank)
    return U @ rng.standard_normal((rank, shape[1])) / np.sqrt(rank)


def gaussian_sensing(
    m: int = 60, d1: int = 10, d2: int = 10, rank: int = 1, symmetric: bool = False, psd: bool = False, seed: int = 0
) -> MatrixProblem:
    """Gaussian measurements of a planted matrix of low rank: entries of A_j independent N(0, 1/m), y_j = ⟨A_j, truth⟩.

    Args:
        m: Measurements, >= 1.
        d1: Rows of X.
        d2: Columns of X.
        rank: Of the truth, 1 … min(d1, d2).
        symmetric: Whether truth and measurements are symmetric (d1 = d2).
        psd: Whether the truth is positive semidefinite too.
        seed: Of the generator, >= 0.

    Raises:
        InputError: naming the argument.
    """
    m, d1, d2 = check_count("m", m), check_count("d1", d1), check_count("d2", d2)
    rank = check_count("rank", rank, at_most=min(d1, d2))
    symmetric = symmetric or psd
    if symmetric and d1 != d2:
        raise InputError(f"d2 must equal d1 = {d1} with symmetric=True, got {d2}")
    rng = np.random.default_rng(check_count("seed", seed, at_least=0))
    A = rng.standard_normal((m, d1, d2)) / np.sqrt(m)
    if symmetric:
        A = 0.5 * (A + np.swapaxes(A, 1, 2))
    truth = _planted(rng, (d1, d2), rank, symmetric, psd)
    return MatrixProblem(A, np.tensordot(A, truth, 2), name="gaussian_sensing", truth=truth)


def completion(d1: int = 60, d2: int = 60, rank: int = 3, share: float = 0.35, seed: int = 0) -> MatrixProblem:
    """Some entries of a planted matrix of low rank, whose singular values are of order √(d1·d2).

    Args:
        d1: Rows of X.
        d2: Columns of X.
        rank: Of the truth, 1 … min(d1, d2).
        share: Of the entries that are observed, in (0, 1]; at least one is.
        seed: Of the generator, >= 0.

    Raises:
        InputError: naming the argument.
    """
    d1, d2 = check_count("d1", d1), check_count("d2", d2)
    rank = check_count("rank", rank, at_most=min(d1, d2))
    share = check_number("share", share, above=0, at_most=1)
    rng = np.random.default_rng(check_count("seed", seed, at_least=0))
    truth = _planted(rng, (d1, d2), rank, False, False)
    count = max(1, round(share * d1 * d2))
    places = np.sort(rng.choice(d1 * d2, count, replace=False))
    where = np.column_stack(np.unravel_index(places, (d1, d2)))
    return MatrixProblem.completion(where, truth.reshape(-1)[places], (d1, d2), truth=truth)


def random_orthogonal(n: int, seed: int = 0) -> np.ndarray:
    """An orthogonal matrix from the uniform (Haar) measure."""
    Q, R = np.linalg.qr(np.random.default_rng([7, check_count("seed", seed, at_least=0)]).standard_normal((n, n)))
    return Q * np.sign(np.diag(R))


def embedded(problem: Problem, Q: Any = None, *, noncommuting: float = 0.0, seed: int = 0) -> MatrixProblem:
    """A vector problem as a matrix problem with measurements that commute: A_j = Q diag(a_j) Qᵀ, a_j the rows of A.

    Every statement about (A, y) and ψ is then one about X = Q diag(ψ) Qᵀ: ‖ψ‖₁ becomes ‖X‖_*, the depth p = 2 network
    UUᵀ − VVᵀ, the product of N layers from (α, …, α, 0) the product of N matrices from (αI, …, αI, 0), the nonnegative
    network of depth 2 UUᵀ.

    Args:
        problem: (A, y), dense.
        Q: Orthogonal, shape (n, n); None draws one.
        noncommuting: How far the measurements are from commuting, >= 0: each gets this share of its norm as a random
            symmetric matrix, zero on the diagonal in the basis Q, so that y stays that of Q diag(ψ) Qᵀ.
        seed: Of what is drawn, >= 0.

    Raises:
        InputError: Q of another shape or not orthogonal; noncommuting negative.
    """
    if not isinstance(problem, Problem):
        raise InputError(f"problem must be a Problem, got {type(problem).__name__}")
    n = problem.n
    Q = random_orthogonal(n, seed) if Q is None else np.asarray(Q, dtype=np.float64)
    if Q.shape != (n, n) or np.abs(Q.T @ Q - np.eye(n)).max() > 1e-12:
        raise InputError(f"Q must be an orthogonal matrix of shape ({n}, {n}), got shape {Q.shape}")
    share = check_number("noncommuting", noncommuting, at_least=0)
    A = problem.to_dense().A.double().cpu().numpy()
    stack = np.zeros((problem.m, n, n))
    stack[:, np.arange(n), np.arange(n)] = A
    if share > 0 and n > 1:
        noise = np.random.default_rng([11, check_count("seed", seed, at_least=0)]).standard_normal(stack.shape)
        noise = noise + np.swapaxes(noise, 1, 2)
        noise[:, np.arange(n), np.arange(n)] = 0.0
        size = np.linalg.norm(A, axis=1) / np.linalg.norm(noise, axis=(1, 2))
        stack += share * size[:, None, None] * noise
    rotated = Q @ stack @ Q.T
    rotated = 0.5 * (rotated + np.swapaxes(rotated, 1, 2))
    truth = None if problem.truth is None else (Q * problem.truth.double().cpu().numpy()) @ Q.T
    return MatrixProblem(rotated, problem.y.double(), name=f"{problem.name} (embedded)", truth=truth)


def two_by_two(epsilon: float = 0.0) -> MatrixProblem:
    """The 2×2 completion X₁₂ = X₂₁ = 1, X₂₂ = ε: X₁₁ = x is free, and rank one needs x = 1/ε.

    ‖X‖_*² = x² + 2 + ε² + 2|xε − 1|, so that for |ε| < 1 the only minimiser of the nuclear norm is x = ε, of value 2, while
    the effective rank falls only as |x| → ∞ where ε = 0 (Razin and Cohen 2020).

    Args:
        epsilon: X₂₂, finite.
    """
    value = check_number("epsilon", epsilon)
    return MatrixProblem.completion([[False, True], [True, True]], [1.0, 1.0, value], name="two_by_two")


def digits_table(images: int = 200, share: float = 0.4, seed: int = 0) -> MatrixProblem:
    """Completing a table of handwritten digits: one image a row, its 64 pixels in [0, 1]; a share of them is observed.

    The table is only nearly of low rank, as tables of ratings and of climate are.

    Args:
        images: Rows, 1 … 1797.
        share: Of the pixels that are observed, in (0, 1].
        seed: Which images and pixels, >= 0.

    Raises:
        InputError: naming the argument; also when scikit-learn is not installed.
    """
    images = check_count("images", images, at_most=1797)
    share = check_number("share", share, above=0, at_most=1)
    rng = np.random.default_rng(check_count("seed", seed, at_least=0))
    table = digits_images()[np.sort(rng.choice(1797, images, replace=False))]
    mask = np.zeros(table.size, dtype=bool)
    mask[rng.choice(table.size, max(1, round(share * table.size)), replace=False)] = True
    mask = mask.reshape(table.shape)
    return MatrixProblem.completion(mask, table[mask], name="digits_table", truth=torch.from_numpy(table))
