"""The rank of a matrix, the part of y that lies in its range, and the equivalent problem of full row rank.

Rows are brought to one size first, by powers of two, and everything is decided on B = 2^{−e}A = USVᵀ: a row that is small
beside the others counts as much as they do, as it does in Aψ = y. What depends on the sizes of the rows, the orthogonal
projection of y on range(A), comes from a QR of 2^e U, rows sorted by size and columns pivoted, whose errors are small in
every row (Cox and Higham, BIT 38, 1998).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.linalg import qr_multiply, solve_triangular
from torch import Tensor

from dlntorch.numerics import extended
from dlntorch.numerics.threads import with_few_threads

__all__ = ["RowSpace", "Side", "left_singular", "precision", "row_exponents", "scaled_rows", "scaled_vector"]

#: Columns of A are taken to float64 in blocks of about so many entries.
_BLOCK = 2**22

#: A row smaller than the largest by more than 2^500 is weighted as if it were not: its square has left float64 anyway.
_WIDEST = 500


def precision(data: Any) -> float:
    """Relative precision of data by their floating-point type: float64's, or float32's for all that are coarser."""
    dtype = data if isinstance(data, torch.dtype) else getattr(data, "dtype", None)
    if isinstance(dtype, torch.dtype):
        coarse = dtype.is_floating_point and dtype.itemsize < 8
    else:
        coarse = isinstance(dtype, np.dtype) and dtype.kind == "f" and dtype.itemsize < 8
    return float(np.finfo(np.float32 if coarse else np.float64).eps)


def row_exponents(A: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The e, shape (m,), with 2^{−e} max_j |A_ij| in [1/2, 1), 0 for a row of zeros; and where a row has a nonzero."""
    largest = torch.linalg.vector_norm(A, torch.inf, dim=1).double().cpu().numpy()
    return np.frexp(largest)[1], largest != 0


