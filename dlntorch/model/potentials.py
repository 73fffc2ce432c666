"""The scalar functions of depth p: h_p, its inverse and integral, q_p, and the selectors g_p, for real p >= 2.

With k = p/(p − 2), u = 1 − τ and v = 1 + τ (arXiv 2307.07410, sections 2 and 4):

    h_2(τ) = 2 sinh τ,        h_p(τ) = u^{−k} − v^{−k}   for p > 2 and |τ| < 1,
    H_p' = h_p, H_p(0) = 0,   q_p' = h_p^{−1}, q_p(0) = 0   (q_p is the convex conjugate of H_p),
    g_2(x) = |x| log(|x|/e),  g_p(x) = |x| − (p/2)|x|^{2/p}.

The flow's vector is ψ = α^p h_p(τ); its limit minimises Σ q_p(ψ_i/α^p) subject to Aψ = y; and as α → 0 it selects the
ℓ1-minimiser with the least Σ g_p(ψ_i).

**p → 2.** k → ∞ and the pole moves away only if τ is rescaled: with x = kτ,

    h_p(x/k) → h_2(x),   k h_p^{−1}(z) → h_2^{−1}(z),   k H_p(x/k) → H_2(x),   k q_p(z) → q_2(z),
    2 g_p(x)/(p − 2) → g_2(x),

with errors O(p − 2). In terms of the dual path, kτ = p²α^{p−2}ν, which is 4ν at p = 2.

**Accuracy.** A few ulp at every argument, whatever the conditioning: differences use atanh, sinh and expm1 where they
would cancel; powers carry the rounding error of 1 ∓ τ and of k, which a large exponent would blow up. Close to the pole
the float64 τ itself is too coarse (its spacing is 1e-16): the functions of τ then take ``u`` and ``v`` separately.

Every function accepts tensors (any shape; float32 is computed in float64 and rounded), arrays and numbers, and may be
differentiated any number of times.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.numerics.validation import InputError, check_depth, check_unmasked

__all__ = ["H", "g", "h", "h_inverse", "h_inverse_uv", "h_prime", "q"]

_LOG2 = 0.6931471805599453
_NEWTON_STEPS = 12  # h_inverse: quadratic from a guess that is right within a factor of two; 6 are needed in practice


def h(tau: Any, p: float, *, u: Any = None, v: Any = None) -> Tensor:
    """h_p(τ) = (1 − τ)^{−p/(p−2)} − (1 + τ)^{−p/(p−2)}, or 2 sinh τ at p = 2.

    Args:
        tau: Any shape; |τ| <= 1 for p > 2 (±∞ at ±1).
        p: Depth, any real number >= 2.
        u: 1 − τ, where the caller knows it better than ``tau`` can hold it (close to the pole τ = 1); p > 2 only.
        v: 1 + τ, likewise (close to the pole τ = −1). Derivatives are taken with respect to ``tau``.

    Returns:
        Tensor of the shape and dtype of ``tau``.

    Raises:
        InputError: p < 2; τ not a number or outside [−1, 1]; u or v not positive.
    """
    return _even_or_odd(tau, p, 0, u, v)


def h_prime(tau: Any, p: float, *, u: Any = None, v: Any = None) -> Tensor:
    """h_p'(τ) = k(u^{−k−1} + v^{−k−1}), k = p/(p − 2), or 2 cosh τ at p = 2. Arguments as in :func:`h`."""
    return _even_or_odd(tau, p, 1, u, v)


def _even_or_odd(tau: Any, p: float, order: int, u: Any, v: Any) -> Tensor:
    depth = check_depth(p)
    t, dtype = _as_tensor("tau", tau)
    if depth == 2:
        if u is not None or v is not None:
            raise InputError("u and v must be left out for p = 2, where h has no pole, got p = 2")
        _check_domain(t, pole=False)
        value = 2 * torch.sinh(t) if order == 0 else 2 * torch.cosh(t)
        return value.to(dtype)
    _check_domain(t, pole=True)
    left, right = _distances(t, u, v)
    k = _ratio(depth)
    value = _PowerPair.apply(t, left, right, k + order, bool(order))
    return (value * float(k) if order else value).to(dtype)


def h_inverse(x: Any, p: float) -> Tensor:
    """τ = h_p^{−1}(x): asinh(x/2) at p = 2, a safeguarded Newton iteration for p > 2.

    Args:
        x: Real, any shape; ±∞ is mapped to ±1 (p > 2) or ±∞ (p = 2).
        p: Depth, >= 2.

    Returns:
        τ of the shape and dtype of ``x``. It rounds to ±1 when |x| is large: see :func:`h_inverse_uv`.
    """
    return h_inverse_uv(x, p)[0]


