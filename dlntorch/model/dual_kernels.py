"""The dual field on small problems, compiled: one pass over A and B instead of ten operations on short vectors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dlntorch.numerics.compiling import SUMS, kernel

__all__ = ["Base", "Heights", "misfit", "moved_far", "theta_at"]


class Base(NamedTuple):
    """The data, and the point that x is counted from.

    Attributes:
        A: Aᵀ, (n, m).
        y: (m,).
        B: (n, m).
        u: (n,).
        v: (n,).
    """

    A: np.ndarray
    y: np.ndarray
    B: np.ndarray
    u: np.ndarray
    v: np.ndarray


class Heights(NamedTuple):
    """ψ = amplitude·(u^power − v^power) and θ = alpha·u^root, with u and v not below ``smallest``."""

    smallest: float
    amplitude: float
    power: float
    alpha: float
    root: float


@kernel(fastmath=SUMS)
def misfit(base, heights, x, r):
    """r = y − Aψ at τ = τ_base + Bx; ‖r‖₂²."""
    A, y, B, u, v = base.A, base.y, base.B, base.u, base.v
    smallest, amplitude, power = heights.smallest, heights.amplitude, heights.power
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
def theta_at(base, heights, x, plus, minus):
    """θ± at τ = τ_base + Bx, p > 2; whether both slacks exceed ``smallest`` everywhere."""
    B, u, v, smallest, alpha = base.B, base.u, base.v, heights.smallest, heights.alpha
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
        plus[j] = alpha * up**heights.root
        minus[j] = alpha * down**heights.root
    return inside
