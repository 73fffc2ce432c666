"""Matrices that are only ever multiplied with: dense, sparse, fast transforms, a user's own, and blocks of rows."""

from __future__ import annotations

from dlntorch.problem.operators.base import DenseOperator, FunctionOperator, Operator, check_adjoint
from dlntorch.problem.operators.convert import as_operator, operator_from_arrays
from dlntorch.problem.operators.sparse import SparseOperator
from dlntorch.problem.operators.transforms import PartialCosine, PartialFourier

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
