"""How layers make a matrix: X = U_N…U_1, UUᵀ, UUᵀ − VVᵀ; their gradients by hand, and bounds for the length of a step.

G = Σ_j r_jA_j, r = y − 𝒜X, is minus the gradient of L in X. Layers have shape (B, h, w), B networks side by side.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from dlntorch.matrix.sizes import LayerSizes

__all__ = ["KINDS", "Difference", "Kind", "Positive", "ProductOfLayers", "make_kind"]

KINDS = ("product", "psd", "difference")


class Kind(ABC):
    """A map from layers to X."""

    name: str
    #: Whether X is symmetric by construction, so that only the symmetric part of G counts.
    symmetric: bool

    @abstractmethod
    def shapes(self, shape: tuple[int, int], width: int) -> list[tuple[int, int]]:
        """Of the layers, U_1 first."""

    @abstractmethod
    def value(self, layers: Sequence[Tensor]) -> Tensor:
        """X, shape (B, d1, d2)."""

    @abstractmethod
    def gradient(self, layers: Sequence[Tensor], G: Tensor) -> list[Tensor]:
        """−∂L/∂U_j, the direction in which the flow moves each layer; of layers that were given to :meth:`value` last."""

    def sizes(self, layers: Sequence[Tensor]) -> LayerSizes:
        """Bounds of the spectral norms of the layers, to be told where they move, and of G."""
        return LayerSizes(layers, self.symmetric)

    @abstractmethod
    def curvature(self, sizes: Tensor, operator: float, G_norm: Tensor) -> Tensor:
        """An upper bound of ‖∇²L‖₂, shape (B,), from upper bounds of ‖U_j‖₂ (N, B), of ‖𝒜‖ and of ‖G‖₂ (B,)."""

    @abstractmethod
    def relative(self, upper: Tensor, lower: Tensor, gradients: Tensor, G_norm: Tensor) -> Tensor:
        """An upper bound of the relative change of a layer per unit of η, in the spectral norm, shape (B,).

        Args:
            upper: Of ‖U_j‖₂, shape (N, B).
            lower: Likewise.
            gradients: ‖∂L/∂U_j‖_F, shape (N, B).
            G_norm: An upper bound of ‖G‖₂, shape (B,).
        """


class ProductOfLayers(Kind):
    """X = U_N…U_1.

    A step moves no layer by more than κ times the largest of their spectral norms (along a balanced flow they are equal).
    """

    name, symmetric = "product", False

    def __init__(self, layers: int) -> None:
        self.layers = layers
        self._partial: list[Tensor] = []

    def shapes(self, shape: tuple[int, int], width: int) -> list[tuple[int, int]]:
        return [(width, shape[1]), *[(width, width)] * (self.layers - 2), (shape[0], width)]

    def value(self, layers: Sequence[Tensor]) -> Tensor:
        partial = [layers[0]]
        for layer in layers[1:]:
            partial.append(torch.matmul(layer, partial[-1]))
        self._partial = partial
        return partial[-1]

    def gradient(self, layers: Sequence[Tensor], G: Tensor) -> list[Tensor]:
        """U_{j+1}ᵀ…U_Nᵀ G U_1ᵀ…U_{j−1}ᵀ, from the top down."""
        found, back = [], G
        for j in range(self.layers - 1, 0, -1):
            found.append(torch.matmul(back, self._partial[j - 1].mT))
            back = torch.matmul(layers[j].mT, back)
        found.append(back)
        return found[::-1]

    def curvature(self, sizes: Tensor, operator: float, G_norm: Tensor) -> Tensor:
        """‖𝒜‖²Σπ_j² + ‖G‖ max_j Σ_{k≠j} π_jk with π the products of the norms of the other layers."""
        once, twice = _products_without(sizes)
        return operator**2 * once.square().sum(0) + G_norm * twice.sum(1).amax(0)

    def relative(self, upper: Tensor, lower: Tensor, gradients: Tensor, G_norm: Tensor) -> Tensor:
        once, _ = _products_without(upper)
        return (torch.minimum(gradients, once * G_norm) / lower.amax(0)).amax(0)


class Positive(Kind):
    """X = UUᵀ.

    A step multiplies U by I + 2ηG, so that it changes no direction by more than a factor 1 ± κ if 2η‖G‖₂ <= κ: the
    relative rule of the vector network, coordinate by coordinate, where the measurements commute.
    """

    name, symmetric = "psd", True

    def shapes(self, shape: tuple[int, int], width: int) -> list[tuple[int, int]]:
        return [(shape[0], width)]

    def value(self, layers: Sequence[Tensor]) -> Tensor:
        return layers[0] @ layers[0].mT

    def gradient(self, layers: Sequence[Tensor], G: Tensor) -> list[Tensor]:
        return [(G + G.mT) @ layers[0]]

    def curvature(self, sizes: Tensor, operator: float, G_norm: Tensor) -> Tensor:
        return 4 * operator**2 * sizes.square().sum(0) + 2 * G_norm

    def relative(self, upper: Tensor, lower: Tensor, gradients: Tensor, G_norm: Tensor) -> Tensor:
        return 2 * G_norm


class Difference(Positive):
    """X = UUᵀ − VVᵀ."""

    name = "difference"

    def shapes(self, shape: tuple[int, int], width: int) -> list[tuple[int, int]]:
        return [(shape[0], width), (shape[0], width)]

    def value(self, layers: Sequence[Tensor]) -> Tensor:
        return layers[0] @ layers[0].mT - layers[1] @ layers[1].mT

    def gradient(self, layers: Sequence[Tensor], G: Tensor) -> list[Tensor]:
        twice = G + G.mT
        return [twice @ layers[0], -(twice @ layers[1])]


def make_kind(name: str, layers: int) -> Kind:
    """The kind of that name."""
    return {"product": ProductOfLayers(layers), "psd": Positive(), "difference": Difference()}[name]


def _products_without(sizes: Tensor) -> tuple[Tensor, Tensor]:
    """π_j = Π_{i≠j} s_i, shape (N, B), and π_jk = Π_{i≠j,k} s_i with zero diagonal, shape (N, N, B)."""
    N = sizes.shape[0]
    keep = 1.0 - torch.eye(N, dtype=sizes.dtype, device=sizes.device)
    once = torch.where(keep[:, :, None] > 0, sizes[None], 1.0).prod(1)
    both = keep[:, None, :] * keep[None, :, :]
    twice = torch.where(both[..., None] > 0, sizes[None, None], 1.0).prod(2) * keep[:, :, None]
    return once, twice
