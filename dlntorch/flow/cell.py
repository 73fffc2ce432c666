"""A cell: the points of n curves Ψ(ν), moved by steps in ν without cancellation, as the stiff integrator needs them."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

__all__ = ["Cell"]


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
    def move(self, step: np.ndarray) -> np.ndarray:
        """Make ν + step the point; returns what ψ changed by, to relative accuracy."""

    @abstractmethod
    def theta(self, steps: np.ndarray) -> np.ndarray:
        """θ after steps (k, n), shape (k, width, n)."""

    @abstractmethod
    def travelled(self) -> np.ndarray:
        """About |ν| from the start of the curve to the point, shape (n,): what its rounding errors are relative to."""
