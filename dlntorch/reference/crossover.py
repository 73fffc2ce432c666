"""From a point near the central path to a vertex of basis pursuit and its dual certificate.

The problem is min ‖x‖₁ subject to Ax = y with A (m, n) of full row rank, its dual max yᵀλ subject to |Aᵀλ| <= 1. A
basis is m independent columns B; it gives a feasible x_B = B⁻¹y whatever the signs, so the simplex method for the
ℓ1-norm needs no first phase: λ = B⁻ᵀ sign(x_B), a column with |A_jᵀλ| > 1 enters, and the line search passes every
zero crossing until the slope of ‖x‖₁ turns (Barrodale and Roberts, SIAM J. Numer. Anal. 10, 1973). Superbasic
coordinates of a path point are pushed to zero first, ‖x‖₁ never increasing (Megiddo, ORSA J. Comput. 3, 1991).

Other :class:`~dlntorch.reference.costs.Costs` put c₊ and −c₋ in the place of the signs 1 and −1. Where they admit x >= 0
only, the same method with the cost Σx⁻ finds an admitted basis first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg.lapack

from dlntorch.reference.costs import PLAIN, Costs

__all__ = ["Basis", "CrossedPair", "Support", "certified_pair", "leading_basis", "line_search", "push", "simplex"]

lapack: Any = scipy.linalg.lapack  # its names are made at run time
EPS = float(np.finfo(np.float64).eps)
REFACTOR = 40  # updates kept before the basis is factored afresh: each costs m in every solve


@dataclass
class CrossedPair:
    """An x with Ax = y, a dual λ (scaled into −c₋ <= Aᵀλ <= c₊), and how far apart their values are.

    Attributes:
        x: Shape (n,), zero off the basis.
        dual: λ, shape (m,).
        gap: (cost(x) − yᵀλ)/cost(x).
        residual: ‖Ax − y‖₂/‖y‖₂.
    """

    x: np.ndarray
    dual: np.ndarray
    gap: float
    residual: float


class Basis:
    """m independent columns of A, as an LU factorization and rank-one updates in product form."""

    def __init__(self, A: np.ndarray, columns: np.ndarray) -> None:
        self.A = A
        self.columns = np.array(columns)
        self._factor()

    def _factor(self) -> None:
        self.B = np.asfortranarray(self.A[:, self.columns])
        self._lu, self._pivots, info = lapack.dgetrf(self.B)
        self._etas: list[tuple[int, np.ndarray]] = []
        norm = float(np.abs(self.B).sum(axis=0).max())
        self.rcond = 0.0 if info else float(lapack.dgecon(self._lu, norm)[0])

    def solve(self, b: np.ndarray) -> np.ndarray:
        """B⁻¹b."""
        z = lapack.dgetrs(self._lu, self._pivots, b)[0]
        for k, d in self._etas:
            zk = z[k] / d[k]
            z -= zk * d
            z[k] = zk
        return z

    def solve_transposed(self, s: np.ndarray) -> np.ndarray:
        """B⁻ᵀs."""
        z = s.copy()
        for k, d in reversed(self._etas):
            z[k] = (z[k] - (d @ z - d[k] * z[k])) / d[k]
        return lapack.dgetrs(self._lu, self._pivots, z, trans=1)[0]

    def replace(self, k: int, j: int, d: np.ndarray) -> None:
        """Column j takes position k; ``d`` = B⁻¹A_j."""
        self.columns[k] = j
        self._etas.append((k, d))
        if len(self._etas) >= REFACTOR:
            self._factor()

    def refresh(self) -> None:
        """Factor the current columns afresh."""
        if self._etas:
            self._factor()

    def values(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x_B = B⁻¹y with a step of iterative refinement, and the mask of the values that are zero to rounding."""
        x = self.solve(y)
        x += self.solve(y - self.A[:, self.columns] @ x if self._etas else y - self.B @ x)
        return x, np.abs(x) <= self.zero_level * float(np.abs(x).max())

    @property
    def zero_level(self) -> float:
        """What rounding leaves of a zero coordinate, relative to max|x_B|."""
        return min(1e-6, max(1e-13, 10 * EPS / max(self.rcond, EPS)))


