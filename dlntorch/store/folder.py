"""The run folder: every file is written under a temporary name and renamed, so none is ever half-written."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
import yaml

from dlntorch._version import __version__
from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem
from dlntorch.problem.readers import identifying_arrays
from dlntorch.store.identity import check_identity
from dlntorch.store.inputs import absolute_inputs

__all__ = [
    "CheckpointError",
    "FolderInUse",
    "RunFolder",
    "WriteError",
    "atomic_write",
    "drop_if_empty",
    "in_use",
]

#: What a run, or an ensemble, makes of its data and settings; the summary first.
_RESULTS = (
    "summary.json", "result.npz", "trajectory.csv", "networks.csv", "report.html", "repeat.json", "plan.json", "figures/*.png",
    "checkpoints/last.ckpt",
)  # fmt: skip

CHECKPOINT_FORMAT = 4  # with the wait until the next μ in a certificate


class CheckpointError(InputError):
    """A checkpoint that cannot be used: truncated, altered, of another version, or of another run."""


class FolderInUse(InputError):
    """Another process is running in the folder."""


class WriteError(OSError):
    """A file could not be written (disk full, folder read-only); what was there before is untouched."""

    def __init__(self, path: Path, cause: OSError) -> None:
        super().__init__(cause.errno, f"{path} could not be written ({cause.strerror or cause})")
        self.path = path
        self.filename = str(path)

    def __str__(self) -> str:
        return str(self.strerror)


def atomic_write(path: Path, data: bytes | Callable[[IO[bytes]], None]) -> None:
    """Write ``data``, or what it writes, to a temporary neighbour of ``path``, flush it to disk, and rename it over ``path``.

    Raises:
        WriteError: (an ``OSError``) when that fails; a file that was at ``path`` is still there, whole.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                if isinstance(data, bytes):
                    file.write(data)
                else:
                    data(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(path, error) from error


def _checksum(payload: bytes, identity: Mapping[str, Any]) -> str:
    """SHA-256 of a checkpoint's state and identity."""
    digest = hashlib.sha256(payload)
    digest.update(json.dumps(dict(identity), sort_keys=True).encode())
    return digest.hexdigest()


def lock_folder(path: Path) -> int | None:
    """An open descriptor that holds the folder for this process; None where the file system has no locks.

    Raises:
        FolderInUse: (an ``InputError``) when another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise FolderInUse(
            f"hydra.run.dir must be a folder that no other process is running in, got {str(path)!r}"
        ) from None
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def in_use(path: Path) -> bool:
    """Whether a process is running in a folder."""
    try:
        descriptor = lock_folder(path)
    except FolderInUse:
        return True
    except OSError:  # there is none
        return False
    if descriptor is not None:
        os.close(descriptor)
    return False


def drop_if_empty(path: Path) -> None:
    """Remove a run folder that nothing was written to."""
    with contextlib.suppress(OSError):
        path.rmdir()


class RunFolder:
    """The files of one run, by name.

    While it is open, no other process can open it (an ``flock`` on the folder, which the system drops with the process);
    what a killed process left half-written under a temporary name is removed.

    Args:
        path: The folder; made when it is missing.

    Raises:
        InputError: when it cannot be made or written to, or when another process is running in it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / f".probe.{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise InputError(f"hydra.run.dir must be a folder that can be written, got {str(path)!r} ({why})") from None
        self._lock = lock_folder(self.path)
        self._unlock = None if self._lock is None else weakref.finalize(self, os.close, self._lock)
        for left in (*self.path.glob(".*.tmp"), *self.path.glob("*/.*.tmp")):
            left.unlink(missing_ok=True)

    def close(self) -> None:
        """Let other processes have the folder."""
        if self._unlock is not None:
            self._unlock()

    def begin(self, config: Mapping[str, Any], resumed: bool, planned: Mapping[str, Any] | None = None) -> None:
        """Write ``config.yaml`` of a run that starts here, or goes on; a new one first removes all that another has left.

        Otherwise a run that is cut would stand beside the results of the other one, as if they were its own. The summary
        goes first: where it is, everything is.
        """
        for name in () if resumed else _RESULTS:
            for left in sorted(self.path.glob(name)):
                left.unlink(missing_ok=True)
        if planned is not None:  # before config.yaml: a folder that can be resumed has its plan
            atomic_write(self.path / "plan.json", (json.dumps(planned, indent=2, allow_nan=False) + "\n").encode())
        self.write_config({**absolute_inputs(config), "resume": None})

    @property
    def checkpoint(self) -> Path:
        """Where the last checkpoint is."""
        return self.path / "checkpoints" / "last.ckpt"

    def write_config(self, config: Mapping[str, Any]) -> None:
        """``config.yaml``: the resolved configuration."""
        atomic_write(self.path / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False).encode())

    def write_problem(self, problem: Problem) -> None:
        """``problem.npz``: A (or what its operator is made of), y, and the truth of a planted problem.

        The name, and the precision that the data had, go along: a run that goes on from this copy is the same run.
        """
        exact = problem.to("cpu", "float64")
        arrays = {**exact.operator.arrays(), "y": exact.y.numpy(), **identifying_arrays(exact)}
        self.write_arrays("problem.npz", arrays)

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """An ``.npz`` file of arrays."""
        atomic_write(self.path / name, lambda file: np.savez(file, **dict(arrays)))  # type: ignore[arg-type]

    def write_trajectory(self, columns: Mapping[str, np.ndarray]) -> None:
        """``trajectory.csv``: one row for each recorded step; numbers with all their digits."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*(values.tolist() for values in columns.values()), strict=True))
        atomic_write(self.path / "trajectory.csv", text.getvalue().encode())

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """``summary.json``; NaN and infinities are refused."""
        atomic_write(self.path / "summary.json", (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode())

    def write_checkpoint(self, state: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
        """``checkpoints/last.ckpt``: the state, what run and version it belongs to, and a checksum of all of it.

        The checkpoint before it stays in its place until the new one is whole on the disk.
        """
        inner = io.BytesIO()
        torch.save(dict(state), inner)
        payload = inner.getvalue()
        outer = io.BytesIO()
        torch.save(
            {
                "format": CHECKPOINT_FORMAT,
                "version": __version__,
                "identity": dict(identity),
                "sha256": _checksum(payload, identity),
                "state": torch.frombuffer(bytearray(payload), dtype=torch.uint8),
            },
            outer,
        )
        atomic_write(self.checkpoint, outer.getvalue())

    def read_checkpoint(self, identity: Mapping[str, Any]) -> dict[str, Any]:
        """The saved state, after checking checksum, format, version and identity; no code from the file is executed.

        Raises:
            CheckpointError: (an ``InputError``) naming what is wrong with the checkpoint and what to do.
        """
        path = self.checkpoint
        if not path.is_file():
            raise CheckpointError(f"resume must be a run folder with checkpoints/last.ckpt, got {str(self.path)!r}")
        broken = f"resume must have a whole checkpoint, got {str(path)!r}, which is truncated or altered; start anew"
        try:
            outer = torch.load(path, map_location="cpu", weights_only=True)
            payload = outer["state"].numpy().tobytes()
            saved_format = outer["format"]
            if saved_format != CHECKPOINT_FORMAT:
                raise CheckpointError(
                    f"resume must have a checkpoint of format {CHECKPOINT_FORMAT}, got format {saved_format}"
                )
            saved_version, saved = outer["version"], outer["identity"]
            whole = _checksum(payload, saved) == outer["sha256"]
        except CheckpointError:
            raise
        except Exception:  # whatever the file holds, it is not one of ours
            raise CheckpointError(broken) from None
        if not whole:
            raise CheckpointError(broken)
        if saved_version != __version__:
            raise CheckpointError(
                f"resume must have a checkpoint of dlntorch {__version__}, got one of {saved_version}; "
                f"install dlntorch=={saved_version} to continue it, or start anew"
            )
        # an identity has the key only where there are several
        check_identity(saved, {**identity, "shards": identity.get("shards")}, "resume", CheckpointError)
        return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
