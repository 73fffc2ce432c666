"""The regression problem (A, y), its one loss, and its equivalent full-rank pair.

Notation and statements: Wind, Antun and Hansen, arXiv 2307.07410, sections 1 and 2.
"""

from __future__ import annotations

import warnings
from copy import copy as shallow_copy
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.numerics.rational import as_rationals
from dlntorch.numerics.validation import DataWarning, InputError, check_device, check_dtype
from dlntorch.problem.entries import as_real_tensor, blocks, rounded
from dlntorch.problem.linear_data import WELL_CONDITIONED, LinearData, norm
from dlntorch.problem.operators import DenseOperator, Operator, as_operator, check_adjoint
from dlntorch.problem.operators.convert import is_operator
from dlntorch.problem.row_space import precision, scaled_rows

__all__ = ["Problem", "norm"]


class Problem(LinearData):
    """Data (A, y) of a linear regression, and the loss L(ψ) = ½‖Aψ − y‖₂².

    Args:
        A: Matrix of shape (m, n), array-like or tensor, real and finite, with a nonzero entry; or an operator: a
            :class:`~dlntorch.problem.operators.Operator`, a sparse matrix (``scipy.sparse``, or torch's ``sparse_csr``), or an
            object with ``shape``, ``matvec``, ``rmatvec`` and perhaps ``column_norms``, whose ``rmatvec`` is checked to
            be the adjoint. m >= n only warns: the theory is about under-determined systems.
        y: Vector of shape (m,), real and finite; or a matrix (m, k), k >= 2, of k right-hand sides: :attr:`outputs` has a
            problem for each of them, and :func:`dlntorch.train` trains one network for each.
        name: What messages, tables and files call the problem.
        truth: A planted signal of shape (n,), where there is one; (n, k) for k right-hand sides.
        dtype: float64 (default) or float32.
        device: Where the tensors live; None keeps the device of ``A``.
        copy: Whether the tensors are copies, so that later changes of the caller's arrays do not reach the problem.
            False shares memory where type, layout and device allow it.

    Raises:
        InputError: (a ``ValueError``) naming the argument, the rule and the value.

    An operator is enough to train with. What needs the entries of A (``A``, the references) says so in one line;
    ``to_dense()`` makes a problem that has them.

    Attributes:
        source: What was read from which file, in one line; empty where the problem was not read from one.
        noise: Standard deviation of the noise that a planted problem has on each entry of y; None where it is not known.

    Example:
        >>> problem = Problem([[1.0, 0.5]], [1.0])
        >>> problem.m, problem.n, problem.rank
        (1, 2, 1)
    """

    source: str = ""
    noise: float | None = None

    def __init__(
        self,
        A: Any,
        y: Any,
        *,
        name: str = "custom",
        truth: Any = None,
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
        copy: bool = True,
    ) -> None:
        kind = check_dtype(dtype)
        if device is None and isinstance(A, Tensor | Operator):
            device = A.device
        place = check_device(device)
        if is_operator(A):
            self.operator = as_operator(A, kind, place)
        else:
            self.operator = DenseOperator(as_real_tensor("A", A, 2, kind, place, copy))
        self._y = as_real_tensor("y", y, 1, kind, place, copy)
        #: Relative precision that the data had, by their types: it decides on rank and consistency.
        self.precision = max(precision(A), precision(y), precision(kind))
        self._origin: Problem | None = None  # the problem of which this one holds the same numbers
        self._exact: Problem | None = None  # the pair in float64 of which this one is the rounding
        self._rationals: tuple[list[list[Fraction]], list[Fraction]] | None = None  # what A and y are the rounding of
        self._whole: Problem | None = None  # the problem of which this one is an output
        self.name = str(name)
        m, n = self.operator.shape
        if m == 0 or n == 0:
            raise InputError(f"A must have at least one row and one column, got shape ({m}, {n})")
        if self._y.shape[0] != m:
            raise InputError(f"y must have one entry for each of the {m} rows of A, got shape {_shape(self._y)}")
        if not self.dense:
            check_adjoint(self.operator)
        elif not any(bool(torch.any(block != 0)) for block in blocks(self.A)):
            raise InputError("A must have a nonzero entry, got a matrix of zeros")
        self.truth = None if truth is None else as_real_tensor("truth", truth, self._y.ndim, kind, place, copy)
        if self.truth is not None and self.truth.shape[0] != n:
            raise InputError(f"truth must have one entry for each of the {n} columns of A, got {self.truth.shape[0]}")
        if self.truth is not None and self.truth.shape[1:] != self._y.shape[1:]:
            raise InputError(f"truth must have shape {(n, *self._y.shape[1:])}, as y has, got {_shape(self.truth)}")
        if m >= n:
            warnings.warn(
                f"A has m = {m} rows and n = {n} columns: m >= n is not over-parameterised, "
                "so there may be one interpolating vector or none",
                DataWarning,
                stacklevel=2,
            )

    @classmethod
    def from_rationals(cls, A: Any, y: Any, **options: Any) -> Problem:
        """A problem whose A and y are given exactly; its tensors are the nearest floats.

        What computes exactly (``l1_minimizer(problem, exact=True)``, :attr:`rationals`) takes the numbers as given here,
        and as the floats say where a problem was made from floats.

        Args:
            A: m rows of n integers, Fractions, Decimals, floats or strings ("0.1", "1e-3", "2/7") each.
            y: m of them.
            **options: As in the constructor: ``name``, ``truth``, ``dtype``, ``device``.

        Raises:
            InputError: what is no rational number, has more than 4000 digits, or overflows the floats.

        Example:
            >>> Problem.from_rationals([["1", "0.9"]], [1]).rationals[0][0][1]
            Fraction(9, 10)
        """
        rows, right = as_rationals("A", A, 2), as_rationals("y", y, 1)
        problem = cls([[rounded("A", v) for v in row] for row in rows], [rounded("y", v) for v in right], **options)
        problem._rationals = rows, right
        return problem

    @property
    def rationals(self) -> tuple[list[list[Fraction]], list[Fraction]]:
        """The exact A and y as Fractions: those it was made from, or the floats, which are rationals, too."""
        if self._rationals is None:
            A, y = self.A.detach().cpu().double().tolist(), self.y.detach().cpu().double().tolist()
            return [[Fraction(v) for v in row] for row in A], [Fraction(v) for v in y]
        return self._rationals

    @property
    def rationals_as_text(self) -> tuple[list[list[str]], list[str]]:
        """The same as strings such as "2/7", which multiprecision arithmetic reads."""
        A, y = self.rationals
        return [[str(value) for value in row] for row in A], [str(value) for value in y]

    @property
    def outputs(self) -> tuple[Problem, ...]:
        """A problem for each right-hand side, with the same A and what is known of it; itself alone where y is a vector."""
        return (self,) if self._y.ndim == 1 else self._outputs  # a problem that kept itself would outlive its last user

    @cached_property
    def _outputs(self) -> tuple[Problem, ...]:
        return tuple(self._output(j) for j in range(self._y.shape[1]))

    def _output(self, j: int) -> Problem:
        """The problem of column j of y. What is computed about A is computed once, by the whole problem."""
        other = shallow_copy(self)
        for name in ("_outputs", "side", "inconsistency", "_full_rank"):
            other.__dict__.pop(name, None)
        other._y = self._y[:, j].contiguous()
        other.truth = None if self.truth is None else self.truth[:, j].contiguous()
        other.name = f"{self.name}[{j}]"
        other._whole = self
        other._origin = None if self._origin is None else self._origin.outputs[j]
        return other

    @property
    def _sides(self) -> Tensor:
        """y as residuals are laid out: shape (m,), or (k, m) for k right-hand sides."""
        return self._y if self._y.ndim == 1 else self._y.mT

    def to_dense(self) -> Problem:
        """The same problem with the matrix of its operator; itself where it is dense."""
        if self.dense:
            return self
        return self._like(self.operator.to_dense(), self._y, self.name)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | str | None = None) -> Problem:
        """The same problem on another device or in another precision; itself, with its SVD, where nothing changes.

        What was decided about the data, and :attr:`precision`, go along: float32 data in float64 are float32 data.
        """
        kind = self.dtype if dtype is None else check_dtype(dtype)
        place = self.device if device is None else check_device(device)
        if kind == self.dtype and place == self.device:
            return self
        if self._exact is not None and kind == torch.float64:
            return self._exact.to(place)
        other = self._like(self.operator.to(place, kind) if not self.dense else self.A, self._y, self.name, kind, place)
        if kind in (self.dtype, torch.float64):  # the same numbers
            other._origin = self if self._origin is None else self._origin
            other._rationals = self._rationals
        return other

    def _like(
        self, A: Any, y: Tensor, name: str, dtype: torch.dtype | None = None, device: torch.device | None = None
    ) -> Problem:
        """A problem with this one's truth; what was warned of when this one was made is not said again."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            kind, place = dtype or self.dtype, device or self.device
            other = Problem(A, y, name=name, truth=self.truth, dtype=kind, device=place, copy=False)
        other.precision, other.noise = max(self.precision, precision(kind)), self.noise
        return other

    # -- the one loss ---------------------------------------------------------------------------------------------

    def residual(self, psi: Tensor) -> Tensor:
        """r = y − Aψ, shape (..., m), for ψ of shape (..., n); with k right-hand sides (..., k, m) for ψ (..., k, n)."""
        return self._sides - self.operator.matvec(psi)

    def loss(self, psi: Tensor) -> Tensor:
        """L = ½‖Aψ − y‖₂² (no 1/m), shape (...), for ψ of shape (..., n); the paper's (2.1)."""
        r = self.residual(psi)
        return 0.5 * (r * r).sum(dim=-1)

    def relative_residual(self, psi: Tensor) -> Tensor:
        """‖Aψ − y‖₂ / ‖y‖₂, shape (...); the norm itself where y = 0."""
        scale = norm(self._sides)
        return norm(self.residual(psi)) / torch.where(scale > 0, scale, torch.ones_like(scale))

    # -- the equivalent pair of full rank ---------------------------------------------------------------------------

    def reduced(self) -> Problem:
        """An equivalent pair (Ã, ỹ) of full row rank r = rank(A): Ã = QᵀA, ỹ = Qᵀy, Q an orthonormal basis of range(A).

        Its loss differs from this one's by the constant ½‖y − P y‖₂², so flow and descent are the same. It is made once,
        from the data in float64; in float32 it is that pair rounded, and ``to(dtype="float64")`` is the pair itself.
        Returns the problem itself when rank(A) = m, and where the rank is not known.
        """
        return self if self.known_rank in (None, self.m) else self._full_rank

    @cached_property
    def _full_rank(self) -> Problem:
        if self._origin is not None and self.dtype == torch.float64:
            return self._origin._full_rank.to(self.device, torch.float64)
        A, y = self.A.double(), self.y.double()
        space, (side, shift) = self.row_space, self.side
        if self._exponents is None and space.condition <= WELL_CONDITIONED:
            U = torch.from_numpy(space.U).to(self.device)
            pair = U.mT @ A, U.mT @ y if side.white.any() else y.new_zeros(space.rank)
        else:
            rows = scaled_rows(A, self._exponents).cpu().numpy()  # combined with more digits than float64 has
            Q_A, Q_y = space.pair(space.whiten(rows), side.white)
            pair = torch.from_numpy(Q_A), torch.from_numpy(np.ldexp(Q_y, shift))
        exact = self._like(*pair, f"{self.name} (reduced)", torch.float64)
        if self.dtype == torch.float64:
            return exact
        rounded = self._like(*pair, exact.name)
        rounded._exact = exact
        return rounded

    def __repr__(self) -> str:
        several = f", outputs={self._y.shape[1]}" if self._y.ndim == 2 else ""
        return f"Problem(name={self.name!r}, m={self.m}, n={self.n}{several}, dtype={self.dtype}, device={self.device})"


def _shape(values: Tensor) -> str:
    return str(tuple(values.shape))
