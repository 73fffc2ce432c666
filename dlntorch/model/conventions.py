"""Other papers' ways to write a two-layer diagonal network, and ours: ψ = θ₊² − θ₋², L = ½‖Aψ − y‖², step η.

| paper writes | in ours |
| --- | --- |
| ψ = u∘v | u = θ₊ + θ₋, v = θ₊ − θ₋; a step γ in u and v is η = γ/2 |
| ψ = ¼(w₊² − w₋²) | w± = 2θ±; a step γ in w± is η = γ/4 |
| loss (1/(2m))‖Aψ − y‖² | L/m |

All functions take and return what they are given: floats, arrays or tensors.
"""

from __future__ import annotations

from typing import Any

from dlntorch.numerics.validation import InputError

__all__ = [
    "from_half_width",
    "from_product",
    "half_width_step",
    "mean_loss_step",
    "ours_from_half_width_step",
    "ours_from_mean_loss_step",
    "ours_from_product_step",
    "product_step",
    "to_half_width",
    "to_product",
]


def to_product(theta_plus: Any, theta_minus: Any) -> tuple[Any, Any]:
    """(u, v) with u∘v = θ₊² − θ₋²."""
    return theta_plus + theta_minus, theta_plus - theta_minus


def from_product(u: Any, v: Any) -> tuple[Any, Any]:
    """(θ₊, θ₋) of u and v."""
    return (u + v) / 2, (u - v) / 2


def to_half_width(theta_plus: Any, theta_minus: Any) -> tuple[Any, Any]:
    """(w₊, w₋) with ¼(w₊² − w₋²) = θ₊² − θ₋²."""
    return 2 * theta_plus, 2 * theta_minus


def from_half_width(w_plus: Any, w_minus: Any) -> tuple[Any, Any]:
    """(θ₊, θ₋) of w±."""
    return w_plus / 2, w_minus / 2


def product_step(eta: Any) -> Any:
    """The step γ in (u, v) that moves ψ as a step η in θ± does: it moves θ₊ by γ(gv + gu)/2 = γgθ₊, ours by 2ηgθ₊."""
    return 2 * eta


def ours_from_product_step(gamma: Any) -> Any:
    """The η of a step γ in (u, v)."""
    return gamma / 2


def half_width_step(eta: Any) -> Any:
    """The step in w± that moves ψ as a step η in θ± does: ∂L/∂w = ½∂L/∂θ and θ = w/2, so 4η."""
    return 4 * eta


def ours_from_half_width_step(gamma: Any) -> Any:
    """The η of a step γ in w±."""
    return gamma / 4


def mean_loss_step(eta: Any, m: int) -> Any:
    """The step on (1/(2m))‖Aψ − y‖² that is a step η on ½‖Aψ − y‖²: mη."""
    return eta * _rows(m)


def ours_from_mean_loss_step(gamma: Any, m: int) -> Any:
    """The η of a step γ on (1/(2m))‖Aψ − y‖²; mini-batch means of such losses have the same factor."""
    return gamma / _rows(m)


def _rows(m: Any) -> int:
    if not isinstance(m, int) or m < 1:
        raise InputError(f"m must be an integer >= 1, got {m!r}")
    return m
