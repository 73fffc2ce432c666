"""How the central path's kernels are run: compiled, or interpreted where a caller wants a limit or two and no compilation.

Compiling takes many seconds on a machine's first run, where the limit of one small problem takes hundredths of a second
in plain Python. Both routes do the same operations in the same order and give the same bits (tested), so that it never
matters which was taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from typing import Any

import numpy as np

from dlntorch.limit import central_path_judging as judging
from dlntorch.limit import central_path_kernels as kernels
from dlntorch.limit import curve
from dlntorch.numerics.compiling import kernel

__all__ = ["Kernels", "spare_compilation"]

#: Inner loops that may be interpreted in this process before compiling (or loading what was compiled) pays: about 2 s.
INTERPRETED_LOOPS = 3e6
_KERNELS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        curve.curve_inverses,
        curve.curve_values,
        curve.root_slopes,
        kernels.advance,
        judging.checks,
        judging.displacement,
        judging.dual,
        judging.dual_variables,
        kernels.graded_qr,
        kernels.graded_solve,
        kernels.linear_system,
        judging.perturbations,
        judging.relative_change,
        kernels.small_step,
        kernels.small_steps,
        judging.small_uncertainty,
    )
}
_sparing = ContextVar("sparing compilation", default=False)
_spent = 0.0


@contextmanager
def spare_compilation() -> Iterator[None]:
    """Inside, kernels are interpreted up to ``INTERPRETED_LOOPS``: for callers that want few limits of small problems."""
    token = _sparing.set(True)
    try:
        yield
    finally:
        _sparing.reset(token)


@cache
def compiled(name: str) -> Callable[..., Any]:
    """A kernel that is compiled when first called, and cached on disk; where Python raises it goes on with ∞ or NaN."""
    return kernel(_KERNELS[name])


class Kernels:
    """The kernels as attributes, compiled, or under :func:`spare_compilation` by the route that is cheaper so far.

    Args:
        loops: Inner loops of one call, by which interpreted calls are counted.
    """

    def __init__(self, loops: float) -> None:
        self._loops = loops

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in _KERNELS:
            raise AttributeError(name)
        if not _sparing.get() or _spent + self._loops > INTERPRETED_LOOPS:
            return compiled(name)
        return partial(self._interpreted, name)

    def _interpreted(self, name: str, *arguments: Any) -> Any:
        """Python raises where compiled code goes on with ∞: such a call is made again there, on what it was given."""
        global _spent
        _spent += self._loops
        saved = [argument.copy() if isinstance(argument, np.ndarray) else argument for argument in arguments]
        try:
            with np.errstate(divide="raise", over="raise", invalid="raise"):
                return _KERNELS[name](*arguments)
        except (ArithmeticError, ValueError):
            for argument, old in zip(arguments, saved, strict=True):
                if isinstance(argument, np.ndarray):
                    argument[...] = old
            return compiled(name)(*arguments)
