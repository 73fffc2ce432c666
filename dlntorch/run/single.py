"""One run, wired: the problem, its references, the descent, and what is written about it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from dlntorch.engine.processes import external_rank, shard_processes
from dlntorch.model import Initialization, Parametrization
from dlntorch.numerics.threads import numeric_threads
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.numerics.validation import InputError, check_flag, check_number
from dlntorch.optim.step_size import Point, Schedule, StepSize
from dlntorch.optim.update import SGD, Update
from dlntorch.problem import Problem, make_problem
from dlntorch.run.assembly import measurer_of, run_result
from dlntorch.run.identity import run_identity
from dlntorch.run.imports import import_libraries
from dlntorch.run.open_numbers import chosen_schedule, depth_and_scale, new_descent
from dlntorch.run.predicted_saddles import predicted_saddles
from dlntorch.run.references import References, compute_references
from dlntorch.run.result import RunResult
from dlntorch.run.settings import RunSettings
from dlntorch.store.folder import RunFolder
from dlntorch.system.queue import requeue_slurm_job
from dlntorch.training.certified import certified_bound, refined
from dlntorch.training.prediction import Prediction

__all__ = [
    "Plan",
    "new_descent",
    "plan_run",
    "resumed_plan",
    "run_experiment",
    "train",
    "training_options",
    "write_result",
]

#: Above this many entries of A a run is not predicted, and no second process makes its plan.
LARGE_ENTRIES = 2_000_000


def train(
    problem: Problem,
    p: float | Parametrization,
    alpha: float | Initialization,
    schedule: str | StepSize | Callable[[Point], float] = "relative",
    *,
    optimizer: str | Update | Callable[..., torch.optim.Optimizer] = "sgd",
    optimizer_options: Mapping[str, Any] | None = None,
    epsilon: float | None = None,
    kappa: float | None = None,
    eta: float | None = None,
    c: float | None = None,
    over: str = "end",
    engine: str = "auto",
    batch_size: int | None = None,
    max_steps: int | None = None,
    max_time: float | None = None,
    max_wall_seconds: float | None = None,
    tol: float = 1e-10,
    seed: int = 0,
    references: bool = True,
    certificate: bool | None = None,
    early_stopping: bool = False,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    shards: int = 1,
) -> RunResult:
    """Train one network by plain SGD, or by another update; no Hydra, no logger, no files.

    Args:
        problem: The data. With k right-hand sides, ``Problem(A, Y)`` with Y (m, k), one network is trained for each, as by
            :func:`train_ensemble`, and the result is an ``EnsembleResult`` whose ``psi`` has shape (k, n).
        p: Depth, any real number >= 2, or a :class:`~dlntorch.model.Parametrization`.
        alpha: Initialization α > 0, or an :class:`~dlntorch.model.Initialization` of every coordinate.
        schedule: Step sizes: ``relative``, ``certified``, ``selecting``, ``theorem``, ``constant`` or ``stable``; a
            :class:`~dlntorch.optim.step_size.StepSize`, or a callable point -> eta.
        optimizer: Which way steps go: ``sgd``, ``momentum``, ``weight_decay``, ``label_noise``, ``sam``, ``adam`` or
            ``sign``; an :class:`~dlntorch.optim.update.Update`, or a callable params -> torch.optim.Optimizer, which
            keeps its own learning rate unless a schedule is named.
        optimizer_options: The options of a named optimizer, such as ``{"beta": 0.9}``.
        epsilon: Accuracy asked of ``certified`` and ``theorem``.
        kappa: Largest relative change of a parameter in a step, in (0, 0.3]; 0.01 by default.
        eta: The step of ``constant``.
        c: Fraction of the stability limit (``relative``, ``certified``, ``stable``).
        over: Where ``certified`` has to meet epsilon: ``end`` or ``all``.
        engine: ``auto``, ``fused``, ``eager``, ``autograd`` or ``cuda``.
        batch_size: Rows of a mini-batch; None for full-batch steps.
        max_steps: Step budget (10 million by default).
        max_time: Time budget in t = Σ η.
        max_wall_seconds: Wall-clock budget of the training, in seconds.
        tol: Stop when ‖Aψ − y‖₂ <= tol·‖y‖₂; 0 never stops on the residual.
        seed: Seed of the mini-batches.
        references: Whether to compute what the run is compared with.
        certificate: Whether to certify the discretization error (full batch).
        early_stopping: Whether to compare the run's best point with the lasso's (planted problems).
        device: Where to train; the problem's device by default.
        dtype: Precision of the training; the problem's by default.
        shards: Processes that the columns of A are spread over; they are started here (guard a script's main module).

    Returns:
        The result, with the same summary as a run from the command line.

    Raises:
        InputError: (a ``ValueError``) naming the argument, the rule and the value.

    Example:
        >>> import dlntorch as dln
        >>> run = dln.train(dln.Problem([[1.0, 0.5]], [1.0]), p=3, alpha=0.01)
        >>> run.status.name, [round(float(x), 2) for x in run.psi]
        ('CONVERGED', [1.0, 0.0])
    """
    if len(problem.outputs) > 1:
        # typed for the usual case: a union would burden every caller
        return cast(RunResult, _train_outputs(**locals()))
    settings = RunSettings.checked(
        problem,
        p,
        alpha,
        schedule=schedule,
        epsilon=epsilon,
        kappa=kappa,
        eta=eta,
        c=c,
        over=over,
        engine=engine,
        batch_size=batch_size,
        max_steps=max_steps,
        max_time=max_time,
        max_wall_seconds=max_wall_seconds,
        tol=tol,
        seed=seed,
        references=references,
        certificate=certificate,
        early_stopping=early_stopping,
        device=problem.device if device is None and engine != "cuda" else device,
        dtype=problem.dtype if dtype is None else dtype,
        shards=shards,
        optimizer=optimizer,
        optimizer_options=optimizer_options,
    )
    if external_rank(settings.shards) is not None:
        raise InputError(
            "shards must be 1 in a script that torchrun or srun starts several times, since train starts processes of its "
            f"own; train.py joins theirs, got {settings.shards}"
        )
    with numeric_threads("auto", problem), shard_processes(settings.shards):
        found = compute_references(problem, settings.depth_or_law, settings.alpha, settings.references)
        settings = replace(settings, schedule=chosen_schedule(problem, settings))
        measurer = measurer_of(problem, settings, found)
        descent = None
        while True:
            descent = new_descent(problem, settings, after=descent)
            if settings.engine == "autograd":
                from dlntorch.training.fit import fit_descent

                fit_descent(descent, [])
            else:
                while descent.advance() is None:
                    pass
            smaller = refined(descent) if settings.schedule.name == "certified" else None
            if smaller is None:
                break
            settings = replace(settings, schedule=smaller)
        history = measurer.measure(descent.recorder.snapshots)
        return run_result(problem, settings, descent, found, history)


@dataclass
class Plan:
    """What a run from the command line is about to do."""

    problem: Problem
    settings: RunSettings
    references: References
    prediction: Prediction
    note: str = ""
    __repr__ = short_repr


def _train_outputs(problem: Problem, shards: int, **options: Any) -> Any:
    """One network for each right-hand side."""
    from dlntorch.run.ensemble import train_ensemble  # which is made of this module's plans

    if shards != 1:
        raise InputError(f"shards must be 1 with several right-hand sides, got {shards}")
    return train_ensemble(problem, **options)


def plan_run(
    config: Mapping[str, Any],
    problem: Problem | None = None,
    references: References | None = None,
    predict: bool = True,
    schedule: Schedule | None = None,
) -> Plan:
    """Check the settings, compute references and prediction; nothing is trained or written.

    Args:
        config: The resolved configuration.
        problem: Its problem, where it has been made already.
        references: Its references, where they have been computed already.
        predict: Whether to predict steps and time.
        schedule: The schedule with its numbers, where they have been chosen already.
    """
    if problem is None:
        problem = make_problem(**config["problem"])
    settings = RunSettings.from_config(problem, config)
    if references is None:
        references = compute_references(problem, settings.depth_or_law, settings.alpha, settings.references)
    settings = replace(settings, schedule=schedule or chosen_schedule(problem, settings))
    prediction = _prediction(problem, settings) if predict else Prediction(None, None, "not asked for")
    return Plan(problem, settings, references, prediction)


def resumed_plan(
    config: Mapping[str, Any],
    problem: Problem,
    state: Mapping[str, Any],
    make_plan: Callable[..., Plan] = plan_run,
    **known: Any,
) -> Plan:
    """The plan of a run that goes on from a checkpoint: a certified one keeps the (κ, c) it had come to.

    Args:
        config: The resolved configuration.
        problem: Its problem.
        state: The saved state.
        make_plan: Makes the plan where it is that of a new run.
        **known: Keywords of :func:`plan_run`.

    Raises:
        InputError: when the theorem's η is not the saved one, since its horizon has been changed.
    """
    saved = state["schedule"]
    if config["schedule"]["name"] == "certified":
        asked = RunSettings.from_config(problem, config).schedule
        return plan_run(config, problem, schedule=asked.with_steps(kappa=saved["kappa"], c=saved["c"]), **known)
    plan = make_plan(config, problem, **known)
    if plan.settings.schedule.eta != saved["eta"]:
        raise InputError(
            "max_time must be left as it was when schedule=theorem is resumed, whose step size depends on it, "
            f"got {plan.settings.stopping.max_time:g}"
        )
    return plan


def _prediction(problem: Problem, settings: RunSettings) -> Prediction:
    """Steps and time that a run is expected to take, or why they are not predicted."""
    from dlntorch.training.prediction import predict_run

    if not settings.references or not problem.dense or problem.m * problem.n > LARGE_ENTRIES:
        why = "A is large" if problem.dense else "A is an operator"
        return Prediction(None, None, why if settings.references else "references=false")
    if settings.batch_size is not None:
        return Prediction(None, None, "mini-batches: only full-batch runs are predicted")
    if not settings.plain_start or type(settings.update) is not SGD or settings.schedule.own is not None:
        return Prediction(None, None, "only plain SGD at a depth p from one number alpha is predicted")
    return predict_run(problem, *depth_and_scale(settings), settings.schedule, settings.stopping.tol)


def run_experiment(
    config: Mapping[str, Any],
    folder: str | Path,
    *,
    announce: Callable[[Plan], None] = lambda plan: None,
    draw: Callable[[RunResult], Mapping[str, Path]] = lambda result: {},
    make_plan: Callable[[Mapping[str, Any], Problem], Plan] = plan_run,
    planned: Mapping[str, Any] | None = None,
) -> RunResult:
    """A run from a composed configuration, with logger, callbacks, checkpoints and a run folder.

    Args:
        config: The resolved configuration as plain dictionaries.
        folder: The run folder; with ``config["resume"]`` the run continues from its checkpoint, if it has one yet.
        announce: Called with the plan before training.
        draw: Called with the result once it is written; returns figures by name, for the logger.
        make_plan: :func:`plan_run`, or what does the same elsewhere.
        planned: What ``accuracy=…`` chose and predicted, as :func:`~dlntorch.run.asked_accuracy.planned_settings` has it.
    """
    with contextlib.closing(RunFolder(folder)) as place:
        return _run_in(place, config, announce, draw, make_plan, planned)


def _run_in(
    place: RunFolder,
    config: Mapping[str, Any],
    announce: Callable[[Plan], None],
    draw: Callable[[RunResult], Mapping[str, Path]],
    make_plan: Callable[[Mapping[str, Any], Problem], Plan],
    planned: Mapping[str, Any] | None,
) -> RunResult:
    """:func:`run_experiment` in an open folder."""
    trainer = config["trainer"]
    share, every, block = training_options(config)
    problem = make_problem(**config["problem"])
    asked = RunSettings.from_config(problem, config)
    import_libraries(config["logger"])  # only now: a mistake in the settings is said without them
    from dlntorch.trackers.loggers import open_logger
    from dlntorch.training.callbacks import CheckpointCallback, MetricsCallback, SignalCallback, make_progress_bar
    from dlntorch.training.fit import fit_descent

    with contextlib.ExitStack() as stack:
        stack.enter_context(numeric_threads(trainer["threads"], problem))
        stack.enter_context(shard_processes(asked.shards))
        identity = run_identity(problem, asked)
        resumed = config["resume"] is not None and place.checkpoint.is_file()
        state = place.read_checkpoint(identity) if resumed else None
        plan = make_plan(config, problem) if state is None else resumed_plan(config, problem, state, make_plan)
        settings = plan.settings
        descent = new_descent(problem, settings, block)
        logged = -1
        if state is not None:
            descent.load_state_dict(state)
            if config["logger"]["name"] != "csv":  # which starts its file anew
                logged = int(state.get("logged_step", -1))
        place.begin(config, resumed, planned)
        place.write_problem(problem)
        announce(plan)
        logger = stack.enter_context(open_logger(config["logger"], place.path, config, resumed))
        while True:
            metrics = MetricsCallback(measurer_of(problem, settings, plan.references), share, logged)
            checkpoints = CheckpointCallback(partial(place.write_checkpoint, identity=identity), every, metrics)
            signals = SignalCallback(checkpoints.save)
            used: list[Any] = [metrics, checkpoints, signals]
            if trainer["progress"]:
                used.append(make_progress_bar(plan.prediction.steps))
            fit_descent(descent, used, logger)
            smaller = refined(descent) if settings.schedule.name == "certified" else None
            if smaller is None:
                break
            bound = certified_bound(descent)
            note = f"repeated with kappa={smaller.kappa:.3g}, since the certificate proved {bound:.3g} only"
            settings = replace(settings, schedule=smaller)
            plan = replace(plan, settings=settings, prediction=_prediction(problem, settings), note=note)
            announce(plan)
            descent = new_descent(problem, settings, block, descent)
        result = run_result(problem, settings, descent, plan.references, metrics.history())
        result.summary["logging_seconds"] = metrics.seconds
        result.summary["predicted_steps"] = plan.prediction.steps
        if planned is not None:
            from dlntorch.run.asked_accuracy import accuracy_report

            result.summary["plan"] = accuracy_report(planned, result.summary["distance_to_selected"])
        with signals.deferred():
            return write_result(result, config, place, logger, draw, signals.received)


def write_result(
    result: RunResult,
    config: Mapping[str, Any],
    place: RunFolder,
    logger: Any,
    draw: Callable[[RunResult], Mapping[str, Path]],
    received: str | None = None,
) -> RunResult:
    """Write a finished run into its folder, draw it, and close its logger; returns the result with its folder.

    ``summary.json`` comes last, and comes too where drawing fails: where it is, all numbers are.

    Args:
        result: What to write.
        config: The run's configuration.
        place: Its folder.
        logger: Its logger, or None.
        draw: Draws the result; returns figures by name, for the logger.
        received: The signal that ended the run, if one did; a SLURM job that got SIGUSR1 is requeued.
    """
    from dlntorch.trackers.loggers import finish_logger

    saddles = predicted_saddles(result.problem, result.summary) if config["callbacks"]["figures"] else None
    result = replace(result, config={**config, "resume": None}, folder=place.path, saddles=saddles)
    place.write_arrays("result.npz", result.arrays())
    place.write_trajectory(result.history)
    try:
        figures = draw(result)
    finally:
        place.write_summary(result.summary)
    if result.status is Status.INTERRUPTED and received == "SIGUSR1":
        requeue_slurm_job()
    finish_logger(logger, result.summary, figures, 3 if result.status.ended_badly else 0, result.history)
    return result


def training_options(config: Mapping[str, Any]) -> tuple[float, float, float]:
    """The share of time for logging, and the seconds between checkpoints and of a block, checked."""
    trainer, callbacks = config["trainer"], config["callbacks"]
    share = check_number("callbacks.logging_share", callbacks["logging_share"], at_least=0, at_most=1)
    every = check_number("callbacks.checkpoint_seconds", callbacks["checkpoint_seconds"], above=0)
    block = check_number("trainer.block_seconds", trainer["block_seconds"], above=0, at_most=60)
    check_flag("trainer.progress", trainer["progress"])
    return share, every, block
