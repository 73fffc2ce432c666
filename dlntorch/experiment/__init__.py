"""Wiring of a run: ``train`` (Python), ``run_experiment`` (a composed configuration), ``load_run``.

``run_ensemble`` takes many configurations and trains them side by side.
"""

from __future__ import annotations

from dlntorch.experiment.ensemble import plan_ensemble, run_ensemble_experiment, train_ensemble
from dlntorch.experiment.ensemble_result import EnsembleResult, load_ensemble
from dlntorch.experiment.result import RunResult, load_run
from dlntorch.experiment.run import Plan, plan_run, run_experiment, train
from dlntorch.experiment.together import run_ensemble

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
