"""The cell of any parametrization, from its value and slope alone: every step is an integral along the curve.

Over a step δ in ν, Θ′ = ∇G(Θ) and ψ′ = D = ‖∇G(Θ)‖². Collocation at Gauss nodes, iterated (Picard) until it stands, gives
Θ, and ψ changes by the quadrature of D: a sum of positive numbers, which keeps the relative accuracy of the change.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.polynomial import legendre

from dlntorch.flow.cell import Cell
from dlntorch.model import Parametrization

__all__ = ["CurveCell"]

_NODES, _PICARD, _MARCH = 20, 40, 400
_TAIL = 1e-12  # the last two coefficients of ∇G over a step, relative to its largest: more is a step too long
_STAND = 4e-16
_POINTS, _WEIGHTS = legendre.leggauss(_NODES)
_VALUES = legendre.legvander(_POINTS, _NODES - 1)
_COEFFICIENTS = np.linalg.inv(_VALUES)
_INTEGRALS = np.stack([legendre.legval(_POINTS, legendre.legint(row, lbnd=-1)) for row in np.eye(_NODES)], axis=1) / 2
#: Values at the nodes to integrals from 0 to the nodes, in units of the step; and to the last two coefficients.
_TO_NODES, _TO_TAIL = torch.from_numpy(_INTEGRALS @ _COEFFICIENTS), torch.from_numpy(_COEFFICIENTS[-2:])
_TO_END = torch.from_numpy(_WEIGHTS / 2)


class CurveCell(Cell):
    """A point θ (width, n) on the curves of a parametrization.

    Args:
        parametrization: G.
        start: θ(0), shape (width, n).
    """

    def __init__(self, parametrization: Parametrization, start: torch.Tensor) -> None:
        self.parametrization = parametrization
        self.start = self._theta = start.detach().to("cpu", torch.float64)
        self.psi = parametrization.value(self._theta).detach().numpy().copy()
        self._nu = np.zeros_like(self.psi)

    def change(self, steps: np.ndarray) -> np.ndarray:
        theta = self._theta.repeat(1, len(steps))
        return self._along(theta, torch.from_numpy(steps.reshape(-1)))[1].numpy().reshape(steps.shape)

    def _along(self, theta: torch.Tensor, step: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """θ after steps (k,) from points (width, k), and the change of ψ; not numbers where the step is too long."""
        width, count = theta.shape
        points = theta[:, None].expand(width, _NODES, count)
        slope = self._slope(points)
        moved, before = torch.full_like(step, torch.inf), torch.full_like(step, torch.inf)
        for _ in range(_PICARD):
            new = theta[:, None] + step * (_TO_NODES @ slope)
            size = new.abs().amax(dim=(0, 1)).clamp_min(1e-300)
            moved = (new - points).abs().amax(dim=(0, 1)) / size
            points, slope = new, self._slope(new)
            stands = (moved <= _STAND) | ((moved < 1e-13) & (moved >= 0.5 * before)) | ~moved.isfinite()
            if bool(stands.all()):
                break
            before = moved
        largest = slope.abs().amax(dim=(0, 1))
        rough = (_TO_TAIL @ slope).abs().amax(dim=(0, 1)) > _TAIL * largest
        good = (moved < 1e-12) & ~rough & largest.isfinite()
        after = theta + step * (_TO_END @ slope)
        change = step * (_TO_END @ (slope * slope).sum(dim=0))
        return torch.where(good, after, torch.nan), torch.where(good, change, torch.nan)

    def _slope(self, points: torch.Tensor) -> torch.Tensor:
        """∇G at points (width, nodes, k)."""
        flat = points.reshape(len(points), -1)
        return self.parametrization.slope(flat).detach().reshape(points.shape)

    def _after(self, step: np.ndarray | None) -> torch.Tensor:
        return self._theta if step is None else self._along(self._theta, torch.from_numpy(step))[0]

    def slope(self, step: np.ndarray | None = None) -> np.ndarray:
        slope = self.parametrization.slope(self._after(step)).detach()
        return (slope * slope).sum(dim=0).numpy()

    def rate(self) -> np.ndarray:
        return self._bend(self._theta).numpy()

    def _bend(self, theta: torch.Tensor) -> torch.Tensor:
        """2‖∇²G‖, which bounds |d ln D/dν|, shape (k,)."""
        bend = self.parametrization.curvature(theta).detach()
        return 2 * torch.linalg.matrix_norm(bend.movedim(-1, 0), ord="fro")

    def sensitivity(self, size: float) -> np.ndarray:
        """The largest D on the way to ψ = ±size, by a march along the curves from their start."""
        if size <= 0:
            return np.zeros_like(self.psi)
        largest = torch.zeros(len(self.psi), dtype=torch.float64)
        for sign in (1.0, -1.0):
            theta, psi = self.start, self.parametrization.value(self.start).detach()
            going = torch.ones_like(largest, dtype=torch.bool)
            for _ in range(_MARCH):
                slope = self.parametrization.slope(theta).detach()
                D = (slope * slope).sum(dim=0)
                largest = torch.where(going, torch.maximum(largest, D.nan_to_num()), largest)
                going = going & (psi.abs() < size)
                if not bool(going.any()):
                    break
                bend = self._bend(theta)
                length = torch.minimum(0.4 / bend, (size + psi.abs()) / D)
                ahead, change = self._along(theta, sign * length.nan_to_num(posinf=0.0))
                going = going & change.isfinite()
                theta, psi = torch.where(going, ahead, theta), torch.where(going, psi + change, psi)
        return largest.numpy() / size

    def move(self, step: np.ndarray) -> np.ndarray:
        self._theta, moved = self._along(self._theta, torch.from_numpy(step))
        change = moved.numpy()
        self.psi = self.psi + change
        self._nu = self._nu + step
        return change

    def theta(self, steps: np.ndarray) -> np.ndarray:
        after = self._along(self._theta.repeat(1, len(steps)), torch.from_numpy(steps.reshape(-1)))[0]
        return np.moveaxis(after.numpy().reshape(-1, *steps.shape), 0, 1)

    def travelled(self) -> np.ndarray:
        return np.abs(self._nu)
