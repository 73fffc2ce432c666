"""A parametrization as the compiled loop has it: kernels over all coordinates, and the numbers that they take.

The loop of :mod:`dlntorch.engine.kernels` knows no ψ. It calls the five kernels of a :class:`CompiledCell` and is compiled for
them; a cell's numbers, as the depth p, are arguments, so that one compiled loop serves all depths.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from dlntorch.model.parametrization import Parametrization
from dlntorch.numerics.aligned import aligned_empty

__all__ = ["CellKernels", "CompiledCell", "ScalarCell", "Scratch", "compiled_cell", "is_compiled", "own_cell"]


class Scratch(NamedTuple):
    """What a cell's kernels share within a step, of θ's type.

    Attributes:
        slope: (width, n), the cell's own.
        growth: (width, n), the cell's own.
        base: (width, n), the cell's own.
        flat: θ, growth and base as vectors (width·n,), views: to reshape them at every step takes time.
    """

    slope: np.ndarray
    growth: np.ndarray
    base: np.ndarray
    flat: tuple[np.ndarray, np.ndarray, np.ndarray]

    @classmethod
    def beside(cls, theta: np.ndarray) -> Scratch:
        """That of a contiguous θ (width, n)."""
        slope, growth, base = (aligned_empty(theta.shape, theta.dtype) for _ in range(3))
        return cls(slope, growth, base, (theta.reshape(-1), growth.reshape(-1), base.reshape(-1)))


class CellKernels(NamedTuple):
    """Compiled kernels of one parametrization; a cell's numbers come first in each, then θ (width, n) and a :class:`Scratch`.

    Attributes:
        represent: (…, psi, first): ψ (n,) from θ; ``first`` at the first step of a call, where what never changes is
            written. What the others need of θ is kept in the scratch.
        limits: (…, g, squared_norm) -> (ρ, Λ), those of ``Parametrization.limits``.
        propose: (…, g, eta, new): new = θ + η ∇G(θ) ∘ g; whether it is finite, and positive where it has to be.
        fill: (…): what ``slope_at`` reads.
        slope_at: (…, j, i) -> ∂ψ_i/∂θ_{ji} divided by the cell's scale.
        bent: (…, g, v, out): out = g ∘ (∇²G v), all (width, n).
    """

    represent: Any
    limits: Any
    propose: Any
    fill: Any
    slope_at: Any
    bent: Any


class CompiledCell(NamedTuple):
    """A compiled cell.

    Attributes:
        kernels: What the loop is compiled for.
        numbers: A typed record, which they are called with.
        scale: What slopes are multiplied by.
    """

    kernels: CellKernels
    numbers: Any
    scale: float = 1.0


class ScalarCell(NamedTuple):
    """A compiled cell as a user brings it: scalar functions of one coordinate, which numba compiles.

    Args:
        value: (theta, *numbers) -> ψ_i, for a tuple theta of the coordinate's ``width`` parameters.
        slope: (theta, *numbers) -> the tuple of the ``width`` derivatives.
        curvature: (theta, *numbers) -> a tuple of ``width`` rows, tuples too; without it only ``schedule=constant`` is
            compiled.
        numbers: Floats that the functions take after theta: one compiled loop serves all their values.
    """

    value: Callable[..., Any]
    slope: Callable[..., Any]
    curvature: Callable[..., Any] | None = None
    numbers: tuple[float, ...] = ()


#: Step rules that need more of a cell than ψ and its slopes.
_CURVED = frozenset({"relative", "stable"})


def own_cell(parametrization: Parametrization) -> CompiledCell | ScalarCell | None:
    """The cell that a parametrization brings; None where a subclass has another ψ than the class that brought the cell."""
    order = type(parametrization).__mro__
    owner = {name: next(k for k, kind in enumerate(order) if name in vars(kind)) for name in ("cell", "value", "slope")}
    return None if owner["cell"] > min(owner["value"], owner["slope"]) else parametrization.cell()


def is_compiled(parametrization: Parametrization, rule: str) -> bool:
    """Whether a parametrization brings all that the compiled loop takes for a step rule."""
    cell = own_cell(parametrization)
    if not isinstance(cell, ScalarCell) or rule not in _CURVED:
        return cell is not None
    kind, base = type(parametrization), Parametrization
    return cell.curvature is not None and kind.limits is base.limits and kind.extremes is base.extremes


def compiled_cell(parametrization: Parametrization, theta: Tensor) -> CompiledCell:
    """The cell for a parametrization whose parameters are ``theta`` (width, n), after a look at a user's functions.

    Raises:
        InputError: in one line, where a function of the cell is not what the parametrization's method is.
    """
    cell = own_cell(parametrization)
    if cell is None:
        raise RuntimeError("the engine has refused what it does not run")
    if not isinstance(cell, ScalarCell):
        return cell
    from dlntorch.model.scalar_cells import check_cell, compiled_scalars

    check_cell(parametrization, cell, theta)
    return compiled_scalars(parametrization, cell)
