"""The dual path of the gradient flow: m numbers s(t) from which θ, ψ and their slopes follow in closed form.

With s(t) = ∫₀ᵗ (y − Aψ) and ν = Aᵀs the flow is (arXiv 2307.07410, section 4; α is the initialization)

    p = 2:  θ± = α exp(±2ν),        p > 2:  θ± = α (1 ∓ τ)^{−1/(p−2)},  τ = c_p ν,  c_p = p(p−2) α^{p−2},  c_2 = 4,
    ṡ = y − Aψ(Aᵀs),  ψ = θ₊^p − θ₋^p,  dψ/dν = p²(θ₊^{2p−2} + θ₋^{2p−2}).

s has the size α^{2−p}, so everything here is in the dimensionless σ = c_p s, τ = Aᵀσ and T = c_p t. Close to the pole
τ = ±1 the float64 τ is too coarse (ψ = 1 needs 1 − τ = α^{p−2}): u = 1 − τ and v = 1 + τ are carried separately.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlntorch.model.dual_kernels import Base, Heights, misfit, moved_far, theta_at
from dlntorch.model.potentials import h_inverse_uv
from dlntorch.numerics.validation import InputError, check_alpha, check_depth, check_unmasked
from dlntorch.problem import Problem

__all__ = [
    "DualField",
    "DualState",
    "dual_scale",
    "point_by_torch",
    "psi_of_nu",
    "psi_slope_of_theta",
    "relaxation_time",
    "residual_norm_by_torch",
    "theta_of_nu",
    "theta_of_psi",
    "velocity_by_torch",
]

#: θ^p is not let above this in trial points beyond the pole, so that a solver sees a huge finite velocity and steps back.
_LARGEST_PSI = 1e100


def _power(alpha: float, exponent: float) -> float:
    """α^exponent, which must be a float."""
    try:
        return alpha**exponent
    except OverflowError:
        raise InputError(f"alpha must leave alpha^{exponent:g} in the range of float64, got {alpha:g}") from None


def dual_scale(p: float, alpha: float) -> float:
    """c_p in τ = c_p ν: 4 at p = 2, p(p−2)α^{p−2} for p > 2."""
    return 4.0 if p == 2 else p * (p - 2) * _power(alpha, p - 2)


def theta_of_nu(nu: Tensor, p: float, alpha: float) -> tuple[Tensor, Tensor]:
    """(θ₊, θ₋) at ν = Aᵀs, any shape: α exp(±2ν), or (α^{2−p} ∓ p(p−2)ν)^{−1/(p−2)}; ∞ at and beyond the pole."""
    if p == 2:
        return alpha * torch.exp(2 * nu), alpha * torch.exp(-2 * nu)
    tau = dual_scale(p, alpha) * nu
    return tuple(alpha * (1 + sign * tau).clamp_min(0) ** (-1 / (p - 2)) for sign in (-1, 1))  # type: ignore[return-value]


def psi_of_nu(nu: Tensor, p: float, alpha: float) -> Tensor:
    """ψ = θ₊^p − θ₋^p at ν = Aᵀs, any shape."""
    plus, minus = theta_of_nu(nu, p, alpha)
    return plus**p - minus**p


def psi_slope_of_theta(theta_plus: Tensor, theta_minus: Tensor, p: float) -> Tensor:
    """dψ/dν = p²(θ₊^{2p−2} + θ₋^{2p−2}), any shape: the D of A D Aᵀ."""
    return p * p * (theta_plus ** (2 * p - 2) + theta_minus ** (2 * p - 2))


def theta_of_psi(psi: Tensor, p: float, alpha: float) -> tuple[Tensor, Tensor]:
    """(θ₊, θ₋) of the flow at a given ψ, any shape: the pair on the curve θ₊^{2−p} + θ₋^{2−p} = 2α^{2−p} (θ₊θ₋ = α²)."""
    psi = psi.to(torch.float64)
    if p == 2:
        half = torch.asinh(psi / (2 * _power(alpha, 2))) / 2
        return alpha * torch.exp(half), alpha * torch.exp(-half)
    _, u, v = h_inverse_uv(psi / _power(alpha, p), p)
    return alpha * u ** (-1 / (p - 2)), alpha * v ** (-1 / (p - 2))


def relaxation_time(problem: Problem, p: float, alpha: float, psi_limit: Any) -> float:
    """The slowest time scale of the flow near its limit, in units of t: 1/λ_min(A diag(p²(θ₊^{2p−2} + θ₋^{2p−2})) Aᵀ).

    The flow needs a few times this to settle; it grows like α^{−(2p−2)} when the limit has fewer than m large entries.
    The smallest eigenvalue comes from the singular values of D^{1/2}Aᵀ, which keep twice the digits of A D Aᵀ.

    Args:
        problem: The data; rows that depend on others are dropped first.
        p: Depth, >= 2.
        alpha: Initialization, > 0.
        psi_limit: ψ_α(∞), shape (n,), or a result that has it as ``.psi``.

    Returns:
        The time; ``inf`` where λ_min underflows.

    Raises:
        InputError: p < 2, alpha <= 0, α^p or D beyond float64, or ``psi_limit`` not of shape (n,) and finite.
    """
    p, alpha = check_depth(p), check_alpha(alpha)
    check_unmasked("psi_limit", psi_limit)
    psi = torch.as_tensor(getattr(psi_limit, "psi", psi_limit), dtype=torch.float64, device=problem.device)
    if psi.shape != (problem.n,) or not bool(torch.isfinite(psi).all()):
        raise InputError(f"psi_limit must be finite with shape ({problem.n},), got shape {tuple(psi.shape)}")
    plus, minus = theta_of_psi(psi, p, alpha)
    root = torch.sqrt(psi_slope_of_theta(plus, minus, p))
    if not bool(torch.isfinite(root).all()):
        raise InputError(
            f"p, alpha and psi_limit must leave dψ/dν in the range of float64, got p={p:g}, alpha={alpha:g}"
        )
    order = torch.argsort(root, descending=True)  # graded rows: largest first keeps the small singular values accurate
    A = problem.reduced().to(dtype=torch.float64).A
    R = torch.linalg.qr((root[:, None] * A.mT)[order], mode="r").R
    smallest = float(torch.linalg.svdvals(R)[-1])
    return 1 / smallest**2 if smallest**2 > 0 else float("inf")


def velocity_by_torch(field: Callable[[Any, Tensor], Tensor], x: np.ndarray) -> np.ndarray:
    """The right-hand side of a field on the CPU as scipy wants it, without a copy."""
    with torch.no_grad():
        return field(None, torch.from_numpy(x)).numpy()


def residual_norm_by_torch(field: Any, x: np.ndarray) -> float:
    """‖y − Aψ‖₂ of a field at a state, where the field lives; counts as an evaluation."""
    field.evaluations += 1
    return float(
        torch.linalg.vector_norm(field.residual(torch.as_tensor(x, dtype=field.y.dtype, device=field.y.device)))
    )


class DualState(NamedTuple):
    """What is kept of a flow at one time: θ± (n,), ‖y − Aψ‖₂, and whether the state is in the flow's domain at all."""

    inside: bool
    theta_plus: Tensor
    theta_minus: Tensor
    residual_norm: float


