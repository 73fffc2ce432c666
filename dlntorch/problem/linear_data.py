"""A and y, and what they say about themselves: rank, singular values, consistency."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from dlntorch.numerics.validation import InputError
from dlntorch.problem.operators import DenseOperator, Operator
from dlntorch.problem.row_space import RowSpace, Side, left_singular, row_exponents, scaled_vector

__all__ = ["WELL_CONDITIONED", "LinearData", "norm"]

#: A larger dense A has its singular values from AAᵀ (where that is small beside A): an SVD would copy A three times.
SVD_ENTRIES = 2**23
#: AAᵀ is small beside A where n is at least so many times m.
GRAM_ASPECT = 12
#: Rows are brought to one size before the rank is decided where their sizes differ by more than 2 to this power.
ROW_SPREAD = 4
#: Condition number of the scaled rows beyond which float64 is not enough to combine them.
WELL_CONDITIONED = 1e4


def norm(x: Tensor) -> Tensor:
    """‖x‖₂ over the last axis, shape (...), also where the squares of x leave the range of its dtype."""
    size = x.abs().amax(dim=-1, keepdim=True)
    size = torch.where((size > 0) & torch.isfinite(size), size, torch.ones_like(size))
    return size[..., 0] * torch.linalg.vector_norm(x / size, dim=-1)


class LinearData:
    """A and y, and what follows from them.

    A problem takes what is decided about A from the problem of which it is an output (``_whole``), or of which it holds
    the same numbers (``_origin``).
    """

    operator: Operator
    precision: float
    _y: Tensor
    _origin: LinearData | None
    _whole: LinearData | None

    @property
    def A(self) -> Tensor:
        """The matrix, shape (m, n).

        Raises:
            InputError: where A is an operator without one.
        """
        if isinstance(self.operator, DenseOperator):
            return self.operator.A
        raise InputError(f"A must be a dense matrix here, got a {self.operator!r}; problem.to_dense() has its matrix")

    @property
    def y(self) -> Tensor:
        """The right-hand side, shape (m,).

        Raises:
            InputError: where there are several of them.
        """
        if self._y.ndim == 2:
            raise InputError(
                f"y must have shape (m,) here, got shape {tuple(self._y.shape)}: problem.outputs has a problem for each column"
            )
        return self._y

    @property
    def dense(self) -> bool:
        """Whether A is a matrix in memory, not an operator."""
        return isinstance(self.operator, DenseOperator)

    @property
    def m(self) -> int:
        """Number of rows of A (measurements)."""
        return int(self.operator.shape[0])

    @property
    def n(self) -> int:
        """Number of columns of A (coordinates of ψ)."""
        return int(self.operator.shape[1])

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of A and y."""
        return self.operator.dtype

    @property
    def device(self) -> torch.device:
        """Where A and y live."""
        return self.operator.device

    @cached_property
    def _exponents(self) -> np.ndarray | None:
        """What the rows are scaled by before their rank is decided; None where they are alike as they are."""
        if self._whole is not None:
            return self._whole._exponents
        exponents, some = row_exponents(self.A)
        return exponents if int(np.ptp(exponents[some])) > ROW_SPREAD else None

    def _decomposed(self, exponents: np.ndarray | None) -> tuple[Tensor, Tensor]:
        """Left singular vectors (m, min(m, n)) and singular values of 2^{−e}A, in float64."""
        whole = self.A.numel() <= SVD_ENTRIES
        if not whole and GRAM_ASPECT * self.m > self.n:
            raise InputError(
                f"A must have at most {SVD_ENTRIES} entries, or n >= {GRAM_ASPECT} m, for its singular values, "
                f"got shape ({self.m}, {self.n})"
            )
        return left_singular(self.A, exponents, whole)

    @cached_property
    def _svd(self) -> tuple[Tensor, Tensor]:
        """Left singular vectors and singular values of A."""
        known = self._whole or self._origin
        return self._decomposed(None) if known is None else known._svd

    @property
    def singular_values(self) -> Tensor:
        """Singular values of A in decreasing order, shape (min(m, n),)."""
        return self._svd[1].to(self.device, self.dtype)

    @property
    def has_singular_values(self) -> bool:
        """Whether all singular values can be had: a dense A that is not too large."""
        return self.dense and (self.A.numel() <= SVD_ENTRIES or GRAM_ASPECT * self.m <= self.n)

    @property
    def spectral_norm(self) -> float:
        """‖A‖₂, the largest singular value."""
        return float(self._svd[1][0]) if self.has_singular_values else self.operator.spectral_norm

    @property
    def sigma_min(self) -> float:
        """The smallest nonzero singular value of A (numerical rank)."""
        if self.has_singular_values:
            graded = self._exponents is not None
            return 1 / self.row_space.inverse_norm if graded else float(self._svd[1][self.rank - 1])
        if self.operator.sigma_min is None:
            raise InputError(f"A must be a dense matrix for its smallest singular value, got a {self.operator!r}")
        return self.operator.sigma_min

    @cached_property
    def row_space(self) -> RowSpace:
        """A to its numerical rank, its rows scaled."""
        known = self._whole or self._origin
        if known is not None:
            return known.row_space
        graded = self._exponents is not None
        U, S = (part.cpu().numpy() for part in (self._decomposed(self._exponents) if graded else self._svd))
        exponents = self._exponents if self._exponents is not None else np.zeros(self.m, dtype=np.intc)
        return RowSpace(U, S, exponents, self.n, self.precision)

    @cached_property
    def side(self) -> tuple[Side, int]:
        """What y says in the coordinates of the row space, for 2^{−s}y, and s."""
        scaled, shift = scaled_vector(self.y.double().cpu().numpy(), self.row_space.exponents)
        return self.row_space.side(scaled), shift

    @property
    def known_rank(self) -> int | None:
        """Numerical rank: singular values above the rounding of A, once its rows have one size (see :class:`RowSpace`).

        None where nothing says it (most operators).
        """
        return self.row_space.rank if self.has_singular_values else self.operator.rank

    @property
    def rank(self) -> int:
        """Numerical rank, see :attr:`known_rank`.

        Raises:
            InputError: where it is not known.
        """
        if self.known_rank is None:
            raise InputError(f"A must be a dense matrix for its rank, got a {self.operator!r}")
        return self.known_rank

    @cached_property
    def inconsistency(self) -> float:
        """Distance of y from range(A), ‖y − P y‖₂: no ψ has a smaller residual. Exactly 0 where rank(A) = m.

        Raises:
            InputError: where the rank is not known.
        """
        if self.rank == self.m:
            return 0.0
        side, shift = self.side
        return float(norm(torch.from_numpy(np.ldexp(side.outside, self.row_space.exponents + shift))))

    @property
    def consistent(self) -> bool:
        """Whether y lies in range(A), to the precision of the data; otherwise the network fits the projection."""
        return self.rank == self.m or self.side[0].consistent
