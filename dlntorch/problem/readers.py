"""Problems from files, and to files: what is read from which format, and the one line a wrong file gets.

No pickle is ever executed, sizes are checked before anything is allocated, and whatever goes wrong inside a parsing
library comes out as an :class:`~dlntorch.numerics.validation.InputError`.
"""

from __future__ import annotations

import logging
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dlntorch.numerics.validation import InputError, check_count
from dlntorch.problem import formats
from dlntorch.problem.formats import FileProblem
from dlntorch.problem.operators import operator_from_arrays
from dlntorch.problem.problem import Problem
from dlntorch.problem.table import read_csv
from dlntorch.problem.table_columns import OptionError, TableOptions

__all__ = ["identifying_arrays", "load_problem", "save_problem"]

_LOG = logging.getLogger(__name__)


def _binary(read: Callable[[Path, int], Mapping[str, Any]]) -> Callable[[Path, int, TableOptions], Mapping[str, Any]]:
    """The reader of a format whose arrays have names: nothing is to choose."""
    return lambda file, limit, options: read(file, limit)


_RULES: dict[str, tuple[str, Callable[[Path, int, TableOptions], Mapping[str, Any]]]] = {
    ".npz": ("a .npz with the keys A (m, n) and y (m,), optionally truth (n,)", _binary(formats.read_npz)),
    ".npy": (
        "a .npy pair NAME_A.npy (m, n) and NAME_y.npy (m,) (or A.npy and y.npy), optionally NAME_truth.npy (n,)",
        _binary(formats.read_npy_pair),
    ),
    ".csv": (
        "a .csv of numbers, its last column y and the others A, optionally a header row that may name another y",
        read_csv,
    ),
    ".mat": (
        "a .mat up to v7 with the variables A (m, n) and y (m,), optionally truth (n,)",
        _binary(formats.read_mat),
    ),
    ".pt": ("a .pt with a dict of tensors A (m, n) and y (m,), optionally truth (n,)", _binary(formats.read_pt)),
}


def load_problem(
    path: str | os.PathLike[str],
    *,
    y: str | int | None = None,
    columns: Sequence[str | int] | str | int | None = None,
    delimiter: str | None = None,
    header: bool | None = None,
    name: str | None = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    max_bytes: int = formats.MAX_BYTES,
) -> Problem:
    """Read a problem (A, y) from a file; the suffix decides how.

    - ``.npz``: the keys ``A`` (m, n) and ``y`` (m,), and ``truth`` (n,) where it is there; other keys are left alone.
      In place of ``A`` an operator's: ``csr_data``, ``csr_indices``, ``csr_indptr``, ``csr_shape`` of a sparse matrix, or
      ``cosine_n``, ``cosine_frequencies``, ``cosine_scale`` (``fourier_…``) of a partial transform.
    - ``.npy``: a pair, ``NAME_A.npy`` and ``NAME_y.npy``, or ``A.npy`` and ``y.npy``, and ``NAME_truth.npy`` (or
      ``truth.npy``) where it is there. ``path`` is either file of the pair, or ``NAME.npy``, which need not exist.
    - ``.csv``: comma-separated numbers in UTF-8, one row of (A, y) a line. A first line of words is a header, beside
      which there may be a count (``0,1,2,y``); marks of missing values are no words. y is the column that the header
      calls y, target, response, rhs, outcome, label or b (in any case), else the last one; where such a column stands in
      the middle, or there are two, the file is refused until ``y`` says which. A first column of row names (without a name,
      as R and pandas write it, or whole numbers called index, id, row, …) is left out of A. Blank lines, and lines before
      the numbers that start with ``#``, are skipped.
    - ``.mat``: MATLAB v4 to v7, the variables ``A``, ``y``, and ``truth`` where it is there, full or sparse (sparse is
      made dense); other variables are left alone. v7.3 is HDF5 and is refused.
    - ``.pt``: what ``torch.save({"A": A, "y": y}, path)`` writes, a dict of dense tensors with the keys ``A``, ``y``,
      and ``truth`` where it is there.

    ``y`` and ``truth`` of shape (k, 1) or (1, k) are taken as (k,). Booleans and integers become floating point.
    Complex, text, object, cell and struct arrays are refused; no pickle is executed (``.pt`` is read with
    ``weights_only=True`` from a memory map).

    What was read is said in one line, ``problem.source``, which runs print and the logger ``dlntorch`` gets.

    Args:
        path: The file.
        y: Of a ``.csv``: the column that is y, by name, or by number from 1 on.
        columns: Of a ``.csv``: those that are A's, in this order; names, numbers, or ``FIRST:LAST``.
        delimiter: Of a ``.csv``: what separates its columns, one character, or comma (default), semicolon, tab, space.
        header: Of a ``.csv``: whether its first line names the columns; by default its words say so.
        name: The problem's name; by default the file's name without suffix (and without ``_A``, ``_y``).
        dtype: float64 (default) or float32.
        device: Where the tensors live.
        max_bytes: Refuse, before allocating, files whose arrays or whose unpacked content are larger, in bytes
            (2 GiB by default).

    Raises:
        InputError: one line that names ``path``, what it must be, the file, and the reason; or the wrong argument.
    """
    max_bytes = check_count("max_bytes", max_bytes)
    file = _as_path(path)
    if file.suffix.lower() not in _RULES:
        _must_be_a_file(file)
        raise InputError(f"path must end in one of {', '.join(_RULES)}, got {str(file)!r}")
    rule, read = _RULES[file.suffix.lower()]
    options = TableOptions.checked(y, columns, delimiter, header, file.suffix.lower() == ".csv")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the parsing libraries'; what matters is checked below
            found = read(file, max_bytes, options)
            arrays = {key: _squeezed(key, value) for key, value in found.items() if key in ("A", "y", "truth")}
            if "A" not in found:
                arrays["A"] = operator_from_arrays(found)
        title = _title(file, found) if name is None else name
        problem = Problem(**arrays, name=title, dtype=dtype, device=device, copy=False)
        problem.precision = max(problem.precision, _kept_number(found, "dlntorch_precision", 0.1, 0.0) or 0.0)
        problem.noise = _kept_number(found, "dlntorch_noise", math.inf, None)
    except OptionError:
        raise
    except (FileProblem, InputError) as error:
        if str(error).startswith(("dtype must", "device must")):
            raise
        reason = str(error)
    except Warning:  # Problem's own, where the caller has turned warnings into errors
        raise
    except MemoryError:
        reason = "it does not fit in memory"
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
    except Exception as error:  # a parser met by a malformed file may raise anything; it is the file's fault
        reason = f"it cannot be parsed ({type(error).__name__}: {formats.one_line(error)})"
    else:
        problem.source = found.get("note") or _keys_read(file, found)
        _LOG.info(problem.source)
        return problem
    raise InputError(f"path must be {rule}, got {str(file)!r}: {reason}")


