"""What a run gives back, in memory and from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.model.initialization import Initialization
from dlntorch.numerics.trajectory import Status, Trajectory
from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem, load_problem
from dlntorch.run.predicted_saddles import PredictedSaddles, saddles_of
from dlntorch.run.summary import PARTS_OF_ERROR, check_summary
from dlntorch.store.reading import array_limit, read_arrays_of, read_json, read_yaml, refuse_damage

if TYPE_CHECKING:
    from dlntorch.bounds.effective import Effective

__all__ = ["RunResult", "check_ends", "load_run", "network_words", "recorded_trajectory", "start_in", "tensors_of"]


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        summary: The dictionary of ``summary.json``.
        theta: θ at the end, shape (width, n), float64 on the CPU: θ₊ and θ₋ at depth p.
        psi: ψ at the end, shape (n,).
        trajectory: The recorded path, at logarithmically spaced steps.
        status: How the run ended.
        problem: The problem that it ran on.
        history: Measured columns at the recorded steps (residual, distances, sharpness, …), each of shape (k,).
        config: The resolved configuration, for runs that have a folder.
        folder: The run folder, for runs that have one.
        saddles: The saddles that theory predicts, for runs that have a page.
        start: θ±(0), for runs at a depth p from a start of several numbers; ``summary["alpha"]`` is None then.
    """

    summary: dict[str, Any]
    theta: Tensor
    psi: Tensor
    trajectory: Trajectory
    status: Status
    problem: Problem
    history: dict[str, np.ndarray] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    saddles: PredictedSaddles | None = None
    start: Initialization | None = None

    @property
    def theta_plus(self) -> Tensor:
        """θ₊ at the end, shape (n,)."""
        return self._side(0)

    @property
    def theta_minus(self) -> Tensor:
        """θ₋ at the end, shape (n,)."""
        return self._side(1)

    def _side(self, side: int) -> Tensor:
        if self.summary["p"] is None:
            raise AttributeError(f"{self.summary['model']} has no theta_plus and theta_minus; theta has its parameters")
        return self.theta[side]

    def __repr__(self) -> str:
        """One line: how the run ended, and its error budget."""
        summary = self.summary
        data = summary["problem"]
        parts = ", ".join(
            f"{name} {summary['budget'][name]:.2g}" for name in PARTS_OF_ERROR if summary["budget"][name] is not None
        )
        distance = summary["distance_to_selected"]
        error = "" if distance is None else f"; ‖ψ − W_p‖₂ = {distance:.2g}"
        return (
            f"RunResult({self.status} after {summary['steps']:,} steps: {network_words(summary)}, "
            f"{data['name']} {data['m']}×{data['n']}{error}{f' ({parts})' if parts else ''})"
        )

    @cached_property
    def effective(self) -> Effective:
        """The start from which the flow ends where this run did, from θ alone; see :func:`effective_initialization`."""
        from dlntorch.bounds.effective import effective_initialization, unknown

        if self.summary["p"] is None:
            return unknown("summary['effective'] has what is known of a network without a depth p")
        start = self.summary["alpha"] if self.start is None else self.start
        if start is None:
            return unknown("the folder is of a version that did not keep a start of several numbers")
        try:
            return effective_initialization(self.problem, self.summary["p"], self.theta_plus, self.theta_minus, start)
        except InputError as error:  # an operator, or an end that left the positive orthant
            return unknown(str(error))

    def arrays(self) -> dict[str, np.ndarray]:
        """What ``result.npz`` holds."""
        path = self.trajectory
        step = torch.zeros(len(path), dtype=torch.int64) if path.step is None else path.step
        two_sided = self.summary["p"] is not None
        theta = {"theta_plus": self.theta[0], "theta_minus": self.theta[1]} if two_sided else {"theta": self.theta}
        tensors = {
            **theta,
            "psi": self.psi,
            "trajectory_step": step,
            "trajectory_t": path.t,
            "trajectory_psi": path.psi,
            "trajectory_loss": path.loss,
        }
        if self.start is not None:
            tensors["start"] = torch.stack(self.start.expanded(self.problem.n))
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        return arrays if self.saddles is None else {**arrays, **self.saddles.arrays()}


