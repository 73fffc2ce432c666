"""What a kernel is made of, as one digest: its code and that of all it calls, in whichever files they are.

What Python has loaded is read, and not the files: a file edited while a program runs is never taken for what was compiled.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

__all__ = ["fingerprint"]

#: Known by their versions, or by Python's.
_LIBRARIES = frozenset({"llvmlite", "numba", "numpy", *sys.stdlib_module_names})


def fingerprint(kernel: Any) -> str:
    """The digest of a compiled function: code, constants, defaults, closure, compiler flags and globals, callees included.

    Args:
        kernel: numba's dispatcher, or a plain function.

    Raises:
        TypeError: It reads a global whose value cannot be told from another's.
    """
    reader = _Reader()
    reader.read(kernel)
    return reader.digest.hexdigest()


class _Reader:
    """Feeds a digest with values. A function that was met before is told by its number: calls may go in circles."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self._met: dict[int, Any] = {}  # the values stay alive: no id is given twice

    def read(self, value: Any) -> None:
        """Feed the digest with all of ``value`` that compiled code can depend on."""
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            self._feed(type(value).__qualname__, value)
        elif isinstance(value, tuple | frozenset):
            self._feed(type(value).__qualname__, len(value))
            for entry in value if isinstance(value, tuple) else sorted(value, key=repr):
                self.read(entry)
        elif isinstance(value, np.ndarray):
            self._feed("array", value.dtype.str, value.shape, value.tobytes())
        elif isinstance(value, CodeType):
            self._feed("code", value.co_code, value.co_names, value.co_varnames[: value.co_argcount], value.co_flags)
            self.read(value.co_consts)
        elif isinstance(value, ModuleType):
            self._feed("module", value.__name__)
        elif _of_library(value) and hasattr(value, "__qualname__"):
            self._feed("library", value.__module__, value.__qualname__)
        else:
            self._read_once(value)

    def _read_once(self, value: Any) -> None:
        if self._is_met(value):
            return
        function = value if isinstance(value, FunctionType) else getattr(value, "__wrapped__", None)
        if isinstance(function, FunctionType):  # a plain one, or that of a dispatcher or an intrinsic
            flags = getattr(value, "targetoptions", {})
            self._feed(type(value).__qualname__, sorted((name, _ordered(flag)) for name, flag in flags.items()))
            self._read_function(function)
            return
        try:
            self._feed(type(value).__qualname__, pickle.dumps(value))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TypeError(f"a kernel that reads {value!r} cannot be told from another") from error

    def _read_function(self, function: FunctionType) -> None:
        self._feed("home", function.__module__)  # by which a kept kernel finds what it calls
        self.read(function.__code__)
        self.read(function.__defaults__)
        self.read(tuple(cell.cell_contents for cell in function.__closure__ or ()))
        self._read_names(function.__globals__, sorted(set(_names(function.__code__))))

    def _read_names(self, values: dict[str, Any], names: list[str]) -> None:
        """Those of ``names`` that have a value, and what is looked up in a module; names of attributes do no harm."""
        for name in names:
            if name in values:
                self._feed("name", name)
                self.read(values[name])
                module = values[name]
                if isinstance(module, ModuleType) and not _of_library(module) and not self._is_met(module):
                    self._read_names(vars(module), names)

    def _is_met(self, value: Any) -> bool:
        """Whether ``value`` was read before; if so, its place among those read is fed instead of it."""
        if id(value) in self._met:
            self._feed("met", list(self._met).index(id(value)))
            return True
        self._met[id(value)] = value
        return False

    def _feed(self, *parts: Any) -> None:
        self.digest.update(repr(parts).encode())


def _names(code: CodeType) -> Iterator[str]:
    """The names that ``code`` looks up, functions inside it included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _of_library(value: Any) -> bool:
    home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return str(home).partition(".")[0] in _LIBRARIES


def _ordered(flag: Any) -> Any:
    return sorted(flag) if isinstance(flag, set | frozenset) else flag
