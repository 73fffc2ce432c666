"""How unequal the weights of an ℓ1 norm may be on the support before its minimiser changes: Lemma 1 of the threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dlntorch.bounds.minimax import RoomBelow
from dlntorch.bounds.row_complement import RowComplement
from dlntorch.problem import Problem

__all__ = ["Margin", "selection_margin"]

#: A general solver is asked for this accuracy; d stays below what its λ attains by the part below.
_FEASIBILITY = 1e-10
_INSIDE = 1e-6
#: A ϱ closer to 1 is not told from 1.
_UNDECIDED = 1e-9
#: Ratio of singular values of the support's columns, in an orthonormal basis, below which they are called dependent.
_DEPENDENT = 1e-12


@dataclass(frozen=True)
class Margin:
    """δ*, ϱ and max μ_i of Lemma 1; ``delta`` is None with ``reason`` where there is no margin, inf where no column is off S.

    ϱ and μ_i are relative to the weights ω off S.
    """

    delta: float | None
    rho: float
    influence: float
    reason: str = ""


def selection_margin(
    problem: Problem, support: np.ndarray, sign: np.ndarray, weights: tuple[np.ndarray, np.ndarray] | None = None
) -> Margin:
    """The largest d for which a λ has A_Sᵀλ = (1 + d/2)σ and |A_iᵀλ| + (d/2)μ_i <= 1 off S, μ_i = ‖A_S⁺A_i‖₁.

    With weights ω± it is A_Sᵀλ = (1 + d/2)σ∘ω_S, −ω₋,i + (d/2)μ_i <= A_iᵀλ <= ω₊,i − (d/2)μ_i,
    μ_i = Σ_{j∈S} ω_j|(A_S⁺A_i)_j|.

    Args:
        problem: The data, in float64 on the CPU.
        support: S, whose columns are independent.
        sign: σ, shape (|S|,).
        weights: ω₊ and ω₋ > 0, shape (n,) each; None for ones.

    With |S| = rank(A) the λ is fixed and d = min 2(1 − ϱ_i)/(ϱ_i + μ_i); otherwise it is a small linear
    programme, and d is what its λ attains.
    """
    basis = RowComplement(problem).basis  # (n, r): AᵀΛ for all Λ
    off = np.setdiff1d(np.arange(problem.n), support)
    if off.size == 0:
        return Margin(np.inf, 0.0, 0.0)
    left, size, right = np.linalg.svd(basis[support])
    if size[-1] <= _DEPENDENT * size[0]:
        return Margin(None, 1.0, np.inf, "the support's columns are dependent to rounding")
    rank = support.size
    inverse = right[:rank].T / size @ left.T
    # Any left inverse of A_S serves the lemma: that of the basis, and A_S⁺ itself.
    columns = problem.reduced().A.numpy()
    own = np.linalg.pinv(columns[:, support]) @ columns[:, off]
    if weights is not None:
        at = np.where(sign > 0, weights[0][support], weights[1][support])
        own, inverse = at[:, None] * own, inverse * at
    influences = [np.abs(own).sum(axis=0), np.abs(basis[off] @ inverse).sum(axis=1)]
    tau, free = basis[off] @ (inverse @ sign), basis[off] @ right[rank:].T
    bounds = _Bounds.of(tau, free, None if weights is None else (weights[0][off], weights[1][off]))
    influences = [bounds.relative(influence) for influence in influences]
    largest = float(influences[0].max())
    moves = bounds.move(np.ones(bounds.tau.size), 0.0)  # e = −max |τ + Fz|
    if moves is None:
        return Margin(None, 1.0, largest, "the dual programme was not solved")
    rho = float(bounds.at(moves).max())
    if not rho < 1 - _UNDECIDED:
        return Margin(None, rho, largest, "no dual vector is below 1 off the support: not unique")
    tried = [(moves, influence) for influence in influences]
    if free.shape[1]:
        # (1 + d/2)|τ_i + (Fz)_i| + (d/2)μ_i <= 1, over 1 + d/2: |τ_i + (Fz)_i| + e(1 + μ_i) <= 1, e = d/(2 + d).
        tried += [(bounds.move(1 + influence, 1.0), influence) for influence in influences]
    deltas = [_attained(bounds.at(found), influence) for found, influence in tried if found is not None]
    return Margin(max(deltas), rho, largest)


def _attained(at: np.ndarray, influence: np.ndarray) -> float:
    """The d that λ = (1 + d/2)(A_S^{+T}σ + move) has: |τ_i|(1 + d/2) + μ_i d/2 <= 1 is solved for d, less a little."""
    with np.errstate(divide="ignore"):
        room = np.where(at + influence > 0, 2 * (1 - at) / np.maximum(at + influence, 0), np.inf)
    return float(np.min(room)) * (1 - _INSIDE)


class _Bounds:
    """|τ + Fz| relative to the weights off S: the rows of a programme, on both sides or on each one by itself.

    With ω₊ = ω₋ both are divided by it. Else there is a row for each side, (τ + Fz)/ω₊ and −(τ + Fz)/ω₋, bounded from above only.
    """

    def __init__(self, tau: np.ndarray, free: np.ndarray, scale: np.ndarray | None, two_sided: bool) -> None:
        self.tau, self.free, self._scale, self._two_sided = tau, free, scale, two_sided
        self._room = RoomBelow(tau, free) if two_sided else None

    @classmethod
    def of(cls, tau: np.ndarray, free: np.ndarray, weights: tuple[np.ndarray, np.ndarray] | None) -> _Bounds:
        """Those of weights (ω₊, ω₋) off S."""
        if weights is None:
            return cls(tau, free, None, True)
        plus, minus = weights
        if np.array_equal(plus, minus):
            return cls(tau / plus, free / plus[:, None], plus, True)
        both, signed = np.concatenate([plus, minus]), np.concatenate([plus, -minus])
        return cls(np.tile(tau, 2) / signed, np.tile(free, (2, 1)) / signed[:, None], both, False)

    def relative(self, influence: np.ndarray) -> np.ndarray:
        """μ_i for every row."""
        if self._scale is None:
            return influence
        return (influence if self._two_sided else np.tile(influence, 2)) / self._scale

    def at(self, z: np.ndarray) -> np.ndarray:
        """What is bounded by 1 in every row."""
        values = self.tau + self.free @ z
        return np.abs(values) if self._two_sided else values

    def move(self, costs: np.ndarray, limit: float) -> np.ndarray | None:
        """The z of max e, |τ_i + (Fz)_i| + c_i e <= b, by a general solver where :class:`RoomBelow` gives up."""
        k = self.free.shape[1]
        if k == 0:
            return np.zeros(0)
        found = None if self._room is None else self._room.move(costs, limit)
        if found is not None:
            return found
        from scipy.optimize import linprog

        signs = (1, -1) if self._two_sided else (1,)
        rows = np.vstack([np.column_stack([sign * self.free, costs]) for sign in signs])
        general = linprog(
            np.append(np.zeros(k), -1.0),
            A_ub=rows,
            b_ub=limit - np.concatenate([sign * self.tau for sign in signs]),
            bounds=(None, None),
            method="highs",
            options={"primal_feasibility_tolerance": _FEASIBILITY, "dual_feasibility_tolerance": _FEASIBILITY},
        )
        return np.asarray(general.x[:k]) if general.status == 0 else None
