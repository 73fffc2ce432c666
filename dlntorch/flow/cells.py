"""Cells in closed form: depth p, its one-sided kin, and products of two, three and four layers, from any start."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import numpy as np
import torch

from dlntorch.flow.cell import Cell
from dlntorch.flow.cell_kernels import (
    EXPONENTIAL,
    GENERAL,
    change_sides,
    move_sides,
    rate_of,
    sensitivity_of,
    slope_of,
)
from dlntorch.flow.curve_cell import CurveCell
from dlntorch.flow.records import Curves, Sides
from dlntorch.model import Entropy, Nonnegative, Parametrization, Power, Product

__all__ = ["Cell", "Exponential", "FourLayers", "ThreeLayers", "TwoLayers", "TwoSided", "WithPole", "make_cell"]


class TwoSided(Cell):
    """ψ = f₊ − f₋ with f± = f±(0)(1 ∓ c±ν)^{−k}, or f±(0)e^{±cν}: depth p, the one-sided ψ = θ^p.

    Args:
        start: θ±, shape (2, n), or θ₊ alone, (1, n): positive.
        curves: f± along ν.

    Attributes:
        curves: The same.
        sides: The point on them.
    """

    def __init__(self, start: np.ndarray, curves: Curves) -> None:
        self.start, self.curves = start, curves
        f, log_f = curves.start
        psi = f[0] - f[1] if len(f) == 2 else f[0].copy()
        self.sides = Sides(np.stack([np.ones_like(f), f, log_f]), psi)

    @property
    def psi(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
        """ψ at the point."""
        return self.sides.psi

    def change(self, steps: np.ndarray) -> np.ndarray:
        out = np.empty_like(steps)
        change_sides(self.curves, self.sides, np.ascontiguousarray(steps), out)
        return out

    def slope(self, step: np.ndarray | None = None) -> np.ndarray:
        out = np.empty_like(self.psi)
        inside = slope_of(self.curves, self.sides, np.zeros_like(out) if step is None else step, out)
        return out if inside else np.full_like(out, np.nan)

    def rate(self) -> np.ndarray:
        out = np.empty_like(self.psi)
        rate_of(self.curves, self.sides, out)
        return out

    def sensitivity(self, size: float) -> np.ndarray:
        out = np.empty_like(self.psi)
        sensitivity_of(self.curves, size, out)
        return out

    def move(self, step: np.ndarray) -> np.ndarray:
        change = self.change(step[None])[0]
        move_sides(self.curves, self.sides, step, change)
        return change

    def theta(self, steps: np.ndarray) -> np.ndarray:
        moved = self.curves.c * steps[:, None]
        moved[:, 1:] *= -1
        return self.theta_at(self.sides.of[0] - moved, self.psi + self.change(steps))

    @abstractmethod
    def theta_at(self, u: np.ndarray, psi: np.ndarray) -> np.ndarray:
        """θ (k, width, n) where the slacks are u (k, sides, n) and the values psi (k, n)."""

    def travelled(self) -> np.ndarray:
        return np.abs(1 - self.sides.of[0, 0]) / self.curves.c[0]


class WithPole(TwoSided):
    """f± = θ±^p with p > 2: k = p/(p − 2), c = p(p − 2)θ±(0)^{p−2}."""

    def __init__(self, start: np.ndarray, p: float) -> None:
        k = p / (p - 2)
        self._power = -1 / (p - 2)
        with np.errstate(under="ignore", divide="ignore"):
            f0, log_f0 = start**p, p * np.log(start)
            kind = int(k) if k in (2.0, 3.0) and f0.min() > 1e-290 else GENERAL
            super().__init__(start, Curves(kind, k, p * (p - 2) * start ** (p - 2), np.stack([f0, log_f0])))

    def theta_at(self, u: np.ndarray, psi: np.ndarray) -> np.ndarray:
        return self.start * u**self._power


class Exponential(TwoSided):
    """f± = unit·θ±² with d ln f±/dν = ±growth."""

    bends = False

    def __init__(self, start: np.ndarray, unit: float = 1.0, growth: float = 4.0) -> None:
        with np.errstate(under="ignore", divide="ignore"):
            f0, log_f0 = unit * start**2, 2 * np.log(start) + math.log(unit)
        super().__init__(start, Curves(EXPONENTIAL, math.inf, np.full_like(start, growth), np.stack([f0, log_f0])))

    def theta_at(self, u: np.ndarray, psi: np.ndarray) -> np.ndarray:
        return self.start * np.exp((1 - u) / 2)


class TwoLayers(Exponential):
    """ψ = u₁u₂ = ¼(u₁ + u₂)² − ¼(u₁ − u₂)², with (u₁ ± u₂)′ = ±(u₁ ± u₂)."""

    def __init__(self, start: np.ndarray) -> None:
        sums = np.stack([start[0] + start[1], start[0] - start[1]])
        self.signs = np.where(sums < 0, -1.0, 1.0)
        super().__init__(np.abs(sums), 0.25, 2.0)
        self.sides.psi[:] = start[0] * start[1]

    def theta_at(self, u: np.ndarray, psi: np.ndarray) -> np.ndarray:
        plus, minus = np.moveaxis(self.signs * super().theta_at(u, psi), 1, 0)
        first = 0.5 * (plus + minus)
        with np.errstate(divide="ignore", invalid="ignore"):
            last = np.where(np.abs(plus - minus) < 0.1 * np.abs(plus), psi / first, 0.5 * (plus - minus))
        return np.stack([first, last], axis=1)


class _Layers(Cell):
    """ψ = u^{L−1}q with u² = q² + κ: layers u₁ = … = u_{L−1} = u and u_L = q, q′ = u^{L−1}."""

    layers: int

    def __init__(self, start: np.ndarray) -> None:
        u, self.q = start[0], start[-1].copy()
        self.square = u * u  # u², which is not q² + κ where κ < 0 and u is small
        self.kappa = (u - self.q) * (u + self.q)
        self.psi = u ** (self.layers - 1) * self.q
        self._largest = np.maximum(u, np.abs(self.q))
        self._nu = np.zeros_like(u)

    def sensitivity(self, size: float) -> np.ndarray:
        largest = np.maximum(self._largest, size ** (1 / self.layers))
        with np.errstate(divide="ignore"):
            return np.where(size > 0, self.layers * largest ** (2 * self.layers - 2) / size, np.inf)

    def slope(self, step: np.ndarray | None = None) -> np.ndarray:
        square, q = (self.square, self.q) if step is None else self._moved(step)
        return square ** (self.layers - 2) * ((self.layers - 1) * q * q + square)

    def move(self, step: np.ndarray) -> np.ndarray:
        change = self.change(step[None])[0]
        self.square, self.q = self._moved(step)
        self.psi = self.psi + change
        self._nu = self._nu + step
        return change

    def theta(self, steps: np.ndarray) -> np.ndarray:
        square, q = self._moved(steps)
        return np.stack([np.sqrt(square)] * (self.layers - 1) + [q], axis=1)

    def travelled(self) -> np.ndarray:
        return np.abs(self._nu)

    @abstractmethod
    def _moved(self, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """u² and q at ν + step; not numbers beyond the curve's end."""


