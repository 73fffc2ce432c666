"""Where compiled kernels are kept on disk, and under which key: one that changes with all that a kernel is made of.

numba's own cache knows a kernel by the file it is written in, and goes on serving one whose callee was edited in another
file. Here a compiled kernel is known by its :func:`fingerprint` (its code and that of all it calls), its signature, the
CPU, numba's switches, and the versions of Python, numba, llvmlite and NumPy.

Every key has a file of its own, which is written under another name and then renamed: processes that compile the same at
once write the same, and different sources or signatures never share a file. A file that was cut short is not used.

The folder is the first that can be written to of ``NUMBA_CACHE_DIR``, ``__pycache__`` beside the source, the user's cache,
and a private folder among the temporary ones. Where there is none, or the disk is full, every process compiles anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import pickle
import sys
import tempfile
import time
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import llvmlite
import numba
import numpy as np
from numba import config
from numba.core import caching
from numba.core.serialize import dumps

from dlntorch.numerics.fingerprint import fingerprint

__all__ = ["KernelCache"]

#: A kernel's files that no process has used for so many seconds are removed when the kernel is compiled anew.
UNUSED = 30 * 86400.0
#: numba's switches that change what is compiled; the CPU and its features are in every key anyway.
_SWITCHES = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "DISABLE_INTEL_SVML")
#: Bytes of the checksum ahead of a kernel.
_CHECK = 32
#: Another where the same sources are compiled otherwise (:mod:`dlntorch.numerics.compiling`).
_FORMAT = 2
_VERSIONS = (
    _FORMAT,
    sys.implementation.cache_tag,
    sys.abiflags,
    numba.__version__,
    llvmlite.__version__,
    np.__version__,
)


class _TemporaryLocator(caching.UserWideCacheLocator):
    """A folder among the temporary ones that nobody but this user can write to, for what is read from it is executed."""

    def __init__(self, py_func: Any, py_file: str) -> None:
        super().__init__(py_func, py_file)
        user = os.getuid() if hasattr(os, "getuid") else "user"
        self._folder = os.path.join(tempfile.gettempdir(), f"dlntorch-kernels-{user}")
        self._cache_path = os.path.join(self._folder, self.get_suitable_cache_subpath(py_file))

    def ensure_cache_path(self) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._folder, 0o700)
        found = os.lstat(self._folder)
        if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o077):
            raise PermissionError(f"{self._folder} is not private")
        super().ensure_cache_path()


class _Implementation(caching.CompileResultCacheImpl):
    """numba's way to find a folder, with one more place to look at, and to take a compiled kernel apart."""

    _locator_classes: ClassVar = [*caching.CacheImpl._locator_classes, _TemporaryLocator]


class KernelCache(caching._Cache):
    """The cache of one kernel, in place of ``numba.core.caching.FunctionCache``.

    Args:
        kernel: numba's dispatcher.
    """

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._enabled = True

    @cached_property
    def _implementation(self) -> _Implementation | None:
        """None where nothing can be written. Made when the kernel is first compiled, not when it is imported."""
        try:
            return _Implementation(self._kernel.py_func)
        except (RuntimeError, OSError):
            return None

    @property
    def cache_path(self) -> str | None:
        return None if self._implementation is None else self._implementation.locator.get_cache_path()

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def flush(self) -> None:
        self._remove(unused_for=-math.inf)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled kernel of this signature, or None."""
        target_context.refresh()
        file, key = self._file_and_key(sig, target_context.codegen())
        if self._implementation is None or file is None:
            return None
        try:
            stored = file.read_bytes()
        except OSError:
            return None
        check, payload = stored[:_CHECK], stored[_CHECK:]
        if check != _checksum(key, payload):
            return None
        with contextlib.suppress(OSError):
            os.utime(file)
        return self._implementation.rebuild(target_context, pickle.loads(payload))

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled kernel, where its signature is ``sig``, for other processes."""
        file, key = self._file_and_key(sig, data.codegen)
        if self._implementation is None or file is None or not self._implementation.check_cachable(data):
            return
        payload = dumps(self._implementation.reduce(data))
        written = file.with_name(f"{file.name}.{os.getpid()}.{os.urandom(4).hex()}")
        try:
            self._implementation.locator.ensure_cache_path()
            written.write_bytes(_checksum(key, payload) + payload)
            os.replace(written, file)
        except OSError:  # the disk is full, say: what was compiled serves this process
            with contextlib.suppress(OSError):
                written.unlink()
        self._remove(unused_for=UNUSED)

    def _file_and_key(self, sig: Any, codegen: Any) -> tuple[Path | None, bytes]:
        """The key is all that compiled code depends on; the file is named after its digest. None: nothing is kept."""
        if not self._enabled or self.cache_path is None:
            return None, b""
        try:
            made_of = fingerprint(self._kernel)
        except TypeError:  # it reads a global that has no value to be known by
            return None, b""
        switches = [str(getattr(config, name, None)) for name in _SWITCHES]
        fields = [
            getattr(kind, "fields", ()) for kind in sig
        ]  # of typed records, whose names numba leaves out of a type's
        key = repr((made_of, sig, fields, codegen.magic_tuple(), switches, _VERSIONS)).encode()
        return Path(self.cache_path, f"{self._stem}-{hashlib.sha256(key).hexdigest()[:32]}.nbc"), key

    @property
    def _stem(self) -> str:
        function = self._kernel.py_func
        return f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}".replace("<", "").replace(">", "")

    def _remove(self, unused_for: float) -> None:
        """Remove the files of this kernel that no process has used for so many seconds."""
        for file in Path(self.cache_path or "").glob(f"{self._stem}-*.nb[ci]*"):
            with contextlib.suppress(OSError):  # another process was faster
                if time.time() - file.stat().st_mtime > unused_for:
                    file.unlink()


def _checksum(key: bytes, payload: bytes) -> bytes:
    return hashlib.sha256(key + payload).digest()
