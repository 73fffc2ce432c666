"""Many runs of plain SGD side by side: each with its own network, step sizes, record and end.

Every network is a :class:`~dlntorch.training.descent.Descent` and is trained exactly as it would be alone: its θ, its
record and its status are bitwise the same. The fused engine's compiled loop holds no interpreter lock, so threads run
networks at the same time; a network that has ended is not called again. On a GPU, networks of one shape, depth and
kind of schedule are one batch: their steps are made by one kernel at the same time.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from torch import nn

from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError, check_count
from dlntorch.training.descent import Descent

__all__ = ["EnsembleDescent", "available_cores", "overall_status"]

#: How long a thread stays with a network before it takes the next one, in seconds, and how long a block of it lasts.
SLICE_SECONDS, BLOCK_SECONDS = 0.04, 0.01
#: An ensemble's block lasts so much longer than a single run's: at its end threads wait for one another.
LONGER_BLOCKS = 5.0
#: Bytes that the records of all networks may take together.
RECORD_BYTES = 2**30
#: Of several statuses the first of these is the ensemble's: what ended badly, then what used up a budget.
_GRAVITY = (
    Status.INTERRUPTED,
    Status.FAILED,
    Status.DIVERGED,
    Status.LEFT_POSITIVE_ORTHANT,
    Status.MAX_WALL_SECONDS,
    Status.MAX_STEPS,
    Status.MAX_TIME,
    Status.CONVERGED,
)


class EnsembleDescent:
    """Runs many descents to their ends: ``while ensemble.advance() is None: pass``.

    Threads take running networks in turn, a time slice each, so that all of them progress and a wall-clock budget or
    an interruption finds them equally far. Engines that are not
    compiled hold the interpreter and use one thread; those of ``cuda`` are run in batches (:class:`_Batch`).

    Args:
        descents: The runs, at least one; nothing need be common to them.
        threads: How many networks run at the same time; by default one for each core that this process may use.
        max_wall_seconds: Wall-clock budget of the whole ensemble, as a descent's.
        block_seconds: A fifth of how long one :meth:`advance` lasts, about.

    Raises:
        InputError: for an empty ensemble or ``threads`` below 1.
    """

    def __init__(
        self,
        descents: Sequence[Descent],
        *,
        threads: int | None = None,
        max_wall_seconds: float = math.inf,
        block_seconds: float = 0.05,
    ) -> None:
        if not descents:
            raise InputError("ensemble must have at least one network, got none")
        self.descents = list(descents)
        self.network = nn.ModuleList(descent.network for descent in descents)
        self.problem = descents[0].problem
        wanted = check_count("ensemble.threads", available_cores() if threads is None else threads)
        self.threads = wanted if all(d.capabilities.compiled for d in descents) else 1
        self.max_wall_seconds = max_wall_seconds
        self.block_seconds = LONGER_BLOCKS * block_seconds
        self.wall_seconds = self.wall_before = 0.0
        self.interrupted = False
        for descent in descents:
            descent.block_seconds = min(descent.block_seconds, BLOCK_SECONDS)
            descent.recorder.max_bytes = min(descent.recorder.max_bytes, RECORD_BYTES // len(descents))
        self._form_groups()

    def _form_groups(self) -> None:
        """Networks that one CUDA batch can hold become a batch; all others wait in the queue for a thread."""
        kinds: dict[tuple[Any, ...], list[Descent]] = {}
        alone: list[int] = []
        for i in self.running:
            engine = self.descents[i].engine
            if getattr(engine, "batchable", False):
                key = (engine.network.p, engine.schedule.rule, engine.problem.A.shape, engine.problem.dtype)
                kinds.setdefault(key, []).append(self.descents[i])
            else:
                alone.append(i)
        self._batches = [_Batch(members, self.block_seconds) for members in kinds.values()]
        self._queue = deque(alone)

    def __len__(self) -> int:
        return len(self.descents)

    @property
    def running(self) -> list[int]:
        """Numbers of the networks that have not ended."""
        return [i for i, descent in enumerate(self.descents) if descent.status is None]

    @property
    def status(self) -> Status | None:
        """None while a network runs; then the gravest of their statuses."""
        return None if self.running else overall_status([descent.status for descent in self.descents])

    @property
    def steps(self) -> int:
        """Steps made by all networks together."""
        return sum(descent.progress.step for descent in self.descents)

    def metrics(self) -> dict[str, float]:
        """How the ensemble stands: steps of all networks, how many have ended, the largest residual relative to ‖y‖₂."""
        each = [descent.metrics() for descent in self.descents]
        return {
            "step": float(self.steps),
            "networks_ended": float(len(self) - len(self.running)),
            "residual": max(one["residual"] for one in each),
        }

    @property
    def reason(self) -> str:
        """How many networks ended how, in one line."""
        counts = Counter(str(descent.status or "running") for descent in self.descents)
        return ", ".join(f"{count} of {len(self)} {name}" for name, count in counts.most_common())

    def interrupt(self) -> None:
        """Ask every running network to end with status ``interrupted`` after the current blocks."""
        self.interrupted = True

    def advance(self) -> Status | None:
        """Run the networks for about a block; the ensemble's status when all have ended, else None."""
        if not self.running:
            return self.status
        began = time.perf_counter()
        for batch in self._batches:
            batch.advance()
        left = self.max_wall_seconds - (self.wall_seconds - self.wall_before)
        deadline = began + min(self.block_seconds, max(0.0, left))
        workers = min(self.threads, len(self._queue))
        if workers <= 1:
            self._work(deadline)
        else:
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(self._work, [deadline] * workers))
        self.wall_seconds += time.perf_counter() - began
        if self.interrupted or self.wall_seconds - self.wall_before >= self.max_wall_seconds:
            for i in self.running:
                self.descents[i].end(Status.INTERRUPTED if self.interrupted else Status.MAX_WALL_SECONDS)
            self._queue.clear()
            self._batches.clear()
        return self.status

    def _work(self, deadline: float) -> None:
        """Take networks from the queue, a time slice each, until the deadline; those still running go back to its end."""
        while True:
            try:
                i = self._queue.popleft()
            except IndexError:
                return
            until = min(time.perf_counter() + SLICE_SECONDS, deadline)
            descent = self.descents[i]
            while descent.advance() is None and time.perf_counter() < until and not self.interrupted:
                pass
            if descent.status is None:
                self._queue.append(i)
            if time.perf_counter() >= deadline or self.interrupted:
                return

    def identity(self) -> dict[str, Any]:
        """What a saved state belongs to: the identity of every network."""
        return {"networks": [descent.identity() for descent in self.descents]}

    def state_dict(self) -> dict[str, Any]:
        """Everything that continues every network bitwise."""
        return {"networks": [descent.state_dict() for descent in self.descents], "wall_seconds": self.wall_seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state of an ensemble made alike; budgets and tolerance may have changed."""
        if len(state["networks"]) != len(self):
            raise InputError(f"ensemble must have the {len(state['networks'])} networks saved, got {len(self)}")
        for descent, saved in zip(self.descents, state["networks"], strict=True):
            descent.load_state_dict(saved)
        self.wall_seconds = self.wall_before = float(state["wall_seconds"])
        self.interrupted = False
        self._form_groups()


class _Batch:
    """Descents whose steps one CUDA batch makes at the same time.

    A block ends for each where its next record is due, so θ, record and status are those of the descent alone. Once
    three of four have ended the batch is made anew from those that run, so that the others' data leave the GPU.
    """

    def __init__(self, descents: list[Descent], block_seconds: float) -> None:
        from dlntorch.engine.cuda import batch_of

        self.descents = descents
        for descent in descents:
            descent.block_seconds = block_seconds
        self._batch_of = batch_of
        self._batch = batch_of([descent.engine for descent in descents])  # pyright: ignore[reportArgumentType]

    def advance(self) -> None:
        """One block of every running network."""
        from dlntorch.engine.cuda import advance_together

        running = [descent for descent in self.descents if descent.status is None]
        if 4 * len(running) <= len(self.descents) and running:
            self.descents = running
            self._batch = self._batch_of([descent.engine for descent in running])  # pyright: ignore[reportArgumentType]
        if not running:
            return
        began = time.perf_counter()
        before = [descent.progress.step for descent in self.descents]
        steps = [descent.begin() if descent.status is None else 0 for descent in self.descents]
        engines: list[Any] = [descent.engine for descent in self.descents]
        statuses = advance_together(self._batch, engines, steps)
        seconds = time.perf_counter() - began
        for descent, status, step in zip(self.descents, statuses, before, strict=True):
            if descent.status is None:
                descent.finish(status, step, seconds)


def overall_status(statuses: Sequence[Status | None]) -> Status:
    """The gravest of several statuses."""
    return min((status for status in statuses if status is not None), key=_GRAVITY.index)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
