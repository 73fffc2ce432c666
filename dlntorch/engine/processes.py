"""The processes of a column-sharded run: rank 0 runs the program, the others serve its engine.

Either a launcher has started them (torchrun, or srun with one task for each shard), or rank 0 starts them itself on
this machine. Messages are small objects broadcast by rank 0; what is heavy goes as tensors.
"""

from __future__ import annotations

import contextlib
import os
import signal
import warnings
from collections.abc import Iterator
from datetime import timedelta
from multiprocessing import get_context
from typing import Any

import torch
import torch.distributed as dist

from dlntorch.validation import InputError

__all__ = ["external_rank", "receive", "send", "shard_processes", "share", "worker"]

#: Workers wait while rank 0 computes references or draws.
TIMEOUT = timedelta(days=7)


def external_rank(shards: int) -> int | None:
    """This process's rank where torchrun or srun started all of them; None where nobody did.

    Raises:
        InputError: when they started another number of processes than ``shards``.
    """
    if shards == 1:
        return None
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    for kind in (TorchElasticEnvironment, SLURMEnvironment):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that srun is installed and was not used: no mistake here
            environment = kind() if kind.detect() else None
        if environment is not None and environment.world_size() > 1:
            if environment.world_size() != shards:
                raise InputError(
                    f"trainer.shards must be the number of processes that were started, {environment.world_size()}, "
                    f"got {shards}"
                )
            os.environ.setdefault("MASTER_ADDR", environment.main_address)
            os.environ.setdefault("MASTER_PORT", str(environment.main_port))
            os.environ["RANK"], os.environ["WORLD_SIZE"] = str(environment.global_rank()), str(shards)
            os.environ.setdefault("LOCAL_RANK", str(environment.local_rank()))
            return environment.global_rank()
    return None


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
        dist.init_process_group(_backend(), timeout=TIMEOUT)
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
        dist.init_process_group(_backend(), timeout=TIMEOUT)
    try:
        serve()
    finally:
        dist.destroy_process_group()


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
