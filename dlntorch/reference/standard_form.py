"""A problem brought to full row rank and to numbers of size one, without a digit lost.

Rows, matrix and data are scaled by powers of two, so that no digit of the input is lost and problems whose entries are
1e-150 or 1e150 are solved like any other. Linear programmes have absolute tolerances, which need this. Where rows have to
be combined, the combination is evaluated with twice the digits and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from dlntorch.numerics import extended
from dlntorch.problem.problem import WELL_CONDITIONED, Problem, norm
from dlntorch.problem.row_space import RowSpace, scaled_vector

__all__ = ["EPS", "StandardForm"]

EPS = extended.EPS


def _exponent(size: ArrayLike) -> np.ndarray:
    """The e of size = f·2^e with 1/2 <= f < 1, and 0 where size = 0."""
    return np.frexp(np.asarray(size, dtype=np.float64))[1]


@dataclass(frozen=True)
class StandardForm:
    """min ‖x‖₁ subject to Ax = y with rank(A) = m, columns of norm <= 1 and ‖y‖₂ in [1/2, 1).

    The rows of A have norm about one; where the given A is ill-conditioned or of deficient rank, they are orthonormal.

    Attributes:
        A: Scaled full-row-rank matrix, shape (r, n), float64.
        y: Scaled right-hand side, shape (r,); zero where the data, or their projection on range(A), are.
        problem: Where it came from.
        precision: Relative precision of the scaled data: eps, or that of the given data where the numbers themselves
            have another rank or another range, so that they must be taken as rounded.
        lost: Relative error of y, where it is the projection of a y far from range(A).
        reason: One line when the data had to be changed or taken as rounded, else empty.
    """

    A: np.ndarray
    y: np.ndarray
    problem: Problem
    precision: float
    lost: float
    reason: str
    _rows: np.ndarray
    _target: np.ndarray
    _psi_exponent: int
    _exponents: np.ndarray
    _space: RowSpace | None

    @classmethod
    def of(cls, problem: Problem) -> StandardForm:
        """Reduce ``problem`` to full row rank and scale it."""
        given = problem.A.detach().to("cpu", torch.float64).numpy()
        space, (side, _) = problem.row_space, problem.side
        exponents = _exponents(given)
        rows = _scaled(given, exponents)
        spectrum = np.linalg.svd(rows, compute_uv=False) if space.rank == problem.m else np.zeros(1)
        # Below this condition number no row is touched.
        plain = bool(spectrum[0] <= WELL_CONDITIONED * spectrum[-1]) and space.rank == problem.m
        if not plain:
            exponents = space.exponents
            rows = _scaled(given, exponents)
        target, shift = scaled_vector(problem.y.detach().to("cpu", torch.float64).numpy(), exponents)
        y = target if plain else side.white
        first = int(_exponent(np.abs(y).max()))
        second = int(_exponent(np.linalg.norm(np.ldexp(y, -first))))
        coarse = space.reason(side)
        return cls(
            A=rows if plain else space.whiten(rows),
            y=np.ldexp(y, -first - second),
            problem=problem,
            precision=space.precision if coarse else EPS,
            lost=side.lost,
            reason="; ".join(filter(None, (_inconsistency(problem), coarse))),
            _rows=rows,
            _target=np.ldexp(target, -first - second),
            _psi_exponent=shift + first + second,
            _exponents=exponents,
            _space=None if plain else space,
        )

    def psi(self, x: np.ndarray) -> Tensor:
        """The vector of the given problem, shape (n,), that belongs to ``x`` of the scaled one."""
        with np.errstate(over="ignore", under="ignore"):
            return self._tensor(np.ldexp(x, self._psi_exponent))

    @property
    def is_rounded(self) -> bool:
        """Whether the rows had to be made orthonormal."""
        return self._space is not None

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
            return self._tensor(np.ldexp(self._dual(lam), -self._exponents))

    def equations(self, support: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
        """A matrix B (·, k) and x ↦ b − Bx_S, rounded once, that say Ax = y on a support S of k indices.

        They are the numbers as given. A basis has one solution, which orthonormal rows find best; fewer columns leave
        the rounding of y in the rows as they are.
        """
        space, projected = self._space, not self.problem.consistent
        if space is None or (support.size < space.rank and not projected):
            return self._rows[:, support], lambda x: extended.residual(self._rows, x, self._target)
        if projected:
            return self.A[:, support], lambda x: extended.residual(self.A, x, self.y)

        def whitened(x: np.ndarray) -> np.ndarray:
            return space.whiten(extended.residual(self._rows, x, self._target)[:, None])[:, 0]

        return self.A[:, support], whitened

    def conditions(self, x: np.ndarray, lam: np.ndarray) -> float:
        """The worst of the optimality conditions with the given rows, each scaled, and λ as float64 holds it for them."""
        rows, dual = self._rows, self._dual(lam)
        on, value = x != 0, float(np.abs(x).sum())
        if not value:
            return 0.0
        projected = not self.problem.consistent or self.precision > EPS
        target = rows @ x if projected else self._target
        tau = rows.T @ dual
        size = float(np.linalg.norm(rows, 2) * np.linalg.norm(x) + np.linalg.norm(target))
        residual = float(np.linalg.norm(rows @ x - target)) / size
        return max(
            residual,
            float(np.abs(tau[on] - np.sign(x[on])).max()),
            abs(float(target @ dual) / value - 1),
            float(np.abs(tau).max()) - 1,
        )

    def _dual(self, lam: np.ndarray) -> np.ndarray:
        return lam if self._space is None else self._space.whitener.T @ lam

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.problem.device, self.problem.dtype)


def _scaled(A: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    return np.ldexp(A, -exponents[:, None])


def _exponents(A: np.ndarray) -> np.ndarray:
    """The e, shape (m,), for which the rows of 2^{−e}A have norm about one and its columns norms <= 1."""
    matrix = int(_exponent(np.abs(A).max()))
    A = np.ldexp(A, -matrix)
    rows = _exponent(np.abs(A).max(axis=1))
    rows = rows + _exponent(np.linalg.norm(_scaled(A, rows), axis=1))
    columns = int(_exponent(np.linalg.norm(_scaled(A, rows), axis=0).max()))
    return rows + matrix + columns


def _inconsistency(problem: Problem) -> str:
    """Why the answer is not the given problem's, or nothing."""
    if problem.consistent:
        return ""
    relative = problem.inconsistency / float(norm(problem.y.double()))
    return (
        f"y is not in range(A) (relative distance {relative:.3g}, rank {problem.rank} < m = {problem.m}): "
        "no interpolating vector exists, and this is the answer for the projection of y"
    )
