"""The compiled cell of ψ = u₁ ∘ … ∘ u_L, for any number of layers: every loop runs over the coordinates of one layer."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from dlntorch.model.cells import CellKernels, CompiledCell
from dlntorch.model.stored_slopes import not_finite, stored_at
from dlntorch.numerics.bits import as_bits, as_float
from dlntorch.numerics.compiling import kernel

__all__ = ["layered"]


@kernel(inline="always")
def _represent(numbers, theta, scratch, psi, first):
    """ψ, layer by layer."""
    for i in range(psi.size):
        psi[i] = theta[0, i] * theta[1, i]
    for j in range(2, theta.shape[0]):
        for i in range(psi.size):
            psi[i] *= theta[j, i]


@kernel
def _fill(numbers, theta, scratch):
    """∂ψ/∂u_j, the product of the layers before j and of those after it."""
    slope, after, last = scratch.slope, scratch.base[0], theta.shape[0] - 1
    for i in range(after.size):
        slope[0, i] = theta.dtype.type(1)
        after[i] = theta[last, i]
    for j in range(1, last + 1):
        for i in range(after.size):
            slope[j, i] = slope[j - 1, i] * theta[j - 1, i]
    for j in range(last - 1, -1, -1):
        for i in range(after.size):
            slope[j, i] *= after[i]
        for i in range(after.size):
            after[i] *= theta[j, i]


@cache
def _limits(width):
    """The kernel of (ρ, Λ) for a number of layers, which is a constant in it."""

    @kernel(inline="always")
    def limits(numbers, theta, scratch, g, squared_norm):
        """(ρ, Λ) of ``Parametrization.limits``; the length of a coordinate is that of ``Parametrization.extremes``.

        With q_j = u_j², ‖∇ψ‖² is the elementary symmetric polynomial of degree L − 1 of the q_j, and ‖∇²ψ‖_F² twice that
        of degree L − 2: sums of positive terms, made layer by layer. The largest |∂ψ/∂u_j| leaves out the smallest layer.
        Maxima are those of bits, so that NaN is the largest.
        """
        one, zero = theta.dtype.type(1), theta.dtype.type(0)
        rho, top, bent = as_bits(zero), as_bits(zero), as_bits(zero)
        for i in range(g.size):
            product, steep, square = theta[0, i] * theta[0, i], one, zero
            size = smallest = abs(theta[0, i])
            largest = one
            for j in range(1, width):
                u = abs(theta[j, i])
                q = u * u
                square = square * q + steep
                steep = steep * q + product
                product = product * q
                largest *= max(u, smallest)
                smallest, size = min(u, smallest), max(u, size)
            bend = np.sqrt(square + square)
            change = abs(largest * g[i])
            length = max(size, np.sqrt(steep) / bend)  # ∞ where nothing bends
            rho = max(rho, as_bits(abs(change / length) if change != zero else zero))
            top, bent = max(top, as_bits(steep)), max(bent, as_bits(abs(bend * g[i])))
        return float(as_float(rho)), squared_norm * float(as_float(top)) + float(as_float(bent))

    return limits


@cache
def _propose(width):
    """The kernel of θ + η ∇ψ ∘ g for a number of layers, which is a constant in it."""

    @kernel(inline="always")
    def propose(numbers, theta, scratch, g, eta, new):
        """Whether every entry of it is finite."""
        kind = theta.dtype.type
        length, one, infinity = kind(eta), kind(1), as_bits(kind(math.inf))
        improper = infinity - infinity
        for j in range(width):
            for i in range(g.size):
                slope = one
                for other in range(width):
                    slope *= one if other == j else theta[other, i]
                moved = theta[j, i] + (length * g[i]) * slope
                improper |= not_finite(moved, infinity)
                new[j, i] = moved
        return improper >= 0

    return propose


@kernel
def _second(theta, j, k, out):
    """out = ∂²ψ/∂u_j∂u_k, the product of the other layers."""
    one = theta.dtype.type(1)
    for i in range(out.size):
        out[i] = one
    for other in range(theta.shape[0]):
        if other != j and other != k:
            for i in range(out.size):
                out[i] *= theta[other, i]


@kernel
def _bent(numbers, theta, scratch, g, v, out):
    """g ∘ (∇²ψ v)."""
    second, width = scratch.base[0], theta.shape[0]
    for j in range(width):
        for i in range(g.size):
            out[j, i] = theta.dtype.type(0)
    for j in range(1, width):
        for k in range(j):
            _second(theta, j, k, second)
            for i in range(g.size):
                out[j, i] += g[i] * (second[i] * v[k, i])
                out[k, i] += g[i] * (second[i] * v[j, i])


def layered(layers: int) -> CompiledCell:
    """The cell for a number of layers."""
    return CompiledCell(CellKernels(_represent, _limits(layers), _propose(layers), _fill, stored_at, _bent), ())
