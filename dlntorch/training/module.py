"""The Lightning module: a diagonal linear network trained by plain SGD, one block of steps per ``training_step``."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from dlntorch.engine.autograd import AutogradEngine
from dlntorch.training.descent import Descent
from dlntorch.training.ensemble import EnsembleDescent

__all__ = ["SGDModule"]


class SGDModule(pl.LightningModule):
    """Wraps a :class:`Descent`, or an ensemble of them, for a Lightning trainer (manual optimization).

    With ``engine=autograd`` a ``training_step`` is one step of ``torch.optim.SGD`` through Lightning, with the step
    size set by a Lightning lr scheduler stepped every step; other engines run blocks of the same steps, about 50 ms
    in all, in one call. The trainer stops when the descent has a status.
    """

    def __init__(self, descent: Descent | EnsembleDescent) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.descent = descent
        self.network = descent.network

    def forward(self, rows: Tensor) -> Tensor:
        """Predictions ⟨x, ψ_θ⟩ for rows x, shape (k, n) -> (k,), or (networks, k) for an ensemble."""
        if isinstance(self.network, nn.ModuleList):
            return torch.stack([network(rows) for network in self.network])
        return self.network(rows)

    def configure_optimizers(self) -> Any:
        engine = self._autograd()
        if engine is None:
            return None
        return {
            "optimizer": engine.scheduler.optimizer,
            "lr_scheduler": {"scheduler": engine.scheduler, "interval": "step", "frequency": 1},
        }

    def on_train_start(self) -> None:
        engine = self._autograd()
        if engine is not None:
            engine.optimizer = self.optimizers()  # Lightning's wrapper, so that global_step counts SGD steps

    def training_step(self, batch: int, batch_idx: int) -> None:
        until = time.perf_counter() + self.descent.block_seconds
        while self.descent.advance() is None:  # blocks end at recorded steps, which come thick and fast at first
            if self._autograd() is not None or time.perf_counter() >= until:
                return
        self.trainer.should_stop = True

    def _autograd(self) -> AutogradEngine | None:
        """The engine whose optimizer is Lightning's; ensembles step theirs themselves."""
        engine = self.descent.engine if isinstance(self.descent, Descent) else None
        return engine if isinstance(engine, AutogradEngine) else None
