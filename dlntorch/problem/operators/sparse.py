"""A sparse matrix: SciPy's compressed rows on the CPU, torch's on a GPU."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.numerics.validation import InputError, check_real
from dlntorch.problem.operators.base import Operator

__all__ = ["SparseOperator"]


class SparseOperator(Operator):
    """A sparse matrix (m, n) in compressed rows.

    Args:
        matrix: A ``scipy.sparse`` matrix or array of any format, or a torch tensor of layout ``sparse_csr``; real and
            finite. It is copied, entries given twice are added.
        dtype: float64 or float32.
        device: Where its vectors live.
    """

    kind = "sparse"

    def __init__(self, matrix: Any, dtype: torch.dtype = torch.float64, device: torch.device | None = None) -> None:
        from scipy import sparse

        check_real("A", matrix)
        if isinstance(matrix, Tensor):
            if matrix.layout != torch.sparse_csr or matrix.ndim != 2:
                raise InputError(f"A must be a real sparse_csr matrix, got {matrix.dtype} with layout {matrix.layout}")
            parts = (matrix.values(), matrix.col_indices(), matrix.crow_indices())
            matrix = sparse.csr_array(tuple(t.detach().cpu().numpy() for t in parts), shape=tuple(matrix.shape))
        if matrix.ndim != 2 or matrix.dtype.kind not in "fiub":
            raise InputError(f"A must be a real matrix (m, n), got dtype {matrix.dtype} and shape {matrix.shape}")
        kind = np.float64 if dtype == torch.float64 else np.float32
        self.matrix = sparse.csr_array(matrix, dtype=kind, copy=True)
        self.matrix.sum_duplicates()
        if not np.all(np.isfinite(self.matrix.data)):
            raise InputError("A must be finite, got a sparse matrix with entries that are not")
        m, n = matrix.shape
        self._transposed = self.matrix.T  # the same entries, read as compressed columns
        super().__init__((m, n), dtype, device or torch.device("cpu"))

    @cached_property
    def _on_device(self) -> tuple[Tensor, Tensor]:
        """A and Aᵀ as torch tensors, for a GPU."""
        return self._torch(self.matrix), self._torch(self.matrix.T.tocsr())

    def _torch(self, matrix: Any) -> Tensor:
        parts = [torch.from_numpy(a.copy()) for a in (matrix.indptr, matrix.indices, matrix.data)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "Sparse CSR tensor support is in beta state"
            return torch.sparse_csr_tensor(*parts, size=matrix.shape).to(self.device)

    def apply(self, x: Tensor) -> Tensor:
        return self._product(x, 0)

    def adjoint(self, r: Tensor) -> Tensor:
        return self._product(r, 1)

    def _product(self, x: Tensor, transposed: int) -> Tensor:
        flat = x.detach().reshape(-1, x.shape[-1])
        if self.device.type == "cpu":
            matrix = self._transposed if transposed else self.matrix
            image = torch.from_numpy(np.ascontiguousarray((matrix @ flat.numpy().T).T))
        else:
            image = (self._on_device[transposed] @ flat.mT).mT
        return image.reshape(*x.shape[:-1], self.shape[transposed])

    def to(self, device: torch.device, dtype: torch.dtype) -> Operator:
        return self if (device, dtype) == (self.device, self.dtype) else SparseOperator(self.matrix, dtype, device)

    def arrays(self) -> dict[str, np.ndarray]:
        shape = np.array(self.shape, dtype=np.int64)
        parts = {"data": self.matrix.data, "indices": self.matrix.indices, "indptr": self.matrix.indptr, "shape": shape}
        return {f"csr_{name}": value for name, value in parts.items()}

    def column_norms(self) -> Tensor:
        squares = np.bincount(self.matrix.indices, weights=self.matrix.data**2, minlength=self.shape[1])
        return torch.from_numpy(np.sqrt(squares)).to(device=self.device, dtype=self.dtype)

    def rows(self, chosen: Tensor, factor: float = 1.0) -> Operator:
        return SparseOperator(factor * self.matrix[chosen.cpu().numpy()], self.dtype, self.device)

    def to_dense(self) -> Tensor:
        return torch.from_numpy(self.matrix.toarray()).to(self.device)
