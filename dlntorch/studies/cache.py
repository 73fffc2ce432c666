"""Finished points on disk, so that an interrupted study resumes.

A point's file is named by the SHA-256 of the study's name, the point, and the code that computed it: the sources of the
package without its reports, entry points and other studies, and the versions of the numerical libraries.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dlntorch.store.folder import atomic_write
from dlntorch.store.provenance import ONLY_SHOWS, source_digest
from dlntorch.studies.base import Point, Row

__all__ = ["PointCache", "row_version"]

_LIBRARIES = ("torch", "numpy", "scipy", "numba")
#: What cannot change a row.
_NOT_COMPUTING = (*ONLY_SHOWS, "sweep", "trackers")


@cache
def row_version(name: str) -> str:
    """SHA-256 of everything that a row of the study depends on."""
    sources = source_digest(_NOT_COMPUTING, _with_its_helpers(Path(__file__).resolve().with_name(f"{name}.py")))
    libraries = [f"{library}=={version(library)}" for library in _LIBRARIES]
    return hashlib.sha256("\0".join([sources, *libraries]).encode()).hexdigest()


def _with_its_helpers(study: Path) -> set[Path]:
    """The file of a study and those of this folder that it imports, directly or not; ``base`` computes no rows."""
    found, waiting = set(), [study]
    while waiting:
        path = waiting.pop()
        if path in found or not path.is_file():
            continue
        found.add(path)
        names = re.findall(r"^\s*from dlntorch\.studies\.(\w+) import", path.read_text(), flags=re.M)
        waiting += [study.with_name(f"{helper}.py") for helper in names if helper != "base"]
    return found


class PointCache:
    """The finished points of one study.

    Args:
        folder: Where their files are.
        name: The study.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name

    def _path(self, point: Point) -> Path:
        identity = json.dumps([self.name, point, row_version(self.name)], sort_keys=True, allow_nan=False)
        return self.folder / f"{hashlib.sha256(identity.encode()).hexdigest()}.json"

    def load(self, point: Point) -> list[Row] | None:
        """The rows of a finished point, or None: not computed yet, by other code, or the file is damaged."""
        try:
            saved: Any = json.loads(self._path(point).read_text())
            return saved["rows"] if saved["point"] == point else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def store(self, point: Point, rows: list[Row]) -> None:
        """Write the rows; the file appears whole or not at all."""
        text = json.dumps({"study": self.name, "point": point, "rows": rows}, allow_nan=False)
        atomic_write(self._path(point), text.encode())
