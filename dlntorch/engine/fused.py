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
from dlntorch.model.metrics import starting_direction
from dlntorch.numerics.powers import split_exponent
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
        if self.problem.device.type != "cpu" or self.network.theta_plus.device.type != "cpu":
            raise InputError(f"engine=fused must have device=cpu, got {self.problem.device}")
        n, p, schedule = self.problem.n, self.law.depth, self.schedule
        if p is None or isinstance(self.update, TorchUpdate):
            raise RuntimeError("the engine has refused what it does not run")
        A, y = np.ascontiguousarray(self.problem.A.numpy()), np.ascontiguousarray(self.problem.y.numpy())
        kind = A.dtype
        self._data = kernels.Data(A, y, np.zeros_like(y), np.arange(len(y), dtype=np.int64))
        self._theta, self._new = np.empty((2, n), kind), np.empty((2, n), kind)
        self._vectors = np.empty((4, n), kind)
        self._work = kernels.Work(self._theta, self._new, np.empty(2 * n, kind), np.empty(2 * n, kind), self._vectors)
        self._cold = schedule.rule == "stable"
        start = starting_direction(n, self.problem.dtype).numpy().reshape(2, n)
        self._direction = np.concatenate([start, start]) if self._cold else None
        scale = 1.0 if self.batches is None else self.batches.scale
        whole, half = split_exponent(p - 2)
        self._q = p - 2 if whole < 0 else None
        given = [math.nan if value is None else float(value) for value in (schedule.c, schedule.kappa, schedule.eta)]
        self._numbers = kernels.Numbers(
            float(p),
            *given,
            norm2=float(self.problem.spectral_norm**2 * scale) if schedule.rule == "relative" else 0.0,
            scale=float(scale),
            threshold=float(self.threshold),
            max_time=float(self.stopping.max_time),
            rule={"constant": kernels.CONSTANT, "relative": kernels.RELATIVE, "stable": kernels.STABLE}[schedule.rule],
            max_steps=int(min(self.stopping.max_steps, 1 << 62)),
            check_every=int(self.stopping.check_every),
            watches=bool(self.stopping.tol > 0),
            whole=int(whole),
            half=bool(half),
            cold=COLD_ITERATIONS,
            warm=WARM_ITERATIONS,
            signed=bool(self.signed and whole >= 0),
            steps=0,
        )
        self._update = update_numbers(self.update, self.seed, y, n)
        self._nothing_due = kernels.Record(np.empty(0, np.int64), np.empty((0, 2, n), kind), np.empty((0, 2)))

    def advance(self, steps: int) -> Status | None:
        """Make up to ``steps`` further steps; a status when the run has ended, else None."""
        remaining = check_count("steps", steps, at_least=0)
        plus, minus = self.network.theta_plus.data.numpy(), self.network.theta_minus.data.numpy()
        self._theta[0], self._theta[1] = plus, minus
        block = remaining if self.batches is None else max(1, ROWS_AHEAD // self.batches.batch_size)
        while True:
            left = max(1, self.stopping.max_steps - self.progress.step)  # draws no rows beyond the budget
            now = min(block, remaining, left)
            rows = None if self.batches is None else self.batches.rows(self.progress.step, max(1, now))
            ending, _ = self._run(now, rows, self._nothing_due)
            remaining -= now
            if remaining == 0 or ending != kernels.RUNNING:
                break
        plus[...], minus[...] = self._theta[0], self._theta[1]
        return self._status(ending)

    def advance_recording(self, steps: int, due: np.ndarray) -> tuple[Status | None, list[Snapshot]]:
        """:meth:`advance` for full batches, keeping θ at the steps ``due``, increasing, where they are reached.

        One call then lasts as long as ``steps`` allow, however many steps are due: threads of an ensemble need the
        interpreter between two calls only.
        """
        plus, minus = self.network.theta_plus.data.numpy(), self.network.theta_minus.data.numpy()
        self._theta[0], self._theta[1] = plus, minus
        kept, marks = np.empty((due.size, *self._theta.shape), self._theta.dtype), np.empty((due.size, 2))
        ending, count = self._run(steps, None, kernels.Record(due, kept, marks))
        plus[...], minus[...] = self._theta[0], self._theta[1]
        found = [
            Snapshot(int(due[i]), float(marks[i, 0]), float(marks[i, 1]), kept[i].astype(np.float64))
            for i in range(count)
        ]
        return self._status(ending), found

    def _run(self, steps: int, chosen: np.ndarray | None, record: kernels.Record) -> tuple[int, int]:
        """The compiled loop from where the run stands; how it ended, and how many θ were kept."""
        progress = self.progress
        state = np.array(
            [
                progress.step,
                progress.time,
                progress.eta,
                progress.eta_min,
                progress.eta_max,
                progress.residual,
                float(self._cold),
                0.0,
                progress.sign_changes,
            ]
        )
        ending = kernels.run_steps(
            self._data,
            self._work,
            self._numbers._replace(steps=steps),
            record,
            state,
            chosen,
            self._direction,
            None if self.certificate is None else self.certificate.arguments(),
            self._q,
            self._update,
        )
        progress.step = int(state[0])
        progress.time, progress.eta_min, progress.eta_max, progress.residual = map(float, state[[1, 3, 4, 5]])
        self._cold, progress.sign_changes = bool(state[6]), int(state[8])
        if ending == kernels.BAD_STEP:
            self._refused_eta = float(state[2])
        else:
            progress.eta = float(state[2])
        return ending, int(state[7])

    def _status(self, ending: int) -> Status | None:
        if ending == kernels.IMPROPER:
            return first_improper(self._new[0], self._new[1])
        if ending == kernels.BAD_STEP:
            if not np.all(np.isfinite(self._vectors[1])):
                return Status.DIVERGED
            progress = self.progress
            progress.reason = (
                f"the rule {self.schedule.rule} gives the step size {self._refused_eta:g} at step {progress.step}"
            )
            return Status.FAILED
        return _ENDINGS[ending]

    def state_dict(self) -> dict[str, Any]:
        """Progress, and the direction of the power iteration where the rule ``stable`` has one."""
        state = super().state_dict()
        if self._direction is not None and not self._cold:
            state["direction"] = torch.from_numpy(self._direction[:2].reshape(-1).copy())
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
            self._direction[:2] = self._direction[2:] if saved is None else saved.numpy().reshape(2, -1)
        for name, value in self._remembered().items():
            value.copy_(state["update"][name])
