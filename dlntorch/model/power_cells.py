"""The compiled cells of ψ = θ₊^p − θ₋^p and of ψ = θ^p: of the powers of θ only θ^{p−2} is made as a power.

θ^{p−1}, θ^p and θ^{2p−2} are products with it.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

from dlntorch.model.cells import CellKernels, CompiledCell
from dlntorch.model.stored_slopes import keep, not_positive
from dlntorch.numerics.bits import as_bits, as_float
from dlntorch.numerics.compiling import kernel
from dlntorch.numerics.powers import multiplied_power, power, split_exponent

__all__ = ["one_sided", "two_sided"]


class PowerNumbers(NamedTuple):
    """Depth p, and how θ^{p−2} is made.

    Attributes:
        p: Depth.
        whole: ⌊p − 2⌋ where θ^{p−2} is made by multiplication.
        half: Whether p − 2 is a half-integer.
    """

    p: float
    whole: int
    half: bool


@kernel(inline="always")
def _multiplied(numbers, theta, scratch, first):
    """scratch.growth = θ^{p−2} by multiplication."""
    if numbers.whole > 0 or numbers.half or first:  # θ⁰ = 1 once and for all
        multiplied_power(scratch.flat[0], numbers.whole, numbers.half, scratch.flat[2], scratch.flat[1])


@kernel(inline="always")
def _real(numbers, theta, scratch, first):
    """scratch.growth = θ^{p−2} as a real power."""
    power(scratch.flat[0], numbers.p - 2.0, scratch.flat[1])


@cache
def _two(grow):
    """The kernel of ψ = θ₊^p − θ₋^p."""

    @kernel(inline="always")
    def represent(numbers, theta, scratch, psi, first):
        grow(numbers, theta, scratch, first)
        growth = scratch.growth
        for i in range(psi.size):
            plus, minus = theta[0, i], theta[1, i]
            psi[i] = plus * (plus * growth[0, i]) - minus * (minus * growth[1, i])

    return represent


@kernel(inline="always")
def _limits_two(numbers, theta, scratch, g, squared_norm):
    """ρ = p max θ^{p−2}|g| and Λ = p²‖A‖² max(θ₊^{2p−2} + θ₋^{2p−2}) + (p − 1)ρ; NaN counts as the largest."""
    growth = scratch.growth
    largest = as_bits(theta.dtype.type(0))
    top = largest
    for i in range(g.size):
        largest = max(largest, as_bits(max(growth[0, i], growth[1, i]) * abs(g[i])))
        up, down = theta[0, i] * growth[0, i], theta[1, i] * growth[1, i]
        top = max(top, as_bits(up * up + down * down))
    p, rho = numbers.p, float(as_float(largest)) * numbers.p
    return rho, p * p * squared_norm * float(as_float(top)) + (p - 1.0) * rho


@kernel(inline="always")
def _propose_two(numbers, theta, scratch, g, eta, new):
    """θ± ± ηp θ±^{p−1} g; whether every entry of it is positive and finite."""
    growth, kind = scratch.growth, theta.dtype.type
    factor, infinity = kind(eta * numbers.p), as_bits(kind(math.inf))
    improper = infinity - infinity
    for i in range(g.size):
        change = factor * g[i]
        plus = theta[0, i] + change * (theta[0, i] * growth[0, i])
        minus = theta[1, i] - change * (theta[1, i] * growth[1, i])
        improper |= not_positive(plus, infinity) | not_positive(minus, infinity)
        new[0, i] = plus
        new[1, i] = minus
    return improper >= 0


@kernel(inline="always")
def _slope_at(numbers, theta, scratch, j, i):
    """θ₊^{p−1} or −θ₋^{p−1}, which are multiplied by p elsewhere."""
    slope = theta[j, i] * scratch.growth[j, i]
    return slope if j == 0 else -slope


@kernel
def _bent_two(numbers, theta, scratch, g, v, out):
    """±p(p − 1) g θ^{p−2} v."""
    growth = scratch.growth
    bend = theta.dtype.type(numbers.p * (numbers.p - 1.0))
    for i in range(g.size):
        out[0, i] = bend * g[i] * growth[0, i] * v[0, i]
        out[1, i] = -(bend * g[i] * growth[1, i] * v[1, i])


@cache
def _one(grow):
    """The kernel of ψ = θ^p."""

    @kernel(inline="always")
    def represent(numbers, theta, scratch, psi, first):
        grow(numbers, theta, scratch, first)
        growth = scratch.growth
        for i in range(psi.size):
            psi[i] = theta[0, i] * (theta[0, i] * growth[0, i])

    return represent


@kernel(inline="always")
def _limits_one(numbers, theta, scratch, g, squared_norm):
    """ρ = p max |θ^{p−2}g| and Λ = p²‖A‖² max θ^{2p−2} + (p − 1)ρ; NaN counts as the largest."""
    growth = scratch.growth
    largest = as_bits(theta.dtype.type(0))
    top = largest
    for i in range(g.size):
        largest = max(largest, as_bits(abs(growth[0, i] * g[i])))
        slope = theta[0, i] * growth[0, i]
        top = max(top, as_bits(slope * slope))
    p, rho = numbers.p, float(as_float(largest)) * numbers.p
    return rho, p * p * squared_norm * float(as_float(top)) + (p - 1.0) * rho


@kernel(inline="always")
def _propose_one(numbers, theta, scratch, g, eta, new):
    """θ + ηp θ^{p−1} g; whether every entry of it is positive and finite."""
    growth, kind = scratch.growth, theta.dtype.type
    factor, infinity = kind(eta * numbers.p), as_bits(kind(math.inf))
    improper = infinity - infinity
    for i in range(g.size):
        moved = theta[0, i] + (factor * g[i]) * (theta[0, i] * growth[0, i])
        improper |= not_positive(moved, infinity)
        new[0, i] = moved
    return improper >= 0


@kernel
def _bent_one(numbers, theta, scratch, g, v, out):
    """p(p − 1) g θ^{p−2} v."""
    growth = scratch.growth
    bend = theta.dtype.type(numbers.p * (numbers.p - 1.0))
    for i in range(g.size):
        out[0, i] = bend * g[i] * growth[0, i] * v[0, i]


def two_sided(p: float) -> CompiledCell:
    """The cell of ψ = θ₊^p − θ₋^p."""
    numbers, grow = _numbers(p)
    return CompiledCell(
        CellKernels(_two(grow), _limits_two, _propose_two, keep, _slope_at, _bent_two), numbers, float(p)
    )


def one_sided(p: float) -> CompiledCell:
    """The cell of ψ = θ^p."""
    numbers, grow = _numbers(p)
    return CompiledCell(
        CellKernels(_one(grow), _limits_one, _propose_one, keep, _slope_at, _bent_one), numbers, float(p)
    )


def _numbers(p: float) -> tuple[PowerNumbers, Any]:
    """The record, and the kernel that makes θ^{p−2}."""
    whole, half = split_exponent(p - 2)
    return PowerNumbers(float(p), int(whole), bool(half)), _multiplied if whole >= 0 else _real