def load_run(folder: str | Path) -> Any:
    """Read a finished run back from its folder: a :class:`RunResult`, or a ``MatrixResult`` of a factorization.

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
    with refuse_damage("a whole run", folder):
        summary, config = read_json(path / "summary.json"), read_yaml(path / "config.yaml")
        if config.get("model", {}).get("name") == "factorization":
            from dlntorch.run.matrix_result import load_matrix_run

            return load_matrix_run(path)
        check_summary(summary)
        arrays = tensors_of(path / "result.npz")
        stored = path / "problem.npz"
        problem = load_problem(stored, name=summary["problem"]["name"], max_bytes=array_limit(stored))
        history = _read_columns(path / "trajectory.csv")
        trajectory = recorded_trajectory(summary, arrays)
        ends = check_ends(arrays, (problem.n,))
        return RunResult(
            summary, *ends, trajectory, trajectory.status, problem, history, config, path, saddles_of(arrays),
            start_in(summary, arrays),
        )  # fmt: skip


def start_in(summary: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> Initialization | None:
    """The start of several numbers, where a ``result.npz`` has one."""
    if "start" not in arrays or summary["alpha"] is not None:
        return None
    return Initialization(*arrays["start"])


def tensors_of(file: Path) -> dict[str, Tensor]:
    """The arrays of a ``result.npz``."""
    return {name: torch.from_numpy(array) for name, array in read_arrays_of(file).items()}


def recorded_trajectory(summary: dict[str, Any], arrays: dict[str, Tensor], rows: Any = slice(None)) -> Trajectory:
    """The recorded path of the network that has these rows of it."""
    t, psi, loss, step = (arrays[f"trajectory_{name}"][rows] for name in ("t", "psi", "loss", "step"))
    if not len(t) == len(psi) == len(loss) == len(step):
        raise ValueError(
            f"result.npz has a path of {len(t)} times, {len(psi)} psi, {len(loss)} losses, {len(step)} steps"
        )
    return Trajectory(
        t=t, psi=psi, loss=loss, status=Status(summary["status"]), reason=str(summary["reason"]), step=step
    )


def check_ends(arrays: dict[str, Tensor], shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """θ, with its axis of parameters before the last one, and ψ at the end, both of one shape beside that axis."""
    psi = arrays["psi"]
    if "theta" in arrays:
        theta = arrays["theta"]
        found = {"theta": theta.select(-2, 0)} if theta.ndim == len(shape) + 1 else {"theta": theta}
    else:
        found = {name: arrays[name] for name in ("theta_plus", "theta_minus")}
        theta = None
    for name, array in (*found.items(), ("psi", psi)):
        if tuple(array.shape) != shape:
            raise ValueError(f"{name} must have shape {shape}, got {tuple(array.shape)}")
    return torch.stack(list(found.values()), dim=-2) if theta is None else theta, psi


def network_words(summary: Mapping[str, Any]) -> str:
    """Network and start, in words, from a summary; runs of version 0.1 have a depth and one α."""
    network = summary.get("model") if summary["p"] is None else f"p = {summary['p']:g}"
    return (
        f"{network}, alpha = {summary['alpha']:g}" if summary["alpha"] is not None else f"{network}, {summary['start']}"
    )


def _read_columns(path: Path) -> dict[str, np.ndarray]:
    """The columns of a ``trajectory.csv``; none when there is no such file."""
    if not path.is_file():
        return {}
    lines = path.read_text().splitlines()
    rows = [[float(cell) for cell in line.split(",")] for line in lines[1:]]
    table = np.array(rows, dtype=np.float64).reshape(len(rows), -1)
    return {name: table[:, i] for i, name in enumerate(lines[0].split(","))}
