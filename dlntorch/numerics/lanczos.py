"""The Lanczos method on the Hessian of the loss in θ for a small dense A, compiled.

On a small problem an iteration in torch is a dozen calls on short vectors, and costs ten times what it computes.
"""

from __future__ import annotations

from dlntorch.numerics.compiling import SUMS, kernel

__all__ = ["tridiagonal"]


@kernel(fastmath=SUMS)
def tridiagonal(A, slope, bend, start, diagonal, beside):
    """Lanczos from the unit vector ``start`` (2, n) with H v = J ∘ AᵀA(J₊v₊ + J₋v₋) − bend ∘ v, for every state.

    Args:
        A: (m, n).
        slope, bend: J± and ±p(p−1)θ±^{p−2} ∘ g, both (states, 2, n).
        start: (2, n).
        diagonal, beside: Filled, (states, iterations): the diagonal of the tridiagonal matrix, and what is beside it.
    """
    m, n = A.shape
    states, iterations = diagonal.shape
    inner, back = start[0].copy(), start[0].copy()
    for state in range(states):
        J, b = slope[state], bend[state]
        v, previous, image = start.copy(), 0 * start, 0 * start
        beta = 0.0
        for k in range(iterations):
            for j in range(n):
                inner[j] = J[0, j] * v[0, j] + J[1, j] * v[1, j]
                back[j] = 0.0
            for i in range(m):
                row = A[i]
                product = 0.0
                for j in range(n):
                    product += row[j] * inner[j]
                for j in range(n):
                    back[j] += product * row[j]
            size = along = 0.0
            for s in range(2):
                for j in range(n):
                    h = J[s, j] * back[j] - b[s, j] * v[s, j]
                    size += h * h
                    along += (h - beta * previous[s, j]) * v[s, j]
            left = 0.0
            for s in range(2):
                for j in range(n):
                    h = J[s, j] * back[j] - b[s, j] * v[s, j]
                    image[s, j] = h - beta * previous[s, j] - along * v[s, j]
            for s in range(2):
                for j in range(n):
                    left += image[s, j] * image[s, j]
            beta = left**0.5
            # an invariant subspace was found: go on with a zero vector, which adds zero eigenvalues only
            if not beta > 1e-13 * size**0.5:
                beta = 0.0
            scale = 1 / beta if beta > 0 else 0.0
            for s in range(2):
                for j in range(n):
                    previous[s, j], v[s, j] = v[s, j], image[s, j] * scale
            diagonal[state, k] = along
            beside[state, k] = beta
