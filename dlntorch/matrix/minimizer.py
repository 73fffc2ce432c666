"""The minimiser of a norm under linear equations, with its certificate and whether it is the only one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dlntorch.matrix.norms import Norm
from dlntorch.matrix.proximal_point import Pair, solve
from dlntorch.matrix.rows import Rows, Standard
from dlntorch.numerics.trajectory import Status

__all__ = ["ACCEPTED_GAP", "Found", "find"]

#: A pair with at most this relative duality gap is a solution.
ACCEPTED_GAP = 1e-9
#: Every part of 𝒜*λ whose size is within this of the largest counts as on the face when uniqueness is proved …
NEAR = 1e-5
#: … which needs the measurements to keep all of the face apart, relative to the largest singular value, by this much.
INJECTIVE = 1e-7
#: How far another minimiser is looked for, relative to X, and by how much its norm may be larger for rounding.
ASIDE, FLAT = 1e-2, 1e-10
#: Largest number of entries of a basis of the face.
FACE_ENTRIES = 50_000_000


@dataclass
class Found:
    """A minimiser in the scale of the problem.

    Attributes:
        X: Shape of X.
        lam: λ of the measurements as given.
        value: h(X).
        size: Dual norm of Σ λ_jA_j.
        gap: (h(X) − yᵀλ)/h(X).
        unique: Whether X is the only minimiser; None where that was not decided, and ``unique_reason`` says why.
        status, reason: How the computation ended.
        steps: Newton steps.
    """

    X: np.ndarray
    lam: np.ndarray
    value: float
    size: float
    gap: float
    unique: bool | None
    unique_reason: str
    status: Status
    reason: str
    steps: int


def find(standard: Standard, norm: Norm, cone: str = "") -> Found:
    """Solve, certify, and decide on uniqueness; ``cone`` names what X has to be, where the norm lives on a cone."""
    rows, y, scale = standard.rows, standard.y, standard.scale
    reasons = []
    if standard.missing:
        reasons.append(
            f"no X has these measurements: y is {standard.missing:.1e} of its norm away from their range, "
            "and X belongs to its projection"
        )
    if not y.any():
        zero = np.zeros(rows.shape)
        status = Status.FAILED if reasons else Status.CONVERGED
        lam = standard.dual(np.zeros(y.size))
        return Found(
            zero, lam, 0.0, 0.0, 0.0, None if reasons else True, "; ".join(reasons), status, "; ".join(reasons), 0
        )
    pair = solve(rows, y, norm)
    solved = pair.gap <= ACCEPTED_GAP
    if not solved:
        reasons.append(_why(pair, cone))
    if reasons:
        unique, why = None, "there is no certified minimiser"
    else:
        unique, why = _uniqueness(rows, norm, pair)
    status = Status.CONVERGED
    if not solved:
        status = Status.MAX_STEPS if np.isfinite(pair.gap) else Status.FAILED
    if standard.missing:
        status = Status.FAILED
    return Found(
        X=pair.X * scale,
        lam=standard.dual(pair.lam),
        value=pair.value * scale,
        size=norm.dual(rows.adjoint(pair.lam)),
        gap=max(pair.gap, 0.0),
        unique=unique,
        unique_reason=why,
        status=status,
        reason="; ".join(reasons),
        steps=pair.steps,
    )


def _why(pair: Pair, cone: str) -> str:
    """Why there is no small gap: no feasible X in the cone, or the solver stopped."""
    if cone and not np.isfinite(pair.value):
        return f"no {cone} X was found with these measurements: the smallest found has {_outside(pair.X):.1e} of itself outside"
    return f"the duality gap is {pair.gap:.1e} (asked {ACCEPTED_GAP:.0e})"


def _outside(X: np.ndarray) -> float:
    values = np.linalg.eigvalsh(0.5 * (X + X.T))
    return float(max(-values[0], 0.0) / np.abs(values).max())


def _uniqueness(rows: Rows, norm: Norm, pair: Pair) -> tuple[bool | None, str]:
    """By the face that 𝒜*λ supports: every minimiser lies in it, and on its span the norm is linear.

    * 𝒜 injective on the span of the face: X is the only minimiser. The face is taken too large by :data:`NEAR`.
    * A direction K of the kernel along which the norm stays as it is: X + tK is another minimiser.
    * Neither: λ is not in the relative interior of the dual solutions, and another one could decide.
    """
    Z = rows.adjoint(pair.lam)
    basis = norm.face(Z / norm.dual(Z), NEAR)
    if len(basis) * rows.size > FACE_ENTRIES:
        return None, f"the face has dimension {len(basis)}, too large to be looked at"
    stack = np.stack(basis)
    images = rows.apply(stack)
    _, s, Vt = np.linalg.svd(images.T, full_matrices=True)
    s = np.concatenate([s, np.zeros(len(basis) - s.size)])
    if s[-1] > INJECTIVE * s[0]:
        return True, ""
    for k in np.flatnonzero(s <= 1e-10 * s[0])[::-1]:
        K = np.tensordot(Vt[k], stack, 1)
        K = K * (ASIDE * np.linalg.norm(pair.X) / np.linalg.norm(K))
        for other in (pair.X + K, pair.X - K):
            if norm.value(other) <= pair.value * (1 + FLAT):
                return False, ""
    return None, (
        f"the dual vector supports a face of dimension {len(basis)} on which the measurements are not injective "
        f"(smallest singular value {s[-1] / s[0]:.1e} of the largest), and no second minimiser was found on it"
    )
