"""What an object of a user's is, in plain values: its class and its numbers, so that two with other numbers are told apart."""

from __future__ import annotations

import enum
import functools
import hashlib
import math
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch

__all__ = ["Description", "described"]

#: Objects inside objects are described so deep.
DEEPEST = 8
#: Whose classes are known by their path: the code of the package has a version of its own.
LIBRARIES = ("abc", "builtins", "dlntorch", "enum", "numpy", "torch", "typing")
#: How the functions that ``dataclasses`` makes are called.
MADE_BY_DATACLASSES = "__create_fn__"
#: Flag of classes that Python code has made (CPython's Py_TPFLAGS_HEAPTYPE).
HEAP_TYPE = 1 << 9
#: Arrays of so many entries are described by them, larger ones by a digest.
LISTED = 16


class Description:
    """Describes objects, and remembers what it could not describe.

    Attributes:
        unknown: What of the objects is not seen, in words: two that differ there alone have one description.
    """

    def __init__(self) -> None:
        self.unknown: list[str] = []
        self._inside: list[int] = []

    def of(self, thing: Any) -> Any:
        """A thing as numbers, words, lists and dictionaries, the same for equal things."""
        if thing is None or isinstance(thing, bool | int | str):
            return thing
        if isinstance(thing, float):
            return thing if math.isfinite(thing) else str(thing)
        if isinstance(thing, torch.Tensor | np.ndarray | np.generic):
            return self._array(thing)
        if isinstance(thing, torch.dtype | torch.device | complex | bytes | Path | enum.Enum | slice | range):
            return repr(thing)
        if isinstance(thing, type):
            return self._class(thing)
        if id(thing) in self._inside or len(self._inside) >= DEEPEST:
            return self._give_up(thing, "refers to itself" if id(thing) in self._inside else "is too deep")
        self._inside.append(id(thing))
        try:
            return self._compound(thing)
        finally:
            self._inside.pop()

    def _compound(self, thing: Any) -> Any:
        if isinstance(thing, Mapping):
            return {str(key): self.of(value) for key, value in sorted(thing.items(), key=lambda item: str(item[0]))}
        if isinstance(thing, Set):
            return sorted((self.of(item) for item in thing), key=repr)
        if isinstance(thing, Sequence) and type(thing) in (list, tuple):
            return [self.of(item) for item in thing]
        if isinstance(thing, functools.partial):
            return {"partial": self.of(thing.func), "args": self.of(thing.args), "keywords": self.of(thing.keywords)}
        if isinstance(thing, MethodType):
            return {"method": thing.__func__.__qualname__, "of": self.of(thing.__self__)}
        if isinstance(thing, FunctionType):
            return self._function(thing)
        if isinstance(thing, BuiltinFunctionType):
            return _path(thing)
        return self._object(thing)

    def _array(self, values: Any) -> Any:
        array = np.asarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values)
        if array.dtype == object:
            return self._give_up(values, "holds objects")
        if array.size <= LISTED:
            return [str(array.dtype), repr(array.tolist())]
        return [str(array.dtype), list(array.shape), hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()]

    def _function(self, function: FunctionType) -> Any:
        """Name, code and defaults; of a lambda or a function in a function also what it has of its surroundings."""
        found: dict[str, Any] = {"function": _path(function), "code": _digest_of(function.__code__)}
        for name in ("__defaults__", "__kwdefaults__"):
            if getattr(function, name):
                found[name.strip("_")] = self.of(getattr(function, name))
        if function.__closure__:
            found["closure"] = [self.of(_contents(cell)) for cell in function.__closure__]
        if "<" in function.__qualname__ and not function.__qualname__.startswith(MADE_BY_DATACLASSES):
            self.unknown.append(
                f"{function.__qualname__} has no import path: of what it uses only its own variables are seen"
            )
        return found

    def _object(self, thing: Any) -> Any:
        """Class and attributes: what its constructor has left in it."""
        values = dict(getattr(thing, "__dict__", {}))
        for kind in type(thing).__mro__:
            slots = kind.__dict__.get("__slots__", ())
            names = (slots,) if isinstance(slots, str) else slots
            values |= {name: getattr(thing, name) for name in names if name not in values and hasattr(thing, name)}
        if not values and type(thing).__module__ != "builtins" and type(thing).__repr__ is not object.__repr__:
            return [self._class(type(thing)), repr(thing)]
        if not values and not type(thing).__flags__ & HEAP_TYPE:
            return self._give_up(thing, "shows no attributes")
        return {"class": self._class(type(thing)), **{key: self.of(value) for key, value in sorted(values.items())}}

    def _class(self, kind: type) -> Any:
        """A class by its path; one of the user's also by the code of its methods, with what they have of their surroundings."""
        if id(kind) in self._inside:  # a method that names its own class
            return _path(kind)
        self._inside.append(id(kind))
        methods = {
            f"{_path(one)}.{name}": self._function(member)
            for one in kind.__mro__
            if one.__module__.split(".")[0] not in LIBRARIES
            for name, member in vars(one).items()
            if isinstance(member, FunctionType)
        }
        self._inside.pop()
        return [_path(kind), methods] if methods else _path(kind)

    def _give_up(self, thing: Any, why: str) -> str:
        name = _path(type(thing))
        self.unknown.append(f"{name} {why}")
        return name


def described(thing: Any) -> Any:
    """What a thing is, in plain values."""
    return Description().of(thing)


def _path(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _digest_of(code: CodeType) -> str:
    """A digest of what a function does: its instructions, with its constants and names."""
    digest = hashlib.sha256(code.co_code)
    for constant in code.co_consts:
        digest.update((_digest_of(constant) if isinstance(constant, CodeType) else repr(constant)).encode())
    digest.update(repr(code.co_names).encode())
    return digest.hexdigest()[:16]
