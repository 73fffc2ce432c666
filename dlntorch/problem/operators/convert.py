"""From what users have to an operator, and from an operator's arrays in a file back to it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.numerics.validation import InputError
from dlntorch.problem.operators.base import DenseOperator, FunctionOperator, Operator
from dlntorch.problem.operators.sparse import SparseOperator
from dlntorch.problem.operators.transforms import PartialCosine, PartialFourier

__all__ = ["FILE_KEYS", "as_operator", "is_operator", "operator_from_arrays"]

_TRANSFORMS = {"cosine": PartialCosine, "fourier": PartialFourier}

#: The keys that a file has in place of ``A``, one tuple for each kind of operator.
FILE_KEYS = (
    ("csr_data", "csr_indices", "csr_indptr", "csr_shape"),
    *(tuple(f"{name}_{key}" for key in ("n", "frequencies", "scale")) for name in _TRANSFORMS),
)


def _is_sparse(A: Any) -> bool:
    """Whether A is a matrix of scipy.sparse, which is not imported here: whoever has one has imported it."""
    scipy_sparse = sys.modules.get("scipy.sparse")
    return scipy_sparse is not None and scipy_sparse.issparse(A)


def is_operator(A: Any) -> bool:
    """Whether A is known by its products or its nonzeros, not by a dense array."""
    if isinstance(A, Tensor):
        return A.layout == torch.sparse_csr
    return isinstance(A, Operator) or _is_sparse(A) or (hasattr(A, "matvec") and hasattr(A, "rmatvec"))


def as_operator(A: Any, dtype: torch.dtype = torch.float64, device: torch.device | None = None) -> Operator:
    """An operator from a dense tensor (not copied), a sparse matrix, an operator, or an object with the protocol.

    The protocol: ``shape`` (m, n), ``matvec(x)`` and ``rmatvec(r)`` on tensors (n,) and (m,), and ``column_norms``, an
    array (n,) or a function that returns one, where they are known. A ``scipy.sparse.linalg.LinearOperator`` is
    given NumPy arrays.
    """
    place = device or torch.device("cpu")
    if isinstance(A, Operator):
        return A if device is None else A.to(place, dtype)
    if _is_sparse(A) or (isinstance(A, Tensor) and A.layout == torch.sparse_csr):
        return SparseOperator(A, dtype, place)
    if isinstance(A, Tensor):
        return DenseOperator(A)
    shape = getattr(A, "shape", None)
    if shape is None or len(shape) != 2 or not all(int(size) >= 1 for size in shape):
        raise InputError(f"A must have a shape (m, n) beside matvec and rmatvec, got {shape!r}")
    if isinstance(A, getattr(sys.modules.get("scipy.sparse.linalg"), "LinearOperator", ())):
        product, transposed = _on_arrays(A.matvec), _on_arrays(A.rmatvec)
        return FunctionOperator(product, transposed, A.shape, dtype=dtype, device=place)
    norms = getattr(A, "column_norms", None)
    return FunctionOperator(A.matvec, A.rmatvec, shape, norms, dtype=dtype, device=place)


def _on_arrays(function: Any) -> Any:
    """A function of NumPy arrays as one of tensors."""
    return lambda x: torch.from_numpy(np.array(function(x.cpu().numpy())))


def operator_from_arrays(arrays: Mapping[str, np.ndarray]) -> Operator:
    """The operator whose :meth:`Operator.arrays` these are."""
    if "csr_data" in arrays:
        from scipy import sparse

        parts = tuple(arrays[f"csr_{name}"] for name in ("data", "indices", "indptr"))
        shape = tuple(int(size) for size in arrays["csr_shape"])
        matrix = sparse.csr_array(parts, shape=shape)
        matrix.check_format(full_check=True)
        return SparseOperator(matrix)
    for name, kind in _TRANSFORMS.items():
        if f"{name}_n" in arrays:
            n, frequencies, scale = (arrays[f"{name}_{key}"] for key in ("n", "frequencies", "scale"))
            return kind(int(n), frequencies, float(scale))
    return DenseOperator(torch.from_numpy(np.asarray(arrays["A"])))
