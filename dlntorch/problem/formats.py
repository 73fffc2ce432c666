"""One reader a format: each returns what the file holds under A, y and truth, or raises :class:`FileProblem`.

The files may come from anywhere, so every size a file declares is compared with a limit before memory is asked for.
"""

from __future__ import annotations

import math
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from dlntorch.problem.matlab import MatError, read_variables
from dlntorch.problem.operators.convert import FILE_KEYS

__all__ = [
    "KEPT_KEYS",
    "MAX_BYTES",
    "FileProblem",
    "check_bytes",
    "check_regular_file",
    "one_line",
    "pair_name",
    "read_arrays",
]

MAX_BYTES = 2**31
"""Default limit on the arrays of one file, unpacked, in bytes (2 GiB)."""

_CHUNK = 2**24  # bytes read at a time, so that reading A takes no second A
_REQUIRED = ("A", "y")
_KEYS = ("A", "y", "truth")
#: What the .npz of a run folder has besides: the problem's name, in UTF-8, the precision that its data had, and the noise
#: of a planted problem where it is known.
KEPT_KEYS = ("dlntorch_name", "dlntorch_precision", "dlntorch_noise")
_NUMBER_KINDS = "fiub"


class FileProblem(Exception):
    """Why a file is not a problem, as the end of a message."""


def one_line(value: Any, limit: int = 160) -> str:
    """The text of ``value`` on one line, shortened; what is not printable (a terminal would obey it) as ``?``."""
    text = "".join(c if c.isprintable() else "?" for c in " ".join(str(value).split()))
    return text if len(text) <= limit else text[: limit - 3] + "..."


def check_regular_file(file: Path) -> int:
    """Return the size of ``file`` in bytes, which must be a regular file and not empty."""
    try:
        status = os.stat(file)
    except OSError as error:
        raise FileProblem((error.strerror or type(error).__name__).lower()) from None
    if stat.S_ISDIR(status.st_mode):
        raise FileProblem("it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise FileProblem("it is not a regular file")
    if status.st_size == 0:
        raise FileProblem("it is empty")
    return status.st_size


def check_bytes(what: str, size: int, limit: int) -> None:
    """Refuse what takes more than the limit."""
    if size > limit:
        raise FileProblem(f"{what} takes {size} bytes, more than the limit max_bytes = {limit}")


def _check_keys(found: Iterable[Any], kind: str = "key") -> list[str]:
    """The keys to read out of those ``found``; the required ones must be there."""
    names = [str(key) for key in found]
    missing = [key for key in _REQUIRED if key not in names]
    if missing:
        there = one_line(", ".join(sorted(names)), 80) or "none"
        raise FileProblem(f"it has no {kind} {' and no '.join(missing)} (found: {there})")
    return [key for key in _KEYS if key in names]


def _operator_keys(found: Iterable[str]) -> list[str]:
    """The keys to read where a file has an operator in A's place; none where it has not."""
    names = set(found)
    if "A" in names or "y" not in names:
        return []
    kinds = [keys for keys in FILE_KEYS if names.issuperset(keys)]
    return [*kinds[0], *(key for key in ("y", "truth") if key in names)] if kinds else []


# -- NumPy ------------------------------------------------------------------------------------------------------------


def _read_npy(stream: IO[bytes], size: int, label: str, limit: int) -> np.ndarray:
    """The array of a .npy ``stream`` of ``size`` bytes; its header is checked against both before it is read."""
    try:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):  # 3.0 is for structured types with names beyond latin-1
            raise ValueError(f"format version {version[0]}.{version[1]}")
        read_header = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
    except (zipfile.BadZipFile, zlib.error, EOFError):
        raise
    except Exception as error:  # NumPy parses the header as Python text: SyntaxError, TokenError, ValueError, ...
        raise FileProblem(f"{label} has no sound .npy header ({one_line(error, 80)})") from None
    if dtype.hasobject:
        raise FileProblem(f"{label} is an object array (a pickle), which is never read")
    if dtype.kind not in _NUMBER_KINDS:
        raise FileProblem(f"{label} must hold real numbers, got dtype {one_line(dtype, 40)}")
    if any(extent < 0 for extent in shape):
        raise FileProblem(f"{label} declares the shape {one_line(shape, 40)}")
    count = math.prod(shape)
    check_bytes(label, count * max(dtype.itemsize, 8), limit)
    if count * dtype.itemsize != size - stream.tell():
        raise FileProblem(f"{label} declares {count * dtype.itemsize} bytes of numbers and has {size - stream.tell()}")
    array = np.empty(count, dtype=dtype)
    raw, got = array.view(np.uint8), 0
    while got < raw.size:
        part = stream.read(min(_CHUNK, raw.size - got))
        if not part:
            raise FileProblem(f"{label} ends after {got} of {raw.size} bytes of numbers")
        raw[got : got + len(part)] = np.frombuffer(part, dtype=np.uint8)
        got += len(part)
    return array.reshape(shape, order="F" if fortran else "C")


def _check_zip(archive: zipfile.ZipFile, limit: int) -> None:
    """Refuse encrypted members and, by what the directory declares, members that unpack to more than the limit."""
    members = archive.infolist()
    check_bytes("its unpacked content", sum(member.file_size for member in members), limit)
    for member in members:
        if member.flag_bits & 0x1:
            raise FileProblem(f"its member {one_line(member.filename, 40)} is encrypted")


