"""The walls of a saddle-to-saddle path: how far each coordinate is from switching on, and the clock it is measured with.

As α → 0 a coordinate is invisible until its dual q_i reaches a wall, t₊ above or −t₋ below; from there on it follows a
law that α only scales. With Λ = ln(1/α), W the distance to the wall in units of ε and ε → 0 with α:

    depth p > 2        T = p(p−2)α^{p−2} t    t± = a±^{2−p}   ε = α^{p−2}   |ψ| = W^{−p/(p−2)}
    depth 2            T = 2t/Λ               t± = 1          ε = 1/(2Λ)    |ψ| = a±² e^{−W}
    product, L > 2     T = α^{L−2} t/B        t± = a^{2−L}    ε = α^{L−2}   |ψ| = ((L−2)B W)^{−L/(L−2)}
    product, L = 2     T = t/Λ                t± = 1          ε = 1/(2Λ)    |ψ| = ¼a² e^{−W}

where a± = θ±(0)/α is the start's shape and B = √π Γ((L−2)/2)/(2Γ((L−1)/2)) = ∫₀^∞ (1+x²)^{(1−L)/2} dx. A coordinate that
starts at ψ_i(0) ≠ 0, far above α^p, starts at its wall: t = 0 on that side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dlntorch.model import Initialization, Parametrization
from dlntorch.model.slow_time import SlowTime
from dlntorch.numerics.validation import InputError, check_alpha, check_number

__all__ = ["Walls", "law_of", "walls"]

#: A coordinate starts at its wall where |ψ_i(0)| is both so many times α^p, and this part of the data's own size.
WARM_OVER_START, WARM_OVER_DATA = 1e3, 1e-3


@dataclass(frozen=True)
class Walls:
    """t₊ and t₋ (n,), ψ at the start (n,) for α → 0, the scale α where one is known, and the law.

    ``shape_plus`` and ``shape_minus`` (n,) are factors of |ψ| at depth 2, where the shape moves no wall.
    """

    plus: np.ndarray
    minus: np.ndarray
    origin: np.ndarray
    scale: float | None
    law: SlowTime
    shape_plus: np.ndarray
    shape_minus: np.ndarray


def walls(parametrization: Parametrization, alpha: Any, scale: Any, n: int, data_size: float) -> Walls:
    """The walls of a network from the start ``alpha``; ``data_size`` is what entries of ψ will be like.

    Raises:
        InputError: for a parametrization whose slow time is not known, and where ``alpha`` is no start of it.
    """
    law = law_of(parametrization)
    one = np.ones(n)
    if alpha is None or not isinstance(alpha, Initialization):
        size = None if alpha is None else check_alpha(alpha)
        if scale is not None:
            raise InputError(f"scale must be left out where alpha is no Initialization, got {scale!r}")
        below = np.full(n, np.inf) if parametrization.one_sided else one
        return Walls(one, below, np.zeros(n), size, law, one, one)
    theta = parametrization.start_from(alpha, n)
    origin = parametrization.value(theta).numpy()
    plus, minus = (side.numpy() for side in alpha.expanded(n))
    if not parametrization.positive:  # layers, the last of which is signed
        if bool((minus != 0).any()):
            raise InputError(
                f"alpha must have u_L = 0 with {parametrization.name}: only then its walls are known, got {alpha!r}"
            )
        minus = plus
    least = float(min(plus.min(), minus.min()))
    size = least if scale is None else check_number("scale", scale, above=0)
    ratios = np.stack([plus, minus]) / size
    place, shape = ratios ** (2 - law.depth), law.shape(ratios)
    warm = (np.abs(origin) >= WARM_OVER_START * least**law.depth) & (np.abs(origin) >= WARM_OVER_DATA * data_size)
    for side, sign in ((0, 1), (1, -1)):
        here = warm & (sign * origin > 0)
        place[side, here], shape[side, here] = 0.0, 1.0
    if parametrization.one_sided:
        place[1] = np.inf
    return Walls(place[0], place[1], np.where(warm, origin, 0.0), size, law, shape[0], shape[1])


def law_of(parametrization: Parametrization) -> SlowTime:
    """The slow time of a network; raises :class:`InputError` where none is known."""
    if parametrization.slow_time is None:
        raise InputError(
            f"p must be a number >= 2, Power, Nonnegative or Product for a saddle path, got {parametrization!r}: "
            "no slow time of it is known"
        )
    return parametrization.slow_time
