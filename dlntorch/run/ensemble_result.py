"""What an ensemble gives back, in memory and from its folder."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem, load_problem
from dlntorch.run.result import RunResult, check_ends, recorded_trajectory, start_in, tensors_of
from dlntorch.run.summary import check_summary, networks_row
from dlntorch.store.folder import RunFolder, atomic_write
from dlntorch.store.reading import array_limit, read_json, read_yaml, refuse_damage
from dlntorch.training.ensemble import overall_status

__all__ = ["EnsembleResult", "ensemble_summary", "load_ensemble", "network_rows", "write_ensemble"]

#: What ``result.npz`` has of the ends of runs: θ by its two sides, or whole where there are none.
_ENDS = ("theta_plus", "theta_minus", "theta", "psi")


@dataclass(frozen=True)
class EnsembleResult(Sequence[RunResult]):
    """Finished networks, in the order they were asked for; ``result[i]`` is the i-th as a run of its own.

    Attributes:
        networks: One :class:`RunResult` for each.
        summary: The dictionary of ``summary.json``: of the ensemble, and under ``networks`` that of every network.
        config: The resolved configuration, for ensembles that have a folder.
        folder: The run folder, for ensembles that have one.
    """

    networks: tuple[RunResult, ...]
    summary: dict[str, Any]
    config: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    def __repr__(self) -> str:
        """One line: how the networks ended, and over what."""
        spans = []
        for key in ("p", "alpha", "seed"):
            values = [network.summary[key] for network in self.networks if network.summary.get(key) is not None]
            if values:
                low, high = min(values), max(values)
                spans.append(f"{key} = {low:g}" if low == high else f"{key} = {low:g} to {high:g}")
        ended = str(self.summary.get("reason", "how they ended is not known"))
        return f"EnsembleResult({len(self)} networks, {ended}{''.join(f'; {span}' for span in spans)})"

    def __len__(self) -> int:
        return len(self.networks)

    @overload
    def __getitem__(self, index: int) -> RunResult: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[RunResult]: ...
    def __getitem__(self, index: int | slice) -> RunResult | Sequence[RunResult]:
        return self.networks[index]

    def __iter__(self) -> Iterator[RunResult]:
        return iter(self.networks)

    @property
    def status(self) -> Status:
        """The gravest status of the networks."""
        return Status(self.summary["status"])

    @property
    def theta_plus(self) -> Tensor:
        """θ₊ at the end, shape (networks, n)."""
        return torch.stack([network.theta_plus for network in self.networks])

    @property
    def theta_minus(self) -> Tensor:
        """θ₋ at the end, shape (networks, n)."""
        return torch.stack([network.theta_minus for network in self.networks])

    @property
    def psi(self) -> Tensor:
        """ψ at the end, shape (networks, n)."""
        return torch.stack([network.psi for network in self.networks])

    @property
    def problems(self) -> list[Problem]:
        """The different problems, in order of appearance."""
        return list({id(network.problem): network.problem for network in self.networks}.values())

    def arrays(self) -> dict[str, np.ndarray]:
        """What ``result.npz`` holds: θ and ψ with a leading axis of networks, the recorded paths one after the other."""
        numbers = {id(problem): i for i, problem in enumerate(self.problems)}
        parts = [network.arrays() for network in self.networks]
        found = {name: np.stack([part[name] for part in parts]) for name in _ENDS if name in parts[0]}
        if any("start" in part for part in parts):
            pairs = zip(parts, self.networks, strict=True)
            found["start"] = np.stack([part["start"] if "start" in part else _equal(one) for part, one in pairs])
        found["problem"] = np.array([numbers[id(network.problem)] for network in self.networks])
        paths = [name for name in parts[0] if name.startswith("trajectory_")]
        lengths = [len(part["trajectory_step"]) for part in parts]
        found["trajectory_network"] = np.repeat(np.arange(len(self)), lengths)
        return {**found, **{name: np.concatenate([part[name] for part in parts]) for name in paths}}


def _equal(network: RunResult) -> np.ndarray:
    """θ±(0) of a network that starts from one number, shape (2, n)."""
    return np.full((2, network.problem.n), float(network.summary["alpha"]))


def ensemble_summary(networks: Sequence[RunResult], wall_seconds: float, threads: int) -> dict[str, Any]:
    """The summary of an ensemble."""
    counts = Counter(str(network.status) for network in networks)
    return {
        "status": str(overall_status([network.status for network in networks])),
        "reason": ", ".join(f"{count} of {len(networks)} {name}" for name, count in counts.most_common()),
        "size": len(networks),
        "statuses": dict(counts),
        "steps": sum(network.summary["steps"] for network in networks),
        "wall_seconds": wall_seconds,
        "threads": threads,
        "networks": [network.summary for network in networks],
    }


def network_rows(networks: Sequence[RunResult]) -> list[dict[str, Any]]:
    """One flat row for each network: what was asked, how it ended, its distances and its error budget."""
    rows = []
    for i, network in enumerate(networks):
        summary = network.summary
        rows.append({"network": i, "problem": summary["problem"]["name"], **networks_row(summary)})
    return rows


def write_ensemble(place: RunFolder, result: EnsembleResult) -> None:
    """``result.npz``, ``trajectory.csv`` (with a leading column ``network``), ``networks.csv`` and ``summary.json``."""
    place.write_arrays("result.npz", result.arrays())
    names = list(dict.fromkeys(name for network in result for name in network.history))
    columns: dict[str, list[Any]] = {"network": [], **{name: [] for name in names}}
    for i, network in enumerate(result):
        length = len(network.history["step"])
        columns["network"] += [i] * length
        for name in names:
            values = network.history.get(name)
            columns[name] += [""] * length if values is None else values.tolist()
    _write_csv(place.path / "trajectory.csv", columns, zip(*columns.values(), strict=True))
    rows = network_rows(result.networks)
    _write_csv(place.path / "networks.csv", rows[0], (row.values() for row in rows))
    place.write_summary(result.summary)


def _write_csv(path: Path, header: Any, rows: Any) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(["" if cell is None else cell for cell in row] for row in rows)
    atomic_write(path, text.getvalue().encode())


def load_ensemble(folder: str | Path) -> EnsembleResult:
    """Read a finished ensemble back from its folder.

    Args:
        folder: The run folder of an ensemble.

    Raises:
        InputError: when the folder is missing or is not a finished ensemble's.
    """
    path = Path(folder)
    needed = ("summary.json", "result.npz", "config.yaml", "trajectory.csv", "networks.csv")
    missing = [name for name in needed if not (path / name).is_file()]
    if missing:
        what = "folder must be that of a finished ensemble"
        raise InputError(f"{what}, got {str(folder)!r}, where {missing[0]} is missing")
    with refuse_damage("a whole ensemble", folder):
        summary, config = read_json(path / "summary.json"), read_yaml(path / "config.yaml")
        for one in summary["networks"]:
            check_summary(one)
        arrays = tensors_of(path / "result.npz")
        histories = _read_histories(path / "trajectory.csv", len(summary["networks"]))
        known: dict[int, Problem] = {}
        networks = []
        several = bool((arrays["problem"] > 0).any())
        for i, one in enumerate(summary["networks"]):
            number = int(arrays["problem"][i])
            if number not in known:
                stored = problem_file(path, number, several)
                known[number] = load_problem(stored, name=one["problem"]["name"], max_bytes=array_limit(stored))
            networks.append(_network(one, arrays, i, known[number], histories[i]))
        result = EnsembleResult(tuple(networks), summary, config, path)
        repr(result)  # asks the summary for all that is shown of an ensemble
        return result


def problem_file(folder: Path, number: int, several: bool) -> Path:
    """Where the problem of this number is: ``problem.npz`` where all networks share it, else one folder for each.

    Told by the results, not by which file there is: the folder may have that of another run.
    """
    return (folder / "problems" / str(number) if several else folder) / "problem.npz"


def _network(
    summary: dict[str, Any], arrays: dict[str, Tensor], i: int, problem: Problem, history: dict[str, np.ndarray]
) -> RunResult:
    own = {name: arrays[name][i] for name in _ENDS if name in arrays}
    trajectory = recorded_trajectory(summary, arrays, arrays["trajectory_network"] == i)
    starts = {"start": arrays["start"][i]} if "start" in arrays else {}
    ends, start = check_ends(own, (problem.n,)), start_in(summary, starts)
    return RunResult(summary, *ends, trajectory, trajectory.status, problem, history, start=start)


def _read_histories(path: Path, count: int) -> list[dict[str, np.ndarray]]:
    """The columns of ``trajectory.csv``, network by network; a column that a network has not is left out."""
    with open(path, newline="") as file:
        header, *rows = csv.reader(file)
    groups: list[list[list[str]]] = [[] for _ in range(count)]
    for row in rows:
        groups[int(row[0])].append(row[1:])
    found = []
    for group in groups:
        cells = list(zip(*group, strict=True))
        columns = dict(zip(header[1:], cells, strict=True))
        found.append({name: np.array(values, dtype=np.float64) for name, values in columns.items() if values[0] != ""})
    return found