def h_inverse_uv(x: Any, p: float) -> tuple[Tensor, Tensor, Tensor]:
    """(τ, u, v) with τ = h_p^{−1}(x), u = 1 − τ, v = 1 + τ, each to a few ulp, so also where τ rounds to ±1.

    Only τ carries derivatives. At p = 2, u and v have no use but are returned all the same.
    """
    depth = check_depth(p)
    z, dtype = _as_tensor("x", x)
    if torch.isnan(z).any():
        raise InputError("x must not be NaN, got NaN")
    if depth == 2:
        tau = torch.asinh(z / 2)
        with torch.no_grad():
            return tau.to(dtype), (1 - tau).to(dtype), (1 + tau).to(dtype)
    tau, u, v = _HInverse.apply(z, depth)
    return tau.to(dtype), u.to(dtype), v.to(dtype)


def H(tau: Any, p: float, *, u: Any = None, v: Any = None) -> Tensor:
    """H_p(τ) = ∫₀^τ h_p = (p − 2)/2 · (u^{−2/(p−2)} + v^{−2/(p−2)} − 2), or 2(cosh τ − 1) at p = 2.

    Convex, even, zero at zero; arguments as in :func:`h`.
    """
    depth = check_depth(p)
    t, dtype = _as_tensor("tau", tau)
    if depth == 2:
        if u is not None or v is not None:
            raise InputError("u and v must be left out for p = 2, where H has no pole, got p = 2")
        _check_domain(t, pole=False)
        return (4 * torch.sinh(t / 2) ** 2).to(dtype)
    _check_domain(t, pole=True)
    left, right = _distances(t, u, v)
    return _PotentialH.apply(t, left, right, depth).to(dtype)


def q(x: Any, p: float) -> Tensor:
    """q_p(x) = ∫₀^x h_p^{−1} = xτ − H_p(τ) at τ = h_p^{−1}(x): convex, even, zero at zero, any shape.

    The limit of the flow is argmin Σ q_p(ψ_i/α^p) subject to Aψ = y.
    """
    depth = check_depth(p)
    z, dtype = _as_tensor("x", x)
    if torch.isnan(z).any():
        raise InputError("x must not be NaN, got NaN")
    return _PotentialQ.apply(z, depth).to(dtype)


def g(x: Any, p: float) -> Tensor:
    """The selector g_p(x) = |x| − (p/2)|x|^{2/p}, or |x| log(|x|/e) at p = 2 (maximum entropy); any shape.

    W_p(A, y) minimises Σ g_p(ψ_i) over the ℓ1-minimisers. g_p has a cusp at 0, g_p(0) = 0, where the derivative is
    given as 0, the middle of its symmetric one-sided limits ∓∞.
    """
    depth = check_depth(p)
    z, dtype = _as_tensor("x", x)
    if torch.isnan(z).any():
        raise InputError("x must not be NaN, got NaN")
    zero, infinite = z == 0, torch.isinf(z)
    size = torch.where(zero | infinite, torch.ones_like(z), z).abs()
    if depth == 2:
        value = size * (torch.log(size) - 1)
    else:
        # |x| − (p/2)|x|^{2/p} = −|x| expm1(w), w = log(p/2) − (1 − 2/p) log|x|: no cancellation where w is small, as
        # it is for p → 2; elsewhere the power itself, with the rounding error of its exponent.
        half_excess = float((Fraction(depth) - 2) / 2)
        slope = float((Fraction(depth) - 2) / Fraction(depth))
        w = float(np.log1p(half_excess)) - slope * torch.log(size)
        near = w.abs() < 0.5
        power = Fraction(2) / Fraction(depth)
        low = float(power - Fraction(float(power)))
        far = size - (depth / 2) * torch.pow(size, float(power)) * torch.exp(low * torch.log(size))
        value = torch.where(near, -size * torch.expm1(torch.where(near, w, torch.zeros_like(w))), far)
    # at ±∞ the difference is of two infinities, of which |x| is the larger
    value = torch.where(infinite, z.abs(), value)
    return torch.where(zero, torch.zeros_like(value), value).to(dtype)


# -- inputs ---------------------------------------------------------------------------------------------------------


def _as_tensor(name: str, value: Any) -> tuple[Tensor, torch.dtype]:
    """``value`` in float64, and the dtype to give back."""
    check_unmasked(name, value)
    if isinstance(value, Tensor):
        if value.is_complex():
            raise InputError(f"{name} must be real, got {value.dtype}")
        dtype = value.dtype if value.dtype.is_floating_point else torch.float64
        return value.to(torch.float64), dtype
    try:
        return torch.as_tensor(np.asarray(value, dtype=np.float64).copy()), torch.float64
    except (TypeError, ValueError):
        raise InputError(f"{name} must be a real number or an array of them, got {type(value).__name__}") from None


