"""The generic mirror: any parametrization's curve, from its value and slope alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dlntorch.model.curve_table import CurveTable
from dlntorch.model.mirror import Mirror
from dlntorch.model.parametrization import Parametrization

__all__ = ["CurveMirror"]


class CurveMirror(Mirror):
    """Ψ, Ψ⁻¹, D, Q and Q* of a parametrization by tables along the curve Θ(ν), accurate to about 1e-12.

    Coordinates of equal start share a table; tables grow as they are asked for. Arguments as of :class:`Mirror`.
    """

    def __init__(self, parametrization: Parametrization, start: Tensor) -> None:
        super().__init__(parametrization, start)
        columns, which = np.unique(self.start.numpy(), axis=1, return_inverse=True)
        self._which = np.asarray(which).reshape(-1)
        self._tables = [CurveTable(parametrization, column) for column in columns.T.copy()]

    def theta(self, psi: Tensor) -> Tensor:
        return torch.from_numpy(self._rows(psi)[:-2].copy())

    def nu(self, psi: Tensor) -> Tensor:
        return torch.from_numpy(self._rows(psi)[-2].copy())

    def potential(self, psi: Tensor) -> Tensor:
        return torch.from_numpy(self._rows(psi)[-1].copy())

    def psi(self, nu: Tensor) -> Tensor:
        out = np.empty(nu.numel())
        for mine, table in self._groups():
            out[mine] = table.psi_of_nu(nu.numpy()[mine])
        return torch.from_numpy(out)

    def difference(self, before: Tensor, after: Tensor) -> Tensor:
        out = np.empty(before.numel())
        for mine, table in self._groups():
            out[mine] = table.nu_difference(before.numpy()[mine], after.numpy()[mine])
        return torch.from_numpy(out)

    def after(self, psi: Tensor, step: Tensor) -> Tensor:
        out = np.empty(psi.numel())
        for mine, table in self._groups():
            out[mine] = table.psi_after(psi.numpy()[mine], step.numpy()[mine])
        return torch.from_numpy(out)

    def range(self) -> tuple[Tensor, Tensor]:
        above, below = (torch.tensor([table.end(side) for table in self._tables])[self._which] for side in (0, 1))
        return below.double(), above.double()

    def _rows(self, psi: Tensor) -> np.ndarray:
        """θ, ν and Q at ψ (n,): (width + 2, n)."""
        out = np.empty((self.parametrization.width + 2, psi.numel()))
        for mine, table in self._groups():
            out[:, mine] = table.rows(psi.numpy()[mine])
        return out

    def _groups(self) -> list[tuple[np.ndarray, CurveTable]]:
        return [(np.flatnonzero(self._which == number), table) for number, table in enumerate(self._tables)]
