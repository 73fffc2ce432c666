"""The limit of the flow to any number of digits from any start, where the parametrization's curve has a closed form.

Two paths in mpmath arithmetic. From equal entries as large as the answer the data are followed, as in
:mod:`~dlntorch.limit.mirror_path`: y(s) = Aψ(0) + s(y − Aψ(0)), s up to 1. Then the start is followed down to the one asked
for, as in :mod:`~dlntorch.limit.general_start`: θ(S) = min(Sθ(0), B), S down to 1. As in
:mod:`~dlntorch.limit.multiprecision`, losses are not avoided but covered by the working precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np

from dlntorch.limit.multiprecision import (
    MultiprecisionLimit,
    as_exact,
    factor,
    independent_rows,
    substitute,
)
from dlntorch.model import Parametrization
from dlntorch.model.exact_curves import ExactCurve
from dlntorch.numerics.trajectory import Status

__all__ = ["curves_of", "has_exact_curves", "limit_mp_from"]

_FIRST_STEP, _LARGEST_STEP, _SMALLEST_STEP = math.log(20), math.log(1e40), 1e-3  # in ln s
_NEWTON_STEPS = 40
_RELATIVE = 10  # decimal digits below the scale of the start down to which a coordinate has relative accuracy


def has_exact_curves(parametrization: Parametrization, start: np.ndarray) -> bool:
    """Whether the curves from θ(0) = ``start`` (width, n) have closed forms here."""
    return all(parametrization.exact_curve(column) is not None for column in _columns(start))


def limit_mp_from(
    A: Any, y: Any, parametrization: Parametrization, start: np.ndarray, *, dps: int = 50
) -> MultiprecisionLimit:
    """ψ(∞) to ``dps`` decimal digits, every coordinate that is not far below the scale of its start.

    Args:
        A: (m, n) numbers, taken as exact.
        y: (m,) numbers, likewise; where it is not in range(A), its projection is used.
        parametrization: One with a :func:`closed_form`.
        start: θ(0), (width, n), taken as exact.
        dps: Decimal digits.
    """
    with mp.workdps(dps + 30):
        values = [abs(mp.mpf(float(v))) for v in np.asarray(start).ravel() if v]
        power = mp.mpf(parametrization.small_start.p) if parametrization.small_start else mp.mpf(2)
        largest = max([mp.mpf(1), *(v**power for v in values), *(abs(mp.mpf(float(v))) for v in np.ravel(y))])
        lost = 2 * float(mp.log10(largest) - mp.log10(min(v**power for v in values)))
    with mp.workdps(dps + 40 + int(lost)):
        rows, right = independent_rows(as_exact(A, 2), as_exact(y, 1))
        columns = _columns(start)
        size = max([abs(v) for v in _least_norm(rows, right)] or [mp.mpf(0)])
        ceiling = max(max(max(column) for column in columns), size ** (1 / power))
        lowest = min(v for column in columns for v in column if v)

        def curves_at(scale: Any) -> list[ExactCurve]:
            return _curves(parametrization, [parametrization.cut_off(column, scale, ceiling) for column in columns])

        path = _Path(rows, right, curves_at, mp.log(ceiling / lowest), dps)
        good, steps = path.follow()
        status, reason = Status.CONVERGED, ""
        if not good:
            status = Status.FAILED
            reason = f"Newton's method stalled; psi is given for a start {float(mp.exp(path.level)):.3g} times as large"
        size = max([abs(v) for v in right] or [mp.mpf(0)]) or mp.mpf(1)  # of y
        residual = max([abs(r) for r in path.residual(mp.mpf(1))] or [mp.mpf(0)]) / size
        tau, gap = _tau(_curves(parametrization, columns), path.psi, path.nu)
        return MultiprecisionLimit(path.psi, tau, gap, residual, status, reason, steps, dps)


def curves_of(parametrization: Parametrization, start: np.ndarray) -> list[ExactCurve]:
    """The curves from θ(0) = ``start`` (width, n), taken as exact, in the working precision."""
    return _curves(parametrization, _columns(start))


def _curves(parametrization: Parametrization, columns: list[list[Any]]) -> list[ExactCurve]:
    return [curve for column in columns if (curve := parametrization.exact_curve(column)) is not None]


def _columns(start: np.ndarray) -> list[list[Any]]:
    return [[mp.mpf(float(v)) for v in column] for column in np.asarray(start).T]


def _tau(curves: list[ExactCurve], psi: list[Any], nu: list[Any]) -> tuple[list, list]:
    """τ and its distance from the pole, where the curves have them; else empty lists."""
    pairs = [curve.tau(v, x) for curve, v, x in zip(curves, nu, psi, strict=True) if curve.tau is not None]
    return [t for t, _ in pairs], [gap for _, gap in pairs]


def _least_norm(A: list[list[Any]], y: list[Any]) -> list[Any]:
    """A⁺y of independent rows."""
    gram = [[mp.fdot(A[i], A[j]) for j in range(i + 1)] for i in range(len(A))]
    multiplier = substitute(factor(gram), y)
    return [mp.fdot(column, multiplier) for column in zip(*A, strict=True)]


class _Path:
    """The state ψ and ν of every coordinate, with the distance e of ν from range(Aᵀ), at one s and one ``level`` ln S.

    ``curves_at(S)`` gives the curves from θ(S), which are equal for S >= exp(``top``).
    """

    def __init__(
        self, A: list[list[Any]], y: list[Any], curves_at: Callable[[Any], list[ExactCurve]], top: Any, digits: int
    ) -> None:
        self.A, self.y, self.curves_at, self.digits = A, y, curves_at, digits
        self.columns = [list(column) for column in zip(*A, strict=True)]
        self._to(top)
        zero = mp.mpf(0)
        self.nu, self.e = [zero] * len(self.curves), [zero] * len(self.curves)
        self.psi = self.origin
        self.log_s = -mp.inf

    def _to(self, level: Any) -> None:
        """The curves of another start."""
        self.level, zero = level, mp.mpf(0)
        self.curves = self.curves_at(mp.exp(level))
        self.origin = [curve.value(zero) for curve in self.curves]
        self.slope0 = [curve.slope(zero) for curve in self.curves]
        self.before = [mp.fdot(row, self.origin) for row in self.A]

    def follow(self) -> tuple[bool, int]:
        if not self.A:
            self._to(mp.mpf(0))
            self.psi = self.origin
            return True, 0
        good, steps = self._follow_data()
        step = mp.mpf(_FIRST_STEP)
        while good and self.level > 0:
            saved = self.psi, self.nu, self.e, self.level
            self._to(max(self.level - step, mp.mpf(0)))
            # The same ψ on the new curves: all of ν may be missing from range(Aᵀ), the next step finds the nearest.
            self.nu = [curve.inverse(psi) for curve, psi in zip(self.curves, self.psi, strict=True)]
            self.e = list(self.nu)
            found, used = self._solve_at(mp.mpf(0), self.level == 0)
            steps += used
            if not found:
                step = (saved[3] - self.level) / 4
                self._to(saved[3])
                self.psi, self.nu, self.e, _ = saved
                good = step > _SMALLEST_STEP
            elif used <= 4:
                step = min(2 * step, mp.mpf(_LARGEST_STEP))
            elif used > 8:
                step /= 1.5
        return good, steps

    def _follow_data(self) -> tuple[bool, int]:
        target = [a - b for a, b in zip(self.y, self.before, strict=True)]
        if all(abs(t) <= mp.mpf(10) ** (-mp.mp.dps + 5) * (abs(v) + 1) for t, v in zip(target, self.y, strict=True)):
            return True, 0
        linear = self._newton(self.slope0, target)
        sizes = [abs(d * s) / c.scale for d, s, c in zip(linear, self.slope0, self.curves, strict=True)]
        goal = min(mp.mpf(0), mp.log(mp.mpf("0.5") / max(sizes)))
        step, steps = mp.mpf(_FIRST_STEP), 0
        while True:
            saved = self.psi, self.nu, self.e, self.log_s
            good, used = self._solve_at(goal, goal == 0 and self.level == 0)
            steps += used
            if good and goal == 0:
                return True, steps
            if not good:
                self.psi, self.nu, self.e, self.log_s = saved
                step = min(step, goal - saved[3]) / 4
                if not step > _SMALLEST_STEP or saved[3] == -mp.inf:
                    return False, steps
            elif used <= 4:
                step = min(2 * step, mp.mpf(_LARGEST_STEP))
            elif used > 8:
                step /= 1.5
            goal = min(self.log_s + step, mp.mpf(0))

    def residual(self, s: Any) -> list[Any]:
        return [
            (1 - s) * b + s * v - mp.fdot(row, self.psi) for row, v, b in zip(self.A, self.y, self.before, strict=True)
        ]

    def _newton(self, D: list[Any], r: list[Any]) -> list[Any]:
        """dν = Aᵀμ − e with A D Aᵀ μ = r + A D e."""
        weighted = [[x * d for x, d in zip(row, D, strict=True)] for row in self.A]
        rhs = [v + mp.fdot(row, self.e) for v, row in zip(r, weighted, strict=True)]
        M = [[mp.fdot(weighted[i], self.A[j]) for j in range(i + 1)] for i in range(len(rhs))]
        multiplier = substitute(factor(M), rhs)
        return [mp.fdot(column, multiplier) - e for column, e in zip(self.columns, self.e, strict=True)]

    def _solve_at(self, goal: Any, tight: bool) -> tuple[bool, int]:
        self.log_s = goal
        s = mp.exp(goal)
        tolerance = mp.mpf(10) ** (-self.digits - 5) if tight else mp.mpf("0.25")
        for used in range(1, _NEWTON_STEPS + 1):
            D = [curve.slope(nu) for curve, nu in zip(self.curves, self.nu, strict=True)]
            try:
                dnu = self._newton(D, self.residual(s))
            except (ZeroDivisionError, OverflowError):
                return False, used
            if self._move(D, dnu, tight) <= tolerance:
                return True, used
        return False, _NEWTON_STEPS

    def _move(self, D: list[Any], dnu: list[Any], tight: bool) -> Any:
        """Take the step in ψ or in ν, whichever goes less far; the largest change that was made or is pending."""
        psi, nu, e = [], [], []
        biggest, longest = mp.mpf(0), max(abs(v) for v in self.nu) or mp.mpf(1)
        for i, curve in enumerate(self.curves):
            new, unit = self.nu[i] + dnu[i], curve.scale
            curved, linear = curve.value(new), self.psi[i] + D[i] * dnu[i]
            level = self.origin[i] + self.slope0[i] * new
            if (self.psi[i] - self.origin[i]) * (linear - self.origin[i]) < 0 and abs(level - self.psi[i]) < abs(
                linear - self.psi[i]
            ):
                linear = level
            near = curved is not None and abs(curved - self.origin[i]) <= unit
            if curved is None or (not near and abs(curved - self.psi[i]) > abs(linear - self.psi[i])):
                curved, new = linear, curve.inverse(linear)
            psi.append(curved)
            nu.append(new)
            e.append(new - self.nu[i] - dnu[i])
            least = unit * mp.mpf(10) ** -_RELATIVE if tight else unit
            moved = abs(curved - self.psi[i]) / max(abs(curved), least)
            pending = abs(e[i]) * curve.slope(new) / max(abs(curved), least)
            biggest = max(biggest, moved, min(pending, 1), abs(e[i]) / longest)
        self.psi, self.nu, self.e = psi, nu, e
        return biggest
