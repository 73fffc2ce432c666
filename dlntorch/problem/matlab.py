"""Numeric arrays out of MATLAB files, level 4 and level 5 (v5 to v7), in plain Python.

scipy.io.loadmat is not used: on files with a few wrong bytes it reads out of bounds and takes the process down.
Here every length is compared with what is there before it is used, nothing but real numeric arrays, full or sparse, is
built, and a compressed variable is unpacked only up to the limit.

Source: MATLAB MAT-File Format (MathWorks); the level-4 layout is its appendix.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["MatError", "Variable", "read_variables"]

_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MATRIX, _COMPRESSED = 14, 15
_CLASSES = ["", "cell", "struct", "object", "char", "sparse", "double", "single", "int8", "uint8", "int16", "uint16"]
_CLASSES += ["int32", "uint32", "int64", "uint64", "function", "opaque"]
_NOT_NUMBERS = {"", "cell", "struct", "object", "char", "function", "opaque"}
_COMPLEX, _LOGICAL = 0x0800, 0x0200
_HEAD = 4096  # bytes of a compressed variable that are unpacked to learn its name
_LEVEL4 = {0: "f8", 1: "f4", 2: "i4", 3: "i2", 4: "u2", 5: "u1"}


class MatError(Exception):
    """Why a file or a variable of it cannot be read, as the end of a message."""


@dataclass(frozen=True)
class Variable:
    """One variable of a file: its name, its MATLAB class, its shape, and its values where they were asked for."""

    name: str
    kind: str
    shape: tuple[int, ...]
    value: np.ndarray | None = None


def read_variables(data: bytes, wanted: tuple[str, ...], limit: int) -> dict[str, Variable]:
    """All variables of a file by name; only the ``wanted`` ones have values.

    Args:
        data: The file.
        wanted: Names of real numeric arrays.
        limit: Largest dense float64 size of one of them, in bytes.

    Raises:
        MatError: the file is malformed, or a wanted variable is not a real numeric array or is too large.
    """
    found: dict[str, Variable] = {}
    try:
        level5 = len(data) >= 128 and data[126:128] in (b"IM", b"MI") and 0 not in data[:4]
        for variable in (_level5 if level5 else _level4)(data, wanted, limit):
            if variable.name in found:
                raise MatError(f"it has two variables {variable.name[:40]!r}")
            found[variable.name] = variable
    except (struct.error, ValueError, zlib.error) as error:
        raise MatError(f"it is not a sound MATLAB file ({error})") from None
    return found


def _check_size(name: str, shape: tuple[int, ...], limit: int) -> int:
    """The number of entries of a variable of this shape, which must fit."""
    if len(shape) < 2 or any(extent < 0 for extent in shape):
        raise MatError(f"{name} declares the shape {shape}")
    size = 8 * math.prod(shape)
    if size > limit:
        raise MatError(f"{name} takes {size} bytes, more than the limit max_bytes = {limit}")
    return size // 8


def _check_numeric(name: str, kind: str, is_complex: bool) -> None:
    if kind in _NOT_NUMBERS:
        raise MatError(f"{name} must be a numeric array, got a MATLAB {kind or 'unknown'}")
    if is_complex:
        raise MatError(f"{name} must be real, got a complex array")


# -- level 5 ----------------------------------------------------------------------------------------------------------


class _Elements:
    """Reads one tagged element after the other from a buffer."""

    def __init__(self, buffer: bytes | memoryview, order: str) -> None:
        self.buffer, self.order, self.at = memoryview(buffer), order, 0

    def next(self, *, pad: bool = True) -> tuple[int, memoryview]:
        """The type and the bytes of the next element; small elements carry theirs inside the tag."""
        first = struct.unpack_from(f"{self.order}I", self.buffer, self.at)[0]
        if first >> 16:
            kind, size, start, self.at = first & 0xFFFF, first >> 16, self.at + 4, self.at + 8
            if size > 4:
                raise MatError("it is not a sound MATLAB file (a small element is longer than 4 bytes)")
        else:
            kind, size = first, struct.unpack_from(f"{self.order}I", self.buffer, self.at + 4)[0]
            start = self.at + 8
            self.at = start + size + (-size % 8 if pad else 0)
        if start + size > len(self.buffer):
            raise MatError("it is not a sound MATLAB file (an element ends behind the end)")
        return kind, self.buffer[start : start + size]

    def numbers(self, as_bytes: tuple[int, ...] = ()) -> np.ndarray:
        """The next element as a vector of numbers; one of so many bytes holds bytes, whatever type it declares.

        MATLAB writes the values of a sparse logical matrix as bytes under the type of doubles.
        """
        kind, data = self.next()
        if kind not in _STORED:
            raise MatError(f"it is not a sound MATLAB file (element type {kind} where numbers are expected)")
        return np.frombuffer(data, dtype="u1" if len(data) in as_bytes else self.order + _STORED[kind])


def _level5(data: bytes, wanted: tuple[str, ...], limit: int) -> Iterator[Variable]:
    order = "<" if data[126:128] == b"IM" else ">"
    elements = _Elements(memoryview(data)[128:], order)
    while elements.at < len(elements.buffer):
        kind, body = elements.next(pad=False)  # a compressed variable is not padded, the others are by themselves
        if kind == _COMPRESSED:
            # The first bytes give the name, class and shape; the rest is unpacked only for a wanted variable.
            head = zlib.decompressobj().decompress(body, _HEAD)
            if _describe(head[8:], order)[0].name in wanted:
                body = _unpacked(body, order, limit)
            else:
                body = head[8:]
        elif kind != _MATRIX:
            continue
        variable, flags, inner = _describe(body, order)
        if variable.name in wanted:
            yield _with_value(variable, flags, inner, limit)
        else:
            yield variable


def _unpacked(body: memoryview, order: str, limit: int) -> bytes:
    """The inside of the one matrix element in a compressed one, checked against its checksum."""
    stream = zlib.decompressobj()
    most = 2 * limit + _HEAD  # a sparse variable stores an index beside each value
    data = stream.decompress(body, most)
    if not stream.eof:
        reason = "more than max_bytes allows" if len(data) >= most else "incomplete"
        raise MatError(f"it has a compressed variable that is {reason}")
    kind, inner = _Elements(data, order).next()
    if kind != _MATRIX:
        raise MatError("it is not a sound MATLAB file (a compressed element is no array)")
    return bytes(inner)


def _describe(body: bytes | memoryview, order: str) -> tuple[Variable, int, _Elements]:
    """Name, class and shape of an array element, its flags, and the elements that follow."""
    inner = _Elements(body, order)
    found = inner.numbers()
    if found.size == 0:
        raise MatError("it is not a sound MATLAB file (an array without flags)")
    flags = int(found[0])
    code = flags & 0xFF
    kind = _CLASSES[code] if code < len(_CLASSES) else ""
    shape = () if kind == "opaque" else tuple(int(extent) for extent in inner.numbers())
    name = bytes(inner.next()[1]).decode("utf-8", "replace")
    return Variable(name, kind, shape), flags, inner


def _with_value(variable: Variable, flags: int, inner: _Elements, limit: int) -> Variable:
    """The variable with its values, from the elements behind its name."""
    name, shape = variable.name, variable.shape
    _check_numeric(name, variable.kind, bool(flags & _COMPLEX))
    count = _check_size(name, shape, limit)
    if variable.kind == "sparse":
        rows, starts = inner.numbers(), inner.numbers()
        # A logical matrix has a byte for each row index, or for each of those that are used.
        as_bytes = (rows.size, *map(int, starts[-1:])) if flags & _LOGICAL else ()
        value = _dense(name, shape, rows, starts, inner.numbers(as_bytes))
    else:
        flat = inner.numbers()
        if flat.size != count:
            raise MatError(f"{name} declares {count} entries and has {flat.size}")
        value = flat.reshape(shape, order="F")
    return Variable(name, variable.kind, shape, value)


def _dense(name: str, shape: tuple[int, ...], rows: np.ndarray, starts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A compressed-column matrix as a full one, its indices checked."""
    m, n = shape[:2]
    sound = (
        len(shape) == 2
        and rows.dtype.kind in "iu"
        and starts.dtype.kind in "iu"
        and starts.size == n + 1
        and int(starts[0]) == 0
        and bool(np.all(starts[1:] >= starts[:-1]))
        and int(starts[-1]) <= min(rows.size, values.size)
    )
    if not sound:
        raise MatError(f"{name} is a sparse array whose column starts are not sound")
    used = int(starts[-1])
    columns = np.repeat(np.arange(n), starts[1:].astype(np.int64) - starts[:-1].astype(np.int64))
    return _filled(name, (m, n), rows[:used].astype(np.int64), columns, values[:used])


