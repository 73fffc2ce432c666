"""Machine instructions for kernels that Python has no word for: a float's bits, and a·b + c rounded once.

In plain Python, where nothing is compiled, every float is taken for a float64 and bits are unlimited integers: their order
and the signs of their differences are the same.
"""

# pyright takes numba's intrinsics for plain functions, with the typing context as an argument
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false
from __future__ import annotations

import struct
from fractions import Fraction
from typing import Any

from llvmlite import ir
from numba import types

from dlntorch.numerics.compiling import instruction

__all__ = ["as_bits", "as_float", "fused", "unsigned_shift"]


def _as_bits(x: float) -> int:
    return struct.unpack("<q", struct.pack("<d", x))[0]


def _as_float(bits: int) -> float:
    return struct.unpack("<d", struct.pack("<q", bits))[0]


def _fused(a: float, b: float, c: float) -> float:
    try:
        return float(Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c)))
    except (OverflowError, ValueError):  # ∞ or NaN among them, or a result beyond the largest float
        return a * b + c


def _shifted(bits: int) -> int:
    return bits % 2**64 >> 52


@instruction(_as_bits)
def as_bits(typingctx: Any, x: Any) -> Any:
    """The bits of a float as a signed integer of its width; positive floats are ordered as their bits are."""
    integer = types.int64 if x == types.float64 else types.int32

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64 if x == types.float64 else 32))

    return integer(x), codegen


@instruction(_as_float)
def as_float(typingctx: Any, bits: Any) -> Any:
    """The float of a signed integer's width that has these bits."""
    wide = bits == types.int64

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType() if wide else ir.FloatType())

    return (types.float64 if wide else types.float32)(bits), codegen


@instruction(_fused)
def fused(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a·b + c rounded once."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fma(*args)

    return types.float64(types.float64, types.float64, types.float64), codegen


@instruction(_shifted)
def unsigned_shift(typingctx: Any, bits: Any) -> Any:
    """bits >> 52 without sign."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.lshr(args[0], ir.Constant(ir.IntType(64), 52))

    return types.int64(types.int64), codegen
