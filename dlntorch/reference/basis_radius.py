"""Bases near an optimal one, and how much the data may change before one of them stops being strict.

Bases are verified in integers; norms are floats with their rounding bounded. See :mod:`dlntorch.reference.ill_posedness`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from dlntorch.numerics.extended import EPS
from dlntorch.reference.exact_simplex import ExactBasis, Programme

__all__ = ["DualVertex", "UniqueProblem", "bases_around", "radius"]

_NEIGHBOURS = 64  # bases visited where the problem is small
_FEW = 6  # and where it is not
_SMALL = 2000  # entries of A
_DROPPED = 4  # coordinates that may count as small
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
        return _NEIGHBOURS if self.A.size <= _SMALL else _FEW


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

    def target(self) -> list[Fraction] | None:
        """x' with the signs of the basis, strictly, and Bx' near y; None where more than one entry has another sign."""
        signed, lift = self.signed, Fraction(max(map(abs, self.values))) * Fraction(_LIFT)
        wrong = [k for k, v in enumerate(signed) if v < 0]
        if len(wrong) > 1:
            return None
        if wrong:  # the nearest point of the hyperplane x_k = 0, and a little beyond
            k = wrong[0]
            row = self.inverse[k]
            move = self.inverse @ row / float(row @ row)
            step = -signed[k] * self.signs[k]
            signed = [
                v + s * step * Fraction(float(u)) for v, s, u in zip(signed, self.signs, move.tolist(), strict=True)
            ]
            signed[k] = lift
        lifted = [v or lift for v in signed]
        return None if min(lifted) <= 0 else [s * v for s, v in zip(self.signs, lifted, strict=True)]

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


def bases_around(data: UniqueProblem, start: DualVertex) -> Iterator[tuple[DualVertex, np.ndarray, float]]:
    """Bases, a vertex inside the cone of each, and how far y must move to be there, relative to ‖y‖₂: the nearest first."""
    x = start.target()
    if x is not None:
        yield start, _floats(x), _way(data, start, x)
    rows = np.linalg.norm(start.inverse, axis=1)
    reach = np.abs(start.x) / (rows * data.target_size)
    for at in np.argsort(reach)[: data.visits]:
        if reach[at] >= 1:
            break
        vertex = start.neighbour(int(at))
        x = None if vertex is None else vertex.target()
        if vertex is not None and x is not None:
            yield vertex, _floats(x), _way(data, vertex, x)


def _floats(x: list[Fraction]) -> np.ndarray:
    return np.array([float(v) for v in x])


def _way(data: UniqueProblem, vertex: DualVertex, x: list[Fraction]) -> float:
    change = np.array([float(a - b) for a, b in zip(x, vertex.values, strict=True)])
    return float(np.linalg.norm(data.A[:, vertex.columns] @ change)) / data.target_size


def radius(data: UniqueProblem, start: DualVertex) -> tuple[float, str]:
    """A lower bound of the distance to ill-posedness, and the reason where it is 0."""
    order = np.argsort(np.abs(start.x), kind="stable")
    zeros = int(np.sum(start.x == 0))
    best, why = 0.0, ""
    for dropped in range(zeros, min(zeros + _DROPPED, len(order) - 1) + 1):
        large = sorted(start.columns[k] for k in order[dropped:])
        vertices, trouble = _fan(data, start, set(large))
        if trouble:
            why = trouble
            break
        best = max(best, _common_radius(data, start, vertices, large))
    return best, "" if best > 0 else why or "rounding leaves nothing of the bound: the basis is too ill-conditioned"


def _fan(data: UniqueProblem, start: DualVertex, large: set[int]) -> tuple[list[DualVertex], str]:
    """All bases that contain the columns ``large`` with their signs and are reached from ``start`` through the others."""
    seen, queue = {_key(start): start}, [start]
    while queue:
        vertex = queue.pop()
        if not vertex.strict:
            return (
                [],
                "a basis at y has |A_iᵀλ| = 1 off it: a change of y as small as one likes makes another minimiser",
            )
        for at, j in enumerate(vertex.columns):
            if j in large:
                continue
            other = vertex.neighbour(at)
            if other is None:
                return [], "rounding hides a basis next to the optimal ones"
            if _key(other) in seen:
                continue
            if len(seen) >= data.visits:
                return (
                    [],
                    f"the minimiser has so many zero or small entries that more than {data.visits} bases meet at y",
                )
            seen[_key(other)] = other
            queue.append(other)
    return list(seen.values()), ""


def _key(vertex: DualVertex) -> tuple[tuple[int, int], ...]:
    return tuple(zip(vertex.columns, vertex.signs, strict=True))


def _common_radius(data: UniqueProblem, start: DualVertex, vertices: list[DualVertex], large: list[int]) -> float:
    """The ε up to which all ``vertices`` stay strict and the coordinates ``large`` keep their signs, by bisection."""
    a, b = data.column_size * (1 + 1e-12), data.target_size * (1 + 1e-12)
    value = dict(zip(start.columns, start.x, strict=True))
    x = np.array([abs(value[j]) for j in large])
    small = [k for k, j in enumerate(start.columns) if j not in large]
    rest = float(np.linalg.norm(data.A[:, [start.columns[k] for k in small]] @ start.x[small])) if small else 0.0
    bounds = [_Bounds.of(data, vertex, large) for vertex in vertices]

    def holds(epsilon: float) -> bool:
        return all(one.holds(epsilon * a, epsilon * b + rest * (1 + 1e-12), x) for one in bounds)

    if not holds(0.0):
        return 0.0
    low, high = 0.0, 1.0
    if not holds(1e-300):
        return 0.0
    low, exponent = 1e-300, -300.0
    while exponent < 0 and holds(10.0 ** (exponent + 1)):
        exponent += 1
    low, high = 10.0**exponent, 10.0 ** (exponent + 1)
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low * (1 - 1e-12)


@dataclass(frozen=True)
class _Bounds:
    """What one basis needs: norms with the rounding of the inverse added."""

    kappa: float
    lam: float
    slack: np.ndarray
    largest: np.ndarray
    length: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, data: UniqueProblem, vertex: DualVertex, large: list[int]) -> _Bounds:
        A, X = data.A, vertex.inverse
        B = A[:, vertex.columns]
        r = len(B)
        gamma = (r + 4) * EPS  # of a product of r terms; the floats themselves are off by EPS
        size = float(np.linalg.norm(X))
        # ‖I − XB‖ of the exact B
        off = float(np.linalg.norm(np.eye(r) - X @ B)) + 2 * gamma * float(np.linalg.norm(np.abs(X) @ np.abs(B)))
        if off >= 0.5:
            return cls(np.inf, np.inf, vertex.slack[vertex.off], np.zeros(1), np.zeros(1), np.zeros(1))
        error = size * off / (1 - off)  # of X as an inverse
        C = vertex.coordinates[:, vertex.off]
        columns = np.linalg.norm(A[:, vertex.off], axis=0)
        more = (error + 2 * gamma * size) * columns * (1 + 1e-10)
        where = [vertex.columns.index(j) for j in large]
        return cls(
            kappa=(_spectral(X) + error) * (1 + 1e-10),
            lam=float(np.linalg.norm(vertex.lam)) * (1 + 1e-10) + error * r**0.5,
            slack=vertex.slack[vertex.off] * (1 - 1e-15),
            largest=np.abs(C).max(axis=0, initial=0.0) + more,
            length=np.linalg.norm(C, axis=0) * (1 + 1e-12) + more,
            rows=np.linalg.norm(X[where], axis=1) * (1 + 1e-12) + error,
        )

    def holds(self, t: float, dy: float, x: np.ndarray) -> bool:
        """Whether the basis stays strict for Σ‖dA_i‖ <= t and ‖dy‖ <= ``dy``, and the large entries keep their signs."""
        theta = self.kappa * t
        if not theta < 1:
            return False
        reach = np.maximum(1.0, self.largest + theta * (self.length - self.largest))
        strict = t * self.lam * reach / (1 - theta) < self.slack
        kept = self.rows * (dy + t * float(x.max(initial=0.0))) / (1 - theta) < x * (1 - 1e-12)
        return bool(np.all(strict) and np.all(kept))


def _spectral(X: np.ndarray) -> float:
    """An upper bound of ‖X‖₂, from the Frobenius norm of (XᵀX)⁸, with the rounding of every product added."""
    gamma = (len(X) + 4) * EPS
    size = float(np.linalg.norm(X))
    G = (X / size).T @ (X / size)
    errors = [gamma]  # ‖|X|ᵀ|X|‖_F <= ‖X‖_F²
    for _ in range(3):
        errors.append(gamma * float(np.linalg.norm(G)) ** 2)
        G = G @ G
    bound = float(np.linalg.norm(G)) * (1 + 1e-12)
    for error in reversed(errors[1:]):
        bound = (bound + error) ** 0.5
    return size * (bound + errors[0]) ** 0.5 * (1 + 1e-12)
