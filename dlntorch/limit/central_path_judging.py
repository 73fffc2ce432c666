"""Kernels of the central path that judge an answer: residuals, and what one rounding of the data does to it.

Plain Python over scalars, as :mod:`~dlntorch.limit.central_path_kernels`.
"""

from __future__ import annotations

import math

import numpy as np
from numba.extending import register_jitable

from dlntorch.limit.central_path_kernels import graded_qr, graded_solve, residual
from dlntorch.limit.curve import change_of_t

__all__ = [
    "checks",
    "displacement",
    "dual",
    "dual_variables",
    "perturbations",
    "relative_change",
    "small_uncertainty",
]

_EPS = 2.220446049250313e-16
_GOLDEN, _SILVER = 0.6180339887498949, 0.4142135623730951


@register_jitable
def dual(b, k_inverse):
    """t = kτ (τ itself at p = 2), shape (n,)."""
    t = b.copy()
    if k_inverse > 0:
        for i in range(b.size):
            t[i] = math.tanh(b[i] * k_inverse) / k_inverse
    return t


@register_jitable
def relative_change(psi, b, root, dt, log_a):
    """Largest |D dt_i| relative to max(|ψ_i|, min(2a_i, ‖ψ‖_∞)), over the coordinates with a nonzero column."""
    worst = 0.0
    largest = np.max(np.abs(psi))
    for i in range(psi.size):
        if b[i] != 0:
            scale = max(abs(psi[i]), min(2 * math.exp(log_a[i]), largest))
            worst = max(worst, root[i] * (abs(dt[i]) * (root[i] / scale)))
    return worst


@register_jitable
def displacement(b, origin, k_inverse):
    """t − t₀, (n,), without cancellation, and the largest that it or its rounding is; t₀ = k tanh(origin/k)."""
    moved = dual(b, k_inverse)
    largest = 0.0
    for i in range(b.size):
        size = abs(moved[i])
        if origin[i] != 0:
            moved[i] = change_of_t(origin[i], b[i] - origin[i], k_inverse)
            decay = math.exp(-2 * abs(b[i]) * k_inverse)
            size = abs(moved[i]) + abs(b[i]) * 4 * decay / ((1 + decay) * (1 + decay))
        largest = max(largest, size)
    return moved, largest


@register_jitable
def checks(A, y, space, origin, psi, b, e, k_inverse):
    """What an answer is judged by, with range(Aᵀ) and W^{1/2} as ``space``.

    Returns:
        max |r_j|/level_j; ‖r‖₂/‖y‖₂; t − t₀ less its nearest point of range(WAᵀ), (n,), where the columns of the
        first are an orthonormal basis of range(Aᵀ); its largest entry, and that of its difference from ``e``, over
        max |t_i − t₀_i|.
    """
    basis, share = space
    r, level = residual(A, y, psi)
    n, m = basis.shape
    distance, largest = displacement(b, origin, k_inverse)
    for i in range(n):
        distance[i] /= share[i] * share[i]
    inner = np.zeros(m)
    for i in range(n):
        for j in range(m):
            inner[j] += basis[i, j] * distance[i]
    for i in range(n):
        for j in range(m):
            distance[i] -= basis[i, j] * inner[j]
        distance[i] *= share[i] * share[i]
    ratio = 0.0
    for j in range(m):
        ratio = max(ratio, abs(r[j]) / level[j] if level[j] > 0 else 0.0)
    off, drift = np.max(np.abs(distance)), np.max(np.abs(distance - e))
    largest = largest if largest > 0 else 1.0
    scale = np.max(np.abs(y))
    if scale == 0:
        return ratio, np.max(np.abs(r)) / max(np.max(level) / _EPS, 1e-300), distance, off / largest, drift / largest
    above, below = 0.0, 0.0
    for j in range(m):
        above += (r[j] / scale) * (r[j] / scale)
        below += (y[j] / scale) * (y[j] / scale)
    relative = math.sqrt(above / below)
    return ratio, relative, distance, off / largest, drift / largest


