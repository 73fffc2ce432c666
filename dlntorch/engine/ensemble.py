"""Many networks at once: each with its own p, α, seed or problem, step sizes and end, on as many threads as there are cores.

Every member is a :class:`~dlntorch.engine.fused.FusedEngine`. Its compiled loop holds no interpreter lock, so threads run
members side by side; a member that has ended is not called again. A member's θ is bitwise what it is alone.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dlntorch.dynamics.schedule import Schedule
from dlntorch.engine.base import Progress, Stopping
from dlntorch.engine.batches import RowBatches
from dlntorch.engine.fused import FusedEngine
from dlntorch.network import DiagonalLinearNetwork
from dlntorch.problem import Problem
from dlntorch.trajectory import Status
from dlntorch.validation import InputError, check_count

__all__ = ["EnsembleEngine", "Member", "make_ensemble", "train_ensemble"]


@dataclass(frozen=True)
class Member:
    """One network of an ensemble.

    Attributes:
        p: Its depth.
        alpha: Its initialization.
        seed: The seed of its mini-batches.
        engine: What runs it; ``engine.network``, ``engine.problem`` and ``engine.progress`` are its own.
    """

    p: float
    alpha: float
    seed: int
    engine: FusedEngine


class EnsembleEngine:
    """Runs members side by side; the counterpart of :class:`~dlntorch.engine.base.Engine` for many networks.

    Args:
        members: At least one; all of one shape (m, n).
        threads: Threads, by default one for each core that this process may use.

    Attributes:
        status: For each member, how it ended, None while it runs.
    """

    name = "fused"

    def __init__(self, members: Sequence[Member], threads: int | None = None) -> None:
        if not members:
            raise InputError("ensemble must have at least one member, got none")
        shapes = sorted({(member.engine.problem.m, member.engine.problem.n) for member in members})
        if len(shapes) > 1:
            raise InputError(f"ensemble must have problems of one shape (m, n), got {shapes[0]} and {shapes[1]}")
        self.members = list(members)
        self.threads = check_count("threads", _cores() if threads is None else threads)
        self.status: list[Status | None] = [None] * len(self.members)

    def __len__(self) -> int:
        return len(self.members)

    @property
    def running(self) -> list[int]:
        """Numbers of the members that have not ended."""
        return [i for i, status in enumerate(self.status) if status is None]

    def advance(self, steps: int) -> list[Status | None]:
        """Make up to ``steps`` further steps on every running member; returns :attr:`status`."""
        steps = check_count("steps", steps, at_least=0)
        # the slowest first, so that the threads end together
        order = sorted(self.running, key=lambda i: self.members[i].engine.suggested_block(1.0))
        threads = min(self.threads, len(order))
        if threads <= 1:
            for i in order:
                self.status[i] = self.members[i].engine.advance(steps)
            return self.status
        with ThreadPoolExecutor(threads) as pool:
            for i, status in zip(order, pool.map(lambda i: self.members[i].engine.advance(steps), order), strict=True):
                self.status[i] = status
        return self.status

    def suggested_block(self, seconds: float = 0.05) -> int:
        """How many steps on every running member take about ``seconds`` in all."""
        rates = [self.members[i].engine.suggested_block(1.0) for i in self.running]
        work = sum(1.0 / rate for rate in rates)
        longest = max((1.0 / rate for rate in rates), default=0.0)
        return max(1, int(seconds / max(work / self.threads, longest))) if rates else 1

    def run(
        self,
        max_wall_seconds: float = math.inf,
        block_seconds: float = 0.5,
        on_block: Callable[[EnsembleEngine], None] | None = None,
    ) -> list[Status]:
        """Run every member to its end; those still running after ``max_wall_seconds`` end as ``max_wall_seconds``.

        Args:
            max_wall_seconds: Wall-clock budget of the ensemble.
            block_seconds: About how long the threads run between two looks at the clock.
            on_block: Called with the ensemble after each block, to record or to report.
        """
        start = time.perf_counter()
        while self.running:
            if time.perf_counter() - start >= max_wall_seconds:
                for i in self.running:
                    self.status[i] = Status.MAX_WALL_SECONDS
                break
            self.advance(self.suggested_block(block_seconds))
            if on_block is not None:
                on_block(self)
        return [status for status in self.status if status is not None]

    @property
    def progress(self) -> list[Progress]:
        """Each member's progress."""
        return [member.engine.progress for member in self.members]

    @property
    def theta(self) -> tuple[Tensor, Tensor]:
        """Copies of (θ₊, θ₋), each of shape (members, n)."""
        networks = [member.engine.network for member in self.members]
        plus = torch.stack([network.theta_plus.detach() for network in networks])
        return plus, torch.stack([network.theta_minus.detach() for network in networks])

    @property
    def psi(self) -> Tensor:
        """ψ, shape (members, n)."""
        return torch.stack([member.engine.network.psi.detach() for member in self.members])

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to continue bitwise, θ included."""
        plus, minus = self.theta
        return {
            "theta_plus": plus,
            "theta_minus": minus,
            "engines": [member.engine.state_dict() for member in self.members],
            "status": [None if status is None else str(status) for status in self.status],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state of an ensemble made alike."""
        if len(state["engines"]) != len(self):
            raise InputError(f"ensemble must have the {len(state['engines'])} members that were saved, got {len(self)}")
        self.status = [None if status is None else Status(status) for status in state["status"]]
        for i, member in enumerate(self.members):
            member.engine.load_state_dict(state["engines"][i])
            with torch.no_grad():
                member.engine.network.theta_plus.copy_(state["theta_plus"][i])
                member.engine.network.theta_minus.copy_(state["theta_minus"][i])


