"""The Lightning data module: the rows of A with their targets, and the clock that paces the steps."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import lightning.pytorch as pl

from dlntorch.numerics.validation import check_count
from dlntorch.problem import Problem

__all__ = ["Blocks", "ProblemDataModule"]

#: Blocks in an epoch: EarlyStopping and most checkpoints look at a run at the ends of epochs only.
BLOCKS_PER_EPOCH = 100


class Blocks:
    """Block numbers 0, 1, 2, …, so many an epoch: one ``training_step`` runs one block of SGD steps.

    Args:
        per_epoch: Blocks in an epoch, None for an endless one.
    """

    def __init__(self, per_epoch: int | None = None) -> None:
        self.per_epoch = per_epoch

    @staticmethod
    def for_trainer(trainer: pl.Trainer | None, per_epoch: int | None = None) -> Blocks:
        """Epochs of ``per_epoch`` blocks, else of 100; without an end where it is the trainer's only one."""
        only = trainer is not None and trainer.max_epochs == 1
        return Blocks(per_epoch or (None if only else BLOCKS_PER_EPOCH))

    def __iter__(self) -> Iterator[int]:
        return iter(count()) if self.per_epoch is None else iter(range(self.per_epoch))

    def __len__(self) -> int:
        if self.per_epoch is None:
            raise TypeError("an endless epoch has no length")
        return self.per_epoch

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the trainer counts the blocks of an epoch that is resumed, and their numbers mean nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing; with :meth:`state_dict` it tells Lightning that an epoch may be resumed."""


class ProblemDataModule(pl.LightningDataModule):
    """Carries the problem to the module and paces training.

    A and y are small and stay on the device; which rows a mini-batch step uses is a function of (seed, step) alone
    (:class:`~dlntorch.engine.batches.RowBatches`), so that compiled engines, blocks of many steps, and resumed runs
    all see the same batches. The loader therefore yields block numbers, not rows.

    Args:
        problem: The data.
        blocks_per_epoch: Blocks in an epoch; by default 100, and no end where the trainer has ``max_epochs=1``.

    Raises:
        InputError: for ``blocks_per_epoch`` below 1.
    """

    def __init__(self, problem: Problem, blocks_per_epoch: int | None = None) -> None:
        super().__init__()
        self.problem = problem
        self.blocks_per_epoch = None if blocks_per_epoch is None else check_count("blocks_per_epoch", blocks_per_epoch)

    def train_dataloader(self) -> Blocks:
        return Blocks.for_trainer(self.trainer, self.blocks_per_epoch)
