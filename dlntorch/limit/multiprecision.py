"""The limit of the flow to any number of digits, for small problems, with A and y taken as exact.

The same path in a = α^p as :mod:`dlntorch.limit.central_path`, in mpmath arithmetic. A D Aᵀ has a condition number
of about (‖ψ‖_∞/a)^{1 + 1/k}, k = p/(p − 2), and 1 − |τ| is about (a/‖ψ‖_∞)^{1/k}: instead of avoiding these losses, the
working precision covers them.

A coordinate may also be 0 by cancellation in A_iᵀλ, where no precision gives it a correct digit: the iteration asks no
digits of what rounding alone makes of τ_i, and such a coordinate is returned as 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath as mp

from dlntorch.model.exact_curves import height_of
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.numerics.validation import InputError, check_count, check_depth

__all__ = [
    "MultiprecisionLimit",
    "as_exact",
    "factor",
    "independent_rows",
    "limit_mp",
    "limits_mp",
    "substitute",
]

_FIRST_STEP = math.log(20)
_LARGEST_STEP = math.log(1e40)
_NEWTON_STEPS = 80
_FAR = 8  # ψ/a beyond which a step is taken in ψ
_SMALLEST_STEP = 1e-3  # in −log a
_NOISE = 10  # decimal digits above the estimated rounding of τ_i within which it is 0


@dataclass(frozen=True)
class MultiprecisionLimit:
    """ψ_α(∞) as ``mpmath.mpf`` numbers.

    Attributes:
        psi: ψ, n numbers; exactly 0 where τ_i is rounding of the terms of A_iᵀλ.
        tau: τ, n numbers.
        gap: 1 − |τ|, n numbers.
        residual: ‖Aψ − y‖_∞/‖y‖_∞ of the independent rows.
        status: ``converged``; ``below_input_precision`` where a coordinate that nearly cancels has fewer digits than asked
            for; or ``failed``.
        reason: One line, where it failed.
        steps: Linear systems solved since the α before.
        digits: The correct digits asked for.
    """

    psi: list[Any]
    tau: list[Any]
    gap: list[Any]
    residual: Any
    status: Status
    reason: str
    steps: int
    digits: int

    __repr__ = short_repr

    def decimals(self) -> list[str]:
        """ψ as decimal strings."""
        with mp.workdps(self.digits + 10):
            return [str(mp.nstr(value, self.digits, strip_zeros=True)) for value in self.psi]


def limit_mp(A: Any, y: Any, p: float, alpha: Any = None, *, alpha_p: Any = None, dps: int = 50) -> MultiprecisionLimit:
    """ψ_α(∞) to ``dps`` decimal digits, every coordinate.

    Args:
        A: (m, n) numbers, taken as exact: array, tensor or nested lists (of floats or ``mpf``).
        y: (m,) numbers, likewise.
        p: Depth, >= 2.
        alpha: α > 0 as a float, an ``mpf`` or a decimal string ("1e-60"); or else
        alpha_p: α^p in its place.
        dps: Decimal digits.
    """
    if (alpha is None) == (alpha_p is None):
        raise InputError("alpha must be given, or alpha_p in its place, got both or neither")
    return limits_mp(A, y, p, [alpha if alpha_p is None else alpha_p], dps=dps, are_powers=alpha_p is not None)[0]


def limits_mp(
    A: Any, y: Any, p: float, alphas: Sequence[Any], *, dps: int = 50, are_powers: bool = False
) -> list[MultiprecisionLimit]:
    """:func:`limit_mp` for a sequence of α in one sweep, in the caller's order."""
    depth = check_depth(p)
    digits = check_count("dps", dps, at_least=15)
    with mp.workdps(digits + 30):
        powers = [mp.mpf(value) if are_powers else mp.mpf(value) ** mp.mpf(depth) for value in alphas]
        if not all(mp.isfinite(a) and a > 0 for a in powers):
            raise InputError(f"alpha must be finite and > 0, got {alphas}")
        matrix, vector = as_exact(A, 2), as_exact(y, 1)
        lowest = min(powers)
        scale = max(max(abs(v) for v in vector), mp.mpf(1))
        lost = 2 * max(0.0, float(mp.log10(scale) - mp.log10(lowest)))
    with mp.workdps(digits + 40 + int(lost)):
        rows, right = independent_rows(matrix, vector)
        if not any(right):
            zero = [mp.mpf(0)] * len(matrix[0])
            one = [mp.mpf(1)] * len(zero)
            return [MultiprecisionLimit(zero, zero, one, mp.mpf(0), Status.CONVERGED, "", 0, digits) for _ in powers]
        path = _Path(rows, right, depth, digits)
        distinct = sorted(set(powers), reverse=True)
        found = dict(zip(distinct, path.points(distinct), strict=True))
    return [found[a] for a in powers]


