"""Minimise Σ H(τ_i) over the affine set τ = τ₀ + Gμ, for the even convex H of depth p or a barrier with a pole.

Newton's iteration on τ with its distances u = R − τ, v = R + τ to the poles ±R stored separately. The functions
and their slopes are divided by a common factor, which Newton's step does not see, so that (1 − τ)^{−k} may be 1e500.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg.lapack

from dlntorch.reference.costs import PLAIN, Costs

__all__ = [
    "CentrePoint",
    "centre_at_depth",
    "hyperbolic",
    "minimise",
    "newton_projection",
    "power_kernel",
    "weighted_hyperbolic",
]

lapack: Any = scipy.linalg.lapack  # its names are made at run time
_MAX_ITERATIONS = 100
_SMALLEST_MARGIN = 1e-13
_TINY = -550.0  # log of the smallest weight beside the largest: squares of its root must not underflow
# In the iteration weights are kept above e^{−55} = 1e-24 of the largest: coordinates that flat change Σ H by nothing
# that float64 holds, and their steps would be rounding errors that the line search must then damp.
_FLAT = -55.0
_CONVERGED = 1e-8
_ROUNDING = 1e-15  # a step this small beside the distances to the poles: H' may be 0 there, and never settle itself
_CHOLESKY_SPREAD = 1e-4  # smallest over largest diagonal entry of the factor

Kernel = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, float]]


@dataclass(frozen=True)
class CentrePoint:
    """τ with its distances to the poles, the last Newton step's relative change of H'(τ), and whether it converged."""

    tau: np.ndarray
    u: np.ndarray
    v: np.ndarray
    step: float
    converged: bool


def power_kernel(k: float) -> Kernel:
    """(u, v) -> u^{−k} − v^{−k}, its derivative in τ, both over e^shift, and shift."""

    def kernel(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        log_u, log_v = -np.log(u), -np.log(v)
        shift = (k + 1) * float(max(log_u.max(), log_v.max()))
        value = np.exp(k * log_u - shift) - np.exp(k * log_v - shift)
        slope = np.exp((k + 1) * log_u - shift) + np.exp((k + 1) * log_v - shift)
        return value, k * slope, shift

    return kernel


def hyperbolic(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The same for 2 sinh τ, which has no pole: τ = (v − u)/2."""
    tau = 0.5 * (v - u)
    shift = float(np.abs(tau).max())
    return np.exp(tau - shift) - np.exp(-tau - shift), np.exp(tau - shift) + np.exp(-tau - shift), shift


def newton_projection(G: np.ndarray, slope: np.ndarray, value: np.ndarray, floor: float = _TINY) -> np.ndarray:
    """−G(GᵀΛG)^{−1}Gᵀ value, Λ = diag(slope) > 0, by a QR of Λ^{1/2}G with rows sorted by size.

    ``slope`` may spread over hundreds of orders of magnitude: the normal equations would be singular.
    """
    root = np.sqrt(np.maximum(slope, slope.max() * np.exp(floor)))
    order = np.argsort(-root)
    Q = np.empty_like(G)
    Q[order] = np.linalg.qr(root[order, None] * G[order])[0]
    return -(Q @ (Q.T @ (value / root))) / root


def _newton_step(G: np.ndarray, slope: np.ndarray, value: np.ndarray) -> np.ndarray:
    """:func:`newton_projection` from Cholesky's factor, a few times faster, where its condition number is below 1e8."""
    root = np.sqrt(np.maximum(slope, slope.max() * np.exp(_FLAT)))
    S = root[:, None] * (G / root.max())
    factor, failed = lapack.dpotrf(S.T @ S, lower=1)
    diagonal = np.diagonal(factor)
    if failed or diagonal.min() <= _CHOLESKY_SPREAD * diagonal.max():
        return newton_projection(G, slope, value, _FLAT)
    return -(G @ lapack.dpotrs(factor, G.T @ (value / root.max() ** 2), lower=1)[0])


