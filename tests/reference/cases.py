"""Random problems whose face of ℓ1-minimisers is known by construction, in exact arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dlntorch.problem import Problem


@dataclass(frozen=True)
class KnownFace:
    """A problem, and the support, signs, dimension and one interior point of its face of minimisers."""

    problem: Problem
    support: np.ndarray
    signs: np.ndarray
    dimension: int
    interior: np.ndarray


def random_face(seed: int, dimension: int, *, rank: int | None = None, m: int | None = None, off: int = 6) -> KnownFace:
    """A face of the given dimension: A_S = LR diag(σ) with integer L, R of rank ``rank`` and a first row of ones in R.

    Then A_Sᵀλ = σ for the λ with Lᵀλ = e₁; the columns off S are integers over a power of two, small enough that
    |A_iᵀλ| < 1. All of A and y = A x are exact in float64, so that the face is not an artefact of rounding.
    """
    rng = np.random.default_rng(seed)
    r = int(rng.integers(1, 5)) if rank is None else rank
    rows = r + int(rng.integers(0, 3)) if m is None else m
    s = r + dimension
    while True:
        L = rng.integers(-3, 4, (rows, r)).astype(float)
        R = np.vstack([np.ones((1, s)), rng.integers(-3, 4, (r - 1, s))])
        if np.linalg.matrix_rank(L) == r and np.linalg.matrix_rank(R) == r:
            break
    signs = rng.choice([-1.0, 1.0], s)
    lam = np.linalg.lstsq(L.T, np.eye(r)[0], rcond=None)[0]
    others = rng.integers(-8, 9, (rows, off)).astype(float)
    product = np.abs(others.T @ lam)
    bound = 0.9 * rng.uniform(0.3, 1.0, off)
    others *= np.exp2(-np.ceil(np.log2(np.maximum(product / bound, 1e-3))))
    A = np.hstack([(L @ R) * signs, others])
    missing = rows - np.linalg.matrix_rank(A)
    if missing:  # a few more columns, orthogonal to nothing, keep the rank full
        extra = np.eye(rows)
        A = np.hstack([A, extra * np.exp2(-np.ceil(np.log2(np.maximum(np.abs(lam) / 0.8, 1e-3))))])
    order = rng.permutation(A.shape[1])
    x = np.zeros(A.shape[1])
    x[:s] = signs * rng.integers(1, 200, s) / 64
    A, y = A[:, order], A @ x
    place = np.argsort(order)[:s]
    sorting = np.argsort(place)
    return KnownFace(
        problem=Problem(A, y, name=f"face {seed}"),
        support=place[sorting],
        signs=signs[sorting],
        dimension=dimension,
        interior=x[order],
    )


def exact_gaussian(m: int, n: int, seed: int, nonzeros: int | None = None) -> Problem:
    """A Gaussian problem in dyadic numbers, so that a planted y is exactly in the span of its columns."""
    rng = np.random.default_rng(seed)
    A = np.round(rng.standard_normal((m, n)) / np.sqrt(m) * 1024) / 1024
    if nonzeros is None:
        return Problem(A, np.round(rng.standard_normal(m) * 1024) / 1024)
    truth = np.zeros(n)
    truth[rng.choice(n, nonzeros, replace=False)] = rng.choice([-1, 1], nonzeros) * rng.integers(16, 200, nonzeros) / 64
    return Problem(A, A @ truth, truth=truth)
