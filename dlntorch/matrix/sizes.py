"""Bounds of spectral norms that cost matrix products only, and are renewed when the matrices have moved enough."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["LayerSizes", "spectral_bound", "spectral_bounds"]

#: The bounds of a layer are renewed where its drift is more than this share of it.
LARGEST_DRIFT = 0.05


def spectral_bound(M: Tensor) -> Tensor:
    """An upper bound of ‖M‖₂ within a factor rank^{1/4}: (tr (MᵀM)²)^{1/4}, shape (B,)."""
    size = M.abs().amax((-2, -1)).clamp_min(1e-300)
    scaled = M / size[:, None, None]
    gram = scaled.mT @ scaled if M.shape[-2] >= M.shape[-1] else scaled @ scaled.mT
    return size * torch.linalg.vector_norm(gram, dim=(-2, -1)).sqrt()


def spectral_bounds(M: Tensor) -> tuple[Tensor, Tensor]:
    """Upper and lower bounds of ‖M‖₂, shape (B,) each.

    With P = MᵀM scaled and v the largest column of P⁴: (tr P⁴)^{1/8} is above, within rank^{1/8}, and ‖Pv‖/‖v‖ below.
    """
    size = M.abs().amax((-2, -1)).clamp_min(1e-300)
    scaled = M / size[:, None, None]
    gram = scaled.mT @ scaled if M.shape[-2] >= M.shape[-1] else scaled @ scaled.mT
    square = gram @ gram
    upper = torch.linalg.vector_norm(square, dim=(-2, -1)) ** 0.25
    columns = torch.linalg.vector_norm(square, dim=-2)
    best = columns.argmax(-1)
    v = torch.take_along_dim(square, best[:, None, None], -1)
    length = torch.linalg.vector_norm(v, dim=(-2, -1)).clamp_min(1e-300)
    lower = (torch.linalg.vector_norm(gram @ v, dim=(-2, -1)) / length).sqrt()
    return size * upper, size * torch.minimum(lower, upper)


class LayerSizes:
    """Bounds of ‖U_j‖₂ along a descent: those of a reference point, widened by how far the layers have moved since.

    Attributes:
        upper, lower: Shape (N, B).
    """

    def __init__(self, layers: Sequence[Tensor]) -> None:
        self.renew(layers)

    def renew(self, layers: Sequence[Tensor]) -> None:
        """Compute the bounds at these layers."""
        bounds = [spectral_bounds(layer) for layer in layers]
        self._upper = torch.stack([upper for upper, _ in bounds])
        self._lower = torch.stack([lower for _, lower in bounds])
        self._allowed = LARGEST_DRIFT * self._lower.amax(0)
        self._drift = torch.zeros_like(self._upper)
        self.upper, self.lower = self._upper, self._lower

    def moved(self, lengths: Tensor, layers: Sequence[Tensor]) -> None:
        """The layers are now at ``layers``, having moved by ``lengths`` (N, B) in the Frobenius norm."""
        self._drift += lengths
        if bool((self._drift > self._allowed).any()):
            self.renew(layers)
        else:
            self.upper, self.lower = self._upper + self._drift, self._lower - self._drift
