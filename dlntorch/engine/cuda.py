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

from dlntorch.engine.base import Progress, Stopping, check_network
from dlntorch.engine.batched import ENDINGS, BatchState, step
from dlntorch.engine.capabilities import needs_of, refusal
from dlntorch.engine.eager import EagerEngine
from dlntorch.model.network import DiagonalLinearNetwork
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError, check_count
from dlntorch.optim.step_size import Schedule
from dlntorch.optim.update import SGD
from dlntorch.problem import Problem

__all__ = ["CudaBatch", "CudaEngine", "GraphSteps", "advance_together", "batch_of", "eager_steps"]

#: Steps in one CUDA graph.
GRAPH_STEPS = 32


def eager_steps(state: BatchState, steps: int) -> None:
    """``steps`` steps without a kernel or a graph: on any device, and what both are tested against."""
    for _ in range(steps):
        step(state)


class GraphSteps:
    """Steps replayed as CUDA graphs of :data:`GRAPH_STEPS`; what is left over is run step by step."""

    def __init__(self, state: BatchState) -> None:
        # A and y, which no step changes, may be most of the memory
        changing = {name: tensor for name, tensor in state.tensors().items() if name not in ("A", "y")}
        saved = {name: tensor.clone() for name, tensor in changing.items()}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # libraries allocate at their first calls, which a capture must not contain
            eager_steps(state, 3)
        torch.cuda.current_stream().wait_stream(side)
        self.state, self.graph = state, torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            eager_steps(state, GRAPH_STEPS)
        for name, tensor in changing.items():
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
        schedule: ``relative`` or ``constant``; one for all, or one for each, all of one rule.
        stopping: When a member ends, full batch; one for all, or one for each.
        runner: Makes, from the batch's state, what runs a number of steps; chosen by size where it is None.
    """

    def __init__(
        self,
        networks: Sequence[DiagonalLinearNetwork],
        problems: Problem | Sequence[Problem],
        schedule: Schedule | Sequence[Schedule],
        stopping: Stopping | Sequence[Stopping],
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
        schedules = _one_for_each("schedule", schedule, Schedule, len(networks))
        for one in schedules:
            if one.rule not in ("relative", "constant") or one.rule != schedules[0].rule:
                raise InputError(f"schedule must be relative or constant in a batch, and one for all, got {one.name!r}")
        for i, network in enumerate(networks):
            check_network(network, given[i if len(given) > 1 else 0])
            said = refusal("cuda", needs_of(network.parametrization, SGD(), schedules[i], network.own_psi))
            if said:
                raise InputError(said)
            if network.p is None:
                raise InputError(
                    f"ensemble must have networks of a depth p in a batch, got {network.parametrization!r}"
                )
        self.networks = list(networks)
        self.state = _state(self.networks, given, schedules, _one_for_each("tol", stopping, Stopping, len(networks)))
        self._run = (runner or _runner)(self.state)

    def advance(self, steps: int | Sequence[int]) -> list[Status | None]:
        """Make up to ``steps`` further steps on every running network; each one's status, None where it runs.

        Args:
            steps: A number for all networks, or one for each; 0 only sees whether the network has ended.
        """
        s = self.state
        each = [steps] * len(s) if isinstance(steps, int) else list(steps)
        if len(each) != len(s):
            raise InputError(f"steps must be one number, or {len(s)}, one for each network, got {len(each)}")
        for one in each:
            check_count("steps", one, at_least=0)
        s.until.copy_(s.step + torch.tensor(each, dtype=torch.int64, device=s.step.device))
        self._run(max(each))
        if min(each) == 0 or bool(((s.ending == 0) & (s.step >= s.max_steps)).any()):
            self._look()
        for network, plus, minus in zip(self.networks, s.plus.unbind(0), s.minus.unbind(0), strict=True):
            network.theta_plus.data.copy_(plus)
            network.theta_minus.data.copy_(minus)
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


def _one_for_each(name: str, given: Any, kind: type, count: int) -> list[Any]:
    """``given`` for every network, or the list that it is."""
    each = [given] * count if isinstance(given, kind) else list(given)
    if len(each) != count:
        raise InputError(f"{name} must be one for all networks, or {count}, one for each, got {len(each)}")
    return each


def _state(
    networks: list[DiagonalLinearNetwork], problems: list[Problem], schedules: list[Schedule], rules: list[Stopping]
) -> BatchState:
    """The tensors of a batch at its start."""
    count, place = len(networks), problems[0].device

    def number(value: float) -> Tensor:
        return torch.full((count,), value, dtype=torch.float64, device=place)

    def each(values: list[float]) -> Tensor:
        return number(1.0) * torch.tensor(values, dtype=torch.float64, device=place)

    def whole(values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=place)

    relative = schedules[0].rule == "relative"
    sizes = [float(torch.linalg.vector_norm(problem.y.double())) for problem in problems]
    sizes = sizes * count if len(sizes) == 1 else sizes
    return BatchState(
        A=torch.stack([problem.A for problem in problems]),
        y=torch.stack([problem.y for problem in problems]),
        plus=torch.stack([network.theta_plus.data for network in networks]),
        minus=torch.stack([network.theta_minus.data for network in networks]),
        p=_depth(networks[0]),
        relative=relative,
        c=each([one.c for one in schedules]),
        kappa=each([one.kappa or 0.0 for one in schedules]),
        eta_given=each([one.eta or 0.0 for one in schedules]),
        norm2=each([problem.spectral_norm**2 for problem in problems]) if relative else number(0.0),
        threshold=each([rule.tol * size if rule.tol > 0 else -1.0 for rule, size in zip(rules, sizes, strict=True)]),
        max_steps=whole([min(rule.max_steps, 1 << 62) for rule in rules]),
        max_time=each([rule.max_time for rule in rules]),
        until=whole([0] * count),
        step=whole([0] * count),
        time=number(0.0),
        eta=number(0.0),
        eta_min=number(math.inf),
        eta_max=number(0.0),
        residual=number(math.inf),
        ending=whole([0] * count),
    )


def _depth(network: DiagonalLinearNetwork) -> float:
    if network.p is None:
        raise RuntimeError("a batch has been refused what has no depth")
    return network.p


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
        self._batch: CudaBatch | None = None

    @property
    def batchable(self) -> bool:
        """Whether a batch can make this run: plain SGD at depth p, full batch, ``relative`` or constant, no certificate.

        Constant steps of an even depth may change signs, which a batch does not count.
        """
        rule = self.schedule.rule
        usual = self.plain and self.law.depth is not None and self.batches is None and self.certificate is None
        return usual and (rule == "relative" or (rule == "constant" and not self.signed))

    def advance(self, steps: int) -> Status | None:
        """Make up to ``steps`` further steps; a status when the run has ended, else None."""
        if not self.batchable:
            return super().advance(steps)
        if self._batch is None:
            self._batch = batch_of([self])
        return advance_together(self._batch, [self], [steps])[0]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state, and from the network's θ, bitwise."""
        super().load_state_dict(state)
        self._batch = None


def batch_of(engines: Sequence[CudaEngine]) -> CudaBatch:
    """The batch that makes the steps of several engines, from where each of them is."""
    problems = [engine.problem for engine in engines]
    shared = all(problem is problems[0] for problem in problems)
    batch = CudaBatch(
        [engine.network for engine in engines],
        problems[0] if shared else problems,
        [engine.schedule for engine in engines],
        [engine.stopping for engine in engines],
    )
    batch.load([engine.progress for engine in engines])
    return batch


def advance_together(batch: CudaBatch, engines: Sequence[CudaEngine], steps: Sequence[int]) -> list[Status | None]:
    """Make up to ``steps`` further steps of each engine in a batch made of them; each one's status, None if it runs."""
    statuses = batch.advance(steps)
    for engine, progress, status in zip(engines, batch.progress, statuses, strict=True):
        progress.reason = engine.progress.reason
        engine.progress = progress
        if status is Status.FAILED:
            progress.reason = f"the rule {engine.schedule.rule} gives no step size at step {progress.step}"
    return statuses
