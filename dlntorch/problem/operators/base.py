"""What training needs of A: products with A and with Aᵀ, its shape, its columns' norms, and its spectral norm.

``matvec`` takes ψ of shape (..., n) to Aψ of shape (..., m), ``rmatvec`` takes r of shape (..., m) to Aᵀr of shape
(..., n); both can be differentiated. Basis pursuit and the flow need no more; the flow's limit needs entries of A.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.numerics.validation import InputError, check_real, check_unmasked

__all__ = ["DenseOperator", "FunctionOperator", "Operator", "RowsOperator", "check_adjoint"]

#: ⟨Ax, r⟩ and ⟨x, Aᵀr⟩ of random vectors agree to this, relative to ‖Ax‖‖r‖ + ‖x‖‖Aᵀr‖.
ADJOINT_TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
#: The Lanczos method for ‖A‖₂ ends when its residual is below this part of ‖A‖₂², or after so many steps.
LANCZOS_TOLERANCE, LANCZOS_STEPS = 1e-8, 300


class Operator(ABC):
    """A linear map from Rⁿ to R^m that is known by its products.

    Args:
        shape: (m, n).
        dtype: Of the vectors that it takes and gives.
        device: Where these live.

    A subclass gives :meth:`apply` and :meth:`adjoint`, and :meth:`to`; it may know its column norms, its rank or its
    smallest singular value better than this class, which finds the norms with m products and knows neither of the rest.
    """

    #: What messages call it.
    kind: str = "operator"

    def __init__(self, shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> None:
        self.shape = shape
        self.dtype = dtype
        self.device = device

    # -- what a subclass gives ----------------------------------------------------------------------------------------

    @abstractmethod
    def apply(self, x: Tensor) -> Tensor:
        """Ax for x of shape (..., n), without a gradient."""

    @abstractmethod
    def adjoint(self, r: Tensor) -> Tensor:
        """Aᵀr for r of shape (..., m), without a gradient."""

    @abstractmethod
    def to(self, device: torch.device, dtype: torch.dtype) -> Operator:
        """The same map on another device or in another precision."""

    def arrays(self) -> dict[str, np.ndarray]:
        """What a file has to hold so that ``operator_from_arrays`` makes the operator again.

        Raises:
            InputError: for an operator of a user's own functions, which no file can hold.
        """
        raise InputError(f"A must be dense, sparse or a known transform to be written to a file, got {self!r}")

    @property
    def rank(self) -> int | None:
        """rank(A), None where it is not known."""
        return None

    @property
    def sigma_min(self) -> float | None:
        """The smallest nonzero singular value, None where it is not known."""
        return None

    # -- what all of them do ------------------------------------------------------------------------------------------

    def matvec(self, x: Tensor) -> Tensor:
        """Ax, shape (..., m), for x of shape (..., n)."""
        return _Product.apply(x, self, False) if x.requires_grad and torch.is_grad_enabled() else self.apply(x)

    def rmatvec(self, r: Tensor) -> Tensor:
        """Aᵀr, shape (..., n), for r of shape (..., m)."""
        return _Product.apply(r, self, True) if r.requires_grad and torch.is_grad_enabled() else self.adjoint(r)

    def column_norms(self) -> Tensor:
        """‖A_i‖₂ of every column, shape (n,); here from the m rows, found one product each."""
        m, n = self.shape
        total = torch.zeros(n, dtype=self.dtype, device=self.device)
        for i in range(m):
            row = torch.zeros(m, dtype=self.dtype, device=self.device)
            row[i] = 1.0
            total += self.adjoint(row).square()
        return total.sqrt()

    @cached_property
    def spectral_norm(self) -> float:
        """‖A‖₂ by the Lanczos method on AAᵀ: exact up to rounding once it has converged, from above where it has not."""
        return _lanczos_norm(self)

    def rows(self, chosen: Tensor, factor: float = 1.0) -> Operator:
        """The rows ``chosen`` (k,) of A, times ``factor``."""
        return RowsOperator(self, chosen, factor)

    def to_dense(self) -> Tensor:
        """The matrix (m, n) itself, from products with the unit vectors of Rⁿ or of R^m, whichever are fewer."""
        m, n = self.shape
        eye = torch.eye(min(m, n), dtype=self.dtype, device=self.device)
        return self.adjoint(eye) if m <= n else self.apply(eye).mT.contiguous()

    # -- where the columns are: all here, unless they are spread over processes -------------------------------------------

    def maximum(self, values: Tensor) -> Tensor:
        """The entrywise maximum of a small vector over all processes that hold columns; here itself."""
        return values

    def total(self, values: Tensor) -> Tensor:
        """The entrywise sum of a small vector over all processes that hold columns; here itself."""
        return values

    @property
    def columns(self) -> tuple[int, int, int]:
        """(first, end, all): which columns of how many this process holds."""
        return 0, self.shape[1], self.shape[1]

    def __repr__(self) -> str:
        return f"{self.kind} operator of shape ({self.shape[0]}, {self.shape[1]})"


class _Product(torch.autograd.Function):
    """A product with A or Aᵀ whose gradient is a product with the other."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, operator: Operator, transposed: bool) -> Tensor:
        ctx.operator, ctx.transposed = operator, transposed
        return operator.adjoint(x) if transposed else operator.apply(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        product = ctx.operator.matvec if ctx.transposed else ctx.operator.rmatvec
        return product(grads[0]), None, None


class DenseOperator(Operator):
    """A matrix of shape (m, n) in memory; it is not copied."""

    kind = "dense"

    def __init__(self, A: Tensor) -> None:
        super().__init__((A.shape[0], A.shape[1]), A.dtype, A.device)
        self.A = A

    def apply(self, x: Tensor) -> Tensor:
        return x @ self.A.mT

    def adjoint(self, r: Tensor) -> Tensor:
        return r @ self.A

    matvec, rmatvec = apply, adjoint  # torch differentiates these itself

    def to(self, device: torch.device, dtype: torch.dtype) -> DenseOperator:
        return DenseOperator(self.A.to(device=device, dtype=dtype))

    def arrays(self) -> dict[str, np.ndarray]:
        return {"A": self.A.detach().cpu().numpy()}

    def column_norms(self) -> Tensor:
        return torch.linalg.vector_norm(self.A, dim=0)

    def rows(self, chosen: Tensor, factor: float = 1.0) -> Operator:
        return DenseOperator(factor * self.A[chosen])

    def to_dense(self) -> Tensor:
        return self.A


class RowsOperator(Operator):
    """Some rows of another operator, times a factor: a mini-batch where rows cannot be had alone."""

    def __init__(self, whole: Operator, chosen: Tensor, factor: float = 1.0) -> None:
        super().__init__((len(chosen), whole.shape[1]), whole.dtype, whole.device)
        self.whole, self.chosen, self.factor = whole, chosen.to(whole.device), factor
        self.kind = f"rows of a {whole.kind}"

    def apply(self, x: Tensor) -> Tensor:
        return self.factor * self.whole.apply(x)[..., self.chosen]

    def adjoint(self, r: Tensor) -> Tensor:
        full = torch.zeros(*r.shape[:-1], self.whole.shape[0], dtype=r.dtype, device=r.device)
        return self.whole.adjoint(full.index_add(-1, self.chosen, self.factor * r))

    def to(self, device: torch.device, dtype: torch.dtype) -> Operator:
        return RowsOperator(self.whole.to(device, dtype), self.chosen, self.factor)

    def maximum(self, values: Tensor) -> Tensor:
        return self.whole.maximum(values)

    def total(self, values: Tensor) -> Tensor:
        return self.whole.total(values)

    @property
    def columns(self) -> tuple[int, int, int]:
        return self.whole.columns


class FunctionOperator(Operator):
    """A user's own products, of one vector each.

    Args:
        matvec: x (n,) -> Ax (m,), tensors.
        rmatvec: r (m,) -> Aᵀr (n,), tensors.
        shape: (m, n).
        column_norms: ‖A_i‖₂, shape (n,), or a function without arguments that gives them; None finds them when they
            are needed, with m products.
        dtype: float64 (default) or float32.
        device: Where its vectors live.
    """

    kind = "function"

    def __init__(
        self,
        matvec: Callable[[Tensor], Tensor],
        rmatvec: Callable[[Tensor], Tensor],
        shape: tuple[int, int],
        column_norms: Any = None,
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | None = None,
    ) -> None:
        super().__init__((int(shape[0]), int(shape[1])), dtype, device or torch.device("cpu"))
        self._matvec, self._rmatvec, self._norms = matvec, rmatvec, column_norms

    def apply(self, x: Tensor) -> Tensor:
        return self._each(self._matvec, "matvec", x.detach(), self.shape[0])

    def adjoint(self, r: Tensor) -> Tensor:
        return self._each(self._rmatvec, "rmatvec", r.detach(), self.shape[1])

    def _each(self, function: Callable[[Tensor], Tensor], name: str, vectors: Tensor, size: int) -> Tensor:
        """The function of every vector along the last axis, checked for its shape."""
        images = [function(v) for v in vectors.reshape(-1, vectors.shape[-1])]
        for image in images:
            check_unmasked(f"A.{name}", image)
            check_real("A", image)
        found = [torch.as_tensor(image).to(device=self.device, dtype=self.dtype).reshape(-1) for image in images]
        for image in found:
            if image.shape != (size,):
                raise InputError(f"A.{name} must give a vector of shape ({size},), got shape {tuple(image.shape)}")
        return torch.stack(found).reshape(*vectors.shape[:-1], size) if found else vectors.new_zeros(0, size)

    def to(self, device: torch.device, dtype: torch.dtype) -> Operator:
        if device == self.device and dtype == self.dtype:
            return self
        raise InputError(
            f"A must stay on {self.device} in {self.dtype}, where its own matvec works, got device={device}, dtype={dtype}"
        )

    def column_norms(self) -> Tensor:
        if self._norms is None:
            return super().column_norms()
        found = self._norms() if callable(self._norms) else self._norms
        check_unmasked("A.column_norms", found)
        norms = torch.as_tensor(found)
        norms = norms.to(device=self.device, dtype=self.dtype).reshape(-1)
        if norms.shape != (self.shape[1],):
            raise InputError(f"A.column_norms must have shape ({self.shape[1]},), got shape {tuple(norms.shape)}")
        return norms


def check_adjoint(operator: Operator) -> None:
    """Refuse an operator whose ``rmatvec`` is not the adjoint of its ``matvec``, seen on one random pair of vectors.

    Raises:
        InputError: naming the two products that should have been equal; or what is not finite, or zero.
    """
    m, n = operator.shape
    x, r = _random(n, 1, operator), _random(m, 2, operator)
    image, back = operator.apply(x), operator.adjoint(r)
    if not bool(torch.isfinite(image).all() & torch.isfinite(back).all()):
        raise InputError(f"A must be finite, got a {operator!r} with products that are not")
    if not bool(operator.maximum(back.abs().max()[None]) != 0):
        raise InputError(f"A must have a nonzero entry, got a {operator!r} of zeros")
    left, right = float(image @ r), float(operator.total((x @ back)[None]))
    size = float(image.norm() * r.norm()) + float(operator.total((x.norm() * back.norm())[None]))
    if abs(left - right) > ADJOINT_TOLERANCE[operator.dtype] * size:
        raise InputError(
            f"A.rmatvec must be the adjoint of A.matvec: <Ax, r> must equal <x, A'r> on random vectors, "
            f"got {left:.6g} and {right:.6g}"
        )


def _random(size: int, seed: int, operator: Operator) -> Tensor:
    """A standard normal vector that depends on its size and the seed alone."""
    drawn = np.random.default_rng([seed, size]).standard_normal(size)
    return torch.from_numpy(drawn).to(device=operator.device, dtype=operator.dtype)


def _lanczos_norm(operator: Operator) -> float:
    """‖A‖₂ from the Lanczos method on AAᵀ with full reorthogonalisation, from a fixed random vector of R^m."""
    from scipy.linalg import eigh_tridiagonal

    m = operator.shape[0]
    v = _random(m, 3, operator)
    v = v / v.norm()
    steps = min(m, LANCZOS_STEPS)
    basis = torch.empty(steps, m, dtype=operator.dtype, device=operator.device)
    diagonal, off = np.zeros(steps), np.zeros(steps)
    tolerance = max(LANCZOS_TOLERANCE, 10 * torch.finfo(operator.dtype).eps)
    top = residual = 0.0
    for k in range(steps):
        basis[k] = v
        image = operator.apply(operator.adjoint(v))
        diagonal[k] = float(v @ image)
        known = basis[: k + 1]
        for _ in range(2):  # twice is enough
            image = image - (known @ image) @ known
        off[k] = float(image.norm())
        values, vectors = eigh_tridiagonal(diagonal[: k + 1], off[:k])
        top, residual = float(values[-1]), off[k] * abs(float(vectors[-1, -1]))
        if residual <= tolerance * top:
            return math.sqrt(top)
        v = image / off[k]
    return math.sqrt(top + (residual if steps < m else 0.0))
