"""What a run of a factorization gives back, in memory and from its folder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.matrix.network_descent import NetworkDescent
from dlntorch.matrix.norms import rank_of
from dlntorch.matrix.problem import EntriesOperator, MatrixProblem
from dlntorch.matrix.training import effective_rank
from dlntorch.numerics.trajectory import Status
from dlntorch.store.provenance import versions
from dlntorch.store.reading import read_arrays_of, read_json, read_yaml

if TYPE_CHECKING:
    from dlntorch.run.matrix_plan import MatrixPlan

__all__ = ["MatrixResult", "load_matrix_run", "matrix_arrays", "matrix_summary"]

#: Keys of a vector's summary that have no meaning for a matrix, and why.
_OF_VECTORS = {
    "l1_gap": "the nuclear norm takes the place of the l1 norm: nuclear_gap",
    "distance_to_l1": "the nuclear norm takes the place of the l1 norm: distance_to_nuclear",
    "distance_to_selected": "no theorem says which minimiser a factorization selects where measurements do not commute",
    "distance_to_limit": "the limit of a matrix flow has no closed form: dlntorch.matrix.matrix_limit follows it",
    "distance_to_flow": "the flow of matrices is not integrated along a run: integrate_matrix_flow does it",
}


@dataclass(frozen=True)
class MatrixResult:
    """A finished run of a factorization.

    Attributes:
        summary: The dictionary of ``summary.json``.
        X: At the end, shape (d1, d2).
        layers: U_1 … U_N there.
        status: How the run ended.
        problem: The measurements.
        history: Measured columns at the recorded steps, each of shape (k,).
        config: The resolved configuration, for runs that have a folder.
        folder: The run folder, for runs that have one.
    """

    summary: dict[str, Any]
    X: Tensor
    layers: tuple[Tensor, ...]
    status: Status
    problem: MatrixProblem
    history: dict[str, np.ndarray] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    def __repr__(self) -> str:
        summary = self.summary
        gap = "" if summary["nuclear_gap"] is None else f"; ‖X‖_* is {1 + summary['nuclear_gap']:.6g} of the least"
        return (
            f"MatrixResult({self.status} after {summary['steps']:,} steps: {summary['model']}, "
            f"alpha = {summary['alpha']:g}, {summary['problem']['name']}, rank {summary['rank']}{gap})"
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """What ``result.npz`` holds."""
        layers = {f"layer_{j + 1}": layer.numpy() for j, layer in enumerate(self.layers)}
        return {"X": self.X.numpy(), **layers}


def matrix_summary(plan: MatrixPlan, descent: NetworkDescent, history: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Everything that is known about a finished run, by the keys of ``summary.json``."""
    problem, settings, least = plan.problem, plan.settings, plan.least
    X = descent.X[0]
    values = torch.linalg.svdvals(X)
    network: Any = descent.network
    d1, d2 = problem.shape
    summary: dict[str, Any] = {
        "status": str(descent.status),
        "reason": descent.reason,
        "p": None,
        "p_reason": "a factorization has model.layers in the place of a depth p",
        "model": repr(network),
        "alpha": settings.model["alpha"],
        "start": settings.model["start"] or ("zero_last" if network.kind.name == "product" else "balanced"),
        "seed": settings.model["seed"],
        "optimizer": {"name": settings.update.name, **settings.update.options()},
        "dtype": "float64",
        "tol": settings.budget.tol,
        "problem": {"m": problem.m, "n": problem.n, "d1": d1, "d2": d2, "name": problem.name},
        "steps": descent.steps,
        "time": float(descent.time[0]),
        "wall_seconds": descent.wall_seconds,
    }
    known = problem.flat.known_rank
    put(summary["problem"], "rank", known, f"the rank is not known: the measurements are {problem.operator!r}")
    if known is not None:
        summary["problem"]["rank"] = int(known)
    put(summary, "residual", float(descent.relative_residual()[0]))
    summary["rank"] = rank_of(values.numpy())
    put(summary, "effective_rank", effective_rank(values))
    put(summary, "nuclear_norm", values.sum())
    put(summary, "imbalance", network.imbalance)
    gap = None if least is None or not least.value else float(values.sum()) / least.value - 1
    put(summary, "nuclear_gap", gap, plan.why or "the least nuclear norm is 0")
    put(summary, "distance_to_nuclear", None if least is None else (X - least.X).norm(), plan.why)
    truth = problem.truth
    put(summary, "distance_to_truth", None if truth is None else (X - truth).norm(), "the problem has no planted truth")
    for key, why in _OF_VECTORS.items():
        put(summary, key, None, why)
    summary["singular_values"] = values[:20].tolist()
    summary["schedule"] = _schedule(settings.schedule, history)
    summary["references"] = _references(plan)
    summary["versions"] = versions()
    return summary


