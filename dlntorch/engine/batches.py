"""Which rows of A a mini-batch step sees: a stream that depends on the seed and the step number alone."""

from __future__ import annotations

import numpy as np

from dlntorch.numerics.validation import check_count

__all__ = ["RowBatches"]

#: Epochs whose permutations are drawn from one generator; part of the stream's definition.
EPOCHS_PER_CHUNK = 64


class RowBatches:
    """Mini-batches of ``batch_size`` of the m rows: each epoch a fresh permutation, its last m mod b rows left out.

    Every row is in a batch with the same probability, so (m/b) times the gradient of a batch's loss is unbiased.
    Step k's rows are a function of (seed, k): a run cut anywhere continues with the same batches.

    Args:
        m: Number of rows.
        batch_size: b, in 1 … m.
        seed: Seed of the stream, >= 0.
    """

    def __init__(self, m: int, batch_size: int, seed: int) -> None:
        self.m = m
        self.batch_size = check_count("batch_size", batch_size, at_most=m)
        self.seed = check_count("seed", seed, at_least=0)
        self.per_epoch = m // self.batch_size
        self._chunk = -1
        self._rows = np.empty((0, self.batch_size), dtype=np.int64)

    @property
    def scale(self) -> float:
        """m/b, which makes a mini-batch gradient unbiased."""
        return self.m / self.batch_size

    def rows(self, step: int, count: int) -> np.ndarray:
        """Row numbers of steps ``step … step + count − 1``, shape (count, b), int64."""
        per_chunk = self.per_epoch * EPOCHS_PER_CHUNK
        parts = []
        while count > 0:
            chunk, offset = divmod(step, per_chunk)
            taken = min(count, per_chunk - offset)
            parts.append(self._of_chunk(chunk)[offset : offset + taken])
            step += taken
            count -= taken
        return np.concatenate(parts) if parts else np.empty((0, self.batch_size), dtype=np.int64)

    def _of_chunk(self, chunk: int) -> np.ndarray:
        if chunk != self._chunk:
            rng = np.random.default_rng([self.seed, chunk])
            order = np.argsort(rng.random((EPOCHS_PER_CHUNK, self.m)), axis=1)
            self._rows = order[:, : self.per_epoch * self.batch_size].reshape(-1, self.batch_size)
            self._chunk = chunk
        return self._rows
