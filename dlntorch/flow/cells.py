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
from dlntorch.model import Entropy, Mirror, Nonnegative, Parametrization, Power, Product

__all__ = ["Cell", "MirrorCell", "ThreeLayers", "TwoSided", "make_cell"]

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
        """About |d ln D/dν|, shape (n,): 1/rate is a step over which the curve bends."""

    @abstractmethod
    def sensitivity(self, size: float) -> np.ndarray:
        """About the largest D(ψ)/size over |ψ| up to ``size``, shape (n,): what a change of ν may come to be in ψ."""

    @abstractmethod
    def move(self, step: np.ndarray) -> None:
        """Make ν + step the point."""

    @abstractmethod
    def theta(self, step: np.ndarray) -> np.ndarray:
        """θ at ν + step, shape (width, n)."""

    @abstractmethod
    def travelled(self) -> np.ndarray:
        """About |ν| from the start of the curve to the point, shape (n,): what its rounding errors are relative to."""


class TwoSided(Cell):
    """ψ = f₊ − f₋ with f± = f±(0)(1 ∓ c±ν)^{−k}, or f±(0)e^{±cν}: depth p, the one-sided ψ = θ^p.

    Args:
        start: θ±, shape (2, n), or θ₊ alone, (1, n): positive.
        p: f = unit·θ^p.
        unit: A factor of f.
        growth: d ln f/dν where p = 2.
    """

    def __init__(self, start: np.ndarray, p: float, unit: float = 1.0, growth: float = 4.0) -> None:
        self.start, self.p = start, p
        self.bends = p > 2
        self.k = p / (p - 2) if p > 2 else math.inf
        with np.errstate(under="ignore", divide="ignore"):
            self.log_f0 = p * np.log(start) + math.log(unit)
            self.f0 = unit * start**p
            self.c = p * (p - 2) * start ** (p - 2) if p > 2 else np.full_like(start, growth)
        self.kind = EXPONENTIAL if p == 2 else GENERAL
        if self.k in (2.0, 3.0) and self.f0.min() > 1e-290:
            self.kind = int(self.k)
        self.u, self.f, self.log_f = np.ones_like(start), self.f0.copy(), self.log_f0.copy()
        self.psi = self.f[0] - self.f[1] if len(start) == 2 else self.f[0].copy()

    def change(self, steps: np.ndarray) -> np.ndarray:
        out = np.zeros_like(steps)
        for side, sign in zip(range(len(self.c)), (1.0, -1.0), strict=False):
            change_one_side(
                self.kind, self.k, self.c[side], sign, self.u[side], self.f[side], self.log_f[side], steps, out
            )
        return out

    def _moved(self, step: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """u, f and log f at ν + step, (sides, n) each."""
        u, f, log_f = self.u.copy(), self.f.copy(), self.log_f.copy()
        for side, sign in zip(range(len(self.c)), (1.0, -1.0), strict=False):
            move_one_side(
                self.kind, self.k, self.c[side], sign, u[side], f[side], log_f[side], self.f0[side],
                self.log_f0[side], step,
            )  # fmt: skip
        return u, f, log_f

    def slope(self, step: np.ndarray | None = None) -> np.ndarray:
        u, f = (self.u, self.f) if step is None else self._moved(step)[:2]
        return (self._growth(u) * f).sum(axis=0)

    def _growth(self, u: np.ndarray) -> np.ndarray:
        """d ln f/dν of the sides."""
        return self.c if self.p == 2 else self.k * self.c / u

    def rate(self) -> np.ndarray:
        return self._growth(self.u).max(axis=0)

    def sensitivity(self, size: float) -> np.ndarray:
        log_size = math.log(size) if size > 0 else -math.inf
        # D is the sum of growth·f, growth is in proportion to f^{1−2/p}, and f is at most size + f₀
        log_f = np.logaddexp(log_size, self.log_f0)
        log_growth = np.log(self._growth(np.ones_like(self.c))) + (1 - 2 / self.p) * (log_f - self.log_f0)
        with np.errstate(over="ignore"):
            return np.exp((log_growth + log_f - log_size).max(axis=0))

    def move(self, step: np.ndarray) -> None:
        change = self.change(step[None])[0]
        self.u, self.f, self.log_f = self._moved(step)
        if len(self.f) == 1:
            self.psi = self.f[0].copy()
            return
        difference = self.f[0] - self.f[1]
        cancels = np.abs(difference) < _CANCELS * self.f.max(axis=0)
        self.psi = np.where(cancels, self.psi + change, difference)

    def theta(self, step: np.ndarray) -> np.ndarray:
        u = self._moved(step)[0]
        return self.start * (np.exp((1 - u) / 2) if self.p == 2 else u ** (-1 / (self.p - 2)))

    def travelled(self) -> np.ndarray:
        return np.abs(1 - self.u[0]) / self.c[0]


class TwoLayers(TwoSided):
    """ψ = u₁u₂ = ¼(u₁ + u₂)² − ¼(u₁ − u₂)², with (u₁ ± u₂)′ = ±(u₁ ± u₂)."""

    def __init__(self, start: np.ndarray) -> None:
        sums = np.stack([start[0] + start[1], start[0] - start[1]])
        self.signs = np.where(sums < 0, -1.0, 1.0)
        super().__init__(np.abs(sums), 2.0, 0.25, 2.0)
        self.psi = start[0] * start[1]

    def theta(self, step: np.ndarray) -> np.ndarray:
        plus, minus = self.signs * super().theta(step)
        first = 0.5 * (plus + minus)
        psi = self.psi + self.change(step[None])[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            last = np.where(np.abs(plus - minus) < 0.1 * np.abs(plus), psi / first, 0.5 * (plus - minus))
        return np.stack([first, last])


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

    def move(self, step: np.ndarray) -> None:
        change = self.change(step[None])[0]
        self.square, self.q = self._moved(step)
        self.psi = self.psi + change
        self._nu = self._nu + step

    def theta(self, step: np.ndarray) -> np.ndarray:
        square, q = self._moved(step)
        return np.stack([np.sqrt(square)] * (self.layers - 1) + [q])

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


class MirrorCell(Cell):
    """Any parametrization, by its mirror: in torch, and as accurate as that is."""

    def __init__(self, parametrization: Parametrization, start: torch.Tensor, stages: int) -> None:
        self.parametrization, self.stages = parametrization, stages
        self.mirror = parametrization.mirror(start)
        self._stacked = parametrization.mirror(start.repeat(1, stages))  # a step of all stages is one call
        self.psi = self.mirror.origin.numpy().copy()

    def _change(self, mirror: Mirror, psi: np.ndarray, steps: np.ndarray) -> np.ndarray:
        before = torch.from_numpy(psi)
        return (mirror.after(before, torch.from_numpy(steps)) - before).numpy()

    def change(self, steps: np.ndarray) -> np.ndarray:
        if len(steps) == self.stages:
            psi = np.tile(self.psi, self.stages)
            return self._change(self._stacked, psi, steps.reshape(-1)).reshape(steps.shape)
        return np.stack([self._change(self.mirror, self.psi, np.ascontiguousarray(row)) for row in steps])

    def _psi(self, step: np.ndarray | None) -> torch.Tensor:
        return torch.from_numpy(self.psi if step is None else self.psi + self.change(step[None])[0])

    def slope(self, step: np.ndarray | None = None) -> np.ndarray:
        return self.mirror.slope(self._psi(step)).numpy()

    def rate(self) -> np.ndarray:
        bend = self.parametrization.curvature(self.mirror.theta(torch.from_numpy(self.psi)))
        return 2 * torch.linalg.matrix_norm(bend.movedim(-1, 0), ord="fro").detach().numpy()

    def sensitivity(self, size: float) -> np.ndarray:
        low, high = self.mirror.range()
        ends = [torch.full_like(low, value).clamp(low, high) for value in (-size, size)]
        slopes = [self.mirror.slope(end).detach().numpy() for end in ends]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.nan_to_num(np.fmax(*slopes) / size, nan=0.0, posinf=0.0)

    def move(self, step: np.ndarray) -> None:
        self.psi = self.psi + self.change(step[None])[0]

    def theta(self, step: np.ndarray) -> np.ndarray:
        return self.mirror.theta(self._psi(step)).detach().numpy()

    def travelled(self) -> np.ndarray:
        return np.abs(self.mirror.nu(torch.from_numpy(self.psi)).numpy())


def make_cell(parametrization: Parametrization, start: torch.Tensor, stages: int) -> Cell:
    """The cell of a parametrization from θ(0) = ``start`` (width, n), for a method of so many stages."""
    theta = np.ascontiguousarray(start.detach().to("cpu", torch.float64).numpy())
    if type(parametrization) in (Power, Entropy, Nonnegative):
        return TwoSided(theta, parametrization.p)  # type: ignore[attr-defined]
    if type(parametrization) is Product and bool((theta[:-1] == theta[0]).all()):
        closed = {2: TwoLayers, 3: ThreeLayers, 4: FourLayers}.get(parametrization.layers)
        if closed is not None:
            return closed(theta)
    return MirrorCell(parametrization, start.detach().to("cpu", torch.float64), stages)
