"""The tests without a mutant: which pass, how long each takes, and which lines each executes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.mutation.process import Run, run_pytest

__all__ = ["Baseline", "files_under", "measure", "timed"]

_LIMIT = 480.0
_ENOUGH = 0.75


@dataclass
class Baseline:
    """Of all test files, each run alone.

    Attributes:
        seconds: By test function, all parameters together, under coverage and with kernels compiled on the way.
        failed: What is left out: test or test file -> its last line.
        lines: Source file -> line -> the contexts that executed it, as indices into ``contexts``. A context is
            "test function|call", "test function|setup", or "test file|" for what its import executed.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    contexts: list[str] = field(default_factory=list)
    lines: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Baseline:
        return cls(**json.loads(path.read_text()))

    def good(self) -> list[str]:
        """The test functions that pass with every parameter."""
        bad = {name.split("[")[0] for name in self.failed}
        return [name for name in self.seconds if name not in bad and name.split("::")[0] not in bad]


def files_under(tree: Path, chosen: Iterable[str]) -> list[str]:
    """The test files under the chosen files and folders, relative to the tree."""
    found: list[str] = []
    for name in chosen:
        path = tree / name
        files = sorted(path.rglob("test_*.py")) if path.is_dir() else [path]
        found += [str(file.relative_to(tree)) for file in files]
    return list(dict.fromkeys(found))


def measure(tree: Path, tests: Sequence[str], sources: Sequence[str], workers: int) -> Baseline:
    """Run each test file alone under coverage, several at a time; the tree's caches are warm afterwards."""
    found = Baseline()
    with ThreadPoolExecutor(workers) as pool:
        for file, run in zip(tests, pool.map(lambda file: _measured(tree, file, sources), tests), strict=True):
            _add(found, tree, file, run, sources)
            print(f"baseline {file}: exit {run.code} in {run.seconds:.0f} s", flush=True)
    return found


def _data(tree: Path, file: str) -> Path:
    return tree / f".coverage.{file.replace('/', '.')}"


def _measured(tree: Path, file: str, sources: Sequence[str]) -> Run:
    launcher = ["-m", "coverage", "run", f"--data-file={_data(tree, file)}", f"--include={','.join(sources)}"]
    return run_pytest(tree, [file], limit=_LIMIT, launcher=launcher)


def _add(found: Baseline, tree: Path, file: str, run: Run, sources: Sequence[str]) -> None:
    from coverage import CoverageData  # judging does without, where the baseline is given

    found.seconds |= run.outcome.get("seconds", {})
    found.failed |= run.outcome.get("failed", {})
    if run.code not in (0, 1, 5):
        found.failed.setdefault(file, f"exit {run.code}: {run.tail[-300:]}")
    data = CoverageData(str(_data(tree, file)))
    data.read()
    number = {name: i for i, name in enumerate(found.contexts)}
    for source in sources:
        table = found.lines.setdefault(source, {})
        for line, contexts in data.contexts_by_lineno(str(tree / source)).items():
            for context in contexts:
                name = context or f"{file}|"
                if name not in number:
                    number[name] = len(found.contexts)
                    found.contexts.append(name)
                table.setdefault(str(line), []).append(number[name])


def timed(tree: Path, tests: Sequence[str], sources: Sequence[str], workers: int, keep: Path) -> Baseline:
    """:func:`measure`, saved in ``keep``."""
    began = time.monotonic()
    found = measure(tree, tests, sources, workers)
    found.save(keep)
    print(
        f"baseline: {len(found.seconds)} test functions, {len(found.failed)} failures left out, "
        f"{time.monotonic() - began:.0f} s",
        flush=True,
    )
    for name, line in found.failed.items():
        print(f"    left out: {name}: {line}", flush=True)
    if len(found.good()) <= _ENOUGH * len(found.seconds):
        raise SystemExit("too few tests pass here without a mutant: what they say of mutants would mean little")
    return found
