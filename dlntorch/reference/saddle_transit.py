"""When the jumps of a saddle-to-saddle path happen at a finite α: the first correction to their slow times.

With ε → 0 as in :mod:`dlntorch.reference.saddle_walls`, the dual s = ∫₀ᵀ (y − Aψ) is on plateau j

    s(T) = S_j + (T − T_j) r_j + ε e_j + …,      r_j = y − Aψ_j,  S_j and T_j those of the limit,

because coordinates that are on stay at distances εW from their walls, |ψ| = f(W). During jump j, in x = (T − T_j)/ε and
z = (s − S_j)/ε, the coordinates N at their walls follow an equation without α,

    dz/dx = y − Aψ,   |ψ_i| = f(W_i),  W_i = c_i − σ_iA_iᵀz on N,  ψ = 0 elsewhere,

which comes from the line z = e_{j−1} + x r_{j−1} at x → −∞ and goes to e_j + x r_j at x → ∞. So e_j follows from e_{j−1}, and
the jump is where ψ_i passes half its new value. The neglected part is of order α^p at p > 2, and of some power of α at p = 2.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.integrate import solve_ivp

if TYPE_CHECKING:
    from dlntorch.reference.saddle_path import SaddlePath

__all__ = ["corrections"]

#: A coordinate counts as off where its |ψ| is such a part of the largest; what it does beyond is added in closed form.
OFF = 1e-7
RTOL = 1e-8


def corrections(path: SaddlePath) -> np.ndarray:
    """δ (J,): at a finite α the jumps are at T_j + εδ_j + …; not a number where a transit cannot be followed."""
    jumps = len(path.times)
    out = np.full(jumps, math.nan)
    e = np.zeros(path.problem.m)
    for j in range(jumps):
        transit = _Transit(path, j)
        half, e = transit.follow(e, last=j == jumps - 1)
        out[j] = half
        if not math.isfinite(half) or not np.isfinite(e).all():
            break
    return out


class _Frame(NamedTuple):
    """A plateau: r = y − Aψ, and on N the sizes σψ and the speeds σAᵀr, exactly 0 where they are rounding."""

    r: np.ndarray
    size: np.ndarray
    speed: np.ndarray


class _Transit:
    """Jump j of a path, in fast time."""

    def __init__(self, path: SaddlePath, j: int) -> None:
        self.law, walls = path.walls.law, path.walls
        A, y = path.problem.A.numpy(), path.problem.y.numpy()
        psi = path.psi.double().numpy()
        psi, gradient = (values.double().numpy() for values in (path.psi, path.gradient))
        entered = path.entered[j]
        signs = np.where(path.at_wall[j] * gradient[j] < 0, 0.0, path.at_wall[j])  # some left during the plateau before
        for i, sign in entered:
            signs[i] = sign
        if not entered:  # a warm start
            signs = np.sign(psi[j])
        self.wall = np.flatnonzero(signs)
        self.signs = signs[self.wall]
        self.B = A[:, self.wall] * self.signs
        shape = np.where(self.signs > 0, walls.shape_plus[self.wall], walls.shape_minus[self.wall])
        self.offset = -np.log(shape)  # 0 but at depth 2
        warm = walls.origin[self.wall] * self.signs
        self.offset[warm > 0] = self.law.distance(warm[warm > 0])
        self.before, self.after = (
            _Frame(y - A @ psi[k], self.signs * psi[k, self.wall], self.signs * gradient[k, self.wall])
            for k in (j, j + 1)
        )
        new = [int(np.flatnonzero(self.wall == i)[0]) for i, _ in entered]
        self.leader = max(new, key=lambda k: self.after.size[k]) if new else None
        self.top = float(max(np.abs(psi[j]).max(), np.abs(psi[j + 1]).max()))

    def follow(self, e: np.ndarray, last: bool) -> tuple[float, np.ndarray]:
        """(δ_j, e_j) from e_{j−1}."""
        half = 0.0
        f = e
        if self.leader is not None:
            begin, d = self._arrival(e)
            level = 0.5 * self.after.size[self.leader]
            if not level > 0:
                return math.nan, e
            half, d = self._until_half(e, begin, d, level)
            if not math.isfinite(half):
                return math.nan, e
            f = e + d + half * (self.before.r - self.after.r)
        return half, e if last else self._departure(f, half)

    def _arrival(self, e: np.ndarray) -> tuple[float, np.ndarray]:
        """Where to begin on the line before the jump, and what the entering coordinates have done until there."""
        distance = self.law.distance(np.array([OFF * self.top]))[0]
        new = np.flatnonzero((self.before.size == 0) & (self.after.size >= 0))
        rise = self.before.speed
        gone = self.offset - self.B.T @ e  # W at x = 0, were nothing to happen
        new = new[rise[new] > 0]
        begin = float(((gone[new] - distance) / rise[new]).min())
        return begin, self._tail(new, gone[new] - begin * rise[new], rise[new], self.before.size)

    def _tail(self, which: np.ndarray, W: np.ndarray, speed: np.ndarray, on: np.ndarray) -> np.ndarray:
        """−∫Aψ dx of coordinates that move from or to infinity with constant speeds, while those that are on follow."""
        moved = -self.B[:, which] @ (self.law.area(W) / np.abs(speed))
        active = self.B[:, on > 0]
        return moved - active @ np.linalg.lstsq(active, moved, rcond=None)[0] if active.shape[1] else moved

    def _until_half(self, e: np.ndarray, begin: float, d: np.ndarray, level: float) -> tuple[float, np.ndarray]:
        """The x at which the leader passes ``level``, and z − e − x r there."""
        B, leader = self.B, self.leader
        fixed = B @ self.before.size
        base = self.offset - B.T @ e
        rise = self.before.speed

        def distance(x: float, d: np.ndarray) -> np.ndarray:
            return base - x * rise - B.T @ d

        def field(x: float, d: np.ndarray) -> np.ndarray:
            return fixed - B @ self.law.size(distance(x, d))[0]

        def jacobian(x: float, d: np.ndarray) -> np.ndarray:
            return -(B * self.law.size(distance(x, d))[1]) @ B.T

        target = self.law.distance(np.array([level]))[0]

        def crossing(x: float, d: np.ndarray) -> float:
            return float(distance(x, d)[leader] - target)

        crossing.terminal = True  # type: ignore[attr-defined]
        horizon = float(begin + 1e3 * (abs(begin) + abs(base[leader] / rise[leader]) + 1 / self._slowest()))
        found = self._solve(field, jacobian, (begin, horizon), d, crossing)
        if found is None or not len(found.t_events[0]):
            return math.nan, d
        return float(found.t_events[0][0]), found.y_events[0][0]

    def _departure(self, f: np.ndarray, half: float) -> np.ndarray:
        """e_j = lim z − x r_j."""
        B = self.B
        fixed = B @ self.after.size
        fall = self.after.speed

        def distance(x: float, f: np.ndarray) -> np.ndarray:
            return self.offset - x * fall - B.T @ f

        def field(x: float, f: np.ndarray) -> np.ndarray:
            return fixed - B @ self.law.size(distance(x, f))[0]

        def jacobian(x: float, f: np.ndarray) -> np.ndarray:
            return -(B * self.law.size(distance(x, f))[1]) @ B.T

        leaving = np.flatnonzero((self.after.size == 0) & (fall < 0))
        far = self.law.distance(np.array([OFF * self.top]))[0]
        span = 60 / self._slowest()
        if leaving.size:
            span = max(span, float((far / -fall[leaving]).max()))
        found = self._solve(field, jacobian, (half, half + span), f)
        if found is None:
            return np.full_like(f, math.nan)
        x, f = float(found.t[-1]), found.y[:, -1]
        return f + self._tail(leaving, distance(x, f)[leaving], fall[leaving], self.after.size) if leaving.size else f

    def _slowest(self) -> float:
        """The slowest rate at which coordinates that are on settle after the jump."""
        on = self.after.size > 0
        _, slope = self.law.size(self.law.distance(self.after.size[on]))
        values = np.linalg.svd(self.B[:, on] * np.sqrt(slope), compute_uv=False)
        return float(values[values > 1e-9 * values[0]].min()) ** 2

    def _solve(self, field: Any, jacobian: Any, span: tuple[float, float], start: np.ndarray, event: Any = None) -> Any:
        atol = 1e-9 * self.law.bend(self.top) / float(np.linalg.norm(self.B, axis=0).max())
        with np.errstate(all="ignore"):
            found = solve_ivp(field, span, start, method="BDF", jac=jacobian, events=event, rtol=RTOL, atol=atol)
        return found if found.success else None
