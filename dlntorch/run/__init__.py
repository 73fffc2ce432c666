"""Wiring of a run: ``train`` (Python), ``run_experiment`` (a composed configuration), ``load_run``.

``run_experiments`` takes many configurations and trains them side by side.
"""

from __future__ import annotations

from dlntorch.run.ensemble_result import EnsembleResult, load_ensemble
from dlntorch.run.from_config import plan_ensemble, run_ensemble_experiment, run_experiment, run_experiments
from dlntorch.run.from_python import train, train_ensemble
from dlntorch.run.planning import Plan, plan_run
from dlntorch.run.result import RunResult, load_run

__all__ = [
    "EnsembleResult",
    "Plan",
    "RunResult",
    "load_ensemble",
    "load_run",
    "plan_ensemble",
    "plan_run",
    "run_ensemble_experiment",
    "run_experiment",
    "run_experiments",
    "train",
    "train_ensemble",
]
