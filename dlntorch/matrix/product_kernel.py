"""Compiled gradient descent on X = U_N…U_1 from entries of X: many steps a call, with the step rules of ``descent``.

The formulas are those of :mod:`dlntorch.matrix.factorization` and :mod:`dlntorch.matrix.sizes`; products are BLAS's. What is
saved is the work between them: for matrices of a hundred rows that is most of a step.
"""

from __future__ import annotations

import math

import numpy as np

from dlntorch.matrix.sizes import LARGEST_DRIFT
from dlntorch.numerics.compiling import kernel

__all__ = ["CONVERGED", "GOING", "MAX_TIME", "NO_STEP", "WILD", "product_steps"]

GOING, CONVERGED, MAX_TIME, WILD, NO_STEP = 0, 1, 2, 3, 4


@kernel
def _gram_norms(M, gram, square):
    """Upper bound (tr P⁴)^{1/8}, lower bound, and (tr P²)^{1/4} of ‖M‖₂, P the Gram matrix on the smaller side."""
    size = 0.0
    for value in M.ravel():
        size = max(size, abs(value))
    if size == 0.0:
        return 0.0, 0.0
    scaled = M / size
    if M.shape[0] >= M.shape[1]:
        np.dot(scaled.T, scaled, gram)
    else:
        np.dot(scaled, scaled.T, gram)
    np.dot(gram, gram, square)
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


@kernel
def _dual_norm(G, gram):
    """(tr (GᵀG)²)^{1/4}, above ‖G‖₂."""
    size = 0.0
    for value in G.ravel():
        size = max(size, abs(value))
    if size == 0.0:
        return 0.0
    if G.shape[0] >= G.shape[1]:
        np.dot(G.T, G, gram)
    else:
        np.dot(G, G.T, gram)
    total = 0.0
    for value in gram.ravel():
        total += (value / size / size) ** 2
    return size * math.sqrt(math.sqrt(total))


@kernel
def product_steps(theta, rows, columns, places, y, scale, rule, state, bounds, steps):
    """Take up to so many steps in place; returns (steps taken, how it stands).

    Args:
        theta: All layers one after the other, U_1 first.
        rows, columns: Of the layers, shape (N,).
        places, y: What is observed, numbers in vec(X).
        scale: ‖y‖ or 1.
        rule: (κ, c, η): η > 0 is a constant step, else the relative rule; then tol, max_time, and the first residual.
        state: (t, relative residual), changed in place.
        bounds: (4, N), changed in place: upper and lower bounds of the layers' norms, their drift since, and in its last row
            first how much drift is allowed; 0 computes them.
        steps: At most so many.
    """
    N, d1, d2 = rows.size, rows[-1], columns[0]
    kappa, c, constant, tol, max_time, first = rule
    begins = np.zeros(N + 1, np.int64)
    partial_begins = np.zeros(N + 1, np.int64)
    widest = 1
    for j in range(N):
        begins[j + 1] = begins[j] + rows[j] * columns[j]
        partial_begins[j + 1] = partial_begins[j] + rows[j] * d2
        widest = max(widest, rows[j], columns[j])
    partial = np.empty(partial_begins[N])
    gradient, before = np.empty_like(theta), theta.copy()
    G = np.zeros(d1 * d2)
    back_one, back_two = np.empty(widest * d2), np.empty(widest * d2)
    small = min(d1, d2)
    gram_G = np.empty((small, small))
    upper, lower, drift, lengths = bounds[0], bounds[1], bounds[2], np.zeros(N)
    renew, k = bounds[3, 0] == 0.0, 0
    while True:
        for j in range(N):
            U = theta[begins[j] : begins[j + 1]].reshape(rows[j], columns[j])
            P = partial[partial_begins[j] : partial_begins[j + 1]].reshape(rows[j], d2)
            if j == 0:
                P[:] = U
            else:
                last = partial[partial_begins[j - 1] : partial_begins[j]].reshape(rows[j - 1], d2)
                np.dot(U, last, P)
        X = partial[partial_begins[N - 1] : partial_begins[N]]
        total = 0.0
        for i in range(places.size):
            r = y[i] - X[places[i]]
            G[places[i]] = r
            total += r * r
        residual = math.sqrt(total) / scale
        if not residual <= 1e8 * max(first, 1.0):
            theta[:] = before
            return k, WILD
        state[1] = residual
        if residual <= tol:
            return k, CONVERGED
        if state[0] >= max_time:
            return k, MAX_TIME
        if k >= steps:
            if renew:
                bounds[3, 0] = 0.0
            return k, GOING

        back = G.reshape(d1, d2)
        for j in range(N - 1, 0, -1):
            U = theta[begins[j] : begins[j + 1]].reshape(rows[j], columns[j])
            last = partial[partial_begins[j - 1] : partial_begins[j]].reshape(rows[j - 1], d2)
            np.dot(back, last.T, gradient[begins[j] : begins[j + 1]].reshape(rows[j], columns[j]))
            room = back_one if (N - j) % 2 else back_two
            following = room[: columns[j] * d2].reshape(columns[j], d2)
            np.dot(U.T, back, following)
            back = following
        gradient[: begins[1]] = back.ravel()
        for j in range(N):
            total = 0.0
            for i in range(begins[j], begins[j + 1]):
                total += gradient[i] * gradient[i]
            lengths[j] = math.sqrt(total)

        if constant > 0:
            eta = constant
        else:
            if renew:
                top = 0.0
                for j in range(N):
                    U = theta[begins[j] : begins[j + 1]].reshape(rows[j], columns[j])
                    side = min(rows[j], columns[j])
                    upper[j], lower[j] = _gram_norms(U, np.empty((side, side)), np.empty((side, side)))
                    drift[j] = 0.0
                    top = max(top, lower[j])
                bounds[3, 0], renew = LARGEST_DRIFT * top, False
            eta = _relative(upper, lower, drift, lengths, _dual_norm(G.reshape(d1, d2), gram_G), kappa, c)
        if not (eta > 0 and eta < np.inf):
            return k, NO_STEP
        if state[0] + eta >= max_time:
            eta = max_time - state[0]
            state[0] = max_time
        else:
            state[0] += eta
        before[:] = theta
        for i in range(theta.size):
            theta[i] += eta * gradient[i]
        for j in range(N):
            drift[j] += eta * lengths[j]
            if drift[j] > bounds[3, 0]:
                renew = True
        k += 1


@kernel
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
