"""The effective initialization of a product of layers, u₁ = … = u_{L−1} = u and u_L = q, for L = 2, 3, 4.

u² − q² = α_e² stays along the flow, and ν = α_e^{2−L}φ(q/u) moves in range(Aᵀ), with φ = artanh (L = 2, no pole),
arcsin (L = 3, |φ| < π/2) and the identity (L = 4, |φ| < 1). A start q₀ ≠ 0 is a tilt ν₀ = α_e^{2−L}φ(q₀/u₀).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from dlntorch.bounds.effective import Effective, unknown
from dlntorch.bounds.row_complement import RowComplement
from dlntorch.model import Initialization
from dlntorch.numerics.validation import InputError

__all__ = ["product_effective"]

# φ of q/u and √(u² − q²)/u, its inverse (q/u), the pole
_Curve = tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray], float]
_CURVES: dict[int, _Curve] = {
    2: (lambda ratio, _: np.arctanh(ratio), np.tanh, np.inf),
    3: (np.arctan2, np.sin, np.pi / 2),
    4: (lambda ratio, _: ratio, lambda x: x, 1.0),
}


def product_effective(
    outside: RowComplement,
    layers: int,
    u: np.ndarray,
    q: np.ndarray,
    start: np.ndarray | None,
    moved: np.ndarray | None,
) -> Effective:
    """The start that the flow of L layers would need; see :func:`~dlntorch.bounds.effective.effective_initialization`."""
    angle, inverse, pole = _CURVES[layers]
    changes = int(np.count_nonzero(u < 0))
    if layers % 2 == 0:  # u^{L−1}q is the same for −u, −q; at L = 3 u² is
        q = np.where(u < 0, -q, q)
    u = np.abs(u)
    _check(u, q)
    scale = np.sqrt(u - np.abs(q)) * np.sqrt(u + np.abs(q))  # α_e
    begin = np.stack([np.full_like(u, scale.max()), np.zeros_like(u)]) if start is None else start[[0, -1]]
    _check(*begin)
    scale0 = np.sqrt(begin[0] - np.abs(begin[1])) * np.sqrt(begin[0] + np.abs(begin[1]))
    ref = float(scale.min())
    unit, unit0 = (scale / ref) ** (2 - layers), (scale0 / ref) ** (2 - layers)
    nu = unit * angle(q / u, scale / u)  # in the unit ref^{2−L}
    nu0 = unit0 * angle(begin[1] / begin[0], scale0 / begin[0])
    shift = outside.part(nu - nu0)
    kept = nu0 + shift if moved is None else nu - ref ** (layers - 2) * moved
    if not np.all(np.abs(kept) < pole * unit):
        if moved is not None:
            raise InputError("s must leave the start of every layer finite, got one for which an entry is not")
        return unknown("the start nearest to alpha is beyond the pole of its curve: give s or nu")
    ratio = inverse(kept / unit)
    first = scale / np.sqrt((1 - ratio) * (1 + ratio))
    last = first * ratio
    weights = [np.ones_like(u)] * 2
    if layers > 2:
        room0 = [pole * unit0 - nu0, pole * unit0 + nu0]
        weights = [(pole * unit - kept) / room0[0], (pole * unit + kept) / room0[1]]
    reason = ""
    if np.any(last < 0):
        reason = "the last layer of the effective start has negative entries, which Initialization does not hold"
    with np.errstate(over="ignore"):
        tilt = shift * np.power(ref, 2 - layers)
    return Effective(
        None if reason else Initialization(torch.from_numpy(first), torch.from_numpy(last)),
        torch.from_numpy(weights[0]),
        torch.from_numpy(weights[1]),
        torch.from_numpy(-2 * (np.log(scale) - np.log(scale0))),
        torch.from_numpy(tilt) if np.all(np.isfinite(tilt)) else None,
        torch.from_numpy(shift / unit0),
        changes,
        reason,
    )


def _check(u: np.ndarray, q: np.ndarray) -> None:
    bad = ~(np.abs(q) < u)
    if np.any(bad):
        at = int(np.argmax(bad))
        raise InputError(
            f"theta_plus must be larger than |theta_minus| with Product, as the flow keeps it, got {u[at]:g} and {q[at]:g}"
        )
