"""Columns of A that are the same floats, up to sign, and therefore have the same A_iᵀλ, up to sign.

Rounding in a factorization gives them different ones, and 1 − |A_iᵀλ| may be as small as that rounding: it then decides
how ψ is shared between them. They are made equal by construction instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

__all__ = ["EqualColumns"]


@dataclass(frozen=True)
class EqualColumns:
    """Groups of columns with A_i = ±A_j.

    Attributes:
        first: Index of the first column of each column's group, shape (n,): its own where it stands alone.
        sign: ±1 with A_i = sign_i A_first, shape (n,).
        some: Whether any group has two columns.
    """

    first: np.ndarray
    sign: np.ndarray
    some: bool

    @classmethod
    def of(cls, A: np.ndarray, key: np.ndarray | None = None, opposite_key: np.ndarray | None = None) -> EqualColumns:
        """The groups of the columns of A, shape (m, n), whose entry in ``key`` (n, …), where given, is equal too.

        ``opposite_key`` is what the key of −A_i would be, where that is not the key of A_i.
        """
        m, n = A.shape
        first, sign = np.arange(n), np.ones(n)
        # Rows are added one by one to all columns: equal columns have equal sums, and few others do.
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            sums = np.abs(np.add.reduce(np.ascontiguousarray(A) * _weights(m), axis=0))
        ordered = np.sort(sums)
        if (ordered[1:] > ordered[:-1]).all():
            return cls(first, sign, False)
        order = np.argsort(sums, kind="stable")
        ordered = sums[order]
        close = np.flatnonzero(~(ordered[1:] != ordered[:-1]))
        if close.size:
            for run in np.split(close, np.flatnonzero(np.diff(close) > 1) + 1):
                _group(
                    A,
                    (key, key if opposite_key is None else opposite_key),
                    np.sort(order[run[0] : run[-1] + 2]),
                    first,
                    sign,
                )
        return cls(first, sign, close.size > 0 and bool(np.any(first != np.arange(n))))

    def mean(self, x: np.ndarray) -> np.ndarray:
        """x with the mean of each group, up to its signs, in all its entries; x itself where all columns differ."""
        if not self.some:
            return x
        n = self.first.size
        total = np.bincount(self.first, self.sign * x, minlength=n)
        count = np.bincount(self.first, minlength=n)
        return self.sign * (total / np.maximum(count, 1))[self.first]


@lru_cache(maxsize=8)
def _weights(m: int) -> np.ndarray:
    """A factor for each row, (m, 1), no two alike."""
    return (np.modf(np.arange(1, m + 1) * 0.6180339887498949)[0] + 0.5)[:, None]


def _group(
    A: np.ndarray,
    keys: tuple[np.ndarray | None, np.ndarray | None],
    columns: np.ndarray,
    first: np.ndarray,
    sign: np.ndarray,
) -> None:
    """Find the groups among ``columns``, and write them into ``first`` and ``sign``."""
    seen: dict[bytes, int] = {}
    for i in columns:
        column = A[:, i] + 0.0  # −0 + 0 = 0
        label, opposite_label = (b"" if key is None else key[i].tobytes() for key in keys)
        other = seen.setdefault(column.tobytes() + label, i)
        turned = (0.0 - column).tobytes() + opposite_label
        if other == i and (opposite := seen.get(turned)) is not None and opposite != i:
            first[i], sign[i] = first[opposite], -sign[opposite]
        else:
            first[i], sign[i] = first[other], sign[other]
