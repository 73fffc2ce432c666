"""What a finished descent becomes: the measurer of its path, and its result with everything that is known about it."""

from __future__ import annotations

import numpy as np
import torch

from dlntorch.model.initialization import Initialization
from dlntorch.model.metrics import distance
from dlntorch.numerics.trajectory import Trajectory
from dlntorch.problem import Problem
from dlntorch.run.finished import FinishedRun
from dlntorch.run.references import References, flow_along
from dlntorch.run.result import RunResult
from dlntorch.run.settings import RunSettings
from dlntorch.run.summary import build_summary
from dlntorch.training.descent import Descent
from dlntorch.training.measure import Measurer

__all__ = ["measurer_of", "run_result"]


def measurer_of(problem: Problem, settings: RunSettings, references: References) -> Measurer:
    """What measures the snapshots of a run against its references."""
    value = None if references.l1 is None else float(references.l1.value)
    exact = problem.to("cpu", "float64")
    return Measurer(exact.reduced(), settings.law, references.vectors(problem), value)


def run_result(
    problem: Problem,
    settings: RunSettings,
    descent: Descent,
    references: References,
    history: dict[str, np.ndarray],
) -> RunResult:
    """Everything about a finished descent, in memory."""
    exact = problem.to("cpu", "float64")
    flow, why = None, "references=false"
    if settings.references:
        times = settings.update.flow_time * descent.recorder.column("time")
        flow, why = flow_along(exact, settings.depth_or_law, settings.alpha, times)
    theta = descent.network.whole_theta().to("cpu", torch.float64)
    recorder = descent.recorder
    path = descent.network.parametrization.values(torch.from_numpy(recorder.column("theta")))
    if flow is not None:
        history = {**history, "distance_to_flow": distance(path, flow).numpy()}
        if references.limit is not None:
            history["flow_to_limit"] = distance(flow, references.limit.psi).numpy()
    run = FinishedRun(problem, settings, descent, references, None if flow is None else flow[-1], why, history)
    trajectory = Trajectory(
        t=torch.from_numpy(recorder.column("time")),
        psi=path,
        loss=exact.loss(path),
        status=run.status,
        reason=descent.reason,
        step=torch.from_numpy(recorder.column("step")),
    )
    summary = build_summary(run)
    start = settings.alpha if settings.p is not None and isinstance(settings.alpha, Initialization) else None
    return RunResult(summary, theta, run.psi, trajectory, run.status, problem, history, start=start)
