"""Ensembles: one run that trains many networks, from Python (``train_ensemble``) and from the command line."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dlntorch.numerics.threads import numeric_threads
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import check_choice, check_count, check_flag, check_number
from dlntorch.problem import Problem
from dlntorch.run.ensemble_result import EnsembleResult, ensemble_summary, write_ensemble
from dlntorch.run.identity import run_identity
from dlntorch.run.imports import import_libraries
from dlntorch.run.members import check_one_shape, member_configs, zipped
from dlntorch.run.open_numbers import chosen_schedule
from dlntorch.run.references import references_of_many
from dlntorch.run.settings import RunSettings
from dlntorch.run.side_by_side import Trained, plan_together, problems_of, train_together
from dlntorch.run.single import Plan, training_options
from dlntorch.store.folder import RunFolder
from dlntorch.system.queue import requeue_slurm_job
from dlntorch.training.ensemble import EnsembleDescent
from dlntorch.training.prediction import Prediction

__all__ = ["plan_ensemble", "run_ensemble_experiment", "train_ensemble"]


def train_ensemble(
    problem: Problem | Sequence[Problem],
    p: float | Sequence[float],
    alpha: float | Sequence[float],
    schedule: str | Sequence[str] = "relative",
    *,
    references: bool = True,
    max_wall_seconds: float | None = None,
    threads: int | None = None,
    **options: Any,
) -> EnsembleResult:
    """Train many networks at once; the counterpart of :func:`train`, without Hydra, logger or files.

    Whatever is given as a sequence (list, tuple, array) has one entry for each network, and sequences go together entry
    by entry: ``train_ensemble(problem, [2, 3], [1e-1, 1e-2])`` trains two networks, (p, α) = (2, 0.1) and (3, 0.01).
    Single values belong to all. Each network has its own step sizes and its own end, and its θ is bitwise that of
    :func:`train`; references of one problem are computed once (all α of one p share a sweep of the limit, which may
    differ from a limit computed alone by its rounding).

    Args:
        problem: The data, or one problem for each network, all of one shape. A problem with k right-hand sides,
            ``Problem(A, Y)`` with Y (m, k), counts as a sequence of k problems that share A, ``problem.outputs``.
        p: Depth, or one for each.
        alpha: Initialization, or one for each.
        schedule: Step sizes, or one for each.
        references: Whether to compute what the networks are compared with.
        max_wall_seconds: Wall-clock budget of the training of all together.
        threads: Networks trained at the same time (engine ``fused``); by default one for each core.
        **options: Every other keyword of :func:`train`: ``seed``, ``kappa``, ``batch_size``, ``max_steps``, …; each a
            value or one for each network.

    Raises:
        InputError: (a ``ValueError``) for sequences of different lengths, and as :func:`train` does.
    """
    if isinstance(problem, Problem) and len(problem.outputs) > 1:
        problem = problem.outputs
    given = {"problem": problem, "p": p, "alpha": alpha, "schedule": schedule, **options}
    members = zipped(given)
    problems = [member["problem"] for member in members]
    check_one_shape(problems)
    check_flag("references", references)
    settings = [_settings(member, references) for member in members]
    budget = math.inf if max_wall_seconds is None else check_number("max_wall_seconds", max_wall_seconds, above=0)
    wanted = None if threads is None else check_count("threads", threads)
    with numeric_threads("auto", problems[0]):
        cases = [(one, chosen.depth_or_law, chosen.alpha) for one, chosen in zip(problems, settings, strict=True)]
        found = references_of_many(cases, references)
        unpredicted = Prediction(None, None, "not asked for")
        plans = [
            Plan(one, replace(chosen, schedule=chosen_schedule(one, chosen)), reference, unpredicted)
            for one, chosen, reference in zip(problems, settings, found, strict=True)
        ]
        trained = Trained(plans)
        ensemble = train_together(trained, _run_to_the_end, threads=wanted, max_wall_seconds=budget)
        networks = tuple(trained.results())
    for network in networks:
        del network.summary["predicted_steps"]  # nor does train predict them
        del network.summary["logging_seconds"]
    return EnsembleResult(networks, ensemble_summary(networks, ensemble.wall_seconds, ensemble.threads))


def _settings(member: Mapping[str, Any], references: bool) -> RunSettings:
    """The settings of one network, with the defaults of ``train``."""
    options = {key: value for key, value in member.items() if key not in ("problem", "p", "alpha")}
    problem = member["problem"]
    if options.get("device") is None and options.get("engine") != "cuda":
        options["device"] = problem.device
    if options.get("dtype") is None:
        options["dtype"] = problem.dtype
    return RunSettings.checked(problem, member["p"], member["alpha"], references=references, **options)


def _run_to_the_end(ensemble: EnsembleDescent) -> None:
    while ensemble.advance() is None:
        pass


# -- from the command line --------------------------------------------------------------------------------------------


def plan_ensemble(config: Mapping[str, Any], predict: bool | None = None) -> list[Plan]:
    """The plan of every network; nothing is trained or written.

    Raises:
        InputError: for lists of different lengths, problems of different shapes, and as for one run.
    """
    configs, problems = _members(config)
    with numeric_threads("auto", problems[0]):
        return plan_together(configs, problems, predict)


def run_ensemble_experiment(
    config: Mapping[str, Any],
    folder: str | Path,
    *,
    announce: Callable[[Sequence[Plan]], None] = lambda plans: None,
    draw: Callable[[EnsembleResult], Mapping[str, Path]] = lambda result: {},
) -> EnsembleResult:
    """An ensemble from a composed configuration, with logger, callbacks, one checkpoint and one run folder.

    Args:
        config: The resolved configuration, with lists in its key ``ensemble``.
        folder: The run folder; the ensemble continues from its checkpoint when ``config["resume"]`` is set.
        announce: Called with the plans before training.
        draw: Called with the result once it is written; returns figures by name, for the logger.
    """
    import_libraries(config["logger"])
    asked = config["ensemble"]
    check_choice("ensemble.wandb", asked["wandb"], ("one", "each"))
    threads = None if asked["threads"] == "auto" else check_count("ensemble.threads", asked["threads"])
    _, every, block = training_options(config)
    from dlntorch.trackers.loggers import check_logger  # with Lightning's, which are there by now

    check_logger(config["logger"])
    with contextlib.closing(RunFolder(folder)) as place:
        return _run_in(place, config, threads, every, block, announce, draw)


def _run_in(
    place: RunFolder,
    config: Mapping[str, Any],
    threads: int | None,
    every: float,
    block: float,
    announce: Callable[[Sequence[Plan]], None],
    draw: Callable[[EnsembleResult], Mapping[str, Path]],
) -> EnsembleResult:
    """:func:`run_ensemble_experiment` in an open folder."""
    from dlntorch.run.ensemble_loggers import close_loggers, open_logger
    from dlntorch.training.callbacks import CheckpointCallback, EnsembleCallback, SignalCallback, make_progress_bar
    from dlntorch.training.fit import fit_descent

    configs, problems = _members(config)
    identity = _identity(configs, problems)
    resumed = config["resume"] is not None and place.checkpoint.is_file()
    state = place.read_checkpoint(identity) if resumed else {}
    logged = state.get("logged_steps")  # of the networks' own loggers
    with contextlib.ExitStack() as stack:
        stack.enter_context(numeric_threads("auto", problems[0]))
        plans = plan_together(configs, problems, states=state.get("networks"))
        trained = Trained(plans)
        place.begin(config, resumed)
        _write_problems(place, plans)
        announce(plans)
        logger = stack.enter_context(open_logger(config, place, resumed))
        signals: list[SignalCallback] = []  # of the last pass

        def write_checkpoint(state: Mapping[str, Any]) -> None:
            place.write_checkpoint({**state, "logged_steps": logged}, identity)

        def fit(ensemble: EnsembleDescent) -> None:
            checkpoints = CheckpointCallback(write_checkpoint, every)
            signals[:] = [SignalCallback(checkpoints.save)]
            used: list[Any] = [checkpoints, *signals, EnsembleCallback()]
            if config["trainer"]["progress"]:
                used.append(make_progress_bar(trained.predicted_steps))
            fit_descent(ensemble, used, logger)

        ensemble = train_together(
            trained,
            fit,
            threads=threads,
            max_wall_seconds=plans[0].settings.max_wall_seconds,
            block_seconds=block,
            state=state or None,
        )
        networks = tuple(trained.results())
        summary = ensemble_summary(networks, ensemble.wall_seconds, ensemble.threads)
        result = EnsembleResult(networks, summary, dict(config), place.path)
        with signals[0].deferred():
            write_ensemble(place, result)
            figures = draw(result)
            if result.status is Status.INTERRUPTED and signals[0].received == "SIGUSR1":
                requeue_slurm_job()
            logged = close_loggers(logger, result, figures, resumed, logged)
            if logged is not None:
                with contextlib.suppress(OSError):  # a resumed ensemble then logs some steps twice
                    write_checkpoint(ensemble.state_dict())
    return result


def _members(config: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[Problem]]:
    """The configuration and the problem of every network."""
    configs = member_configs(config)
    problems = problems_of(configs)
    check_one_shape(problems)
    return configs, problems


def _write_problems(place: RunFolder, plans: Sequence[Plan]) -> None:
    problems = list({id(plan.problem): plan.problem for plan in plans}.values())
    if len(problems) == 1:
        place.write_problem(problems[0])
        return
    for i, problem in enumerate(problems):
        RunFolder(place.path / "problems" / str(i)).write_problem(problem)


def _identity(configs: Sequence[Mapping[str, Any]], problems: Sequence[Problem]) -> dict[str, Any]:
    """What an ensemble's checkpoint belongs to: how many networks, and a digest of what each of them is, as asked for."""
    each = [
        run_identity(problem, RunSettings.from_config(problem, config))
        for config, problem in zip(configs, problems, strict=True)
    ]
    digest = hashlib.sha256(json.dumps(each, sort_keys=True, default=str).encode()).hexdigest()
    return {"networks": len(each), "ensemble": digest}