def weighted_hyperbolic(log_plus: np.ndarray, log_minus: np.ndarray) -> Kernel:
    """The same for e^{ℓ₊ + τ} − e^{ℓ₋ − τ}, τ = (v − u)/2; ℓ₋ = −∞ leaves the first term."""

    def kernel(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        tau = 0.5 * (v - u)
        rising, falling = log_plus + tau, log_minus - tau
        shift = float(max(rising.max(), falling.max()))
        plus, minus = np.exp(rising - shift), np.exp(falling - shift)
        return plus - minus, plus + minus, shift

    kernel.has_pole = False  # pyright: ignore[reportFunctionMemberAccess]
    return kernel


def _has_pole(kernel: Kernel) -> bool:
    return kernel is not hyperbolic and getattr(kernel, "has_pole", True)


def minimise(u: np.ndarray, v: np.ndarray, G: np.ndarray, kernel: Kernel, tolerance: float = 1e-13) -> CentrePoint:
    """Damped Newton from a point strictly between the poles, u, v > 0, until the values H' change by ``tolerance``.

    The change is relative to the values of the coordinates that G moves: those that it does not may be 1e80 times larger.
    """
    moving = np.any(G != 0, axis=1)
    if not moving.all():
        part = minimise(u[moving], v[moving], G[moving], kernel, tolerance)
        u, v = u.copy(), v.copy()
        u[moving], v[moving] = part.u, part.v
        return CentrePoint(0.5 * (v - u), u, v, part.step, part.converged)
    step = np.inf if G.shape[1] and G.shape[0] else 0.0
    for _ in range(_MAX_ITERATIONS):
        if step == 0.0:
            break
        value, slope, shift = kernel(u, v)
        size = float(np.linalg.norm(value))
        delta = _newton_step(G, slope, value)
        previous, step = step, float(np.linalg.norm(slope * delta)) / size if size > 0 else 0.0
        if _relative(np.abs(delta), np.minimum(u, v), v, kernel) <= _ROUNDING:
            step = 0.0
        if step <= tolerance or (step <= _CONVERGED and step >= 0.5 * previous):
            break
        length = 1.0 if step < 1e-6 else _damping(u, v, delta, kernel, shift, float(delta @ value))
        if length * _relative(delta, u, v, kernel) >= 1:
            length = 0.5 / _relative(delta, u, v, kernel)
        u, v = u - length * delta, v + length * delta
    return CentrePoint(0.5 * (v - u), u, v, step, step <= max(tolerance, _CONVERGED))


def _relative(delta: np.ndarray, u: np.ndarray, v: np.ndarray, kernel: Kernel) -> float:
    """The largest step over the distance to the pole, or the largest step itself where there is none."""
    if not _has_pole(kernel):
        return float(np.abs(delta).max())
    return float(np.maximum(delta / u, -delta / v).max())


def _damping(u: np.ndarray, v: np.ndarray, delta: np.ndarray, kernel: Kernel, shift: float, slope: float) -> float:
    """Step length: at most 0.9 of the way to a pole, and halved until the slope along it has shrunk."""
    ratio = _relative(delta, u, v, kernel)
    pole = _has_pole(kernel)
    length = min(1.0, (0.9 if pole else 3.0) / ratio) if ratio > 0 else 1.0
    for _ in range(60):
        value, _, trial = kernel(u - length * delta, v + length * delta)
        if float(delta @ value) * np.exp(min(trial - shift, 700.0)) <= -0.5 * slope:
            break
        length *= 0.5
    return length


def centre_at_depth(tau: np.ndarray, G: np.ndarray, k: float, costs: Costs = PLAIN) -> CentrePoint | None:
    """The minimiser of Σ H_p over |τ| < 1, k = p/(p − 2), from any τ of the affine set; None if |τ| < 1 is not met.

    First a strictly feasible point: centres of |τ| < R for R down to 1. Then k = 1 (the logarithmic barrier) is
    doubled up to its value, each minimiser starting the next: from afar Newton needs about k steps, from there a few.
    With costs the box is −c₋ < τ < c₊, and H' = u^{−k} − v^{−k} with u = c₊ − τ, v = c₋ + τ.
    """
    if tau.size == 0:
        return CentrePoint(tau, tau, tau, 0.0, True)
    if G.shape[1] == 0:
        u, v = costs.distances(tau)
        return CentrePoint(tau, u, v, 0.0, True) if min(u.min(), v.min()) > 0 else None
    radius = costs.ratio(tau)
    margin = 0.05 * max(radius - 1, 0.1)
    while radius >= 1 and margin > _SMALLEST_MARGIN * radius:
        pole = radius + margin
        box = costs.times(pole)
        point = minimise(*box.distances(tau), G, power_kernel(1.0), 0.1)
        tau = box.tau(point.u, point.v)
        radius = costs.ratio(tau)
        margin = 0.3 * (pole - radius)
    if radius >= 1:
        return None
    point = CentrePoint(tau, *costs.distances(tau), np.inf, False)
    exponent = 1.0
    while exponent < k:
        point = minimise(point.u, point.v, G, power_kernel(exponent), 0.1)
        exponent *= 2
    point = minimise(point.u, point.v, G, power_kernel(k))
    return replace(point, tau=costs.tau(point.u, point.v))
