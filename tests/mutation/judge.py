"""Judging mutants: each in a worker's private copy of the tree, by the tests chosen for it, up to the first failure."""

from __future__ import annotations

import json
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.mutation.process import Run, copy_tree, run_pytest
from tests.mutation.sample import Mutant
from tests.mutation.selection import Selection

__all__ = ["DEAD", "Verdict", "judge", "judge_all", "line_of", "verdicts"]

#: What counts as killed.
DEAD = ("killed", "timeout")
# A mutant may be slow without being wrong: it is ended where it takes several times what the tests take without it.
_TIMES, _GRACE, _COMPILING, _CAP = 4.0, 20.0, 60.0, 150.0


@dataclass(frozen=True)
class Verdict:
    """Of one mutant.

    Attributes:
        status: "killed", "timeout", "survived", "not covered" (no test executes the line) or "error" (pytest ran no test).
        by: The first test that failed, or was running, and how.
        tests: Test functions that were chosen for it.
    """

    name: str
    file: str
    status: str
    by: str
    tests: int
    seconds: float


def judge(
    mutant: Mutant, tree: Path, selection: Selection, remaining: float = float("inf"), cold: bool = False
) -> Verdict | None:
    """Judge one mutant in a tree, which is afterwards as it was; None where the remaining seconds do not suffice.

    Args:
        cold: Whether the tree holds no compiled kernels yet, so that any test may have to wait for them.
    """
    tests = selection.tests(mutant.file, mutant.line)
    if not tests:
        return Verdict(mutant.name, mutant.file, "not covered", "", 0, 0.0)
    kernel = selection.is_kernel(mutant.file)
    extra = _GRACE + (_COMPILING if kernel or cold else 0.0)
    limits = {name: extra + _TIMES * selection.seconds(name) for name in tests}
    expected = sum(selection.seconds(name) for name in tests)
    limit = max(_CAP, extra + 1.5 * expected)
    with _changed(mutant, tree), _empty_cache(tree, kernel) as environment:
        run = run_pytest(
            tree, tests, limit=min(limit, remaining), options=["-x"], limits=limits, environment=environment
        )
    if run.code is None and remaining < limit:
        return None
    status, by = _status(run)
    return Verdict(mutant.name, mutant.file, status, by, len(tests), round(run.seconds, 1))


class _changed:
    """The tree with the mutant in it. Python and numba see by the time that the file is another, and the same again."""

    def __init__(self, mutant: Mutant, tree: Path) -> None:
        self._path, self._mutant = tree / mutant.file, mutant

    def __enter__(self) -> None:
        self._text, self._times = self._path.read_text(), self._path.stat()
        self._path.write_text(self._mutant.apply(self._text))
        os.utime(self._path, (self._times.st_atime, self._times.st_mtime + 7))

    def __exit__(self, *_: object) -> None:
        self._path.write_text(self._text)
        os.utime(self._path, ns=(self._times.st_atime_ns, self._times.st_mtime_ns))
        # the next mutant of this file has the same time, and perhaps the same size
        for kept in (self._path.parent / "__pycache__").glob(f"{self._path.stem}.*.pyc"):
            kept.unlink()


class _empty_cache:
    """Kernels of a mutant are kept in a folder of their own, and go with it."""

    def __init__(self, tree: Path, needed: bool) -> None:
        self._place = tree.with_name(f"{tree.name}.numba") if needed else None

    def __enter__(self) -> dict[str, str]:
        return {} if self._place is None else {"NUMBA_CACHE_DIR": str(self._place)}

    def __exit__(self, *_: object) -> None:
        if self._place is not None:
            shutil.rmtree(self._place, ignore_errors=True)


def _status(run: Run) -> tuple[str, str]:
    failed = run.outcome.get("failed", {})
    running = run.outcome.get("running", "")
    if failed:
        name, line = next(iter(failed.items()))
        return "killed", f"{name}: {line}"
    if run.code is None:
        return "timeout", f"{running}: after {run.seconds:.0f} s"
    if run.outcome.get("late"):
        return "timeout", f"{running}: several times its usual time"
    if run.code == 0:
        return "survived", ""
    if running:
        return "killed", f"{running}: the process ended with {run.code}"
    # nothing was run: where the mutant breaks the import pytest says that it finds no such test
    last = run.tail.strip().splitlines()[-1:] or ["no output"]
    return ("killed" if run.code in (1, 2, 4) else "error"), f"exit {run.code}: {last[0][:200]}"


def verdicts(path: Path) -> dict[str, Verdict]:
    """What a file of results holds, by the mutants' names."""
    if not path.exists():
        return {}
    entries = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    return {entry["name"]: Verdict(**entry) for entry in entries}


def judge_all(
    mutants: Iterable[Mutant],
    base: Path,
    selection: Selection,
    keep: Callable[[Verdict], None],
    *,
    workers: int,
    seconds: float,
    cold: bool = False,
) -> int:
    """Judge as many mutants as there is time for, each worker in its own copy of the base; how many were not judged."""
    end = time.monotonic() + seconds
    waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    for mutant in mutants:
        waiting.put(mutant)
    lock, skipped, errors = threading.Lock(), [], []

    def work(number: int) -> None:
        tree = base.with_name(f"worker{number}")
        try:
            if not tree.exists():
                copy_tree(base, tree)
            while True:
                mutant = waiting.get_nowait()
                remaining = end - time.monotonic()
                verdict = judge(mutant, tree, selection, remaining, cold) if remaining > 5 else None
                with lock:
                    skipped.append(mutant) if verdict is None else keep(verdict)
        except queue.Empty:
            return
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return len(skipped)


def line_of(verdict: Verdict) -> str:
    """A verdict as a line of a results file."""
    return json.dumps(asdict(verdict), ensure_ascii=False) + "\n"
