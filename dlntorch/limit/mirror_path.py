"""The limit of the flow of any separable parametrization, from its mirror alone.

    Aψ = y,   ψ_i = Ψ_i(ν_i),   ν ∈ range(Aᵀ)

is the minimum over λ of Σ ∫Ψ_i(A_iᵀλ) − yᵀλ, a smooth convex function with the Hessian A diag(D) Aᵀ, D = Ψ′. Newton's method
from the start is hopeless where ψ(0) is far below the answer: every coordinate that has to grow meets a pole. So the data
are followed instead,

    y(s) = Aψ(0) + s (y − Aψ(0)),   s from nearly 0 up to 1,

by factors of s: the start is the answer at s = 0, and for a power and ψ(0) = 0 this is the path in α^p of
:mod:`~dlntorch.limit.central_path` (ψ scales with s). As there, the state is ψ of every coordinate with the distance e of ν
from range(Aᵀ), a step is taken in ψ or in ν, whichever does not overshoot, and what ν misses of the linear step is left in e.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.linalg import get_lapack_funcs, solve_triangular

from dlntorch.limit.central_path import PathPoint, row_sorted_factors
from dlntorch.model.mirror import Mirror
from dlntorch.problem.equal_columns import EqualColumns

__all__ = ["MirrorPath"]

_GEQP3, _ORMQR = get_lapack_funcs(("geqp3", "ormqr"), dtype=np.float64)
_EPS = float(np.finfo(np.float64).eps)
_FIRST_STEP, _LARGEST_STEP, _SMALLEST_STEP = math.log(20), math.log(1e10), 0.02  # in ln s
_NEWTON_STEPS, _PATIENCE = 40, 6
_LOOSE, _TIGHT, _NOISE = 0.25, 1e-9, 1e-3  # as in central_path
_DRIFT = 5e-13  # distance of ν from range(Aᵀ), relative to its largest entry, that is no rounding
_UNIT_STEPS = 14
_GOLDEN, _SILVER = 0.6180339887498949, 0.4142135623730951  # as in central_path_judging.perturbations

#: (r, e) ↦ dν with A D (dν + e) = r + A D e and dν + e in range(Aᵀ).
Solver = Callable[[np.ndarray, np.ndarray], np.ndarray]


class MirrorPath:
    """The path of one problem of full row rank from one start.

    Args:
        A: (m, n) float64, rank m.
        y: (m,).
        mirror: The curves from θ(0).
        equal: Which columns of A are equal and start equally.
        starts: Where entries of θ(0) of the size of the answer stand beside small ones, the data alone are no smooth path:
            the curves from θ(S), and ln S from which they are equal. The data are followed there, and S from there to 1.
    """

    def __init__(
        self,
        A: np.ndarray,
        y: np.ndarray,
        mirror: Mirror,
        equal: EqualColumns,
        starts: tuple[Callable[[float], Mirror], float] | None = None,
    ) -> None:
        scale = np.exp2(-np.round(np.log2(np.max(np.abs(A), axis=1))))
        self.A, self.y = np.ascontiguousarray(A * scale[:, None]), y * scale
        self.columns = np.ascontiguousarray(self.A.T)
        self.equal = equal
        self.basis, self.R = row_sorted_factors(self.columns)
        self.starts = starts
        self._use(mirror)

    def _use(self, mirror: Mirror) -> None:
        """Make ``mirror`` the curves that the path is on."""
        self.mirror = mirror
        self.origin = mirror.origin.numpy().copy()
        self.slope0 = self._slope(self.origin)
        self.target = self.y - self.A @ self.origin  # y − Aψ(0), what s multiplies
        move = self.basis @ np.linalg.solve(self.R.T, self.target)
        self.reach = 10 * float(np.sum(np.abs(move)) + np.sum(np.abs(self.origin)))
        self.unit = self._units() if np.any(self.target) else np.abs(self.origin) + np.max(np.abs(self.origin))

    def point(self) -> PathPoint:
        """The answer; its ``log_a`` is 0, or where the path ended before, −ln s or ln S there."""
        level = np.abs(self.A) @ np.abs(self.origin) + np.abs(self.y)
        self.psi, self.e, self.log_s, self._mended = self.origin.copy(), np.zeros_like(self.origin), 0.0, 0
        if np.all(np.abs(self.target) <= 4e-16 * level):
            return self._point(0, True, 0.0)
        if self.starts is None:
            return self._follow_data(_TIGHT)
        mirror_at, top = self.starts
        self._use(mirror_at(top))
        self.psi = self.origin.copy()
        found = self._follow_data(_LOOSE)
        return found if not found.converged or self.log_s != 0 else self._follow_starts(mirror_at, top, found.steps)

    def _follow_data(self, tolerance: float) -> PathPoint:
        self.log_s = self._first()
        step, steps, goal, before = _FIRST_STEP, 0, self.log_s, -math.inf
        while True:
            saved = self.psi.copy(), self.e.copy(), before
            converged, change, used = self._solve_at(goal, tolerance if goal == 0 else _LOOSE)
            steps += used
            if converged and goal == 0:
                break
            if not converged:
                self.psi, self.e, self.log_s = saved
                step = min(step, goal - before) / 4 if goal > before > -math.inf else 0.0
                if step < _SMALLEST_STEP:
                    break
            elif used <= 3:
                step = min(2 * step, _LARGEST_STEP)
            elif used > 8:
                step /= 1.5
            before = self.log_s
            goal = 0.0 if self.log_s + step >= -1e-3 * step else self.log_s + step
        return self._point(steps, converged, change if converged else 0.0)

    def _follow_starts(self, mirror_at: Callable[[float], Mirror], top: float, steps: int) -> PathPoint:
        """From the answer for the start at ln S = ``top`` to the one for the start itself, at 0."""
        step, level, converged, change = _FIRST_STEP, top, True, 0.0
        while level > 0:
            saved = self.mirror, self.psi.copy(), self.e.copy()
            goal = 0.0 if level - step <= 1e-3 * step else level - step
            self._use(mirror_at(goal))
            # The same ψ on the new curves, and of what ν then misses the D-nearest.
            solve = self._solver(np.sqrt(self._slope(self.psi)))
            self.e = -self.equal.mean(solve(np.zeros_like(self.y), self._distance()[0]))
            converged, change, used = self._solve_at(0.0, _TIGHT if goal == 0 else _LOOSE)
            steps += used
            if converged:
                level = goal
                step = min(2 * step, _LARGEST_STEP) if used <= 3 else step if used <= 8 else step / 1.5
                continue
            step = (level - goal) / 4
            mirror, self.psi, self.e = saved
            self._use(mirror)
            if step < _SMALLEST_STEP:
                break
        found = self._point(steps, converged, change if converged else 0.0)
        found.log_a = level
        return found

    # -- the curves -----------------------------------------------------------------------------------------------

    def _slope(self, psi: np.ndarray) -> np.ndarray:
        return self.mirror.slope(torch.from_numpy(psi)).detach().numpy()

    def _nu(self, psi: np.ndarray) -> np.ndarray:
        return self.mirror.nu(torch.from_numpy(psi)).detach().numpy()

    def _units(self) -> np.ndarray:
        """How far ψ is from ψ(0) where D has changed by a factor e, (n,): the scale of the start; at most the data's."""
        low, high = np.full_like(self.origin, -250.0), np.full_like(self.origin, math.log10(self.reach))
        for _ in range(_UNIT_STEPS):
            middle = 0.5 * (low + high)
            with np.errstate(all="ignore"):
                far = ~(np.abs(np.log(self._slope(self.origin + 10.0**middle) / self.slope0)) < 1)
            low, high = np.where(far, low, middle), np.where(far, middle, high)
        return 10.0**high

    def _first(self) -> float:
        """ln s of a first point at which the curves are nearly straight."""
        root = np.sqrt(self.slope0)
        linear = self.slope0 * self._solver(root)(self.target, np.zeros_like(root))
        with np.errstate(divide="ignore"):
            return min(0.0, float(np.min(np.log(0.5 * self.unit) - np.log(np.abs(linear)))))

    # -- one level ------------------------------------------------------------------------------------------------

    def _residual(self) -> tuple[np.ndarray, np.ndarray]:
        """y(s) − Aψ and the rounding of its terms, both (m,)."""
        s = math.exp(self.log_s)
        r = self.y - self.A @ self.psi if s == 1 else s * self.target - self.A @ (self.psi - self.origin)
        size = np.abs(self.y) if s == 1 else s * np.abs(self.target)
        moved = self.psi if s == 1 else self.psi - self.origin
        return r, _EPS * (np.abs(self.A) @ np.abs(moved) + size)

    def _solve_at(self, goal: float, tolerance: float) -> tuple[bool, float, int]:
        """Newton at ln s = ``goal`` until ψ changes by less than ``tolerance`` in the units of its curves."""
        self.log_s = goal
        best, idle, self._mended, used = math.inf, 0, 0, 0
        for used in range(1, _NEWTON_STEPS + 1):
            r, level = self._residual()
            at_floor = bool(np.all(np.abs(r) <= 2 * level))
            change = self._step(np.zeros_like(r) if at_floor else r)
            if not math.isfinite(change):
                break
            if change <= tolerance and (tolerance == _LOOSE or self._settled()):
                return True, change, used
            idle = 0 if _EPS < change < 0.7 * best else idle + 1
            best = min(best, change)
            if change < _NOISE and idle >= (1 if at_floor else _PATIENCE):
                return True, _PATIENCE * change, used
        return False, math.inf, used

    def _step(self, r: np.ndarray) -> float:
        """One Newton step in place; the largest change of ψ that was made or that e still asks for, in units."""
        D = self._slope(self.psi)
        dnu = self.equal.mean(self._solver(np.sqrt(D))(r, self.e))
        if not np.all(np.isfinite(dnu)):
            return math.inf
        before = self.psi
        self.psi = self._moved(D, dnu)
        made = self.mirror.difference(torch.from_numpy(before), torch.from_numpy(self.psi)).detach().numpy()
        self.e = np.where(dnu == 0, 0.0, made - dnu)
        size = np.abs(self.psi - self.origin) + self.unit
        pending = np.abs(self.e) * self._slope(self.psi) / size
        moved = np.abs(self.psi - before) / (np.abs(before - self.origin) + self.unit)
        if not (np.all(np.isfinite(self.psi)) and np.all(np.isfinite(self.e))):
            return math.inf
        biggest = max(np.max(np.minimum(moved, 4 * np.abs(self.psi - before) / size)), np.max(np.minimum(pending, 1.0)))
        # A coordinate far below its start counts for nothing in Aψ, and its ν still has to be in range(Aᵀ).
        return max(float(biggest), float(np.max(np.abs(self.e)) / (np.max(np.abs(self._nu(self.psi))) or 1.0)))

    def _moved(self, D: np.ndarray, dnu: np.ndarray) -> np.ndarray:
        """ψ after the linear step dν: in ψ or in ν, whichever goes less far."""
        linear = self.psi + D * dnu
        with np.errstate(all="ignore"):
            curved = self.mirror.after(torch.from_numpy(self.psi), torch.from_numpy(dnu)).detach().numpy()
        # A fall in ψ across the start, whose steep slope is not the one there.
        side = np.sign(self.psi - self.origin)
        crossing = side * (linear - self.origin) < 0
        level = self.origin + self.slope0 * (self._nu(self.psi) + dnu)
        linear = np.where(crossing & (np.abs(level - self.psi) < np.abs(linear - self.psi)), level, linear)
        linear = np.clip(linear, -self.reach, self.reach)
        beyond = np.isnan(self._nu(linear))
        if beyond.any():  # half of the way to the end of the curve
            bottom, top = (end.numpy() for end in self.mirror.range())
            middle = 0.5 * (self.psi + np.where(linear > self.psi, top, bottom))
            linear = np.where(beyond, np.clip(middle, -self.reach, self.reach), linear)
        # On the scale of the start no step goes far; there ν is what has to be right.
        near = np.abs(curved - self.origin) <= self.unit
        usable = np.isfinite(curved) & (near | (np.abs(curved - self.psi) <= np.abs(linear - self.psi)))
        return np.where(dnu == 0, self.psi, np.where(usable, curved, linear))

    def _settled(self) -> bool:
        """Whether the residual, and the distance of ν from range(Aᵀ), are at their rounding levels."""
        distance, largest = self._distance()
        drift = np.max(np.abs(distance - self.e))
        if self._mended < 2 and (drift > _DRIFT * largest or np.max(np.abs(self.e)) > _DRIFT * largest):
            self._mended += 1
            if drift > _DRIFT * largest:
                solve = self._solver(np.sqrt(self._slope(self.psi)))
                e = -self.equal.mean(solve(np.zeros_like(self.y), distance))
                self.e = np.where(np.abs(e) > 0.1 * _DRIFT * largest, e, 0.0)
            return False
        r, level = self._residual()
        return bool(np.all(np.abs(r) <= 4 * level))

    def _distance(self) -> tuple[np.ndarray, float]:
        """ν less its nearest point of range(Aᵀ), (n,), and the largest entry of ν."""
        nu = self._nu(self.psi)
        return nu - self.basis @ (self.basis.T @ nu), float(np.max(np.abs(nu))) or 1.0

    # -- what judges an answer --------------------------------------------------------------------------------------

    def _point(self, steps: int, converged: bool, change: float) -> PathPoint:
        _, level = self._residual()
        distance, largest = self._distance()
        scale = float(np.linalg.norm(self.y)) or float(np.max(level)) / _EPS or 1.0
        found = self._uncertainty(level, distance)
        uncertainty = min(1.0, max(found, change if change > _TIGHT else 0.0))
        none = np.zeros_like(self.psi)
        return PathPoint(
            self.psi,
            none,
            none + 1,
            -self.log_s,
            float(np.linalg.norm(self.y - self.A @ self.psi)) / scale,
            float(np.max(np.abs(distance))) / largest,
            uncertainty,
            steps,
            converged,
        )

    def _uncertainty(self, level: np.ndarray, distance: np.ndarray) -> float:
        """First-order effect of one rounding in every term of Aψ = y and of ν = Aᵀλ, as for the central path."""
        D = self._slope(self.psi)
        solve = self._solver(np.sqrt(D))
        lam = np.linalg.solve(self.R, self.basis.T @ self._nu(self.psi))
        terms = np.max(np.abs(self.columns), axis=1) * np.sum(np.abs(lam))
        largest = float(np.max(np.abs(self.psi))) or 1.0
        scale = np.maximum(np.abs(self.psi), np.minimum(self.unit, largest))
        nothing, quiet, worst = np.zeros_like(D), np.zeros_like(level), 0.0
        n, m = D.size, level.size
        noises = [(level * mixed[:m], _EPS * terms * mixed[:n]) for mixed in _mixed(max(m, n))]
        with np.errstate(all="ignore"):
            for r, noise in (*noises, (quiet, distance)):
                if noise is distance and np.all(np.abs(distance) <= 2 * _EPS * terms):
                    break
                dnu = solve(r, noise)
                response = float(np.max(D * np.abs(dnu) / scale))
                for _ in range(20):
                    if not response > max(1e-14, worst):
                        break
                    dnu = dnu + solve(r - self.A @ (D * dnu), nothing)
                    before, response = response, float(np.max(D * np.abs(dnu) / scale))
                    if not response < 0.5 * before:
                        break
                worst = max(worst, response if noise is not distance or response > 2 * worst else 0.0)
        return worst if math.isfinite(worst) else 1.0

    def _solver(self, root: np.ndarray) -> Solver:
        """dν = −e + D^{−1/2}(Q R^{−T} r + Q Qᵀ D^{1/2} e), QR = D^{1/2}Aᵀ with rows sorted and columns pivoted."""
        n, m = self.columns.shape
        S = self.columns * root[:, None]
        order = np.argsort(-np.max(np.abs(S), axis=1), kind="stable")
        q, pivots, tau, _, _ = _GEQP3(np.asfortranarray(S[order]), overwrite_a=1)
        pivots = pivots - 1

        def solve(r: np.ndarray, e: np.ndarray) -> np.ndarray:
            projected, _, _ = _ORMQR("L", "T", q, tau, (root * e)[order][:, None], lwork=4096)
            z = np.zeros((n, 1))
            z[:m, 0] = projected[:m, 0] + solve_triangular(q[:m], r[pivots], trans=1, check_finite=False)
            z, _, _ = _ORMQR("L", "N", q, tau, z, lwork=4096, overwrite_c=1)
            dnu = np.empty(n)
            dnu[order] = z[:, 0]
            return dnu / root - e

        return solve


def _mixed(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Sizes about 1 with signs mixed in two ways, as in :func:`~dlntorch.limit.central_path_judging.perturbations`."""
    i = np.arange(size)
    sizes = 0.5 + (i * _GOLDEN) % 1.0
    second = (1 + (i * _SILVER) % 1.0) * np.where(i // 2 % 2, 1.0, -1.0)
    return sizes * np.where(i % 2, 1.0, -1.0), second