def as_exact(values: Any, ndim: int) -> list[Any]:
    """Nested lists of the numbers as they are."""
    if hasattr(values, "tolist"):
        values = values.tolist()
    return [as_exact(row, 1) for row in values] if ndim == 2 else [mp.mpf(value) for value in values]


def independent_rows(A: list[list[Any]], y: list[Any]) -> tuple[list[list[Any]], list[Any]]:
    """Rows of A that span its row space, and what Aψ must be there for Aψ to be the projection of y on range(A)."""
    m, n = len(A), len(A[0])
    # Small rows are as exact as large ones: rank is decided between rows whose largest entry is 1.
    tops = [max(abs(value) for value in row) or mp.mpf(1) for row in A]
    work = [[value / top for value in row] for row, top in zip(A, tops, strict=True)]
    chosen: list[int] = []
    used: list[int] = []
    negligible = mp.mpf(10) ** (-mp.mp.dps // 2)
    for _ in range(min(m, n)):  # Gauss elimination with full pivoting: exact input, so what is left is rounding or rank
        size, i, j = max((abs(work[i][j]), i, j) for i in range(m) if i not in chosen for j in range(n))
        if size <= negligible:
            break
        chosen.append(i)
        used.append(j)
        for other in range(m):
            if other not in chosen:
                factor = work[other][j] / work[i][j]
                work[other] = [a - factor * b for a, b in zip(work[other], work[i], strict=True)]
    if len(chosen) == m:
        return A, y
    basis = [A[i] for i in sorted(chosen)]
    gram = [[mp.fdot(a, b) for b in basis] for a in basis]
    # A = C·basis; the projection of y is C z with z the least-squares solution, and basis·ψ must equal z.
    C = [_solve(gram, [mp.fdot(row, b) for b in basis]) for row in A]
    columns = [list(column) for column in zip(*C, strict=True)]
    normal = [[mp.fdot(a, b) for b in columns] for a in columns]
    return basis, _solve(normal, [mp.fdot(column, y) for column in columns])


def factor(M: list[list[Any]]) -> tuple[list[list[Any]], list[Any]]:
    """L and D of a symmetric positive definite M = LDLᵀ; raises ``ZeroDivisionError`` where it is not."""
    L: list[list[Any]] = []
    D: list[Any] = []
    for i in range(len(M)):
        row: list[Any] = []  # L_ij D_j
        for j in range(i):
            row.append(M[i][j] - mp.fdot(row[:j], L[j]))
        scaled = [value / d for value, d in zip(row, D, strict=True)]
        pivot = M[i][i] - mp.fdot(row, scaled)
        if pivot <= 0:
            raise ZeroDivisionError
        L.append(scaled)
        D.append(pivot)
    return L, D


def substitute(factor: tuple[list[list[Any]], list[Any]], rhs: list[Any]) -> list[Any]:
    """The solution of LDLᵀx = rhs."""
    L, D = factor
    z: list[Any] = []
    for row, value in zip(L, rhs, strict=True):
        z.append(value - mp.fdot(row, z))
    x = [value / d for value, d in zip(z, D, strict=True)]
    for i in range(len(x) - 1, -1, -1):
        x[i] -= mp.fsum(L[j][i] * x[j] for j in range(i + 1, len(x)))
    return x


def _solve(M: list[list[Any]], rhs: list[Any]) -> list[Any]:
    """The solution of a symmetric positive definite system; raises ``ZeroDivisionError`` where it is not."""
    return substitute(factor(M), rhs)


class _Path:
    """The state ψ_i = a h_p(τ_i), with the distance e of τ from range(Aᵀ), at one value of a."""

    def __init__(self, A: list[list[Any]], y: list[Any], p: float, digits: int) -> None:
        self.A, self.y, self.digits = A, y, digits
        self.columns = [list(column) for column in zip(*A, strict=True)]
        self.height = height_of(p)

    def points(self, targets: Sequence[Any]) -> Iterator[MultiprecisionLimit]:
        self._start(targets[0])
        step, good = _FIRST_STEP, True
        for target in targets:
            steps = 0
            while good and (self.log_a > mp.log(target) or steps == 0):
                saved = (list(self.psi), list(self.tau), list(self.e), self.log_a)
                last = self.log_a - step <= mp.log(target)
                goal = mp.log(target) if last else self.log_a - step
                good, used = self._solve_at(goal, last)
                steps += used
                if not good:
                    self.psi, self.tau, self.e, self.log_a = saved
                    step /= 4
                    good = step > _SMALLEST_STEP
                    continue
                step = min(2 * step, _LARGEST_STEP) if used <= 4 else step if used <= 8 else step / 1.5
                if last:
                    break
            yield self._limit(good, steps)

    def _limit(self, good: bool, steps: int) -> MultiprecisionLimit:
        """The point reached, with coordinates that are rounding only as 0."""
        zero = [abs(t) <= noise * mp.mpf(10) ** _NOISE for t, noise in zip(self.tau, self.noise, strict=True)]
        psi = [mp.mpf(0) if none else value for value, none in zip(self.psi, zero, strict=True)]
        tau = [mp.mpf(0) if none else value for value, none in zip(self.tau, zero, strict=True)]
        few = [i for i, (t, noise) in enumerate(zip(tau, self.noise, strict=True)) if t and self._floor(noise) > abs(t)]
        status, reason = Status.CONVERGED, ""
        if not good:
            reached = f"10^{float(self.log_a / mp.log(10)):.6g}"
            status, reason = Status.FAILED, f"Newton's method stalled; psi is given for alpha^p = {reached}"
        elif few:
            status = Status.BELOW_INPUT_PRECISION
            reason = f"psi[{few[0]}] is a difference of nearly equal terms and has fewer digits than asked for"
        residual = max(abs(r) for r in self._residual()) / max(abs(v) for v in self.y)
        return MultiprecisionLimit(psi, tau, [1 - abs(t) for t in tau], residual, status, reason, steps, self.digits)

    def _floor(self, noise: Any) -> Any:
        """|τ_i| below which it has not all the digits asked for, from its rounding."""
        return noise * mp.mpf(10) ** (self.digits + _NOISE)

    def _start(self, largest: Any) -> None:
        """The minimum-norm solution, on the linear part of the curve."""
        gram = [[mp.fdot(a, b) for b in self.A] for a in self.A]
        multiplier = _solve(gram, self.y)
        minimum_norm = [mp.fdot(column, multiplier) for column in self.columns]
        top = max(largest, max(abs(value) for value in minimum_norm))
        self.log_a = mp.log(top)
        slope = 2 * top * self.height.half_slope
        self.tau = [value / slope for value in minimum_norm]
        self.psi = [top * self.height.value(t) for t in self.tau]
        self.e = [mp.mpf(0)] * len(self.tau)
        self.noise = [mp.mpf(0)] * len(self.tau)

    def _residual(self) -> list[Any]:
        return [target - mp.fdot(row, self.psi) for row, target in zip(self.A, self.y, strict=True)]

    def _solve_at(self, goal: Any, tight: bool) -> tuple[bool, int]:
        tolerance = mp.mpf(10) ** (-self.digits - 5) if tight else mp.mpf("0.5")
        dl = goal - self.log_a
        for used in range(1, _NEWTON_STEPS + 1):
            try:
                change = self._step(goal, dl, tight)
            except (ZeroDivisionError, OverflowError):
                return False, used
            if dl == 0 and change <= tolerance:
                return True, used
            dl = mp.mpf(0)
        return False, _NEWTON_STEPS

    def _step(self, goal: Any, dl: Any, tight: bool) -> Any:
        """One linear step, taken in ψ or τ as in the float64 path; returns the largest relative change.

        Changes are relative to a where |ψ_i| is smaller, or in a ``tight`` solve where it is rounding.
        """
        a = mp.exp(self.log_a)
        D = [a * self.height.slope(t) for t in self.tau]
        r = self._residual()
        weighted = [[x * d for x, d in zip(row, D, strict=True)] for row in self.A]
        rhs = [s - (v - s) * dl + mp.fdot(row, self.e) for s, v, row in zip(r, self.y, weighted, strict=True)]
        size = len(rhs)
        M: list[list[Any]] = [[mp.fdot(weighted[i], self.A[j]) for j in range(i + 1)] for i in range(size)]
        factors = factor(M)
        multiplier = substitute(factors, rhs)
        if tight and dl == 0:
            self.noise = self._rounding(factors, weighted)
        self.log_a, new_a = goal, mp.exp(goal)
        biggest = mp.mpf(0)
        for i, column in enumerate(self.columns):
            dt = mp.fdot(column, multiplier) - self.e[i]
            before = self.psi[i]
            self.psi[i], self.tau[i], self.e[i] = self._moved(before, self.tau[i], dt, D[i], dl, a, new_a)
            least = max(abs(self.tau[i]), self._floor(self.noise[i])) if tight else 1
            scale = max(abs(self.psi[i]), new_a * least)
            biggest = max(biggest, abs(self.psi[i] - before) / scale if scale else 0)
        return biggest

    def _rounding(self, factors: tuple[list[list[Any]], list[Any]], weighted: list[list[Any]]) -> list[Any]:
        """A bound on what rounding of the terms of A(ψ + De) = y makes of every τ_i: |Aᵀ||(ADAᵀ)⁻¹| times those."""
        sizes = [
            abs(y)
            + mp.fsum(abs(a * x) + abs(w * t) for a, x, w, t in zip(row, self.psi, scaled, self.tau, strict=True))
            for row, scaled, y in zip(self.A, weighted, self.y, strict=True)
        ]
        change = [mp.mpf(0)] * len(sizes)
        for i, size in enumerate(sizes):
            unit = [mp.eps * size if j == i else mp.mpf(0) for j in range(len(sizes))]
            change = [total + abs(value) for total, value in zip(change, substitute(factors, unit), strict=True)]
        return [mp.fsum(abs(a) * c for a, c in zip(column, change, strict=True)) for column in self.columns]

    def _moved(self, psi: Any, t: Any, dt: Any, slope: Any, dl: Any, a: Any, new_a: Any) -> tuple[Any, Any, Any]:
        """(ψ, τ, e) of one coordinate after the linear step dt."""
        linear = None
        new = t + dt
        if abs(psi) > _FAR * a:
            growth = slope * dt / psi + dl
            if growth > -max(abs(dl) / 2, mp.mpf("0.1")) or (abs(new) >= self.height.pole and dt * t > 0):
                linear = psi * max(1 + growth, mp.mpf("0.1"))
            elif new * t < 0:
                linear = 2 * new_a * self.height.half_slope * new
        elif abs(new) >= self.height.pole or abs(dt) * self.height.half_slope > 1.5:
            linear = psi + slope * dt
        if linear is None or abs(linear) < new_a:
            if linear is not None:
                new = linear / (2 * new_a * self.height.half_slope)
            return new_a * self.height.value(new), new, new - (t + dt)
        moved = self.height.inverse(linear / new_a)
        return linear, moved, moved - (t + dt)
