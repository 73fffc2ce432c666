"""The same small piece of work for many networks, spread over forked processes, one for each core.

References, predictions and the flow are one-threaded and hold the interpreter, so threads do not help. A child inherits
everything by ``fork`` and sends its results back through a pipe, pickled; they are to the bit what they are here. What a
child could not do is done here, where its error can be reported.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import torch

from dlntorch.training.ensemble import available_cores

__all__ = ["forked"]

T = TypeVar("T")

#: Linux: end with the parent, however that ends.
_PR_SET_PDEATHSIG = 1


def forked(
    work: Callable[[int], T],
    count: int,
    processes: int | None = None,
    meanwhile: Callable[[], object] | None = None,
) -> list[T]:
    """``[work(0), …, work(count − 1)]``.

    Args:
        work: Called with each number; what it returns can be pickled, and it changes nothing that is used afterwards.
        count: How many there are.
        processes: By default one for each core, with two pieces of work each at least; 1 forks nothing, unless there is
            something to do ``meanwhile``.
        meanwhile: Called here while children do all the work, instead of a share of it.
    """
    processes = min(available_cores(), count // 2) if processes is None else min(processes, count)
    # forking is not safe elsewhere; and a child has none of torch's threads, for which it would wait for ever
    forks = sys.platform == "linux" and torch.get_num_threads() == 1
    here = 0 if meanwhile is not None and available_cores() > 1 else 1  # shares of the work that are done here
    if not forks or processes - here < 1:
        if meanwhile is not None:
            meanwhile()
        return [work(i) for i in range(count)]
    shares = [range(part, count, processes) for part in range(processes)]
    children: list[tuple[int, int]] = []
    found: dict[int, T] = {}
    try:
        with suppress(OSError):  # no more processes, or files: what is missing is done below
            for share in shares[here:]:
                children.append(_start(work, share))
        if meanwhile is not None:
            meanwhile()
        for share in shares[:here]:
            found |= {i: work(i) for i in share}
        for _, pipe in children:
            with os.fdopen(os.dup(pipe), "rb") as answer, suppress(EOFError, pickle.UnpicklingError):
                found |= pickle.load(answer)
    finally:
        for child, pipe in children:
            os.close(pipe)
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(child, 0)
    return [found[i] if i in found else work(i) for i in range(count)]


def _start(work: Callable[[int], T], share: range) -> tuple[int, int]:
    """A child at work on its share: its process id, and the end of a pipe to read its answer from."""
    read, write = os.pipe()
    parent = os.getpid()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # other threads are idle, and a child uses none
            child = os.fork()
    except OSError:
        os.close(read)
        os.close(write)
        raise
    if child:
        os.close(write)
        return child, read
    try:  # no way leads from here back into the program
        os.close(read)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # it holds the run folder's lock
        if os.getppid() != parent:
            os._exit(0)
        for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
        with open(os.devnull, "w") as nowhere, os.fdopen(write, "wb") as answer:
            sys.stdout = sys.stderr = nowhere
            answer.write(pickle.dumps({i: work(i) for i in share}))
    finally:
        os._exit(0)
