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
    """δ*, ϱ and max μ_i of Lemma 1; ``delta`` is None with ``reason`` where there is no margin, inf where no column is off S."""

    delta: float | None
    rho: float
    influence: float
    reason: str = ""


def selection_margin(problem: Problem, support: np.ndarray, sign: np.ndarray) -> Margin:
    """The largest d for which a λ has A_Sᵀλ = (1 + d/2)σ and |A_iᵀλ| + (d/2)μ_i <= 1 off S, μ_i = ‖A_S⁺A_i‖₁.

    Args:
        problem: The data, in float64 on the CPU.
        support: S, whose columns are independent.
        sign: σ, shape (|S|,).

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
    own = np.abs(np.linalg.pinv(columns[:, support]) @ columns[:, off]).sum(axis=0)
    influences = (own, np.abs(basis[off] @ inverse).sum(axis=1))
    largest = float(own.max())
    tau, free = basis[off] @ (inverse @ sign), basis[off] @ right[rank:].T
    room = RoomBelow(tau, free)
    moves = _move(room, np.ones(off.size), 0.0)  # e = −max |τ + Fz|
    if moves is None:
        return Margin(None, 1.0, largest, "the dual programme was not solved")
    rho = float(np.abs(tau + free @ moves).max())
    if not rho < 1 - _UNDECIDED:
        return Margin(None, rho, largest, "no dual vector is below 1 off the support: not unique")
    tried = [(moves, influence) for influence in influences]
    if free.shape[1]:
        # (1 + d/2)|τ_i + (Fz)_i| + (d/2)μ_i <= 1, over 1 + d/2: |τ_i + (Fz)_i| + e(1 + μ_i) <= 1, e = d/(2 + d).
        tried += [(_move(room, 1 + influence, 1.0), influence) for influence in influences]
    deltas = [_attained(tau, free, found, influence) for found, influence in tried if found is not None]
    return Margin(max(deltas), rho, largest)


def _attained(tau: np.ndarray, free: np.ndarray, moves: np.ndarray, influence: np.ndarray) -> float:
    """The d that λ = (1 + d/2)(A_S^{+T}σ + move) has: |τ_i|(1 + d/2) + μ_i d/2 <= 1 is solved for d, less a little."""
    at = np.abs(tau + free @ moves)
    with np.errstate(divide="ignore"):
        return float(np.min(2 * (1 - at) / (at + influence))) * (1 - _INSIDE)


def _move(room: RoomBelow, costs: np.ndarray, limit: float) -> np.ndarray | None:
    """The z of max e, |τ_i + (Fz)_i| + c_i e <= b, by a general solver where :class:`RoomBelow` gives up."""
    k = room.free.shape[1]
    if k == 0:
        return np.zeros(0)
    found = room.move(costs, limit)
    if found is not None:
        return found
    from scipy.optimize import linprog

    rows = np.vstack([np.column_stack([sign * room.free, costs]) for sign in (1, -1)])
    general = linprog(
        np.append(np.zeros(k), -1.0),
        A_ub=rows,
        b_ub=limit - np.concatenate([room.tau, -room.tau]),
        bounds=(None, None),
        method="highs",
        options={"primal_feasibility_tolerance": _FEASIBILITY, "dual_feasibility_tolerance": _FEASIBILITY},
    )
    return np.asarray(general.x[:k]) if general.status == 0 else None
