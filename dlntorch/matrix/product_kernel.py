"""Compiled gradient descent on X = U_N…U_1 from entries of X: many steps a call, with the step rules of ``descent``.

The formulas are those of :mod:`dlntorch.matrix.factorization` and :mod:`dlntorch.matrix.sizes`. A step costs 3N − 5 products
of matrices (BLAS) and two of the sparse residual with one, 2(3N − 5)n³ + 4mn operations for layers of n rows.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dlntorch.matrix.sizes import LARGEST_DRIFT
from dlntorch.matrix.sparse_sums import sparse_product
from dlntorch.numerics.compiling import SUMS, kernel

__all__ = ["CONVERGED", "GOING", "MAX_TIME", "NO_STEP", "WILD", "Layers", "Observed", "product_steps"]

GOING, CONVERGED, MAX_TIME, WILD, NO_STEP = 0, 1, 2, 3, 4


class Layers(NamedTuple):
    """Where the layers lie in θ, and their shapes: layer j has ``rows[j]`` × ``columns[j]`` entries from ``begins[j]`` on."""

    begins: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


class Observed(NamedTuple):
    """The observed entries of X, m of them, by their numbers in vec(X).

    Attributes:
        places: Increasing.
        y: Their values.
        scale: ‖y‖ or 1.
        columns, row_begins: Their columns, and where each row begins among them and the last one ends.
        order, rows, column_begins: Their order by columns, their rows in it, and where each column begins.
    """

    places: np.ndarray
    y: np.ndarray
    scale: float
    columns: np.ndarray
    row_begins: np.ndarray
    order: np.ndarray
    rows: np.ndarray
    column_begins: np.ndarray


@kernel(fastmath=SUMS)
def _spectral_bounds(M):
    """Upper bound (tr P⁴)^{1/8} and lower bound ‖Pv‖/‖v‖ of ‖M‖₂, P the Gram matrix on the smaller side, v a column of P²."""
    size = 0.0
    for value in M.ravel():
        size = max(size, abs(value))
    if size == 0.0:
        return 0.0, 0.0
    scaled = M / size
    gram = np.dot(scaled.T, scaled) if M.shape[0] >= M.shape[1] else np.dot(scaled, scaled.T)
    square = np.dot(gram, gram)
    total, best, where = 0.0, -1.0, 0
    for j in range(square.shape[0]):
        column = 0.0
        for i in range(square.shape[0]):
            column += square[i, j] * square[i, j]
        total += column
        if column > best:
            best, where = column, j
    upper = total**0.125
    length = 0.0
    for i in range(gram.shape[0]):
        value = 0.0
        for j in range(gram.shape[0]):
            value += gram[i, j] * square[j, where]
        length += value * value
    lower = math.sqrt(math.sqrt(length / best)) if best > 0 else 0.0
    return size * upper, size * min(lower, upper)


@kernel(fastmath=SUMS)
def _length(values):
    total = 0.0
    for i in range(values.size):  # numba's iterator over an array is not vectorised
        total += values[i] * values[i]
    return math.sqrt(total)


@kernel(fastmath=SUMS)
def _far(r, reference):
    """‖r − reference‖₂."""
    total = 0.0
    for e in range(r.size):
        total += (r[e] - reference[e]) ** 2
    return math.sqrt(total)


@kernel
def _forward(theta, layers, partial, turned, X):
    """P_j = U_j…U_1, shape (w_j, d2), its transpose for j < N, and P_N = X. BLAS is slower where the right factor is turned."""
    begins, rows, columns = layers
    N, d2 = rows.size, columns[0]
    here = theta[: begins[1]].reshape(rows[0], d2)
    for j in range(1, N):
        _turn(here, turned[j - 1, : d2 * columns[j]].reshape(d2, columns[j]))
        U = theta[begins[j] : begins[j + 1]].reshape(rows[j], columns[j])
        product = X if j == N - 1 else partial[j % 2, : d2 * rows[j]].reshape(rows[j], d2)
        np.dot(U, here, product)
        here = product


@kernel
def _turn(M, turned):
    """Mᵀ into ``turned``."""
    for i in range(M.shape[0]):
        for j in range(M.shape[1]):
            turned[j, i] = M[i, j]


@kernel
def _backward(theta, layers, turned, back, r, where, gradient):
    """−∂L/∂U_j = B_jP_{j−1}ᵀ with B_j = U_{j+1}ᵀ…U_NᵀG, kept as B_jᵀ, shape (d2, w_j)."""
    begins, rows, columns = layers
    N, d2 = rows.size, columns[0]
    sparse_product(r, where.columns, where.row_begins, turned[N - 2], columns[N - 1], gradient[begins[N - 1] :])
    sparse_product(r[where.order], where.rows, where.column_begins, theta[begins[N - 1] :], columns[N - 1], back[0])
    here = back[0]
    for j in range(N - 2, 0, -1):
        U = theta[begins[j] : begins[j + 1]].reshape(rows[j], columns[j])
        B = here[: d2 * rows[j]].reshape(d2, rows[j])
        last = turned[j - 1, : d2 * columns[j]].reshape(d2, columns[j])
        np.dot(B.T, last, gradient[begins[j] : begins[j + 1]].reshape(rows[j], columns[j]))
        following = back[(N - 1 - j) % 2]
        np.dot(B, U, following[: d2 * columns[j]].reshape(d2, columns[j]))
        here = following
    _turn(here[: d2 * rows[0]].reshape(d2, rows[0]), gradient[: begins[1]].reshape(rows[0], d2))


@kernel(fastmath=SUMS)
def product_steps(theta, layers, where, rule, state, bounds, reference, steps):
    """Take up to so many steps in place; returns (steps taken, how it stands).

    Args:
        theta: All layers one after the other, U_1 first.
        layers: :class:`Layers`.
        where: :class:`Observed`.
        rule: (κ, c, η): η > 0 is a constant step, else the relative rule; then tol, max_time, and the first residual.
        state: (t, the last η), changed in place.
        bounds: (4, N), changed in place: upper and lower bounds of the layers' norms, their drift since, and in its last row
            how much drift is allowed (0 computes them) and an upper bound of ‖G‖₂ at
        reference: the residual there, shape (m,), changed in place.
        steps: At most so many.
    """
    begins, rows, columns = layers
    places, y, scale = where.places, where.y, where.scale
    N, d1, d2 = rows.size, rows[-1], columns[0]
    kappa, c, constant, tol, max_time, first = rule
    widest = max(rows.max(), columns.max())
    given, before, gradient = theta, theta.copy(), np.empty_like(theta)
    turned, X = np.empty((N - 1, d2 * widest)), np.empty((d1, d2))
    partial, back = np.empty((2, d2 * widest)), np.empty((2, d2 * widest))
    entries, r, lengths = X.ravel(), np.empty(places.size), np.zeros(N)
    upper, lower, drift = bounds[0], bounds[1], bounds[2]
    renew, k, stands = bounds[3, 0] == 0.0, 0, -1
    while True:
        _forward(theta, layers, partial, turned, X)
        total = 0.0
        for e in range(places.size):
            r[e] = y[e] - entries[places[e]]
        for e in range(places.size):
            total += r[e] * r[e]
        residual = math.sqrt(total) / scale
        if not residual <= 1e8 * max(first, 1.0):
            theta, stands = before, WILD
            break
        if residual <= tol:
            stands = CONVERGED
        elif state[0] >= max_time:
            stands = MAX_TIME
        elif k >= steps:
            stands = GOING
        if stands >= 0:
            break
        _backward(theta, layers, turned, back, r, where, gradient)
        for j in range(N):
            lengths[j] = _length(gradient[begins[j] : begins[j + 1]])
        if constant > 0:
            eta = constant
        else:
            if renew:
                top = 0.0
                for j in range(N):
                    U = theta[begins[j] : begins[j + 1]].reshape(rows[j], columns[j])
                    upper[j], lower[j] = _spectral_bounds(U)
                    drift[j] = 0.0
                    top = max(top, lower[j])
                bounds[3, 0], renew = LARGEST_DRIFT * top, False
            far = _far(r, reference)
            if not far <= LARGEST_DRIFT * bounds[3, 1]:
                G = np.zeros(d1 * d2)
                for e in range(places.size):
                    G[places[e]] = r[e]
                bounds[3, 1], _ = _spectral_bounds(G.reshape(d1, d2))
                reference[:] = r
                far = 0.0
            eta = _relative(upper, lower, drift, lengths, bounds[3, 1] + far, kappa, c)
        if not (eta > 0 and eta < np.inf):
            stands = NO_STEP
            break
        state[1] = eta
        if state[0] + eta >= max_time:
            eta = max_time - state[0]
            state[0], state[1] = max_time, eta
        else:
            state[0] += eta
        for i in range(theta.size):
            before[i] = theta[i] + eta * gradient[i]
        theta, before = before, theta
        for j in range(N):
            drift[j] += eta * lengths[j]
            if drift[j] > bounds[3, 0]:
                renew = True
        k += 1
    if renew:
        bounds[3, 0] = 0.0
    given[:] = theta
    return k, stands


@kernel(fastmath=SUMS)
def _relative(upper, lower, drift, lengths, G_norm, kappa, c):
    """min(c/Λ, κ/ρ) of :class:`~dlntorch.matrix.factorization.ProductOfLayers`, with 𝒜 of norm one."""
    N = upper.size
    squares, coupled, rho, top = 0.0, 0.0, 0.0, 0.0
    for j in range(N):
        top = max(top, lower[j] - drift[j])
    for j in range(N):
        once, row = 1.0, 0.0
        for k in range(N):
            if k != j:
                once *= upper[k] + drift[k]
                twice = 1.0
                for i in range(N):
                    if i != j and i != k:
                        twice *= upper[i] + drift[i]
                row += twice
        squares += once * once
        coupled = max(coupled, row)
        rho = max(rho, min(lengths[j], once * G_norm))
    return 1.0 / max((squares + G_norm * coupled) / c, rho / top / kappa)
