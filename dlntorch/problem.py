"""The regression problem (A, y), its one loss, and its equivalent full-rank pair.

Notation and statements: Wind, Antun and Hansen, arXiv 2307.07410, sections 1 and 2.
"""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.validation import DataWarning, InputError, check_device, check_dtype

__all__ = ["Problem"]


class Problem:
    """Data (A, y) of a linear regression, and the loss L(ψ) = ½‖Aψ − y‖₂².

    Args:
        A: Matrix of shape (m, n), array-like or tensor, real and finite, with a nonzero entry. m >= n only warns:
            the theory is about under-determined systems.
        y: Vector of shape (m,), real and finite.
        name: What messages, tables and files call the problem.
        truth: A planted signal of shape (n,), where there is one.
        dtype: float64 (default) or float32.
        device: Where the tensors live; None keeps the device of ``A``.

    Raises:
        InputError: (a ``ValueError``) naming the argument, the rule and the value.

    The tensors are copies: later changes of the caller's arrays do not reach the problem.
    """

    def __init__(
        self,
        A: Any,
        y: Any,
        *,
        name: str = "custom",
        truth: Any = None,
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        kind = check_dtype(dtype)
        if device is None and isinstance(A, Tensor):
            device = A.device
        place = check_device(device)
        self.A = _as_real_tensor("A", A, 2, kind, place)
        self.y = _as_real_tensor("y", y, 1, kind, place)
        self.name = str(name)
        m, n = self.A.shape
        if m == 0 or n == 0:
            raise InputError(f"A must have at least one row and one column, got shape ({m}, {n})")
        if self.y.shape[0] != m:
            raise InputError(f"y must have one entry for each of the {m} rows of A, got shape ({self.y.shape[0]},)")
        if not torch.any(self.A != 0):
            raise InputError("A must have a nonzero entry, got a matrix of zeros")
        self.truth = None if truth is None else _as_real_tensor("truth", truth, 1, kind, place)
        if self.truth is not None and self.truth.shape[0] != n:
            raise InputError(f"truth must have one entry for each of the {n} columns of A, got {self.truth.shape[0]}")
        if m >= n:
            warnings.warn(
                f"A has m = {m} rows and n = {n} columns: m >= n is not over-parameterised, "
                "so there may be one interpolating vector or none",
                DataWarning,
                stacklevel=2,
            )

    @property
    def m(self) -> int:
        """Number of rows of A (measurements)."""
        return int(self.A.shape[0])

    @property
    def n(self) -> int:
        """Number of columns of A (coordinates of ψ)."""
        return int(self.A.shape[1])

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of A and y."""
        return self.A.dtype

    @property
    def device(self) -> torch.device:
        """Where A and y live."""
        return self.A.device

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | str | None = None) -> Problem:
        """The same problem on another device or in another precision; itself, with its SVD, where nothing changes."""
        kind = self.dtype if dtype is None else check_dtype(dtype)
        place = self.device if device is None else check_device(device)
        if kind == self.dtype and place == self.device:
            return self
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)  # said when the problem was made
            return Problem(self.A, self.y, name=self.name, truth=self.truth, dtype=kind, device=place)

    # -- the one loss ---------------------------------------------------------------------------------------------

    def residual(self, psi: Tensor) -> Tensor:
        """r = y − Aψ, shape (..., m), for ψ of shape (..., n)."""
        return self.y - psi @ self.A.mT

    def loss(self, psi: Tensor) -> Tensor:
        """L = ½‖Aψ − y‖₂² (no 1/m), shape (...), for ψ of shape (..., n); the paper's (2.1)."""
        r = self.residual(psi)
        return 0.5 * (r * r).sum(dim=-1)

    def relative_residual(self, psi: Tensor) -> Tensor:
        """‖Aψ − y‖₂ / ‖y‖₂, shape (...); the norm itself where y = 0."""
        scale = torch.linalg.vector_norm(self.y)
        norm = torch.linalg.vector_norm(self.residual(psi), dim=-1)
        return norm / torch.where(scale > 0, scale, torch.ones_like(scale))

    # -- what the data say about themselves ---------------------------------------------------------------------------

    @cached_property
    def _svd(self) -> tuple[Tensor, Tensor]:
        """Left singular vectors (m, min(m, n)) and singular values of A."""
        U, S, _ = torch.linalg.svd(self.A, full_matrices=False)
        return U, S

    @property
    def singular_values(self) -> Tensor:
        """Singular values of A in decreasing order, shape (min(m, n),)."""
        return self._svd[1]

    @property
    def spectral_norm(self) -> float:
        """‖A‖₂, the largest singular value."""
        return float(self._svd[1][0])

    @property
    def sigma_min(self) -> float:
        """The smallest nonzero singular value of A (numerical rank)."""
        return float(self._svd[1][self.rank - 1])

    @cached_property
    def rank(self) -> int:
        """Numerical rank: singular values above max(m, n)·eps·‖A‖₂."""
        S = self._svd[1]
        tolerance = max(self.m, self.n) * torch.finfo(self.dtype).eps * S[0]
        return int((tolerance < S).sum())

    @cached_property
    def inconsistency(self) -> float:
        """Distance of y from range(A), ‖y − P y‖₂: no ψ has a smaller residual. Exactly 0 where rank(A) = m."""
        if self.rank == self.m:
            return 0.0
        U = self._svd[0][:, : self.rank]
        return float(torch.linalg.vector_norm(self.y - U @ (U.mT @ self.y)))

    @property
    def consistent(self) -> bool:
        """Whether y lies in range(A), up to rounding of the projection; otherwise the network fits the projection."""
        rounding = 10 * max(self.m, self.n) * torch.finfo(self.dtype).eps
        return self.inconsistency <= rounding * float(torch.linalg.vector_norm(self.y))

    def reduced(self) -> Problem:
        """An equivalent pair (Ã, ỹ) of full row rank r = rank(A): Ã = U_rᵀA, ỹ = U_rᵀy from the thin SVD.

        Its loss differs from this one's by the constant ½‖y − P y‖₂², so flow and descent are the same.
        Returns the problem itself when rank(A) = m.
        """
        return self if self.rank == self.m else self._full_rank

    @cached_property
    def _full_rank(self) -> Problem:
        U = self._svd[0][:, : self.rank]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            name = f"{self.name} (reduced)"
            return Problem(U.mT @ self.A, U.mT @ self.y, name=name, truth=self.truth, dtype=self.dtype)

    def __repr__(self) -> str:
        return f"Problem(name={self.name!r}, m={self.m}, n={self.n}, dtype={self.dtype}, device={self.device})"


def _as_real_tensor(name: str, value: Any, ndim: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A finite, real, contiguous copy of ``value`` with ``ndim`` dimensions."""
    shape_rule = "(m, n)" if ndim == 2 else "(m,)" if name == "y" else "(n,)"
    if isinstance(value, Tensor):
        if value.is_complex() or value.layout != torch.strided:
            raise InputError(f"{name} must be a dense real tensor, got {value.dtype} with layout {value.layout}")
        tensor = value.detach().to(device=device, dtype=dtype).clone().contiguous()
    else:
        try:
            array = np.asarray(value)
        except ValueError:
            raise InputError(
                f"{name} must be a rectangular array of real numbers, got rows of unequal length"
            ) from None
        except (TypeError, RuntimeError) as error:  # what an array-like of another library says
            raise InputError(
                f"{name} must be an array of real numbers, got {type(value).__name__}: {' '.join(str(error).split())}"
            ) from None
        if array.dtype.kind not in "fiub":
            raise InputError(f"{name} must be an array of real numbers, got dtype {array.dtype}")
        with np.errstate(over="ignore"):  # a longdouble beyond float64 becomes inf, which is refused below
            array = np.array(array, dtype=np.float64, order="C")
        tensor = torch.from_numpy(array).to(dtype=dtype, device=device)
    if tensor.ndim != ndim:
        raise InputError(f"{name} must have shape {shape_rule}, got shape {tuple(tensor.shape)}")
    bad = torch.nonzero(~torch.isfinite(tensor))
    if bad.numel():
        where = ", ".join(str(int(i)) for i in bad[0])
        raise InputError(f"{name} must be finite, got {float(tensor[tuple(bad[0])])} at [{where}]")
    return tensor
