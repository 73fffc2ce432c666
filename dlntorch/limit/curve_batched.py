"""The curve ψ = a h_p(τ) of :mod:`~dlntorch.limit.curve` in torch, for tensors of any shape on any device.

The same formulas in b = k atanh τ and t = kτ, k = p/(p − 2); both branches of a formula are computed and one is kept.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dlntorch.model.potentials import log_cosh

__all__ = ["advance", "change_of_t", "curve_inverse", "curve_value", "dual", "dual_variables", "root_slopes"]

_EPS = float(torch.finfo(torch.float64).eps)
_LOG2 = 0.6931471805599453
_LONGEST = 100.0  # change of t in one step where the pole is far
_INVERSE_STEPS = 30


def _stretch(b: Tensor, k_inverse: float) -> Tensor:
    """k log cosh(b/k), zero at p = 2."""
    return torch.zeros_like(b) if k_inverse == 0 else log_cosh(b * k_inverse) / k_inverse


def _log_height(size: Tensor, stretch: Tensor) -> Tensor:
    """log h_p at b = ``size`` > 0."""
    return size + torch.log1p(-torch.exp(-2 * size)) + stretch


def curve_value(b: Tensor, log_a: Tensor, k_inverse: float) -> Tensor:
    """ψ at b."""
    size, stretch = b.abs(), _stretch(b, k_inverse)
    near = 2 * torch.sinh(b) * torch.exp(stretch) * torch.exp(log_a)
    far = torch.copysign(torch.exp(log_a + _log_height(size, stretch)), b)
    return torch.where(size < 1, near, far)


def curve_inverse(psi: Tensor, guess: Tensor, log_a: Tensor, k_inverse: float) -> Tensor:
    """b at ψ, to relative accuracy: Newton on asinh(h/2), whose slope in b lies between 1 and 2, from ``guess``."""
    log_x = torch.log(psi.abs()) - log_a  # −∞ at ψ = 0, where b = 0
    target = torch.where(log_x < 50, torch.asinh(0.5 * torch.exp(log_x.clamp(max=50.0))), log_x)
    if k_inverse == 0:
        return torch.copysign(target, psi)
    b = torch.minimum(torch.maximum(guess.abs(), 0.5 * target), target)
    moving = torch.ones_like(b, dtype=torch.bool)  # a coordinate that has settled moves no more
    for _ in range(_INVERSE_STEPS):
        stretch, far = _stretch(b, k_inverse), b >= 25
        near = torch.asinh(torch.sinh(b.clamp(max=25.0)) * torch.exp(stretch.clamp(max=30.0)))
        value = torch.where(far, _log_height(b, stretch), near)
        ratio = torch.tanh(value) * (1 / torch.tanh(b) + torch.tanh(b * k_inverse))
        change = (value - target) / torch.where(b < 1e-8, torch.ones_like(b), ratio)
        b = torch.where(moving, torch.minimum(torch.maximum(b - change, 0.5 * target), target), b)
        moving = moving & (change.abs() > 4 * _EPS * b)
        if not bool(moving.any()):
            break
    return torch.copysign(b, psi)


def root_slopes(psi: Tensor, b: Tensor, log_a: Tensor, k_inverse: float) -> Tensor:
    """√(dψ/dt); the square root keeps twice the exponent range."""
    size, x = b.abs(), b * k_inverse
    tilt, inner = torch.tanh(x.abs()), size.clamp(max=1.0)
    near = torch.sqrt(2 * (torch.cosh(inner) + torch.sinh(inner) * tilt)) * torch.exp(
        0.5 * (log_a + _stretch(inner, k_inverse))
    )
    far = torch.sqrt(psi.abs() * (1 / torch.tanh(size) + tilt))
    return torch.where(size < 1, near, far) * torch.cosh(x)


def _change_of_b(b: Tensor, dt: Tensor, k_inverse: float) -> Tensor:
    """The change of b when t moves by dt, or NaN beyond the pole: (k/2)(log1p(dt/(kv)) − log1p(−dt/(ku)))."""
    if k_inverse == 0:
        return dt
    up = 0.5 * dt * k_inverse * (1 + torch.exp(-2 * b * k_inverse))  # dt/(k v)
    down = 0.5 * dt * k_inverse * (1 + torch.exp(2 * b * k_inverse))  # dt/(k u)
    moved = 0.5 * (torch.log1p(up) - torch.log1p(-down)) / k_inverse
    return torch.where((up <= -1) | (down >= 1), torch.full_like(moved, torch.nan), moved)


def change_of_t(b: Tensor, db: Tensor, k_inverse: float) -> Tensor:
    """The change of t when b moves by db: k tanh(db/k)(1 − τ²)/(1 + τ tanh(db/k)), without cancellation."""
    if k_inverse == 0:
        return db
    x, tau = torch.tanh(db * k_inverse), torch.tanh(b * k_inverse)
    below = 2 / (1 + torch.exp(2 * b.abs() * k_inverse))  # 1 − |τ|
    # 1 + τ x suffers only where τ and x are both close to ±1 with opposite signs; then use the other end.
    other = torch.tanh((b + db) * k_inverse) - tau
    return torch.where(tau * x < -0.5, other, x * below * (2 - below) / (1 + tau * x)) / k_inverse


def _linear_in_psi(
    psi: Tensor, b: Tensor, root: Tensor, step: Tensor, moved: Tensor, log_a: Tensor, dl: Tensor, k_inverse: float
) -> Tensor:
    """The new ψ where the linear step is to be taken in ψ, and NaN where it is to be taken in t.

    ψ is convex in |t|: where |ψ| grows the step in ψ is the one that does not overshoot, where it falls the one in t.
    ``moved`` is the change of b of the step in t, NaN beyond the pole.
    """
    sign = torch.where(b >= 0, 1.0, -1.0)
    beyond, none = torch.isnan(moved), torch.full_like(psi, torch.nan)
    growth = sign * step * (root / psi.abs().sqrt()) ** 2 + dl  # relative change of |ψ| in the linear step
    crossing = 2 * torch.exp(log_a) * (dual(b, k_inverse) + step)  # crosses zero: the slope there, 2a, takes over
    linear = torch.where(beyond | (sign * (b + moved) < -1), crossing, none)
    linear = torch.where(beyond & (sign * step > 0), psi * (1 + growth).clamp(min=0.1), linear)
    linear = torch.where(growth > -(0.5 * dl.abs()).clamp(min=0.1), psi * (1 + growth), linear)
    # Near zero, where the curve is nearly straight.
    straight = torch.where(beyond, torch.exp(dl) * (psi + root * (root * step)), none)
    return torch.where((b.abs() < 1) | (psi == 0), straight, linear)


def advance(
    point: tuple[Tensor, Tensor, Tensor],
    root: Tensor,
    dt: Tensor,
    log_a: Tensor,
    dl: Tensor,
    k_inverse: float,
    bound: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Move every coordinate by the linear step dt in t and dl in log a; the new (ψ, b, e) and the change of b.

    What t misses of the linear step, e, is the dual infeasibility that the next step removes. A step longer than the
    interval that t lives in is a linearization gone wild, and is shortened, since e would lose its digits.

    Args:
        point: ψ, b = k atanh τ and the dual infeasibility e, (B, n) each.
        root: √(dψ/dt), (B, n).
        dt: Linear step, (B, n).
        log_a: log a_i after the step, (B, n).
        dl: Change of log a, (B, 1).
        k_inverse: 1/k.
        bound: On |ψ_i|, (B, 1), to keep wild steps from overflow.

    Returns:
        ψ, b, e; and the largest change of b that was made or that e still asks for, (B,), ∞ on overflow.
    """
    psi, b, e = point
    longest = dt.abs().amax(-1, keepdim=True)
    limit = _LONGEST if k_inverse == 0 else min(4 / k_inverse, _LONGEST)
    part = torch.where(longest <= limit, torch.ones_like(longest), limit / longest)
    step = part * dt
    whole = _change_of_b(b, step, k_inverse)
    linear = _linear_in_psi(psi, b, root, step, whole, log_a, dl, k_inverse)
    # In t ...
    db = torch.where(b.abs() < 1, whole.clamp(-1.0, 1.0), whole)
    new_b = b + db
    new_psi = curve_value(new_b, log_a, k_inverse)
    # ... and in ψ, which is dearer and taken by a part of the coordinates.
    in_psi = torch.nonzero(~torch.isnan(linear), as_tuple=True)
    new_psi[in_psi] = torch.minimum(torch.maximum(linear, -bound), bound)[in_psi]
    new_b[in_psi] = curve_inverse(new_psi[in_psi], b[in_psi], log_a[in_psi], k_inverse)
    db[in_psi] = new_b[in_psi] - b[in_psi]
    new_e = (1 - part) * e
    missed = torch.nonzero(db != whole, as_tuple=True)
    new_e[missed] += change_of_t(b[missed], db[missed], k_inverse) - step[missed]
    pending = torch.where(new_e == 0, torch.zeros_like(new_e), new_e.abs() * torch.cosh(new_b * k_inverse) ** 2)
    change = torch.maximum(db.abs(), pending.clamp(max=1.0)).amax(-1)
    change = torch.where(part[:, 0] == 1, change, change.clamp(min=1.0))
    finite = (torch.isfinite(new_psi) & torch.isfinite(db)).all(-1) & torch.isfinite(longest[:, 0])
    return new_psi, new_b, new_e, torch.where(finite, change, torch.full_like(change, torch.inf))


def dual(b: Tensor, k_inverse: float) -> Tensor:
    """t = kτ (τ itself at p = 2)."""
    return b if k_inverse == 0 else torch.tanh(b * k_inverse) / k_inverse


def dual_variables(b: Tensor, k_inverse: float) -> tuple[Tensor, Tensor]:
    """τ and 1 − |τ|, each to relative accuracy (p = 2: no pole, and the second is a plain difference)."""
    if k_inverse == 0:
        return b, 1 - b.abs()
    decay = torch.exp(-2 * b.abs() * k_inverse)
    return torch.tanh(b * k_inverse), 2 * decay / (1 + decay)
