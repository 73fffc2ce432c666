"""A's columns spread over processes: Aψ is one all_reduce of an m-vector, Aᵀr needs none."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from dlntorch.numerics.validation import InputError
from dlntorch.problem.operators.base import DenseOperator, Operator
from dlntorch.problem.operators.sparse import SparseOperator

__all__ = ["ColumnShard", "can_be_split", "column_block"]


class ColumnShard(Operator):
    """The columns of A that one process holds; the others of the default process group hold the rest.

    Every product with A, every maximum and every sum is a collective call: all processes make the same ones.

    Args:
        local: The operator of this process's columns.
        first: The number of the first of them.
        every: How many columns A has.
        spectral_norm: ‖A‖₂ of the whole A, where the step rule uses it.
    """

    kind = "column shard"

    def __init__(self, local: Operator, first: int, every: int, spectral_norm: float) -> None:
        super().__init__(local.shape, local.dtype, local.device)
        self.local, self.first, self.every = local, first, every
        self.whole_norm = spectral_norm

    def apply(self, x: Tensor) -> Tensor:
        image = self.local.apply(x).contiguous()
        dist.all_reduce(image)
        return image

    def adjoint(self, r: Tensor) -> Tensor:
        return self.local.adjoint(r)

    def to(self, device: torch.device, dtype: torch.dtype) -> Operator:
        return ColumnShard(self.local.to(device, dtype), self.first, self.every, self.whole_norm)

    def rows(self, chosen: Tensor, factor: float = 1.0) -> Operator:
        return ColumnShard(self.local.rows(chosen, factor), self.first, self.every, self.whole_norm)

    def column_norms(self) -> Tensor:
        return self.local.column_norms()

    def maximum(self, values: Tensor) -> Tensor:
        found = torch.nan_to_num(
            values, nan=torch.inf, posinf=torch.inf, neginf=-torch.inf
        )  # max drops what is not a number
        dist.all_reduce(found, op=dist.ReduceOp.MAX)
        return found

    def total(self, values: Tensor) -> Tensor:
        found = values.clone()
        dist.all_reduce(found)
        return found

    @property
    def columns(self) -> tuple[int, int, int]:
        return self.first, self.first + self.shape[1], self.every

    @property
    def spectral_norm(self) -> float:  # type: ignore[override]
        """‖A‖₂ of the whole A."""
        return self.whole_norm


def can_be_split(operator: Operator) -> bool:
    """Whether the operator's columns can be had apart."""
    return isinstance(operator, DenseOperator | SparseOperator)


def column_block(operator: Operator, first: int, end: int) -> Operator:
    """The operator of the columns ``first … end − 1``.

    Raises:
        InputError: for a transform, or a user's own products, whose columns cannot be had apart.
    """
    if isinstance(operator, DenseOperator):
        return DenseOperator(operator.A[:, first:end].contiguous())
    if isinstance(operator, SparseOperator):
        return SparseOperator(operator.matrix[:, first:end], operator.dtype, operator.device)
    raise InputError(f"trainer.shards must be 1 with an A whose columns cannot be had apart, got a {operator!r}")