def _check_domain(t: Tensor, pole: bool) -> None:
    outside = ~(t.abs() <= 1) if pole else torch.isnan(t)
    if bool(outside.any()):
        rule = "lie in [-1, 1] for p > 2" if pole else "be a number"
        raise InputError(f"tau must {rule}, got {float(t.detach()[outside].flatten()[0])}")


def _distances(t: Tensor, u: Any, v: Any) -> tuple[Tensor, Tensor]:
    """(u, v), computed from τ where the caller gave none; constants for differentiation."""
    found = []
    for name, given, sign in (("u", u, -1), ("v", v, 1)):
        if given is None:
            found.append((1 + sign * t).detach())
            continue
        value = _as_tensor(name, given)[0].detach().to(t.device).broadcast_to(t.shape)
        if not bool((value > 0).all()):
            raise InputError(f"{name} must be > 0, the distance to the pole, got {float(value.min())}")
        found.append(value)
    return found[0], found[1]


def _ratio(p: float) -> Fraction:
    """k = p/(p − 2) of the float64 p, exactly."""
    return Fraction(p) / (Fraction(p) - 2)


# -- the numerics -----------------------------------------------------------------------------------------------------


def _power(t: Tensor, base: Tensor, sign: int, exponent: Fraction) -> Tensor:
    """(1 + sign·τ)^{−exponent} to a few ulp, with ``base`` the rounded (or the caller's better) 1 + sign·τ.

    The rounding error e of ``base``, known exactly where |τ| < 1/2, and the one of the exponent enter to first order.
    """
    high = float(exponent)
    low = float(exponent - Fraction(high))
    remainder = torch.where(t.abs() < 0.5, (1 - base) + sign * t, torch.zeros_like(t))
    shift = -high * remainder / base - low * torch.log(base)
    shift = torch.where(base > 0, shift, torch.zeros_like(shift))
    return torch.pow(base, -high) * torch.exp(shift)


def _atanh(t: Tensor, u: Tensor, v: Tensor) -> Tensor:
    return torch.where(t.abs() < 0.5, torch.atanh(t.clamp(-0.6, 0.6)), 0.5 * (torch.log(v) - torch.log(u)))


def log_cosh(a: Tensor) -> Tensor:
    """log cosh a for any a, with relative accuracy at 0."""
    size = a.abs()
    near = 0.5 * torch.log1p(torch.sinh(size.clamp(max=1.0)) ** 2)
    return torch.where(size <= 1, near, size + torch.log1p(torch.exp(-2 * size)) - _LOG2)


class _PowerPair(torch.autograd.Function):
    """u^{−e} − v^{−e} (odd) or u^{−e} + v^{−e} (even) in τ; the derivative is e times the other one at e + 1."""

    @staticmethod
    def forward(ctx: Any, t: Tensor, u: Tensor, v: Tensor, exponent: Fraction, even: bool) -> Tensor:
        ctx.save_for_backward(t, u, v)
        ctx.exponent, ctx.even = exponent, even
        left, right = _power(t, u, -1, exponent), _power(t, v, 1, exponent)
        if even:
            return left + right
        # u^{−e} − v^{−e} = 2 sinh(e a) cosh(a)^e with a = atanh τ, where the difference would cancel.
        a = _atanh(t, u, v)
        e = float(exponent)
        small = (e * a).abs() < 1
        x = torch.where(small, a, torch.zeros_like(a))
        return torch.where(small, 2 * torch.sinh(e * x) * torch.exp(e * log_cosh(x)), left - right)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:  # pyright: ignore
        t, u, v = ctx.saved_tensors
        slope = _PowerPair.apply(t, u, v, ctx.exponent + 1, not ctx.even)
        return grads[0] * float(ctx.exponent) * slope, None, None, None, None


def _integral(t: Tensor, u: Tensor, v: Tensor, p: float) -> Tensor:
    """H_p(τ) = (u^{−j} + v^{−j} − 2)/j with j = 2/(p − 2) = k − 1."""
    exponent = 2 / (Fraction(p) - 2)
    j = float(exponent)
    a = _atanh(t, u, v)
    # u^{−j} + v^{−j} = 2 cosh(j a) cosh(a)^j.
    log_mean = log_cosh(j * a) + j * log_cosh(a)
    small = log_mean < 1
    near = 2 * torch.expm1(torch.where(small, log_mean, torch.zeros_like(log_mean)))
    far = _power(t, u, -1, exponent) + _power(t, v, 1, exponent) - 2
    return torch.where(small, near, far) / j


