"""The part of a vector outside range(Aᵀ), to the accuracy that the data allow."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np

from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem
from dlntorch.problem.row_space import scaled_rows

__all__ = ["RowComplement"]

#: Condition number of the scaled rows beyond which they are whitened before they are orthonormalized: a QR of the rows
#: themselves loses that many times the rounding of the subspace.
_WELL_CONDITIONED = 16.0
#: The bases of problems in use: a run's end, its certificate and its threshold ask for the same one.
_KNOWN: WeakKeyDictionary[Problem, np.ndarray] = WeakKeyDictionary()


class RowComplement:
    """I − P, P the orthogonal projection of Rⁿ on range(Aᵀ), A taken to its numerical rank.

    The rows are brought to one size, and where they are ill-conditioned to a basis of their span that is right to the
    last digit of A (:meth:`~dlntorch.problem.row_space.RowSpace.whiten`); a QR makes it orthonormal.

    Args:
        problem: The data, dense.
    """

    def __init__(self, problem: Problem) -> None:
        if not problem.dense:
            raise InputError(f"A must be a dense matrix here, got a {problem.operator!r}; problem.to_dense() has one")
        exact = problem.to("cpu", "float64")
        if exact not in _KNOWN:
            _KNOWN[exact] = _basis(exact)
        #: An orthonormal basis of range(Aᵀ), shape (n, r).
        self.basis = _KNOWN[exact]

    def part(self, x: np.ndarray) -> np.ndarray:
        """x minus its projection on range(Aᵀ), shape (n,); twice, so that a small rest has its digits."""
        for _ in range(2):
            x = x - self.basis @ (self.basis.T @ x)
        return x


def _basis(exact: Problem) -> np.ndarray:
    space = exact.row_space
    rows = scaled_rows(exact.A, space.exponents).numpy()
    if space.rank < exact.m or space.condition > _WELL_CONDITIONED:
        rows = space.whiten(rows)
    basis = np.linalg.qr(rows.T)[0]
    basis.setflags(write=False)
    return basis
