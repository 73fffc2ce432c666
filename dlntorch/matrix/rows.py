"""The measurements with orthonormal rows: an equivalent pair with 𝒜𝒜* = I, as dense rows or as entries of X."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from dlntorch.matrix.problem import EntriesOperator
from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem

__all__ = ["Rows", "orthonormal"]

#: Largest number of entries of a matrix that an operator may be turned into.
LARGEST = 2**27
#: Of y outside the range of the measurements, relative to y, that counts as none.
CONSISTENT = 1e-10


class Rows:
    """𝒜 with 𝒜𝒜* = I.

    Args:
        shape: Of X.
        matrix: Its rows, shape (m, N); or None, and then
        places: the numbers of the entries that it takes, shape (m,).
    """

    def __init__(self, shape: tuple[int, ...], matrix: np.ndarray | None, places: np.ndarray | None = None) -> None:
        self.shape, self.matrix, self.places = shape, matrix, places
        self.size = int(np.prod(shape))

    def apply(self, X: np.ndarray) -> np.ndarray:
        """𝒜X, shape (..., m)."""
        flat = X.reshape(*X.shape[: X.ndim - len(self.shape)], self.size)
        return flat[..., self.places] if self.matrix is None else flat @ self.matrix.T

    def adjoint(self, r: np.ndarray) -> np.ndarray:
        """𝒜*r for one r, shape (m,)."""
        if self.matrix is not None:
            return (r @ self.matrix).reshape(self.shape)
        flat = np.zeros(self.size)
        flat[self.places] = r
        return flat.reshape(self.shape)

    @cached_property
    def directions(self) -> np.ndarray:
        """The rows, shape (m, *shape)."""
        if self.matrix is not None:
            return self.matrix.reshape(-1, *self.shape)
        assert self.places is not None  # one of the two is there
        flat = np.zeros((self.places.size, self.size))
        flat[np.arange(self.places.size), self.places] = 1.0
        return flat.reshape(-1, *self.shape)


class Standard:
    """A problem with orthonormal rows and a right-hand side of norm one.

    Args:
        problem: The data, in vec(X).
        shape: Of X.
        symmetric: Whether only the symmetric part of each measurement counts.

    Attributes:
        rows: 𝒜.
        y: Shape (rank,).
        scale: The right-hand side of the problem is this times ``y``.
        missing: ‖y − Py‖/‖y‖, the share of y that no X can have.
    """

    def __init__(self, problem: Problem, shape: tuple[int, ...], symmetric: bool = False) -> None:
        y = problem.y.detach().double().cpu().numpy()
        self._back: np.ndarray | None = None
        operator = problem.operator
        self.missing = 0.0
        if isinstance(operator, EntriesOperator) and not symmetric:
            self.rows = Rows(shape, None, operator.places.cpu().numpy())
            white = y
        else:
            if problem.m * problem.n > LARGEST:
                raise InputError(
                    f"measurements must have at most {LARGEST} entries, or be entries of X, for the minimiser, "
                    f"got m*d1*d2 = {problem.m * problem.n}"
                )
            matrix = problem.to_dense().A.detach().double().cpu().numpy()
            if symmetric:
                stack = matrix.reshape(-1, *shape)
                matrix = (0.5 * (stack + np.swapaxes(stack, 1, 2))).reshape(matrix.shape)
            U, s, Vt = np.linalg.svd(matrix, full_matrices=False)
            rank = int(np.count_nonzero(s > max(matrix.shape) * np.finfo(float).eps * s[0])) if s.size and s[0] else 0
            self.rows = Rows(shape, Vt[:rank])
            inner = U[:, :rank].T @ y
            white = inner / s[:rank]
            self._back = U[:, :rank] / s[:rank]
            size = float(np.linalg.norm(y))
            outside = float(np.linalg.norm(y - U[:, :rank] @ inner))
            self.missing = outside / size if size and outside > CONSISTENT * size else 0.0
        norm = float(np.linalg.norm(white))
        self.scale = norm if norm > 0 else 1.0
        self.y = white / self.scale

    def dual(self, lam: np.ndarray) -> np.ndarray:
        """The multipliers of the measurements as given: Σ λ_jA_j = 𝒜*lam."""
        return lam if self._back is None else self._back @ lam


def orthonormal(problem: Problem, shape: tuple[int, ...], symmetric: bool = False) -> Standard:
    """The problem in :class:`Standard` form."""
    return Standard(problem, shape, symmetric)
