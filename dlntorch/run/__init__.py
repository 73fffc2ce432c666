"""Wiring of a run: ``train`` (Python), ``run_experiment`` (a composed configuration), ``load_run``.

``run_ensemble`` takes many configurations and trains them side by side.
"""

from __future__ import annotations

from dlntorch.run.ensemble import plan_ensemble, run_ensemble_experiment, train_ensemble
from dlntorch.run.ensemble_result import EnsembleResult, load_ensemble
from dlntorch.run.result import RunResult, load_run
from dlntorch.run.side_by_side import run_ensemble
from dlntorch.run.single import Plan, plan_run, run_experiment, train

__all__ = [
    "EnsembleResult",
    "Plan",
    "RunResult",
    "load_ensemble",
    "load_run",
    "plan_ensemble",
    "plan_run",
    "run_ensemble",
    "run_ensemble_experiment",
    "run_experiment",
    "train",
    "train_ensemble",
]
