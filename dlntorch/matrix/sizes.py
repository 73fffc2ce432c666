"""Bounds of spectral norms that cost matrix products only, and are renewed when the matrices have moved enough."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["LayerSizes", "spectral_bounds"]

#: A bound is renewed where its matrix has drifted by more than this share of it.
LARGEST_DRIFT = 0.05


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
    """Bounds of ‖U_j‖₂ and of ‖G‖₂ along a descent: those of a reference point, widened by how far it has been left since.

    Args:
        layers: Where the descent starts.
        symmetric: Whether only the symmetric part of G counts.

    Attributes:
        upper, lower: Shape (N, B).
    """

    def __init__(self, layers: Sequence[Tensor], symmetric: bool = False) -> None:
        N, B = len(layers), layers[0].shape[0]
        self._symmetric = symmetric
        self._G = layers[0].new_zeros(0)
        self._G_upper = layers[0].new_zeros(B)
        self._upper, self._lower, self._drift = layers[0].new_zeros(3, N, B)
        self._allowed = layers[0].new_zeros(B)
        self._renew(torch.ones(B, dtype=torch.bool, device=layers[0].device), layers)

    def _renew(self, which: Tensor, layers: Sequence[Tensor]) -> None:
        """Compute the bounds of some networks at these layers."""
        bounds = [spectral_bounds(layer[which]) for layer in layers]
        self._upper[:, which] = torch.stack([upper for upper, _ in bounds])
        self._lower[:, which] = torch.stack([lower for _, lower in bounds])
        self._drift[:, which] = 0.0
        self._allowed[which] = LARGEST_DRIFT * self._lower[:, which].amax(0)
        self.upper, self.lower = self._upper + self._drift, self._lower - self._drift

    def moved(self, lengths: Tensor, layers: Sequence[Tensor]) -> None:
        """The layers are now at ``layers``, having moved by ``lengths`` (N, B) in the Frobenius norm."""
        self._drift += lengths
        far = (self._drift > self._allowed).any(0)
        if bool(far.any()):
            self._renew(far, layers)
        else:
            self.upper, self.lower = self._upper + self._drift, self._lower - self._drift

    def dual_norm(self, G: Tensor) -> Tensor:
        """An upper bound of ‖G‖₂, shape (B,)."""
        if not self._G.numel():
            self._G = torch.zeros_like(G)
        drift = torch.linalg.vector_norm(G - self._G, dim=(-2, -1))
        far = ~(drift <= LARGEST_DRIFT * self._G_upper)
        if bool(far.any()):
            self._G = torch.where(far[:, None, None], G, self._G)
            counts = 0.5 * (G + G.mT) if self._symmetric else G
            self._G_upper = torch.where(far, spectral_bounds(counts)[0], self._G_upper)
            drift = torch.where(far, 0.0, drift)
        return self._G_upper + drift

    def state_dict(self) -> dict[str, Tensor]:
        """All bounds and what they belong to."""
        return {name: getattr(self, name).clone() for name in _SAVED}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from saved bounds."""
        for name in _SAVED:
            setattr(self, name, state[name].clone())


_SAVED = ("_upper", "_lower", "_drift", "_allowed", "upper", "lower", "_G", "_G_upper")
