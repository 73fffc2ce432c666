"""The flow of one measurement in many digits, by quadrature: t(s) = ∫₀ˢ ds / (y − Σ a_i ψ_i(a_i s)). No code of the package.

Many rows follow: with Q orthogonal, A = Q·blockdiag(rows) has the flow of its rows, each on its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import mpmath as mp
import numpy as np

__all__ = ["Moment", "mixed", "moment"]


@dataclass(frozen=True)
class Moment:
    """A time (a float), ψ there, dψ/dt, and the ψ of t → ∞."""

    t: float
    psi: np.ndarray
    speed: np.ndarray
    limit: np.ndarray


def moment(a, y, p, plus, minus=None, *, part, digits: int = 40) -> Moment:
    """The flow of A = (a), from θ₊ = plus and θ₋ = minus: where its largest |ψ_i| is that part of its limit.

    ½ is the middle of a jump.
    """
    with mp.workdps(digits):
        row = _Row(a, y, p, plus, plus if minus is None else minus)
        end = row.where(lambda x: row.residual(x) <= 0)
        limit = row.psi(end)
        largest = max(range(len(limit)), key=lambda i: abs(limit[i]))
        x = row.where(lambda x: abs(row.psi(x)[largest]) >= part * abs(limit[largest]))
        exact = row.time(x)
        time = float(exact)
        speed = row.speed(x)
        psi = [value + v * (mp.mpf(time) - exact) for value, v in zip(row.psi(x), speed, strict=True)]
        return Moment(time, *(np.array([float(v) for v in values]) for values in (psi, speed, limit)))


class _Row:
    """In x: s = pole·(1 − e^{−x}) for p > 2, where the nearest pole is; s = x at p = 2."""

    def __init__(self, a, y, p, plus, minus) -> None:
        n = len(a)
        self.sign = 1 if y >= 0 else -1
        self.a, self.y = [mp.mpf(float(v)) * self.sign for v in a], abs(mp.mpf(float(y)))
        self.p = mp.mpf(float(p))
        self.starts = [[mp.mpf(float(v)) for v in np.broadcast_to(side, n)] for side in (plus, minus)]
        if self.p > 2:
            self.k, c = self.p / (self.p - 2), self.p * (self.p - 2)
            self.c = [[c * v ** (self.p - 2) for v in side] for side in self.starts]
            self.pole = min(1 / (self.c[v < 0][i] * abs(v)) for i, v in enumerate(self.a) if v)

    def _s(self, x):
        return -self.pole * mp.expm1(-x) if self.p > 2 else x

    def _sides(self, x):
        """(f₊, f₋) of every coordinate and their growth d ln f/dν."""
        s, out = self._s(x), []
        for i, v in enumerate(self.a):
            row = []
            for side, sign in ((0, 1), (1, -1)):
                start = self.starts[side][i] ** self.p
                if self.p > 2:
                    c = self.c[side][i]
                    nearest = sign * v * c * self.pole
                    left = mp.exp(-x) if nearest == 1 else 1 - sign * v * c * s
                    row += [start * left**-self.k, self.k * c / left]
                else:
                    row += [start * mp.exp(4 * sign * v * s), mp.mpf(4)]
            out.append(row)
        return out

    def psi(self, x):
        return [f - g for f, _, g, _ in self._sides(x)]

    def residual(self, x):
        return self.y - mp.fsum(v * w for v, w in zip(self.a, self.psi(x), strict=True))

    def speed(self, x):
        r = self.residual(x)
        return [(f * e + g * d) * v * r for (f, e, g, d), v in zip(self._sides(x), self.a, strict=True)]

    def where(self, reached):
        """The x from which on ``reached`` holds, by bisection."""
        low, high = mp.mpf(0), mp.mpf(2) ** -60
        while not reached(high):
            low, high = high, 2 * high
        for _ in range(int(3.4 * mp.mp.dps)):
            middle = (low + high) / 2
            low, high = (low, middle) if reached(middle) else (middle, high)
        return low

    def time(self, x):
        """∫ ds/r by Gauss's rule on pieces over which neither the residual nor e^{−x} changes much."""
        total = mp.mpf(0)
        # pieces shrink towards x, since the residual may vanish soon after it
        count = int(mp.ceil(max(x, 1))) * 2
        ends = [x * i / count for i in range(count)] + [x - x / count * mp.mpf(2) ** -j for j in range(1, 40)] + [x]
        for begin, end in pairwise(ends):
            half, mid = (end - begin) / 2, (end + begin) / 2
            for node, weight in _nodes(mp.mp.prec):
                inner = mid + half * node
                step = self.pole * mp.exp(-inner) if self.p > 2 else 1
                total += half * weight * step / self.residual(inner)
        return total


_RULES: dict[int, list] = {}


def _nodes(precision: int) -> list:
    if precision not in _RULES:
        rule = []
        for x in np.polynomial.legendre.leggauss(24)[0]:
            root = mp.findroot(lambda z: mp.legendre(24, z), mp.mpf(float(x)))
            slope = 24 * (root * mp.legendre(24, root) - mp.legendre(23, root)) / (root * root - 1)
            rule.append((root, 2 / ((1 - root * root) * slope * slope)))
        _RULES[precision] = rule
    return _RULES[precision]


def mixed(rows: list, values: list) -> tuple[np.ndarray, np.ndarray]:
    """(A, y) of 1, 2 or 4 rows multiplied by an orthogonal matrix with entries ±1, 1/√2 apart from its scale: time · m.

    The matrix is Hadamard's, H Hᵀ = m, so that the entries of A are exact and its flow is that of the rows in time m·t.
    """
    m, n = len(rows), len(rows[0])
    H = np.array([[1.0]])
    while len(H) < m:
        H = np.kron(H, [[1.0, 1.0], [1.0, -1.0]])
    block = np.zeros((m, m * n))
    for i, row in enumerate(rows):
        block[i, i * n : (i + 1) * n] = row
    return H @ block, H @ np.array(values)
