"""Random problems with a known structure: Gaussian, planted, rank-deficient, and ill-conditioned by construction.

Every generator draws from ``numpy.random.default_rng(seed)`` in a fixed order, so that its arguments determine the
problem bit for bit on one platform. Columns have norm about one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dlntorch.numerics.validation import InputError, check_count, check_number
from dlntorch.problem.problem import Problem

__all__ = ["gaussian", "ill_conditioned", "planted", "planted_values", "rank_deficient", "sparse"]

_MOST_ENTRIES = 2**29  # of A: 4 GiB in float64


def _check_shape(m: int, n: int, *, square: bool = False) -> tuple[int, int]:
    """Return (m, n) as ints whose product (and m², where a ``square`` is drawn) stays below the size limit."""
    m, n = check_count("m", m), check_count("n", n)
    if square and m * m > _MOST_ENTRIES:
        raise InputError(f"m must be at most {math.isqrt(_MOST_ENTRIES)}, got {m}")
    if m * n > _MOST_ENTRIES:
        raise InputError(f"m times n must be at most {_MOST_ENTRIES} entries, got {m} * {n}")
    return m, n


def _gaussian_matrix(rng: np.random.Generator, m: int, n: int) -> np.ndarray:
    """A (m, n) with independent N(0, 1/m) entries."""
    A = rng.standard_normal((m, n))
    A /= np.sqrt(m)  # in place: A may be large
    return A


def gaussian(m: int = 10, n: int = 30, seed: int = 185) -> Problem:
    """A Gaussian matrix and a generic y: A_ij ~ N(0, 1/m), y_i ~ N(0, 1), all independent.

    For m < n the ℓ1-minimiser has m nonzeros (almost surely), so that the tail of the flow is exponential. The default
    seed was chosen among 0 … 1499 at the default size because descent needs few steps there: the largest off-support
    |A_iᵀλ| is 0.691 (λ the dual of the linear programme), the nonzeros of the minimiser lie between 0.073 and 0.729
    in modulus, and cond₂(A_S) = 5.3. Plain gradient descent (p = 3, α = 1e-3, the relative schedule at κ = 0.01)
    reaches the residual 1e-10·‖y‖ there in 8.5e4 steps.

    Args:
        m: Rows, >= 1.
        n: Columns, >= 1; m >= n only warns.
        seed: Seed of the generator, >= 0.

    Raises:
        InputError: naming the argument.
    """
    m, n = _check_shape(m, n)
    rng = np.random.default_rng(check_count("seed", seed, at_least=0))
    A = _gaussian_matrix(rng, m, n)
    return Problem(A, rng.standard_normal(m), name="gaussian", copy=False)


def sparse(m: int = 50, n: int = 200, nonzeros: int = 6, noise: float = 0.0, seed: int = 7) -> Problem:
    """A Gaussian matrix and a planted sparse truth: y = A·truth + noise·N(0, I).

    The support is drawn without replacement; the nonzeros have random signs and moduli uniform in [0.5, 1.5]. With the
    default arguments the ℓ1-minimiser is the truth. It has fewer than m nonzeros then, so the tail of the flow is
    algebraic: after 3e5 steps of plain gradient descent (p = 3, α = 1e-3, the relative schedule at κ = 0.01) the
    relative residual is 2e-7 with the default seed, 6e-5 to 6e-4 with the seeds 0 … 6.

    Args:
        m: Rows, >= 1.
        n: Columns, >= 1; m >= n only warns.
        nonzeros: Nonzeros of the truth, 1 … n.
        noise: Standard deviation of the noise on each entry of y, >= 0.
        seed: Seed of the generator, >= 0.

    Raises:
        InputError: naming the argument.
    """
    m, n = _check_shape(m, n)
    nonzeros = check_count("nonzeros", nonzeros, at_most=n)
    rng = np.random.default_rng(check_count("seed", seed, at_least=0))
    A = _gaussian_matrix(rng, m, n)
    truth = np.zeros(n)
    truth[np.sort(rng.choice(n, nonzeros, replace=False))] = planted_values(rng, nonzeros)
    return planted(A, A @ truth, truth, noise, rng, "sparse")


def rank_deficient(m: int = 10, n: int = 30, rank: int = 6, inconsistent: float = 0.0, seed: int = 13) -> Problem:
    """A matrix of rank r < m: A = Q R and y = Q z + inconsistent·q.

    Q (m, r) has orthonormal columns, R (r, n) independent N(0, 1/r) entries and z independent N(0, 1) ones; q is a
    unit vector orthogonal to range(A). The pair (R, z) is the equivalent full-rank problem (up to a rotation of the
    rows), and ``inconsistent`` is the distance of y from range(A), which no ψ can make up for. With the default seed
    the ℓ1-minimiser of that problem has 6 nonzeros and the largest off-support |A_iᵀλ| is 0.8413.

    Args:
        m: Rows, >= 1.
        n: Columns, >= 1.
        rank: Rank of A, 1 … min(m, n).
        inconsistent: ‖y − P y‖₂, >= 0; it must be 0 when rank = m.
        seed: Seed of the generator, >= 0.

    Raises:
        InputError: naming the argument.
    """
    m, n = _check_shape(m, n, square=True)
    rank = check_count("rank", rank, at_most=min(m, n))
    inconsistent = check_number("inconsistent", inconsistent, at_least=0, at_most=1e100)
    if rank == m and inconsistent > 0:
        raise InputError(f"inconsistent must be 0 when rank = m (range(A) is everything), got {inconsistent:g}")
    rng = np.random.default_rng(check_count("seed", seed, at_least=0))
    Q = np.linalg.qr(rng.standard_normal((m, m)))[0]
    A = Q[:, :rank] @ (rng.standard_normal((rank, n)) / np.sqrt(rank))
    y = Q[:, :rank] @ rng.standard_normal(rank)
    if inconsistent > 0:
        y = y + inconsistent * Q[:, rank]
    return Problem(A, y, name="rank_deficient")


def ill_conditioned(
    m: int = 10,
    n: int = 30,
    nonzeros: int = 10,
    condition: float = 100.0,
    support_condition: float = 1.0,
    noise: float = 0.0,
    seed: int = 0,
) -> Problem:
    """A planted problem whose null-space condition is a dial: 1/(1 − ϱ) = ``condition`` exactly, up to rounding.

    The ℓ1-minimiser of (A, y) is the planted truth, with support S and signs σ, if and only if every v ≠ 0 in the
    kernel of A has σᵀv_S < ‖v_{Sᶜ}‖₁ in modulus. The null-space constant of that condition is

        ϱ = sup {|σᵀv_S| / ‖v_{Sᶜ}‖₁ : Av = 0, v ≠ 0} = min {max_{i∉S} |A_iᵀλ| : A_Sᵀλ = σ_S},

    and the condition number 1/(1 − ϱ) tends to infinity as the minimiser stops being unique: the constant C of
    ‖ψ_α(∞) − W_p‖ = C·α^p then grows at most like (1 − ϱ)^{−p/(p−2)}, and the exponent at p = 2 is 2(1 − ϱ).

    Construction. A_S = U diag(s) Vᵀ has singular values s geometric from 1 down to 1/``support_condition``, with random
    orthonormal U (m, k) and V (k, k). With λ₀ = A_S(A_SᵀA_S)⁻¹σ, a random Gaussian column a is moved along λ₀ until
    aᵀλ₀ has the value wanted: ϱ = 1 − 1/``condition`` for one column, which also lies in range(A_S), so that its
    product with every λ of A_Sᵀλ = σ is ϱ; a value uniform in [−ϱ/2, ϱ/2] for the others. Hence λ₀ attains the minimum
    above and the minimum is ϱ. Between the two dials nothing else changes: the seed fixes U, V, σ, S and the rest.
    At ``condition`` = 1 every off-support column is orthogonal to λ₀.

    Args:
        m: Rows, >= 1.
        n: Columns, > nonzeros.
        nonzeros: k = |S|, 2 … m. With k = m (the default) the tail of the flow is exponential.
        condition: 1/(1 − ϱ), 1 … 1e8.
        support_condition: cond₂(A_S), 1 … 1e6.
        noise: Standard deviation of the noise on each entry of y, >= 0.
        seed: Seed of the generator, >= 0.

    Raises:
        InputError: naming the argument.
    """
    m, n = _check_shape(m, n, square=True)
    k = check_count("nonzeros", nonzeros, at_least=2, at_most=m)
    if k >= n:
        raise InputError(f"nonzeros must be an integer < n = {n}, got {k}")
    condition = check_number("condition", condition, at_least=1, at_most=1e8)
    support_condition = check_number("support_condition", support_condition, at_least=1, at_most=1e6)
    rng = np.random.default_rng(check_count("seed", seed, at_least=0))
    S = np.sort(rng.choice(n, k, replace=False))
    x = planted_values(rng, k)
    sigma = np.sign(x)
    U = np.linalg.qr(rng.standard_normal((m, k)))[0]
    V = np.linalg.qr(rng.standard_normal((k, k)))[0]
    s = np.geomspace(1.0, 1.0 / support_condition, k)
    lam = U @ ((V.T @ sigma) / s)

    A = _gaussian_matrix(rng, m, n)
    rho = 1.0 - 1.0 / condition
    levels = 0.5 * rho * rng.uniform(-1.0, 1.0, n)
    off = np.setdiff1d(np.arange(n), S)
    closest = rng.choice(off)
    levels[closest] = rho
    A[:, closest] = U @ (U.T @ A[:, closest])
    A += np.outer(lam / (lam @ lam), levels - lam @ A)
    A[:, S] = (U * s) @ V.T
    truth = np.zeros(n)
    truth[S] = x
    return planted(A, A[:, S] @ x, truth, noise, rng, "ill_conditioned")


def planted(
    A: Any, signal: np.ndarray, truth: np.ndarray, noise: float, rng: np.random.Generator, name: str
) -> Problem:
    """The problem y = ``signal`` + noise·N(0, I), ``signal`` = A·truth, which knows its noise."""
    noise = check_number("noise", noise, at_least=0, at_most=1e100)
    y = signal + noise * rng.standard_normal(len(signal))
    problem = Problem(A, y, name=name, truth=truth, copy=False)
    problem.noise = noise
    return problem


def planted_values(rng: np.random.Generator, count: int) -> np.ndarray:
    """Random signs times moduli uniform in [0.5, 1.5]."""
    return rng.choice([-1.0, 1.0], count) * rng.uniform(0.5, 1.5, count)
