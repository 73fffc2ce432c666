"""The run folder: every file is written under a temporary name and renamed, so none is ever half-written."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from dlntorch.problem import Problem
from dlntorch.validation import InputError

__all__ = ["RunFolder", "atomic_write", "problem_digest"]

CHECKPOINT_FORMAT = 1


def atomic_write(path: Path, data: bytes) -> None:
    """Write ``data`` to a temporary neighbour of ``path``, flush it to disk, and rename it over ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def problem_digest(problem: Problem) -> str:
    """SHA-256 of (A, y) in float64: what identifies a problem in a checkpoint."""
    digest = hashlib.sha256(f"{problem.m},{problem.n};".encode())
    for tensor in (problem.A, problem.y):
        digest.update(tensor.detach().to("cpu", torch.float64).numpy().tobytes())
    return digest.hexdigest()


class RunFolder:
    """The files of one run, by name.

    Args:
        path: The folder; made when it is missing.

    Raises:
        InputError: when it cannot be made or written to.
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

    @property
    def checkpoint(self) -> Path:
        """Where the last checkpoint is."""
        return self.path / "checkpoints" / "last.ckpt"

    def write_config(self, config: Mapping[str, Any]) -> None:
        """``config.yaml``: the resolved configuration."""
        atomic_write(self.path / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False).encode())

    def write_problem(self, problem: Problem) -> None:
        """``problem.npz``: A, y, and the truth of a planted problem."""
        arrays = {"A": problem.A, "y": problem.y}
        if problem.truth is not None:
            arrays["truth"] = problem.truth
        self.write_arrays("problem.npz", {k: v.detach().to("cpu", torch.float64).numpy() for k, v in arrays.items()})

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """An ``.npz`` file of arrays."""
        buffer = io.BytesIO()
        np.savez(buffer, **dict(arrays))  # type: ignore[arg-type]
        atomic_write(self.path / name, buffer.getvalue())

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
        """``checkpoints/last.ckpt``: the state, what run it belongs to, and a checksum."""
        inner = io.BytesIO()
        torch.save(dict(state), inner)
        payload = inner.getvalue()
        outer = io.BytesIO()
        torch.save(
            {
                "format": CHECKPOINT_FORMAT,
                "identity": dict(identity),
                "sha256": hashlib.sha256(payload).hexdigest(),
                "state": torch.frombuffer(bytearray(payload), dtype=torch.uint8),
            },
            outer,
        )
        atomic_write(self.checkpoint, outer.getvalue())

    def read_checkpoint(self, identity: Mapping[str, Any]) -> dict[str, Any]:
        """The saved state, after checking its format, checksum and identity; no code from the file is executed.

        Raises:
            InputError: naming what is wrong with the checkpoint and what to do.
        """
        path = self.checkpoint
        if not path.is_file():
            raise InputError(f"resume must be a run folder with checkpoints/last.ckpt, got {str(self.path)!r}")
        broken = f"resume must have a whole checkpoint, got {str(path)!r}, which is truncated or altered; start anew"
        try:
            outer = torch.load(path, map_location="cpu", weights_only=True)
            payload = outer["state"].numpy().tobytes()
            whole = hashlib.sha256(payload).hexdigest() == outer["sha256"]
            saved_format, saved = outer["format"], outer["identity"]
        except Exception:  # whatever the file holds, it is not one of ours
            raise InputError(broken) from None
        if not whole:
            raise InputError(broken)
        if saved_format != CHECKPOINT_FORMAT:
            raise InputError(f"resume must have a checkpoint of format {CHECKPOINT_FORMAT}, got format {saved_format}")
        for key, value in identity.items():
            if saved.get(key) != value:
                raise InputError(
                    f"resume must continue the same run: its checkpoint has {key}={saved.get(key)!r}, got {value!r}"
                )
        return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