def put(target: dict[str, Any], key: str, value: Any, reason: str = "") -> None:
    """Set a finite number, or None with a reason beside it."""
    number = None if value is None else float(value)
    if number is not None and math.isfinite(number):
        target[key] = number
        return
    target[key] = None
    target[f"{key}_reason"] = reason if number is None else f"the value is {number}, which is not a finite number"


def _schedule(given: Mapping[str, Any], history: Mapping[str, np.ndarray]) -> dict[str, Any]:
    eta = history["eta"][1:]
    found: dict[str, Any] = {"name": given["name"]}
    for key, value in (("eta_min", eta.min() if eta.size else None), ("eta_max", eta.max() if eta.size else None)):
        put(found, key, value, "no step was made")
    put(found, "kappa", given.get("kappa"), f"schedule={given['name']} has none")
    return found


def _references(plan: MatrixPlan) -> dict[str, Any]:
    least, found = plan.least, {}
    put(found, "nuclear_value", None if least is None else least.value, plan.why)
    put(found, "nuclear_certificate_gap", None if least is None else least.gap, plan.why)
    found["nuclear_rank"] = None if least is None else least.rank
    found["unique"] = None if least is None else least.unique
    if found["nuclear_rank"] is None:
        found["nuclear_rank_reason"] = plan.why
    if found["unique"] is None:
        found["unique_reason"] = plan.why if least is None else least.unique_reason
    return found


def matrix_arrays(problem: MatrixProblem) -> dict[str, np.ndarray]:
    """What ``problem.npz`` holds: ``places`` (numbers in vec(X)) or ``measurements``, ``shape``, ``y``, ``truth``."""
    operator = problem.operator
    arrays = {"shape": np.array(problem.shape), "y": problem.y.numpy()}
    if isinstance(operator, EntriesOperator):
        arrays["places"] = operator.places.numpy()
    else:
        arrays["measurements"] = problem.measurements.numpy()
    if problem.truth is not None:
        arrays["truth"] = problem.truth.numpy()
    return arrays


def load_matrix_run(folder: Path) -> MatrixResult:
    """Read a finished run of a factorization back from its folder."""
    from dlntorch.run.result import _read_columns

    summary, config = read_json(folder / "summary.json"), read_yaml(folder / "config.yaml")
    arrays, stored = read_arrays_of(folder / "result.npz"), read_arrays_of(folder / "problem.npz")
    shape = tuple(int(side) for side in stored["shape"])
    given = {"shape": shape, "name": summary["problem"]["name"], "truth": stored.get("truth")}
    if "places" in stored:
        problem = MatrixProblem(
            EntriesOperator(torch.from_numpy(stored["places"]), shape[0] * shape[1]), stored["y"], **given
        )
    else:
        problem = MatrixProblem(stored["measurements"], stored["y"], **given)
    layers = tuple(torch.from_numpy(arrays[f"layer_{j + 1}"]) for j in range(len(arrays) - 1))
    history = _read_columns(folder / "trajectory.csv")
    X = torch.from_numpy(arrays["X"])
    return MatrixResult(summary, X, layers, Status(summary["status"]), problem, history, config, folder)
