"""The numbers of the step-size threshold's theorem, and its left-hand side, which κ and c make larger.

Statements, proofs and notation are those of :mod:`dlntorch.bounds.threshold`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlntorch.model.positive_start import PositiveStart
from dlntorch.problem import Problem

__all__ = ["FRACTIONS", "SMALLEST", "ThresholdBound", "ThresholdSizes", "sizes_of"]

#: The largest κ that a schedule takes.
_LARGEST = 0.3
#: Smaller ones are no help to anyone: a run would take more than 1/κ steps.
SMALLEST = 1e-12
_PHI = np.linspace(0.02, 0.98, 49)[:, None]
#: Accuracy in ln κ of the search for the largest κ.
_RESOLVED = 1e-9
#: The c that are tried; the largest is taken whose κ is at least half of what the smallest has.
FRACTIONS = 2.0 ** -np.arange(13)


@dataclass(frozen=True)
class ThresholdSizes:
    """The numbers of the theorem.

    Attributes:
        p: Depth.
        unit: ᾱ.
        least: min ω on S.
        l1: ‖W‖_ω.
        start: e.
        reach: ‖y‖ω/a, for mini-batches √b y_min ω/a_b.
        column: The root of a²/ω.
        spectral: ‖A‖.
        low: θ_L^p/(1 − φ).
        loss: ½‖y‖², which Lemma 4 multiplies; inf where it is not used.
        delta: δ*.
    """

    p: float
    unit: float
    least: float
    l1: float
    start: float
    reach: float
    column: float
    spectral: float
    low: float
    loss: float
    delta: float


def sizes_of(
    problem: Problem,
    start: PositiveStart,
    batch: int | None,
    psi: np.ndarray,
    weights: tuple[np.ndarray, np.ndarray] | None,
    delta: float,
) -> ThresholdSizes:
    """The numbers of the theorem for W = ``psi``; ``weights`` are ω±, None for ones."""
    support, largest = np.flatnonzero(psi), float(np.abs(psi).max())
    columns, size, low, loss = _data_sizes(problem, support, batch)
    l1, least, column = float(np.abs(psi).sum()), 1.0, float(columns.max())
    reach = size / column
    if weights is not None:
        own = np.where(psi > 0, *weights)[support]
        l1, least = float(np.abs(psi[support]) @ own), float(own.min())
        reach, column = size / float((columns / own).max()), math.sqrt(float((columns**2 / own).max()))
    cost, spectral = start.cost(largest), problem.spectral_norm
    loss = loss if start.suppresses else math.inf
    return ThresholdSizes(start.p, start.top, least, l1, cost, reach, column, spectral, low, loss, min(delta, 1e6))


def _data_sizes(problem: Problem, support: np.ndarray, batch: int | None) -> tuple[np.ndarray, float, float, float]:
    """‖A_i‖ on S and ‖y‖ (or their parts for mini-batches), θ_L^p/(1 − φ), ‖y‖²/2 (inf for mini-batches, without Lemma 4)."""
    if batch is None or batch == problem.m:
        full = problem.reduced()
        A, size = full.A.numpy(), float(np.linalg.norm(full.y.numpy()))
        norms = (
            math.sqrt(A.shape[1]) * full.spectral_norm,
            float(np.linalg.norm(A, axis=0).sum()),
            float(np.linalg.norm(np.abs(A).sum(axis=1))),
        )
        return np.linalg.norm(A[:, support], axis=0), size, size / min(norms), 0.5 * size**2
    A, y = problem.A.numpy(), np.abs(problem.y.numpy())
    largest = -np.sort(-(A[:, support] ** 2), axis=0)[:batch]
    low = float((y / np.maximum(np.abs(A).sum(axis=1), 1e-300)).min())
    return np.sqrt(largest.sum(axis=0)), math.sqrt(batch) * float(y.min()), low, math.inf


class ThresholdBound:
    """The theorem's left-hand side Q(X·energy + Z) over a grid of φ and θ̄, as a function of c and κ."""

    def __init__(self, sizes: ThresholdSizes) -> None:
        self.sizes = sizes
        p, low = sizes.p, (1 - _PHI) * sizes.low  # θ_L^p
        common = 1 / (p * sizes.spectral**2)
        self._every = common * sizes.column**2 / low  # times c: X where θ̄ is larger than any θ
        self._late: np.ndarray | None = None
        if not math.isinf(sizes.loss):
            # θ̄ from α to θ_L, in logarithms: α^{p−2}θ̄^{−p}θ_L^{2−2p} may be any size.
            log_low, log_alpha = np.log(low) / p, math.log(sizes.unit)
            log_bar = log_alpha + np.linspace(0, 1, 41)[None, :] * (log_low - log_alpha)
            with np.errstate(over="ignore", under="ignore"):
                small = common * sizes.column**2 * np.exp((p - 2) * log_bar + (2 - 2 * p) * log_low)
                late = np.exp((p - 2) * log_alpha - p * log_bar + (2 - 2 * p) * log_low)
                self._late = (p - 2) * common / p * late * _PHI**2 * sizes.loss / sizes.least
            self._small = np.minimum(small, self._every)

    def energy(self, c: float) -> float:
        """Lemma 3's bound."""
        return ((1 + self.sizes.delta) * self.sizes.l1 + self.sizes.start) / (1 - c / (2 * self.sizes.p))

    def path(self, c: float) -> np.ndarray:
        """The energy over ‖y‖φ/a, for every φ, shape (φ, 1)."""
        return self.energy(c) / (_PHI * self.sizes.reach)

    def values(self, c: float, kappa: float) -> np.ndarray:
        """The least over θ̄, for every φ, shape (φ, 1); infinite where Lemma 4 needs a smaller c."""
        p, energy = self.sizes.p, self.energy(c)
        q_high, q_low = (sign * math.expm1(p * math.log1p(sign * kappa)) / (p * kappa) for sign in (1, -1))
        if c * q_high >= 2:
            return np.full_like(self._every, np.inf)
        Q = (p - 1) / (2 * (1 - kappa) ** p)
        first = kappa / (_PHI * self.sizes.reach)
        bound = Q * np.maximum(first, c * self._every) * energy
        if self._late is None:
            return bound
        late = self._late * (c / (q_low * (1 - 0.5 * c * q_high)))
        split = Q * (np.maximum(first, c * self._small) * energy + late)
        return np.minimum(bound, split.min(axis=1, keepdims=True))

    def proved(self, c: float, kappa: float) -> bool:
        """Whether the theorem holds for κ and c, at some φ and θ̄."""
        return bool(self.values(c, kappa).min() < self.sizes.delta)

    def largest_kappa(self, c: float) -> float | None:
        """The largest κ in [1e-12, 0.3] that the theorem holds for, to 1e-9 of it; None where there is none."""
        if self.proved(c, _LARGEST):
            return _LARGEST
        if not self.proved(c, SMALLEST):
            return None
        from scipy.optimize import brentq

        def excess(log_kappa: float) -> float:
            """ln of the bound over δ*, which grows with κ and is below 0 where κ is proved."""
            with np.errstate(divide="ignore"):
                return float(np.log(self.values(c, math.exp(log_kappa)).min() / self.sizes.delta))

        low, high = math.log(SMALLEST), math.log(_LARGEST)
        while math.isinf(excess(high)):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if excess(middle) < 0 else (low, middle)
        found: Any = brentq(excess, low, high, xtol=_RESOLVED)
        while not self.proved(c, math.exp(found)):
            found -= _RESOLVED
        return math.exp(found)
