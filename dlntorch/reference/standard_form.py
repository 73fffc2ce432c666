"""A problem brought to full row rank and to numbers of size one, in exact steps wherever that is possible.

Rows, matrix and data are scaled by powers of two, so that no digit of the input is lost and problems whose entries are
1e-150 or 1e150 are solved like any other. Linear programmes have absolute tolerances, which need this.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.linalg import solve_triangular
from torch import Tensor

from dlntorch.problem import Problem

__all__ = ["EPS", "StandardForm"]

# Beyond this condition number the rows are made orthonormal, which rounds y and, on its way back, λ. Below it every step
# is exact, so that ties and planted solutions stay exact.
_WELL_CONDITIONED = 1e4
EPS = float(np.finfo(np.float64).eps)


def _exponent(size: ArrayLike) -> np.ndarray:
    """The e of size = f·2^e with 1/2 <= f < 1, and 0 where size = 0."""
    return np.frexp(np.asarray(size, dtype=np.float64))[1]


@dataclass(frozen=True)
class StandardForm:
    """min ‖x‖₁ subject to Ax = y with rank(A) = m, columns of norm <= 1 and ‖y‖₂ in [1/2, 1).

    The rows of A have norm about one; where A is ill-conditioned, they are orthonormal.

    Attributes:
        A: Scaled full-row-rank matrix, shape (r, n), float64.
        y: Scaled right-hand side, shape (r,); zero where the data are.
        problem: Where it came from.
        reason: One line when the data had to be changed (y outside range(A)), else empty.
    """

    A: np.ndarray
    y: np.ndarray
    problem: Problem
    reason: str
    _psi_exponent: int
    _dual_exponents: np.ndarray
    _R: np.ndarray | None

    @classmethod
    def of(cls, problem: Problem) -> StandardForm:
        """Reduce ``problem`` to full row rank and scale it."""
        reduced = problem.reduced()
        A = reduced.A.detach().to("cpu", torch.float64).numpy().copy()
        y = reduced.y.detach().to("cpu", torch.float64).numpy().copy()
        matrix = int(_exponent(np.abs(A).max()))
        A = np.ldexp(A, -matrix)
        rows = _exponent(np.linalg.norm(A, axis=1))
        A = np.ldexp(A, -rows[:, None])
        columns = int(_exponent(np.linalg.norm(A, axis=0).max()))
        A = np.ldexp(A, -columns)
        spectrum = np.linalg.svd(A, compute_uv=False)
        R = None
        if spectrum[0] > _WELL_CONDITIONED * spectrum[-1]:
            Q, R = np.linalg.qr(A.T)  # Ax = y is Qᵀx = R^{−T}y, and λ = R^{−1}μ
            A = np.ascontiguousarray(Q.T)
        # The largest |y_i| first: the row scaling may move it, and a norm of 1e-200 underflows.
        first = int(_exponent(np.abs(y).max()))
        y = np.ldexp(np.ldexp(y, -first), -rows)
        if R is not None:
            y = solve_triangular(R, y, trans=1)
        second = int(_exponent(np.abs(y).max()))
        y = np.ldexp(y, -second)
        third = int(_exponent(np.linalg.norm(y)))
        y = np.ldexp(y, -third)
        return cls(
            A=A,
            y=y,
            problem=problem,
            reason=_inconsistency(problem),
            _psi_exponent=first + second + third - matrix - columns,
            _dual_exponents=rows + matrix + columns,
            _R=R,
        )

    def psi(self, x: np.ndarray) -> Tensor:
        """The vector of the given problem, shape (n,), that belongs to ``x`` of the scaled one."""
        with np.errstate(over="ignore", under="ignore"):
            return self._tensor(np.ldexp(x, self._psi_exponent))

    @property
    def is_rounded(self) -> bool:
        """Whether the rows had to be made orthonormal."""
        return self._R is not None

    @property
    def log_scale(self) -> float:
        """log(ψ/x), ψ the given problem's vector and x the scaled one."""
        return self._psi_exponent * float(np.log(2.0))

    def like(self, array: np.ndarray) -> Tensor:
        """``array`` as a tensor of the problem's dtype and device, without scaling."""
        return self._tensor(array)

    def value(self, x: np.ndarray) -> float:
        """‖ψ‖₁ of the given problem."""
        with np.errstate(over="ignore", under="ignore"):
            return float(np.ldexp(np.abs(x).sum(), self._psi_exponent))

    def dual(self, lam: np.ndarray) -> Tensor:
        """λ of the given problem, shape (m,), with the same Aᵀλ as the scaled ``lam``."""
        with np.errstate(over="ignore", under="ignore"):
            rows = lam if self._R is None else solve_triangular(self._R, lam)
            reduced = np.ldexp(rows, -self._dual_exponents)
        problem = self.problem
        if problem.rank == problem.m:
            return self._tensor(reduced)
        # reduced() is (UᵀA, Uᵀy), hence λ = Uλ̃
        return problem._svd[0][:, : problem.rank] @ self._tensor(reduced)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.problem.device, self.problem.dtype)


def _inconsistency(problem: Problem) -> str:
    """Why the answer is not the given problem's, or nothing."""
    if problem.consistent:
        return ""
    relative = problem.inconsistency / float(torch.linalg.vector_norm(problem.y))
    return (
        f"y is not in range(A) (relative distance {relative:.3g}, rank {problem.rank} < m = {problem.m}): "
        "no interpolating vector exists, and this is the answer for the projection of y"
    )