def identifying_arrays(problem: Problem) -> dict[str, np.ndarray]:
    """What a .npz needs beside A and y to give back the problem of that name, its truth, noise and precision."""
    name = np.frombuffer(problem.name.encode("utf-8", "replace"), dtype=np.uint8)
    kept = {"dlntorch_name": name, "dlntorch_precision": np.array(problem.precision)}
    return kept | _planted_arrays(problem)


def _planted_arrays(problem: Problem) -> dict[str, np.ndarray]:
    """The truth and the noise of a planted problem, where they are known."""
    found = {} if problem.truth is None else {"truth": problem.truth.cpu().numpy()}
    return found if problem.noise is None else found | {"dlntorch_noise": np.array(problem.noise)}


def _kept_number(found: Mapping[str, Any], key: str, below: float, default: float | None) -> float | None:
    """A number >= 0 that a run folder's copy keeps of its problem, such as the precision that its data had."""
    if key not in found:
        return default
    value = float(found[key]) if found[key].ndim == 0 else float("nan")
    if not 0 <= value < below:
        raise FileProblem(f"{key} must be one number between 0 and {below:g}")
    return value


def _title(file: Path, found: Mapping[str, Any]) -> str:
    """The name that a problem has by its file."""
    stored = found.get("dlntorch_name")
    if stored is not None and stored.dtype == np.uint8:
        return formats.one_line(stored.tobytes().decode("utf-8", "replace"))
    return formats.pair_name(file) if file.suffix.lower() == ".npy" else file.stem


def _keys_read(file: Path, found: Mapping[str, Any]) -> str:
    """One line that says what was read under which name."""
    data = {key: value for key, value in found.items() if key not in formats.KEPT_KEYS}
    shapes = (f"{key} {'x'.join(map(str, value.shape)) or 'number'}" for key, value in data.items())
    return formats.one_line(f"read {file.name}: {', '.join(shapes)}", 400)


def save_problem(problem: Problem, path: str | os.PathLike[str]) -> Path:
    """Write A, y, and the truth where it is planted, to a ``.npz`` that :func:`load_problem` reads back bit for bit.

    The file is written under a temporary name in the same folder, which must exist, and then renamed.

    Args:
        problem: What to write, in its own precision.
        path: The file; it must end in ``.npz``. An existing file is replaced.

    Returns:
        The path written.

    Raises:
        InputError: naming ``path`` when it has another suffix or cannot be written.
    """
    file = _as_path(path)
    if file.suffix.lower() != ".npz":
        raise InputError(f"path must end in .npz, got {str(file)!r}")
    stored = {**problem.operator.arrays(), "y": problem.y.cpu().numpy(), **_planted_arrays(problem)}
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.stem[:80]}-", suffix=".tmp")
        with os.fdopen(handle, "wb") as stream:
            np.savez(stream, **stored)  # type: ignore[arg-type]
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, file)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise InputError(f"path must be a file that can be written, got {str(file)!r}: {reason}") from None
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
    return file


def _umask() -> int:
    """The process's umask (reading it means setting it): mkstemp makes private files, a saved problem is not one."""
    current = os.umask(0)
    os.umask(current)
    return current


def _as_path(path: Any) -> Path:
    """``path`` as a Path, or one line."""
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str) or not os.fspath(path).strip():
        raise InputError(f"path must be the name of a file, got {formats.one_line(repr(path))}")
    text = os.fspath(path)
    if "\0" in text:
        raise InputError(f"path must be the name of a file, got {formats.one_line(repr(text))}")
    return Path(text)


def _must_be_a_file(file: Path) -> None:
    """Refuse what is missing, a folder, or a device, before the suffix is looked at."""
    try:
        formats.check_regular_file(file)
    except FileProblem as error:
        raise InputError(f"path must be a file, got {str(file)!r}: {error}") from None


def _squeezed(key: str, value: Any) -> Any:
    """``y`` and ``truth`` of shape (k, 1) or (1, k) as (k,)."""
    if key != "A" and value.ndim == 2 and 1 in value.shape:
        return value.reshape(-1)
    return value
