"""How many threads torch and BLAS use inside a public call: one policy for the package.

A product with a matrix of a few million entries takes about as long as waking a second thread and waiting for it; where
other programs keep the cores busy, the wait is a hundred times longer than the product. So small problems get one thread,
and large ones what the caller has set. What the caller has set is there again when the call ends, however it ends.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import torch
from threadpoolctl import ThreadpoolController

from dlntorch.numerics.validation import check_count

__all__ = ["ONE_THREAD_ENTRIES", "numeric_threads", "with_few_threads"]

#: Up to this many entries of A one thread is used: on busy cores two were ten times slower, on idle ones a third faster.
ONE_THREAD_ENTRIES = 8_000_000

_P = ParamSpec("_P")
_R = TypeVar("_R")


@contextlib.contextmanager
def numeric_threads(threads: Any = "auto", data: Any = None) -> Iterator[int]:
    """Limit torch and BLAS inside to ``threads``; yields how many threads torch then uses.

    Within another limit this one does nothing: the outermost call decides. Settings are the process's: threads of the
    caller that are inside at the same time share the first one's limit, and each finds its own settings again.

    Args:
        threads: How many, or ``auto``: one for a problem of at most :data:`ONE_THREAD_ENTRIES` entries and for
            operators; else what the caller has set.
        data: The problem, or a matrix, for ``auto``.

    Raises:
        InputError: ``threads`` is neither ``auto`` nor a count.
    """
    count = _automatic(data) if threads == "auto" else check_count("trainer.threads", threads)
    if count is None:
        yield torch.get_num_threads()
        return
    with _limit.held(count) as held:
        yield held


def with_few_threads(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorate a public function whose first argument is a problem, or a matrix, with :func:`numeric_threads`."""

    first = next(iter(inspect.signature(function).parameters))

    @functools.wraps(function)
    def limited(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with numeric_threads("auto", args[0] if args else kwargs.get(first)):
            return function(*args, **kwargs)

    return limited


def _automatic(data: Any) -> int | None:
    """One thread, or None: what the caller has set. Whatever is no problem has no entries: the function will say so."""
    shape = (data.m, data.n) if hasattr(data, "m") and hasattr(data, "n") else getattr(data, "shape", ())
    dense = getattr(data, "dense", not hasattr(data, "rmatvec"))  # an operator has no entries either
    large = dense and math.prod(shape[-2:]) > ONE_THREAD_ENTRIES
    return None if large else 1


class _Limit:
    """The limit that is in force, with what was set before it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._own = threading.local()  # torch's count is each thread's own
        self._users = 0
        self._count = self._before = 1
        self._changed: list[tuple[Any, int]] = []  # libraries, and what each was set to

    @contextlib.contextmanager
    def held(self, count: int) -> Iterator[int]:
        if getattr(self._own, "inside", False):
            yield self._count
            return
        with self._lock:
            if self._users == 0:
                self._count, self._before = count, torch.get_num_threads()
                libraries = [
                    (library, library.num_threads) for library in _controller(len(sys.modules)).lib_controllers
                ]
                self._changed = [(library, threads) for library, threads in libraries if threads != count]
                for library, _ in self._changed:
                    library.set_num_threads(count)
            self._users += 1
        self._own.inside = True
        try:
            torch.get_num_threads()  # a thread's first look takes the process's count, which would undo the next line
            torch.set_num_threads(self._count)
            yield self._count
        finally:
            self._own.inside = False
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    for library, threads in self._changed:
                        library.set_num_threads(threads)
                torch.set_num_threads(self._before)


@functools.lru_cache(maxsize=1)
def _controller(modules: int) -> ThreadpoolController:
    """The libraries that are loaded: looking for them takes milliseconds, and only an import adds to them."""
    import scipy.linalg  # noqa: F401  # it brings a BLAS of its own, which could not be limited if it came later

    return ThreadpoolController()


_limit = _Limit()
