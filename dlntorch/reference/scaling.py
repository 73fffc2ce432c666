"""A basis-pursuit problem in the coordinates that suit the path: scaled rows, full row rank; and the way back.

Scaling is by powers of two, hence exact: rows of A to norm about one, y to size about one. Zero rows and columns are
left out. A of numerical rank r < m, or ill-conditioned, is replaced by S⁻¹UᵀA (A = USVᵀ) with right-hand side S⁻¹Uᵀy, an
equivalent problem with orthonormal rows, evaluated with twice the digits and rounded once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg.lapack

from dlntorch.numerics import extended
from dlntorch.numerics.trajectory import Status
from dlntorch.problem.row_space import RowSpace, Side, scaled_vector
from dlntorch.reference.basis_pursuit_path import PathProblem
from dlntorch.reference.gap import duality_gap
from dlntorch.reference.weights import UNWEIGHTED, Weights

__all__ = ["ScaledAnswer", "ScaledProblem"]

lapack: Any = scipy.linalg.lapack  # its names are made at run time
_WELL_CONDITIONED = 1e-10  # 1/κ² of the columns on the support, above which x is as accurate as its residual


@dataclass
class ScaledAnswer:
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
    rounding: float = 0.0  # of Aᵀλ: eps·max|A|ᵀ|λ|
    bound: float = 0.0  # of the error of the gap, see duality_gap
    error: float = 0.0  # relative, of x: the last step of its refinement, 0 where none was needed
    fit: float = 0.0  # ‖b − Ax‖₂/‖b‖₂ in scaled rows, b projected on range(A) where it lies outside
    floor: float = 0.0  # what rounding x to float64 makes of fit: eps‖|A||x|‖₂/‖b‖₂


class ScaledProblem:
    """One matrix A, scaled and reduced; then any number of right-hand sides.

    Args:
        A: Shape (m, n), finite, not empty.
        eps: Relative precision of the input, for the decisions on rank and consistency.
        weights: Of the norm that is minimised.
    """

    def __init__(self, A: np.ndarray, eps: float, weights: Weights = UNWEIGHTED) -> None:
        self.m, self.n = A.shape
        self.eps = eps
        self.columns = np.flatnonzero(np.any(A != 0, axis=0))
        self.rows = np.flatnonzero(np.any(A != 0, axis=1))
        kept = A if self.rows.size == self.m and self.columns.size == self.n else A[np.ix_(self.rows, self.columns)]
        # Row exponents: the largest entry of each row lands in [1/2, 1), then the norm near one.
        top = np.frexp(np.abs(kept).max(axis=1, initial=0.0))[1]
        first = np.ldexp(kept, -top[:, None])
        self.weights = weights.at(self.columns)
        if self.weights.exponents is not None:
            first = self.weights.scaled(first)
            again = np.frexp(np.abs(first).max(axis=1, initial=0.0))[1]
            first, top = np.ldexp(first, -again[:, None]), top + again
        norm = np.frexp(np.sqrt(np.einsum("ij,ij->i", first, first)))[1]
        self.exponent = top + norm
        self.A = np.ldexp(first, -norm[:, None])
        self.path: PathProblem | None = None
        self.space: RowSpace | None = None
        self.side: Side | None = None
        self.rounded = ""
        self.reduced = self._reduce()

    def _reduce(self) -> np.ndarray:
        """The full-rank matrix the path works on: A itself, or orthonormal combinations of its rows."""
        m, n = self.A.shape
        if m == 0:
            return self.A
        if m <= n:
            path = PathProblem(self.A)
            if path.normal.rcond() > 1e-5:
                self.path = path
                return self.A
        U, S, _ = np.linalg.svd(self.A, full_matrices=False)
        self.space = RowSpace(U, S, self.exponent, self.n, self.eps)
        return self.space.whiten(self.A)

    # -- right-hand sides -------------------------------------------------------------------------------------------

    def right_hand_side(self, y: np.ndarray) -> np.ndarray:
        """y in the path's coordinates; sets this side's scale, and the relative distance of y from range(A)."""
        self.y = y
        self.b, self.shift = scaled_vector(y[self.rows], self.exponent)
        outside = np.ones(self.m, dtype=bool)
        outside[self.rows] = False
        self.inconsistent = bool(np.any(y[outside] != 0))
        self.distance = 1.0 if self.inconsistent else 0.0
        self.target = self.b
        if self.space is None:
            return self.b
        self.side = self.space.side(self.b)
        if not self.side.consistent:
            self.inconsistent, self.distance = True, max(self.side.distance, self.distance)
        self.rounded = self.space.reason(self.side)
        if self.rounded or not self.side.consistent:
            self.target = self.b - self.side.outside
        return self.side.white

    def restore(self, x: np.ndarray, dual: np.ndarray) -> ScaledAnswer:
        """The answer in the caller's coordinates, with its certificate evaluated against the caller's A and y."""
        independent, rcond = self._independence(x)
        error = 0.0
        if self.space is not None:
            dual = self.space.whitener.T @ dual
        if self.space is not None or rcond <= _WELL_CONDITIONED:
            x, error = self._refined(x)
        costs, weights = self.weights.costs, self.weights
        dual = dual / max(1.0, costs.ratio(dual @ self.A))
        value = costs.value(x)
        full_x, full_dual = np.zeros(self.n), np.zeros(self.m)
        with np.errstate(over="ignore", under="ignore"):
            full_x[self.columns] = weights.unscaled(x, self.shift)
            full_dual[self.rows] = np.ldexp(weights.factor * dual, weights.unit - self.exponent)
            total = float(np.ldexp(weights.factor * value, weights.unit + self.shift))
        product = self.A @ x
        missing = self.target - product
        if self.space is not None and self.rounded:  # what A has outside its range is noise
            missing = self.space.U @ (self.space.U.T @ missing)
        gap, bound, rounding = duality_gap(self.A, self.target, x, dual, missing, costs)
        answer = ScaledAnswer(
            full_x,
            full_dual,
            total,
            gap,
            self._residual(self.b - product),
            max(0.0, costs.ratio(dual @ self.A) - 1.0),
            is_vertex=independent,
            rounding=rounding,
            bound=bound,
            error=error,
            fit=float(np.linalg.norm(missing) / (np.linalg.norm(self.target) or 1.0)),
            floor=self._floor(x),
        )
        return self._judge(answer)

    def zero_answer(self) -> ScaledAnswer:
        """x = 0, for y = 0 or a y orthogonal to the range of A."""
        answer = ScaledAnswer(np.zeros(self.n), np.zeros(self.m), primal_residual=1.0 if np.any(self.y) else 0.0)
        return self._judge(answer)

    def independent(self, x: np.ndarray) -> bool:
        """Whether the columns on the support of x are independent."""
        return self._independence(x)[0]

    def _independence(self, x: np.ndarray) -> tuple[bool, float]:
        """Whether the columns on the support of x are independent, to the rounding of unit columns; and 1/κ², or 0."""
        A_S = self.A[:, x != 0]
        if A_S.shape[1] > A_S.shape[0]:
            return False, 0.0
        if A_S.shape[1] == 0:
            return True, 1.0
        A_S = A_S / np.linalg.norm(A_S, axis=0)
        gram = A_S.T @ A_S
        lower, info = lapack.dpotrf(gram)
        rcond = float(lapack.dpocon(lower, float(np.abs(gram).sum(axis=0).max()))[0]) if info == 0 else 0.0
        return rcond > _WELL_CONDITIONED or int(np.linalg.matrix_rank(A_S)) == A_S.shape[1], rcond

    def _judge(self, answer: ScaledAnswer) -> ScaledAnswer:
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

    def _refined(self, x: np.ndarray) -> tuple[np.ndarray, float]:
        """x refined on its support against the numbers as given, and its error; x itself where that turns a sign."""
        support = np.flatnonzero(x)
        # A basis has one solution, which orthonormal rows find best; fewer columns leave the rounding of y in the rows.
        whiten = self.space.whiten if self.space is not None and support.size == self.space.rank else None
        B = (self.A if whiten is None else self.reduced)[:, support]
        inverse = np.linalg.pinv(B, rcond=max(B.shape) * extended.EPS)

        def embedded(values: np.ndarray) -> np.ndarray:
            out = np.zeros_like(x)
            out[support] = values
            return out

        def rest(values: np.ndarray) -> np.ndarray:
            missing = extended.residual(self.A, embedded(values), self.target)
            return missing if whiten is None else whiten(missing[:, None])[:, 0]

        values, error = extended.refine(x[support], lambda r: inverse @ r, rest)
        if np.array_equal(np.sign(values), np.sign(x[support])):
            return embedded(values), error
        return x, float(np.abs(values - x[support]).max() / np.abs(x[support]).max())

    def _floor(self, x: np.ndarray) -> float:
        support = np.flatnonzero(x)
        terms = np.abs(self.A[:, support]) @ np.abs(x[support])
        return float(extended.EPS * np.linalg.norm(terms) / (np.linalg.norm(self.target) or 1.0))

    def _residual(self, r: np.ndarray) -> float:
        """‖Ax − y‖₂/‖y‖₂ in the caller's row scaling, without overflow, from b − Ax."""
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
