"""Bases near an optimal one: verified in integers, measured in floats. See :mod:`dlntorch.reference.ill_posedness`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from scipy.optimize import nnls

from dlntorch.reference.exact_simplex import ExactBasis, Programme

__all__ = ["DualVertex", "UniqueProblem", "bases_around"]

_NEIGHBOURS = 64  # bases next to the optimal one that are looked at where the problem is small
_FEW = 6  # and where it is not
_SMALL = 2000  # entries of A
_STEPS = ((400, 6000), (_SMALL, 500))  # of a walk, up to so many entries of A
_FEW_STEPS = 60  # and beyond
_LIFT = 2.0**-100  # a zero entry becomes this fraction of the largest


@dataclass(frozen=True)
class UniqueProblem:
    """A problem with a unique minimiser.

    Attributes:
        programme: Its exact linear programme, of full row rank r.
        A: (r, n) floats, in an orthonormal basis of range(A).
        y: (r,) floats in the same basis, of the y that Aψ must be.
    """

    programme: Programme
    A: np.ndarray
    y: np.ndarray

    @property
    def n(self) -> int:
        return self.A.shape[1]

    @cached_property
    def column_size(self) -> float:
        """max_i ‖A_i‖₂."""
        return float(np.linalg.norm(self.A, axis=0).max())

    @cached_property
    def target_size(self) -> float:
        """‖y‖₂."""
        return float(np.linalg.norm(self.y))

    @property
    def visits(self) -> int:
        """Bases next to the optimal one that are looked at."""
        return _NEIGHBOURS if self.A.size <= _SMALL else _FEW

    @property
    def steps(self) -> int:
        """Bases that a walk may visit."""
        return next((steps for entries, steps in _STEPS if self.A.size <= entries), _FEW_STEPS)


class DualVertex:
    """A vertex of {λ : |A_iᵀλ| <= 1}: its basis, in integers, and what is computed from it in floats.

    Attributes:
        columns: The basis, increasing.
        signs: A_jᵀλ = ±1 on it.
        x: B⁻¹y, floats; of another sign than ``signs`` where the basis is not optimal.
        tau: Aᵀλ, floats.
        slack: 1 − |A_iᵀλ|, each rounded once from the exact number; 0 on the basis.
    """

    def __init__(self, data: UniqueProblem, basis: ExactBasis) -> None:
        order = np.argsort(basis.columns)
        self.data, self.exact = data, basis
        self.columns = [basis.columns[k] for k in order]
        self.signs = [basis.signs[k] for k in order]
        self.values = [Fraction(basis.values[k], basis.unit) for k in order]
        self.x = np.array([float(v) for v in self.values])
        self.tau = np.array([p / basis.dual_unit for p in basis.products])
        self.slack = np.array([(basis.dual_unit - abs(p)) / basis.dual_unit for p in basis.products])
        self.off = np.ones(data.n, dtype=bool)
        self.off[self.columns] = False

    @classmethod
    def of(cls, data: UniqueProblem, columns: list[int], signs: list[int]) -> DualVertex | None:
        """The vertex with A_jᵀλ = signs_j on ``columns``; None where the basis is not feasible for λ."""
        values, unit = data.programme.matrix.take(columns).solve(data.programme.right)
        basis = data.programme.with_signs(columns, signs, values, unit)
        return None if any(abs(p) > basis.dual_unit for p in basis.products) else cls(data, basis)

    @property
    def strict(self) -> bool:
        """Whether |A_iᵀλ| < 1 off the basis."""
        return bool(np.all(self.slack[self.off] > 0))

    @cached_property
    def inverse(self) -> np.ndarray:
        return np.linalg.inv(self.data.A[:, self.columns])

    @cached_property
    def lam(self) -> np.ndarray:
        return self.inverse.T @ np.array(self.signs, dtype=np.float64)

    @cached_property
    def coordinates(self) -> np.ndarray:
        """B⁻¹A, (r, n)."""
        return self.inverse @ self.data.A

    @cached_property
    def push(self) -> np.ndarray:
        """B⁻¹λ/‖λ‖²: what a step of 1 in A_iᵀλ, along λ, adds to the coordinates of column i."""
        return self.inverse @ self.lam / float(self.lam @ self.lam)

    @property
    def signed(self) -> list[Fraction]:
        """The entries of x times their signs: all > 0 inside the basis' cone."""
        return [s * v for s, v in zip(self.signs, self.values, strict=True)]

    @cached_property
    def target(self) -> list[Fraction] | None:
        """x' with the signs of the basis, strictly, and Bx' near y; None where rounding leaves none."""
        signed, lift = self.signed, Fraction(max(map(abs, self.values))) * Fraction(_LIFT)
        wrong = [k for k, v in enumerate(signed) if v < 0]
        if len(wrong) == 1:
            signed = self._across(wrong[0], lift)
        if min(signed) < 0:
            signed = self._in_the_cone()
        lifted = [v or lift for v in signed]
        return None if min(lifted) <= 0 else [s * v for s, v in zip(self.signs, lifted, strict=True)]

    def _across(self, k: int, lift: Fraction) -> list[Fraction]:
        """The signed entries of the nearest point of the hyperplane x_k = 0, and a little beyond."""
        row, signed = self.inverse[k], self.signed
        move = self.inverse @ row / float(row @ row)
        step = -signed[k] * self.signs[k]
        moved = [v + s * step * Fraction(float(u)) for v, s, u in zip(signed, self.signs, move.tolist(), strict=True)]
        moved[k] = lift
        return moved

    def _in_the_cone(self) -> list[Fraction]:
        """The signed entries of the point of the basis' cone that is nearest to y."""
        B = self.data.A[:, self.columns] * np.array(self.signs, dtype=np.float64)
        try:
            return [Fraction(float(v)) for v in nnls(B, self.data.y)[0]]
        except RuntimeError:  # it took too many steps
            return [Fraction(-1)]

    @property
    def way(self) -> float:
        """How far y must move to be inside the cone, relative to ‖y‖₂; inf where ``target`` is None."""
        if self.target is None:
            return math.inf
        change = np.array([float(a - b) for a, b in zip(self.target, self.values, strict=True)])
        return float(np.linalg.norm(self.data.A[:, self.columns] @ change)) / self.data.target_size

    @property
    def key(self) -> tuple[tuple[int, int], ...]:
        """What tells it from the others: its columns and their signs."""
        return tuple(zip(self.columns, self.signs, strict=True))

    @property
    def inside(self) -> bool:
        """Whether y lies in the interior of the basis' cone."""
        return min(self.signed) > 0

    def moves(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How far each column must move to join the ties (inf on the basis), and how far apart minimisers then are.

        Args:
            x: The vertex, (r,), for the y in the cone's interior.
        """
        sizes = np.where(self.off, self.slack / float(np.linalg.norm(self.lam)), np.inf)
        entering = np.where(self.tau >= 0, 1.0, -1.0)
        c = self.coordinates + self.push[:, None] * (self.slack * entering)
        falling = np.array(self.signs)[:, None] * c * entering
        with np.errstate(divide="ignore", invalid="ignore"):
            lengths = np.where(falling > 1e-13, np.abs(x)[:, None] / falling, np.inf).min(axis=0)
        spreads = lengths * (1 + np.abs(c).sum(axis=0)) / float(np.abs(x).sum())
        return sizes, np.where(np.isfinite(spreads), spreads, 0.0)

    @classmethod
    def loose(cls, data: UniqueProblem, columns: list[int], signs: list[int]) -> DualVertex:
        """The same where |A_iᵀλ| may exceed 1."""
        values, unit = data.programme.matrix.take(columns).solve(data.programme.right)
        return cls(data, data.programme.with_signs(columns, signs, values, unit))

    def inward_moves(self) -> Iterator[tuple[int, int, int, float, float]]:
        """(at, i, sign, size, spread): column ``columns[at]`` moved until column i ties with the others of the basis.

        λ' has A_iᵀλ' = sign and is ±1 on the basis without column j, and |A_jᵀλ'| > 1: j moves along λ' until it is 1.
        """
        sigma = np.array(self.signs, dtype=np.float64)
        candidates = np.flatnonzero(self.off)
        for at in range(len(self.columns)):
            change = sigma[at] * self.coordinates[at]  # of A_iᵀλ, as A_jᵀλ grows in size by 1
            for sign in (1.0, -1.0):
                with np.errstate(divide="ignore", invalid="ignore"):
                    length = (sign - self.tau[candidates]) / change[candidates]
                good = np.isfinite(length) & (length > 0)
                for i, step in zip(candidates[good], length[good], strict=True):
                    others = np.abs(self.tau + step * change)
                    others[[self.columns[at], i]] = 0.0
                    if others.max(initial=0.0) <= 1:
                        size, spread = self._inward(at, int(i), sign, float(step))
                        yield at, int(i), int(sign), size, spread

    def _inward(self, at: int, i: int, sign: float, step: float) -> tuple[float, float]:
        """How far column ``columns[at]`` moves, and how far apart minimisers then are (0 where y left the cone)."""
        sigma = np.array(self.signs, dtype=np.float64)
        lam = self.lam + step * sigma[at] * self.inverse[at]
        size = step / float(np.linalg.norm(lam))
        w = self.inverse @ (-sigma[at] * step * lam / float(lam @ lam))
        x = self.x - w * self.x[at] / (1 + w[at])  # B with that column moved, by Sherman and Morrison
        c = self.coordinates[:, i] - w * self.coordinates[at, i] / (1 + w[at])
        falling = sigma * c * sign
        if np.any(sigma * x <= 0):
            return size, 0.0
        length = float(np.min(np.abs(x)[falling > 0] / falling[falling > 0], initial=np.inf))
        spread = length * (1 + float(np.abs(c).sum())) / float(np.abs(x).sum())
        return size, spread if np.isfinite(spread) else 0.0

    def neighbour(self, at: int) -> DualVertex | None:
        """The vertex at the other end of the edge on which column ``columns[at]`` leaves the ties."""
        drop = -self.signs[at] * self.coordinates[at]  # change of A_iᵀλ where A_jᵀλ = σ_j − σ_j·length
        with np.errstate(divide="ignore", invalid="ignore"):
            lengths = np.where(
                drop > 1e-13, (1 - self.tau) / drop, np.where(drop < -1e-13, (-1 - self.tau) / drop, np.inf)
            )
        lengths[self.columns] = np.inf
        lengths[self.columns[at]] = 2.0  # its own other sign
        entering = int(np.argmin(lengths))
        if not np.isfinite(lengths[entering]):
            return None
        columns, signs = list(self.columns), list(self.signs)
        columns[at] = entering
        signs[at] = -signs[at] if entering == self.columns[at] else (1 if drop[entering] > 0 else -1)
        try:
            return DualVertex.of(self.data, columns, signs)
        except (ZeroDivisionError, StopIteration):  # the columns are dependent
            return None


def bases_around(data: UniqueProblem, start: DualVertex) -> Iterator[DualVertex]:
    """The optimal basis and those next to it with a cone that y may move into, the nearest first."""
    if start.target is not None:
        yield start
    rows = np.linalg.norm(start.inverse, axis=1)
    reach = np.abs(start.x) / (rows * data.target_size)
    for at in np.argsort(reach)[: data.visits]:
        if reach[at] >= 1:
            break
        vertex = start.neighbour(int(at))
        if vertex is not None and vertex.target is not None:
            yield vertex
