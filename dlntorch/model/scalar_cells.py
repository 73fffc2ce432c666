"""Scalar functions of one coordinate, a user's own, as the kernels that the compiled loop calls."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from numba.core import types
from numba.core.errors import NumbaError
from numba.cpython.unsafe.tuple import tuple_setitem
from numba.extending import is_jitted
from torch import Tensor

from dlntorch.model.cells import CellKernels, CompiledCell, ScalarCell
from dlntorch.model.parametrization import Parametrization
from dlntorch.model.stored_slopes import keep, larger, propose_with, stored_at
from dlntorch.numerics.compiling import compiles, kernel
from dlntorch.numerics.validation import InputError

__all__ = ["check_cell", "compiled_scalars"]


def _replaced(entries: tuple[float, ...], place: int, value: float) -> tuple[float, ...]:
    return (*entries[:place], float(value), *entries[place + 1 :])


#: Points of the check, relative tolerance, and what a function returns by the number of its result's dimensions.
_CHECKED, _TOLERANCE = 3, 1e-9
_SHAPES = ("a float", "a tuple of width floats", "a tuple of width tuples of width floats")
_set_entry: Any = tuple_setitem if compiles() else _replaced


def compiled_scalars(parametrization: Parametrization, cell: ScalarCell) -> CompiledCell:
    """The cell of ψ_i = value(θ_{·i}).

    Raises:
        InputError: in one line, where numba does not compile a function, or its result is not of floats.
    """
    width, numbers = parametrization.width, tuple(map(float, cell.numbers))
    row = types.UniTuple(types.float64, width)
    kinds = {"value": types.float64, "slope": row, "curvature": types.UniTuple(row, width)}
    parts = []
    for name, kind in kinds.items():
        function = _jitted(getattr(cell, name))
        if function is not None and compiles():
            _compile(f"{parametrization.name}.cell().{name}", function, (row, *[types.float64] * len(numbers)), kind)
        parts.append(function)
    return CompiledCell(_kernels(*parts, width, parametrization.positive), numbers)


def _compile(who: str, function: Any, given: tuple[Any, ...], kind: Any) -> None:
    """Compile a function for these types, and refuse one whose result is of another than ``kind``."""
    try:
        function.compile(given)
    except NumbaError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise InputError(f"{who} must be what numba compiles, got {' '.join(lines[:3])}") from None
    found = function.overloads[given].signature.return_type
    if found != kind:
        raise InputError(f"{who} must return floats, as numba sees it {kind}, got {found}")


def check_cell(parametrization: Parametrization, cell: ScalarCell, theta: Tensor) -> None:
    """Compare a cell's functions with the parametrization's methods at a few points near ``theta`` (width, n).

    Raises:
        InputError: in one line, where a function fails, or its result has another shape or other values.
    """
    width = theta.shape[0]
    near = theta.detach().double()[:, :_CHECKED]
    pattern = 0.5 + (torch.arange(near.numel(), dtype=torch.float64) * 0.6180339887498949 % 1.0).reshape(near.shape)
    points = torch.cat([near + 0.1 * near.abs().clamp_min(1e-3) * pattern, pattern], dim=1)
    with torch.no_grad():
        expected = {
            "value": parametrization.value(points),
            "slope": parametrization.slope(points).mT,
            "curvature": parametrization.curvature(points).permute(2, 0, 1),
        }
    for name, of_torch in expected.items():
        function: Any = getattr(cell, name)
        if function is None:
            continue
        plain, shape = getattr(function, "py_func", function), (width,) * (of_torch.dim() - 1)
        for point, right in zip(points.mT.tolist(), of_torch, strict=True):
            _compare(f"{parametrization.name}.cell().{name}", plain, (tuple(point), *cell.numbers), right, shape)


def _compare(who: str, function: Any, given: tuple[Any, ...], right: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse a function whose result at one point is not ``right``."""
    try:
        found = np.asarray(function(*given), dtype=np.float64)
    except Exception as error:  # a user's function may raise anything
        raise InputError(f"{who} must take a tuple of parameters and the numbers, got {error}") from None
    if found.shape != shape:
        raise InputError(f"{who} must return {_SHAPES[len(shape)]}, got shape {found.shape}")
    expected = right.numpy()
    if not np.abs(found - expected).max() <= _TOLERANCE * np.abs(expected).max():
        raise InputError(
            f"{who} must be what the method is, got {found.tolist()} instead of {expected.tolist()} at theta = {given[0]}"
        )


@cache
def _jitted(function: Callable[..., Any] | None) -> Any:
    """The function as numba has it; one that a user has compiled is left as it is."""
    return function if function is None or is_jitted(function) else kernel(function)


@cache
def _kernels(value: Any, slope: Any, curvature: Any, width: int, positive: bool) -> CellKernels:
    zeros = (0.0,) * width

    @kernel(inline="always")
    def column(theta, i):
        """θ_{·i} as a tuple, in float64."""
        point = zeros
        for j in range(width):
            point = _set_entry(point, j, float(theta[j, i]))
        return point

    @kernel
    def represent(numbers, theta, scratch, psi, first):
        for i in range(psi.size):
            point = column(theta, i)
            psi[i] = value(point, *numbers)
            derivative = slope(point, *numbers)
            for j in range(width):
                scratch.slope[j, i] = derivative[j]

    if curvature is None:
        return CellKernels(represent, _no_limits, propose_with(positive), keep, stored_at, _not_bent)

    @kernel
    def limits(numbers, theta, scratch, g, squared_norm):
        """(ρ, Λ) of ``Parametrization.limits``, from the same maxima as ``Parametrization.extremes``."""
        rho, top, bent = 0.0, 0.0, 0.0
        for i in range(g.size):
            second = curvature(column(theta, i), *numbers)
            size, steep, square, most = 0.0, 0.0, 0.0, 0.0
            for j in range(width):
                derivative, parameter = float(scratch.slope[j, i]), abs(float(theta[j, i]))
                steep += derivative * derivative
                change = abs(derivative * g[i])
                if positive and change != 0.0:
                    change /= parameter
                most, size = larger(change, most), max(size, parameter)
                for k in range(width):
                    square += second[j][k] * second[j][k]
            bend = math.sqrt(square)
            if not positive and most != 0.0:
                most /= max(size, math.sqrt(steep) / bend)  # ∞ where nothing bends
            rho, top, bent = larger(most, rho), larger(steep, top), larger(bend * abs(float(g[i])), bent)
        return rho, squared_norm * top + bent

    @kernel
    def bend(numbers, theta, scratch, g, v, out):
        """g ∘ (∇²G v)."""
        for i in range(g.size):
            second = curvature(column(theta, i), *numbers)
            for j in range(width):
                total = 0.0
                for k in range(width):
                    total += second[j][k] * v[k, i]
                out[j, i] = g[i] * total

    return CellKernels(represent, limits, propose_with(positive), keep, stored_at, bend)


@kernel
def _no_limits(numbers, theta, scratch, g, squared_norm):
    """The engine refuses the rule that needs them."""
    return math.nan, math.nan


@kernel
def _not_bent(numbers, theta, scratch, g, v, out):
    """Likewise."""
