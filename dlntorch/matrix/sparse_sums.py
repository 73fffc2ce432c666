"""Sums of a few rows of a matrix, for kernels: what multiplying with a sparse matrix is made of."""

# pyright takes numba's intrinsics for plain functions, with the typing context as an argument
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError

from dlntorch.numerics.compiling import SUMS, instruction, kernel

__all__ = ["sparse_product"]

#: Numbers in one vector of the machine; LLVM splits it where the machine's are shorter.
LANES = 8


def _plain(vectors: int) -> Callable[..., None]:
    def sums(r, which, B, out, span):
        begin, end, offset, width, place = span
        total = np.zeros(vectors * LANES)
        for e in range(begin, end):
            first = offset + which[e] * width
            total += r[e] * B[first : first + vectors * LANES]
        out[place : place + vectors * LANES] = total

    return sums


def _sums(vectors: int) -> Callable[..., Any]:
    """The instruction out[place:] = Σ r_e B[offset + which_e·width:] over e = begin … end − 1, of some vectors in registers.

    ``span`` is (begin, end, offset, width, place).
    """

    @instruction(_plain(vectors))
    def sums(typingctx: Any, r: Any, which: Any, B: Any, out: Any, span: Any) -> Any:
        if any(array.layout != "C" for array in (r, which, B, out)):
            raise TypingError("sparse_product takes contiguous arrays")

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = [context.make_array(signature.args[k])(context, builder, args[k]).data for k in range(4)]
            begin, end, offset, width, place = (builder.extract_value(args[4], k) for k in range(5))
            vector = ir.VectorType(ir.DoubleType(), LANES)
            fma = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{LANES}f64"
            )
            sums = [cgutils.alloca_once_value(builder, ir.Constant(vector, [0.0] * LANES)) for _ in range(vectors)]

            def lanes(pointer: Any, v: int) -> Any:
                return builder.bitcast(builder.gep(pointer, [ir.Constant(place.type, v * LANES)]), vector.as_pointer())

            with cgutils.for_range_slice(builder, begin, end, ir.Constant(begin.type, 1)) as (e, _):
                first = builder.add(offset, builder.mul(builder.load(builder.gep(data[1], [e])), width))
                row = builder.gep(data[2], [first])
                factor = _repeated(builder, builder.load(builder.gep(data[0], [e])), vector)
                for v, total in enumerate(sums):
                    entries = builder.load(lanes(row, v), align=8)
                    builder.store(builder.call(fma, [factor, entries, builder.load(total)]), total)
            target = builder.gep(data[3], [place])
            for v, total in enumerate(sums):
                builder.store(builder.load(total), lanes(target, v), align=8)
            return context.get_dummy_value()

        return types.void(r, which, B, out, span), codegen

    return sums


def _repeated(builder: Any, value: Any, vector: Any) -> Any:
    """A vector with ``value`` in every lane."""
    index = ir.IntType(32)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(index, 0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(index, LANES), [0] * LANES))


_one, _two, _four = _sums(1), _sums(2), _sums(4)


@kernel(fastmath=SUMS)
def sparse_product(r, which, begins, B, width, out):
    """out = S·B for a sparse S with the entries r, by rows.

    Args:
        r, which: The entries of S, row by row, and their columns, shape (m,), contiguous as all arrays here.
        begins: Where each row begins among them and the last one ends.
        B: Flat, ``width`` columns.
        width: Columns of ``out``.
        out: Flat, changed in place.
    """
    lanes = LANES * (4 if width >= 4 * LANES else 2 if width >= 2 * LANES else 1)
    for i in range(begins.size - 1):
        begin, end, column = begins[i], begins[i + 1], 0
        while column < width:
            at = min(column, width - lanes)  # the last vectors overlap those before
            if width < LANES:
                total = 0.0
                for e in range(begin, end):
                    total += r[e] * B[which[e] * width + column]
                out[i * width + column] = total
                column += 1
            else:
                if lanes == 4 * LANES:
                    _four(r, which, B, out, (begin, end, at, width, i * width + at))
                elif lanes == 2 * LANES:
                    _two(r, which, B, out, (begin, end, at, width, i * width + at))
                else:
                    _one(r, which, B, out, (begin, end, at, width, i * width + at))
                column += lanes
