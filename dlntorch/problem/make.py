"""One name, one problem: what ``problem=NAME problem.KEY=VALUE`` on the command line calls."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable
from typing import Any

import torch

from dlntorch.numerics.validation import InputError
from dlntorch.problem import implicit, paper, real, synthetic
from dlntorch.problem.problem import Problem
from dlntorch.problem.readers import load_problem

__all__ = ["GENERATORS", "OF_MATRICES", "make_problem"]

GENERATORS: dict[str, Callable[..., Problem]] = {
    "gaussian": synthetic.gaussian,
    "sparse": synthetic.sparse,
    "line": paper.line,
    "plane": paper.plane,
    "random": paper.random,
    "kink": paper.kink,
    "rank_deficient": synthetic.rank_deficient,
    "ill_conditioned": synthetic.ill_conditioned,
    "diabetes": real.diabetes,
    "digits": real.digits,
    "partial_cosine": implicit.partial_cosine,
    "partial_fourier": implicit.partial_fourier,
    "sparse_csr": implicit.sparse_csr,
}
"""The generators by name; ``file`` stands beside them and reads ``path``."""

#: Names of ``problem=`` that :mod:`dlntorch.matrix.named` makes.
OF_MATRICES = ("completion", "sensing", "embedded", "two_by_two", "digits_table")

_COMMON = ("name", "path", "dtype", "device")  # make_problem's own, not passed on as a maker's arguments


def make_problem(
    name: str = "gaussian",
    *,
    path: str | os.PathLike[str] | None = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    **arguments: Any,
) -> Problem:
    """Make the problem called ``name`` with the generator's ``arguments``, or read it from ``path``.

    A path wins over the generator, whichever it is: the arguments are then checked for their names only, and the
    problem is called after the file.

    Args:
        name: One of :data:`GENERATORS`, or "file".
        path: A file for :func:`~dlntorch.problem.load_problem`, or None.
        dtype: float64 (default) or float32.
        device: Where the tensors live.
        **arguments: The generator's own arguments; with "file", those of ``load_problem``.

    Raises:
        InputError: naming the key, the rule and the value; unknown names and keys with the nearest right one.
    """
    maker = _lookup(name)
    allowed = [key for key in inspect.signature(maker).parameters if key not in _COMMON]
    for key in arguments:
        if key not in allowed:
            known = ", ".join(["path", *allowed])
            raise InputError(
                f"problem.{key} is not a key of problem {name!r}: must be one of {known}{_nearest(key, known)}"
            )
    if name == "file" and path is None:
        raise InputError("problem.path must be a file when the problem is 'file', got None")
    if path is not None:
        options = arguments if name == "file" else {}
        call = lambda: load_problem(path, dtype=dtype, device=device, **options)  # noqa: E731
    else:
        call = lambda: maker(**arguments).to(device=device, dtype=dtype)  # noqa: E731
    try:
        return call()
    except InputError as error:
        first = str(error).split(" ", 1)[0]
        if first in ("dtype", "device"):
            raise
        # "A must …" is about no key; what names an argument gets the key the user typed.
        raise InputError(f"problem.{error}" if first in ("name", "path", *allowed) else f"problem: {error}") from None
    except MemoryError:
        raise InputError("problem.m and problem.n must be small enough for A to fit in memory") from None


def _lookup(name: Any) -> Callable[..., Problem]:
    """The maker called ``name``, or one line with the names there are and the nearest."""
    if isinstance(name, str) and name == "file":
        return load_problem
    if isinstance(name, str) and name in GENERATORS:
        return GENERATORS[name]
    if isinstance(name, str) and name in OF_MATRICES:
        raise InputError(f"model must be factorization with problem={name}, whose unknown is a matrix")
    known = ", ".join([*GENERATORS, "file"])
    shown = name if isinstance(name, str) else repr(name)
    raise InputError(f"problem.name must be one of {known}, got {' '.join(shown.split())!r}{_nearest(shown, known)}")


def _nearest(word: str, known: str) -> str:
    """`` (did you mean X?)``, or nothing when no known word is near."""
    found = difflib.get_close_matches(word, known.split(", "), n=1, cutoff=0.5)
    return f" (did you mean {found[0]}?)" if found else ""