def point_by_torch(field: Any, x: np.ndarray) -> DualState:
    """The point of a field at a state, where the field lives."""
    state = torch.as_tensor(x, dtype=field.y.dtype, device=field.y.device)
    plus, minus = field.theta(state)
    return DualState(field.inside(state), plus, minus, float(torch.linalg.vector_norm(field.residual(state))))


class DualField:
    """The dual ODE in affine coordinates x around a base point, dx/dT = R (y − Aψ), and its Jacobian.

    τ = τ_base + B x. *Plain* coordinates are x = σ, B = Aᵀ, R = 1 around τ = 0. :meth:`rebase` moves the base to the
    current point and takes B = W⁻¹Q, R from the QR factorization of W Aᵀ, W_i = 1/((p−2) min(u_i, v_i)) (½ at p = 2):
    then ‖x‖₂ = ‖W δτ‖₂ is the relative change of the larger of θ±, so that an absolute tolerance on x is a relative
    one on θ, and u and v are updated by increments, so that their digits survive close to the pole.

    Args:
        problem: The data, of full row rank.
        p: Depth.
        alpha: Initialization.

    The evaluations of the right-hand side are counted in ``evaluations``.
    """

    def __init__(self, problem: Problem, p: float, alpha: float) -> None:
        self.p, self.alpha = p, alpha
        self.A, self.y = problem.A, problem.y
        self.size = problem.m
        self.scale = dual_scale(p, alpha)
        zero = torch.zeros(problem.n, dtype=self.A.dtype, device=self.A.device)
        self.u, self.v, self.tau = zero + 1, zero + 1, zero
        self.B = self.A.mT.contiguous()
        self.R: Tensor | None = None
        self.sigma = torch.zeros_like(self.y)
        self.evaluations = 0
        self._arrays: Base | None = None  # what velocity works with, of the present base
        # u at which θ₊^p reaches the largest value
        self.smallest_slack = 0.0 if p == 2 else (_LARGEST_PSI ** (1 / p) / alpha) ** (2 - p)
        self.power = 0.0 if p == 2 else -p / (p - 2)
        # both factors of ψ are floats then, also at the smallest slack; at p = 2 there is no such form
        self.amplitude = alpha**p if p > 2 and alpha**p > 1 / _LARGEST_PSI else 0.0
        self.largest_tau = float(np.log(_LARGEST_PSI) - 2 * np.log(alpha))

    def slack(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(u, v) at x for p > 2; (−τ, τ) at p = 2, where there is no pole."""
        change = self.B @ x
        if self.p == 2:
            tau = self.tau + change
            return -tau, tau
        return self.u - change, self.v + change

    def inside(self, x: Tensor) -> bool:
        """Whether x is a point of the flow's domain, where :meth:`theta` is the closed form itself."""
        u, v = self.slack(x)
        if self.p == 2:
            return bool((v.abs() < self.largest_tau).all())
        return bool((torch.minimum(u, v) > self.smallest_slack).all())

    def theta(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(θ₊, θ₋) at x; beyond the pole (only in a solver's trial points) a huge finite value."""
        u, v = self.slack(x)
        if self.p == 2:
            half = v.clamp(-self.largest_tau, self.largest_tau) / 2
            return self.alpha * torch.exp(half), self.alpha * torch.exp(-half)
        exponent = -1 / (self.p - 2)
        u, v = u.clamp_min(self.smallest_slack), v.clamp_min(self.smallest_slack)
        return self.alpha * u**exponent, self.alpha * v**exponent

    def psi(self, x: Tensor) -> Tensor:
        """ψ = α^p (u^{−p/(p−2)} − v^{−p/(p−2)}) at x, shape (n,); what an integration spends its time on."""
        if self.amplitude == 0.0:
            plus, minus = self.theta(x)
            return plus**self.p - minus**self.p
        change = self.B @ x
        u, v = (self.u - change).clamp_min_(self.smallest_slack), (self.v + change).clamp_min_(self.smallest_slack)
        return self.amplitude * (u.pow_(self.power) - v.pow_(self.power))

    def residual(self, x: Tensor) -> Tensor:
        """y − Aψ at x, shape (m,)."""
        return self.y - self.A @ self.psi(x)

    def __call__(self, _: Tensor, x: Tensor) -> Tensor:
        """dx/dT, shape (m,)."""
        self.evaluations += 1
        r = self.residual(x)
        return r if self.R is None else self.R @ r

    def velocity(self, x: np.ndarray) -> np.ndarray:
        """dx/dT for a field on the CPU, compiled: on short vectors torch and numpy spend their time between operations."""
        if self.amplitude == 0.0:
            return velocity_by_torch(self, x)
        self.evaluations += 1
        r, _ = self._misfit(x)
        return r if self.R is None else self.R.numpy() @ r

    def residual_norm(self, x: np.ndarray) -> float:
        """‖y − Aψ‖₂ at x; counts as an evaluation."""
        if self.amplitude == 0.0 or self.y.device.type != "cpu":
            return residual_norm_by_torch(self, x)
        self.evaluations += 1
        return math.sqrt(self._misfit(x)[1])

    def point(self, x: np.ndarray) -> DualState:
        """θ and the size of the residual at x; not counted as an evaluation."""
        if self.amplitude == 0.0 or self.y.device.type != "cpu":
            return point_by_torch(self, x)
        base = self._base()
        plus, minus = np.empty_like(base.u), np.empty_like(base.v)
        inside = theta_at(base, self._heights(), x, plus, minus)
        return DualState(bool(inside), torch.from_numpy(plus), torch.from_numpy(minus), math.sqrt(self._misfit(x)[1]))

    def _misfit(self, x: np.ndarray) -> tuple[np.ndarray, float]:
        """(y − Aψ, its squared norm) at x, where α^p is a float and the field on the CPU."""
        base = self._base()
        r = np.empty_like(base.y)
        return r, misfit(base, self._heights(), x, r)

    def _heights(self) -> Heights:
        """The powers of u and v as the compiled functions take them."""
        return Heights(self.smallest_slack, self.amplitude, self.power, self.alpha, -1 / (self.p - 2))

    def _base(self) -> Base:
        """The present base as the compiled functions take it."""
        if self._arrays is None:
            # transposed, so that the columns of A are contiguous like the rows of B
            columns = np.ascontiguousarray(self.A.numpy().T)
            self._arrays = Base(columns, *(tensor.numpy() for tensor in (self.y, self.B.contiguous(), self.u, self.v)))
        return self._arrays

    def jacobian(self, x: Tensor) -> Tensor:
        """d(dx/dT)/dx = −R A D B with D = dψ/dτ, shape (m, m)."""
        plus, minus = self.theta(x)
        slope = psi_slope_of_theta(plus, minus, self.p) / self.scale
        J = -(self.A * slope) @ self.B
        return J if self.R is None else self.R @ J

    def distance_to_limit(self, x: Tensor) -> float:
        """How far one Newton step for y = Aψ would move θ, relative to the largest θ; ``inf`` where it is no small step.

        Costs one evaluation. With the step's own relative change of θ below a tenth the estimate is good to some percent.
        """
        velocity = self(x.new_zeros(()), x)
        step, info = torch.linalg.solve_ex(self.jacobian(x), velocity[:, None])
        u, v = self.slack(x)
        change = (self.B @ step[:, 0]).abs()
        if int(info) != 0 or not bool(torch.isfinite(change).all()):
            return float("inf")
        if self.p == 2:
            plus, minus = change / 2, change / 2
        else:
            plus, minus = change / ((self.p - 2) * u), change / ((self.p - 2) * v)
        if float(torch.maximum(plus, minus).max()) > 0.1:
            return float("inf")
        theta = torch.cat(self.theta(x))
        return float((theta * torch.cat([plus, minus])).max() / theta.max())

    def rounding(self, x: Tensor) -> tuple[float, Tensor]:
        """(the size of the rounding error of y − Aψ at x, the matrix R that takes it to an error of dx/dT)."""
        unit = torch.finfo(self.y.dtype).eps / 2
        size = torch.linalg.vector_norm(self.A.abs() @ self.psi(x).abs() + self.y.abs())
        R = torch.eye(self.size, dtype=self.y.dtype, device=self.y.device) if self.R is None else self.R
        return unit * float(size), R

    def needs_rebase(self, x: Tensor) -> bool:
        """Whether some min(u, v) has changed by a factor 2 since the base, so that x no longer measures θ well."""
        if self.p == 2:
            return False
        if x.device.type == "cpu":
            return bool(moved_far(self.B.numpy(), self.u.numpy(), self.v.numpy(), x.numpy()))
        u, v = self.slack(x)
        ratio = torch.minimum(u, v) / torch.minimum(self.u, self.v)
        return bool((ratio < 0.5).any() or (ratio > 2).any())

    def rebase(self, x: Tensor) -> Tensor:
        """Make x the base point; returns the matrix (m, m) that maps differences of old coordinates to new ones."""
        u, v = self.slack(x)
        self.sigma = self.global_sigma(x)
        self._arrays = None
        if self.p == 2:
            self.tau = v
            weight = torch.full_like(v, 0.5)
        else:
            self.u, self.v = u, v
            weight = 1 / ((self.p - 2) * torch.minimum(u, v))
        order = torch.argsort(weight, descending=True)
        Q, self.R = torch.linalg.qr((weight[:, None] * self.A.mT)[order])
        unsorted = torch.empty_like(Q)
        unsorted[order] = Q
        change = unsorted.mT @ (weight[:, None] * self.B)
        self.B = unsorted / weight[:, None]
        return change

    def global_sigma(self, x: Tensor) -> Tensor:
        """σ = c_p s at x, shape (m,)."""
        if self.R is None:
            return self.sigma + x
        return self.sigma + torch.linalg.solve_triangular(self.R, x[:, None], upper=True)[:, 0]
