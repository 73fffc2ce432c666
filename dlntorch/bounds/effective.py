"""Where a run really started: the initialization from which the flow ends where the optimizer did.

Notation: ψ = θ₊^p − θ₋^p, g = Aᵀ(y − Aψ), ν = Aᵀs, c = p(p − 2). Along the flow from α± the numbers

    p > 2:  w± = θ±^{2−p} ± cν  (= α±^{2−p}),        p = 2:  ln α± = ln θ± ∓ 2ν

do not move. A discrete step moves them, and that is all it does to the answer:

**Theorem.** Let θ± have no zero entry, Aψ = y, and let s be any vector for which w± = |θ±|^{2−p} ± cAᵀs > 0 (p = 2: any s).
Then ψ is the limit of the flow that starts from α± = w±^{1/(2−p)} (p = 2: α± = |θ±|e^{∓2Aᵀs}).

*Proof.* The limit of the flow from α± is the only ψ' with Aψ' = y and ψ' = Ψ(ν'), ν' in range(Aᵀ), Ψ the mirror of the start α±
(:mod:`dlntorch.model.mirror`): the dual of a strictly convex problem. By the choice of α±, ψ = Ψ(Aᵀs). ∎

Different s give different starts of one and the same limit. Two parts do not depend on s: α_e, by α_e^{2−p} = ½(w₊ + w₋)
(p = 2: α_e² = α₊α₋), and the part of ν₀ = (w₋ − w₊)/(2c) (p = 2: ¼ ln(α₊/α₋)) outside range(Aᵀ), the *tilt*. So the start is
known from θ alone: w± = α_e^{2−p} ∓ cν₀ with ν₀ the orthogonal projection of (θ₋^{2−p} − θ₊^{2−p})/(2c).

Plain (S)GD never lets w± decrease: a step with the relative change x = ηpθ^{p−2}g of θ₊ adds
θ₊^{2−p}[(1 + x)^{2−p} − 1 + (p − 2)x] >= 0 to w₊, and at p = 2 it adds ln(1 − x²) to ln(θ₊θ₋). So the *gain* −ln(α_e²/α²) is
>= 0 whatever the steps and the batches are.

As α → 0 the run ends at the minimiser of the weighted norm Σ w₊ψ⁺ + w₋ψ⁻ (p > 2). At p = 2 the weights are all 1: the gain
and the tilt are in the selector, min Σ|ψ|(ln|ψ| − 1 − ln α±²).

Sources: Even, Pesme, Gunasekar and Flammarion, NeurIPS 2023, for p = 2; arXiv 2307.07410, section 2, for the closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.bounds.row_complement import RowComplement
from dlntorch.model import Initialization, Nonnegative, Parametrization, Power, Product, as_parametrization
from dlntorch.numerics.threads import with_few_threads
from dlntorch.numerics.trajectory import short_repr
from dlntorch.numerics.validation import InputError, check_unmasked
from dlntorch.problem import Problem

__all__ = ["Effective", "effective_initialization", "unknown"]

_SHARE = 0.5  # of the smallest weight of the end itself that every weight keeps where the projection leaves the domain


@dataclass(frozen=True)
class Effective:
    """The start that a run amounts to; vectors have shape (n,), float64 on the CPU.

    Attributes:
        initialization: α±_eff: the flow from here ends at the run's ψ. None with ``reason`` where it is not known.
        weights_plus: w₊ = (α₊_eff/α₊)^{2−p}, what the steps made of the weight of ψ⁺ in the norm that is minimised; 1 at p = 2.
        weights_minus: w₋ likewise; None where there is no θ₋.
        gain: −ln(α_e²/α²), >= 0 after plain (S)GD with two-sided parameters.
        tilt: The part of ν(θ) − ν(start) outside range(Aᵀ), in the unit of ν (which has the size α^{2−p}).
        relative_tilt: The same in the unit of τ, cα^{p−2} times it (4 times at p = 2): beside ``weights`` − 1.
        sign_changes: Entries of θ that are negative (even p): the flow from α_eff is the one of |θ|.
        reason: What a user should know in one line, else empty.
    """

    initialization: Initialization | None
    weights_plus: Tensor | None
    weights_minus: Tensor | None
    gain: Tensor | None
    tilt: Tensor | None
    relative_tilt: Tensor | None
    sign_changes: int = 0
    reason: str = ""

    __repr__ = short_repr


@with_few_threads
def effective_initialization(
    problem: Problem,
    p: float | Parametrization,
    theta_plus: Any,
    theta_minus: Any = None,
    alpha: Any = None,
    *,
    s: Any = None,
    nu: Any = None,
) -> Effective:
    """The initialization from which the gradient flow ends at the ψ of θ₊, θ₋, whatever made them.

    Args:
        problem: (A, y), dense; only range(Aᵀ) is used.
        p: Depth, or a parametrization: :class:`Power`, :class:`Nonnegative` (θ in ``theta_plus``, which needs ``alpha``, ``s``
            or ``nu``), :class:`Product` of 2, 3 or 4 layers (u₁ = … = u_{L−1} in ``theta_plus``, u_L in ``theta_minus``).
        theta_plus: θ₊ at the end, shape (n,).
        theta_minus: θ₋ at the end, shape (n,).
        alpha: Where the run started, a number, a vector (n,) or an :class:`Initialization`: what ``gain``, ``weights`` and
            ``tilt`` are relative to. None: to the largest α_e.
        s: The accumulated Σ η(y − Aψ), shape (m,), where it is known: w± = θ±^{2−p} ± cAᵀs exactly, instead of the projection.
        nu: Aᵀs, shape (n,), in place of s.

    Returns:
        :class:`Effective`. Where |Aψ − y| is not 0, the limit is that of (A, Aψ) in place of (A, y).

    Raises:
        InputError: shapes that do not match, numbers that are not finite, a zero entry of θ; a negative entry at odd or
            fractional p; both s and nu; an s for which a weight is not positive; numbers that leave float64 beside alpha.

    Example:
        >>> problem = Problem([[1.0, 0.5]], [1.0])
        >>> end = effective_initialization(problem, 3, [1.0, 0.3], [0.05, 0.07], alpha=0.1)
        >>> [round(float(w), 3) for w in end.weights_plus]
        [1.079, 0.823]
    """
    form = as_parametrization(p)
    n = problem.n
    plus = _vector("theta_plus", theta_plus, n)
    minus = None if theta_minus is None else _vector("theta_minus", theta_minus, n)
    if (minus is None) != isinstance(form, Nonnegative):
        rule = "left out" if isinstance(form, Nonnegative) else "given"
        raise InputError(
            f"theta_minus must be {rule} with {form.name}, got {'a vector' if minus is not None else None}"
        )
    moved = _moved(problem, s, nu)
    start = None if alpha is None else form.start(alpha, n).numpy()
    if isinstance(form, Power) and minus is not None:
        changes = _check_signs(form.p, plus, minus)
        sides = np.abs(np.stack([plus, minus]))
        solve = _entropy if form.p == 2 else _power
        return solve(RowComplement(problem), form.p, sides, start, moved, changes)
    if isinstance(form, Nonnegative):
        changes = _check_signs(form.p, plus)
        return _one_sided(RowComplement(problem), form.p, np.abs(plus), start, moved, changes)
    if isinstance(form, Product) and minus is not None and form.layers in (2, 3, 4):
        from dlntorch.bounds.effective_product import product_effective

        return product_effective(RowComplement(problem), form.layers, plus, minus, start, moved)
    return unknown(f"{form.name} has no closed form of its invariants")


# -- depth p ------------------------------------------------------------------------------------------------------


def _power(
    outside: RowComplement,
    p: float,
    theta: np.ndarray,
    start: np.ndarray | None,
    moved: np.ndarray | None,
    changes: int,
) -> Effective:
    """p > 2, in units of ref^{2−p}: all numbers are powers of ratios, so that scales from 1e-150 to 1e10 are alike."""
    ref = float(theta.min())
    u, v = _ratio_power(theta, ref, 2 - p)
    mean = 0.5 * (u + v)
    scale = ref * mean ** (1 / (2 - p))  # α_e
    begin = np.full_like(theta, scale.max()) if start is None else start
    u0, v0 = _ratio_power(begin, ref, 2 - p)
    half, half0, reason = 0.5 * (v - u), 0.5 * (v0 - u0), ""
    shift = outside.part(half - half0)
    if moved is None:
        kept, reason = _inside(half0 + shift, half, mean)
    else:
        kept = half - p * (p - 2) * ref ** (p - 2) * moved
        if not np.all(np.abs(kept) < mean):
            raise InputError("s must leave theta^(2-p) ± c A^T s positive, got one for which an entry is not")
    weights, unit0 = np.stack([mean - kept, mean + kept]), 0.5 * (u0 + v0)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # _result refuses what leaves float64
        relative = weights / np.stack([u0, v0])
        gain = 2 / (p - 2) * np.log(mean / unit0)
        raw = shift / (p * (p - 2)) * np.power(ref, 2 - p)
        tilt = shift / unit0
        ends = ref * weights ** (1 / (2 - p))
    return _result(ends, relative, gain, raw, tilt, changes=changes, reason=reason)


def _entropy(
    outside: RowComplement,
    p: float,
    theta: np.ndarray,
    start: np.ndarray | None,
    moved: np.ndarray | None,
    changes: int,
) -> Effective:
    """p = 2: ln α±_eff = ln α_e ± 2ν₀."""
    logs = np.log(theta)
    begin = np.full_like(theta, np.exp(0.5 * logs.sum(axis=0).max())) if start is None else start
    change = _log_ratio(theta, begin)
    gain = -change.sum(axis=0)
    tilt = outside.part(0.25 * (change[0] - change[1]))
    if moved is None:
        ends = np.log(begin) - 0.5 * gain + np.stack([2 * tilt, -2 * tilt])
    else:
        ends = logs + np.stack([-2 * moved, 2 * moved])
    return _result(np.exp(ends), np.ones_like(theta), gain, tilt, 4 * tilt, changes=changes)


def _one_sided(
    outside: RowComplement,
    p: float,
    theta: np.ndarray,
    start: np.ndarray | None,
    moved: np.ndarray | None,
    changes: int,
) -> Effective:
    """ψ = θ^p: θ^{2−p} (ln θ at p = 2) moves in range(Aᵀ), and has no invariant of its own."""
    if start is None and moved is None:
        return unknown("Nonnegative needs alpha, or the accumulated s: theta alone has no invariant but its tilt")
    begin = theta if start is None else start[0]
    ref = float(theta.min())
    if p == 2:
        change = _log_ratio(theta, begin)
        tilt = outside.part(0.5 * change)
        logs = np.log(begin) + 2 * tilt if moved is None else np.log(theta) - 2 * moved
        gain = -2 * (2 * tilt if moved is None else logs - np.log(begin))
        return _result(np.exp(logs)[None], np.ones_like(theta)[None], gain, tilt, 4 * tilt, changes=changes)
    u, u0, reason = _ratio_power(theta, ref, 2 - p), _ratio_power(begin, ref, 2 - p), ""
    shift = outside.part(u - u0)
    if moved is None:
        # Any s will do: the weights on the way from the projection to θ itself, the first that are positive.
        kept, reason = _inside(u - u0 - shift, np.zeros_like(u), u)
    else:
        kept = -p * (p - 2) * ref ** (p - 2) * moved
        if not np.all(kept < u):
            raise InputError("s must leave theta^(2-p) + c A^T s positive, got one for which an entry is not")
    weights = u - kept
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        raw = -shift / (p * (p - 2)) * np.power(ref, 2 - p)
        relative, tilt = weights / u0, -shift / u0
        gain = 2 / (p - 2) * np.log(relative)
        ends = ref * weights ** (1 / (2 - p))
    return _result(ends[None], relative[None], gain, raw, tilt, changes=changes, reason=reason)


def _inside(kept: np.ndarray, end: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, str]:
    """``kept``, or the first point from it to ``end`` where every weight, mean − |kept|, is well positive.

    Both belong to starts with one limit, and so does all between them.
    """
    room, need = mean - np.abs(kept), _SHARE * (mean - np.abs(end))
    if np.all(room > 0):
        return kept, ""
    short = room < need
    parts = (need - room)[short] / ((mean - np.abs(end)) - room)[short]
    share = float(parts.max())
    why = "the start nearest to alpha is not positive: another one with the same limit is given"
    return (1 - share) * kept + share * end, why


# -- what they share ----------------------------------------------------------------------------------------------


def _result(
    ends: np.ndarray,
    relative: np.ndarray,
    gain: np.ndarray,
    tilt: np.ndarray,
    relative_tilt: np.ndarray,
    *,
    changes: int = 0,
    reason: str = "",
) -> Effective:
    """Tensors from arrays, ``ends`` and ``relative`` having a row for each side; refuses what is not a float64 number."""
    finite = all(np.all(np.isfinite(part)) for part in (ends, relative, gain, relative_tilt))
    if not (finite and np.all(ends > 0) and np.all(relative > 0)):
        raise InputError(
            "theta must be within float64 of alpha: (theta/alpha)^(2-p) is out of its range, got such a theta"
        )
    if not np.all(np.isfinite(tilt)):
        reason = reason or "the tilt is out of the range of float64 in the unit of nu: see relative_tilt"
    sides = [torch.from_numpy(np.ascontiguousarray(side)) for side in relative]
    return Effective(
        Initialization(*(torch.from_numpy(np.ascontiguousarray(side)) for side in ends)),
        sides[0],
        sides[1] if len(sides) > 1 else None,
        torch.from_numpy(gain),
        torch.from_numpy(tilt) if np.all(np.isfinite(tilt)) else None,
        torch.from_numpy(relative_tilt),
        changes,
        reason,
    )


def unknown(reason: str) -> Effective:
    """No answer, and why."""
    return Effective(None, None, None, None, None, None, reason=reason)


def _vector(name: str, value: Any, n: int) -> np.ndarray:
    """A finite float64 vector (n,)."""
    check_unmasked(name, value)
    try:
        data = value.detach().to("cpu", torch.float64).numpy() if isinstance(value, Tensor) else np.asarray(value)
        if data.dtype.kind not in "iuf":
            raise TypeError
        vector = data.astype(np.float64)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name} must be a vector of {n} real numbers, got {type(value).__name__}") from None
    if vector.shape != (n,):
        raise InputError(f"{name} must have shape ({n},), got shape {vector.shape}")
    if not np.all(np.isfinite(vector)):
        raise InputError(f"{name} must be finite, got {vector[~np.isfinite(vector)][0]}")
    return vector


def _check_signs(p: float, *sides: np.ndarray) -> int:
    """How many entries are negative; refuses zeros, and negative entries where θ^p has no meaning for them."""
    even = float(p).is_integer() and int(p) % 2 == 0
    for name, side in zip(("theta_plus", "theta_minus"), sides, strict=False):
        bad = side == 0 if even else side <= 0
        if np.any(bad):
            rule = "nonzero" if even else f"> 0 at p={p:g}"
            raise InputError(f"{name} must be {rule}, got {side[bad][0]:g} at [{int(np.argmax(bad))}]")
    return int(sum(np.count_nonzero(side < 0) for side in sides))


def _moved(problem: Problem, s: Any, nu: Any) -> np.ndarray | None:
    """ν = Aᵀs, where either is given."""
    if s is not None and nu is not None:
        raise InputError("s must be left out where nu is given, got both")
    if nu is not None:
        return _vector("nu", nu, problem.n)
    if s is None:
        return None
    dual = torch.from_numpy(_vector("s", s, problem.m))
    return problem.to("cpu", "float64").operator.rmatvec(dual).numpy()


def _ratio_power(x: np.ndarray, ref: float, exponent: float) -> np.ndarray:
    """(x/ref)^exponent, also where x/ref leaves float64."""
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        ratio = x / ref
        direct = ratio**exponent
        far = ~((ratio > 1e-300) & (ratio < 1e300))
        return np.where(far, np.exp(exponent * (np.log(x) - np.log(ref))), direct)


def _log_ratio(x: np.ndarray, ref: np.ndarray) -> np.ndarray:
    """ln(x/ref), to rounding near 1 and also where x/ref leaves float64."""
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        ratio = x / ref
        near = (ratio > 0.5) & (ratio < 2)
        return np.where(near, np.log1p((x - ref) / ref), np.log(x) - np.log(ref))
