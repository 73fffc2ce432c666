"""Following ψ_α(∞) = α^p h_p(Aᵀλ), Aψ = y, down in a = α^p: the float64 core behind the limit of the flow.

ψ_α(∞) is a generalised central path of the basis-pursuit linear programme with parameter a. The state is a point of the
curve ψ_i = a h_p(τ_i) for every coordinate, and its distance e to the range of Aᵀ. One step solves, for t = kτ
(k = p/(p − 2); t = τ at p = 2) and D = dψ/dt, the linear equations

    A(ψ + D δt + ψ δlog a) = y,    t + δt in range(Aᵀ),

which corrects and predicts at once, and is then taken in ψ or in t, whichever linearization does not overshoot
(:func:`~dlntorch.limit.central_path_kernels.advance`). A D Aᵀ is extremely graded when the ℓ1-minimiser has fewer
than m nonzeros, so the equations are solved by a row-sorted QR of D^{1/2}Aᵀ; larger problems try Cholesky first.

Source: arXiv 2307.07410, section 3, for the limit; the algorithm is this package's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from scipy.linalg import get_lapack_funcs, solve_triangular

from dlntorch.limit.central_path_engines import Kernels
from dlntorch.numerics.trajectory import short_repr
from dlntorch.problem.equal_columns import EqualColumns

__all__ = ["CentralPath", "PathPoint", "row_sorted_factors"]

_NAMES = ("potrf", "potrs", "geqrf", "ormqr", "geqp3", "orgqr")
_POTRF, _POTRS, _GEQRF, _ORMQR, _GEQP3, _ORGQR = get_lapack_funcs(_NAMES, dtype=np.float64)
_EPS = float(np.finfo(np.float64).eps)
_SMALL = 2e5  # n m² below which the compiled QR beats LAPACK's set-up
_CHOLESKY_SPREAD = 1e-5  # smallest over largest diagonal entry of the factor: a condition number up to about 1e10
_FIRST_STEP = math.log(20)  # in −log a
_LARGEST_STEP = math.log(1e10)
_SMALLEST_STEP = 0.02
_NEWTON_STEPS = 30
_LOOSE = 0.25  # largest change of b that an intermediate point may leave
_NOISE = 1e-3  # largest change of b that rounding may keep up
_PATIENCE = 6
_TIGHT = 1e-9  # the same for a requested one: Newton is quadratic, so the error is then its square
_DRIFT = 2e-13  # distance of t from range(Aᵀ), relative to its largest entry, that is not rounding
_NOTABLE = 1e-14  # an uncertainty above this may be the rounding of its own computation, and is refined
_REFINEMENTS = 20
_CLEARLY = 2.0  # times the effect of rounding
_FLOOR = math.log(1e-250)  # of a/‖A⁺y‖_∞: below, √D leaves the range of float64
_CEILING = math.log(1e300)  # of a: above, ψ and τ do not change any more, and a itself leaves the range


#: (r, e) ↦ dt, the solution of the equations of one step.
Solver = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass
class PathPoint:
    """The path at one value of a, arrays of the reduced problem.

    Attributes:
        psi: ψ, shape (n,).
        tau: τ, shape (n,).
        gap: 1 − |τ|, shape (n,), to relative accuracy where there is a pole (p > 2).
        log_a: log a that was reached, the target unless float64 cannot go there.
        residual: ‖Aψ − y‖₂/‖y‖₂, rows balanced.
        dual_residual: Distance of t from range(WAᵀ), relative, in the largest entry.
        uncertainty: Largest error of a coordinate, relative to max(|ψ_i|, min(2a, ‖ψ‖_∞)), that a relative change of one
            rounding in every entry of A and y causes, by first-order analysis at the solution; 1 where no digit is left.
        steps: Linear systems solved since the last requested point.
        converged: Whether Newton converged, to ``_TIGHT`` or to the rounding floor.
    """

    psi: np.ndarray
    tau: np.ndarray
    gap: np.ndarray
    log_a: float
    residual: float
    dual_residual: float
    uncertainty: float
    steps: int
    converged: bool

    __repr__ = short_repr


def row_sorted_factors(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An orthonormal basis of the range of ``columns`` (n, m), accurate row by row, and R with columns = basis·R."""
    order = np.argsort(-np.max(np.abs(columns), axis=1))
    m = columns.shape[1]
    factors, pivots, tau, _, _ = _GEQP3(np.asfortranarray(columns[order]), overwrite_a=1)
    basis, R = np.empty_like(columns), np.empty((m, m))
    R[:, pivots - 1] = np.triu(factors[:m])
    basis[order] = _ORGQR(factors, tau, overwrite_a=1)[0]
    return basis, R


