"""One run of plain SGD, block by block: the engine, what it records, and when it stops."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dlntorch.engine import (
    CAPABILITIES,
    Progress,
    RecordingEngine,
    RowBatches,
    Stopping,
    engine_class,
    needs_of,
    resolve_engine,
)
from dlntorch.model.network import DiagonalLinearNetwork
from dlntorch.numerics.trajectory import Status
from dlntorch.optim.step_size import Schedule
from dlntorch.optim.update import SGD, TorchUpdate, Update
from dlntorch.problem import Problem
from dlntorch.store.identity import problem_digest
from dlntorch.training.recorder import Recorder

if TYPE_CHECKING:
    from dlntorch.bounds.certificate import Certificate

__all__ = ["Descent"]

#: Recorded steps in one block at most.
MOST_DUE = 128


class Descent:
    """A run of plain SGD on one network: ``while descent.advance() is None: pass``.

    Full-batch runs train on the equivalent pair (Ã, ỹ) of full row rank (theory: the gradients are equal), so that
    a residual tolerance can be met when y is not in range(A). Mini-batches need the original rows.

    Args:
        network: The network to train, in place.
        problem: The data, on the network's device and of its dtype.
        schedule: Step sizes.
        stopping: Residual tolerance and budgets.
        engine: Which engine runs the steps; "auto" chooses by device.
        batch_size: Rows of a mini-batch, None for full-batch steps.
        seed: Seed of the mini-batches.
        certificate: Accumulated along the run where given.
        max_wall_seconds: Wall-clock budget of the training itself, from here on: a saved state loaded into it brings its
            seconds along, which do not count.
        shards: Processes that the columns of A are spread over, inside ``engine.processes.shard_processes``.
        block_seconds: About how long one :meth:`advance` lasts.
        update: Which way a step goes; plain SGD by default.
    """

    def __init__(
        self,
        network: DiagonalLinearNetwork,
        problem: Problem,
        schedule: Schedule,
        stopping: Stopping,
        *,
        engine: str = "auto",
        batch_size: int | None = None,
        seed: int = 0,
        certificate: Certificate | None = None,
        max_wall_seconds: float = math.inf,
        shards: int = 1,
        block_seconds: float = 0.05,
        update: Update | TorchUpdate | None = None,
    ) -> None:
        update = SGD() if update is None else update
        batches = None if batch_size is None else RowBatches(problem.m, batch_size, seed)
        self.network = network
        # mini-batches, and noise on the labels, are of the rows as they were given
        self.problem = problem.reduced() if batches is None and update.sigma == 0 else problem
        self._given = problem
        self.engine_name = resolve_engine(engine, problem.device, problem.dense, needs_of(network, update, schedule))
        running = self.engine_name if shards == 1 else CAPABILITIES[self.engine_name].over_processes
        self.engine = engine_class(running)(
            network, self.problem, schedule, stopping, batches, certificate, update, seed
        )
        self.capabilities = CAPABILITIES[running]
        self.recorder = Recorder()
        self.status: Status | None = None
        self.max_wall_seconds = max_wall_seconds
        self.block_seconds = block_seconds
        self.wall_seconds = 0.0
        self.wall_before = 0.0  # of it, what earlier commands took
        self.interrupted = False
        self._block = 1

    @property
    def progress(self) -> Progress:
        """Steps, time and step sizes so far."""
        return self.engine.progress

    @property
    def steps(self) -> int:
        """Steps made."""
        return self.progress.step

    def metrics(self) -> dict[str, float]:
        """How the run stands after the last block, by the names of a run folder's trajectory.

        ``residual`` is relative to ‖y‖₂ (to 1 where y = 0) and as last computed, as is ``loss``: at most one step old,
        with mini-batches ``check_every`` steps.
        """
        progress, size = self.progress, float(torch.linalg.vector_norm(self.problem.y)) or 1.0
        return {
            "step": float(progress.step),
            "t": progress.time,
            "eta": progress.eta,
            "loss": 0.5 * progress.residual**2,
            "residual": progress.residual / size,
        }

    @property
    def reason(self) -> str:
        """Why the run ended, in one line."""
        if self.status is None:
            return "the run has not ended"
        return self.progress.reason or self.status.message

    def interrupt(self) -> None:
        """Ask the run to end with status ``interrupted`` after the current block."""
        self.interrupted = True

    def advance(self, at_most: int | None = None) -> Status | None:
        """Run about ``block_seconds`` of steps, and at most so many; θ does not depend on how a run is cut into blocks.

        Returns:
            The status when the run has ended, else None.
        """
        if self.status is not None:
            return self.status
        began = time.perf_counter()
        block = self._block if at_most is None else min(self._block, at_most)
        if isinstance(self.engine, RecordingEngine) and self.engine.batches is None:
            return self._advance_recording(self.engine, block, began)
        before = self.progress.step
        steps = min(block, self.begin())
        return self.finish(self.engine.advance(steps), before, time.perf_counter() - began)

    def _advance_recording(self, engine: RecordingEngine, block: int, began: float) -> Status | None:
        """One block in one call of an engine that keeps θ at recorded steps by itself."""
        self._record_if_due()
        before = self.progress.step
        end = before + max(0, min(block, engine.stopping.max_steps - before))
        due = self.recorder.due_within(before, end, MOST_DUE)
        if len(due) == MOST_DUE:
            end = due[-1]
        if end == before:
            return self.finish(engine.advance(0), before, time.perf_counter() - began)
        status, kept = engine.advance_recording(end - before, np.array(due, dtype=np.int64))
        for snapshot in kept:
            self.recorder.add(snapshot)
        return self.finish(status, before, time.perf_counter() - began)

    def begin(self) -> int:
        """Record θ_k where that is due; returns how many steps the next block has, up to the next recorded step."""
        self._record_if_due()
        progress = self.progress
        room = self.recorder.next_step(progress.step) - progress.step
        left = self.engine.stopping.max_steps - progress.step
        # at the step budget one more call sees whether the last step reached the tolerance
        return max(0, min(self._block, room, left))

    def finish(self, status: Status | None, before: int, seconds: float) -> Status | None:
        """Take note of a block that the engine has run from step ``before`` in ``seconds``; returns the run's status."""
        self.wall_seconds += seconds
        self._adapt(self.progress.step - before, seconds)
        if status is None and self.interrupted:
            status = Status.INTERRUPTED
        if status is None and self.wall_seconds - self.wall_before >= self.max_wall_seconds:
            status = Status.MAX_WALL_SECONDS
        if status is not None:
            self.end(status)
        else:
            self._record_if_due()
        return status

    def end(self, status: Status) -> None:
        """End the run where it stands."""
        self.status = status
        self._record()

    def _adapt(self, steps: int, seconds: float) -> None:
        """Choose the next block so that it lasts about ``block_seconds``; θ does not depend on the choice."""
        if not self.capabilities.adaptive_blocks:
            return
        if steps == self._block and seconds < self.block_seconds:
            growth = 10.0 if seconds <= 0 else min(10.0, self.block_seconds / seconds)
            self._block = max(self._block + 1, int(self._block * growth))
        elif seconds > 2 * self.block_seconds and steps > 0:
            self._block = max(1, int(steps * self.block_seconds / seconds))

    def _record_if_due(self) -> None:
        if self.recorder.due(self.progress.step):
            self._record()

    def _record(self) -> None:
        self.recorder.record(self.progress, self.network.rows)

    def identity(self) -> dict[str, Any]:
        """What a saved state belongs to, as plain numbers; budgets and tolerance may change when a run goes on."""
        schedule, batches, update = self.engine.schedule, self.engine.batches, self.engine.update
        network = self.network
        found = {
            "problem": problem_digest(self._given),
            "p": network.p,
            "psi": type(network).__qualname__ if network.overrides_psi else None,
            "alpha": _number_or_list(network.get_buffer("start" if network.p is None else "alpha")),
            "schedule": schedule.name,
            **{name: getattr(schedule, name) for name in ("kappa", "c", "eta", "epsilon", "over")},
            "engine": self.engine_name,
            "batch_size": None if batches is None else batches.batch_size,
            "seed": None if batches is None and update.sigma == 0 else self.engine.seed,
            "dtype": str(self.problem.dtype),
            "certificate": self.engine.certificate is not None,
        }
        if network.p is None:
            found["model"] = repr(network.parametrization)
        if "alpha_minus" in dict(network.named_buffers()):
            found["alpha_minus"] = _number_or_list(network.get_buffer("alpha_minus"))
        if not self.engine.plain:
            found["optimizer"] = {"name": update.name, **update.options()}
        return found

    def state_dict(self) -> dict[str, Any]:
        """Everything that continues the run bitwise, as tensors and plain numbers (safe to load)."""
        return {
            **{name: value.detach().cpu().clone() for name, value in self.network.named_parameters()},
            "schedule": {name: getattr(self.engine.schedule, name) for name in ("kappa", "c", "eta")},
            "engine": self.engine.state_dict(),
            "recorder": self.recorder.state_dict() if self.recorder.snapshots else None,
            "wall_seconds": self.wall_seconds,
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state; the run may go on even where the saved one had ended."""
        for name, parameter in self.network.named_parameters():
            parameter.copy_(state[name])
        self.engine.load_state_dict(state["engine"])
        self.progress.reason = ""
        if state["recorder"] is not None:
            self.recorder.load_state_dict(state["recorder"])
            self.recorder.drop_unscheduled()
        self.wall_seconds = self.wall_before = float(state["wall_seconds"])
        self.status = None


def _number_or_list(alpha: torch.Tensor) -> float | list[float]:
    """α as one number where all coordinates have it."""
    values = alpha.flatten().tolist()
    return values[0] if len(set(values)) == 1 else values
