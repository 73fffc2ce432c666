"""Matrix factorizations as neural networks: X = U_N…U_1, UUᵀ, UUᵀ − VVᵀ."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dlntorch.matrix.factorization import KINDS, make_kind
from dlntorch.numerics.validation import (
    InputError,
    check_choice,
    check_count,
    check_device,
    check_dtype,
    check_unmasked,
)

__all__ = ["STARTS", "MatrixFactorization"]

#: Of all layers together: 4 GiB in float64.
MOST_ENTRIES = 2**29
STARTS = ("zero_last", "balanced", "orthogonal", "gaussian")


class MatrixFactorization(nn.Module):
    """A matrix as a network of layers.

    * ``product``: X = U_N…U_1, N = ``layers`` matrices through ``width`` hidden units.
    * ``psd``: X = UUᵀ, positive semidefinite, from U = αI.
    * ``difference``: X = UUᵀ − VVᵀ, symmetric, from U = V = αI.

    Where the measurements commute the gradient flow is that of a vector network on the eigenvalues, exactly: ``psd`` is
    ``Nonnegative(2)``, ``difference`` is ``Power(2)``, ``product`` from ``zero_last`` is ``Product(N)``, and from
    ``balanced`` it is ``Nonnegative(N)`` N times as slow.

    Args:
        shape: (d1, d2) of X; d1 = d2 for ``psd`` and ``difference``.
        layers: N, from 2 to 1000; the other kinds have two equal layers in each term, so 2.
        alpha: Scale α > 0 of the start, or one for each network of a batch, shape (B,).
        kind: ``product``, ``psd`` or ``difference``.
        width: Hidden units; None: min(d1, d2), with which every X can be had.
        start: Of ``product``: ``zero_last`` (U_1 = … = U_{N−1} = αI, U_N = 0, so that X starts at 0), ``balanced``
            (all αI), ``orthogonal`` (α times random orthogonal layers, balanced too), or ``gaussian`` (entries of variance
            α²/width). The other kinds take ``balanced``, which is what None means there, and ``gaussian``. I stands for the
            rectangular identity. Or the layers themselves, U_1 first.
        batch: B networks side by side, each drawn with its own seed; None: as many as ``alpha`` has.
        seed: Of ``orthogonal`` and ``gaussian``.
        dtype, device: float64 (default) or float32; where the layers live.

    Raises:
        InputError: naming the argument.

    Example:
        >>> network = MatrixFactorization((2, 2), 2, 0.1, kind="psd")
        >>> network().tolist()
        [[0.010000000000000002, 0.0], [0.0, 0.010000000000000002]]
    """

    def __init__(
        self,
        shape: Any,
        layers: Any,
        alpha: Any,
        kind: str = "product",
        *,
        width: Any = None,
        start: Any = None,
        batch: Any = None,
        seed: Any = 0,
        dtype: Any = None,
        device: Any = None,
    ) -> None:
        super().__init__()
        self.shape = _shape(shape)
        count = check_count("layers", layers, at_least=2, at_most=1000)
        check_choice("kind", kind, KINDS)
        if kind != "product" and count != 2:
            raise InputError(f"layers must be 2 with kind={kind}, got {count}")
        if kind != "product" and self.shape[0] != self.shape[1]:
            raise InputError(f"shape must be square with kind={kind}, got {self.shape}")
        self.width = min(self.shape) if width is None else check_count("width", width)
        self.kind = make_kind(kind, count)
        self.alpha = _alphas(alpha)
        many = self.alpha.numel() if self.alpha.ndim else None
        size = check_count("batch", batch) if batch is not None else many
        if many is not None and size != many:
            raise InputError(f"batch must be the number of alphas, {many}, got {size}")
        self.batch: tuple[int, ...] = () if size is None else (size,)
        entries = (size or 1) * self.width * (sum(self.shape) + (count - 2) * self.width)
        if entries > MOST_ENTRIES:
            raise InputError(f"layers must have at most {MOST_ENTRIES} entries together, got about {entries}")
        shapes = self.kind.shapes(self.shape, self.width)
        values = self._start(start, shapes, check_count("seed", seed, at_least=0))
        kind_of, place = check_dtype(dtype), check_device(device)
        self.layers = nn.ParameterList([nn.Parameter(v.to(place, kind_of)) for v in values])

    def _start(self, start: Any, shapes: list[tuple[int, int]], seed: int) -> list[Tensor]:
        if start is not None and not isinstance(start, str):
            return _given(start, shapes, self.batch)
        product = self.kind.name == "product"
        name = start or ("zero_last" if product else "balanced")
        check_choice("start", name, STARTS if product else ("balanced", "gaussian"))
        scale = self.alpha.reshape(-1, 1, 1) if self.batch else self.alpha
        rng = [np.random.default_rng([seed, b]) for b in range(self.batch[0] if self.batch else 1)]
        values = []
        for number, (h, w) in enumerate(shapes):
            if name == "zero_last" and number == len(shapes) - 1:
                unit = torch.zeros(h, w, dtype=torch.float64)
            elif name in ("zero_last", "balanced"):
                unit = torch.eye(h, w, dtype=torch.float64)
            else:
                drawn = torch.from_numpy(np.stack([r.standard_normal((h, w)) for r in rng]))
                unit = drawn / math.sqrt(self.width) if name == "gaussian" else _orthogonal(drawn)
                unit = unit if self.batch else unit[0]
            values.append((scale * unit.expand(*self.batch, h, w)).clone())
        return values

    def forward(self, measurements: Tensor | None = None) -> Tensor:
        """X, shape (d1, d2), or (B, d1, d2); of A_j, shape (k, d1, d2), the predictions ⟨A_j, X⟩, shape (k,) or (B, k)."""
        X = self.kind.value(list(self.layers))
        return X if measurements is None else X.flatten(-2) @ measurements.flatten(-2).mT

    @property
    def X(self) -> Tensor:
        """X without a gradient."""
        with torch.no_grad():
            return self.forward()

    @property
    def imbalance(self) -> Tensor:
        """The largest of ‖U_jU_jᵀ − U_{j+1}ᵀU_{j+1}‖_F, which the flow keeps, for ``product``; 0 for the other kinds."""
        layers = [layer.detach() for layer in self.layers]
        if self.kind.name != "product":
            return torch.zeros(self.batch, dtype=layers[0].dtype)
        pairs = itertools.pairwise(layers)
        return torch.stack([torch.linalg.matrix_norm(a @ a.mT - b.mT @ b) for a, b in pairs]).amax(0)

    def __repr__(self) -> str:
        return (
            f"MatrixFactorization(shape={self.shape}, layers={len(self.layers) if self.kind.name == 'product' else 2}, "
            f"kind={self.kind.name}, width={self.width})"
        )


def _orthogonal(drawn: Tensor) -> Tensor:
    """Orthonormal rows or columns, whichever are fewer, uniformly distributed."""
    tall = drawn if drawn.shape[-2] >= drawn.shape[-1] else drawn.mT
    Q, R = torch.linalg.qr(tall)
    Q = Q * torch.diagonal(R, dim1=-2, dim2=-1).sign().unsqueeze(-2)
    return Q if drawn.shape[-2] >= drawn.shape[-1] else Q.mT


def _shape(shape: Any) -> tuple[int, int]:
    if not isinstance(shape, list | tuple | torch.Size) or len(shape) != 2:
        raise InputError(f"shape must be two counts (d1, d2), got {shape!r}")
    return check_count("shape[0]", shape[0]), check_count("shape[1]", shape[1])


def _alphas(alpha: Any) -> Tensor:
    check_unmasked("alpha", alpha)
    try:
        values = torch.as_tensor(alpha, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"alpha must be a number > 0 or a sequence of them, got {type(alpha).__name__}") from None
    if values.ndim > 1 or values.numel() == 0 or not bool((torch.isfinite(values) & (values > 0)).all()):
        raise InputError(f"alpha must be finite and > 0, a number or a sequence of them, got {alpha!r}")
    return values.detach().clone()


def _given(start: Any, shapes: list[tuple[int, int]], batch: tuple[int, ...]) -> list[Tensor]:
    """The layers that a user passes."""
    if not isinstance(start, Sequence) or len(start) != len(shapes):
        raise InputError(
            f"start must be one of {', '.join(STARTS)}, or {len(shapes)} layers, got {type(start).__name__}"
        )
    found = []
    for number, (value, shape) in enumerate(zip(start, shapes, strict=True)):
        layer = torch.as_tensor(
            np.array(value.detach().cpu().numpy() if isinstance(value, Tensor) else value, dtype=np.float64)
        )
        if tuple(layer.shape) not in (shape, (*batch, *shape)):
            raise InputError(f"start[{number}] must have shape {(*batch, *shape)}, got {tuple(layer.shape)}")
        if not bool(torch.isfinite(layer).all()):
            raise InputError(f"start[{number}] must be finite")
        found.append(layer.expand(*batch, *shape).clone())
    return found
