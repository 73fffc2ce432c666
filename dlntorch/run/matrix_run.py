"""A run of a factorization from a composed configuration: the life of every run, with a place of its own kind."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dlntorch.run.from_config import check_loggers
from dlntorch.run.imports import import_libraries
from dlntorch.run.lifecycle import Networks, run_life
from dlntorch.run.matrix_plan import MatrixPlan, plan_matrix
from dlntorch.run.matrix_result import MatrixResult, matrix_arrays
from dlntorch.run.places import NetworkPlace, Place
from dlntorch.run.watched import WatchedTraining, training_options
from dlntorch.store.folder import RunFolder

__all__ = ["run_matrix_experiment"]


class MatrixPlace(NetworkPlace):
    """The folder of one factorization.

    Args:
        folder: The folder, open.
        config: Its configuration.
        plan: What is trained.
    """

    def __init__(self, folder: RunFolder, config: Mapping[str, Any], plan: MatrixPlan) -> None:
        Place.__init__(self, folder, config, plan.new_descent().identity())
        self.number, self.follows, self.planned, self.logged = 0, True, None, -1

    def write_problem(self, networks: Networks) -> None:
        plan: Any = networks.plans[0]
        self.folder.write_arrays("problem.npz", matrix_arrays(plan.problem))

    def _written(self, results: Sequence[Any]) -> MatrixResult:
        result = replace(results[0], config={**self.config, "resume": None}, folder=self.folder.path)
        self.folder.write_arrays("result.npz", result.arrays())
        self.folder.write_trajectory(result.history)
        return result


def run_matrix_experiment(
    config: Mapping[str, Any],
    folder: str | Path,
    *,
    announce: Callable[[MatrixPlan], None] = lambda plan: None,
    draw: Callable[[MatrixResult], Mapping[str, Path]] = lambda result: {},
) -> MatrixResult:
    """A run of a factorization, with logger, callbacks, checkpoints and a run folder.

    Args:
        config: The resolved configuration as plain dictionaries, with ``model=factorization``.
        folder: The run folder; with ``config["resume"]`` the run continues from its checkpoint, if it has one yet.
        announce: Called with the plan before training.
        draw: Called with the result while it is written; returns figures by name, for the logger.
    """
    with contextlib.closing(RunFolder(folder)) as opened:
        options = training_options(config)
        plan = plan_matrix(config)
        import_libraries(config["logger"])
        check_loggers([config])
        own: Any = plan  # the sibling of a vector run's plan, which is asked for the same things
        _, (result,) = run_life(
            [plan.problem.flat],
            lambda states: Networks([own], side_by_side=False, block_seconds=options.block_seconds),
            WatchedTraining(options),
            [MatrixPlace(opened, config, plan)],
            threads=config["trainer"]["threads"],
            announce=lambda plans: announce(plan),
            draw=draw,
        )
        return result
