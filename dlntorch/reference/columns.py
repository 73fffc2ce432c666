"""Independent columns, factored once for every question that is asked about them."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
import scipy.linalg.lapack

__all__ = ["ColumnFactors", "norm_2", "spectral_norm"]

lapack: Any = scipy.linalg.lapack  # its names are made at run time
#: 1/κ in the 1-norm from which columns count as independent for certain, and QR is as good as the SVD.
_CERTAIN = 1e-6
_POWER_STEPS = 8
_SMALL = 200_000  # entries of A up to which an SVD takes no time to speak of


class ColumnFactors:
    """A QR factorization of B (m, k), k <= m.

    Attributes:
        well_conditioned: Whether κ(B) is surely below 1e9 (estimated in the 1-norm); if not, ask an SVD.
    """

    def __init__(self, B: np.ndarray) -> None:
        self.B = B
        self.well_conditioned = False
        if B.shape[1] > B.shape[0]:
            return
        if B.shape[1] == 0:
            self.well_conditioned = True
            return
        factors: Any = scipy.linalg.qr(B, mode="economic", check_finite=False)
        self._Q, self._R = factors
        self.well_conditioned = float(lapack.dtrcon(self._R)[0]) > _CERTAIN

    def solve(self, rhs: np.ndarray) -> np.ndarray:
        """The x of least squares Bx = rhs, with one step of refinement."""
        if not self.B.shape[1]:
            return np.zeros(0)
        x = self._solve(rhs)
        return x + self._solve(rhs - self.B @ x)

    def solve_transposed(self, rhs: np.ndarray) -> np.ndarray:
        """The λ of least norm with Bᵀλ = rhs, with one step of refinement."""
        if not self.B.shape[1]:
            return np.zeros(self.B.shape[0])
        lam = self._solve_transposed(rhs)
        return lam + self._solve_transposed(rhs - lam @ self.B)

    def inverse_rows(self) -> np.ndarray:
        """The norms of the rows of B⁺, shape (k,)."""
        if not self.B.shape[1]:
            return np.zeros(0)
        return np.linalg.norm(lapack.dtrtri(self._R)[0], axis=1)

    def _solve(self, rhs: np.ndarray) -> np.ndarray:
        return lapack.dtrtrs(self._R, rhs @ self._Q)[0]

    def _solve_transposed(self, rhs: np.ndarray) -> np.ndarray:
        return self._Q @ lapack.dtrtrs(self._R, rhs, trans=1)[0]


def norm_2(A: np.ndarray) -> float:
    """‖A‖₂, of a large A to a few digits: the scale of an error."""
    return float(np.linalg.norm(A, 2)) if A.size <= _SMALL else spectral_norm(A)


def spectral_norm(A: np.ndarray) -> float:
    """A lower bound of ‖A‖₂ that is near it, by the power method from the sum of the largest rows' signs."""
    x = np.sign(A[int(np.argmax(np.einsum("ij,ij->i", A, A)))]) + 0.5
    size = 0.0
    for _ in range(_POWER_STEPS):
        image = A @ (x / np.linalg.norm(x))
        size = float(np.linalg.norm(image))
        x = image @ A
    return size
