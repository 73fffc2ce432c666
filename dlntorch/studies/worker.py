"""The processes that compute points: one thread each, started afresh, stopped at once when the study is interrupted."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import Any

from dlntorch.studies.base import Point, Row
from dlntorch.studies.catalogue import load_study

__all__ = ["Job", "compute_all", "compute_point"]

#: Study, number of the point in it, and the point.
Job = tuple[str, int, Point]

_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def compute_point(name: str, point: Point) -> list[Row]:
    """The rows of a point, completed by its own entries and checked: plain, finite values, or None."""
    rows = [{**point, **row} for row in load_study(name).compute(dict(point))]
    return [{key: _plain(name, key, value) for key, value in row.items()} for row in rows]


def _timed(job: Job) -> tuple[list[Row], float]:
    """The rows of a point, and how many seconds they took."""
    name, _, point = job
    began = time.perf_counter()
    rows = compute_point(name, point)
    return rows, time.perf_counter() - began


def _plain(name: str, key: str, value: Any) -> Any:
    if hasattr(value, "item"):  # numbers of NumPy and torch
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"study {name}: {key} must be finite or None, got {value}")
    if value is not None and not isinstance(value, str | int | float | bool):
        raise TypeError(f"study {name}: {key} must be a number, text or None, got {type(value).__name__}")
    return value


def compute_all(jobs: list[Job], workers: int) -> Iterator[tuple[Job, list[Row], float]]:
    """Compute every job, in ``workers`` processes where there are several; yields each with its rows and its seconds.

    A job that raises ends the iteration with its exception, after the running ones were stopped.
    """
    if workers == 1 or len(jobs) <= 1:  # none where all is in the cache
        from dlntorch.numerics.threads import numeric_threads

        with numeric_threads(1):  # as in the other processes: the same rows to the last bit
            for job in jobs:
                yield job, *_timed(job)
        return
    before = set(multiprocessing.active_children())
    with (
        _environment(),
        ProcessPoolExecutor(min(workers, len(jobs)), multiprocessing.get_context("spawn"), initializer=_start) as pool,
    ):
        futures: dict[Future[tuple[list[Row], float]], Job] = {pool.submit(_timed, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], *future.result()
        except BaseException:  # Ctrl-C too, and a caller that stops listening: nothing is left running
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - before:
                process.terminate()
            raise


def _start() -> None:
    """In a new process: Ctrl-C is the parent's affair, and the libraries use one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    torch.set_num_threads(1)


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """One thread for the processes started inside; they inherit the environment."""
    saved = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    try:
        yield
    finally:
        _restore(saved.items())


def _restore(saved: Iterable[tuple[str, str | None]]) -> None:
    for name, value in saved:
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
