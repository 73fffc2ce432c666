"""How steps are run: ``autograd`` (the reference), ``eager`` (by hand, any device), ``fused`` (compiled, CPU), ``cuda``.

``sharded`` is ``eager`` with the columns of A spread over processes; a run takes it where ``shards`` is above one.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch

from dlntorch.engine.base import Engine, Progress, RecordingEngine, Stopping
from dlntorch.engine.batches import RowBatches
from dlntorch.numerics.validation import InputError, check_choice

__all__ = [
    "ENGINES",
    "Engine",
    "Progress",
    "RecordingEngine",
    "RowBatches",
    "Stopping",
    "engine_class",
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


def resolve_engine(name: Any, device: torch.device, dense: bool = True, own_psi: bool = False) -> str:
    """The engine that ``name`` means on a device: ``auto`` is ``fused`` on the CPU and ``cuda`` on a GPU.

    With an A that is an operator (``dense`` false) it is ``eager`` on both, with a network that overrides ψ
    (``own_psi``) ``autograd``.

    Raises:
        InputError: for an unknown name, ``fused`` on a GPU, ``cuda`` without one, or either with an operator.
    """
    check_choice("engine", name, ENGINES)
    if name == "auto" and own_psi:
        return "autograd"
    if name == "auto" and not dense:
        return "eager"
    if name in ("fused", "cuda") and not dense:
        raise InputError(f"engine must be eager or autograd with an A that is an operator, got {name!r}")
    if name == "auto":
        return "fused" if device.type == "cpu" else "cuda"
    if name == "fused" and device.type != "cpu":
        raise InputError(
            f"engine must be cuda, eager or autograd on device={device}, got 'fused', which runs on the CPU"
        )
    if name == "cuda" and device.type != "cuda":
        absent = "" if torch.cuda.is_available() else "; torch finds no CUDA GPU here"
        raise InputError(f"engine=cuda must have device=cuda, got device={device}{absent}")
    return name


def engine_class(name: str) -> type[Engine]:
    """The class behind a resolved engine name, imported when first asked for."""
    module, attribute = _HOME[name]
    return getattr(import_module(module), attribute)
