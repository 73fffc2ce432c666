"""How far the data may change, in any way, before a problem can have a second minimiser: a lower bound, by a walk over bases.

Let (A', y') be a change of size ε, t = ε max‖A_i‖₂, and B a basis. If B is optimal after it, its vertex x' has
x' = x + B⁻¹(dy − dB x'), so that with R = max_k ‖e_kᵀB⁻¹‖₂

    |x'_k − x_k| <= ‖e_kᵀB⁻¹‖₂ ε (‖y‖₂ + max‖A_i‖₂ ‖x‖_∞) / (1 − R t).

So x'_k = 0, with the signs of B elsewhere, takes an ε of at least the *height* of wall k of B. Walk from the optimal basis,
across the lowest wall first, to the basis at the other end of the edge on which column k leaves the ties. Let F be the bases
reached at a height below ε, all of them strict for every change of size ε. Then every problem in that ball has a unique
minimiser. On the segment from (A, y) to (A', y') let a basis of F be optimal at s. All vertices of the optimal face at s are
reached along edges on which some x'_k = 0: walls below ε. They all lie in F, are strict, and stay vertices nearby, and
nothing else becomes one close to the face: a basis of F is optimal right after s, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

import numpy as np

from dlntorch.numerics.extended import EPS
from dlntorch.reference.basis_radius import DualVertex, UniqueProblem

__all__ = ["uniqueness_radius"]

_LEAST = 1e-300
_NOT_STRICT = "a basis at y has |A_iᵀλ| = 1 off it: a change of y as small as one likes makes another minimiser"
_ROUNDING = "rounding leaves nothing of the bound: the basis is too ill-conditioned"
_HIDDEN = "rounding hides a basis next to the optimal ones"


def uniqueness_radius(data: UniqueProblem, start: DualVertex) -> tuple[float, str, list[DualVertex]]:
    """A lower bound of the distance to ill-posedness, what could make it larger, and the bases that were visited."""
    walk = _Walk(data, start)
    walk.run()
    return max(0.0, walk.best) * (1 - 1e-12), walk.why, list(walk.visited.values())


class _Walk:
    """Bases reached so far, and the smallest ε known for which the proof fails.

    Attributes:
        best: That ε.
        why: What it failed of.
        visited: The bases by their keys.
    """

    def __init__(self, data: UniqueProblem, start: DualVertex) -> None:
        self.data, self.start = data, start
        self.a, self.b = data.column_size * (1 + 1e-12), data.target_size * (1 + 1e-12)
        self.best, self.why = 1.0, ""
        self.visited: dict[tuple[tuple[int, int], ...], DualVertex] = {}
        self._walls: list[tuple[float, int, DualVertex, int]] = []
        self._sides: dict[tuple[tuple[int, int], ...], int] = {}  # of a wall: how many bases beside it are visited
        self._order = count()

    def run(self) -> None:
        self._visit(self.start, 0.0)
        while self._walls:
            height, _, vertex, at = heappop(self._walls)
            if height >= self.best:
                return
            if self._sides[_wall(vertex, at)] == 2:
                continue
            if len(self.visited) >= self.data.steps:
                self._fail(
                    height, f"more than {self.data.steps} bases meet near y, as the minimiser has few large entries"
                )
                return
            other = vertex.neighbour(at)
            if other is None:
                self._fail(height, _HIDDEN)
            elif other.key not in self.visited:
                self._visit(other, height)

    def _fail(self, epsilon: float, why: str) -> None:
        if epsilon < self.best:
            self.best, self.why = epsilon, why

    def _visit(self, vertex: DualVertex, height: float) -> None:
        self.visited[vertex.key] = vertex
        if not vertex.strict:
            self._fail(height, _NOT_STRICT)
            return
        bounds = _Bounds.of(self.data, vertex)
        if not bounds.strict(self.best * self.a):
            limit = self._strict_up_to(bounds)
            self._fail(max(height, limit), "" if limit else _ROUNDING)
        for at, wall in enumerate(self._heights(vertex, bounds)):
            key = _wall(vertex, at)
            self._sides[key] = self._sides.get(key, 0) + 1
            if (level := max(height, wall)) < self.best and self._sides[key] == 1:
                heappush(self._walls, (level, next(self._order), vertex, at))

    def _strict_up_to(self, bounds: _Bounds) -> float:
        """The ε up to which the basis stays strict, at most ``best``, by bisection of its exponent, then of itself."""
        if not bounds.strict(_LEAST * self.a):
            return 0.0
        low, high = math.log(_LEAST), math.log(self.best)
        while high - low > 1e-9:
            middle = 0.5 * (low + high)
            low, high = (middle, high) if bounds.strict(math.exp(middle) * self.a) else (low, middle)
        return math.exp(low)

    def _heights(self, vertex: DualVertex, bounds: _Bounds) -> Iterator[float]:
        """The ε below which no change lets the basis be optimal with x'_k = 0, for each k."""
        signed = np.array(vertex.signs) * vertex.x
        with np.errstate(divide="ignore", invalid="ignore"):
            away = np.abs(signed) / bounds.rows * (1 - 1e-12)
        wrong = float(np.max(np.where(signed < 0, away, 0.0), initial=0.0))  # all other entries must have their signs
        size, R = float(np.abs(vertex.x).max()) * (1 + 1e-12), float(bounds.rows.max())
        for distance in np.maximum(away, wrong).tolist():
            denominator = self.b + self.a * size + distance * R * self.a
            yield distance / denominator * (1 - 1e-12) if math.isfinite(denominator) else 0.0


