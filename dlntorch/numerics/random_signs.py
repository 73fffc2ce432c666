"""Random signs that are a function of (seed, step, row) alone: every engine, and every part of a run, sees the same ones.

A counter is hashed (SplitMix64's finalizer, Steele, Lea and Flood 2014), so that there is no state to save and no stream
to draw ahead: a run that is cut anywhere goes on with the same signs, and a sign costs about a nanosecond.
"""

from __future__ import annotations

import numpy as np

from dlntorch.numerics.compiling import kernel

__all__ = ["add_signs", "random_signs"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_STEP, _ROW = np.uint64(0xD1342543DE82EF95), np.uint64(0xDA942042E4DD58B5)
_THIRTY, _TWENTY_SEVEN, _THIRTY_ONE = np.uint64(30), np.uint64(27), np.uint64(31)
_SIXTY_THREE = np.uint64(63)


@kernel
def _mixed(x):
    """SplitMix64's finalizer: every bit of x changes every bit of the result with probability ½."""
    x = (x ^ (x >> _THIRTY)) * _FIRST
    x = (x ^ (x >> _TWENTY_SEVEN)) * _SECOND
    return x ^ (x >> _THIRTY_ONE)


@kernel
def add_signs(y, sigma, seed, step, out):
    """out = y + σξ with ξ_i = ±1, a function of (seed, step, i).

    Args:
        y: Shape (m,).
        sigma: σ.
        seed: The stream, an integer >= 0.
        step: The step's number, an integer >= 0.
        out: Shape (m,), replaced.
    """
    kind = y.dtype.type
    key = _mixed(_mixed(np.uint64(seed) + _GOLDEN) ^ (np.uint64(step) * _STEP + _GOLDEN))
    plus, minus = kind(sigma), kind(-sigma)
    for i in range(y.size):
        bit = _mixed(key ^ (np.uint64(i) * _ROW + _GOLDEN)) >> _SIXTY_THREE
        out[i] = y[i] + (plus if bit else minus)


def random_signs(seed: int, step: int, rows: int) -> np.ndarray:
    """ξ of one step, entries ±1, shape (rows,), float64."""
    out = np.empty(rows)
    add_signs(np.zeros(rows), 1.0, seed, step, out)
    return out
