"""The curve Θ(ν) of one start, tabulated by its value ψ: piecewise Chebyshev polynomials of θ, ν and Q.

With ψ as the independent variable nothing runs into a pole: dθ/dψ = ∇G/‖∇G‖², dν/dψ = 1/‖∇G‖², dQ/dψ = ν. A panel is solved
by collocation: θ at its nodes is iterated (Picard) until it stands, and the panel is kept where its last coefficients are
rounding. Panels grow away from the start, so that scales from α^p to 1 cost a hundred panels, not a million steps.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.polynomial import chebyshev

from dlntorch.model.parametrization import Parametrization

__all__ = ["CurveTable"]

_NODES = 20
_PICARD = 60
_TAIL = 1e-13  # the last two coefficients of a panel, relative to its largest
_NOISE = 1e-10  # the same where shorter panels do not help: the parametrization's own rounding
_SHRINKS = 8
_LONGEST = 1e30  # the |ψ| that a table is continued to
_PANELS = 4000
_GROWTH = 1.7
_SHORTEST = 1e-13  # of a panel, relative to |ψ|: the curve ends here, or ν runs away

_POINTS = -np.cos(np.pi * (np.arange(_NODES) + 0.5) / _NODES)  # of the first kind, increasing in (−1, 1)
_TO_COEFFICIENTS = np.linalg.inv(chebyshev.chebvander(_POINTS, _NODES - 1))
_INTEGRATED = chebyshev.chebint(np.eye(_NODES), lbnd=-1, axis=0)  # coefficients of ∫ from −1, one degree higher
_INTEGRAL = chebyshev.chebvander(_POINTS, _NODES) @ _INTEGRATED @ _TO_COEFFICIENTS  # node values to those of ∫ from −1


class CurveTable:
    """One curve from one start, continued to either side as far as it is asked for.

    Args:
        parametrization: G.
        start: θ(0), shape (width,).
    """

    def __init__(self, parametrization: Parametrization, start: np.ndarray) -> None:
        self.parametrization = parametrization
        self.width = start.size
        self.center = float(self._value(start[:, None])[0])
        # One arm to each side: edges of panels in ψ, their coefficients (width + 2, nodes + 1), and where the arm stands.
        self._arms = [_Arm(1.0, self.center, start), _Arm(-1.0, self.center, start)]

    def rows(self, psi: np.ndarray) -> np.ndarray:
        """θ, ν and Q at values ψ of shape (k,): (width + 2, k); not a number beyond the curve's ends."""
        out = np.full((self.width + 2, psi.size), np.nan)
        for arm, mine in ((self._arms[0], psi >= self.center), (self._arms[1], psi < self.center)):
            if mine.any():
                self._extend(arm, float(np.abs(psi[mine] - self.center).max()))
                out[:, mine] = arm.evaluate(psi[mine])
        return out

    def psi_of_nu(self, nu: np.ndarray) -> np.ndarray:
        """ψ at values ν of shape (k,), to the digits that ν has; not a number beyond the curve's ends."""
        out = np.full(nu.size, np.nan)
        for arm, mine in ((self._arms[0], nu >= 0), (self._arms[1], nu < 0)):
            if mine.any():
                while arm.reach < np.abs(nu[mine]).max() and not arm.ended:
                    self._append_panel(arm)
                out[mine] = arm.invert(nu[mine])
        return out

    def nu_difference(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """ν at ``after`` less ν at ``before``, (k,), to a rounding of their distance to the far end of the arm."""
        old, new = self.rows(before)[-2], self.rows(after)[-2]
        out = new - old
        for arm in self._arms:
            mine = np.minimum(arm.sign * (before - self.center), arm.sign * (after - self.center)) > 0
            if mine.any():
                left, still = arm.remaining(before[mine]), arm.remaining(after[mine])
                close = np.maximum(left, still) < np.maximum(np.abs(old[mine]), np.abs(new[mine]))
                out[mine] = np.where(close, arm.sign * (left - still), out[mine])
        return out

    def psi_after(self, psi: np.ndarray, step: np.ndarray) -> np.ndarray:
        """ψ after a step in ν, (k,); not a number beyond the curve's ends."""
        nu = self.rows(psi)[-2] + step
        out = np.full(psi.size, np.nan)
        for arm in self._arms:
            mine = (arm.sign * nu > 0) & (arm.sign * (psi - self.center) > 0)
            while mine.any() and not arm.ended:
                left = arm.remaining(psi[mine]) - arm.sign * step[mine]
                if left.min() >= 0:
                    break
                self._append_panel(arm)
            if mine.any():
                out[mine] = arm.at_remaining(arm.remaining(psi[mine]) - arm.sign * step[mine])
        # Where more of ν remains than lies behind, ν itself has the digits.
        rest = (nu == 0) | (np.sign(nu) != np.sign(psi - self.center))
        for arm in self._arms:
            if arm.panels:
                rest |= (arm.sign * nu > 0) & (np.abs(nu) < max(arm.first_nu, arm.length_nu / 2))
        if rest.any():
            out[rest] = self.psi_of_nu(nu[rest])
        return out

    def end(self, side: int) -> float:
        """Where ψ ends above (side 0) or below (side 1): infinite where the table could be continued to 1e30."""
        arm = self._arms[side]
        self._extend(arm, _LONGEST)
        return float(arm.edges[-1]) if abs(arm.edges[-1]) < _LONGEST / 4 else arm.sign * np.inf

    def _extend(self, arm: _Arm, distance: float) -> None:
        while not arm.ended and abs(arm.edges[-1] - self.center) < distance:
            self._append_panel(arm)

    def _append_panel(self, arm: _Arm) -> None:
        """One more panel at the far end, or the note that the curve ends there."""
        if abs(arm.edges[-1] - self.center) >= _LONGEST or len(arm.panels) >= _PANELS:
            arm.ended = True
            return
        if arm.length == 0:
            arm.length = self._first_length(arm.theta)
        shrinks = 0
        while (panel := self._panel(arm, _TAIL if shrinks < _SHRINKS else _NOISE)) is None:
            arm.length *= 0.4
            shrinks += 1
            if not arm.length >= _SHORTEST * max(abs(arm.edges[-1]), 1e-290):
                arm.ended = True
                return
        arm.append(panel)

    def _first_length(self, theta: np.ndarray) -> float:
        """A part of the ψ over which ∇G changes by itself, to first order."""
        speed = self._field(theta[:, None])
        slope = np.abs(speed[:-1, 0])
        scale = np.where(theta != 0, np.abs(theta), np.inf) / np.where(slope > 0, slope, np.inf)
        finite = scale[np.isfinite(scale) & (scale > 0)]
        return float(0.1 * finite.min()) if finite.size else 1e-3

    def _panel(self, arm: _Arm, tail: float) -> np.ndarray | None:
        """Coefficients (width + 2, nodes + 1) of θ, ν and Q on the next panel of the arm's length; None where too long."""
        half = 0.5 * arm.sign * arm.length
        theta = np.repeat(arm.theta[:, None], _NODES, axis=1)
        before = np.inf
        with np.errstate(all="ignore"):
            for _ in range(_PICARD):
                field = self._field(theta)
                if not np.all(np.isfinite(field)):
                    return None
                new = arm.theta[:, None] + half * (field[:-1] @ _INTEGRAL.T)
                moved = float(np.max(np.abs(new - theta) / np.maximum(np.abs(new), 1e-300)))
                theta = new
                if moved < 4e-16 or (moved < 1e-13 and moved >= 0.5 * before):
                    break
                if moved > 2 * before and moved > 1e-3:
                    return None
                before = moved
            else:
                return None
            field = self._field(theta)
            coefficients = field @ _TO_COEFFICIENTS.T
            size = np.abs(coefficients).max(axis=1)
            if not np.all(np.isfinite(coefficients)) or np.any(
                np.abs(coefficients[:, -2:]).max(axis=1) > tail * np.maximum(size, 1e-300)
            ):
                return None
        panel = half * (coefficients @ _INTEGRATED.T)
        increment = panel[-1:].copy()
        panel[:-1, 0] += arm.theta
        panel[-1, 0] += arm.nu
        # Q = ∫ν dψ from ν's polynomial, cut at the panel's degree.
        nu = chebyshev.chebval(_POINTS, panel[-1])
        potential = half * (_INTEGRATED @ (_TO_COEFFICIENTS @ nu))
        potential[0] += arm.potential
        return np.concatenate([panel, potential[None], increment])

    def _value(self, theta: np.ndarray) -> np.ndarray:
        return self.parametrization.value(torch.from_numpy(theta)).detach().numpy()

    def _field(self, theta: np.ndarray) -> np.ndarray:
        """d(θ, ν)/dψ at points (width, k): shape (width + 1, k)."""
        slope = self.parametrization.slope(torch.from_numpy(theta)).detach().numpy()
        largest = np.abs(slope).max(axis=0)
        unit = slope / largest
        square = (unit * unit).sum(axis=0)
        return np.concatenate([unit / (square * largest), (1 / (square * largest) / largest)[None]])


class _Arm:
    """One side of a table: panels from the start outwards, and the state at the far end."""

    def __init__(self, sign: float, center: float, start: np.ndarray) -> None:
        self.sign = sign
        self.edges = [center]
        self.panels: list[np.ndarray] = []
        self.increments: list[np.ndarray] = []
        self._tails: tuple[np.ndarray, np.ndarray] | None = None
        self.theta = start.copy()
        self.nu = self.potential = 0.0
        self.length = 0.0
        self.ended = False
        self._begin = np.concatenate([start, [0.0, 0.0]])
        self._first: np.ndarray | None = None
        self._stacked: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    @property
    def reach(self) -> float:
        """|ν| at the far end."""
        return abs(self.nu)

    @property
    def first_nu(self) -> float:
        """|ν| over the first panel."""
        return float(abs(self.increments[0].sum()))

    @property
    def length_nu(self) -> float:
        """|ν| from the start to the far end."""
        return float(self._tail()[0][0])

    def append(self, panel: np.ndarray) -> None:
        """``panel`` has a row more than is kept: ν less its value at the panel's near end."""
        self.increments.append(panel[-1])
        panel = panel[:-1]
        if not self.panels:
            # Differences from the start over ψ − ψ(0) (Q: over its square) keep their digits where both are tiny.
            distance = self.sign * 0.5 * (_POINTS + 1) * self.length
            rows = chebyshev.chebval(_POINTS, panel.T) - self._begin[:, None]
            self._first = (rows / distance ** self._orders()) @ _TO_COEFFICIENTS.T
        self.panels.append(panel)
        self.edges.append(self.edges[-1] + self.sign * self.length)
        ends = panel.sum(axis=1)  # every Chebyshev polynomial is 1 at 1
        self.theta, self.nu, self.potential = ends[:-2], float(ends[-2]), float(ends[-1])
        self.length *= _GROWTH
        self._stacked = self._tails = None

    def _tail(self) -> tuple[np.ndarray, np.ndarray]:
        """|ν| from every edge to the far end, (panels + 1,), summed from there; and the panels' increments."""
        if self._tails is None:
            increments = np.stack(self.increments)
            sizes = np.abs(increments.sum(axis=1))
            self._tails = np.concatenate([np.cumsum(sizes[::-1])[::-1], [0.0]]), increments
        return self._tails

    def remaining(self, psi: np.ndarray) -> np.ndarray:
        """|ν| from ψ to the arm's far end, (k,): where there is a pole beyond, to a rounding of the distance to it."""
        edges, _, _ = self._stack()
        tails, increments = self._tail()
        distance = self.sign * (psi - self.edges[0])
        which = np.clip(np.searchsorted(edges, distance, side="right") - 1, 0, len(increments) - 1)
        x = 2 * (distance - edges[which]) / (edges[which + 1] - edges[which]) - 1
        return tails[which] - np.abs(_clenshaw(increments[which][:, None], np.clip(x, -1, 1))[0])

    def at_remaining(self, left: np.ndarray) -> np.ndarray:
        """ψ where ``left`` of |ν| remains, (k,): Newton with bisection inside the panel; not a number beyond the end."""
        edges, _, _ = self._stack()
        tails, increments = self._tail()
        which = np.clip(np.searchsorted(-tails, -left, side="right") - 1, 0, len(increments) - 1)
        mine, target = self.sign * increments[which][:, None], tails[which] - left
        slopes = np.moveaxis(chebyshev.chebder(np.moveaxis(mine[:, 0], 1, 0)), 0, 1)[:, None]
        low, high = -np.ones(left.size), np.ones(left.size)
        x = np.clip(2 * target / (tails[which] - tails[which + 1]) - 1, -1, 1)
        for _ in range(60):
            error = _clenshaw(mine, x)[0] - target
            low, high = np.where(error <= 0, x, low), np.where(error >= 0, x, high)
            slope = _clenshaw(slopes, x)[0]
            new = x - error / np.where(slope > 0, slope, 1)
            new = np.where((new > low) & (new < high), new, 0.5 * (low + high))
            done = np.abs(new - x) < 1e-15
            x = new
            if done.all():
                break
        psi = self.edges[0] + self.sign * (edges[which] + 0.5 * (x + 1) * (edges[which + 1] - edges[which]))
        return np.where((left >= 0) & (left <= tails[0] * (1 + 1e-14)), psi, np.nan)

    def _orders(self) -> np.ndarray:
        """Powers of ψ − ψ(0) that θ, ν and Q differ from their values at the start by, (width + 2, 1)."""
        return np.array([1] * (self._begin.size - 1) + [2])[:, None]

    def _stack(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distances of the edges from the start, |ν| there, and all coefficients (panels, width + 2, nodes + 1)."""
        if self._stacked is None:
            edges = self.sign * (np.array(self.edges) - self.edges[0])
            panels = np.stack(self.panels)
            nus = np.concatenate([[0.0], np.abs(panels[:, -2, :].sum(axis=1))])
            self._stacked = edges, nus, panels
        return self._stacked

    def evaluate(self, psi: np.ndarray) -> np.ndarray:
        if not self.panels:
            rows = np.concatenate([self.theta, [0.0, 0.0]])[:, None]
            return np.where(psi == self.edges[0], rows, np.nan)
        edges, _, panels = self._stack()
        distance = self.sign * (psi - self.edges[0])
        which = np.clip(np.searchsorted(edges, distance, side="right") - 1, 0, len(panels) - 1)
        x = 2 * (distance - edges[which]) / (edges[which + 1] - edges[which]) - 1
        rows = _clenshaw(panels[which], np.clip(x, -1, 1))
        if self._first is not None and (near := which == 0).any():
            ratios = chebyshev.chebval(np.clip(x[near], -1, 1), self._first.T)
            rows[:, near] = self._begin[:, None] + (self.sign * distance[near]) ** self._orders() * ratios
        return np.where(x <= 1 + 1e-12, rows, np.nan)

    def invert(self, nu: np.ndarray) -> np.ndarray:
        """ψ where ν has given values: Newton with bisection inside the panel."""
        if not self.panels:
            return np.where(nu == 0, self.edges[0], np.nan)
        edges, nus, panels = self._stack()
        which = np.clip(np.searchsorted(nus, np.abs(nu), side="right") - 1, 0, len(panels) - 1)
        mine = panels[which]
        low, high = -np.ones(nu.size), np.ones(nu.size)
        span = nus[which + 1] - nus[which]
        x = np.clip(2 * (np.abs(nu) - nus[which]) / np.where(span > 0, span, 1) - 1, -1, 1)
        slopes = chebyshev.chebder(np.moveaxis(mine[:, -2, :], 1, 0))
        for _ in range(60):
            error = self.sign * (_clenshaw(mine[:, -2:-1], x)[0] - nu)
            low, high = np.where(error <= 0, x, low), np.where(error >= 0, x, high)
            slope = self.sign * _clenshaw(np.moveaxis(slopes, 0, 1)[:, None], x)[0]
            new = x - error / np.where(slope > 0, slope, 1)
            new = np.where((new > low) & (new < high), new, 0.5 * (low + high))
            done = np.abs(new - x) < 1e-15
            x = new
            if done.all():
                break
        distance = edges[which] + 0.5 * (x + 1) * (edges[which + 1] - edges[which])
        for _ in range(3):  # ν/(ψ − ψ(0)) is nearly constant close to the start, where x has no relative digits
            close = (which == 0) & (distance < 0.1 * edges[1]) & (nu != 0)
            if self._first is None or not close.any():
                break
            ratio = chebyshev.chebval(np.clip(2 * distance[close] / edges[1] - 1, -1, 1), self._first[-2])
            distance[close] = np.abs(nu[close]) / ratio
        distance[nu == 0] = 0.0
        psi = self.edges[0] + self.sign * distance
        return np.where(np.abs(nu) <= nus[-1] * (1 + 1e-14), psi, np.nan)


def _clenshaw(coefficients: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Chebyshev sums (rows, k) of coefficients (k, rows, degree + 1), each at its own x."""
    ahead = np.zeros(coefficients.shape[:2])
    after = np.zeros(coefficients.shape[:2])
    for j in range(coefficients.shape[2] - 1, 0, -1):
        ahead, after = coefficients[:, :, j] + 2 * x[:, None] * ahead - after, ahead
    return (coefficients[:, :, 0] + x[:, None] * ahead - after).T
