"""The slow time of a flow from saddle to saddle, and |ψ| as a function of the distance to the wall where ψ switches on.

With ε the slow time of one unit of W (see :mod:`dlntorch.reference.saddle_walls`) and α → 0:

    depth above 2:  dT/dt = factor·α^{depth−2},  ε = α^{depth−2},       |ψ| = (stretch·W)^{−k},  k = depth/(depth − 2);
    depth 2:        dT/dt = factor/ln(1/α),      ε = 1/(2 ln(1/α)),     |ψ| = stretch·a²e^{−W}, with the shape a of the start.
"""

from __future__ import annotations

import math

import numpy as np

from dlntorch.model.depth_law import depth_law
from dlntorch.numerics.validation import InputError

__all__ = ["LogarithmicTime", "SlowTime", "power_time"]


class SlowTime:
    """How a network's slow time runs; at depth 2 it is a :class:`LogarithmicTime`.

    Args:
        depth: p, or the number of layers.
        factor, stretch: As in the formulas above.
    """

    def __init__(self, depth: float, factor: float, stretch: float) -> None:
        self.depth, self.factor, self.stretch, self.law = depth, factor, stretch, depth_law(depth)

    def runs(self, alpha: float) -> bool:
        """Whether there is a slow time from a start α."""
        return True

    def rate(self, alpha: float) -> float:
        """dT/dt at a scale α."""
        return self.factor / self.law.unit_of_time(self._checked(alpha))

    def unit(self, alpha: float) -> float:
        """ε: the slow time of one unit of W."""
        return self.law.relative_cost(self._checked(alpha))

    def _checked(self, alpha: float) -> float:
        if not self.runs(alpha):
            raise InputError(
                f"alpha must be < 1 at depth 2, whose slow time is in units of log(1/alpha), got {alpha:g}"
            )
        return alpha

    def size(self, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """|ψ| and −d|ψ|/dW at distances W (beyond the wall, |ψ| goes on with a bounded slope)."""
        scaled = self.stretch * np.maximum(distance, 1e-30)
        value = scaled**-self.law.k
        return value, self.law.k * self.stretch * value / scaled

    def distance(self, size: np.ndarray) -> np.ndarray:
        """The W at which |ψ| = size > 0."""
        return size ** (-(self.depth - 2) / self.depth) / self.stretch

    def area(self, distance: np.ndarray) -> np.ndarray:
        """∫|ψ| dW from W on."""
        return self.size(distance)[0] * distance / (self.law.k - 1)

    def bend(self, size: float) -> float:
        """The W over which |ψ| bends at ``size``."""
        return float(self.distance(np.array([size]))[0])

    def shape(self, ratios: np.ndarray) -> np.ndarray:
        """The factor of |ψ| that a start of a± = ``ratios`` has."""
        return np.ones_like(ratios)


class LogarithmicTime(SlowTime):
    """Depth 2."""

    def __init__(self, factor: float, stretch: float) -> None:
        super().__init__(2.0, factor, stretch)

    def runs(self, alpha: float) -> bool:
        return alpha < 1

    def size(self, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value = self.stretch * np.exp(-np.maximum(distance, -500.0))
        return value, value

    def distance(self, size: np.ndarray) -> np.ndarray:
        return math.log(self.stretch) - np.log(size)

    def area(self, distance: np.ndarray) -> np.ndarray:
        return self.size(distance)[0]

    def bend(self, size: float) -> float:
        return 1.0

    def shape(self, ratios: np.ndarray) -> np.ndarray:
        return ratios**2


def power_time(p: float) -> SlowTime:
    """That of ψ = θ₊^p − θ₋^p and of ψ = θ^p."""
    return LogarithmicTime(2.0, 1.0) if p == 2 else SlowTime(p, p * (p - 2), 1.0)