class ThreeLayers(_Layers):
    """L = 3: q′ = q² + κ, a Riccati equation: q moves by u²S/(1 − qS), S = tan(√κ δ)/√κ."""

    layers = 3

    def rate(self) -> np.ndarray:
        return 2 * np.maximum(np.abs(self.q), np.sqrt(self.square))

    def _tangent(self, step: np.ndarray) -> np.ndarray:
        root = np.sqrt(np.abs(self.kappa))
        angle = root * step
        with np.errstate(all="ignore"):
            circular = np.where(np.abs(angle) < math.pi / 2, np.tan(angle), np.nan)
            return np.where(root > 0, np.where(self.kappa > 0, circular, np.tanh(angle)) / root, step)

    def _shift(self, step: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """S, 1 − qS and the change of q."""
        S = self._tangent(step)
        left = 1 - self.q * S
        left = np.where(left > 0, left, np.nan)
        return S, left, self.square * S / left

    def change(self, steps: np.ndarray) -> np.ndarray:
        dq = self._shift(steps)[2]
        return dq * (self.square + 2 * self.q**2 + 3 * self.q * dq + dq * dq)

    def _moved(self, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        S, left, dq = self._shift(step)
        return self.square * (1 + self.kappa * S * S) / (left * left), self.q + dq


class FourLayers(_Layers):
    """L = 4: x = q/u moves by κδ, and 1/u² falls by (x² − x₀²)/κ."""

    layers = 4

    def rate(self) -> np.ndarray:
        u = np.sqrt(self.square)
        return 4 * u * np.maximum(np.abs(self.q), u)

    def _fall(self, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x, and the part that 1/u² falls by."""
        x = self.q / np.sqrt(self.square)
        moved = x + self.kappa * step
        fall = self.square * step * (x + moved)
        crossed = (self.kappa < 0) & (x * moved < 0)
        return x, np.where((fall < 1) & ~crossed, fall, np.nan)

    def change(self, steps: np.ndarray) -> np.ndarray:
        x, fall = self._fall(steps)
        return (self.square / (1 - fall)) ** 2 * (self.kappa * steps + x * fall * (2 - fall))

    def _moved(self, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, fall = self._fall(step)
        square = self.square / (1 - fall)
        # q = xu; where x has grown from another sign, q keeps its digits as a sum would not
        return square, (x + self.kappa * step) * np.sqrt(square)


def make_cell(parametrization: Parametrization, start: torch.Tensor) -> Cell:
    """The cell of a parametrization from θ(0) = ``start`` (width, n)."""
    theta = np.ascontiguousarray(start.detach().to("cpu", torch.float64).numpy())
    if type(parametrization) in (Power, Entropy, Nonnegative):
        power: Any = parametrization
        return WithPole(theta, power.p) if power.small_start.has_pole else Exponential(theta)
    if type(parametrization) is Product and bool((theta[:-1] == theta[0]).all()):
        closed = {2: TwoLayers, 3: ThreeLayers, 4: FourLayers}.get(parametrization.layers)
        if closed is not None:
            return closed(theta)
    return CurveCell(parametrization, start)
