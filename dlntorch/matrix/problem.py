"""The problem of recovering a matrix from linear measurements ⟨A_j, X⟩ = y_j, and its one loss."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.numerics.validation import DataWarning, InputError, check_count, check_device, check_unmasked
from dlntorch.problem import Problem
from dlntorch.problem.operators import Operator
from dlntorch.problem.operators.convert import is_operator

__all__ = ["EntriesOperator", "MatrixProblem"]

#: Measurements whose asymmetric part is below this share of their size count as symmetric.
SYMMETRY_TOLERANCE = 1e-13


class EntriesOperator(Operator):
    """The entries of x ∈ Rⁿ at given places: what a completion problem measures, in memory O(m).

    Args:
        places: Their numbers, shape (m,), all different.
        n: Length of x.
        dtype: Of the vectors.
    """

    kind = "entries"

    def __init__(self, places: Tensor, n: int, dtype: torch.dtype = torch.float64) -> None:
        super().__init__((places.numel(), n), dtype, places.device)
        self.places = places

    def apply(self, x: Tensor) -> Tensor:
        return x[..., self.places]

    def adjoint(self, r: Tensor) -> Tensor:
        x = r.new_zeros(*r.shape[:-1], self.shape[1])
        x[..., self.places] = r
        return x

    def to(self, device: torch.device, dtype: torch.dtype) -> EntriesOperator:
        return EntriesOperator(self.places.to(device), self.shape[1], dtype)

    @property
    def rank(self) -> int:
        return self.shape[0]

    @property
    def sigma_min(self) -> float:
        return 1.0

    @cached_property
    def spectral_norm(self) -> float:
        return 1.0

    def column_norms(self) -> Tensor:
        return self.adjoint(torch.ones(self.shape[0], dtype=self.dtype, device=self.device))


class MatrixProblem:
    """Measurements ⟨A_j, X⟩ = y_j of a matrix X, and the loss L(X) = ½ Σ_j (⟨A_j, X⟩ − y_j)².

    Args:
        measurements: A_j, shape (m, d1, d2), array-like or tensor, real and finite; or an operator (a
            :class:`~dlntorch.problem.operators.Operator`, a sparse matrix, an object with matvec and rmatvec) of shape
            (m, d1·d2) on the rows of X one after the other, and then ``shape`` has to be given.
        y: Shape (m,), real and finite.
        shape: (d1, d2); None takes it from ``measurements``.
        name: What messages and tables call the problem.
        truth: A planted matrix (d1, d2), where there is one.
        device: Where the tensors live; None keeps that of ``measurements``.

    Raises:
        InputError: (a ``ValueError``) naming the argument, the rule and the value.

    Attributes:
        flat: The same data as a :class:`~dlntorch.Problem` in vec(X), rows one after the other.
        shape: (d1, d2).

    Example:
        >>> problem = MatrixProblem([[[1.0, 0.0], [0.0, 1.0]]], [3.0])
        >>> problem.residual(torch.eye(2, dtype=torch.float64)).tolist()
        [1.0]
    """

    def __init__(
        self,
        measurements: Any,
        y: Any,
        *,
        shape: Any = None,
        name: str = "matrix",
        truth: Any = None,
        device: Any = None,
    ) -> None:
        if is_operator(measurements):
            if shape is None:
                raise InputError("shape must be given where measurements is an operator, got None")
            flat, self.shape = measurements, _shape_of(shape)
            if tuple(flat.shape)[1] != self.shape[0] * self.shape[1]:
                raise InputError(f"measurements must have d1*d2 = {np.prod(self.shape)} columns, got {flat.shape[1]}")
        else:
            stack = _as_stack(measurements)
            self.shape = (int(stack.shape[1]), int(stack.shape[2]))
            if shape is not None and _shape_of(shape) != self.shape:
                raise InputError(f"shape must be that of the measurements, {self.shape}, got {tuple(shape)}")
            flat = stack.reshape(stack.shape[0], -1)
        known = None if truth is None else _as_matrix("truth", truth, self.shape).reshape(-1)
        self.flat = _flat_problem(flat, y, name, known, device)
        self.name = self.flat.name

    @classmethod
    def completion(
        cls, where: Any, values: Any, shape: Any = None, *, name: str = "completion", truth: Any = None
    ) -> MatrixProblem:
        """The problem of completing a matrix from some of its entries, in memory O(m).

        Args:
            where: A boolean mask (d1, d2); or the places as (m, 2) integers, all different, and then ``shape`` is needed.
            values: The entries, shape (m,), in the order of the places (of a mask: row by row); with a mask also a matrix
                (d1, d2), whose masked-out entries are not read.
            shape: (d1, d2).
            name: What messages call the problem.
            truth: The whole matrix, where it is known.

        Raises:
            InputError: naming the argument; also where nothing is observed, or one place twice.

        Example:
            >>> MatrixProblem.completion([[True, False], [True, True]], [1.0, 2.0, 3.0]).m
            3
        """
        size, places = _places(where, shape)
        check_unmasked("values", values)
        entries = (
            values.detach() if isinstance(values, Tensor) else torch.from_numpy(np.array(values, dtype=np.float64))
        )
        if tuple(entries.shape) == size:
            entries = entries.reshape(-1)[places]
        if tuple(entries.shape) != (places.numel(),):
            raise InputError(f"values must have shape ({places.numel()},), got shape {tuple(entries.shape)}")
        operator = EntriesOperator(places, size[0] * size[1])
        return cls(operator, entries, shape=size, name=name, truth=truth)

    @property
    def m(self) -> int:
        """Number of measurements."""
        return self.flat.m

    @property
    def n(self) -> int:
        """Number of entries of X, d1·d2."""
        return self.flat.n

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.flat.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the tensors."""
        return self.flat.dtype

    @property
    def dense(self) -> bool:
        """Whether the measurements are matrices in memory."""
        return self.flat.dense

    @property
    def y(self) -> Tensor:
        """The right-hand side, shape (m,)."""
        return self.flat.y

    @property
    def truth(self) -> Tensor | None:
        """The planted matrix, or None."""
        return None if self.flat.truth is None else self.flat.truth.reshape(self.shape)

    @property
    def measurements(self) -> Tensor:
        """A_j, shape (m, d1, d2).

        Raises:
            InputError: where they are an operator.
        """
        return self.flat.A.reshape(self.m, *self.shape)

    @property
    def operator(self) -> Operator:
        """X ↦ (⟨A_j, X⟩)_j on vec(X)."""
        return self.flat.operator

    @property
    def spectral_norm(self) -> float:
        """The largest ‖(⟨A_j, X⟩)_j‖₂ over ‖X‖_F = 1."""
        return self.flat.spectral_norm

    @cached_property
    def asymmetry(self) -> float:
        """The largest entry of A_j − A_jᵀ over the largest of A_j; for an operator of its products with random vectors.

        Infinity where X is not square.
        """
        if self.shape[0] != self.shape[1]:
            return float("inf")
        if self.dense:
            images = self.measurements
        else:
            drawn = torch.from_numpy(np.random.default_rng([5, self.m]).standard_normal((3, self.m)))
            images = self.adjoint(drawn.to(self.y))
        return float((images - images.mT).abs().max() / images.abs().max())

    @property
    def symmetric(self) -> bool:
        """Whether X is square and every A_j symmetric."""
        return self.asymmetry <= SYMMETRY_TOLERANCE

    def apply(self, X: Tensor) -> Tensor:
        """(⟨A_j, X⟩)_j, shape (..., m), for X of shape (..., d1, d2)."""
        return self.operator.matvec(X.reshape(*X.shape[:-2], self.n))

    def adjoint(self, r: Tensor) -> Tensor:
        """Σ_j r_j A_j, shape (..., d1, d2), for r of shape (..., m)."""
        return self.operator.rmatvec(r).reshape(*r.shape[:-1], *self.shape)

    def residual(self, X: Tensor) -> Tensor:
        """y − (⟨A_j, X⟩)_j, shape (..., m)."""
        return self.y - self.apply(X)

    def loss(self, X: Tensor) -> Tensor:
        """L = ½ Σ_j (⟨A_j, X⟩ − y_j)² (no 1/m), shape (...)."""
        return 0.5 * self.residual(X).square().sum(dim=-1)

    def relative_residual(self, X: Tensor) -> Tensor:
        """‖residual‖₂ / ‖y‖₂, shape (...); the norm itself where y = 0."""
        return self.flat.relative_residual(X.reshape(*X.shape[:-2], self.n))

    def __repr__(self) -> str:
        return f"MatrixProblem(name={self.name!r}, m={self.m}, shape={self.shape})"


