"""The Lightning data module: the rows of A with their targets, and the clock that paces the steps."""

from __future__ import annotations

from collections.abc import Iterator

import lightning.pytorch as pl
from torch.utils.data import DataLoader, IterableDataset

from dlntorch.problem import Problem

__all__ = ["Blocks", "ProblemDataModule"]


class Blocks(IterableDataset[int]):
    """An endless stream of block numbers 0, 1, 2, …: one ``training_step`` runs one block of SGD steps."""

    def __iter__(self) -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1


class ProblemDataModule(pl.LightningDataModule):
    """Carries the problem to the module and paces training.

    A and y are small and stay on the device; which rows a mini-batch step uses is a function of (seed, step) alone
    (:class:`~dlntorch.engine.batches.RowBatches`), so that compiled engines, blocks of many steps, and resumed runs
    all see the same batches. The loader therefore yields block numbers, not rows.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem

    def train_dataloader(self) -> DataLoader[int]:
        return DataLoader(Blocks(), batch_size=None, num_workers=0)
