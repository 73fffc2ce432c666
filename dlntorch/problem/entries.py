"""A and y as they are given: finite, real tensors of the right shape, checked without memory to speak of."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.numerics.validation import InputError, as_real_array, check_real, check_unmasked

__all__ = ["as_real_tensor", "blocks", "rounded"]

#: A is checked in blocks of about so many entries, so that checking needs no memory to speak of.
BLOCK_ENTRIES = 2**22


def rounded(name: str, number: Fraction) -> float:
    """The float nearest to an exact number."""
    try:
        return float(number)
    except OverflowError:
        digits = round((number.numerator.bit_length() - number.denominator.bit_length()) * 0.30103)
        raise InputError(f"{name} must be within the range of float64, got about 10^{digits}") from None


def blocks(A: Tensor) -> Iterator[Tensor]:
    """The entries of a contiguous tensor in blocks of :data:`BLOCK_ENTRIES`, as views."""
    yield from A.reshape(-1).split(BLOCK_ENTRIES) if A.numel() else ()


def as_real_tensor(name: str, value: Any, ndim: int, dtype: torch.dtype, device: torch.device, copy: bool) -> Tensor:
    """``value`` as a finite, real, contiguous tensor with ``ndim`` dimensions; a copy unless ``copy`` is false."""
    check_unmasked(name, value)
    check_real(name, value)
    shape_rule = "(m, n)" if ndim == 2 else "(m,)" if name == "y" else "(n,)"
    if isinstance(value, Tensor):
        if value.layout != torch.strided:
            either = " (or a sparse_csr matrix)" if name == "A" else ""
            raise InputError(
                f"{name} must be a dense real tensor{either}, got {value.dtype} with layout {value.layout}"
            )
        tensor = value.detach().to(device=device, dtype=dtype, copy=copy).contiguous()
    else:
        array = as_real_array(name, value)
        with np.errstate(over="ignore"):  # a longdouble beyond float64 becomes inf, which is refused below
            fits = not copy and array.dtype == np.float64 and array.flags.c_contiguous and array.flags.writeable
            array = array if fits else np.array(array, dtype=np.float64, order="C")
        tensor = torch.from_numpy(array).to(dtype=dtype, device=device)
    several = name == "y" and tensor.ndim == 2 and tensor.shape[1] > 1
    if tensor.ndim != ndim and not several:
        raise InputError(f"{name} must have shape {shape_rule}, got shape {tuple(tensor.shape)}")
    for number, block in enumerate(blocks(tensor)):
        finite = torch.isfinite(block)
        if not bool(finite.all()):
            first = int(torch.nonzero(~finite)[0]) + number * BLOCK_ENTRIES
            where = ", ".join(str(int(i)) for i in np.unravel_index(first, tuple(tensor.shape)))
            raise InputError(f"{name} must be finite, got {float(tensor.reshape(-1)[first])} at [{where}]")
    return tensor
