"""Matrices that are only ever multiplied with: dense, sparse, fast transforms, a user's own, and blocks of rows."""

from __future__ import annotations

from dlntorch.operators.base import DenseOperator, FunctionOperator, Operator, check_adjoint
from dlntorch.operators.convert import as_operator, operator_from_arrays
from dlntorch.operators.sparse import SparseOperator
from dlntorch.operators.transforms import PartialCosine, PartialFourier

__all__ = [
    "DenseOperator",
    "FunctionOperator",
    "Operator",
    "PartialCosine",
    "PartialFourier",
    "SparseOperator",
    "as_operator",
    "check_adjoint",
    "operator_from_arrays",
]
