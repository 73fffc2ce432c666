"""The life of a run, once for all of them: planned, trained, repeated where it has to be, measured, written, logged.

A single run, a pack and an ensemble are the same loop over places: one place with one network, several with one each, one
with several. What a network is, its :class:`~dlntorch.run.planning.Plan` knows; what its files are, its
:class:`~dlntorch.run.places.Place`; how training is watched, its :class:`Training`.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dlntorch.engine.processes import shard_processes
from dlntorch.numerics.threads import numeric_threads
from dlntorch.numerics.trajectory import Status
from dlntorch.problem import Problem
from dlntorch.run.forked import forked
from dlntorch.run.places import Place, log_unlogged
from dlntorch.run.planning import Plan
from dlntorch.run.result import RunResult
from dlntorch.system.queue import requeue_slurm_job
from dlntorch.training.descent import Descent
from dlntorch.training.ensemble import EnsembleDescent

__all__ = ["Networks", "Training", "run_life"]


class Networks:
    """Networks on their way from plan to result: one by itself, or several side by side.

    Args:
        plans: One for each network.
        side_by_side: Whether they are trained as an ensemble, however many they are.
        block_seconds: About how long a block of steps lasts.
        threads: How many networks of an ensemble are trained at the same time; by default one for each core.
        max_wall_seconds: Wall-clock budget of an ensemble; a network by itself has that of its settings.

    Attributes:
        plans: As made, or with the smaller steps with which a run is repeated.
        descents: The runs themselves.
        running: What is trained: the one descent, or the ensemble of all.
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        side_by_side: bool = True,
        *,
        block_seconds: float = 0.05,
        threads: int | None = None,
        max_wall_seconds: float = math.inf,
    ) -> None:
        self.plans = list(plans)
        self._block = block_seconds
        self.side_by_side = side_by_side
        self._ensemble: dict[str, Any] = {"threads": threads, "max_wall_seconds": max_wall_seconds}
        self.descents: list[Descent] = [plan.new_descent(block_seconds) for plan in plans]
        self.running = self._joined()

    def _joined(self) -> Descent | EnsembleDescent:
        if not self.side_by_side:
            return self.descents[0]
        return EnsembleDescent(self.descents, block_seconds=self._block, **self._ensemble)

    def train(self, fit: Callable[[Networks], None], announce: Callable[[Sequence[Plan]], object]) -> None:
        """Train all networks to their ends.

        Args:
            fit: Runs ``running`` until it has a status.
            announce: Called with the plans when some of them have to be repeated.
        """
        fit(self)
        while not self.running.interrupted and self._repeat_where_missed():
            announce(self.plans)
            fit(self)

    def _repeat_where_missed(self) -> bool:
        """Start every run anew that its plan repeats; whether there is one."""
        again = [plan.repeated(descent) for plan, descent in zip(self.plans, self.descents, strict=True)]
        if not any(again):
            return False
        before = self.running
        for i, plan in enumerate(again):
            if plan is not None:
                self.plans[i] = plan
                self.descents[i] = plan.new_descent(self._block, after=self.descents[i])
        self.running = self._joined()
        # one budget for all passes
        self.running.wall_seconds, self.running.wall_before = before.wall_seconds, before.wall_before
        return True

    def results(
        self, histories: Sequence[Mapping[str, np.ndarray]] | None = None
    ) -> tuple[list[RunResult], list[float]]:
        """The result of every network, and the seconds that measuring it took, on all cores.

        Args:
            histories: Their measured columns, where they have been measured while training went on.
        """

        def result(i: int) -> tuple[Any, float]:
            plan, descent = self.plans[i], self.descents[i]
            began = time.perf_counter()
            history = plan.measurer().measure(descent.recorder.snapshots) if histories is None else dict(histories[i])
            seconds = time.perf_counter() - began
            return replace(plan.result(descent, history), problem=None), seconds  # which is here already

        on_cpu = all(descent.problem.device.type == "cpu" for descent in self.descents)
        sent = forked(result, len(self.plans), None if on_cpu else 1)
        results = [replace(one, problem=plan.problem) for (one, _), plan in zip(sent, self.plans, strict=True)]
        return results, [seconds for _, seconds in sent]

    @property
    def predicted_steps(self) -> float | None:
        """Steps that all networks together are expected to make, where each is predicted."""
        steps = [plan.prediction.steps for plan in self.plans]
        if not self.side_by_side:
            return steps[0]
        known = [min(s, p.settings.stopping.max_steps) for s, p in zip(steps, self.plans, strict=True) if s is not None]
        return sum(known) if len(known) == len(steps) else None


