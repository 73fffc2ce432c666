"""One run of pytest on a private copy of the tree."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Run", "copy_tree", "run_pytest"]

_NOT_COPIED = (
    ".git", ".venv", ".whl", "outputs", "multirun", "notebooks", "build", "dist", "*.egg-info", "__pycache__",
    ".hypothesis", ".pytest_cache", ".ruff_cache", ".benchmarks", ".import_linter_cache", ".gl", "shared",
)  # fmt: skip
# A mutant is judged on one core, beside the others; no test here needs a GPU.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONHASHSEED": "0",
}


def copy_tree(source: Path, target: Path) -> None:
    """A copy with the files' times, by which Python and numba know whether what they compiled is still valid."""
    ignored = () if (source / ".is-copy").exists() else _NOT_COPIED
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(*ignored), symlinks=True)
    (target / ".is-copy").touch()


@dataclass
class Run:
    """What came of a run.

    Attributes:
        code: Exit status of pytest, negative for a signal; None where it was ended for its time.
        outcome: What the plugin recorded; "late": whether a test was ended by its own limit.
        tail: The last lines that were printed.
    """

    code: int | None
    seconds: float
    outcome: dict[str, Any] = field(default_factory=dict)
    tail: str = ""


def run_pytest(
    tree: Path,
    tests: Sequence[str],
    *,
    limit: float,
    launcher: Sequence[str] = (),
    options: Sequence[str] = (),
    limits: dict[str, float] | None = None,
    environment: dict[str, str] | None = None,
) -> Run:
    """Run tests in a tree, in the order given.

    Args:
        limit: Seconds after which the process and its children are ended.
        launcher: Arguments of Python before ``-m pytest``, such as ``-m coverage run``.
        limits: Seconds by test function.
    """
    place = Path(tempfile.mkdtemp(prefix=f"{tree.name}.", dir=tree.parent))
    plugin = place / "plugin"
    plugin.mkdir()
    shutil.copy(Path(__file__).with_name("recording.py"), plugin / "mutation_recording.py")
    record = place / "record.json"
    variables = {**os.environ, **_ENVIRONMENT, "MUTATION_RECORD": str(record), "TMPDIR": str(place)}
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(tree), str(plugin), os.environ.get("PYTHONPATH", "")]))
    if limits is not None:
        (place / "limits.json").write_text(json.dumps(limits))
        variables["MUTATION_LIMITS"] = str(place / "limits.json")
    command = [
        sys.executable, *launcher, "-m", "pytest", "-q", "-p", "mutation_recording", "-p", "no:cacheprovider",
        "-p", "no:faulthandler", "--tb=short", *options, *tests,
    ]  # fmt: skip
    began = time.monotonic()
    try:
        with (place / "log").open("wb") as log:
            code = _ended(command, tree, variables | (environment or {}), log, limit)
        outcome = json.loads(record.read_text()) if record.exists() else {}
        tail = "\n".join((place / "log").read_text(errors="replace").splitlines()[-15:])
        late = record.with_suffix(".late")
        outcome["late"] = late.exists() and late.stat().st_size > 0
        return Run(code, time.monotonic() - began, outcome, tail)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _ended(command: list[str], tree: Path, variables: dict[str, str], log: Any, limit: float) -> int | None:
    process = subprocess.Popen(
        command, cwd=tree, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it left running too
        process.wait()
