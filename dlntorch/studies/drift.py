"""What the flow says about SGD before it is run: how much initialization the squares of its steps cost, and the end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dlntorch.flow.integrate import flow_path
from dlntorch.limit.flow_limit import flow_limit
from dlntorch.model.depth_law import depth_law
from dlntorch.model.dual import psi_slope_of_theta, relaxation_time, theta_of_psi
from dlntorch.numerics.trajectory import short_repr
from dlntorch.problem import Problem

__all__ = ["Drift", "end_drift", "lost_initialization", "mean_square_gradient"]

#: Points of the flow that the integral of E g² is summed over: the error of the rule is about 1e-4 of the integral.
FLOW_TIMES = 500


@dataclass(frozen=True)
class Drift:
    """What the flow says about SGD before it is run.

    Attributes:
        limit: ψ_α(∞), shape (n,).
        direction: d, shape (n,): SGD ends at ψ_α(∞) + η·d + o(η).
        rho: ρ₁, the largest relative speed of a parameter in steps on single rows along the flow.
    """

    limit: np.ndarray
    direction: np.ndarray
    rho: float

    __repr__ = short_repr


def mean_square_gradient(A: np.ndarray, r: np.ndarray, batch: int) -> np.ndarray:
    """E g_i² over mini-batches B of b of the m rows, g = (m/b) A_Bᵀ r_B.

    With a_j = A_ji r_j, of which a uniform B contains each with probability b/m and each pair with
    b(b−1)/(m(m−1)):  E g_i² = (m/b) [(1 − c) Σ_j a_j² + c (Σ_j a_j)²],  c = (b−1)/(m−1).

    Args:
        A: Shape (m, n).
        r: Residuals y − Aψ, shape (k, m).
        batch: b.

    Returns:
        Shape (k, n).
    """
    m = A.shape[0]
    shared = (batch - 1) / (m - 1) if m > 1 else 1.0
    return m / batch * ((1 - shared) * (r**2 @ A**2) + shared * (r @ A) ** 2)


def end_drift(problem: Problem, p: float, alpha: float, batch: int, times: int = FLOW_TIMES) -> Drift:
    """Where constant-step SGD ends, to first order in η.

    For p > 2 put w = θ^{2−p}. A step θ± ← θ±(1 ± x), x = pηθ^{p−2}g, gives w± ← w± ∓ p(p−2)ηg + ½(p−2)(p−1)p²η²g²/w±;
    the first-order parts sum to ∓p(p−2)Aᵀs. Hence the end is ψ of w± = α^{2−p} ∓ p(p−2)Aᵀs + (p−2)ηE±,

        E± = ½(p−1)p² ∫ E[g²] θ±^{p−2} dt,

    and p = 2 is its continuation (log θ± = log α ± 2Aᵀs − ηE). Linearized at the limit with Aψ = y:
    d = u − D Aᵀ(A D Aᵀ)⁻¹Au,  u = −p(θ₊^{2p−2}E₊ − θ₋^{2p−2}E₋),  D = p²(θ₊^{2p−2} + θ₋^{2p−2}).
    """
    limit = flow_limit(problem, p, alpha)
    lost, rho = lost_initialization(problem, p, alpha, batch, relaxation_time(problem, p, alpha, limit), times)
    A = problem.A.numpy()
    ends = theta_of_psi(limit.psi, p, alpha)
    D = psi_slope_of_theta(*ends, p).numpy()
    last = [side.numpy() ** (2 * p - 2) for side in ends]
    u = -p * (last[0] * lost[0] - last[1] * lost[1])
    direction = u - D * (A.T @ np.linalg.solve((A * D) @ A.T, A @ u))
    return Drift(limit.psi.numpy(), direction, rho)


def lost_initialization(
    problem: Problem, p: float, alpha: float, batch: int, slowest: float, times: int = FLOW_TIMES
) -> tuple[list[np.ndarray], float]:
    """([E₊, E₋], ρ₁) of :func:`end_drift`, E± of shape (n,), by the trapezoidal rule along the flow.

    ``slowest`` is the flow's last time constant: after 20 of them nothing is left of the integral.
    """
    A, y = problem.A.numpy(), problem.y.numpy()
    unit = depth_law(p).unit_of_time(alpha)
    grid = np.concatenate([[0.0], np.geomspace(1e-4 * unit, 5 * unit + 20 * slowest, times)])
    path = flow_path(problem, p, alpha, grid, rtol=1e-8)
    t, plus, minus = path.t.numpy(), path.theta_plus.numpy(), path.theta_minus.numpy()
    r = y - (plus**p - minus**p) @ A.T
    squares = mean_square_gradient(A, r, batch)
    lost = [0.5 * (p - 1) * p**2 * (_weights(t) @ (squares * side ** (p - 2))) for side in (plus, minus)]
    largest = np.max(np.abs(A)[None] * np.abs(r)[:, :, None], axis=1)  # over the rows
    rho = float(np.max(p * np.maximum(plus, minus) ** (p - 2) * problem.m * largest))
    return lost, rho


def _weights(t: np.ndarray) -> np.ndarray:
    """Those of the trapezoidal rule."""
    steps = np.diff(t, prepend=t[0], append=t[-1])
    return 0.5 * (steps[1:] + steps[:-1])