class Training:
    """How networks are trained, here without anybody who looks on: to the end, with no signal, logger or checkpoint."""

    def open(self, places: Sequence[Place], stack: contextlib.ExitStack) -> None:
        """Open what looks on; what has to be closed goes on the stack."""

    def fit(self, networks: Networks) -> None:
        """Run ``networks.running`` until it has a status."""
        running = networks.running
        if isinstance(running, Descent) and running.capabilities.torch_optimizers:  # Lightning wraps them
            from dlntorch.training.fit import fit_descent

            fit_descent(running, [])
            return
        while running.advance() is None:
            pass

    def measured(self) -> tuple[list[dict[str, np.ndarray]], list[float]] | None:
        """The columns measured while training went on, and for how long; None where all of it is left for the end."""
        return None

    @property
    def received(self) -> str | None:
        """The signal that ended training, if one did."""
        return None

    def deferred(self) -> contextlib.AbstractContextManager[Any]:
        """Holds back signals until the results are written."""
        return contextlib.nullcontext()


def run_life(
    problems: Sequence[Problem],
    make_networks: Callable[[list[dict[str, Any] | None]], Networks],
    training: Training,
    places: Sequence[Place] = (),
    *,
    threads: Any = "auto",
    shards: int = 1,
    announce: Callable[[Sequence[Plan]], object] = lambda plans: None,
    draw: Callable[[Any], Mapping[str, Path]] = lambda result: {},
) -> tuple[Networks, list[Any]]:
    """Plan, train, measure, write and log; every kind of run does it here.

    Args:
        problems: The data of the networks.
        make_networks: Makes the networks from the saved state of each place, None for a place that starts anew.
        training: How they are trained.
        places: Where the networks keep their files; none for a run in memory.
        threads: The setting ``trainer.threads``.
        shards: Processes that the columns of A are spread over.
        announce: Called with the plans before training, and before a repetition.
        draw: Called with each result of a place while it is written; returns figures by name, for the logger.

    Returns:
        The networks, and what each place has as its result; without places the results of the networks.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(numeric_threads(threads, max(problems, key=lambda problem: problem.m * problem.n)))
        stack.enter_context(shard_processes(shards))
        states = [place.read_checkpoint() for place in places]
        networks = make_networks(states)
        for place, state in zip(places, states, strict=True):
            place.begin(networks, state)
        announce(networks.plans)
        training.open(places, stack)
        networks.train(training.fit, announce)
        measured = training.measured()
        results, seconds = networks.results(None if measured is None else measured[0])
        if not places:
            return networks, results
        for result, plan, took in zip(
            results, networks.plans, seconds if measured is None else measured[1], strict=True
        ):
            result.summary["logging_seconds"] = took
            result.summary["predicted_steps"] = plan.prediction.steps
        with training.deferred():
            written = [place.write(results, draw) for place in places]
            if training.received == "SIGUSR1" and any(one.status is Status.INTERRUPTED for one in written):
                requeue_slurm_job()  # before the loggers, which may take longer than SLURM waits
            for place in places:
                place.finish_logger()
    log_unlogged(places, networks.running.state_dict)
    return networks, written
