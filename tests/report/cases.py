"""Runs made up for the tests of the report: plausible numbers, and every way in which some may be missing."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dlntorch.numerics.trajectory import Status, Trajectory
from dlntorch.numerics.validation import DataWarning
from dlntorch.problem import Problem
from dlntorch.run.result import RunResult

REASON = "references=false"
REFERENCE_COLUMNS = (
    "l1_gap",
    "distance_to_l1",
    "distance_to_selected",
    "distance_to_limit",
    "distance_to_flow",
    "flow_to_limit",
)


def made_up_run(
    folder: Path | None,
    *,
    snapshots: int = 60,
    m: int = 4,
    n: int = 9,
    name: str = "made up",
    status: Status = Status.CONVERGED,
    references: bool = True,
    truth: bool = False,
    batch_size: int | None = None,
    scale: float = 1.0,
    initialization: float = 1e-4,
) -> RunResult:
    """A run whose coefficients rise one after the other and whose distances fall to a floor."""
    rng = np.random.default_rng(7)
    minimizer = np.zeros(n)
    support = rng.choice(n, min(m, n), replace=False)
    minimizer[support] = scale * rng.standard_normal(len(support))
    A = rng.standard_normal((m, n))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # n = 1 is not over-parameterised
        problem = Problem(A, A @ minimizer, name=name, truth=minimizer if truth else None)
    step = np.unique(np.concatenate([[0], np.geomspace(1, 10_000, snapshots - 1).round()])) if snapshots > 1 else [0]
    step = np.asarray(step, dtype=np.float64)
    t = 0.02 * step
    rise = 1 / (1 + np.exp(-(np.log(t + 1e-9)[:, None] - np.linspace(0, 4, n)) * 4))
    psi = rise * minimizer
    psi[t == 0] = 0
    decay = np.exp(-t / 10)
    floor = initialization * scale
    history: dict[str, np.ndarray] = {
        "step": step,
        "t": t,
        "eta": np.where(step > 0, 0.02, 0.0),
        "loss": 0.5 * decay**2,
        "residual": np.maximum(decay, 1e-11),
        "l1_gap": scale * (1e-4 - decay),
        "distance_to_l1": scale * decay + floor,
        "distance_to_selected": scale * decay + floor,
        "distance_to_limit": scale * (decay + 1e-7),
        "sharpness": 5 + 3 * np.tanh(t),
        "smallest_parameter": 0.01 * (1 - 0.5 * np.tanh(t)),
        "distance_to_flow": 1e-6 * scale * t / (1 + t),
        "flow_to_limit": scale * decay,
    }
    if not references:
        history = {key: values for key, values in history.items() if key not in REFERENCE_COLUMNS}
    if truth:
        history["distance_to_truth"] = scale * decay + 3 * floor
    tensors = torch.from_numpy(psi)
    trajectory = Trajectory(
        t=torch.from_numpy(t),
        psi=tensors,
        loss=torch.from_numpy(history["loss"]),
        status=status,
        reason=status.message,
        step=torch.from_numpy(step.astype(np.int64)),
    )
    theta = torch.full((n,), 0.01, dtype=torch.float64)
    summary = _summary(problem, history, status, references, batch_size, floor)
    config = {"p": 3, "alpha": 0.01, "problem": {"name": name}}
    return RunResult(
        summary, torch.stack([theta, theta]), tensors[-1], trajectory, status, problem, history, config, folder
    )


def _summary(
    problem: Problem,
    history: dict[str, np.ndarray],
    status: Status,
    references: bool,
    batch_size: int | None,
    floor: float,
) -> dict[str, Any]:
    last = {key: float(values[-1]) for key, values in history.items()}
    summary: dict[str, Any] = {
        "status": str(status),
        "reason": status.message,
        "p": 3.0,
        "alpha": 0.01,
        "seed": 0,
        "engine": "eager",
        "batch_size": batch_size,
        "dtype": "float64",
        "tol": 1e-10,
        "problem": {"m": problem.m, "n": problem.n, "rank": problem.rank, "name": problem.name},
        "steps": int(last["step"]),
        "time": last["t"],
        "wall_seconds": 0.5,
        "residual": last["residual"],
        "inconsistency": 0.0,
        "advice": "the initialization: the flow's limit is 0.0001 from W_p" if references else REASON,
        "signatures": [],
    }
    for key in ("l1_gap", "distance_to_l1", "distance_to_selected", "distance_to_limit", "distance_to_flow"):
        _put(summary, key, last.get(key))
    _put(summary, "distance_to_truth", last.get("distance_to_truth"))
    budget: dict[str, Any] = {}
    _put(budget, "discretization", last.get("distance_to_flow"))
    _put(budget, "finite_time", last.get("flow_to_limit"))
    _put(budget, "initialization", floor if references else None)
    budget["dominant"] = max(budget, key=lambda key: budget[key]) if references else None
    if not references:
        budget["dominant_reason"] = "discretization, finite_time, initialization could not be computed"
    summary["budget"] = budget
    predicted: dict[str, Any] = {}
    for key, value in (("exponent", 3.0), ("constant", 90.0), ("initialization", 0.9 * floor), ("rho", None)):
        _put(predicted, key, value if references else None)
    summary["predicted"] = predicted
    schedule: dict[str, Any] = {"name": "relative", "rule": "relative", "kappa": 0.01, "c": 1.0}
    schedule |= {"eta_min": 0.02, "eta_max": 0.02, "theorem_log10_eta": -300.0, "theorem_log10_steps": 303.0}
    for key in ("certificate", "certified_theta_error", "certified_theta_error_sup"):
        _put(schedule, key, None)
    summary["schedule"] = schedule
    summary["references"] = {"unique": True if references else None, "unique_reason": "", "notes": {}}
    _put(summary["references"], "l1_value", float(problem.truth.abs().sum()) if problem.truth is not None else None)
    summary["versions"] = {"python": "3.11.7", "dlntorch": "0.1.0"}
    return summary


def _put(target: dict[str, Any], key: str, value: float | None) -> None:
    target[key] = value
    if value is None:
        target[f"{key}_reason"] = REASON
