"""The curves of a coordinate in mpmath arithmetic, to any working precision, where they have closed forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath as mp

__all__ = ["ExactCurve", "PoleHeight", "SinhHeight", "height_of", "nonnegative_curve", "power_curve", "product_curve"]


class ExactCurve(NamedTuple):
    """One curve from its start.

    Attributes:
        value: Ψ(ν), or None beyond the curve's ends.
        slope: Ψ′(ν).
        inverse: Ψ⁻¹(ψ).
        scale: The scale of ψ on which it bends.
        tau: τ and its distance from the pole, of (ν, ψ); None where there is no τ.
    """

    value: Callable[[Any], Any]
    slope: Callable[[Any], Any]
    inverse: Callable[[Any], Any]
    scale: Any
    tau: Callable[[Any, Any], tuple[Any, Any]] | None = None


class SinhHeight:
    """h_2(τ) = 2 sinh τ; ``half_slope`` is ½h′(0)."""

    pole, half_slope = mp.inf, 1

    def value(self, t: Any) -> Any:
        return 2 * mp.sinh(t)

    def slope(self, t: Any) -> Any:
        return 2 * mp.cosh(t)

    def inverse(self, x: Any) -> Any:
        """τ with h(τ) = x."""
        return mp.asinh(x / 2)

    def scales(self, plus: Any, minus: Any) -> tuple[Any, Any, Any]:
        """α_e^p, the rate of τ in ν, and τ₀."""
        return plus * minus, mp.mpf(4), mp.log(plus / minus)


class PoleHeight:
    """h_p(τ) = (1 − τ)^{−k} − (1 + τ)^{−k}, k = p/(p − 2), for p > 2; ``half_slope`` is ½h′(0)."""

    pole = mp.mpf(1)

    def __init__(self, p: float) -> None:
        self.p = mp.mpf(p)
        self.k = self.half_slope = self.p / (self.p - 2)

    def value(self, t: Any) -> Any:
        return (1 - t) ** -self.k - (1 + t) ** -self.k

    def slope(self, t: Any) -> Any:
        return self.k * ((1 - t) ** (-self.k - 1) + (1 + t) ** (-self.k - 1))

    def inverse(self, x: Any) -> Any:
        """τ with h(τ) = x."""
        if abs(x) < 1:
            return self._near_inverse(x)
        k, log_x = self.k, mp.log(abs(x))
        # h_p(1 − u) < u^{−k} and h_p(1 − u) > u^{−k} − 1: the root lies between.
        w = -mp.log(abs(x) + 1) / k
        for _ in range(200):
            u = mp.exp(w)
            ratio = (u / (2 - u)) ** k
            value = -k * w + mp.log1p(-ratio) - log_x
            slope = -k - k * ratio / (1 - ratio) * (1 + u / (2 - u))
            change = value / slope
            w -= change
            if abs(change) <= abs(w) * mp.mpf(10) ** (-mp.mp.dps + 3):
                break
        return mp.sign(x) * (1 - mp.exp(w))

    def _near_inverse(self, x: Any) -> Any:
        """The same for |x| < 1, by Newton in τ: h_p is convex for x > 0 and at least as steep as at 0."""
        size = abs(x)
        t = min(size / (2 * self.k), mp.mpf(1) / 2)
        for _ in range(200):
            change = (self.value(t) - size) / self.slope(t)
            t -= change
            if abs(change) <= max(abs(t), mp.mpf(10) ** -3) * mp.mpf(10) ** (-mp.mp.dps + 5):
                break
        return mp.sign(x) * t

    def scales(self, plus: Any, minus: Any) -> tuple[Any, Any, Any]:
        """α_e^p, the rate of τ in ν, and τ₀."""
        p, u, v = self.p, plus ** (2 - self.p), minus ** (2 - self.p)
        mean = (u + v) / 2
        return mean**-self.k, p * (p - 2) / mean, (v - u) / (u + v)


def height_of(p: float) -> PoleHeight | SinhHeight:
    """h_p in the working precision."""
    return SinhHeight() if p == 2 else PoleHeight(p)


def power_curve(p: float, plus: Any, minus: Any) -> ExactCurve:
    """ψ = θ₊^p − θ₋^p from θ± > 0."""
    height = height_of(p)
    a, rate, shift = height.scales(plus, minus)

    def value(nu: Any) -> Any:
        t = shift + rate * nu
        return None if abs(t) >= height.pole else a * height.value(t)

    def tau(nu: Any, psi: Any) -> tuple[Any, Any]:
        t = shift + rate * nu
        return t, 1 - abs(t)

    return ExactCurve(
        value,
        lambda nu: a * rate * height.slope(shift + rate * nu),
        lambda psi: (height.inverse(psi / a) - shift) / rate,
        a,
        tau,
    )


def nonnegative_curve(p: float, theta: Any) -> ExactCurve:
    """ψ = θ^p from θ > 0."""
    p = mp.mpf(p)
    a = theta**p
    if p == 2:
        return ExactCurve(
            lambda nu: a * mp.exp(4 * nu),
            lambda nu: 4 * a * mp.exp(4 * nu),
            lambda psi: mp.log(psi / a) / 4,
            a,
            lambda nu, psi: (4 * nu, 1 - abs(4 * nu)),
        )
    k, wall, c = p / (p - 2), theta ** (2 - p), p * (p - 2)

    def tau(nu: Any, psi: Any) -> tuple[Any, Any]:
        gap = (psi / a) ** (-1 / k)
        return 1 - gap, gap

    return ExactCurve(
        lambda nu: None if c * nu >= wall else (wall - c * nu) ** -k,
        lambda nu: p * p * (wall - c * nu) ** (-k - 1),
        lambda psi: (wall - psi ** (-1 / k)) / c,
        a,
        tau,
    )


def product_curve(layers: int, first: Any, last: Any) -> ExactCurve:
    """ψ = u₁ ∘ … ∘ u_L from u₁ = … = u_{L−1} = ``first`` above |u_L| = |``last``|, for L = 2, 3, 4."""
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

    return ExactCurve(value, slope, inverse, s**layers)


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