class Support:
    """The x on given independent columns S that solves Ax = y in least squares, and duals with A_Sᵀλ = cost'(x_S)."""

    def __init__(self, A: np.ndarray, y: np.ndarray, columns: np.ndarray, costs: Costs = PLAIN) -> None:
        self.A_S = A[:, columns]
        self._Q, self._R = np.linalg.qr(self.A_S)
        values = self._least_squares(y)
        values += self._least_squares(y - self.A_S @ values)
        self.slope = costs.slope(values, columns)
        self.x = np.zeros(A.shape[1])
        self.x[columns] = values

    @classmethod
    def covering(cls, A: np.ndarray, y: np.ndarray, columns: np.ndarray, costs: Costs = PLAIN) -> Support | None:
        """The support of an x on ``columns`` and a few more with Ax = y exactly; None when the first guess is too poor.

        A nonzero residual is explained by the columns missing: those it correlates with most are added, a few times.
        """
        m = A.shape[0]
        norms = np.sqrt(np.einsum("ij,ij->j", A, A))
        best = float(np.linalg.norm(y))
        goal = 1e-12 * best
        for _ in range(6):
            trial = cls(A, y, columns, costs)
            if not trial.independent:
                return None
            residual = y - A @ trial.x
            error = float(np.linalg.norm(residual))
            if error <= goal:
                kept = np.flatnonzero(np.abs(trial.x) > 1e-10 * np.abs(trial.x).max())
                return trial if kept.size == columns.size else cls(A, y, kept, costs)
            if error > 0.5 * best:
                return None
            best = error
            score = np.abs(residual @ A) / np.maximum(norms, 1e-300)
            score[columns] = 0.0
            more = min(2 + columns.size // 10, m - columns.size)
            if more <= 0:
                return None
            columns = np.concatenate([columns, np.argpartition(-score, more - 1)[:more]])
        return None

    @property
    def independent(self) -> bool:
        """Whether no column of A_S lies, to 1e-10 of its norm, in the span of those before it."""
        norms = np.sqrt(np.einsum("ij,ij->j", self.A_S, self.A_S))
        return bool(np.all(np.abs(np.diagonal(self._R)) > 1e-10 * norms))

    def _least_squares(self, y: np.ndarray) -> np.ndarray:
        return lapack.dtrtrs(self._R, self._Q.T @ y)[0] if self._R.size else np.zeros(0)

    def correct(self, dual: np.ndarray) -> np.ndarray:
        """The λ nearest to ``dual`` with A_Sᵀλ = cost'(x_S)."""
        for _ in range(2 if self._R.size else 0):  # the second pass removes the rounding of the first
            dual = dual + self._Q @ lapack.dtrtrs(self._R, self.slope - dual @ self.A_S, trans=1)[0]
        return dual


def leading_basis(A: np.ndarray, weight: np.ndarray) -> Basis | None:
    """A basis of m columns of A, those of large weight first; None when rounding finds fewer than m.

    Gaussian elimination with row pivoting on the rows weight_i·A_iᵀ, sorted by weight, picks one row for each pivot.
    The columns of large weight are tried on their own first.
    """
    m, n = A.shape
    order = np.argsort(-weight, kind="stable")
    if (leading := Basis(A, order[:m])).rcond > 1e-10:
        return leading
    # The weights of a path point span many decades: a floor keeps light columns eligible without underflow.
    scale = np.sqrt(np.maximum(weight[order] / weight[order[0]], 1e-14))
    W = np.asfortranarray((A[:, order] * scale).T)
    lu, swaps, _ = lapack.dgetrf(W, overwrite_a=1)
    rows = np.arange(n)
    for i, k in enumerate(swaps):
        rows[[i, k]] = rows[[k, i]]
    diagonal = np.abs(np.diagonal(lu)[:m])
    return Basis(A, order[rows[:m]]) if diagonal.min() > 0 else None


def certified_pair(A: np.ndarray, y: np.ndarray, x: np.ndarray, dual: np.ndarray, costs: Costs = PLAIN) -> CrossedPair:
    """The pair (x, λ) with λ scaled into −c₋ <= Aᵀλ <= c₊, its gap (1 where x is not admitted) and its residual."""
    dual = dual / max(1.0, costs.ratio(dual @ A))
    value = costs.value(x)
    gap = 1.0 if np.isinf(value) else (value - float(y @ dual)) / value if value > 0 else 0.0
    return CrossedPair(x, dual, gap, float(np.linalg.norm(A @ x - y) / np.linalg.norm(y)))


def push(A: np.ndarray, basis: Basis, x: np.ndarray, costs: Costs = PLAIN) -> None:
    """Move the coordinates off the basis to zero along Ax = const., the cost never increasing; what changes is the basis.

    A coordinate that has to grow, or that drives a basic one to zero first, takes that one's place in the basis.
    """
    x = x.copy()
    outside = np.setdiff1d(np.flatnonzero(x), basis.columns)
    for j in outside[np.argsort(np.abs(x[outside]))]:
        d = basis.solve(A[:, j])
        columns = basis.columns
        xB = x[columns]
        slope = float(costs.slope(x[[j]], np.array([j]))[0] - costs.slope(xB, columns) @ d)  # of it when x_j grows
        toward_zero = -np.sign(x[j])
        move = toward_zero if slope * toward_zero <= 1e-9 * (1 + np.abs(d).sum()) else -toward_zero
        rate = -move * d  # of x_B
        usable = np.abs(d) > 1e-9 * max(1.0, float(np.abs(d).max()))
        hits = usable & (rate * xB < 0)
        times = np.full(d.size, np.inf)
        times[hits] = -xB[hits] / rate[hits]
        k = int(np.argmin(times))
        if move == toward_zero and abs(x[j]) <= times[k]:
            x[columns] = xB + abs(x[j]) * rate
            x[j] = 0.0
        elif np.isfinite(times[k]):
            t = times[k]
            x[columns] = xB + t * rate
            x[columns[k]] = 0.0
            x[j] += t * move
            basis.replace(k, int(j), d)


def simplex(
    A: np.ndarray,
    y: np.ndarray,
    basis: Basis,
    tau: np.ndarray,
    max_pivots: int,
    rng: np.random.Generator,
    costs: Costs = PLAIN,
) -> tuple[np.ndarray, bool, int]:
    """Pivot to an optimal basis; returns (λ, optimal, pivots). ``basis`` is changed in place.

    A basic coordinate at zero has a free slope in [−c₋, c₊]: it starts from the path's ``tau`` = Aᵀλ. After a step of
    length zero the entering column is drawn at random among the violators, which ends cycling with probability one.
    """
    x, zero = basis.values(y)
    slope = np.where(zero, costs.clip(tau[basis.columns], basis.columns), costs.slope(x, basis.columns))
    stalled = False
    pivots = 0
    while True:
        dual = basis.solve_transposed(slope)
        violation = costs.excess(dual @ A)
        violation[basis.columns] = -1.0
        bad = np.flatnonzero(violation > 1e-11)
        if bad.size == 0 or pivots == max_pivots:
            return dual, bad.size == 0, pivots
        j = int(rng.choice(bad)) if stalled else int(np.argmax(violation))
        sigma = 1.0 if A[:, j] @ dual > 0 else -1.0
        d = basis.solve(A[:, j])
        k, t, passed = line_search(x, zero, slope, sigma * d, -violation[j], costs, basis.columns)
        if k < 0:
            return dual, False, pivots
        slope[passed] = costs.beyond(sigma * d[passed], basis.columns, passed)
        x -= t * sigma * d
        zero[passed] = False
        stalled = t == 0
        x[k], zero[k] = t * sigma, stalled
        slope[k] = costs.end(sigma, j)
        zero_now = np.abs(x) <= basis.zero_level * np.abs(x).max()
        zero |= zero_now & (np.arange(x.size) != k)
        basis.replace(k, j, d)
        pivots += 1


def line_search(
    x: np.ndarray,
    zero: np.ndarray,
    slope: np.ndarray,
    d: np.ndarray,
    fall: float,
    costs: Costs,
    columns: np.ndarray,
    level: float = 1e-9,
) -> tuple[int, float, np.ndarray]:
    """Leaving position, step and positions passed for x − t·d; ``fall`` < 0 is the cost's slope at t = 0. −1: none.

    Entries of d below ``level``, relative to its largest, are taken for rounding.
    """
    usable = np.abs(d) > level * max(1.0, float(np.abs(d).max()))
    candidates = np.flatnonzero(usable & (zero | (x * d > 0)))
    times = np.where(zero[candidates], 0.0, np.maximum(x[candidates] / d[candidates], 0.0))
    jump = costs.jump(d[candidates], slope[candidates], columns, candidates)
    order = np.lexsort((-np.abs(d[candidates]), times))
    reached = fall + np.cumsum(jump[order])
    turned = np.flatnonzero(reached >= 0)
    # A cost that is flat beyond its last kink, Σx⁻, has slope 0 there, up to rounding.
    flat = turned.size == 0 and reached.size > 0 and reached[-1] >= -1e-12 * max(abs(fall), float(jump.sum()))
    if turned.size == 0 and not flat:
        return -1, 0.0, candidates[:0]
    stop = order.size - 1 if flat else int(turned[0])
    return int(candidates[order[stop]]), float(times[order[stop]]), candidates[order[:stop]]
