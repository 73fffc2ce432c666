"""Runs from composed configurations, with loggers, callbacks, checkpoints and run folders: one, an ensemble, many at once."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dlntorch.numerics.threads import numeric_threads
from dlntorch.numerics.validation import InputError, check_choice, check_count
from dlntorch.problem import Problem, make_problem
from dlntorch.run.console import announce_sources
from dlntorch.run.ensemble_result import EnsembleResult
from dlntorch.run.imports import import_libraries
from dlntorch.run.lifecycle import Networks, run_life
from dlntorch.run.members import check_one_shape, member_configs
from dlntorch.run.places import EnsemblePlace, NetworkPlace
from dlntorch.run.planning import Plan, plan_many, plan_run, problems_of, resumed_plan
from dlntorch.run.result import RunResult
from dlntorch.run.settings import RunSettings
from dlntorch.run.watched import TrainingOptions, WatchedTraining, training_options
from dlntorch.store.folder import RunFolder

__all__ = ["plan_ensemble", "run_ensemble_experiment", "run_experiment", "run_experiments"]

Config = Mapping[str, Any]


def run_experiment(
    config: Config,
    folder: str | Path,
    *,
    announce: Callable[[Plan], None] = lambda plan: None,
    draw: Callable[[RunResult], Mapping[str, Path]] = lambda result: {},
    make_plan: Callable[[Config, Problem], Plan] = plan_run,
    planned: Config | None = None,
) -> RunResult:
    """A run from a composed configuration, with logger, callbacks, checkpoints and a run folder.

    Args:
        config: The resolved configuration as plain dictionaries.
        folder: The run folder; with ``config["resume"]`` the run continues from its checkpoint, if it has one yet.
        announce: Called with the plan before training, and before a repetition.
        draw: Called with the result while it is written; returns figures by name, for the logger.
        make_plan: :func:`plan_run`, or what does the same elsewhere.
        planned: What ``accuracy=…`` chose and predicted, as :func:`~dlntorch.run.asked_accuracy.planned_settings` has it.
    """
    with contextlib.closing(RunFolder(folder)) as opened:
        options = training_options(config)
        problem = make_problem(**config["problem"])
        settings = RunSettings.from_config(problem, config)
        import_libraries(config["logger"])  # late: a mistake in the settings is reported without waiting for them
        _check_loggers([config])

        def networks(states: list[dict[str, Any] | None]) -> Networks:
            (state,) = states
            plan = make_plan(config, problem) if state is None else resumed_plan(config, problem, state, make_plan)
            return Networks([plan], side_by_side=False, block_seconds=options.block_seconds)

        _, (result,) = run_life(
            [problem],
            networks,
            WatchedTraining(options),
            [NetworkPlace(opened, config, problem, follows=True, planned=planned)],
            threads=config["trainer"]["threads"],
            shards=settings.shards,
            announce=lambda plans: announce(plans[0]),
            draw=draw,
        )
        return result


def run_ensemble_experiment(
    config: Config,
    folder: str | Path,
    *,
    announce: Callable[[Sequence[Plan]], None] = lambda plans: None,
    draw: Callable[[EnsembleResult], Mapping[str, Path]] = lambda result: {},
) -> EnsembleResult:
    """An ensemble from a composed configuration, with logger, callbacks, one checkpoint and one run folder.

    Args:
        config: The resolved configuration, with lists in its key ``ensemble``.
        folder: The run folder; the ensemble continues from its checkpoint when ``config["resume"]`` is set.
        announce: Called with the plans before training, and before a repetition.
        draw: Called with the result while it is written; returns figures by name, for the logger.
    """
    import_libraries(config["logger"])
    asked = config["ensemble"]
    check_choice("ensemble.wandb", asked["wandb"], ("one", "each"))
    threads = None if asked["threads"] == "auto" else check_count("ensemble.threads", asked["threads"])
    options = training_options(config)
    _check_loggers([config])
    with contextlib.closing(RunFolder(folder)) as opened:
        configs, problems = _members(config)

        def networks(states: list[dict[str, Any] | None]) -> Networks:
            (state,) = states
            plans = plan_many(configs, problems, states=None if state is None else state["networks"])
            budget = plans[0].settings.max_wall_seconds
            return Networks(plans, block_seconds=options.block_seconds, threads=threads, max_wall_seconds=budget)

        place = EnsemblePlace(opened, config, configs, problems)
        training = WatchedTraining(options)
        _, (result,) = run_life(problems, networks, training, [place], announce=announce, draw=draw)
        return result


def plan_ensemble(config: Config, predict: bool | None = None) -> list[Plan]:
    """The plan of every network of an ensemble; nothing is trained or written.

    Raises:
        InputError: for lists of different lengths, problems of different shapes, and as for one run.
    """
    configs, problems = _members(config)
    with numeric_threads("auto", problems[0]):
        return plan_many(configs, problems, predict)


def run_experiments(
    configs: Sequence[Config],
    folders: Sequence[str | Path],
    *,
    threads: int | None = None,
    draw: Callable[[RunResult], Mapping[str, Path]] = lambda result: {},
) -> list[RunResult]:
    """Many runs at once, each from its own configuration, with the files that :func:`run_experiment` leaves one by one.

    θ, steps, status and record of every run are bitwise those of the run alone. References of one problem are shared:
    one linear programme, one W_p for each p, one sweep of the limit over all α of a p, which may differ from a limit
    computed alone by its rounding. SIGINT, SIGTERM and SIGUSR1 end all runs that are still going as ``interrupted``; SIGUSR1
    requeues a SLURM job. All results are written before any is logged.

    Args:
        configs: Resolved configurations, as ``run_experiment`` takes one; nothing need be common to them. A run whose
            ``resume`` is set continues from the checkpoint in its folder.
        folders: One run folder for each, with all its files, its own checkpoint and its own logger.
        threads: Networks trained at the same time; by default one for each core.
        draw: Called with each result while it is written; returns figures by name, for its logger.

    Returns:
        The results, in the order of ``configs``.

    Raises:
        InputError: for a mistake in any configuration, before anything is trained; check them one by one with
            ``plan_run`` to tell which, or to drop it.
    """
    if len(folders) != len(configs):
        raise InputError(f"folders must be one for each of the {len(configs)} configurations, got {len(folders)}")
    if not configs:
        return []
    each = [training_options(config) for config in configs]
    options = TrainingOptions(
        logging_share=0.0,  # runs side by side are measured at their ends
        checkpoint_seconds=min(one.checkpoint_seconds for one in each),
        block_seconds=max(one.block_seconds for one in each),
        progress=False,
    )
    problems = problems_of(configs)
    announce_sources(problems)
    importing = None if "lightning.pytorch" in sys.modules else partial(import_libraries, {"name": "none"})

    def networks(states: list[dict[str, Any] | None]) -> Networks:
        plans = plan_many(configs, problems, True, importing, states)
        _check_loggers(configs)
        return Networks(plans, block_seconds=options.block_seconds, threads=threads)

    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(contextlib.closing(RunFolder(folder))) for folder in folders]
        asked = zip(opened, configs, problems, strict=True)
        places = [NetworkPlace(*one, number) for number, one in enumerate(asked)]
        _, results = run_life(problems, networks, WatchedTraining(options), places, draw=draw)
        return results


def _members(config: Config) -> tuple[list[dict[str, Any]], list[Problem]]:
    """The configuration and the problem of every network of an ensemble."""
    configs = member_configs(config)
    problems = problems_of(configs)
    check_one_shape(problems)
    return configs, problems


def _check_loggers(configs: Sequence[Config]) -> None:
    """Refuse a logger that cannot be, before anything that an earlier run has left is removed."""
    from dlntorch.trackers.loggers import check_logger  # with Lightning's, which are there by now

    for config in configs:
        check_logger(config["logger"])
