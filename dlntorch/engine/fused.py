"""The fused engine: K steps of plain SGD in one compiled loop, on the CPU, in one thread.

The same θ as ``autograd`` up to rounding; :mod:`dlntorch.engine.kernels` has the loop.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from dlntorch.engine import kernels
from dlntorch.engine.base import RecordingEngine, Snapshot, first_improper
from dlntorch.engine.update_kernels import state_tensors, update_numbers
from dlntorch.model.cells import Scratch, compiled_cell
from dlntorch.model.metrics import starting_direction
from dlntorch.numerics.aligned import aligned_copy, aligned_empty
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError, check_count
from dlntorch.optim.step_size import COLD_ITERATIONS, WARM_ITERATIONS
from dlntorch.optim.update import TorchUpdate

__all__ = ["FusedEngine"]

#: Row numbers of mini-batches that are drawn ahead of one call of the compiled loop.
ROWS_AHEAD = 1 << 16

_ENDINGS = {
    kernels.RUNNING: None,
    kernels.CONVERGED: Status.CONVERGED,
    kernels.MAX_STEPS: Status.MAX_STEPS,
    kernels.MAX_TIME: Status.MAX_TIME,
}


class FusedEngine(RecordingEngine):
    """Plain SGD in a compiled loop; see :class:`dlntorch.engine.base.Engine` for the arguments and a step's order.

    Raises:
        InputError: for a network or a problem that is not on the CPU.
    """

    name = "fused"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.problem.device.type != "cpu" or self.network.rows[0].device.type != "cpu":
            raise InputError(f"engine=fused must have device=cpu, got {self.problem.device}")
        if isinstance(self.update, TorchUpdate):
            raise RuntimeError("the engine has refused what it does not run")
        n, law, schedule = self.problem.n, self.law, self.schedule
        cell = compiled_cell(law, self.network.whole_theta())
        A, y = aligned_copy(self.problem.A.numpy()), aligned_copy(self.problem.y.numpy())
        kind, shape = A.dtype, (law.width, n)
        self._data = kernels.Data(A, y, np.zeros_like(y), np.arange(len(y), dtype=np.int64))
        self._cold = schedule.rule == "stable"
        start = starting_direction(n, self.problem.dtype, width=law.width).numpy().reshape(shape)
        self._direction = np.stack([start, start, start]) if self._cold else None
        nothing_due = kernels.Record(np.empty(0, np.int64), np.empty((0, *shape), kind), np.empty((0, 2)))
        theta, new, vectors = (aligned_empty(size, kind) for size in (shape, shape, (4, n)))
        self._work = kernels.Work(theta, new, Scratch.beside(theta), vectors, nothing_due)
        scale = 1.0 if self.batches is None else self.batches.scale
        given = [math.nan if value is None else float(value) for value in (schedule.c, schedule.kappa, schedule.eta)]
        self._numbers = kernels.Numbers(
            cell.numbers,
            cell.scale,
            *given,
            norm2=float(self.problem.spectral_norm**2 * scale) if schedule.rule == "relative" else 0.0,
            scale=float(scale),
            threshold=float(self.threshold),
            max_time=float(self.stopping.max_time),
            rule={"constant": kernels.CONSTANT, "relative": kernels.RELATIVE, "stable": kernels.STABLE}[schedule.rule],
            max_steps=int(min(self.stopping.max_steps, 1 << 62)),
            check_every=int(self.stopping.check_every),
            watches=bool(self.stopping.tol > 0),
            cold=COLD_ITERATIONS,
            warm=WARM_ITERATIONS,
            signed=bool(self.signed),
            steps=0,
        )
        self._loop = kernels.compiled_loop(cell.kernels, law.width, law.positive)
        self._update = update_numbers(self.update, self.seed, y, shape)

    def advance(self, steps: int) -> Status | None:
        """Make up to ``steps`` further steps; a status when the run has ended, else None."""
        remaining = check_count("steps", steps, at_least=0)
        self._read()
        block = remaining if self.batches is None else max(1, ROWS_AHEAD // self.batches.batch_size)
        while True:
            left = max(1, self.stopping.max_steps - self.progress.step)  # draws no rows beyond the budget
            now = min(block, remaining, left)
            rows = None if self.batches is None else self.batches.rows(self.progress.step, max(1, now))
            ending, _ = self._run(now, rows)
            remaining -= now
            if remaining == 0 or ending != kernels.RUNNING:
                break
        self._write()
        return self._status(ending)

    def advance_recording(self, steps: int, due: np.ndarray) -> tuple[Status | None, list[Snapshot]]:
        """:meth:`advance` for full batches, keeping θ at the steps ``due``, increasing, where they are reached.

        One call then lasts as long as ``steps`` allow, however many steps are due: threads of an ensemble need the
        interpreter between two calls only.
        """
        theta = self._read()
        kept, marks = np.empty((due.size, *theta.shape), theta.dtype), np.empty((due.size, 2))
        ending, count = self._run(steps, None, kernels.Record(due, kept, marks))
        self._write()
        found = [
            Snapshot(int(due[i]), float(marks[i, 0]), float(marks[i, 1]), kept[i].astype(np.float64))
            for i in range(count)
        ]
        return self._status(ending), found

    def _read(self) -> np.ndarray:
        """θ of the network, in the array that the loop changes."""
        for own, row in zip(self._work.theta, self.network.rows, strict=True):
            own[...] = row.numpy()
        return self._work.theta

    def _write(self) -> None:
        """The loop's θ into the network."""
        for own, row in zip(self._work.theta, self.network.rows, strict=True):
            row.numpy()[...] = own

    def _run(self, steps: int, chosen: np.ndarray | None, record: kernels.Record | None = None) -> tuple[int, int]:
        """The compiled loop from where the run stands; how it ended, and how many θ were kept."""
        progress, state = self.progress, np.recarray(1, kernels.STATE)[0]
        for name in ("step", "time", "eta", "eta_min", "eta_max", "residual", "sign_changes"):
            state[name] = getattr(progress, name)
        state.cold, state.kept = self._cold, 0
        certificate = None if self.certificate is None else self.certificate.arguments()
        work = self._work if record is None else self._work._replace(record=record)
        numbers = self._numbers._replace(steps=steps)
        ending = self._loop(self._data, work, numbers, state, chosen, self._direction, certificate, self._update)
        progress.step, progress.sign_changes = int(state.step), int(state.sign_changes)
        for name in ("time", "eta_min", "eta_max", "residual"):
            setattr(progress, name, float(state[name]))
        self._cold = bool(state.cold)
        if ending == kernels.BAD_STEP:
            self._refused_eta = float(state.eta)
        else:
            progress.eta = float(state.eta)
        return ending, int(state.kept)

    def _status(self, ending: int) -> Status | None:
        if ending == kernels.IMPROPER:
            return first_improper(*self._work.new)
        if ending == kernels.BAD_STEP:
            if not np.all(np.isfinite(self._work.vectors[1])):
                return Status.DIVERGED
            return self.no_step(self._refused_eta)
        return _ENDINGS[ending]

    def state_dict(self) -> dict[str, Any]:
        """Progress, and the direction of the power iteration where the rule ``stable`` has one."""
        state = super().state_dict()
        if self._direction is not None and not self._cold:
            state["direction"] = torch.from_numpy(self._direction[0].reshape(-1).copy())
        if self._update is not None:
            state["update"] = {name: value.clone() for name, value in self._remembered().items()}
        return state

    def _remembered(self) -> dict[str, torch.Tensor]:
        """What the update remembers, as views."""
        if self._update is None or isinstance(self.update, TorchUpdate):
            return {}
        return state_tensors(self.update, self._update)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state, bitwise."""
        super().load_state_dict(state)
        if self._direction is not None:
            saved = state.get("direction")
            self._cold = saved is None
            self._direction[0] = self._direction[1] if saved is None else saved.numpy().reshape(self._work.theta.shape)
        for name, value in self._remembered().items():
            value.copy_(state["update"][name])
