"""Reading a run folder that may be damaged, or come from somebody else: numbers, text and nothing that could act."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dlntorch.numerics.validation import InputError
from dlntorch.problem.formats import MAX_BYTES, FileProblem, one_line, read_arrays

__all__ = ["DAMAGE", "array_limit", "read_arrays_of", "read_json", "read_yaml", "refuse_damage"]

#: What a file that is not as this program writes it leads to.
DAMAGE = (
    ArithmeticError,
    AttributeError,
    FileProblem,
    LookupError,
    OSError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
    csv.Error,
    yaml.YAMLError,
)


@contextlib.contextmanager
def refuse_damage(what: str, folder: str | Path) -> Iterator[None]:
    """Turn every consequence of a damaged file into one line: "folder must hold ``what``, got …".

    Raises:
        InputError: where anything inside went wrong.
    """
    try:
        yield
    except DAMAGE as error:
        why = str(error) if isinstance(error, InputError | FileProblem) else f"{type(error).__name__}: {error}"
        raise InputError(f"folder must hold {what}, got {str(folder)!r} ({one_line(why)})") from None


def read_json(file: Path) -> dict[str, Any]:
    """A mapping in JSON."""
    return _mapping(file, json.loads(file.read_text()))


def read_yaml(file: Path) -> dict[str, Any]:
    """A mapping in YAML, of plain values: tags that would make objects are refused."""
    return _mapping(file, yaml.safe_load(file.read_text()))


def _mapping(file: Path, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{file.name} must be a mapping, got {type(value).__name__}")
    return value


def array_limit(file: Path) -> int:
    """What the arrays of a file of ours may take: our own files are not compressed, however large they are."""
    return max(MAX_BYTES, 2 * file.stat().st_size)


def read_arrays_of(file: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz by name; never a pickle."""
    return read_arrays(file, array_limit(file))
