"""The stages of a Radau IIA step of a problem without a matrix: Newton's systems by conjugate gradients.

In s itself the flow is ṡ = r − AΔψ(Aᵀs), and Newton's systems (λ/h + A D Aᵀ)w = g are complex symmetric: all modes of the
method go through one conjugate orthogonal gradient iteration (van der Vorst and Melissen 1990), whose products with A and Aᵀ
take them together. No m × m matrix is formed: memory is O(s(m + n)). The systems are solved to a thousandth, and Newton's
iteration, which sees their error as a slower rate, goes on to the same tolerance as with matrices.

What is lost is the scale of each coordinate: ν moves by Aᵀ(a step of s), to a rounding of the longest step, so that slacks of
α^{p−2} below some 1e-9 of it cannot be resolved. Newton's iteration then stops at rounding that is above the tolerance, and
the integration ends as ``failed`` with its reason; it is not less accurate without saying so.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from dlntorch.flow.cell import Cell
from dlntorch.flow.radau import Tableau
from dlntorch.flow.stages import StageSolver
from dlntorch.problem.operators.base import Operator

__all__ = ["KrylovStages", "Map"]

#: Newton's systems are solved to this part of their right sides, in at most so many iterations.
_PART, _MOST = 1e-3, 2000


class Map:
    """An operator on numpy arrays: ``A @ x`` for x (n,), ``A.T @ r`` for r (m,)."""

    def __init__(self, operator: Operator, transposed: bool = False) -> None:
        self.operator, self.transposed = operator, transposed
        self.shape = operator.shape[::-1] if transposed else operator.shape

    @property
    def T(self) -> Map:
        """The transpose."""
        return Map(self.operator, not self.transposed)

    def __matmul__(self, x: np.ndarray) -> np.ndarray:
        return self.rows(x)

    def rows(self, x: np.ndarray) -> np.ndarray:
        """The product with every row of x (..., columns)."""
        apply = self.operator.adjoint if self.transposed else self.operator.apply
        return apply(torch.from_numpy(np.ascontiguousarray(x))).numpy()


class KrylovStages(StageSolver):
    """Without a matrix; x is s itself.

    Args:
        A: The map.
        cell: The point, which the caller moves.
        method: The coefficients.
    """

    def __init__(self, A: Map, cell: Cell, method: Tableau) -> None:
        self.A, self.cell, self.method = A, cell, method  # type: ignore[assignment]
        self.evaluations = 0
        self._norm = A.operator.spectral_norm
        self.lengths = np.full(A.shape[1], self._norm)

    def rebase(self) -> None:
        """There is no base."""

    def velocity(self, r: np.ndarray) -> np.ndarray:
        return r

    def to_nu(self, x: np.ndarray) -> np.ndarray:
        return self.A.T.rows(x)

    def magnitude(self, psi: np.ndarray) -> np.ndarray:
        return np.full(self.A.shape[0], self._norm * float(np.linalg.norm(psi)))

    def stiffness(self, D: np.ndarray) -> float:
        return self._norm**2 * float(D.max(initial=0.0))

    def force(self, change: np.ndarray) -> np.ndarray:
        return self.A.rows(change)

    def moved(self, V: np.ndarray, dV: np.ndarray, Z: np.ndarray) -> np.ndarray:
        return V + dV

    def system(self, h: float, D: np.ndarray) -> Callable[[np.ndarray], np.ndarray | None]:
        shifts = self.method.eigenvalues / h
        return lambda right: self._solved(shifts[: len(right)], right, D)

    def _solved(self, shifts: np.ndarray, right: np.ndarray, D: np.ndarray) -> np.ndarray | None:
        """(shift + A D Aᵀ)⁻¹ of each row of ``right`` (modes, m), complex; None where the iteration does not end."""
        x, r = np.zeros(right.shape, complex), right.astype(complex)
        p, rho = r.copy(), (r * r).sum(axis=1)
        target = _PART * np.linalg.norm(right, axis=1)
        for _ in range(_MOST):
            left = np.linalg.norm(r, axis=1) > target
            if not left.any():
                return x
            parts = np.concatenate([np.real(p), np.imag(p)])
            products = self.A.rows(D * self.to_nu(parts))
            q = shifts[:, None] * p + products[: len(p)] + 1j * products[len(p) :]
            steps = np.where(left, rho / np.where(left, (p * q).sum(axis=1), 1.0), 0.0)
            if not np.isfinite(steps).all():
                return None
            x += steps[:, None] * p
            r -= steps[:, None] * q
            new = (r * r).sum(axis=1)
            p = r + np.where(left, new / np.where(rho == 0, 1.0, rho), 0.0)[:, None] * p
            rho = new
        return None
