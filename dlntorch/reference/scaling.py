"""A basis-pursuit problem in the coordinates that suit the path: scaled rows, full row rank; and the way back.

Scaling is by powers of two, hence exact: rows of A to norm about one, y to size about one. Zero rows and columns are
left out. A of numerical rank r < m, or ill-conditioned, is replaced by its r right singular vectors (A = USVᵀ: Vᵀ with
right-hand side S⁻¹Uᵀy), an equivalent problem with orthonormal rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg.lapack

from dlntorch.reference.basis_pursuit_path import PathProblem
from dlntorch.trajectory import Status

__all__ = ["Answer", "ScaledProblem"]

lapack: Any = scipy.linalg.lapack  # its names are made at run time


@dataclass
class Answer:
    """The numbers of :class:`~dlntorch.reference.basis_pursuit.BasisPursuitResult` for one problem, as arrays."""

    x: np.ndarray
    dual: np.ndarray
    value: float = 0.0
    gap: float = 0.0
    primal_residual: float = 0.0
    dual_infeasibility: float = 0.0
    is_vertex: bool = True
    status: Status = Status.CONVERGED
    reason: str = ""
    iterations: int = 0
    rounding: float = 0.0  # relative error of the gap from rounding in Aᵀλ and yᵀλ: eps·max|A|ᵀ|λ|


class ScaledProblem:
    """One matrix A, scaled and reduced; then any number of right-hand sides.

    Args:
        A: Shape (m, n), finite, not empty.
        eps: Relative precision of the input, for the decisions on rank and consistency.
    """

    def __init__(self, A: np.ndarray, eps: float) -> None:
        self.m, self.n = A.shape
        self.eps = eps
        self.residual_bound = 1e-10
        self.columns = np.flatnonzero(np.any(A != 0, axis=0))
        self.rows = np.flatnonzero(np.any(A != 0, axis=1))
        kept = A if self.rows.size == self.m and self.columns.size == self.n else A[np.ix_(self.rows, self.columns)]
        # Row exponents: the largest entry of each row lands in [1/2, 1), then the norm near one.
        top = np.frexp(np.abs(kept).max(axis=1, initial=0.0))[1]
        first = np.ldexp(kept, -top[:, None])
        norm = np.frexp(np.sqrt(np.einsum("ij,ij->i", first, first)))[1]
        self.exponent = top + norm
        self.A = np.ldexp(first, -norm[:, None])
        self.path: PathProblem | None = None
        self._left: np.ndarray | None = None
        self._singular = np.ones(0)
        self.reduced = self._reduce()

    def _reduce(self) -> np.ndarray:
        """The full-rank matrix the path works on: A itself, or its right singular vectors."""
        m, n = self.A.shape
        if m == 0:
            return self.A
        if m <= n:
            path = PathProblem(self.A)
            if path.normal.rcond() > 1e-5:
                self.path = path
                return self.A
        U, S, Vt = np.linalg.svd(self.A, full_matrices=False)
        rank = int((2 * max(m, n) * self.eps * S[0] < S).sum())
        self._left, self._singular = U[:, :rank], S[:rank]
        return Vt[:rank]

    # -- right-hand sides -------------------------------------------------------------------------------------------

    def right_hand_side(self, y: np.ndarray) -> np.ndarray:
        """y in the path's coordinates; sets this side's scale, and the relative distance of y from range(A)."""
        self.y = y
        mantissa, exponent = np.frexp(y[self.rows])
        exponent = exponent - self.exponent
        nonzero = mantissa != 0
        self.shift = int(exponent[nonzero].max()) if nonzero.any() else 0
        self.b = np.ldexp(mantissa, exponent - self.shift)
        outside = np.ones(self.m, dtype=bool)
        outside[self.rows] = False
        self.inconsistent = bool(np.any(y[outside] != 0))
        self.distance = 1.0 if self.inconsistent else 0.0
        if self._left is None:
            return self.b
        projected = self._left.T @ self.b
        if self._left.shape[1] < self._left.shape[0]:
            off = float(np.linalg.norm(self.b - self._left @ projected) / (np.linalg.norm(self.b) or 1.0))
            # Rounding of A's entries moves the range by eps·‖A‖/σ_min.
            slack = 10 * max(self.m, self.n) * self.eps * max(1.0, float(self._singular[0] / self._singular[-1]))
            if off > min(slack, 1e-3):
                self.inconsistent, self.distance = True, max(off, self.distance)
        return projected / self._singular

    def restore(self, x: np.ndarray, dual: np.ndarray) -> Answer:
        """The answer in the caller's coordinates, with its certificate evaluated against the caller's A and y."""
        if self._left is not None:
            dual = self._left @ (dual / self._singular)
            x = self._polished(x)
        dual = dual / max(1.0, float(np.abs(dual @ self.A).max()))
        value = float(np.abs(x).sum())
        full_x, full_dual = np.zeros(self.n), np.zeros(self.m)
        target = self.b
        if self.inconsistent and self._left is not None:
            target = self._left @ (self._left.T @ self.b)
        with np.errstate(over="ignore", under="ignore"):
            full_x[self.columns] = np.ldexp(x, self.shift)
            full_dual[self.rows] = np.ldexp(dual, -self.exponent)
            total = float(np.ldexp(value, self.shift))
        answer = Answer(
            full_x,
            full_dual,
            total,
            (value - float(target @ dual)) / value if value > 0 else 0.0,
            self._residual(x),
            max(0.0, float(np.abs(dual @ self.A).max()) - 1.0),
        )
        answer.rounding = float(np.finfo(np.float64).eps * (np.abs(dual) @ np.abs(self.A)).max())
        return self._judge(answer)

    def zero_answer(self) -> Answer:
        """x = 0, for y = 0 or a y orthogonal to the range of A."""
        answer = Answer(np.zeros(self.n), np.zeros(self.m), primal_residual=1.0 if np.any(self.y) else 0.0)
        return self._judge(answer)

    def is_vertex(self, x: np.ndarray) -> bool:
        """Whether the columns on the support of x are independent, to the rounding of unit columns."""
        A_S = self.A[:, x[self.columns] != 0]
        if A_S.shape[1] > A_S.shape[0]:
            return False
        if A_S.shape[1] == 0:
            return True
        A_S = A_S / np.linalg.norm(A_S, axis=0)
        gram = A_S.T @ A_S
        lower, info = lapack.dpotrf(gram)
        if info == 0 and float(lapack.dpocon(lower, float(np.abs(gram).sum(axis=0).max()))[0]) > 1e-10:
            return True
        return int(np.linalg.matrix_rank(A_S)) == A_S.shape[1]

    def _judge(self, answer: Answer) -> Answer:
        """The statuses that do not depend on the tolerance."""
        if not (np.isfinite(answer.value) and np.all(np.isfinite(answer.dual))):
            answer.x, answer.dual = np.zeros(self.n), np.zeros(self.m)
            answer.value, answer.gap, answer.primal_residual, answer.dual_infeasibility = 0.0, 1.0, 1.0, 0.0
            answer.status, answer.reason = Status.FAILED, "the minimiser or its dual is outside the range of float64"
        elif self.inconsistent:
            answer.status = Status.FAILED
            answer.reason = (
                f"y is not in the range of A (relative distance {self.distance:.1e}): no x has Ax = y, "
                "and this one solves the problem for the projection of y on the range"
            )
        return answer

    def _polished(self, x: np.ndarray) -> np.ndarray:
        """One correction of x on its support against the matrix before the reduction."""
        support = np.flatnonzero(x)
        correction = np.linalg.lstsq(self.A[:, support], self.b - self.A @ x, rcond=None)[0]
        better = x.copy()
        better[support] += correction
        same_signs = np.array_equal(np.sign(better), np.sign(x))
        smaller = np.linalg.norm(self.b - self.A @ better) < np.linalg.norm(self.b - self.A @ x)
        return better if same_signs and smaller else x

    def _residual(self, x: np.ndarray) -> float:
        """‖Ax − y‖₂/‖y‖₂ in the caller's row scaling, without overflow."""
        r = self.b - self.A @ x
        size = np.frexp(self.b)[1] + self.exponent
        outside = np.ones(self.m, dtype=bool)
        outside[self.rows] = False
        top = int(size[self.b != 0].max()) if np.any(self.b) else None
        rest = self.y[outside]
        if np.any(rest):
            rest_top = int(np.frexp(np.abs(rest).max())[1]) - self.shift
            top = rest_top if top is None else max(top, rest_top)
        if top is None:
            return 0.0
        with np.errstate(under="ignore"):
            rest = np.ldexp(rest, -top - self.shift)
            r = np.concatenate([np.ldexp(r, self.exponent - top), rest])
            b = np.concatenate([np.ldexp(self.b, self.exponent - top), rest])
        return float(np.linalg.norm(r) / np.linalg.norm(b))
