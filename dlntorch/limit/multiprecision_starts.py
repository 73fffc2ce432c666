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
    inverse_height,
    substitute,
)
from dlntorch.model import Nonnegative, Parametrization, Power, Product
from dlntorch.numerics.trajectory import Status

__all__ = ["Curve", "closed_form", "curves_of", "limit_mp_from"]

_FIRST_STEP, _LARGEST_STEP, _SMALLEST_STEP = math.log(20), math.log(1e40), 1e-3  # in ln s
_NEWTON_STEPS = 40
_RELATIVE = 10  # decimal digits below the scale of the start down to which a coordinate has relative accuracy

#: One curve from its start: Ψ(ν), or None beyond its ends; Ψ′(ν); Ψ⁻¹(ψ); and the scale on which it bends.
Curve = tuple[Callable[[Any], Any], Callable[[Any], Any], Callable[[Any], Any], Any]


def closed_form(parametrization: Parametrization, start: np.ndarray) -> bool:
    """Whether the curves from θ(0) = ``start`` (width, n) have closed forms here."""
    if type(parametrization) is Product:
        first, last = start[0], start[-1]
        balanced = bool(np.all(start[:-1] == first) and np.all(first > np.abs(last)))
        return parametrization.layers in (2, 3, 4) and balanced
    return isinstance(parametrization, Power) or type(parametrization) is Nonnegative


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
        power = mp.mpf(getattr(parametrization, "p", 0) or getattr(parametrization, "layers", 2))
        largest = max([mp.mpf(1), *(v**power for v in values), *(abs(mp.mpf(float(v))) for v in np.ravel(y))])
        lost = 2 * float(mp.log10(largest) - mp.log10(min(v**power for v in values)))
    with mp.workdps(dps + 40 + int(lost)):
        rows, right = independent_rows(as_exact(A, 2), as_exact(y, 1))
        columns = [[mp.mpf(float(v)) for v in column] for column in np.asarray(start).T]
        size = max([abs(v) for v in _least_norm(rows, right)] or [mp.mpf(0)])
        ceiling = max(max(max(column) for column in columns), size ** (1 / power))
        lowest = min(v for column in columns for v in column if v)

        def curves_at(scale: Any) -> list[Curve]:
            return [_curve(parametrization, _at_most(parametrization, scale, column, ceiling)) for column in columns]

        path = _Path(rows, right, curves_at, mp.log(ceiling / lowest), dps)
        good, steps = path.follow()
        status, reason = Status.CONVERGED, ""
        if not good:
            status = Status.FAILED
            reason = f"Newton's method stalled; psi is given for a start {float(mp.exp(path.level)):.3g} times as large"
        size = max([abs(v) for v in right] or [mp.mpf(0)]) or mp.mpf(1)  # of y
        residual = max([abs(r) for r in path.residual(mp.mpf(1))] or [mp.mpf(0)]) / size
        tau, gap = _tau(parametrization, start, path.psi, path.nu)
        return MultiprecisionLimit(path.psi, tau, gap, residual, status, reason, steps, dps)


def curves_of(parametrization: Parametrization, start: np.ndarray) -> list[Curve]:
    """The curves from θ(0) = ``start`` (width, n), taken as exact, in the working precision."""
    return [_curve(parametrization, [mp.mpf(float(v)) for v in column]) for column in np.asarray(start).T]


def _at_most(parametrization: Parametrization, scale: Any, column: list[Any], ceiling: Any) -> list[Any]:
    """``scale`` times θ(0) of a coordinate, cut off at the ceiling; for layers in one ratio, which the curve depends on."""
    if isinstance(parametrization, Product):
        share = min(scale, ceiling / column[0])
        return [share * v for v in column]
    return [min(scale * v, ceiling) for v in column]


def _curve(parametrization: Parametrization, theta: list[Any]) -> Curve:
    if isinstance(parametrization, Power):
        return _power(mp.mpf(parametrization.p), *theta)
    if isinstance(parametrization, Nonnegative):
        return _nonnegative(mp.mpf(parametrization.p), theta[0])
    return _product(len(theta), theta[0], theta[-1])


def _scales(p: Any, plus: Any, minus: Any) -> tuple[Any, Any, Any]:
    """a_e, the rate of τ in ν, and τ₀."""
    if p == 2:
        return plus * minus, mp.mpf(4), mp.log(plus / minus)
    u, v = plus ** (2 - p), minus ** (2 - p)
    mean = (u + v) / 2
    return mean ** (-p / (p - 2)), p * (p - 2) / mean, (v - u) / (u + v)


def _power(p: Any, plus: Any, minus: Any) -> Curve:
    a, rate, shift = _scales(p, plus, minus)
    k = None if p == 2 else p / (p - 2)

    def value(nu: Any) -> Any:
        t = shift + rate * nu
        if k is None:
            return 2 * a * mp.sinh(t)
        return None if abs(t) >= 1 else a * ((1 - t) ** -k - (1 + t) ** -k)

    def slope(nu: Any) -> Any:
        t = shift + rate * nu
        if k is None:
            return 2 * a * rate * mp.cosh(t)
        return a * rate * k * ((1 - t) ** (-k - 1) + (1 + t) ** (-k - 1))

    def inverse(psi: Any) -> Any:
        return (inverse_height(psi / a, k) - shift) / rate

    return value, slope, inverse, a


