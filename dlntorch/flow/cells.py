"""Cells: the points of n curves Ψ(ν), moved by steps in ν without cancellation, as the stiff integrator needs them.

A cell answers what ψ changes by over a step (``change``, exact to relative accuracy of the change), how fast
(``slope``, D = dψ/dν), on which scale of ν the curve bends (``rate``), and moves its point (``move``).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import torch

from dlntorch.flow.cell_kernels import EXPONENTIAL, GENERAL, change_one_side, move_one_side
from dlntorch.model import Nonnegative, Parametrization, Power, Product

__all__ = ["Cell", "make_cell"]

#: Up to this ratio of |ψ| to its larger side their difference has lost a digit, and the sum of the changes is taken.
_CANCELS = 0.1


class Cell(ABC):
    """The point of every coordinate on its curve, at the start of a step.

    Attributes:
        psi: ψ there, shape (n,).
        bends: Whether ``rate`` changes along the curve.
    """

    psi: np.ndarray
    bends = True

    @abstractmethod
    def change(self, steps: np.ndarray) -> np.ndarray:
        """Ψ(ν + step) − Ψ(ν) for steps (k, n), shape (k, n); infinite or not a number beyond the curve's end."""

    @abstractmethod
    def slope(self, step: np.ndarray | None = None) -> np.ndarray:
        """D = dψ/dν at ν + step (at ν without one), shape (n,)."""

    @abstractmethod
    def rate(self) -> np.ndarray:
        """The part of D that changes per unit of ν, up to a factor, shape (n,): 1/rate is a step of order one."""

    @abstractmethod
    def sensitivity(self, size: float) -> np.ndarray:
        """max D(ψ)/|ψ| over |ψ| up to ``size``, up to a factor, shape (n,): what a change of ν can do to ψ."""

    @abstractmethod
    def move(self, step: np.ndarray) -> None:
        """Make ν + step the point."""

    @abstractmethod
    def theta(self, step: np.ndarray) -> np.ndarray:
        """θ at ν + step, shape (width, n)."""


class TwoSided(Cell):
    """ψ = f₊ − f₋ with f± = f±(0)(1 ∓ c±ν)^{−k}, or f±(0)e^{±cν}: depth p, the one-sided ψ = θ^p, two layers.

    Args:
        start: The roots of f± at ν = 0 that θ is, shape (1 or 2, n), positive.
        p: f = unit·start^p.
        unit: A factor of f.
    """

    def __init__(self, start: np.ndarray, p: float, unit: float = 1.0, growth: float | None = None) -> None:
        self.start, self.p, self.unit = start, p, unit
        self.signs = (1.0, -1.0)[: len(start)]
        self.bends = p > 2
        self.k = p / (p - 2) if p > 2 else math.inf
        with np.errstate(under="ignore"):
            self.log_f0 = p * np.log(start) + math.log(unit)
            self.f0 = unit * start**p
            self.c = p * (p - 2) * start ** (p - 2) if p > 2 else np.full_like(start, 4.0 if growth is None else growth)
        self.kind = EXPONENTIAL if p == 2 else GENERAL
        if self.k in (2.0, 3.0) and self.f0.min() > 1e-290:
            self.kind = int(self.k)
        self.u, self.f, self.log_f = np.ones_like(start), self.f0.copy(), self.log_f0.copy()
        self.psi = self._difference()

    def _sides(self):
        return enumerate(self.signs)

    def _difference(self) -> np.ndarray:
        return self.f[0] - self.f[1] if len(self.f) == 2 else self.f[0].copy()

    def change(self, steps: np.ndarray) -> np.ndarray:
        out = np.zeros_like(steps)
        for j, sign in self._sides():
            change_one_side(self.kind, self.k, self.c[j], sign, self.u[j], self.f[j], self.log_f[j], steps, out)
        return out

    def _moved(self, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """u and f at ν + step, (sides, n) each."""
        u, f, log_f = self.u.copy(), self.f.copy(), self.log_f.copy()
        for j, sign in self._sides():
            move_one_side(
                self.kind, self.k, self.c[j], sign, u[j], f[j], log_f[j], self.f0[j], self.log_f0[j], step
            )
        return u, f

    def slope(self, step: np.ndarray | None = None) -> np.ndarray:
        u, f = (self.u, self.f) if step is None else self._moved(step)
        return (self._growth(u) * f).sum(axis=0)

    def _growth(self, u: np.ndarray) -> np.ndarray:
        """d ln f/dν of both sides."""
        return self.c if self.p == 2 else self.k * self.c / u

    def rate(self) -> np.ndarray:
        return self._growth(self.u).max(axis=0)

    def sensitivity(self, size: float) -> np.ndarray:
        log_size = math.log(size) if size > 0 else -math.inf
        # D = Σ growth·f, and growth ∝ f^{1 − 2/p}; f is at most size + f₀
        log_f = np.logaddexp(log_size, self.log_f0)
        log_growth = np.log(self.c if self.p == 2 else self.k * self.c) + (1 - 2 / self.p) * (log_f - self.log_f0)
        with np.errstate(over="ignore"):
            return np.exp((log_growth + log_f - log_size).max(axis=0))

    def move(self, step: np.ndarray) -> None:
        change = self.change(step[None])[0]
        self.u, self.f = self._moved(step)
        with np.errstate(divide="ignore"):
            self.log_f = self.log_f0 - (self.u - 1 if self.p == 2 else self.k * np.log(self.u))
        self.psi = self._value(self.f, self.psi + change)

    def _value(self, f: np.ndarray, summed: np.ndarray) -> np.ndarray:
        if len(f) == 1:
            return f[0].copy()
        difference = f[0] - f[1]
        return np.where(np.abs(difference) < _CANCELS * f.max(axis=0), summed, difference)

    def theta(self, step: np.ndarray) -> np.ndarray:
        u, _ = self._moved(step)
        return self.start * (np.exp((1 - u) / 2) if self.p == 2 else u ** (-1 / (self.p - 2)))


def make_cell(parametrization: Parametrization, start: torch.Tensor) -> Cell:
    """The cell of a parametrization from θ(0) = ``start`` (width, n)."""
    theta = np.ascontiguousarray(start.detach().cpu().numpy(), dtype=np.float64)
    if isinstance(parametrization, Power | Nonnegative):
        return TwoSided(theta, parametrization.p)
    raise NotImplementedError
