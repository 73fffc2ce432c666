"""What several studies measure with: slopes, norms, and the flow integrated independently of the package."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.integrate import solve_ivp

from dlntorch.model.depth_law import depth_law
from dlntorch.problem import Problem
from dlntorch.studies.base import Claim, within

__all__ = [
    "distance_to_unique",
    "fitted_slope",
    "largest",
    "last_slope",
    "local_slopes",
    "middle",
    "norm",
    "radau_limit",
    "slope_claim",
    "smallest",
]


def local_slopes(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """d log y/d log x between neighbouring points, at their geometric means."""
    return np.sqrt(x[1:] * x[:-1]), np.diff(np.log(y)) / np.diff(np.log(x))


def last_slope(x: np.ndarray, y: np.ndarray) -> float | None:
    """The local slope between the two smallest x; None where there are not two."""
    if len(x) < 2:
        return None
    order = np.argsort(x)
    return float(local_slopes(x[order], y[order])[1][0])


def slope_claim(label: str, p: float, exponent: float | None, slope: float | None) -> Claim:
    """That the error falls with its exponent; where the data decide it, the asymptote is further away."""
    return within(label, exponent, slope, 0.03 if depth_law(p).error_exponent is None else 0.02)


def fitted_slope(x: np.ndarray, y: np.ndarray, at_least: int = 2) -> float | None:
    """The least-squares slope of y in x; None where points are too few, not finite, or one above the other."""
    if len(x) < at_least or not np.all(np.isfinite(x) & np.isfinite(y)) or np.ptp(x) == 0:
        return None
    return float(np.polyfit(x, y, 1)[0])


def largest(values: np.ndarray) -> float | None:
    """Of those that are finite, None where there is none; and the same of the median and the smallest."""
    values = values[np.isfinite(values)]
    return float(values.max()) if values.size else None


def middle(values: np.ndarray) -> float | None:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if values.size else None


def smallest(values: np.ndarray) -> float | None:
    values = values[np.isfinite(values)]
    return float(values.min()) if values.size else None


def norm(vector: torch.Tensor) -> float:
    """‖·‖₂."""
    return float(torch.linalg.vector_norm(vector))


def radau_limit(problem: Problem, p: float, alpha: float, rtol: float = 1e-11) -> np.ndarray | None:
    """ψ of the flow, integrated by scipy's Radau until ‖Aψ − y‖ = 1e-12 ‖y‖; None where it did not get there.

    An independent route to ψ_α(∞), for problems whose tail is exponential: the 2n numbers log(θ±/α), of which
    d log θ±/dt = ±p θ±^{p−2} Aᵀ(y − Aψ), with no closed form and nothing of
    :mod:`dlntorch.flow` or :mod:`dlntorch.limit`. In log θ a relative tolerance holds for the smallest parameters too;
    in θ itself atol = 5e-15 would be needed.
    """
    A, y, n = problem.A.numpy(), problem.y.numpy(), problem.n
    gram, correlation = A.T @ A, A.T @ y
    sign = np.repeat([1.0, -1.0], n)
    start = math.log(alpha)

    def parts(w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        power = np.exp(p * (start + w))
        rate = sign * p * np.exp((p - 2) * (start + w))
        g = correlation - gram @ (power[:n] - power[n:])
        return power, rate, np.concatenate([g, g])

    def velocity(t: float, w: np.ndarray) -> np.ndarray:
        _, rate, g = parts(w)
        return rate * g

    def jacobian(t: float, w: np.ndarray) -> np.ndarray:
        power, rate, g = parts(w)
        return np.diag((p - 2) * rate * g) - rate[:, None] * np.tile(gram, (2, 2)) * (p * sign * power)

    def interpolates(_: float, w: np.ndarray) -> float:
        power = np.exp(p * (start + w))
        return float(np.linalg.norm(A @ (power[:n] - power[n:]) - y) - 1e-12 * np.linalg.norm(y))

    interpolates.terminal = True  # type: ignore[attr-defined]
    horizon = 1e9 * alpha ** (2 - p)
    solution = solve_ivp(
        velocity,
        (0.0, horizon),
        np.zeros(2 * n),
        method="Radau",
        jac=jacobian,
        events=interpolates,
        rtol=rtol,
        atol=rtol,
    )
    if solution.status != 1:  # 1: the event
        return None
    power = np.exp(p * (start + solution.y[:, -1]))
    return power[:n] - power[n:]


def distance_to_unique(problem: Problem, psi: np.ndarray, support: np.ndarray) -> float:
    """‖ψ − W‖₂ for an interpolating ψ and the unique ℓ1-minimiser W with this support, without subtracting.

    Off the support W is 0, and A_S(ψ − W)_S = −A_{Sᶜ}ψ_{Sᶜ} with independent columns A_S. The limit's small coordinates
    have full relative accuracy, and so has this distance, far below the rounding error of W.
    """
    A = problem.A.numpy()
    off = np.setdiff1d(np.arange(problem.n), support)
    on = np.linalg.lstsq(A[:, support], A[:, off] @ psi[off], rcond=None)[0]
    return float(np.hypot(np.linalg.norm(on), np.linalg.norm(psi[off])))
