"""What computed a result: the versions of the code and of the libraries, and the processor."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Collection
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dlntorch._version import __version__

__all__ = ["ONLY_SHOWS", "code_version", "source_digest", "versions"]

_PACKAGES = ("dlntorch", "torch", "lightning", "hydra-core", "wandb", "torchdiffeq", "scipy", "numpy", "numba")

#: Parts of the package that only show or launch what is computed.
ONLY_SHOWS = ("report", "studies", "cli", "__main__.py")


@cache
def code_version() -> str:
    """The package's version and a digest of its sources, without those parts that only show results."""
    return f"{__version__}+{source_digest(ONLY_SHOWS)[:10]}"


def source_digest(left_out: Collection[str], kept: Collection[Path] = ()) -> str:
    """SHA-256 of the package's sources without the folders and files ``left_out``, of which those in ``kept`` count."""
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package)
        if inside.parts[0] not in left_out or path in kept:
            digest.update(inside.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python, of the code and of the packages that a run depends on, and the processor.

    The same seed gives the same bits where all of these are the same: BLAS has other kernels for other processors.
    """
    return dict(_versions())


@cache  # each package's version is read from a file
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    found["code"] = code_version()
    found["processor"] = _processor()
    return found


def _processor() -> str:
    """Its name and generation where the system tells, else its architecture: virtual machines hide generations in a name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    except OSError:
        lines = []
    known = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    if "model name" not in known:
        return platform.processor() or platform.machine()
    return f"{known['model name']}, family {known.get('cpu family', '?')}, model {known.get('model', '?')}"