def make_ensemble(
    problem: Problem | Sequence[Problem],
    p: float | Sequence[float],
    alpha: float | Sequence[float],
    schedule: Schedule,
    stopping: Stopping,
    *,
    batch_size: int | None = None,
    seed: int | Sequence[int] = 0,
    threads: int | None = None,
) -> EnsembleEngine:
    """An ensemble over whatever is given as a sequence; sequences go together entry by entry.

    Args:
        problem: One problem, or one for each member, all of one shape, of full row rank, on the CPU.
        p: Depth, or one for each member.
        alpha: Initialization, or one for each member.
        schedule: Step sizes, each member's from its own θ.
        stopping: When each member ends.
        batch_size: Rows of a mini-batch, None for full-batch steps.
        seed: Seed of the mini-batches, or one for each member.
        threads: As in :class:`EnsembleEngine`.

    Raises:
        InputError: for sequences of different lengths, and for whatever one network refuses.
    """
    given = {"problem": problem, "p": p, "alpha": alpha, "seed": seed}
    lengths = {name: _length(value) for name, value in given.items()}
    found = {name: length for name, length in lengths.items() if length is not None}
    if len(set(found.values())) > 1:
        shown = ", ".join(f"{name}: {length}" for name, length in found.items())
        raise InputError(f"ensemble must have sequences of one length, got {shown}")
    count = next(iter(found.values()), 1)
    members = []
    for i in range(count):
        one, depth, start, number = (value if lengths[name] is None else value[i] for name, value in given.items())
        network = DiagonalLinearNetwork(one.n, depth, start, dtype=one.dtype, device=one.device)
        batches = None if batch_size is None else RowBatches(one.m, batch_size, number)
        engine = FusedEngine(network, one, schedule, stopping, batches)
        members.append(Member(network.p, float(start), int(number), engine))
    return EnsembleEngine(members, threads)


def train_ensemble(
    problem: Problem | Sequence[Problem],
    p: float | Sequence[float],
    alpha: float | Sequence[float],
    schedule: Schedule | None = None,
    stopping: Stopping | None = None,
    *,
    max_wall_seconds: float = math.inf,
    **options: Any,
) -> EnsembleEngine:
    """Make an ensemble (see :func:`make_ensemble`), run it to its end and return it.

    The results are its ``psi``, ``theta``, ``progress`` and ``status``, entry by entry.
    """
    chosen = Schedule() if schedule is None else schedule
    ensemble = make_ensemble(problem, p, alpha, chosen, Stopping() if stopping is None else stopping, **options)
    ensemble.run(max_wall_seconds)
    return ensemble


def _length(value: Any) -> int | None:
    """The length of a sequence, None for a single value."""
    if isinstance(value, Problem) or not hasattr(value, "__len__"):
        return None
    return len(value)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