def _nonnegative(p: Any, theta: Any) -> Curve:
    a, k = theta**p, None if p == 2 else p / (p - 2)
    wall, c = theta ** (2 - p), 4 if k is None else p * (p - 2)

    def value(nu: Any) -> Any:
        if k is None:
            return a * mp.exp(4 * nu)
        return None if c * nu >= wall else (wall - c * nu) ** -k

    def slope(nu: Any) -> Any:
        psi = value(nu)
        return p * p * psi ** (2 - 2 / p)

    def inverse(psi: Any) -> Any:
        return mp.log(psi / a) / 4 if k is None else (wall - psi ** (-1 / k)) / c

    return value, slope, inverse, a


def _product(layers: int, first: Any, last: Any) -> Curve:
    s = mp.sqrt((first - last) * (first + last))

    def angle(q: Any) -> Any:
        return (
            mp.asinh(q / s) if layers == 2 else mp.atan(q / s) / s if layers == 3 else q / mp.sqrt(q * q + s * s) / s**2
        )

    shift = angle(last)

    def q_of(nu: Any) -> Any:
        w = nu + shift
        if layers == 2:
            return s * mp.sinh(w)
        if layers == 3:
            return None if abs(s * w) >= mp.pi / 2 else s * mp.tan(s * w)
        x = s * s * w
        return None if abs(x) >= 1 else s * x / mp.sqrt(1 - x * x)

    def value(nu: Any) -> Any:
        q = q_of(nu)
        return None if q is None else q * mp.sqrt(q * q + s * s) ** (layers - 1)

    def slope(nu: Any) -> Any:
        q = q_of(nu)
        u2 = q * q + s * s
        return u2 ** (layers - 2) * (u2 + (layers - 1) * q * q)

    def inverse(psi: Any) -> Any:
        x = abs(psi) / s**layers
        if layers == 2:
            w = mp.asinh(2 * x) / 2
        elif layers == 3:
            w = mp.asinh(2 / mp.sqrt(3) * mp.sinh(mp.asinh(mp.mpf(1.5) * mp.sqrt(3) * x) / 3))
        else:
            w = _root(x)
        return (angle(s * mp.sinh(w)) if psi > 0 else -angle(s * mp.sinh(w))) - shift

    return value, slope, inverse, s**layers


def _root(x: Any) -> Any:
    """w with cosh³w sinh w = x >= 0, by Newton on the inverse hyperbolic sine of it, whose slope is between 1 and 4."""
    target = mp.asinh(x)
    w = target / (1 + 3 * mp.tanh(target))
    for _ in range(300):
        height = mp.cosh(w) ** 3 * mp.sinh(w)
        slope = mp.cosh(w) ** 2 * (mp.cosh(w) ** 2 + 3 * mp.sinh(w) ** 2) / mp.sqrt(1 + height**2)
        change = (mp.asinh(height) - target) / slope
        w = min(max(w - change, target / 4), target)
        if abs(change) <= abs(w) * mp.mpf(10) ** (-mp.mp.dps + 3):
            break
    return w


def _tau(parametrization: Parametrization, start: np.ndarray, psi: list[Any], nu: list[Any]) -> tuple[list, list]:
    """τ and its distance from the pole, where the parametrization has them; else empty lists."""
    if isinstance(parametrization, Power):
        scales = [_scales(mp.mpf(parametrization.p), *(mp.mpf(float(v)) for v in column)) for column in start.T]
        tau = [shift + rate * value for (_, rate, shift), value in zip(scales, nu, strict=True)]
        return tau, [1 - abs(t) for t in tau]
    if isinstance(parametrization, Nonnegative):
        p = mp.mpf(parametrization.p)
        thetas = [mp.mpf(float(v)) for v in start[0]]
        if p == 2:
            tau = [4 * value for value in nu]
            return tau, [1 - abs(t) for t in tau]
        gap = [(value / theta**p) ** ((2 - p) / p) for value, theta in zip(psi, thetas, strict=True)]
        return [1 - value for value in gap], gap
    return [], []


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
        self, A: list[list[Any]], y: list[Any], curves_at: Callable[[Any], list[Curve]], top: Any, digits: int
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
        self.origin = [value(zero) for value, _, _, _ in self.curves]
        self.slope0 = [slope(zero) for _, slope, _, _ in self.curves]
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
            self.nu = [inverse(psi) for (_, _, inverse, _), psi in zip(self.curves, self.psi, strict=True)]
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
        sizes = [abs(d * s) / c[3] for d, s, c in zip(linear, self.slope0, self.curves, strict=True)]
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
            D = [slope(nu) for (_, slope, _, _), nu in zip(self.curves, self.nu, strict=True)]
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
        for i, (value, slope, inverse, unit) in enumerate(self.curves):
            new = self.nu[i] + dnu[i]
            curved, linear = value(new), self.psi[i] + D[i] * dnu[i]
            level = self.origin[i] + self.slope0[i] * new
            if (self.psi[i] - self.origin[i]) * (linear - self.origin[i]) < 0 and abs(level - self.psi[i]) < abs(
                linear - self.psi[i]
            ):
                linear = level
            near = curved is not None and abs(curved - self.origin[i]) <= unit
            if curved is None or (not near and abs(curved - self.psi[i]) > abs(linear - self.psi[i])):
                curved, new = linear, inverse(linear)
            psi.append(curved)
            nu.append(new)
            e.append(new - self.nu[i] - dnu[i])
            least = unit * mp.mpf(10) ** -_RELATIVE if tight else unit
            moved = abs(curved - self.psi[i]) / max(abs(curved), least)
            pending = abs(e[i]) * slope(new) / max(abs(curved), least)
            biggest = max(biggest, moved, min(pending, 1), abs(e[i]) / longest)
        self.psi, self.nu, self.e = psi, nu, e
        return biggest
