"""Checks of what a user passes in: one line that names the argument, the rule and the value.

Every check raises :class:`InputError`, a ``ValueError``, which the command line turns into exit status 2. Numerical
outcomes (a run that diverges, a tolerance that is not met) are never errors: they are a
:class:`~dlntorch.numerics.trajectory.Status`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

__all__ = [
    "DataWarning",
    "InputError",
    "NoPlan",
    "as_real_array",
    "check_alpha",
    "check_choice",
    "check_count",
    "check_depth",
    "check_device",
    "check_dtype",
    "check_flag",
    "check_number",
    "check_real",
    "check_times",
    "check_unmasked",
]


class InputError(ValueError):
    """A user's mistake: the message names the argument, the rule and the value in one line."""


class NoPlan(Exception):
    """No run has what was asked: the message says in one line which part cannot be had, and what can."""


class DataWarning(UserWarning):
    """Something about the user's data that they should know, and that does not stop the computation."""


def _shown(value: Any) -> str:
    """A value as it is quoted in a message: short, and on one line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def check_number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> float:
    """Return ``value`` as a finite float within the bounds, or raise :class:`InputError`.

    Args:
        name: The argument's name, as the user wrote it.
        value: A real number (``bool`` and text are refused).
        above: Exclusive lower bound.
        at_least: Inclusive lower bound.
        at_most: Inclusive upper bound.
        below: Exclusive upper bound.
    """
    bounds = [
        f"> {above:g}" if above is not None else "",
        f">= {at_least:g}" if at_least is not None else "",
        f"<= {at_most:g}" if at_most is not None else "",
        f"< {below:g}" if below is not None else "",
    ]
    rule = f"{name} must be a finite real number {' and '.join(b for b in bounds if b)}".rstrip()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"{rule}, got {_shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        raise InputError(f"{rule}, got {_shown(value)}") from None
    within = (
        math.isfinite(number)
        and (above is None or number > above)
        and (at_least is None or number >= at_least)
        and (at_most is None or number <= at_most)
        and (below is None or number < below)
    )
    if not within:
        raise InputError(f"{rule}, got {_shown(value)}")
    return number


def check_count(name: str, value: Any, *, at_least: int = 1, at_most: int | None = None) -> int:
    """Return ``value`` as an int in ``at_least … at_most``; a float with an integral value such as 1e6 is accepted."""
    upper = "" if at_most is None else f" and <= {at_most}"
    rule = f"{name} must be an integer >= {at_least}{upper}"
    integral = isinstance(value, Integral) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not integral:
        raise InputError(f"{rule}, got {_shown(value)}")
    count = int(value)
    if count < at_least or (at_most is not None and count > at_most):
        raise InputError(f"{rule}, got {_shown(value)}")
    return count


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``choices``."""
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}, got {_shown(value)}")
    return value


def check_flag(name: str, value: Any) -> bool:
    """Return ``value`` if it is a boolean."""
    if not isinstance(value, bool):
        raise InputError(f"{name} must be true or false, got {_shown(value)}")
    return value


def check_depth(p: Any) -> float:
    """Return the depth p as a float: any finite real number >= 2."""
    return check_number("p", p, at_least=2)


def check_alpha(alpha: Any) -> float:
    """Return a scalar initialization α as a float: finite and > 0."""
    return check_number("alpha", alpha, above=0)


def check_times(t: Any) -> np.ndarray:
    """Return times as a float64 vector: finite, >= 0, sorted in strictly increasing order."""
    check_unmasked("t", t)
    if isinstance(t, torch.Tensor):
        t = t.detach().cpu()  # times are where to look, not what to differentiate by
    try:
        times = np.atleast_1d(np.asarray(t, dtype=np.float64))
    except (TypeError, ValueError):
        raise InputError(f"t must be a number or a sequence of numbers, got {_shown(t)}") from None
    if times.ndim != 1 or times.size == 0:
        raise InputError(f"t must be a nonempty one-dimensional sequence, got shape {times.shape}")
    if not np.all(np.isfinite(times)) or times[0] < 0:
        raise InputError(f"t must be finite and >= 0, got {_shown(times.tolist())}")
    if np.any(np.diff(times) <= 0):
        raise InputError(f"t must be sorted in strictly increasing order, got {_shown(times.tolist())}")
    return times


def check_real(name: str, value: Any) -> None:
    """Refuse a complex tensor or array, and say what problem its real and imaginary parts make."""
    is_complex = value.is_complex() if isinstance(value, torch.Tensor) else getattr(value, "dtype", None)
    if is_complex is True or getattr(is_complex, "kind", "") == "c":
        raise InputError(
            f"{name} must be real, got complex numbers: stack A as [[Re A, -Im A], [Im A, Re A]] and y as [Re y, Im y]; "
            "the norm is then Σ|Re ψ_i| + |Im ψ_i|, another one than Σ|ψ_i|"
        )


def check_unmasked(name: str, value: Any) -> None:
    """Refuse arrays with masked entries, also within lists: their numbers would be what stands behind the mask.

    A mask that masks nothing is no reason to refuse a NumPy array. A torch ``MaskedTensor`` (known
    by its name, as importing it costs time) is always refused.
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        mask = np.ma.getmaskarray(value)
        where = ", ".join(str(int(i)) for i in np.argwhere(mask)[0])
        entries = f"{np.count_nonzero(mask)} of {value.size}, the first at [{where}]"
        raise InputError(f"{name} must have no masked entries, got {entries if where else 'one'}: fill or drop them")
    if isinstance(value, torch.Tensor) and type(value).__name__ == "MaskedTensor":
        raise InputError(f"{name} must be a tensor without a mask, got a MaskedTensor: fill its entries with to_tensor")
    if isinstance(value, list | tuple):
        for part in value:
            if not isinstance(part, float | int):
                check_unmasked(name, part)


def check_device(device: Any) -> torch.device:
    """Return a usable device, or say in one line that it is unknown or absent; ``None`` and "auto" mean the CPU."""
    if device is None or device == "auto":
        return torch.device("cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        raise InputError(f"device must be auto, cpu, cuda or cuda:N, got {_shown(device)}") from None
    if found.type not in ("cpu", "cuda"):
        raise InputError(f"device must be auto, cpu, cuda or cuda:N, got {_shown(device)}")
    if found.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device must be available, got {_shown(str(device))}: torch finds no CUDA GPU here")
    if found.type == "cuda" and found.index is not None and found.index >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise InputError(f"device must be available, got {_shown(str(device))}: torch finds {count} CUDA GPU(s) here")
    return found


def check_dtype(dtype: Any) -> torch.dtype:
    """Return float64 or float32 from a torch dtype or its name; ``None`` means float64."""
    names = {None: torch.float64, "float64": torch.float64, "float32": torch.float32}
    if dtype in (torch.float64, torch.float32):
        return dtype
    if isinstance(dtype, str | None) and dtype in names:
        return names[dtype]
    raise InputError(f"dtype must be float64 or float32, got {_shown(dtype)}")


def as_real_array(name: str, value: Any) -> np.ndarray:
    """``value`` as an array of real numbers, in its own precision and not copied where it is an array already.

    Raises:
        InputError: rows of unequal length, complex numbers, text, and what another library's array refuses.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        raise InputError(f"{name} must be a rectangular array of real numbers, got rows of unequal length") from None
    except (TypeError, RuntimeError) as error:  # what an array-like of another library says
        raise InputError(
            f"{name} must be an array of real numbers, got {type(value).__name__}: {' '.join(str(error).split())}"
        ) from None
    check_real(name, array)
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name} must be an array of real numbers, got dtype {array.dtype}")
    return array
