"""Training with A's columns spread over processes: each holds some columns and their θ, and runs the eager engine.

The residual is one all_reduce of an m-vector a step; largest values and flags, on which step size and stopping depend,
are reduced by their maximum, so that all processes take the same steps and stop at the same one. Rank 0 has the whole
problem and the whole θ, and tells the others what to do.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from dlntorch.engine.base import Engine, Stopping
from dlntorch.engine.batches import RowBatches
from dlntorch.engine.eager import EagerEngine
from dlntorch.engine.processes import receive, send, share
from dlntorch.model.network import DiagonalLinearNetwork
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import DataWarning
from dlntorch.optim.step_size import Schedule
from dlntorch.optim.update import Update
from dlntorch.problem import Problem
from dlntorch.problem.operators import operator_from_arrays
from dlntorch.problem.operators.shard import ColumnShard, column_block

__all__ = ["ShardedEngine", "serve"]


class ShardedEngine(Engine):
    """Rank 0's engine; inside :func:`~dlntorch.engine.processes.shard_processes` only.

    Args as :class:`~dlntorch.engine.base.Engine`; the problem and the network are the whole ones.
    """

    name = "sharded"

    def __init__(
        self,
        network: DiagonalLinearNetwork,
        problem: Problem,
        schedule: Schedule,
        stopping: Stopping,
        batches: RowBatches | None = None,
        certificate: None = None,
        update: Update | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(network, problem, schedule, stopping, batches, certificate, update, seed)
        size, n = dist.get_world_size(), problem.n
        self._bounds = [n * k // size for k in range(size + 1)]
        share(
            (
                "start",
                _depth(network),
                schedule,
                stopping,
                None if batches is None else (batches.batch_size, batches.seed),
            )
        )
        norm = self.norm()
        for rank in range(size - 1, -1, -1):
            first, end = self._bounds[rank : rank + 2]
            block = column_block(problem.operator, first, end)
            if rank == 0:
                shard = ColumnShard(block, first, n, norm)
                self._local = _local_engine(_depth(network), schedule, stopping, batches, shard, problem.y)
                break
            arrays = {name: torch.from_numpy(array) for name, array in block.arrays().items()}
            rest = {"y": problem.y, "first": first, "every": n, "norm": norm, "threads": torch.get_num_threads()}
            send({"block": arrays, "cuda": problem.device.type == "cuda", **rest}, rank)
        self._scatter()

    def advance(self, steps: int) -> Status | None:
        """Make up to ``steps`` further steps in all processes; a status when the run has ended, else None."""
        share(("advance", steps))
        status = self._local.advance(steps)
        self.progress = self._local.progress
        plus, minus = _gathered(self._theta(), self._bounds)
        self.network.theta_plus.data.copy_(plus)
        self.network.theta_minus.data.copy_(minus)
        return status

    def _theta(self) -> Tensor:
        network = self._local.network
        return torch.stack([network.theta_plus.data, network.theta_minus.data])

    def _scatter(self, state: dict[str, Any] | None = None) -> None:
        """Give every process its part of θ, and the state to continue from."""
        share(("load",))
        for rank in range(len(self._bounds) - 2, -1, -1):
            first, end = self._bounds[rank : rank + 2]
            part: dict[str, Any] = {
                "plus": self.network.theta_plus[first:end],
                "minus": self.network.theta_minus[first:end],
            }
            part["state"] = None if state is None else _state_of_part(state, first, end, self.problem.n)
            if rank > 0:
                send(part, rank)
            else:
                _load(self._local, part)

    def state_dict(self) -> dict[str, Any]:
        """Progress, and the direction of the power iteration where the rule ``stable`` keeps one."""
        share(("direction",))
        state = super().state_dict()
        if self._local.rule.direction is not None:
            state["direction"] = _gathered(self._local.rule.direction.reshape(2, -1), self._bounds).reshape(-1).clone()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state, and from the network's θ."""
        super().load_state_dict(state)
        self._scatter(state)
        self.progress = self._local.progress


def _depth(network: DiagonalLinearNetwork) -> float:
    if network.p is None:
        raise RuntimeError("the engine has refused what has no depth")
    return network.p


def serve() -> None:
    """What the other processes do: as rank 0 says, until it says stop."""
    engine: EagerEngine | None = None
    while True:
        word, *details = share()
        if word == "stop":
            return
        if word == "start":
            engine = _started(*details)
        elif engine is None:
            raise RuntimeError(f"the engine must be started first, got {word}")
        elif word == "load":
            _load(engine, receive())
        elif word == "advance":
            engine.advance(details[0])
            network = engine.network
            _gathered(torch.stack([network.theta_plus.data, network.theta_minus.data]))
        elif engine.rule.direction is not None:
            _gathered(engine.rule.direction.reshape(2, -1))


def _started(p: float, schedule: Schedule, stopping: Stopping, batches: tuple[int, int] | None) -> EagerEngine:
    """A worker's engine, from what rank 0 sends it."""
    given = receive()
    torch.set_num_threads(given["threads"])
    place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if given["cuda"] else torch.device("cpu")
    if place.type == "cuda":
        torch.cuda.set_device(place)
    y = given["y"].to(place)
    block = operator_from_arrays({name: tensor.numpy() for name, tensor in given["block"].items()}).to(place, y.dtype)
    stream = None if batches is None else RowBatches(len(y), *batches)
    shard = ColumnShard(block, given["first"], given["every"], given["norm"])
    return _local_engine(p, schedule, stopping, stream, shard, y)


def _local_engine(
    p: float, schedule: Schedule, stopping: Stopping, batches: RowBatches | None, shard: ColumnShard, y: Tensor
) -> EagerEngine:
    """The eager engine of one process's columns; its θ is loaded afterwards. Makes collective calls."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # m >= n is no news in a block of columns
        problem = Problem(shard, y, dtype=y.dtype, device=y.device, copy=False)
    network = DiagonalLinearNetwork(shard.shape[1], p, 1.0, dtype=y.dtype, device=y.device)
    return EagerEngine(network, problem, schedule, stopping, batches)


def _load(engine: EagerEngine, part: dict[str, Any]) -> None:
    engine.network.theta_plus.data.copy_(part["plus"])
    engine.network.theta_minus.data.copy_(part["minus"])
    if part["state"] is not None:
        engine.load_state_dict(part["state"])


def _state_of_part(state: dict[str, Any], first: int, end: int, n: int) -> dict[str, Any]:
    """The engine state of the columns ``first … end − 1``."""
    part = dict(state)
    if "direction" in state:
        part["direction"] = state["direction"].reshape(2, n)[:, first:end].reshape(-1)
    return part


def _gathered(part: Tensor, bounds: list[int] | None = None) -> Tensor:
    """Rank 0: the whole (2, n) from everybody's (2, n_k); the others, without bounds, send theirs."""
    if bounds is None:
        dist.send(part.cpu().contiguous(), dst=0)
        return part
    parts = [part.cpu()]
    for rank in range(1, len(bounds) - 1):
        other = torch.empty(2, bounds[rank + 1] - bounds[rank], dtype=part.dtype)
        dist.recv(other, src=rank)
        parts.append(other)
    return torch.cat(parts, dim=1).to(part.device)
