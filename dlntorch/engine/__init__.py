"""How steps are run: ``autograd`` (the reference), ``eager`` (by hand, any device), ``fused`` (compiled, CPU), ``cuda``.

``sharded`` is ``eager`` with the columns of A spread over processes; a run takes it where ``shards`` is above one.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import torch

from dlntorch.engine.base import Engine, Progress, RecordingEngine, Stopping
from dlntorch.engine.batches import RowBatches
from dlntorch.engine.capabilities import CAPABILITIES, Needs, capable, needs_of, own_device, refusal
from dlntorch.numerics.validation import InputError, check_choice

__all__ = [
    "CAPABILITIES",
    "ENGINES",
    "Engine",
    "Needs",
    "Progress",
    "RecordingEngine",
    "RowBatches",
    "Stopping",
    "engine_class",
    "needs_of",
    "own_device",
    "resolve_engine",
]

ENGINES = ("auto", "fused", "eager", "autograd", "cuda")
_HOME = {
    "autograd": ("dlntorch.engine.autograd", "AutogradEngine"),
    "eager": ("dlntorch.engine.eager", "EagerEngine"),
    "fused": ("dlntorch.engine.fused", "FusedEngine"),
    "sharded": ("dlntorch.engine.sharded", "ShardedEngine"),
    "cuda": ("dlntorch.engine.cuda", "CudaEngine"),
}


def resolve_engine(name: Any, device: torch.device, dense: bool = True, need: Needs | None = None) -> str:
    """The engine that ``name`` means on a device: ``auto`` is the fastest that can make the run.

    Plain SGD at depth p with a dense A is ``fused`` on the CPU and ``cuda`` on a GPU.

    Args:
        name: What the user asks for.
        device: Where the run is.
        dense: Whether A is a matrix.
        need: What the run asks for beside that; plain SGD at depth p where it is left out.

    Raises:
        InputError: for an unknown name, or an engine that cannot make the run, with those that can.
    """
    check_choice("engine", name, ENGINES)
    need = replace(need or Needs(), dense=dense, device=device.type)
    if name == "auto":
        found = capable(need)
        if not found:
            raise InputError(f"engine has none for this run: {refusal('autograd', need)}")
        return found[0]
    if name in ("fused", "cuda") and not dense:
        raise InputError(f"engine must be eager or autograd with an A that is an operator, got {name!r}")
    if name == "fused" and device.type != "cpu":
        raise InputError(
            f"engine must be cuda, eager or autograd on device={device}, got 'fused', which runs on the CPU"
        )
    if name == "cuda" and device.type != "cuda":
        absent = "" if torch.cuda.is_available() else "; torch finds no CUDA GPU here"
        raise InputError(f"engine=cuda must have device=cuda, got device={device}{absent}")
    said = refusal(name, need)
    if said:
        raise InputError(said)
    return name


def engine_class(name: str) -> type[Engine]:
    """The class behind a resolved engine name, imported when first asked for."""
    module, attribute = _HOME[name]
    return getattr(import_module(module), attribute)
