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
from dlntorch.problem.linear_data import WELL_CONDITIONED
from dlntorch.problem.problem import Problem, norm
from dlntorch.problem.row_space import RowSpace, Side, scaled_vector
from dlntorch.reference.basis_pursuit_path import PathProblem
from dlntorch.reference.costs import Costs
from dlntorch.reference.weights import UNWEIGHTED, Weights

__all__ = ["EPS", "StandardForm"]

EPS = extended.EPS
#: 1/κ(AAᵀ) from which the rows are independent and well-conditioned for certain, whatever an estimate of κ may be off by.
_CERTAIN = 1e-5
#: Entries of A up to which its singular values take no time to speak of.
_SMALL = 20_000


def _exponent(size: ArrayLike) -> np.ndarray:
    """The e of size = f·2^e with 1/2 <= f < 1, and 0 where size = 0."""
    return np.frexp(np.asarray(size, dtype=np.float64))[1]


@dataclass(frozen=True)
class StandardForm:
    """min cost(x) subject to Ax = y with rank(A) = m, columns of norm <= 1 and ‖y‖₂ in [1/2, 1).

    The cost is ‖x‖₁, or another one whose weights are of size one as the columns of A are scaled. The rows of A have norm
    about one; where the A they come from is ill-conditioned or of deficient rank, they are orthonormal.

    Attributes:
        A: Scaled full-row-rank matrix, shape (r, n), float64.
        y: Scaled right-hand side, shape (r,); zero where the data, or their projection on range(A), are.
        problem: Where it came from.
        weights: Of the norm that is minimised, with the scaling of the columns.
        consistent: Whether y lies in range(A), to the precision of the data.
        undecided: Why the weighted problem may not be the given one at this precision; else empty.
        precision: Relative precision of the scaled data: eps, or that of the given data where the numbers themselves
            have another rank or another range, so that they must be taken as rounded.
        lost: Relative error of y, where it is the projection of a y far from range(A).
        reason: One line when the data had to be changed or taken as rounded, else empty.
    """

    A: np.ndarray
    y: np.ndarray
    problem: Problem
    weights: Weights
    consistent: bool
    undecided: str
    precision: float
    lost: float
    reason: str
    _rows: np.ndarray
    _target: np.ndarray
    _psi_exponent: int
    _exponents: np.ndarray
    _space: RowSpace | None
    _path: PathProblem | None = None

    @classmethod
    def of(cls, problem: Problem, weights: Weights = UNWEIGHTED) -> StandardForm:
        """Reduce ``problem`` to full row rank and scale it."""
        given, first = problem.A.detach().to("cpu", torch.float64).numpy(), 0
        if weights.exponents is not None:
            first = _exponent(np.abs(given).max(axis=1))
            given = weights.scaled(_scaled(given, first))
        exponents = _exponents(given)
        rows = _scaled(given, exponents)
        y = problem.y.detach().to("cpu", torch.float64).numpy()
        path = _surely_independent(rows) if rows.size > _SMALL else None
        if path is not None or _well_conditioned(rows, problem):
            exponents = exponents + first
            target, shift = scaled_vector(y, exponents)
            return cls._made(problem, weights, rows, exponents, target, shift, None, path)
        if weights.exponents is None:
            space, (side, _) = problem.row_space, problem.side
            exponents = space.exponents
            rows = _scaled(given, exponents)
            target, shift = scaled_vector(y, exponents)
            return cls._made(problem, weights, rows, exponents, target, shift, (space, side))
        U, S, _ = np.linalg.svd(rows, full_matrices=False)
        space = RowSpace(U, S, exponents + first, problem.n, problem.precision)
        target, shift = scaled_vector(y, space.exponents)
        return cls._made(problem, weights, rows, space.exponents, target, shift, (space, space.side(target)))

    @classmethod
    def _made(
        cls,
        problem: Problem,
        weights: Weights,
        rows: np.ndarray,
        exponents: np.ndarray,
        target: np.ndarray,
        shift: int,
        whitened: tuple[RowSpace, Side] | None = None,
        path: PathProblem | None = None,
    ) -> StandardForm:
        """The form on ``rows`` as they are, or on orthonormal combinations of them, which ``whitened`` gives."""
        space, side = (None, None) if whitened is None else whitened
        y = target if side is None else side.white
        first = int(_exponent(np.abs(y).max()))
        second = int(_exponent(np.linalg.norm(np.ldexp(y, -first))))
        coarse = "" if space is None or side is None else space.reason(side)
        weighted = space is not None and weights.exponents is not None
        other = weighted and space is not None and space.rank != problem.rank
        undecided = "the weights are so far apart that the rank of A, weighted, is another one" if other else ""
        return cls(
            A=rows if space is None else space.whiten(rows),
            y=np.ldexp(y, -first - second),
            problem=problem,
            weights=weights,
            consistent=side is None or (side.consistent if weighted else problem.consistent),
            undecided=undecided,
            precision=space.precision if space is not None and coarse else EPS,
            lost=0.0 if side is None else side.lost,
            reason="; ".join(filter(None, ("" if side is None else _inconsistency(problem), coarse))),
            _rows=rows,
            _target=np.ldexp(target, -first - second),
            _psi_exponent=shift + first + second,
            _exponents=exponents,
            _space=space,
            _path=path,
        )

    @property
    def path(self) -> PathProblem:
        """A as the path of basis pursuit takes it."""
        return PathProblem(self.A) if self._path is None else self._path

    @property
    def costs(self) -> Costs:
        """The cost of x."""
        return self.weights.costs

    def psi(self, x: np.ndarray) -> Tensor:
        """The vector of the given problem, shape (n,), that belongs to ``x`` of the scaled one."""
        with np.errstate(over="ignore", under="ignore"):
            return self._tensor(self.weights.unscaled(x, self._psi_exponent))

    @property
    def is_rounded(self) -> bool:
        """Whether the rows had to be made orthonormal."""
        return self._space is not None

    @property
    def log_scale(self) -> float:
        """log(ψ/x), ψ the given problem's vector and x the scaled one, for columns that are not scaled."""
        return self._psi_exponent * float(np.log(2.0))

    def like(self, array: np.ndarray) -> Tensor:
        """``array`` as a tensor of the problem's dtype and device, without scaling."""
        return self._tensor(array)

    def value(self, x: np.ndarray) -> float:
        """‖ψ‖₁ of the given problem, or its weighted norm."""
        weights = self.weights
        with np.errstate(over="ignore", under="ignore"):
            return float(np.ldexp(weights.factor * weights.costs.value(x), weights.unit + self._psi_exponent))

    def dual(self, lam: np.ndarray) -> Tensor:
        """λ of the given problem, shape (m,), with the same Aᵀλ, relative to the weights, as the scaled ``lam``."""
        weights = self.weights
        with np.errstate(over="ignore", under="ignore"):
            return self._tensor(np.ldexp(weights.factor * self._dual(lam), weights.unit - self._exponents))

    def equations(self, support: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
        """A matrix B (·, k) and x ↦ b − Bx_S, rounded once, that say Ax = y on a support S of k indices.

        They are the numbers as given. A basis has one solution, which orthonormal rows find best; fewer columns leave
        the rounding of y in the rows as they are.
        """
        space, projected = self._space, not self.consistent
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
        on, value = x != 0, self.costs.value(x)
        if not value:
            return 0.0
        projected = not self.consistent or self.precision > EPS
        target = rows @ x if projected else self._target
        tau = self.costs.relative(rows.T @ dual)
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


def _surely_independent(rows: np.ndarray) -> PathProblem | None:
    """The rows, where Cholesky's factor of AAᵀ shows that they are well-conditioned: much faster than singular values."""
    if rows.shape[0] > rows.shape[1] or not np.all(np.any(rows != 0, axis=1)):
        return None
    path = PathProblem(rows)
    return path if path.normal.rcond() > _CERTAIN else None


def _well_conditioned(rows: np.ndarray, problem: Problem) -> bool:
    """Whether the singular values show it: below this condition number no row is touched."""
    if problem.row_space.rank != problem.m:
        return False
    spectrum = np.linalg.svd(rows, compute_uv=False)
    return bool(spectrum[0] <= WELL_CONDITIONED * spectrum[-1])


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
