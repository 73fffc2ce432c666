"""Several runs trained side by side in one process; each ends as it would have alone.

:func:`run_ensemble` is what a sweep calls to pack its points: the same folders, files and results as one
``run_experiment`` each, with references shared and the networks trained on all cores.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from dlntorch.numerics.threads import numeric_threads
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem, make_problem
from dlntorch.run.assembly import measurer_of, run_result
from dlntorch.run.console import announce_sources
from dlntorch.run.forked import forked
from dlntorch.run.imports import import_libraries
from dlntorch.run.open_numbers import new_descent
from dlntorch.run.references import References, references_of_many
from dlntorch.run.result import RunResult
from dlntorch.run.settings import RunSettings
from dlntorch.run.side_by_side_folders import SideBySideFolders
from dlntorch.run.single import Plan, plan_run, resumed_plan, training_options
from dlntorch.store.folder import RunFolder
from dlntorch.system.queue import requeue_slurm_job
from dlntorch.training.certified import refined
from dlntorch.training.descent import Descent
from dlntorch.training.ensemble import EnsembleDescent

__all__ = ["Trained", "plan_together", "problems_of", "run_ensemble", "train_together"]

#: The networks of an ensemble are predicted one by one before they are trained, unless there are more than these.
PREDICTED_NETWORKS = 64


class Trained:
    """Networks on their way from plan to result.

    Args:
        plans: One for each network.

    Attributes:
        settings: As planned, or with the smaller steps of ``schedule=certified`` where a run was repeated.
        descents: The runs themselves.
    """

    def __init__(self, plans: Sequence[Plan]) -> None:
        self.plans = list(plans)
        self.settings: list[RunSettings] = [plan.settings for plan in plans]
        self.descents: list[Descent] = [new_descent(plan.problem, plan.settings) for plan in plans]

    def repeat_where_missed(self) -> bool:
        """Start anew, with smaller steps, every certified run that missed its epsilon; whether there was one."""
        found = False
        for i, descent in enumerate(self.descents):
            certified = self.settings[i].schedule.name == "certified"
            smaller = refined(descent) if certified and not descent.interrupted else None
            if smaller is not None:
                found = True
                self.settings[i] = replace(self.settings[i], schedule=smaller)
                self.descents[i] = new_descent(self.plans[i].problem, self.settings[i], after=descent)
        return found

    def results(self) -> list[RunResult]:
        """The result of every network, measured now, on all cores."""
        on_cpu = all(descent.problem.device.type == "cpu" for descent in self.descents)
        # a result carries its problem, which is here already
        sent = forked(lambda i: replace(self._result(i), problem=None), len(self.plans), None if on_cpu else 1)
        return [replace(result, problem=plan.problem) for result, plan in zip(sent, self.plans, strict=True)]

    def _result(self, i: int) -> RunResult:
        plan, settings, descent = self.plans[i], self.settings[i], self.descents[i]
        began = time.perf_counter()
        history = measurer_of(plan.problem, settings, plan.references).measure(descent.recorder.snapshots)
        seconds = time.perf_counter() - began
        result = run_result(plan.problem, settings, descent, plan.references, history)
        result.summary["logging_seconds"] = seconds
        result.summary["predicted_steps"] = plan.prediction.steps
        return result

    @property
    def predicted_steps(self) -> float | None:
        """Steps that all networks together are expected to make, where each is predicted."""
        steps = [plan.prediction.steps for plan in self.plans]
        known = [min(s, p.settings.stopping.max_steps) for s, p in zip(steps, self.plans, strict=True) if s is not None]
        return sum(known) if len(known) == len(steps) else None


def train_together(
    trained: Trained,
    fit: Callable[[EnsembleDescent], None],
    *,
    threads: int | None = None,
    max_wall_seconds: float = math.inf,
    block_seconds: float = 0.05,
    state: Mapping[str, Any] | None = None,
) -> EnsembleDescent:
    """Train all networks to their ends, each with its own settings.

    Args:
        trained: The networks; changed in place.
        fit: Runs an ensemble until it has a status.
        threads, max_wall_seconds, block_seconds: As in :class:`~dlntorch.training.ensemble.EnsembleDescent`.
        state: A saved state of the ensemble to continue from.
    """
    before: EnsembleDescent | None = None
    while True:
        ensemble = EnsembleDescent(
            trained.descents, threads=threads, max_wall_seconds=max_wall_seconds, block_seconds=block_seconds
        )
        if state is not None:
            ensemble.load_state_dict(dict(state))
            state = None
        if before is not None:  # one budget for all passes
            ensemble.wall_seconds, ensemble.wall_before = before.wall_seconds, before.wall_before
        fit(ensemble)
        before = ensemble
        if ensemble.interrupted or not trained.repeat_where_missed():
            return ensemble


def plan_together(
    configs: Sequence[Mapping[str, Any]],
    problems: Sequence[Problem] | None = None,
    predict: bool | None = None,
    meanwhile: Callable[[], object] | None = None,
    states: Sequence[Mapping[str, Any] | None] | None = None,
) -> list[Plan]:
    """Plans of many runs, with the work that they share done once.

    Args:
        configs: One resolved configuration for each run; the references are computed where ``references`` is true.
        problems: Their problems, where they have been made already.
        predict: Whether to predict steps and time; by default for up to 64 networks.
        meanwhile: Called here while other processes plan, where they can.
        states: For each run the saved state that it goes on from, or None; a certified one keeps the (κ, c) it had come to.

    Raises:
        InputError: as for one run.
    """
    made = problems_of(configs) if problems is None else list(problems)
    if meanwhile is not None:
        (plans,) = forked(
            lambda _: _without_problems(plan_together(configs, made, predict, states=states)), 1, 1, meanwhile
        )
        return [replace(plan, problem=problem) for plan, problem in zip(plans, made, strict=True)]
    settings = [RunSettings.from_config(problem, config) for problem, config in zip(made, configs, strict=True)]
    references: list[References | None] = [None] * len(settings)
    for wanted in (True, False):
        chosen = [i for i, one in enumerate(settings) if one.references is wanted]
        if chosen:
            cases = [(made[i], settings[i].depth_or_law, settings[i].alpha) for i in chosen]
            for i, found in zip(chosen, references_of_many(cases, wanted), strict=True):
                references[i] = found
    predicts = len(configs) <= PREDICTED_NETWORKS if predict is None else predict

    def plan(i: int) -> Plan:
        state = None if states is None else states[i]
        if state is None:
            return plan_run(configs[i], made[i], references[i], predicts)
        return resumed_plan(configs[i], made[i], state, references=references[i], predict=predicts)

    def without_data(i: int) -> Any:
        return replace(plan(i), problem=None, references=None)  # which are here already

    if not predicts or any(one.device.type != "cpu" for one in settings):
        return [plan(i) for i in range(len(configs))]
    sent = forked(without_data, len(configs))
    return [replace(one, problem=made[i], references=references[i] or References()) for i, one in enumerate(sent)]


def _without_problems(plans: Sequence[Plan]) -> list[Any]:
    return [replace(plan, problem=None) for plan in plans]


def problems_of(configs: Sequence[Mapping[str, Any]]) -> list[Problem]:
    """The problem of each configuration; equal descriptions give one object, whose SVD is computed once."""
    known: dict[str, Problem] = {}
    found: list[Problem] = []
    for config in configs:
        key = json.dumps(config["problem"], sort_keys=True, default=str)
        if key not in known:
            known[key] = make_problem(**config["problem"])
        found.append(known[key])
    return found


def run_ensemble(
    configs: Sequence[Mapping[str, Any]],
    folders: Sequence[str | Path] | None = None,
    *,
    threads: int | None = None,
    progress: bool = False,
    draw: Callable[[RunResult], Mapping[str, Path]] = lambda result: {},
) -> list[RunResult]:
    """Many runs at once, each from its own configuration, with the results that ``run_experiment`` gives one by one.

    θ, steps, status and record of every run are bitwise those of the run alone. References of one problem are shared:
    one linear programme, one W_p for each p, one sweep of the limit over all α of a p, which may differ from a limit
    computed alone by its rounding. SIGINT, SIGTERM and SIGUSR1 end all runs that are still going as ``interrupted``; SIGUSR1
    requeues a SLURM job. All results are written before any is logged.

    Args:
        configs: Resolved configurations, as ``run_experiment`` takes one; nothing need be common to them. A run whose
            ``resume`` is set continues from the checkpoint in its folder.
        folders: One run folder for each, with all its files, its own checkpoint and its own logger; None writes nothing.
        threads: Networks trained at the same time; by default one for each core.
        progress: Whether to show one progress bar for all.
        draw: Called with each result once it is written; returns figures by name, for its logger.

    Returns:
        The results, in the order of ``configs``.

    Raises:
        InputError: for a mistake in any configuration, before anything is trained; check them one by one with
            ``plan_run`` to tell which, or to drop it.
    """
    if not configs:
        return []
    if folders is not None and len(folders) != len(configs):
        raise InputError(f"folders must be one for each of the {len(configs)} configurations, got {len(folders)}")
    places = None if folders is None else [RunFolder(folder) for folder in folders]
    try:
        return _run_in(configs, places, threads, progress, draw)
    finally:
        for place in places or ():
            place.close()


def _run_in(
    configs: Sequence[Mapping[str, Any]],
    places: list[RunFolder] | None,
    threads: int | None,
    progress: bool,
    draw: Callable[[RunResult], Mapping[str, Path]],
) -> list[RunResult]:
    """:func:`run_ensemble` in open folders."""
    options = [training_options(config) for config in configs]
    problems = problems_of(configs)
    if places is not None:
        announce_sources(problems)
    with numeric_threads("auto", max(problems, key=lambda problem: problem.m * problem.n)):
        folders = None if places is None else SideBySideFolders(configs, problems, places)
        states = None if folders is None else folders.read()
        importing = None if "lightning.pytorch" in sys.modules else partial(import_libraries, {"name": "none"})
        trained = Trained(plan_together(configs, problems, True, importing, states))
        from dlntorch.training.callbacks import CheckpointCallback, SignalCallback, make_progress_bar
        from dlntorch.training.fit import fit_descent

        if folders is not None and states is not None:
            folders.open(trained.descents, states)
            del states
        signals: list[SignalCallback] = []  # of the last pass

        def fit(ensemble: EnsembleDescent) -> None:
            callbacks: list[Any] = []
            if folders is None:
                signals[:] = [SignalCallback()]
            else:
                checkpoints = CheckpointCallback(folders.write_checkpoints, min(every for _, every, _ in options))
                callbacks.append(checkpoints)
                signals[:] = [SignalCallback(checkpoints.save)]
            callbacks += signals
            if progress:
                callbacks.append(make_progress_bar(trained.predicted_steps))
            fit_descent(ensemble, callbacks)

        train_together(trained, fit, threads=threads, block_seconds=max(block for _, _, block in options))
        results = trained.results()
    if folders is None:
        return [replace(result, config=dict(config)) for result, config in zip(results, configs, strict=True)]
    with signals[0].deferred():
        written, figures = folders.write(results, draw)
        if signals[0].received == "SIGUSR1" and any(one.status is Status.INTERRUPTED for one in written):
            requeue_slurm_job()  # before the loggers, which may take longer than SLURM waits
    folders.log(written, figures, trained.descents)
    return written
