"""Wiring of one run: ``train`` (Python), ``run_experiment`` (a composed configuration), ``load_run``."""

from __future__ import annotations

from dlntorch.experiment.result import RunResult, load_run
from dlntorch.experiment.run import Plan, plan_run, run_experiment, train

__all__ = ["Plan", "RunResult", "load_run", "plan_run", "run_experiment", "train"]
