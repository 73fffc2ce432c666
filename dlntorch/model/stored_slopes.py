"""What cells share, most of it for those that write all slopes into the scratch."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from dlntorch.numerics.bits import as_bits
from dlntorch.numerics.compiling import kernel

__all__ = ["keep", "larger", "not_finite", "not_positive", "propose_with", "stored_at"]


@kernel(inline="always")
def larger(x, y):
    """The larger of two numbers >= 0, of which one that is no number counts as the larger: their bits are compared."""
    return x if as_bits(x) > as_bits(y) else y


@kernel(inline="always")
def not_positive(x, infinity):
    """A negative integer where x is not positive and finite, by its bits; ``infinity`` are those of ∞."""
    bits = as_bits(x)
    return (bits - 1) | (infinity - 1 - bits)


@kernel(inline="always")
def not_finite(x, infinity):
    """A negative integer where x is not finite."""
    return infinity - 1 - as_bits(abs(x))


@kernel
def keep(numbers, theta, scratch):
    """What slopes are made of is there already."""


@kernel(inline="always")
def stored_at(numbers, theta, scratch, j, i):
    """A slope that is kept."""
    return scratch.slope[j, i]


@cache
def propose_with(positive: bool) -> Any:
    """The step θ + η slope ∘ g, for parameters that have to stay positive or need not."""

    refused = not_positive if positive else not_finite

    @kernel
    def propose(numbers, theta, scratch, g, eta, new):
        slope, kind = scratch.slope, theta.dtype.type
        length, infinity = kind(eta), as_bits(kind(math.inf))
        improper = infinity - infinity
        for j in range(theta.shape[0]):
            for i in range(g.size):
                moved = theta[j, i] + (length * g[i]) * slope[j, i]
                improper |= refused(moved, infinity)
                new[j, i] = moved
        return improper >= 0

    return propose