def _wall(vertex: DualVertex, at: int) -> tuple[tuple[int, int], ...]:
    key = vertex.key
    return key[:at] + key[at + 1 :]


@dataclass(frozen=True)
class _Bounds:
    """What one basis needs: norms with the rounding of the inverse added.

    Attributes:
        kappa: ‖B⁻¹‖₂.
        lam: ‖λ‖₂.
        slack: 1 − |A_iᵀλ| off the basis.
        largest: ‖B⁻¹A_i‖_∞ there.
        length: ‖B⁻¹A_i‖₂ there.
        rows: ‖e_kᵀB⁻¹‖₂.
    """

    kappa: float
    lam: float
    slack: np.ndarray
    largest: np.ndarray
    length: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, data: UniqueProblem, vertex: DualVertex) -> _Bounds:
        A, X = data.A, vertex.inverse
        B = A[:, vertex.columns]
        r = len(B)
        gamma = (r + 4) * EPS  # of a product of r terms; the floats themselves are off by EPS
        size = float(np.linalg.norm(X))
        # ‖I − XB‖ of the exact B
        off = float(np.linalg.norm(np.eye(r) - X @ B)) + 2 * gamma * float(np.linalg.norm(np.abs(X) @ np.abs(B)))
        if not off < 0.5:
            return cls(np.inf, np.inf, vertex.slack[vertex.off], np.zeros(1), np.zeros(1), np.full(r, np.inf))
        error = size * off / (1 - off)  # of X as an inverse
        C = vertex.coordinates[:, vertex.off]
        columns = np.linalg.norm(A[:, vertex.off], axis=0)
        more = (error + 2 * gamma * size) * columns * (1 + 1e-10)
        return cls(
            kappa=(_spectral(X) + error) * (1 + 1e-10),
            lam=float(np.linalg.norm(vertex.lam)) * (1 + 1e-10) + error * r**0.5,
            slack=vertex.slack[vertex.off] * (1 - 1e-15),
            largest=np.abs(C).max(axis=0, initial=0.0) + more,
            length=np.linalg.norm(C, axis=0) * (1 + 1e-12) + more,
            rows=np.linalg.norm(X, axis=1) * (1 + 1e-12) + error,
        )

    def strict(self, t: float) -> bool:
        """Whether the basis stays strict for Σ‖dA_i‖ <= t."""
        theta = self.kappa * t
        if not theta < 1:
            return False
        reach = np.maximum(1.0, self.largest + theta * (self.length - self.largest))
        return bool(np.all(t * self.lam * reach / (1 - theta) < self.slack))


def _spectral(X: np.ndarray) -> float:
    """An upper bound of ‖X‖₂, from the Frobenius norm of (XᵀX)³², with the rounding of every product added."""
    gamma = (len(X) + 4) * EPS
    size = float(np.linalg.norm(X))
    G = (X / size).T @ (X / size)
    errors = [gamma]  # ‖|X|ᵀ|X|‖_F <= ‖X‖_F²
    for _ in range(5):
        errors.append(gamma * float(np.linalg.norm(G)) ** 2)
        G = G @ G
    bound = float(np.linalg.norm(G)) * (1 + 1e-12)
    for error in reversed(errors[1:]):
        bound = (bound + error) ** 0.5
    return size * (bound + errors[0]) ** 0.5 * (1 + 1e-12)
