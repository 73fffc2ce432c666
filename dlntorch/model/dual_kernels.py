"""The dual field on small problems, compiled: one pass over A and B instead of ten operations on short vectors."""

from __future__ import annotations

from dlntorch.numerics.compiling import SUMS, kernel

__all__ = ["misfit", "moved_far", "theta_at"]


@kernel(fastmath=SUMS)
def misfit(A, y, B, u, v, smallest, amplitude, power, x, r):
    """r = y − Aψ at τ = τ_base + Bx, ψ = amplitude·(u^power − v^power), u and v not below ``smallest``; ‖r‖₂²."""
    n, m = B.shape
    for i in range(m):
        r[i] = y[i]
    for j in range(n):
        b = B[j]
        change = 0.0
        for i in range(m):
            change += b[i] * x[i]
        up, down = u[j] - change, v[j] + change
        if up < smallest:
            up = smallest
        if down < smallest:
            down = smallest
        psi = amplitude * (up**power - down**power)
        a = A[j]
        for i in range(m):
            r[i] -= a[i] * psi
    square = 0.0
    for i in range(m):
        square += r[i] * r[i]
    return square


@kernel
def moved_far(B, u, v, x):
    """Whether some min(u, v) at x is less than half, or more than twice, what it is at the base."""
    n, m = B.shape
    for j in range(n):
        change = 0.0
        for i in range(m):
            change += B[j, i] * x[i]
        now, base = min(u[j] - change, v[j] + change), min(u[j], v[j])
        ratio = now / base
        if ratio < 0.5 or ratio > 2:
            return True
    return False


@kernel(fastmath=SUMS)
def theta_at(B, u, v, smallest, alpha, p, x, plus, minus):
    """θ± = α(slack)^{−1/(p−2)} at τ = τ_base + Bx, p > 2; whether both slacks exceed ``smallest`` everywhere."""
    n, m = B.shape
    inside = True
    for j in range(n):
        b = B[j]
        change = 0.0
        for i in range(m):
            change += b[i] * x[i]
        up, down = u[j] - change, v[j] + change
        if not (up > smallest and down > smallest):
            inside = False
            up, down = max(up, smallest), max(down, smallest)
        plus[j] = alpha * up ** (-1 / (p - 2))
        minus[j] = alpha * down ** (-1 / (p - 2))
    return inside
