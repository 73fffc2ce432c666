"""The CUDA engine: networks that fit are trained on chip by one kernel, larger ones by replayed graphs of matrix products.

One network (:class:`CudaEngine`) is a batch of one (:class:`CudaBatch`). Mini-batches, the rule ``stable`` and certificates
run as in the eager engine, on the GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dlntorch.dynamics.schedule import Schedule
from dlntorch.engine.base import Progress, Stopping
from dlntorch.engine.batched import ENDINGS, BatchState, step
from dlntorch.engine.eager import EagerEngine
from dlntorch.network import DiagonalLinearNetwork
from dlntorch.problem import Problem
from dlntorch.trajectory import Status
from dlntorch.validation import InputError, check_count

__all__ = ["CudaBatch", "CudaEngine", "GraphSteps", "eager_steps"]

#: Steps in one CUDA graph.
GRAPH_STEPS = 32


def eager_steps(state: BatchState, steps: int) -> None:
    """``steps`` steps without a kernel or a graph: on any device, and what both are tested against."""
    for _ in range(steps):
        step(state)


class GraphSteps:
    """Steps replayed as CUDA graphs of :data:`GRAPH_STEPS`; what is left over is run step by step."""

    def __init__(self, state: BatchState) -> None:
        saved = {name: tensor.clone() for name, tensor in state.tensors().items()}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # libraries allocate at their first calls, which a capture must not contain
            eager_steps(state, 3)
        torch.cuda.current_stream().wait_stream(side)
        self.state, self.graph = state, torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            eager_steps(state, GRAPH_STEPS)
        for name, tensor in state.tensors().items():
            tensor.copy_(saved[name])

    def __call__(self, steps: int) -> None:
        for _ in range(steps // GRAPH_STEPS):
            self.graph.replay()
        eager_steps(self.state, steps % GRAPH_STEPS)


class CudaBatch:
    """Networks of one depth and one schedule, trained together, each with its own step sizes and its own end.

    Args:
        networks: One network for each member, of one shape, depth, precision and device.
        problems: One problem for all, or one for each, dense, of full row rank and of one shape.
        schedule: ``relative`` or ``constant``.
        stopping: When each member ends, full batch.
        runner: Makes, from the batch's state, what runs a number of steps; chosen by size where it is None.
    """

    def __init__(
        self,
        networks: Sequence[DiagonalLinearNetwork],
        problems: Problem | Sequence[Problem],
        schedule: Schedule,
        stopping: Stopping,
        runner: Callable[[BatchState], Callable[[int], None]] | None = None,
    ) -> None:
        given = [problems] if isinstance(problems, Problem) else list(problems)
        if not networks:
            raise InputError("ensemble must have at least one member, got none")
        if len(given) not in (1, len(networks)):
            raise InputError(
                f"ensemble must have one problem, or {len(networks)}, one for each network, got {len(given)}"
            )
        if len({(q.m, q.n) for q in given}) > 1:
            raise InputError("ensemble must have problems of one shape (m, n), got several")
        if len({network.p for network in networks}) > 1:
            raise InputError("ensemble must have one depth p in a batch, got several")
        if schedule.rule not in ("relative", "constant"):
            raise InputError(f"schedule must be relative or constant in a batch, got {schedule.name!r}")
        self.networks, self.stopping = list(networks), stopping
        self.state = _state(self.networks, given, schedule, stopping)
        self._run = (runner or _runner)(self.state)

    def advance(self, steps: int) -> list[Status | None]:
        """Make up to ``steps`` further steps on every running network; each one's status, None where it runs."""
        steps, s = check_count("steps", steps, at_least=0), self.state
        s.until.copy_(s.step + steps)
        self._run(steps)
        if steps == 0 or bool(((s.ending == 0) & (s.step >= s.max_steps)).any()):
            self._look()
        for i, network in enumerate(self.networks):
            network.theta_plus.data.copy_(s.plus[i])
            network.theta_minus.data.copy_(s.minus[i])
        return self.status

    def _look(self) -> None:
        """See whether a network has ended where it stands, without a step."""
        self.state.until.copy_(self.state.step)
        step(self.state)

    @property
    def status(self) -> list[Status | None]:
        """How each network ended, None where it runs."""
        return [ENDINGS.get(code) for code in self.state.ending.tolist()]

    @property
    def progress(self) -> list[Progress]:
        """Each network's progress; ``time`` is its Σ η."""
        names = ("step", "time", "eta", "eta_min", "eta_max", "residual")
        columns = [getattr(self.state, name).tolist() for name in names]
        return [Progress(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]

    def load(self, progress: Sequence[Progress]) -> None:
        """Continue from the networks' θ and from a saved progress."""
        s = self.state
        s.ending.zero_()
        for i, (network, one) in enumerate(zip(self.networks, progress, strict=True)):
            s.plus[i], s.minus[i] = network.theta_plus.data, network.theta_minus.data
            for name in ("step", "time", "eta", "eta_min", "eta_max", "residual"):
                getattr(s, name)[i] = getattr(one, name)


def _state(
    networks: list[DiagonalLinearNetwork], problems: list[Problem], schedule: Schedule, stopping: Stopping
) -> BatchState:
    """The tensors of a batch at its start."""
    count, place = len(networks), problems[0].device

    def number(value: float) -> Tensor:
        return torch.full((count,), value, dtype=torch.float64, device=place)

    def each(values: list[float]) -> Tensor:
        return number(1.0) * torch.tensor(values, dtype=torch.float64, device=place)

    def whole(value: int) -> Tensor:
        return torch.full((count,), value, dtype=torch.int64, device=place)

    relative = schedule.rule == "relative"
    sizes = [float(torch.linalg.vector_norm(problem.y.double())) for problem in problems]
    return BatchState(
        A=torch.stack([problem.A for problem in problems]),
        y=torch.stack([problem.y for problem in problems]),
        plus=torch.stack([network.theta_plus.data for network in networks]),
        minus=torch.stack([network.theta_minus.data for network in networks]),
        p=networks[0].p,
        relative=relative,
        c=number(schedule.c),
        kappa=number(schedule.kappa or 0.0),
        eta_given=number(schedule.eta or 0.0),
        norm2=each([problem.spectral_norm**2 for problem in problems]) if relative else number(0.0),
        threshold=each([stopping.tol * size for size in sizes]) if stopping.tol > 0 else number(-1.0),
        max_steps=whole(min(stopping.max_steps, 1 << 62)),
        max_time=number(stopping.max_time),
        until=whole(0),
        step=whole(0),
        time=number(0.0),
        eta=number(0.0),
        eta_min=number(math.inf),
        eta_max=number(0.0),
        residual=number(math.inf),
        ending=whole(0),
    )


def _runner(state: BatchState) -> Callable[[int], None]:
    """The kernel where A fits on chip and Triton is there, replayed graphs on a GPU, plain steps elsewhere."""
    if state.A.device.type != "cuda":
        return partial(eager_steps, state)
    try:
        from dlntorch.engine.triton_kernel import OnChip, fits_on_chip
    except ImportError:
        return GraphSteps(state)
    m, n = state.A.shape[1:]
    return OnChip(state) if fits_on_chip(m, n, state.A.element_size()) else GraphSteps(state)


class CudaEngine(EagerEngine):
    """One network on a GPU; see :class:`dlntorch.engine.base.Engine` for the arguments and the order of a step."""

    name = "cuda"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        plain = self.batches is None and self.certificate is None and self.schedule.rule != "stable"
        self._batch = CudaBatch([self.network], self.problem, self.schedule, self.stopping) if plain else None

    def advance(self, steps: int) -> Status | None:
        """Make up to ``steps`` further steps; a status when the run has ended, else None."""
        if self._batch is None:
            return super().advance(steps)
        reason = self.progress.reason
        status = self._batch.advance(steps)[0]
        self.progress = self._batch.progress[0]
        self.progress.reason = reason
        if status is Status.FAILED:
            self.progress.reason = f"the rule {self.schedule.rule} gives no step size at step {self.progress.step}"
        return status

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state, and from the network's θ, bitwise."""
        super().load_state_dict(state)
        if self._batch is not None:
            self._batch.load([self.progress])