@register_jitable
def perturbations(A, y, psi, terms):
    """One rounding of every entry of Aψ = y (2, m), and one of the ``terms`` of every t_i (2, n), signs mixed in two ways."""
    _, level = residual(A, y, psi)
    signed, noise = np.empty((2, level.size)), np.empty((2, psi.size))
    # No two alike: equal columns with equal noise would show nothing, nor would a multiple of a column of the support.
    # The signs of the first few are all four of +, + to −, −: few entries are the rule where something is ill-conditioned.
    for i in range(max(psi.size, level.size)):  # a slice assignment would compile its error message for seconds
        size = 0.5 + (i * _GOLDEN) % 1.0
        first = size if i % 2 else -size
        second = (1.0 + (i * _SILVER) % 1.0) * (1.0 if (i // 2) % 2 else -1.0)
        if i < psi.size:
            noise[0, i] = _EPS * terms[i] * first
            noise[1, i] = _EPS * terms[i] * second
        if i < level.size:
            signed[0, i] = level[i] * first
            signed[1, i] = level[i] * second
    return signed, noise


@register_jitable
def _rest(A, root, dt, r, unit):
    """r/unit − A(D dt/unit), (m,), of which both products stay in the range of float64."""
    m, n = A.shape
    left = np.empty(m)
    for j in range(m):
        total = r[j] / unit
        for i in range(n):
            total -= A[j, i] * (root[i] * (root[i] / unit * dt[i]))
        left[j] = total
    return left


@register_jitable
def small_uncertainty(system, psi, b, root, terms, distance, scales, settings):
    """The largest response to :func:`perturbations` and to ``distance``, by :func:`graded_qr`: for small problems.

    A response to τ is a small difference where D is large: it is refined, as it would be all rounding.

    Args:
        system: A, Aᵀ, y and W^{1/2}.
        psi: ψ, (n,).
        b: k atanh τ, (n,).
        root: D^{1/2}, (n,).
        terms: The size of the terms of t, (n,).
        distance: That of t from its range, (n,).
        scales: log a_i, (n,), and a power of two near the root of ψ's size.
        settings: How many times the effect of rounding ``distance`` has to be to count; a response above which there is
            something to refine; how often.
    """
    A, transposed, y, share = system
    log_a, unit = scales
    clearly, notable, refinements = settings
    factors = graded_qr(transposed, root, share)
    levels, noises = perturbations(A, y, psi, terms)
    nothing = np.zeros(psi.size)
    worst = 0.0
    for kind in range(3):
        if kind == 2 and np.all(np.abs(distance) <= clearly * _EPS * terms):
            break
        r = levels[kind] if kind < 2 else np.zeros(y.size)
        noise = noises[kind] if kind < 2 else distance
        dt = graded_solve(factors, root, share, r, noise)
        response = relative_change(psi, b, root, dt, log_a)
        for _ in range(refinements):
            if not response > max(notable, worst):
                break
            left = _rest(A, root, dt, r, unit)
            if not np.all(np.isfinite(left)):
                break  # nothing but noise, which stays as it is
            dt = dt + unit * graded_solve(factors, root, share, left, nothing)
            before = response
            response = relative_change(psi, b, root, dt, log_a)
            if not response < 0.5 * before:
                break
        if kind < 2 or response > clearly * worst:
            worst = max(worst, response)
    return worst


@register_jitable
def dual_variables(b, k_inverse):
    """τ and 1 − |τ|, each to relative accuracy (p = 2: no pole, and the second is a plain difference)."""
    tau, gap = b.copy(), 1 - np.abs(b)
    if k_inverse > 0:
        for i in range(b.size):
            decay = math.exp(-2 * abs(b[i]) * k_inverse)
            tau[i] = math.tanh(b[i] * k_inverse)
            gap[i] = 2 * decay / (1 + decay)
    return tau, gap
