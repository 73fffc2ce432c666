"""What a run gives back, in memory and from its folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from dlntorch.problem import Problem
from dlntorch.problems import load_problem
from dlntorch.problems.formats import MAX_BYTES
from dlntorch.trajectory import Status, Trajectory
from dlntorch.validation import InputError

__all__ = ["RunResult", "load_run"]


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        summary: The dictionary of ``summary.json``.
        theta_plus: θ₊ at the end, shape (n,), float64 on the CPU.
        theta_minus: θ₋ at the end, shape (n,).
        psi: ψ = θ₊^p − θ₋^p at the end, shape (n,).
        trajectory: The recorded path, at logarithmically spaced steps.
        status: How the run ended.
        problem: The problem that it ran on.
        history: Measured columns at the recorded steps (residual, distances, sharpness, …), each of shape (k,).
        config: The resolved configuration, for runs that have a folder.
        folder: The run folder, for runs that have one.
    """

    summary: dict[str, Any]
    theta_plus: Tensor
    theta_minus: Tensor
    psi: Tensor
    trajectory: Trajectory
    status: Status
    problem: Problem
    history: dict[str, np.ndarray] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """What ``result.npz`` holds."""
        path = self.trajectory
        step = torch.zeros(len(path), dtype=torch.int64) if path.step is None else path.step
        tensors = {
            "theta_plus": self.theta_plus,
            "theta_minus": self.theta_minus,
            "psi": self.psi,
            "trajectory_step": step,
            "trajectory_t": path.t,
            "trajectory_psi": path.psi,
            "trajectory_loss": path.loss,
        }
        return {name: tensor.numpy() for name, tensor in tensors.items()}


def load_run(folder: str | Path) -> RunResult:
    """Read a finished run back from its folder.

    Args:
        folder: A run folder, with ``summary.json``, ``result.npz``, ``problem.npz`` and ``config.yaml``.

    Raises:
        InputError: when the folder is missing or is not a finished run's.
    """
    path = Path(folder)
    if (path / "networks.csv").is_file():
        raise InputError(f"folder must be that of one run, got {str(folder)!r} of an ensemble: use load_ensemble")
    needed = ("summary.json", "result.npz", "problem.npz", "config.yaml")
    missing = [name for name in needed if not (path / name).is_file()]
    if missing:
        raise InputError(f"folder must be that of a finished run, got {str(folder)!r}, where {missing[0]} is missing")
    try:
        summary = json.loads((path / "summary.json").read_text())
        config = yaml.safe_load((path / "config.yaml").read_text())
        with np.load(path / "result.npz", allow_pickle=False) as file:
            arrays = {name: torch.from_numpy(file[name]) for name in file.files}
        stored = path / "problem.npz"  # our own file, however large it is
        limit = max(MAX_BYTES, 2 * stored.stat().st_size)
        problem = load_problem(stored, name=summary["problem"]["name"], max_bytes=limit)
        status = Status(summary["status"])
        history = _read_columns(path / "trajectory.csv")
        trajectory = Trajectory(
            t=arrays["trajectory_t"],
            psi=arrays["trajectory_psi"],
            loss=arrays["trajectory_loss"],
            status=status,
            reason=summary["reason"],
            step=arrays["trajectory_step"],
        )
        return RunResult(
            summary=summary,
            theta_plus=arrays["theta_plus"],
            theta_minus=arrays["theta_minus"],
            psi=arrays["psi"],
            trajectory=trajectory,
            status=status,
            problem=problem,
            history=history,
            config=config,
            folder=path,
        )
    except (KeyError, ValueError, OSError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise InputError(f"folder must hold a whole run, got {str(folder)!r} ({type(error).__name__}: {why})") from None


def _read_columns(path: Path) -> dict[str, np.ndarray]:
    """The columns of a ``trajectory.csv``; none when there is no such file."""
    if not path.is_file():
        return {}
    lines = path.read_text().splitlines()
    rows = [[float(cell) for cell in line.split(",")] for line in lines[1:]]
    table = np.array(rows, dtype=np.float64).reshape(len(rows), -1)
    return {name: table[:, i] for i, name in enumerate(lines[0].split(","))}