class CentralPath:
    """The path of one problem of full row rank, followed downwards in a.

    Args:
        A: (m, n) float64, rank m.
        y: (m,), nonzero.
        p: Depth.
        log_offset: log(a_i/a) for a per-coordinate α, (n,); None for a scalar.
        equal: Which columns of the given A, before it was brought to full row rank, are equal; None: those of A.
    """

    def __init__(
        self,
        A: np.ndarray,
        y: np.ndarray,
        p: float,
        log_offset: np.ndarray | None = None,
        equal: EqualColumns | None = None,
    ) -> None:
        self.k_inverse = (p - 2) / p
        # Powers of two balance the rows without rounding.
        scale = np.exp2(-np.round(np.log2(np.max(np.abs(A), axis=1))))
        self.A = np.ascontiguousarray(A * scale[:, None])
        self.y = y * scale
        self.transposed = np.ascontiguousarray(self.A.T)
        self.largest = np.max(np.abs(self.A), axis=0)
        n = A.shape[1]
        self.offset = np.zeros(n) if log_offset is None else np.asarray(log_offset, dtype=np.float64)
        self.equal = EqualColumns.of(A, log_offset) if equal is None else equal
        self._mended = 0
        small = n * A.shape[0] ** 2 <= _SMALL
        self.kernels = Kernels(loops=n * A.shape[0] * (A.shape[0] if small else 4))
        self._steps = self._small_steps if small and not self.equal.some else self._large_steps
        self._solver = self._small_solver if small else self._large_solver
        basis, R = self._factors
        minimum_norm = basis @ np.linalg.solve(R.T, self.y)
        self.minimum_norm = minimum_norm
        self.share = np.exp(0.5 * self.k_inverse * self.offset)  # W^{1/2}: c_i ∝ α_i^{p−2} in τ_i = c_i A_iᵀλ
        self.origin = np.zeros(n)  # b at the start of the flow
        # ‖ψ‖_∞ <= ‖A⁺y‖₁ for a scalar α, as Σ q_p is superadditive; a wide margin covers the rest.
        spread = float(np.max(self.offset) - np.min(self.offset))
        self.bound = 10 * float(np.sum(np.abs(minimum_norm))) * math.exp(min(spread, 100.0))
        size = float(np.max(np.abs(minimum_norm)))
        self.log_size = math.log(size) if size > 0 else -math.inf
        self.log_top = self.log_size - float(np.min(self.offset))

    def points(self, log_targets: Sequence[float]) -> Iterator[PathPoint]:
        """The path at decreasing log a, each point warm-started from the one before."""
        ceiling = _CEILING - float(np.max(self.offset))
        self._start(min(max(self.log_top, log_targets[0]), ceiling))
        step = _FIRST_STEP
        stuck = False
        for target in log_targets:
            reachable = min(max(target, self.log_top + _FLOOR), ceiling)
            steps, converged, change = 0, not stuck, 0.0
            while self.log_a > reachable and not stuck:
                saved = self._state()
                last = self.log_a - step <= reachable + 1e-3 * step
                goal = reachable if last else self.log_a - step
                converged, change, used = self._solve_at(goal, _TIGHT if last else _LOOSE)
                steps += used
                if not converged:
                    self.psi, self.b, self.e, self.log_a = saved
                    change = 0.0  # that of the point returned to is not the failed one's
                    step = min(step, saved[3] - goal) / 4
                    stuck = step < _SMALLEST_STEP
                    continue
                step = min(2 * step, _LARGEST_STEP) if used <= 3 else step if used <= 8 else step / 1.5
            if steps == 0 and not stuck and self.fresh:
                saved = self._state()
                converged, change, steps = self._solve_at(self.log_a, _TIGHT)
                stuck = not converged
                if stuck:
                    self.psi, self.b, self.e, self.log_a = saved
                    change = 0.0
            self.fresh = False
            yield self._point(steps, converged, change)

    def _state(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """What a solve changes, to come back to where it fails."""
        return self.psi.copy(), self.b.copy(), self.e.copy(), self.log_a

    def _point(self, steps: int, converged: bool, change: float) -> PathPoint:
        _, residual, distance, dual_residual, _ = self._checks()
        first_order = max(self._uncertainty(distance), self._rounding_of_logarithms())
        uncertainty = min(1.0, max(first_order, change if change > _TIGHT else 0.0))
        tau, gap = self.kernels.dual_variables(self.b, self.k_inverse)
        return PathPoint(self.psi.copy(), tau, gap, self.log_a, residual, dual_residual, uncertainty, steps, converged)

    def _rounding_of_logarithms(self) -> float:
        """Relative error of a_i, which is carried as its logarithm and multiplies what has no size of its own."""
        return 0.5 * _EPS * float(np.max(np.abs(self.log_a + self.offset)))

    def _checks(self) -> tuple[float, float, np.ndarray, float, float]:
        space = self._factors[0], self.share
        return self.kernels.checks(self.A, self.y, space, self.origin, self.psi, self.b, self.e, self.k_inverse)

    @cached_property
    def _factors(self) -> tuple[np.ndarray, np.ndarray]:
        return row_sorted_factors(self.transposed)

    def _terms(self, t: np.ndarray) -> np.ndarray:
        """W_i max_j |A_ji| ‖λ‖₁ with t − t₀ = WAᵀλ, (n,): the size of the terms of t_i, which may be far larger than it.

        As graded solvers see them: what they round in a row of Aᵀ is relative to its largest entry (Cox and Higham, 1998).
        """
        Q, R = self._factors
        weights = self.share**2
        lam = np.linalg.solve(R, Q.T @ (t / weights))
        return weights * self.largest * np.sum(np.abs(lam))

    # -- one level ------------------------------------------------------------------------------------------------

    def _start(self, log_a: float) -> None:
        """The minimum-norm solution, on which h_p is nearly linear for a >= ‖A⁺y‖_∞."""
        self.log_a = log_a
        log_a_i = log_a + self.offset
        # the bound is reached by α spread over hundreds of decades only, where the start is no good and is told to be
        t = self.equal.mean(self._project(0.5 * self.minimum_norm * np.exp(np.minimum(-log_a_i, -_FLOOR))))
        self.b = np.arctanh(np.clip(t * self.k_inverse, -0.9, 0.9)) / self.k_inverse if self.k_inverse else t
        self.psi = self.kernels.curve_values(self.b, log_a_i, self.k_inverse)
        self.e = np.zeros_like(t)
        self.fresh = True

    def _project(self, t: np.ndarray) -> np.ndarray:
        """The nearest t in range(W Aᵀ); t itself for a scalar α, where A⁺y lies there already."""
        if not np.any(self.offset != self.offset[0]):
            return t
        basis = self.share[:, None] ** 2 * self.transposed
        return basis @ np.linalg.lstsq(basis, t, rcond=None)[0]

    def _solve_at(self, goal: float, tolerance: float) -> tuple[bool, float, int]:
        """Step to log a = goal, then Newton there until b changes by less than ``tolerance``."""
        dl = goal - self.log_a
        old, new = self.log_a + self.offset, goal + self.offset
        self.log_a = goal
        best, idle, used, self._mended = math.inf, 0, 0, 0
        while used < _NEWTON_STEPS:
            change, at_floor, (best, idle, used) = self._steps(old, new, dl, tolerance, (best, idle, used))
            if not math.isfinite(change):
                break
            if change <= tolerance and (tolerance == _LOOSE or self._settled()):
                return True, change, used
            # Where all terms of an equation tend to 0 its residual stays at their size, however small they are.
            idle = 0 if _EPS < change < 0.25 * best else idle + 1
            best = min(best, change)
            if change < _NOISE and idle >= (1 if at_floor else _PATIENCE):
                return True, _PATIENCE * change, used  # rounding keeps it from settling
            dl, old = 0.0, new
        return False, math.inf, used

    def _settled(self) -> bool:
        """Whether the residual and the distance of t from the range of Aᵀ are at their rounding levels.

        Newton after a long step in log a may leave the first above it, and rounding of wild early steps the second,
        which is then put into e for the next step to remove.
        """
        ratio, _, distance, _, drift = self._checks()
        if self._mended < 2 and drift > _DRIFT:
            # Of all Aᵀλ take the D-nearest, which leaves the large entries of D alone.
            self._mended += 1
            root = self.kernels.root_slopes(self.psi, self.b, self.log_a + self.offset, self.k_inverse)
            e = -self.equal.mean(self._direction(root, np.zeros_like(self.y), distance))
            largest = self.kernels.displacement(self.b, self.origin, self.k_inverse)[1]
            self.e = np.where(np.abs(e) > 0.1 * _DRIFT * largest, e, 0.0)
            return False
        return ratio <= 4

    def _system(self) -> tuple[np.ndarray, ...]:
        return self.A, self.transposed, self.y, self.share

    def _small_steps(
        self, old: np.ndarray, new: np.ndarray, dl: float, tolerance: float, progress: tuple
    ) -> tuple[float, bool, tuple]:
        """Steps up to one that may be Newton's last; see :func:`~dlntorch.limit.central_path_kernels.small_steps`."""
        curve, limits = (self.k_inverse, self.bound), (tolerance, _NOISE, _PATIENCE, _NEWTON_STEPS)
        state = self.psi, self.b, self.e
        return self.kernels.small_steps(self._system(), state, old, new, float(dl), curve, limits, progress)

    def _large_steps(
        self, old: np.ndarray, new: np.ndarray, dl: float, tolerance: float, progress: tuple
    ) -> tuple[float, bool, tuple]:
        """One step, and where that was along the path another one there."""
        best, idle, used = progress
        r, root, floor = self.kernels.linear_system(self.A, self.y, self.psi, self.b, old, dl, self.k_inverse)
        dt = self.equal.mean(self._direction(root, r, self.e))
        change = self.kernels.advance(self.psi, self.b, self.e, dt, new, dl, self.k_inverse, self.bound)
        if dl != 0 and math.isfinite(change):
            return self._large_steps(new, new, 0.0, tolerance, (best, idle, used + 1))
        return change, bool(floor), (best, idle, used + 1)

    def _uncertainty(self, distance: np.ndarray) -> float:
        """First-order effect of one rounding in every term of Aψ = y and of t = WAᵀλ, relative as in ``PathPoint``.

        That of the ``distance`` at which t was left from range(WAᵀ), (n,), counts where it is clearly more.
        """
        log_a = self.log_a + self.offset
        root = self.kernels.root_slopes(self.psi, self.b, log_a, self.k_inverse)
        terms = self._terms(self.kernels.displacement(self.b, self.origin, self.k_inverse)[0])
        # D dt may leave the range of float64 where ψ is large; the root of ψ's size keeps both products in it, to the bit.
        unit = math.ldexp(1.0, math.frexp(float(np.max(np.abs(self.psi))))[1] // 2)
        if self._solver == self._small_solver:
            worst = self.kernels.small_uncertainty(
                self._system(),
                self.psi,
                self.b,
                root,
                terms,
                distance,
                (log_a, unit),
                (_CLEARLY, _NOTABLE, _REFINEMENTS),
            )
            return worst if math.isfinite(worst) else 1.0
        solve = self._solver(root)
        levels, noises = self.kernels.perturbations(self.A, self.y, self.psi, terms)
        nothing, quiet = np.zeros_like(terms), np.zeros_like(self.y)
        worst = 0.0
        for r, noise in ((levels[0], noises[0]), (levels[1], noises[1]), (quiet, distance)):
            if noise is distance and np.all(np.abs(distance) <= _CLEARLY * _EPS * terms):
                break
            dt = solve(r, noise)
            response = self.kernels.relative_change(self.psi, self.b, root, dt, log_a)
            # The response to τ is a small difference where D is large: refine it, as it would be all rounding.
            for _ in range(_REFINEMENTS):
                if not response > max(_NOTABLE, worst):
                    break
                with np.errstate(over="ignore", invalid="ignore"):
                    left = r / unit - self.A @ (root * (root / unit * dt))
                if not np.all(np.isfinite(left)):
                    break  # nothing but noise, which stays as it is
                dt = dt + unit * solve(left, nothing)
                before, response = response, self.kernels.relative_change(self.psi, self.b, root, dt, log_a)
                if not response < 0.5 * before:
                    break
            worst = max(worst, response if noise is not distance or response > _CLEARLY * worst else 0.0)
        return worst if math.isfinite(worst) else 1.0

    # -- the linear equations ---------------------------------------------------------------------------------------

    def _direction(self, root: np.ndarray, r: np.ndarray, e: np.ndarray) -> np.ndarray:
        return self._solver(root)(r, e)

    def _small_solver(self, root: np.ndarray) -> Solver:
        factors = self.kernels.graded_qr(self.transposed, root, self.share)
        return partial(self.kernels.graded_solve, factors, root, self.share)

    def _large_solver(self, root: np.ndarray) -> Solver:
        """Cholesky of A(DW)Aᵀ where its condition allows, else LAPACK's QR with rows sorted."""
        weights = root * self.share
        S = self.transposed * weights[:, None]
        factor, failed = _POTRF(S.T @ S, lower=1, clean=0, overwrite_a=1)
        if not failed:
            diagonal = np.diag(factor)
            if diagonal.min() > _CHOLESKY_SPREAD * diagonal.max():

                def by_cholesky(r: np.ndarray, e: np.ndarray) -> np.ndarray:
                    lam, _ = _POTRS(factor, r + S.T @ (root * e / self.share), lower=1)
                    return self.share**2 * (self.transposed @ lam) - e

                return by_cholesky
        m, n = self.A.shape
        order = np.argsort(-weights * np.max(np.abs(self.transposed), axis=1))
        q, tau, _, _ = _GEQRF(np.asfortranarray(S[order]), lwork=64 * m, overwrite_a=1)

        def by_qr(r: np.ndarray, e: np.ndarray) -> np.ndarray:
            projected, _, _ = _ORMQR("L", "T", q, tau, (root * e / self.share)[order][:, None], lwork=4096)
            z = np.zeros((n, 1))
            z[:m, 0] = projected[:m, 0] + solve_triangular(q[:m], r, trans=1, check_finite=False)
            z, _, _ = _ORMQR("L", "N", q, tau, z, lwork=4096, overwrite_c=1)
            dt = np.empty(n)
            dt[order] = z[:, 0]
            return dt * self.share / root - e

        return by_qr
