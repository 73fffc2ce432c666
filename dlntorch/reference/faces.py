"""The set U(A, y) of all ℓ1-minimisers: its support, its one sign pattern, its dimension (theory: Goldman–Tucker).

For any optimal dual λ, every minimiser vanishes off the ties T = {i : |A_iᵀλ| = 1} and has the signs of A_iᵀλ on them:
with B = A_T diag(sign), U = {x >= 0 : Bx = y}. If A_T has independent columns, the minimiser is unique, and nothing
else needs to be solved: the usual case. Otherwise let x⁰ be a vertex with support S₀; a minimiser can be positive at
i in T∖S₀ if and only if some direction δ of the cone {Bδ = 0, δ >= 0 off S₀} has δ_i > 0. One small linear programme,

    max Σ z_i  subject to  B_{T∖S₀}(z + w) + B_{S₀}δ = 0,  0 <= z <= 1,  w >= 0,  δ free,

has z_i = 1 at all such i and 0 at the others (after Freund, Roundy and Todd); it does not see y, hence no wide range of
sizes in ψ. A step along its direction from x⁰ is a minimiser with the largest support S, and the dimension of U is
|S| − rank(A_S).

With weights w₊, w₋ the same holds for A_iᵀλ relative to them (:attr:`~dlntorch.reference.vertex.Vertex.tau`).

What is decided, and what is not. With ``noise`` = 32 eps (1 + max‖A_i‖‖λ‖), the rounding error of Aᵀλ:
- 1 − |A_iᵀλ| <= noise is a tie: False means "not unique, up to rounding of the input";
- 1 − |A_iᵀλ| > 1000 noise is none;
- in between (about 1e-14 to 1e-11 on ordinary data) the answer is None whenever it depends on that index. The same
  factor separates, for A_T, the singular values that count as zero from those that do not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linprog

from dlntorch.numerics.trajectory import short_repr
from dlntorch.reference.columns import ColumnFactors
from dlntorch.reference.standard_form import EPS
from dlntorch.reference.vertex import Vertex, least_squares

__all__ = ["Face", "find_face", "numerical_rank"]

UNDECIDED_FACTOR = 1000.0
_FEW = 64  # columns up to which singular values take no longer than a QR


@dataclass(frozen=True)
class Face:
    """The face of ℓ1-minimisers of scaled data.

    Attributes:
        support: Indices where some minimiser is nonzero, increasing.
        signs: Their common signs ±1.
        dimension: Dimension of the face, 0 where the minimiser is unique.
        lam: An optimal dual vector, shape (r,): A_Sᵀλ = σ and |A_iᵀλ| <= 1.
        interior: A minimiser that is nonzero on all of ``support``, shape (n,); the vertex where it is unique.
        unique: dimension == 0, or None where rounding decides it.
        reason: Why ``unique``, or the support, is not decided; else empty.
    """

    support: np.ndarray
    signs: np.ndarray
    dimension: int
    lam: np.ndarray
    interior: np.ndarray
    unique: bool | None
    reason: str = ""

    __repr__ = short_repr


def numerical_rank(M: np.ndarray, factor: float = 1.0) -> int:
    """Number of singular values above factor · max(shape) · eps · σ_max."""
    if min(M.shape) == 0:
        return 0
    if M.shape[1] > _FEW and factor <= UNDECIDED_FACTOR and ColumnFactors(M).well_conditioned:
        return M.shape[1]
    s = np.linalg.svd(M, compute_uv=False)
    return int((s > factor * max(M.shape) * EPS * s[0]).sum())


def find_face(A: np.ndarray, vertex: Vertex) -> Face:
    """The face of all minimisers, from one optimal pair of the scaled problem."""
    face = _face_on(A, vertex, vertex.ties)
    if vertex.near > UNDECIDED_FACTOR * vertex.noise:
        return face
    # Some |A_iᵀλ| is not told from 1: the answer counts only if it stays the same when those are ties too.
    close = np.flatnonzero(np.abs(vertex.tau) >= 1 - UNDECIDED_FACTOR * vertex.noise)
    wider = numerical_rank(A[:, close], UNDECIDED_FACTOR) == close.size
    if wider:
        return face
    undecided = f"1 − |A_iᵀλ| is {vertex.near:.1e} for some i, within {UNDECIDED_FACTOR * vertex.noise:.1e} of a tie"
    if face.unique is False:  # that is certain, but the face may be larger
        return replace(face, reason=f"the face of minimisers is undecided: {undecided}")
    return _undecided(face, undecided)


def _undecided(face: Face, reason: str) -> Face:
    return replace(face, unique=None, reason=f"uniqueness is undecided: {reason}")


def _face_on(A: np.ndarray, vertex: Vertex, ties: np.ndarray) -> Face:
    """The face supported on ``ties``."""
    x = vertex.x
    support = np.flatnonzero(x)
    lone = Face(support, np.sign(x[support]), 0, vertex.lam, x, True)
    if vertex.columns is not None and ties.size == support.size:
        return lone
    independent = numerical_rank(A[:, ties]) == ties.size
    if independent:
        if numerical_rank(A[:, ties], UNDECIDED_FACTOR) == ties.size:
            return lone
        return _undecided(lone, "the columns with |A_iᵀλ| = 1 are dependent up to rounding")
    signs = np.sign(vertex.tau[ties])
    signs[x[ties] != 0] = np.sign(x[ties][x[ties] != 0])
    positive, interior, clear = _largest_support(A[:, ties] * signs, np.abs(x[ties]))
    if positive is None:
        return _undecided(lone, "the linear programme for the largest support failed")
    x0 = np.zeros_like(x)
    x0[ties] = signs * interior
    S = ties[positive]
    rank = numerical_rank(A[:, S])
    dimension = int(S.size - rank)
    face = lone if dimension == 0 else Face(S, signs[positive], dimension, vertex.lam, x0, False)
    if not clear or numerical_rank(A[:, S], UNDECIDED_FACTOR) != rank:
        return _undecided(face, "the largest support of a minimiser is not clear at this precision")
    return face


def _largest_support(B: np.ndarray, x: np.ndarray) -> tuple[np.ndarray | None, np.ndarray, bool]:
    """Where {z >= 0 : Bz = Bx} has a positive entry (a mask), a point positive there, and whether both are clear."""
    base, rest = np.flatnonzero(x > 0), np.flatnonzero(x <= 0)
    t, s = rest.size, base.size
    found = linprog(
        np.concatenate([-np.ones(t), np.zeros(t + s)]),
        A_eq=np.hstack([B[:, rest], B[:, rest], B[:, base]]),
        b_eq=np.zeros(B.shape[0]),
        bounds=[(0, 1)] * t + [(0, None)] * t + [(None, None)] * s,
        method="highs",
    )
    if found.status != 0:
        return None, x, False
    z, w = found.x[:t], found.x[t : 2 * t]
    positive = x > 0
    positive[rest] = z > 0.5
    clear = bool(np.all((z < 1e-6) | (z > 1 - 1e-6)))
    direction = np.zeros(B.shape[1])
    direction[rest] = np.where(z > 0.5, z + w, 0.0)
    direction[base] = least_squares(B[:, base], -(B @ direction))
    size = np.linalg.norm(B, 2) * np.linalg.norm(direction)
    if np.linalg.norm(B @ direction) > UNDECIDED_FACTOR * EPS * max(size, EPS):
        clear = False
    falling = base[direction[base] < 0]
    length = 0.5 * float((x[falling] / -direction[falling]).min(initial=np.inf))
    if not np.isfinite(length):  # ‖x‖₁ is constant along the face: something must fall
        return positive, x, clear and not direction.any()
    return positive, x + length * direction, clear