def _filled(name: str, shape: tuple[int, int], rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A full matrix from row and column indices; repeated ones add."""
    for index, extent in ((rows, shape[0]), (columns, shape[1])):
        if index.size and (index.min() < 0 or index.max() >= extent):
            raise MatError(f"{name} is a sparse array with an index outside its shape {shape}")
    dense = np.zeros(shape)
    np.add.at(dense, (rows, columns), values.astype(np.float64))
    return dense


# -- level 4 ----------------------------------------------------------------------------------------------------------


def _level4(data: bytes, wanted: tuple[str, ...], limit: int) -> Iterator[Variable]:
    at = 0
    while at < len(data):
        order = "<" if 0 <= struct.unpack_from("<i", data, at)[0] < 1000 else ">"
        code, m, n, imaginary, length = struct.unpack_from(f"{order}5i", data, at)
        machine, kind, stored = code // 1000, code % 10, _LEVEL4.get(code // 10 % 10)
        sound = machine == (order == ">") and code // 100 % 10 == 0 and kind in (0, 1, 2) and stored is not None
        if not sound or min(m, n, length) < 0 or imaginary not in (0, 1):
            raise MatError("it is not a sound MATLAB file (no header of level 4 or 5)")
        name = data[at + 20 : at + 20 + length].split(b"\0")[0].decode("utf-8", "replace")
        start = at + 20 + length
        dtype = np.dtype(f"{order}{stored}")
        size = m * n * dtype.itemsize
        at = start + size * (1 + imaginary)
        if at > len(data):
            raise MatError("it is not a sound MATLAB file (a variable ends behind the end)")
        variable = Variable(name, ("double", "char", "sparse")[kind], (m, n))
        if name in wanted:
            _check_numeric(name, variable.kind, bool(imaginary))
            _check_size(name, (m, n), limit)
            flat: Any = np.frombuffer(data, dtype, count=m * n, offset=start)
            table = flat.reshape((m, n), order="F")
            value = _triples(name, table, limit) if kind == 2 else table
            variable = Variable(name, variable.kind, value.shape, value)
        yield variable


def _triples(name: str, table: np.ndarray, limit: int) -> np.ndarray:
    """A level-4 sparse matrix: rows (i, j, value) counted from one, and last the shape."""
    if table.shape[1] == 4:
        raise MatError(f"{name} must be real, got a complex array")
    if table.shape[0] < 1 or table.shape[1] != 3 or not np.all(np.isfinite(table[:, :2])):
        raise MatError(f"{name} is a sparse array that is not sound")
    shape = int(table[-1, 0]), int(table[-1, 1])
    _check_size(name, shape, limit)
    index = table[:-1, :2].astype(np.int64) - 1
    return _filled(name, shape, index[:, 0], index[:, 1], table[:-1, 2])
