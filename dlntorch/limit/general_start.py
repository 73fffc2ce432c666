"""The limit of depth p from any start, θ₊(0) ≠ θ₋(0) and different in every coordinate.

With a± = θ±(0)^p per coordinate the flow is the one from an equal start of scale a_e, moved along its curve: in the
coordinates of :mod:`~dlntorch.limit.central_path`, b = k atanh τ and t = kτ,

    b₀ = ½(ln a₊ − ln a₋),   ln a_e = ½(ln a₊ + ln a₋) − k ln cosh(b₀/k),   t ∈ t₀ + range(WAᵀ),  W ∝ a_e^{1/k},

so that only the point t₀ = k tanh(b₀/k) is new: the tilt, from where the flow is a projection. The path to the answer starts
at equal entries a± = B, so large that ψ is the minimum-norm solution, and follows

    a±(S) = min(S a±, B),   S from infinity down to 1:

the small entries leave B first. An entry of the size of ψ (a warm start) stays there nearly to the end, and small entries
have found their ratios while the path is still smooth; neither ever makes a start far above the data, which scaling the
whole start would.

Source: arXiv 2307.07410 for equal starts; the invariants of unequal ones are section 10 of the theory this package keeps.
"""

from __future__ import annotations

import math

import numpy as np

from dlntorch.limit.central_path import CentralPath, PathPoint, row_sorted_factors
from dlntorch.problem.equal_columns import EqualColumns

__all__ = ["GeneralStartPath"]

_DRIFT = 2e-13  # as in central_path


