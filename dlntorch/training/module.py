"""The Lightning module: a network trained by plain SGD, one block of steps per ``training_step``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from dlntorch.engine.autograd import AutogradEngine
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError
from dlntorch.store.identity import check_identity
from dlntorch.training.data import Blocks
from dlntorch.training.descent import Descent
from dlntorch.training.ensemble import EnsembleDescent

if TYPE_CHECKING:
    from dlntorch.matrix.network_descent import NetworkDescent

__all__ = ["SGDModule"]

#: Where a Lightning checkpoint keeps the descent.
SAVED = "descent"


class SGDModule(pl.LightningModule):
    """Wraps a :class:`Descent`, an ensemble of them, or one of matrices or groups, for a Lightning trainer (manual optimization).

    With ``engine=autograd`` a ``training_step`` is one step of ``torch.optim.SGD`` through Lightning, with the step
    size set by a Lightning lr scheduler stepped every step; other engines run blocks of the same steps, about 50 ms
    in all, in one call. The trainer stops when the descent has a status.

    It runs in anybody's trainer, ``pl.Trainer(max_epochs=-1, ...).fit(SGDModule(descent))``:

    - ``trainer.global_step`` counts SGD steps, of all networks together for an ensemble. Blocks end where the
      trainer's ``max_steps``, or a ``ModelCheckpoint``'s ``every_n_train_steps``, asks for it.
    - After each block ``residual`` (relative to ‖y‖₂, as last computed), ``loss``, ``t``, ``eta`` and ``step`` go
      through ``self.log``; loggers get them against the SGD step.
    - A checkpoint has the whole descent, so that ``ckpt_path`` continues it bitwise.

    Args:
        descent: What is trained.
        log_metrics: Whether the metrics go through ``self.log``.

    Raises:
        InputError: for a subclass with a ψ of its own, which belongs to the network; when training starts, for a
            trainer that cannot keep what it is asked for; for a checkpoint of another run.
    """

    def __init__(self, descent: Descent | EnsembleDescent | NetworkDescent, *, log_metrics: bool = True) -> None:
        super().__init__()
        if hasattr(type(self), "psi"):
            raise InputError(
                f"psi must be overridden in the network, which SGDModule only runs, got {type(self).__name__}.psi"
            )
        self.automatic_optimization = False
        self.descent = descent
        self.network = descent.network
        self.log_metrics = log_metrics
        self.to_loggers = True  # MetricsCallback and EnsembleCallback log to them in its place
        self._strides: list[int] = []
        self._most_steps: int | None = None
        self._in_block = False

    def forward(self, rows: Tensor) -> Tensor:
        """Predictions ⟨x, ψ_θ⟩ for rows x, shape (k, n) -> (k,), or (networks, k) for an ensemble; of matrices ⟨A_j, X⟩."""
        if isinstance(self.network, nn.ModuleList):
            return torch.stack([network(rows) for network in self.network])
        return self.network(rows)

    def configure_optimizers(self) -> Any:
        engine = self._autograd()
        if engine is None:
            return []  # compiled loops have none; None would be warned of
        return {
            "optimizer": engine.scheduler.optimizer,
            "lr_scheduler": {"scheduler": engine.scheduler, "interval": "step", "frequency": 1},
        }

    def train_dataloader(self) -> Blocks:
        """Block numbers, for a trainer that is given no :class:`~dlntorch.training.data.ProblemDataModule`."""
        return Blocks.for_trainer(self.trainer)

    def on_train_start(self) -> None:
        self._check_trainer()
        engine = self._autograd()
        if engine is not None:
            engine.optimizer = self.optimizers()  # Lightning's wrapper, which calls the trainer's hooks and profiler
        self._count_steps()

    def training_step(self, batch: int, batch_idx: int) -> None:
        if not isinstance(batch, int):
            raise InputError(
                "the dataloader must be ProblemDataModule's or the module's own, since which rows a step uses is a "
                f"function of seed and step, got a batch of type {type(batch).__name__}"
            )
        self._in_block = True
        until, end = time.perf_counter() + self.descent.block_seconds, self._next_boundary()
        while self._advance(end) is None:  # blocks end at recorded steps, which come thick and fast at first
            late = self._autograd() is not None or time.perf_counter() >= until
            if late or (end is not None and self.descent.steps >= end):
                break
        self._in_block = False
        if self.descent.status is not None:
            self.trainer.should_stop = True
        self._count_steps()
        if self.log_metrics:
            self._log()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the descent too; not in the middle of a block, where θ and its clock may disagree."""
        state = None if self._in_block else self.descent.state_dict()
        checkpoint[SAVED] = {"identity": self.descent.identity(), "state": state}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue the descent that was saved: its clock, its record and its rule, beside the weights.

        Raises:
            InputError: for a checkpoint without a descent, or with another run's.
        """
        saved = checkpoint.get(SAVED, {"state": None})
        if saved["state"] is None:
            raise InputError(
                "ckpt_path must be a checkpoint that SGDModule wrote between two blocks of steps, "
                "got one with weights alone; start anew, or from another checkpoint"
            )
        check_identity(saved["identity"], self.descent.identity(), "ckpt_path")
        self.descent.load_state_dict(saved["state"])

    def _advance(self, end: int | None) -> Status | None:
        """One block, not beyond step ``end``."""
        if end is None or isinstance(self.descent, EnsembleDescent):
            return self.descent.advance()
        return self.descent.advance(end - self.descent.steps)

    def _next_boundary(self) -> int | None:
        """The next step at which the trainer has to look at the run: its budget, or a checkpoint every so many steps."""
        step = self.descent.steps
        ends = [step + every - step % every for every in self._strides]
        return min(ends if self._most_steps is None else [*ends, self._most_steps], default=None)

    def _check_trainer(self) -> None:
        """Refuse a trainer that cannot keep what it is asked for; take note of what blocks have to end for."""
        trainer, network, problem = self.trainer, self.network, self.descent.problem
        if trainer.world_size > 1:
            raise InputError(
                f"devices must be 1, since one process makes all steps, got {trainer.world_size} processes"
            )
        if trainer.min_epochs or trainer.min_steps:
            raise InputError(
                "min_epochs and min_steps must be left out, since a descent that has ended makes no further step, "
                f"got {trainer.min_epochs} and {trainer.min_steps}"
            )
        for parameter in network.parameters():
            if (parameter.dtype, parameter.device.type) != (problem.dtype, problem.device.type):
                raise InputError(
                    f"accelerator and precision must leave the network in {problem.dtype} on {problem.device}, "
                    f"as the descent has it, got {parameter.dtype} on {parameter.device}"
                )
        checkpoints = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)]
        if any(c._train_time_interval is not None for c in checkpoints):
            raise InputError(
                "train_time_interval must be left out, since Lightning ignores it with manual optimization; "
                "use every_n_train_steps, every_n_epochs or dlntorch.training.callbacks.CheckpointCallback"
            )
        self._strides = [every for c in checkpoints if (every := c._every_n_train_steps) > 0]
        self._most_steps = trainer.max_steps if trainer.max_steps >= 0 else None
        if isinstance(self.descent, EnsembleDescent) and (self._strides or self._most_steps is not None):
            raise InputError(
                "max_steps and every_n_train_steps must be left out for an ensemble, whose networks each have their own "
                f"step number, got {self._most_steps} and {self._strides}"
            )

    def _count_steps(self) -> None:
        """Make ``trainer.global_step`` the number of SGD steps: Lightning counts calls of an optimizer that it wraps."""
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        for count in (progress.total, progress.current):
            count.ready = count.completed = self.descent.steps

    def _log(self) -> None:
        to_loggers = self.to_loggers and bool(self.trainer.loggers)
        for name, value in self.descent.metrics().items():
            number = torch.tensor(value, dtype=torch.float64)  # Lightning would round a float to float32
            self.log(name, number, on_step=True, on_epoch=False, logger=to_loggers, batch_size=1)

    def _autograd(self) -> AutogradEngine | None:
        """The engine whose optimizer is Lightning's; ensembles step theirs themselves."""
        engine = self.descent.engine if isinstance(self.descent, Descent) else None
        return engine if isinstance(engine, AutogradEngine) else None
