"""The processes of a column-sharded run: rank 0 runs the program, the others serve its engine.

Either a launcher has started them (torchrun, or srun with one task for each shard), or rank 0 starts them itself on
this machine. Messages are small objects broadcast by rank 0; what is heavy goes as tensors.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from datetime import timedelta
from multiprocessing import get_context
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from dlntorch.numerics.validation import InputError

__all__ = ["external_rank", "receive", "send", "shard_processes", "share", "worker"]

#: Workers wait while rank 0 computes references or draws.
TIMEOUT = timedelta(days=7)
#: How long processes that a launcher has started wait for one another: a cluster's file system is slow when all start.
RENDEZVOUS = timedelta(minutes=10)
#: What torch says of a process that is no longer there.
_LOST = re.compile(r"connection (was )?(closed|reset)|broken pipe", re.IGNORECASE)


def external_rank(shards: int) -> int | None:
    """This process's rank where torchrun or srun started all of them; None where nobody did.

    Raises:
        InputError: when they started another number of processes than ``shards``.
    """
    if shards == 1:
        return None
    if "TORCHELASTIC_RUN_ID" in os.environ:
        variables = {name: os.environ[name] for name in ("RANK", "WORLD_SIZE")}
    else:
        variables = _variables_of_srun()
    started = int(variables.get("WORLD_SIZE", 1))
    if started == 1:
        return None
    if started != shards:
        raise InputError(f"trainer.shards must be the number of processes that were started, {started}, got {shards}")
    os.environ.update(variables)
    return int(variables["RANK"])


def _variables_of_srun() -> dict[str, str]:
    """What torchrun would have set, where srun started several tasks; nothing where it did not.

    Only srun counts the tasks of its step. ``SLURM_NTASKS`` is what a job may start: a batch script that asks for
    ``--ntasks-per-node=2`` and calls Python without srun is one process all the same.
    """
    slurm = os.environ
    if int(slurm.get("SLURM_STEP_NUM_TASKS") or 1) == 1:
        return {}
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    nodes = slurm.get("SLURM_STEP_NODELIST") or slurm.get("SLURM_JOB_NODELIST") or "127.0.0.1"
    # steps of one job may run at the same time
    port = 15000 + (int(slurm.get("SLURM_JOB_ID") or 0) + 101 * int(slurm.get("SLURM_STEP_ID") or 0)) % 10000
    return {
        "RANK": slurm["SLURM_PROCID"],
        "WORLD_SIZE": slurm["SLURM_STEP_NUM_TASKS"],
        "LOCAL_RANK": slurm.get("SLURM_LOCALID") or "0",
        "MASTER_ADDR": slurm.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(nodes),
        "MASTER_PORT": slurm.get("MASTER_PORT") or str(port),
    }


@contextlib.contextmanager
def shard_processes(shards: int) -> Iterator[int]:
    """Rank 0 of a sharded run: the workers live as long as the context; yields ``shards``."""
    if shards == 1:
        yield 1
        return
    workers = []
    if external_rank(shards) is None:
        store = dist.TCPStore(  # pyright: ignore[reportPrivateImportUsage]
            "127.0.0.1", 0, shards, is_master=True, wait_for_workers=False, timeout=TIMEOUT
        )
        spawn = get_context("spawn")
        workers = [spawn.Process(target=worker, args=(k, shards, store.port), daemon=True) for k in range(1, shards)]
        for process in workers:
            process.start()
        dist.init_process_group(_backend(), store=store, rank=0, world_size=shards, timeout=TIMEOUT)
    else:
        _join()
    try:
        yield shards
        share(("stop",))
        for process in workers:
            process.join()
    finally:
        for process in workers:
            process.terminate()  # those of a run that failed; the others have ended
        dist.destroy_process_group()


def worker(rank: int | None = None, shards: int | None = None, port: int | None = None) -> None:
    """Serve rank 0's engine until it says stop; with a port of its store where rank 0 started this process."""
    from dlntorch.engine.sharded import serve

    # they are sent to all processes of a job; rank 0 decides what they mean
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name) and not (name == "SIGTERM" and port is not None):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if port is not None and rank is not None and shards is not None:
        os.environ["LOCAL_RANK"] = str(rank)
        store = dist.TCPStore(  # pyright: ignore[reportPrivateImportUsage]
            "127.0.0.1", port, shards, is_master=False, timeout=TIMEOUT
        )
        dist.init_process_group(_backend(), store=store, rank=rank, world_size=shards, timeout=TIMEOUT)
    else:
        _join()
    try:
        serve()
    except RuntimeError as error:
        if not _LOST.search(str(error)):
            raise
        raise InputError(
            "trainer.shards: rank 0 has ended, and says why; this process held some columns for it"
        ) from None
    finally:
        dist.destroy_process_group()


def _join() -> None:
    """Meet the processes that a launcher has started.

    Raises:
        InputError: when they are not all there in time.
    """
    size = os.environ["WORLD_SIZE"]
    try:
        store, rank, count = next(rendezvous("env://", timeout=RENDEZVOUS))
    except dist.DistError:
        minutes = RENDEZVOUS.total_seconds() / 60
        raise InputError(
            f"trainer.shards must have all of its {size} processes started by torchrun or srun, got fewer at "
            f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} within {minutes:g} minutes"
        ) from None
    store.set_timeout(TIMEOUT)
    dist.init_process_group(_backend(), store=store, rank=rank, world_size=count, timeout=TIMEOUT)


def _backend() -> str:
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"


def share(message: Any = None) -> Any:
    """Rank 0's small message, in every process."""
    box = [message]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def send(message: Any, rank: int) -> None:
    """A message, its tensors at any depth of nested dictionaries beside it, to one process."""
    tensors: list[torch.Tensor] = []
    dist.send_object_list([_without_tensors(message, tensors)], dst=rank)
    for tensor in tensors:
        dist.send(tensor, dst=rank)


def receive() -> Any:
    """What rank 0 sent to this process."""
    box = [None]
    dist.recv_object_list(box, src=0)
    return _with_tensors(box[0])


def _without_tensors(value: Any, found: list[torch.Tensor]) -> Any:
    """The message with each tensor replaced by its shape and type; the tensors are appended to ``found``."""
    if isinstance(value, torch.Tensor):
        found.append(value.detach().cpu().contiguous())
        return _Absent(tuple(value.shape), value.dtype)
    if isinstance(value, dict):
        return {key: _without_tensors(inner, found) for key, inner in value.items()}
    return value


def _with_tensors(value: Any) -> Any:
    if isinstance(value, _Absent):
        tensor = torch.empty(value.shape, dtype=value.dtype)
        dist.recv(tensor, src=0)
        return tensor
    if isinstance(value, dict):
        return {key: _with_tensors(inner) for key, inner in value.items()}
    return value


class _Absent:
    """The place of a tensor in a message."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self.shape, self.dtype = shape, dtype
