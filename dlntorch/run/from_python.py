"""Runs from Python, without Hydra, logger or files: one network, or many at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch

from dlntorch.engine import own_device
from dlntorch.engine.processes import external_rank
from dlntorch.model import Initialization, Parametrization
from dlntorch.numerics.validation import InputError, check_count, check_flag, check_number
from dlntorch.optim.step_size import Point, StepSize
from dlntorch.optim.update import Update
from dlntorch.problem import Problem
from dlntorch.run.ensemble_result import EnsembleResult, ensemble_summary
from dlntorch.run.lifecycle import Networks, Training, run_life
from dlntorch.run.members import check_one_shape, zipped
from dlntorch.run.planning import plans_of
from dlntorch.run.result import RunResult
from dlntorch.run.settings import RunSettings

__all__ = ["train", "train_ensemble"]


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
    given = dict(locals())
    shards = given.pop("shards")
    if len(problem.outputs) > 1:
        if shards != 1:
            raise InputError(f"shards must be 1 with several right-hand sides, got {shards}")
        return cast(RunResult, train_ensemble(**given))  # typed for the usual case: a union would burden every caller
    settings = _settings(given, shards=shards)
    if external_rank(settings.shards) is not None:
        raise InputError(
            "shards must be 1 in a script that torchrun or srun starts several times, since train starts processes of its "
            f"own; train.py joins theirs, got {settings.shards}"
        )
    _, results = run_life(
        [problem],
        lambda _: Networks(plans_of([problem], [settings]), side_by_side=False),
        Training(),
        shards=settings.shards,
    )
    return results[0]


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
    members = zipped({"problem": problem, "p": p, "alpha": alpha, "schedule": schedule, **options})
    problems = [member["problem"] for member in members]
    check_one_shape(problems)
    check_flag("references", references)
    settings = [_settings(member, references=references) for member in members]
    budget = math.inf if max_wall_seconds is None else check_number("max_wall_seconds", max_wall_seconds, above=0)
    wanted = None if threads is None else check_count("threads", threads)
    networks, results = run_life(
        problems,
        lambda _: Networks(plans_of(problems, settings), threads=wanted, max_wall_seconds=budget),
        Training(),
    )
    running: Any = networks.running
    return EnsembleResult(tuple(results), ensemble_summary(results, running.wall_seconds, running.threads))


def _settings(given: Mapping[str, Any], **more: Any) -> RunSettings:
    """The settings of one network; device and precision are by default those of its problem."""
    problem, p, alpha = given["problem"], given["p"], given["alpha"]
    options = {key: value for key, value in given.items() if key not in ("problem", "p", "alpha")} | more
    if options.get("device") is None and own_device(options.get("engine")) is None:
        options["device"] = problem.device
    if options.get("dtype") is None:
        options["dtype"] = problem.dtype
    return RunSettings.checked(problem, p, alpha, **options)