class _PotentialH(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, t: Tensor, u: Tensor, v: Tensor, p: float) -> Tensor:
        ctx.save_for_backward(t, u, v)
        ctx.p = p
        return _integral(t, u, v, p)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:  # pyright: ignore
        t, u, v = ctx.saved_tensors
        return grads[0] * _PowerPair.apply(t, u, v, _ratio(ctx.p), False), None, None, None


def _asinh_half_h(b: Tensor, k: float) -> tuple[Tensor, Tensor]:
    """asinh(h_p/2) at τ = tanh(b/k), b >= 0, and its slope in b (between 1 and 2): h_p = 2 sinh b cosh^k(b/k)."""
    near = b < 25  # beyond, asinh(h/2) = log h to the last bit, and h may overflow
    inner = torch.where(near, b, torch.zeros_like(b))
    value = torch.asinh(torch.sinh(inner) * torch.exp(k * log_cosh(inner / k)))
    outer = torch.where(near, torch.ones_like(b), b)
    log_h = outer + torch.log1p(-torch.exp(-2 * outer)) + k * log_cosh(outer / k)
    value = torch.where(near, value, log_h)
    # d log h/db = coth b + tanh(b/k), and d asinh(h/2)/d log h = h/√(4 + h²) = tanh(value).
    tiny = b < 1e-8
    cotangent = 1 / torch.tanh(torch.where(tiny, torch.ones_like(b), b))
    slope = torch.tanh(value) * (cotangent + torch.tanh(b / k))
    return value, torch.where(tiny, torch.ones_like(b), slope)


def _solve(x: Tensor, p: float) -> tuple[Tensor, Tensor, Tensor]:
    """(τ, u, v) with h_p(τ) = x, by Newton on asinh(h_p/2), which has slope between 1 and 2 in b = k atanh τ."""
    k = float(_ratio(p))
    size = x.abs()
    infinite = torch.isinf(size)
    size = torch.where(infinite, torch.ones_like(size), size)
    target = torch.asinh(size / 2)
    lower, upper = target / 2, target.clone()
    b = target / (1 + torch.tanh(target / k))
    for _ in range(_NEWTON_STEPS):
        value, slope = _asinh_half_h(b, k)
        error = value - target
        upper = torch.where(error >= 0, torch.minimum(upper, b), upper)
        lower = torch.where(error <= 0, torch.maximum(lower, b), lower)
        b = torch.minimum(torch.maximum(b - error / slope, lower), upper)
    t = torch.tanh(b / k)
    u = 2 / (1 + torch.exp(2 * b / k))
    # Close to the pole u = (x + v^{−k})^{−1/k}, v = 2 − u, is a contraction that pins u to a few ulp.
    root = 1 / _ratio(p)
    base = size + torch.pow(2 - u, -k)
    sharp = torch.pow(base, -float(root)) * torch.exp(-float(root - Fraction(float(root))) * torch.log(base))
    u = torch.where(infinite, torch.zeros_like(u), torch.where(t > 0.5, sharp, 1 - t))
    t = torch.where(infinite | (t > 0.5), 1 - u, t)
    v = 1 + t
    negative = x < 0
    return torch.where(negative, -t, t), torch.where(negative, v, u), torch.where(negative, u, v)


class _HInverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> tuple[Tensor, Tensor, Tensor]:
        t, u, v = _solve(x, p)
        ctx.save_for_backward(x)
        ctx.p = p
        ctx.mark_non_differentiable(u, v)
        return t, u, v

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # pyright: ignore
        (x,) = ctx.saved_tensors
        t, u, v = _HInverse.apply(x, ctx.p)
        k = _ratio(ctx.p)
        slope = float(k) * _PowerPair.apply(t, u, v, k + 1, True)
        return grads[0] / slope, None


class _PotentialQ(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.p = p
        if p == 2:
            t = torch.asinh(x / 2)
            # xτ − 2(cosh τ − 1); cosh τ − 1 = (x/2) tanh(τ/2) since x = 2 sinh τ.
            return torch.where(x == 0, torch.zeros_like(x), x * (t - torch.tanh(t / 2)))
        t, u, v = _solve(x, p)
        return torch.where(torch.isinf(x), x.abs(), x * t - _integral(t, u, v, p))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # pyright: ignore
        (x,) = ctx.saved_tensors
        tau = torch.asinh(x / 2) if ctx.p == 2 else _HInverse.apply(x, ctx.p)[0]
        return grads[0] * tau, None