def read_npz(file: Path, limit: int) -> Mapping[str, Any]:
    """A, y and truth of a .npz."""

    def chosen(members: Mapping[str, Any]) -> list[str]:
        return (_operator_keys(members) or _check_keys(members)) + [key for key in KEPT_KEYS if key in members]

    found = read_arrays(file, limit, chosen)
    for key in found:
        if key.endswith(("_n", "_shape")):  # an operator's, which needs vectors of that size
            for size in found[key].reshape(-1):
                check_bytes(f"a vector of the size in {key}", int(size) * 8, limit)
    return found


def read_arrays(
    file: Path, limit: int, choose: Callable[[Mapping[str, Any]], Iterable[str]] = list
) -> dict[str, np.ndarray]:
    """The arrays of a .npz that ``choose`` names (all of them by default), each checked before it is read.

    Args:
        file: A regular file.
        limit: Bytes that its arrays may take together.
        choose: Given the names that there are, those to read.

    Raises:
        FileProblem: where the archive is broken, too large, or holds anything but numbers.
    """
    check_regular_file(file)
    try:
        with zipfile.ZipFile(file) as archive:
            _check_zip(archive, limit)
            members = {re.sub(r"\.npy$", "", member.filename): member for member in archive.infolist()}
            found = {}
            for key in choose(members):
                with archive.open(members[key]) as stream:
                    found[key] = _read_npy(stream, members[key].file_size, key, limit)
                    stream.read(1)  # to the end, where the checksum is compared
            return found
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        raise FileProblem(f"it is not a sound zip archive ({one_line(error)})") from None


def pair_name(file: Path) -> str:
    """NAME of a .npy pair: of NAME_A.npy, NAME_y.npy or NAME.npy; of A.npy and y.npy the folder's name."""
    stem = re.sub(r"(^|[_.-])(A|y|truth)$", "", file.stem)
    return stem or file.absolute().parent.name or "problem"


def pair_files(file: Path) -> dict[str, Path]:
    """The three file names of the pair that ``file`` belongs to."""
    match = re.fullmatch(r"(.*[_.-]|)(A|y|truth)", file.stem)
    front = match.group(1) if match else f"{file.stem}_"
    return {key: file.with_name(f"{front}{key}{file.suffix}") for key in _KEYS}


def read_npy_pair(file: Path, limit: int) -> Mapping[str, Any]:
    """A, y and truth of a .npy pair."""
    files = pair_files(file)
    if file.exists() and file not in files.values():
        # Look at what was named first: an object array or a folder is the better reason than a missing partner.
        size = check_regular_file(file)
        with open(file, "rb") as stream:
            _read_npy(stream, size, file.name, limit)
    found = {}
    for key, part in files.items():
        if key == "truth" and not part.exists():
            continue
        try:
            size = check_regular_file(part)
        except FileProblem as error:
            raise FileProblem(f"{part.name}: {error}") from None
        with open(part, "rb") as stream:
            found[key] = _read_npy(stream, size, part.name, limit)
    return found


# -- MATLAB -----------------------------------------------------------------------------------------------------------


def read_mat(file: Path, limit: int) -> Mapping[str, Any]:
    """A, y and truth of a MATLAB file up to v7."""
    check_bytes("it", check_regular_file(file), limit)
    data = file.read_bytes()
    if any(data[at : at + 8] == b"\x89HDF\r\n\x1a\n" for at in (0, 512)):  # behind MATLAB's own header of 512 bytes
        raise FileProblem("it is MATLAB v7.3 (HDF5), which is not read: save it with '-v7'")
    try:
        found = read_variables(data, _KEYS, limit)
    except MatError as error:
        raise FileProblem(one_line(error)) from None
    return {key: found[key].value for key in _check_keys(found, "variable")}


# -- PyTorch ----------------------------------------------------------------------------------------------------------


def read_pt(file: Path, limit: int) -> Mapping[str, Any]:
    """A, y and truth of a dict that torch.save wrote; only tensors are rebuilt (weights_only)."""
    import pickle

    check_regular_file(file)
    try:
        with zipfile.ZipFile(file) as archive:
            _check_zip(archive, limit)
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise FileProblem("it has compressed members, which torch.save does not write")
            broken = archive.testzip()
            if broken is not None:
                raise FileProblem(f"its member {one_line(broken, 40)} does not match its checksum")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        raise FileProblem(f"it is not the zip archive that torch.save writes ({one_line(error)})") from None
    try:
        # Memory-mapped: a storage that claims more bytes than the file has cannot be read past its end.
        data = torch.load(str(file), map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        raise FileProblem("it holds something else than tensors, and no other pickle is executed") from None
    if not isinstance(data, Mapping):
        raise FileProblem(f"it holds a {type(data).__name__}")
    return {key: _pt_tensor(key, data[key], limit) for key in _check_keys(data)}


def _pt_tensor(key: str, value: Any, limit: int) -> torch.Tensor:
    """A dense real CPU tensor whose elements fit below the limit."""
    if not isinstance(value, torch.Tensor):
        raise FileProblem(f"{key} must be a tensor, got {type(value).__name__}")
    if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu" or value.is_complex():
        raise FileProblem(
            f"{key} must be a dense real tensor, got {value.dtype}, {value.layout}, on {value.device.type}"
        )
    check_bytes(key, value.numel() * 8, limit)
    return value.detach()