# -- input --------------------------------------------------------------------------------------------------------


def _flat_problem(A: Any, y: Any, name: str, truth: Tensor | None, device: Any) -> Problem:
    """The problem in vec(X). That it has as many measurements as entries is worth a warning for vectors only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        try:
            flat = Problem(A, y, name=name, truth=truth, device=None if device is None else check_device(device))
        except InputError as error:
            raise InputError(_in_words_of_matrices(str(error))) from None
    if flat.y.ndim != 1:
        raise InputError(f"y must have shape (m,), got shape {tuple(flat.y.shape)}")
    return flat


def _in_words_of_matrices(message: str) -> str:
    return f"measurements{message[1:]}" if message.startswith("A ") else message


def _shape_of(shape: Any) -> tuple[int, int]:
    if not isinstance(shape, list | tuple | torch.Size) or len(shape) != 2:
        raise InputError(f"shape must be two counts (d1, d2), got {shape!r}")
    return check_count("shape[0]", shape[0]), check_count("shape[1]", shape[1])


def _as_stack(value: Any) -> Tensor:
    check_unmasked("measurements", value)
    if isinstance(value, Tensor):
        stack = value
    else:
        try:
            array = np.asarray(value)
            if array.dtype.kind not in "iufb":
                raise TypeError
        except (TypeError, ValueError):
            raise InputError(
                f"measurements must be a real array of shape (m, d1, d2), got {type(value).__name__}"
            ) from None
        stack = torch.from_numpy(np.array(array, dtype=np.float64))
    if stack.ndim != 3 or 0 in stack.shape:
        raise InputError(f"measurements must have shape (m, d1, d2), each >= 1, got shape {tuple(stack.shape)}")
    return stack


def _as_matrix(name: str, value: Any, shape: tuple[int, int]) -> Tensor:
    check_unmasked(name, value)
    matrix = value.detach() if isinstance(value, Tensor) else torch.from_numpy(np.array(value, dtype=np.float64))
    if tuple(matrix.shape) != shape:
        raise InputError(f"{name} must have shape {shape}, got shape {tuple(matrix.shape)}")
    return matrix


def _places(where: Any, shape: Any) -> tuple[tuple[int, int], Tensor]:
    """(d1, d2), and the observed places as numbers in vec(X)."""
    array = where.detach().cpu().numpy() if isinstance(where, Tensor) else np.asarray(where)
    if array.ndim != 2 or array.dtype.kind not in "biu" or (array.dtype.kind in "iu" and array.shape[1] != 2):
        raise InputError(
            f"where must be a boolean mask (d1, d2) or integers (m, 2), got {array.dtype} of shape {array.shape}"
        )
    if array.dtype.kind == "b":
        size = (int(array.shape[0]), int(array.shape[1]))
        if shape is not None and _shape_of(shape) != size:
            raise InputError(f"shape must be that of the mask, {size}, got {tuple(shape)}")
        places = np.flatnonzero(array)
    else:
        if shape is None:
            raise InputError("shape must be given where the places are indices, got None")
        size = _shape_of(shape)
        if array.size and (array.min() < 0 or bool((array >= np.array(size)).any())):
            raise InputError(
                f"where must lie within the shape {size}, got the indices {array[_first_outside(array, size)]}"
            )
        places = np.ravel_multi_index((array[:, 0], array[:, 1]), size)
        repeated = int(np.count_nonzero(np.diff(np.sort(places)) == 0))  # np.unique takes ten times as long
        if repeated:
            raise InputError(f"where must name each place once, got {repeated} repeated")
    if places.size == 0:
        raise InputError("where must observe at least one entry, got none")
    return size, torch.from_numpy(places.astype(np.int64))


def _first_outside(array: np.ndarray, size: tuple[int, int]) -> int:
    return int(np.flatnonzero(((array < 0) | (array >= np.array(size))).any(axis=1))[0])