def scaled_rows(A: Tensor, exponents: np.ndarray | None) -> Tensor:
    """2^{−e}A, in two steps that stay in the range of float64."""
    if exponents is None:
        return A
    for part in (exponents // 2, exponents - exponents // 2):
        A = A * torch.from_numpy(np.ldexp(1.0, -part)).to(A.device)[:, None]
    return A


def scaled_vector(y: np.ndarray, exponents: np.ndarray) -> tuple[np.ndarray, int]:
    """b = 2^{−e−s}y with its largest entry in [1/2, 1), and s."""
    fraction, exponent = np.frexp(y)
    exponent = exponent - exponents
    shift = int(exponent[fraction != 0].max()) if fraction.any() else 0
    return np.ldexp(fraction, exponent - shift), shift


@with_few_threads
def left_singular(A: Tensor, exponents: np.ndarray | None, whole: bool) -> tuple[Tensor, Tensor]:
    """Left singular vectors (m, min(m, n)) and singular values of 2^{−e}A, in float64.

    Args:
        A: Shape (m, n); wide where it is not taken as a whole.
        exponents: e; None for zeros.
        whole: By an SVD, which copies A three times. Otherwise from the eigenvectors of AAᵀ: eigenvalues below about
            m·eps·‖A‖₂² are rounding noise, and those directions' singular values come from U₀ᵀA itself.
    """
    if whole:
        return torch.linalg.svd(scaled_rows(A.double(), exponents), full_matrices=False)[:2]
    blocks = A.split(max(1, _BLOCK // A.shape[0]), dim=1)

    def rows(block: Tensor) -> Tensor:
        return scaled_rows(block.double(), exponents)

    gram = torch.zeros(A.shape[0], A.shape[0], dtype=torch.float64, device=A.device)
    for block in map(rows, blocks):
        gram += block @ block.mT
    values, U = torch.linalg.eigh(gram)
    values, U = values.flip(0), U.flip(1).contiguous()
    S = values.clamp_min(0.0).sqrt()
    sure = int((values > 100 * A.shape[0] * extended.EPS * values[0]).sum())
    if sure < A.shape[0]:
        small = torch.cat([U[:, sure:].mT @ block for block in map(rows, blocks)], dim=1)
        left, sizes, _ = torch.linalg.svd(small, full_matrices=False)
        U = torch.cat([U[:, :sure], U[:, sure:] @ left], dim=1)
        S = torch.cat([S[:sure], sizes])
    return U, S


@dataclass
class Side:
    """A right-hand side b = 2^{−e}y in the coordinates of a :class:`RowSpace`.

    Attributes:
        white: S⁻¹Uᵀb, shape (r,), for the projection of y on range(A); exactly 0 where that is rounding of y.
        outside: b minus the projection that ``white`` belongs to, shape (m,).
        consistent: Whether y lies in range(A), to the precision of the data.
        distance: ‖b − UUᵀb‖₂/‖b‖₂.
        lost: Error of the projection relative to its size: about eps·κ times ‖y‖₂/‖Py‖₂, 0 where y is consistent.
        exact: Whether the numbers themselves, taken in float64, say the same about ``consistent``.
    """

    white: np.ndarray
    outside: np.ndarray
    consistent: bool
    distance: float
    lost: float = 0.0
    exact: bool = True


class RowSpace:
    """B = 2^{−e}A to its numerical rank r.

    The rank is the number of singular values above max(m, n)·eps·‖B‖₂, what the SVD itself rounds, and, where the data
    are coarser than float64, above 8 precision·‖B‖_F, what rounding the entries of B makes of a singular value 0.

    Args:
        U: Left singular vectors of B, shape (m, min(m, n)).
        S: Singular values of B, decreasing, shape (min(m, n),).
        exponents: e, shape (m,).
        columns: n.
        precision: Relative precision of the data, see :func:`precision`.
    """

    def __init__(
        self, U: np.ndarray, S: np.ndarray, exponents: np.ndarray, columns: int, precision: float = extended.EPS
    ) -> None:
        self._rounding = max(U.shape[0], columns) * extended.EPS
        self._coarseness = 8 * precision * float(np.linalg.norm(S / S[0])) if precision > extended.EPS else 0.0
        rank, self.rank_of_the_numbers = (
            int((level * S[0] < S).sum()) for level in (max(self._rounding, self._coarseness), self._rounding)
        )
        self.U, self.S, self.exponents, self.precision = U[:, :rank], S[:rank], exponents, precision
        self.whitener = np.ascontiguousarray(self.U.T / self.S[:, None])

    @property
    def rank(self) -> int:
        return self.S.size

    @property
    def condition(self) -> float:
        """κ(B) on its numerical rank."""
        return float(self.S[0] / self.S[-1]) if self.rank else 1.0

    def whiten(self, B: np.ndarray) -> np.ndarray:
        """S⁻¹UᵀB, shape (r, n): rows that are orthonormal to rounding and span those of B to the last digit.

        What S⁻¹Uᵀ makes of B is exact up to one rounding, so that no digit of B is lost however ill-conditioned it is.
        """
        bits = 60 + int(np.log2(self.condition))
        white = np.empty((self.rank, B.shape[1]))
        step = max(1, _BLOCK // B.shape[0])
        for first in range(0, B.shape[1], step):
            white[:, first : first + step] = extended.product(self.whitener, B[:, first : first + step], bits)
        return white

    def reason(self, side: Side) -> str:
        """That the data are taken as rounded, where the numbers themselves have another rank or range; else empty."""
        if self.rank == self.rank_of_the_numbers and side.exact:
            return ""
        return (
            f"the data are taken as rounded to {self.precision:.1e}, the precision of their type: as exact numbers they "
            "have another rank or range(A)"
        )

    def side(self, b: np.ndarray) -> Side:
        """What Bx = b says in the coordinates of :meth:`whiten`; see :class:`Side`."""
        size = float(np.linalg.norm(b))
        outside = b - self.U @ (self.U.T @ b) if self.rank < b.size else np.zeros_like(b)
        distance = float(np.linalg.norm(outside)) / size if size else 0.0
        rounding, coarse = 10 * self._rounding, max(10 * self._rounding, self._coarseness)
        # Rounding of A's entries moves the range by that times κ.
        if distance <= min(coarse * self.condition, 1e-3):
            exact = distance <= min(rounding * self.condition, 1e-3)
            return Side(self.whiten(b[:, None])[:, 0], outside, True, distance, exact=exact)
        projection, noise = self._project(b)
        if np.all(np.abs(projection) <= rounding * noise):
            return Side(np.zeros(self.rank), b, False, distance)
        R, order = self._graded[1:3]
        solved = np.empty(self.rank)
        solved[order] = solve_triangular(R, projection)
        lost = extended.EPS * self.condition * float(np.linalg.norm(noise) / np.linalg.norm(projection))
        return Side(solved / self.S, b - self.U @ solved, False, distance, lost)

    def pair(self, white_A: np.ndarray, white_y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(Ã, ỹ) = (QᵀA, Qᵀy) with Q an orthonormal basis of range(A), from what is whitened: an equal loss, but for a
        constant.
        """
        R, order = self._graded[1:3]
        with np.errstate(over="ignore", under="ignore"):
            A = np.ldexp(R @ (self.S[:, None] * white_A)[order], self._top)
            return A, np.ldexp(R @ (self.S * white_y)[order], self._top)

    @cached_property
    def inverse_norm(self) -> float:
        """‖A⁺‖₂: one over the smallest singular value of A itself."""
        R, order = self._graded[1:3]
        inverse = solve_triangular(R, np.eye(self.rank)) / self.S[order][:, None]
        with np.errstate(over="ignore", under="ignore"):
            return float(np.ldexp(np.linalg.norm(inverse, 2), -self._top))

    @property
    def _top(self) -> int:
        return int(self.exponents.max())

    @cached_property
    def _weights(self) -> np.ndarray:
        return np.ldexp(1.0, np.maximum(self.exponents - self._top, -_WIDEST))

    @cached_property
    def _graded(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """2^e U with its rows sorted; R and the columns' order of its QR; the order of the rows."""
        G = self._weights[:, None] * self.U
        rows = np.argsort(-np.abs(G).max(axis=1, initial=0.0), kind="stable")
        G = G[rows]
        R, order = (np.asarray(part) for part in qr_multiply(G, np.zeros(G.shape[0]), "right", True)[1:])
        return G, R, order, rows

    def _project(self, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Qᵀ(2^e b) up to the largest weight, and |Q|ᵀ|2^e b|, which says what of it is rounding; both (r,)."""
        G, R, order, rows = self._graded
        y = (self._weights * b)[rows]
        projection = np.asarray(qr_multiply(G, y, mode="right", pivoting=True)[0])
        Q = solve_triangular(R, G[:, order].T, trans=1)
        return projection, np.abs(Q) @ np.abs(y)
