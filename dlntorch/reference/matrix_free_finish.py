"""From a support and a dual vector nearby to an exact pair: conjugate gradients on the columns of the support.

With S the support and c_S the slopes of the cost there, the pair is

    x_S = A_S⁺y,   λ ← λ + A_S(A_SᵀA_S)⁻¹(c_S − A_Sᵀλ),

and with noise ε > 0, of which the closed form is that of :mod:`~dlntorch.reference.basis_pursuit_noise`,
r₀ = y − A_S A_S⁺y, q = A_S(A_SᵀA_S)⁻¹c_S, ρ = √(ε² − ‖r₀‖²)/‖q‖, λ = (r₀ + ρq)/ρ. What λ then violates joins S in its
equations, a few times. Nothing is assumed of S: whether the pair is optimal is what its gap says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.reference.matrix_free_parts import Products, TensorCosts

__all__ = ["PrimalDualPair", "finish", "least_squares_on", "normal_equations_on"]

#: Most steps of conjugate gradients: κ(A_S) = 50 needs about 800 of them for all digits.
CG_STEPS = 800
#: Relative residual where conjugate gradients stop, and beyond which x_S does not interpolate.
EXACT, FEASIBLE = 2e-14, 1e-11
_STALLED = 3e-4  # ‖A_Sᵀr‖/‖r‖ below which r is what no x_S takes away
_ROUNDS = 3  # of violators that join the dual equations
_TINY = 1e-9  # of max|x|: an entry that conjugate gradients left of a zero
_ADMITTED = 1e-11  # by how much |τ| may exceed 1


@dataclass
class PrimalDualPair:
    """x and λ with what they miss; all for the scaled problem.

    Attributes:
        x: Shape (n,).
        dual: λ, shape (m,).
        tau: Bᵀλ, shape (n,).
        residual: b − Bx, shape (m,).
        missing: ‖residual‖/‖b‖ beyond the noise.
        excess: max over all i of |τ_i| − 1, relative to the costs.
    """

    x: Tensor
    dual: Tensor
    tau: Tensor
    residual: Tensor
    missing: float
    excess: float


def least_squares_on(
    products: Products, support: Any, b: Tensor, start: Tensor, steps: int = CG_STEPS, stalled: float = _STALLED
) -> tuple[Tensor, Tensor]:
    """x_S of least squares B_S x_S = b from ``start``, and b − B_S x_S; ends early where that does not tend to 0."""
    full = b.new_zeros(products.operator.shape[1])
    x, size = start.clone(), float(b.norm())
    full[support] = x
    r = b - products.apply(full)
    s = products.adjoint(r)[support]
    p, g = s.clone(), float(s @ s)
    for _ in range(steps):
        left = float(r.norm())
        if left <= EXACT * size or math.sqrt(g) <= stalled * left:
            break
        full[support] = p
        q = products.apply(full)
        a = g / float(q @ q)
        x += a * p
        r -= a * q
        s = products.adjoint(r)[support]
        before, g = g, float(s @ s)
        p = s + (g / before) * p
    return x, r


def normal_equations_on(
    products: Products, support: Tensor, d: Tensor, steps: int = CG_STEPS, stop: float = EXACT
) -> tuple[Tensor, Tensor, float]:
    """w = (B_SᵀB_S)⁻¹d, B_S w, and the smallest eigenvalue of B_SᵀB_S that conjugate gradients meet."""
    full, w, r = d.new_zeros(products.operator.shape[1]), torch.zeros_like(d), d.clone()
    image = d.new_zeros(products.operator.shape[0])
    p, g = r.clone(), float(r @ r)
    lengths: list[float] = []
    ratios: list[float] = []
    for _ in range(steps):
        if float(r.abs().max()) <= stop:
            break
        full[support] = p
        q = products.apply(full)
        a = g / float(q @ q)
        w += a * p
        image += a * q
        r = r - a * products.adjoint(q)[support]
        before, g = g, float(r @ r)
        lengths.append(a)
        ratios.append(g / before)
        p = r + (g / before) * p
    return w, image, _smallest(np.array(lengths), np.array(ratios[:-1]))


def _smallest(a: np.ndarray, b: np.ndarray) -> float:
    """The least eigenvalue of the Lanczos matrix of conjugate gradients with steps ``a`` and ratios ``b``."""
    if a.size == 0 or not np.all(np.isfinite(a)):
        return 0.0
    diagonal = 1 / a
    diagonal[1:] += b / a[:-1]
    beside = np.sqrt(b) / a[:-1]
    return float(np.linalg.eigvalsh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))[0])


def finish(
    products: Products, b: Tensor, costs: TensorCosts, noise: float, near: PrimalDualPair, steps: int = CG_STEPS
) -> PrimalDualPair | None:
    """The pair of the support of x, near (x, λ); None where its columns are none or more than m, or do not fit b.

    Args:
        products: With B.
        b: Shape (m,).
        costs: Of x.
        noise: ε of the scaled problem.
        near: Where x, λ and Bᵀλ are.
        steps: Bound on the steps of each conjugate gradients.
    """
    support = torch.nonzero(near.x).squeeze(-1)
    if not 0 < support.numel() <= b.shape[0]:
        return None
    sign = near.x[support].sign()
    if noise > 0:
        return _with_noise(products, b, costs, noise, (support, sign, near.x[support]), steps)
    values, r = least_squares_on(products, support, b, near.x[support], steps)
    wrong = values * sign <= 0
    zero = wrong & (values.abs() <= _TINY * values.abs().max())
    if bool((wrong & ~zero).any()):
        return None
    x, kept = torch.zeros_like(near.x), support
    if bool(zero.any()):
        kept = support[~zero]
        values, r = least_squares_on(products, kept, b, values[~zero], steps)
    x[kept] = values
    missing = float(r.norm() / b.norm())
    if not missing <= FEASIBLE:  # the dual of a support that is too small proves nothing
        return PrimalDualPair(x, near.dual, near.tau, r, missing, near.excess)
    dual, tau = _dual(products, costs, near, (support, sign), steps)
    return PrimalDualPair(x, dual, tau, r, missing, costs.excess(tau))


def _dual(
    products: Products, costs: TensorCosts, near: PrimalDualPair, signed: tuple[Tensor, Tensor], steps: int
) -> tuple[Tensor, Tensor]:
    """λ with B_Sᵀλ = c_S and Bᵀλ; what is violated joins S."""
    active, sign = signed
    slope, dual, tau = costs.slope(sign, active), near.dual, near.tau
    for _ in range(_ROUNDS):
        _, change, _ = normal_equations_on(products, active, slope - tau[active], steps)
        dual = dual + change
        tau = products.adjoint(dual)
        beyond = costs.relative(tau).abs() > 1 + _ADMITTED
        beyond[active] = False
        joining = torch.nonzero(beyond).squeeze(-1)
        if not joining.numel() or active.numel() + joining.numel() > 0.8 * dual.shape[0]:
            break
        active = torch.cat([active, joining])
        slope = torch.cat([slope, costs.slope(tau[joining].sign(), joining)])
    return dual, tau


def _with_noise(
    products: Products,
    b: Tensor,
    costs: TensorCosts,
    noise: float,
    signed: tuple[Tensor, Tensor, Tensor],
    steps: int,
) -> PrimalDualPair | None:
    support, sign, start = signed
    fitted, rest = least_squares_on(products, support, b, start, steps, 1e-14)
    room = noise**2 - float(rest @ rest)
    if room <= 0:
        return None
    w, q, _ = normal_equations_on(products, support, costs.slope(sign, support), steps)
    rho = math.sqrt(room) / float(q.norm())
    values = fitted - rho * w
    if bool((values * sign <= 0).any()):
        return None
    x = torch.zeros(products.operator.shape[1], dtype=b.dtype, device=b.device)
    x[support] = values
    r = rest + rho * q
    tau = products.adjoint(r / rho)
    return PrimalDualPair(x, r / rho, tau, r, max(0.0, float(r.norm()) - noise) / float(b.norm()), costs.excess(tau))
