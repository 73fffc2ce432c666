"""The one decorator that every compiled function of the package has.

Flags, cache and the switch that turns compilation off are decided here and nowhere else::

    @kernel(fastmath=SUMS)
    def gradient(A, y, rows, psi, g): ...

``NUMBA_DISABLE_JIT=1`` leaves the functions plain Python: the same formulas, slowly, and not the same last bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite.binding import Linkage
from numba import config, njit
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.extending import intrinsic

from dlntorch.numerics import compile_notice as compile_notice  # says it where compiling takes long
from dlntorch.numerics.kernel_cache import KernelCache

__all__ = ["SIGNED_SUMS", "SUMS", "compiles", "instruction", "kernel"]

#: Sums may be reordered and products fused, and nothing else: differences keep their digits, NaN and infinity are seen.
#: A loop that sums must not store too. Such a loop is vectorized only where its arrays lie far enough apart, and the order
#: of the sum, so its last bits, would depend on where in memory they lie.
SUMS = frozenset({"reassoc", "contract", "nsz"})
#: The same where the sign of a zero matters.
SIGNED_SUMS = SUMS - {"nsz"}


def compiles() -> bool:
    """Whether kernels are compiled in this process; ``NUMBA_DISABLE_JIT=1`` says no."""
    return not getattr(config, "DISABLE_JIT", 0)


def kernel(
    function: Callable[..., Any] | None = None, /, *, fastmath: frozenset[str] = frozenset(), **flags: Any
) -> Any:
    """Compile ``function`` when it is first called, and keep the result on disk as :class:`KernelCache` says.

    The GIL is released while it runs, and a division by zero gives ∞ or NaN.

    Args:
        function: What numba can compile. Left out, a decorator is returned.
        fastmath: What LLVM may do to floating-point operations: :data:`SUMS`, :data:`SIGNED_SUMS`, or nothing.
        **flags: Others of ``numba.njit``, such as ``inline``.
    """
    if function is None:
        return lambda decorated: kernel(decorated, fastmath=fastmath, **flags)
    if not compiles():
        return _interpreted(function)
    flags = {"error_model": "numpy", "nogil": True, "pipeline_class": _Compiler, **flags}
    if fastmath:
        flags["fastmath"] = set(fastmath)
    compiled: Any = njit(**flags)(function)
    compiled._cache = KernelCache(compiled)  # where cache=True puts numba's own, which knows only the kernel's own file
    return compiled


def instruction(plain: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """Decorate the definition of a numba intrinsic; where nothing is compiled, ``plain`` stands in its place."""
    return intrinsic if compiles() else lambda _: plain


def _interpreted(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` in plain Python, whose NumPy numbers overflow and divide by zero without a warning as compiled ones do."""
    return np.errstate(all="ignore")(function)


class _Library(JITCodeLibrary):
    """The machine code of one kernel, which calls its own copies of the kernels that it calls.

    numba leaves those copies visible, and a process links all calls of one name to the copy it loaded first. Copies that
    were optimized in different callers round differently, so a result would depend on which kernels came from disk.
    """

    def _optimize_final_module(self) -> None:
        super()._optimize_final_module()
        for function in self._final_module.functions:
            if not function.is_declaration and function.linkage == Linkage.linkonce_odr:
                function.linkage = "internal"


class _Compiler(Compiler):
    """numba's, with code in a :class:`_Library`."""

    def define_pipelines(self) -> Any:
        library = _Library(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        library.enable_object_caching()  # it is kept on disk
        self.state.library = library
        return super().define_pipelines()
