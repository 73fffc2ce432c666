"""The rate at depth 2: ϱ as a basis-pursuit problem, and where the asymptotic slope is seen.

At leading order ψ_i = α² 2 sinh(A_iᵀλ) off the support S, where λ minimises Σ_{i∉S} 2 cosh(A_iᵀλ) subject to
A_Sᵀλ = σ∘(L + log|W_S|), L = log(1/α²). As L → ∞, max_{i∉S}|A_iᵀλ|/L tends to

    ϱ = min over {λ : A_Sᵀλ = σ} of max_{i∉S} |A_iᵀλ|,

(of max A_iᵀλ for ψ >= 0), so that the error decays like α²e^{ϱL} = (α²)^{1−ϱ}; the slope at a given L follows from the
derivative in L.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

from dlntorch.numerics.trajectory import Status
from dlntorch.reference.basis_pursuit import basis_pursuit
from dlntorch.reference.centre import hyperbolic, minimise, newton_projection, weighted_hyperbolic
from dlntorch.reference.vertex import least_squares

__all__ = [
    "decay_exponent",
    "fourth_order_constant",
    "off_support_is_silent",
    "one_sided_exponent",
    "slope_reached_at",
]

_DOUBLINGS = 14
_SLOPE_TOLERANCE = 0.01
_SMALL = 0.01  # the expansion in the error needs it to be that small beside W_S
_SLOPE_ACCURACY = 1e-4  # of the values, hence of the slope


def decay_exponent(tau: np.ndarray, G: np.ndarray) -> tuple[float | None, np.ndarray]:
    """ϱ = min over μ of ‖τ + Gμ‖_∞ and a minimiser's τ; None where no solver proves it.

    Chebyshev approximation is basis pursuit: 1/ϱ = min ‖w‖₁ subject to Gᵀw = 0, τᵀw = 1, whose dual is (μ, 1)/ϱ. Where
    its certificate fails (ϱ = 0 leaves no such w) HiGHS decides. The answer is recomputed from the active set |τ_i| = ϱ
    by least squares where that lowers the maximum.
    """
    q = G.shape[1]
    if q == 0:
        return float(np.abs(tau).max()), tau
    found = basis_pursuit(np.vstack([G.T, tau]), np.append(np.zeros(q), 1.0))
    dual = found.dual.numpy()
    mu = dual[:q] / dual[q] if found.status is Status.CONVERGED else _chebyshev_by_highs(tau, G)
    if mu is None:
        return None, tau
    at = tau + G @ mu
    rho = float(np.abs(at).max())
    active = np.flatnonzero(np.abs(at) >= rho * (1 - 1e-7) - 1e-300)
    sign = np.sign(at[active])
    system = np.hstack([G[active], -sign[:, None]])
    change = least_squares(system, sign * rho - at[active])
    polished = at + G @ change[:q]
    return (float(np.abs(polished).max()), polished) if np.abs(polished).max() < rho else (rho, at)


def one_sided_exponent(tau: np.ndarray, G: np.ndarray) -> tuple[float | None, np.ndarray]:
    """min over μ of max(τ + Gμ) and a minimiser's τ, by HiGHS; None where there is none."""
    q = G.shape[1]
    if q == 0:
        return float(tau.max()), tau
    found = linprog(
        np.append(np.zeros(q), 1.0),
        A_ub=np.hstack([G, -np.ones((tau.size, 1))]),
        b_ub=-tau,
        bounds=[(None, None)] * (q + 1),
        method="highs-ds",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if found.status != 0:
        return None, tau
    at = tau + G @ found.x[:q]
    return float(at.max()), at


def _chebyshev_by_highs(tau: np.ndarray, G: np.ndarray) -> np.ndarray | None:
    """μ by HiGHS, from max τᵀw subject to Gᵀw = 0, ‖w‖₁ <= 1, which has one row for every unknown."""
    N, q = G.shape
    found = linprog(
        np.concatenate([-tau, tau]),
        A_eq=np.hstack([G.T, -G.T]),
        b_eq=np.zeros(q),
        A_ub=np.ones((1, 2 * N)),
        b_ub=[1.0],
        method="highs-ds",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    return np.asarray(found.eqlin.marginals) if found.status == 0 else None


def fourth_order_constant(
    N: np.ndarray, size: np.ndarray, log_unit: float, square: np.ndarray
) -> tuple[np.ndarray, bool, float]:
    """σ∘C_S of ψ_α(∞) − W = C α⁴ + …, where no nonzero column is off S, whether it overflows, and where it is seen.

    The selector's slope asinh(ψ/2α²) is log(ψ/α²) + α⁴/ψ² − (3/2)α⁸/ψ⁴ + …. With ψ = W + C α⁴ + E α⁸ its first two
    orders on the null space are Nᵀ(C/W + 1/W²) = 0 and Nᵀ(E/W − C²/2W² − 2C/W³ − 3/2W⁴) = 0. The slope of log‖ψ − W‖
    in log α then is 4 up to 4α⁴‖E‖/‖C‖. A start of shape a± puts q = a₊²a₋², ``square``, before each 1/ψ².

    Returns:
        C_S; whether it overflows; and the α below which the slope is within 0.01 of 4, the error below 1 % of each W_i,
        and α⁴ below 1 % of each W_i², where the expansion of the slope begins to converge.
    """
    if N.shape[1] == 0:
        return np.zeros(size.size), False, np.inf
    C = newton_projection(N, 1 / size, square * size**-2)
    E = newton_projection(N, 1 / size, -((C / size) ** 2) / 2 - 2 * square * C / size**3 - 1.5 * square**2 / size**4)
    first, second = float(np.linalg.norm(C)), float(np.linalg.norm(E))
    if first <= 1e-14 * float(np.linalg.norm(1 / size)):  # rounding: W is stationary to this order
        return C, False, np.inf
    with np.errstate(divide="ignore"):
        last = _SMALL * size**2 / square
        fourth_powers = (_SLOPE_TOLERANCE / 4 * first / second, *(_SMALL * size / np.abs(C)), *last)
    alpha = float(np.exp(np.log(min(fourth_powers)) / 4 + log_unit / 2))
    with np.errstate(over="ignore"):
        C = C * np.exp(-log_unit)
    return C, not bool(np.all(np.isfinite(C))), alpha


def slope_reached_at(
    B: np.ndarray,
    A_off: np.ndarray,
    G: np.ndarray,
    N: np.ndarray,
    size: np.ndarray,
    log_unit: float,
    asymptote: tuple[np.ndarray, float],
    logs: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
) -> float:
    """The largest α of a grid (log α doubles) below which the slope stays within 0.01 of the exponent.

    ``asymptote`` is the τ of ϱ and the exponent. The slope is the leading order's, which counts where the error is at
    most 1 % of each |W_i|, i in S. ``logs`` are log a₊² and log a₋² off S, and log a_σ² on S; None for zeros.
    """
    tau, exponent = asymptote
    kernel = hyperbolic if logs is None else weighted_hyperbolic(logs[0], logs[1])
    target = np.log(size) + log_unit if logs is None else np.log(size) + log_unit - logs[2]
    fixed = A_off.T @ least_squares(B.T, np.ones(size.size))
    moved = _off_span(A_off.T @ least_squares(B.T, target), G)
    reached, near = None, 0
    ahead = None  # τ at the next L, extrapolated from this one
    for j in range(_DOUBLINGS + 1):
        L = 2.0**j
        starts = [L * tau + moved] if ahead is None else [L * tau + moved, ahead]
        start = min(starts, key=lambda t: float(np.abs(t).max()))
        point = minimise(-start, start, G, kernel, _SLOPE_ACCURACY)
        value, slope, shift = kernel(point.u, point.v)
        rate = fixed + newton_projection(G, slope, slope * fixed) if G.shape[1] else fixed
        ahead = point.tau + L * rate if point.converged else None
        error = _with_support(B, A_off, N, size, value)
        miss = abs(_local_slope(error, _with_support(B, A_off, N, size, slope * rate)) - exponent)
        largest = float((np.abs(error[value.size :]) / size).max(initial=0.0)) * np.exp(
            min(shift - L - log_unit, 700.0)
        )
        if miss > _SLOPE_TOLERANCE or largest > _SMALL or not point.converged:
            reached, near = None, 0
            continue
        reached = L if reached is None else reached
        near = near + 1 if miss < 0.2 * _SLOPE_TOLERANCE else 0
        if near == 2:  # the corrections decay in L: it stays
            break
    return 0.0 if reached is None else float(np.exp(-0.5 * reached))


def off_support_is_silent(
    B: np.ndarray, A_off: np.ndarray, G: np.ndarray, target: np.ndarray, shift: np.ndarray
) -> bool:
    """Whether A_iᵀλ = 0 is possible off S at every L, so that nothing there moves and the error is of fourth order.

    From a start of another shape it is A_iᵀλ = −``shift``; ``target`` is what A_Sᵀλ is beside L, without signs.
    """
    first = A_off.T @ least_squares(B.T, np.ones(target.size))
    second = A_off.T @ least_squares(B.T, target) + shift
    left = [_off_span(first, G), _off_span(second, G)]
    return max(float(np.abs(vector).max()) for vector in left) <= 1e-13


def _off_span(moved: np.ndarray, G: np.ndarray) -> np.ndarray:
    """``moved`` less its projection on the span of G."""
    return moved - G @ least_squares(G, moved) if G.shape[1] else moved


def _with_support(B: np.ndarray, A_off: np.ndarray, N: np.ndarray, size: np.ndarray, off: np.ndarray) -> np.ndarray:
    """The vector with the values ``off`` off S, and on S what Aψ = y and the selector make of them (without signs)."""
    on = least_squares(B, -A_off @ off)
    if N.shape[1]:
        on = on + newton_projection(N, 1 / size, on / size)
    return np.concatenate([off, on])


def _local_slope(error: np.ndarray, derivative: np.ndarray) -> float:
    """d log‖α²·error‖/d log α with d error/dL = derivative, L = −2 log α."""
    square = float(error @ error)
    return 2 - 2 * float(error @ derivative) / square if square > 0 else 2.0