class GeneralStartPath(CentralPath):
    """The path of one problem of full row rank to the limit from one start.

    ``log_a`` is ln S, and with it move the scale a_e of every coordinate, its share W, and its origin b₀.

    Args:
        A: (m, n) float64, rank m.
        y: (m,).
        p: Depth.
        plus: θ₊(0) > 0, (n,).
        minus: θ₋(0) > 0, (n,).
        equal: Which columns of the given A are equal and start equally; None: those of A.
    """

    def __init__(
        self,
        A: np.ndarray,
        y: np.ndarray,
        p: float,
        plus: np.ndarray,
        minus: np.ndarray,
        equal: EqualColumns | None = None,
    ) -> None:
        starts = p * np.log(np.column_stack([plus, minus]))
        self._fitted: tuple[np.ndarray, np.ndarray] | None = None
        super().__init__(A, y, p, None, EqualColumns.of(A, starts, starts[:, ::-1]) if equal is None else equal)
        self._log_plus, self._log_minus = starts.T
        # A small ψ(0) = 2√(a₊a₋) sinh b₀ is a difference of large powers, and the difference of logarithms has no digits.
        self._origin = 0.5 * p * _log_ratio(plus, minus)
        highest, lowest = float(np.max(starts)), float(np.min(starts))
        self._ceiling = max(highest, self.log_size)
        self.log_top = self._ceiling - lowest
        reach = float(np.sum(np.abs(self.minimum_norm))) + self.y.size * math.exp(min(highest, 600.0))
        self.bound = 10 * reach * math.exp(min(highest - lowest, 100.0))

    @property
    def log_a(self) -> float:
        """ln S."""
        return self._log_scale

    @log_a.setter
    def log_a(self, log_scale: float) -> None:
        self._log_scale = log_scale
        # Less ln S, so that all of it stays to the bit where no entry is at the ceiling any more.
        plus, minus = (np.minimum(side, self._ceiling - log_scale) for side in (self._log_plus, self._log_minus))
        free = np.maximum(self._log_plus, self._log_minus) <= self._ceiling - log_scale
        self.origin = np.where(free, self._origin, 0.5 * (plus - minus))
        self.offset = 0.5 * (plus + minus) - _stretch(self.origin, self.k_inverse)
        self.share = np.exp(0.5 * self.k_inverse * (self.offset - np.max(self.offset)))
        self._fitted = None

    @property
    def log_mean(self) -> float:
        """The mean of ln a± at the end of the path, for messages."""
        return 0.5 * float(np.mean(self._log_plus) + np.mean(self._log_minus))

    def point(self) -> PathPoint:
        """The answer; its ``log_a`` is the mean of ln a± at which it is given."""
        found = self._at_start() or next(iter(self.points([0.0])))
        found.log_a += self.log_mean
        return found

    def _at_start(self) -> PathPoint | None:
        """The start, where it interpolates already."""
        self.log_a = 0.0
        psi = self.kernels.curve_values(self.origin, self.offset, self.k_inverse)
        r = self.y - self.A @ psi
        level = np.abs(self.A) @ np.abs(psi) + np.abs(self.y)
        if not np.all(np.abs(r) <= 4e-16 * level):
            return None
        self.psi, self.b, self.e = psi, self.origin.copy(), np.zeros_like(psi)
        return self._point(0, True, 0.0)

    def _solve_at(self, goal: float, tolerance: float) -> tuple[bool, float, int]:
        """Newton at ln S = ``goal``; where the starts change by more than a common factor, from the same ψ."""
        free = self._ceiling - self.log_a >= max(np.max(self._log_plus), np.max(self._log_minus))
        if goal != self.log_a and not free:
            self.log_a = goal
            log_a = self.log_a + self.offset
            self.b = self.kernels.curve_inverses(self.psi, log_a, self.k_inverse)
            self._nearest()
        return super()._solve_at(goal, tolerance)

    def _settled(self) -> bool:
        """As for equal starts, and what is left in e is small beside the distance from the start, however small that is."""
        largest = self.kernels.displacement(self.b, self.origin, self.k_inverse)[1]
        if self._mended < 2 and np.max(np.abs(self.e)) > _DRIFT * largest:
            self._mended += 1
            return False
        return super()._settled()

    def _nearest(self) -> None:
        """Put into e what t misses of t₀ + range(WAᵀ): the D-nearest, which leaves large entries of D alone."""
        root = self.kernels.root_slopes(self.psi, self.b, self.log_a + self.offset, self.k_inverse)
        distance = self._checks()[2]
        self.e = -self.equal.mean(self._direction(root, np.zeros_like(self.y), distance))

    def _fit(self) -> tuple[np.ndarray, np.ndarray]:
        """Factors of WAᵀ: where W is small t − t₀ has few digits, and must not decide what λ is."""
        if self._fitted is None:
            self._fitted = row_sorted_factors(self.share[:, None] ** 2 * self.transposed)
        return self._fitted

    def _checks(self) -> tuple[float, float, np.ndarray, float, float]:
        space = self._fit()[0], np.ones_like(self.share)
        return self.kernels.checks(self.A, self.y, space, self.origin, self.psi, self.b, self.e, self.k_inverse)

    def _terms(self, t: np.ndarray) -> np.ndarray:
        """Those of WAᵀλ, and of t₀, which is known to a rounding of b₀."""
        basis, R = self._fit()
        lam = np.linalg.solve(R, basis.T @ t)
        decay = np.exp(-2 * np.abs(self.origin) * self.k_inverse)
        tilt = np.abs(self.origin) * 4 * decay / (1 + decay) ** 2
        return self.share**2 * self.largest * np.sum(np.abs(lam)) + tilt


def _log_ratio(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """ln(x/y) of positive numbers, to relative accuracy also where they are nearly equal."""
    near = np.abs(x - y) < 0.5 * np.maximum(x, y)
    apart = np.divide(x - y, y, out=np.zeros_like(x), where=near)  # where x ≪ y it is −1, of which log1p is −∞
    return np.where(near, np.log1p(apart), np.log(x) - np.log(y))


def _stretch(b: np.ndarray, k_inverse: float) -> np.ndarray:
    """k ln cosh(b/k), zero at p = 2."""
    if k_inverse == 0:
        return np.zeros_like(b)
    x = np.abs(b * k_inverse)
    near = 0.5 * np.log1p(np.sinh(np.minimum(x, 1.0)) ** 2)
    return np.where(x < 1, near, x + np.log1p(np.exp(-2 * x)) - math.log(2)) / k_inverse
