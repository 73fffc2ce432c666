"""Depth p: ψ = θ₊^p − θ₋^p, its sibling at p = 2, the entropy, and the one-sided ψ = θ^p.

    p > 2:  θ± = (α±^{2−p} ∓ cν)^{−1/(p−2)},  c = p(p − 2),        p = 2:  θ± = α± e^{±2ν}.

Every start is an equal start of another scale somewhere along its curve: with α_e^{2−p} = ½(α₊^{2−p} + α₋^{2−p}) (p = 2:
α_e² = α₊α₋), which the flow keeps, ψ = α_e^p h_p(τ₀ + cα_e^{p−2}ν). So the scalar functions of
:mod:`dlntorch.model.potentials` serve all of them. Sources: arXiv 2307.07410, sections 2 and 4; Even et al. 2023 for p = 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.model.depth_law import DepthLaw, depth_law
from dlntorch.model.initialization import Initialization
from dlntorch.model.mirror import Mirror
from dlntorch.model.parametrization import Parametrization
from dlntorch.model.potentials import h, h_inverse_uv, q
from dlntorch.model.selector import Selector
from dlntorch.model.slow_time import SlowTime, power_time
from dlntorch.numerics.validation import InputError, check_depth

if TYPE_CHECKING:
    from dlntorch.model.cells import CompiledCell
    from dlntorch.model.exact_curves import ExactCurve

__all__ = ["Entropy", "Nonnegative", "Power"]


class _OneDepth(Parametrization):
    """Parameters > 0 that all enter as their p-th power."""

    positive = True
    p: float  # pyright: ignore[reportIncompatibleVariableOverride]

    def start(self, alpha: Any, n: int) -> Tensor:
        return self.start_from(Initialization.of(alpha), n)

    def along(self, theta: Tensor, move: Tensor) -> Tensor:
        return self.small_start.along(theta, torch.stack([move, -move])[: self.width])

    @property
    def small_start(self) -> DepthLaw:  # pyright: ignore[reportIncompatibleVariableOverride]
        return depth_law(self.p)

    @property
    def slow_time(self) -> SlowTime:  # pyright: ignore[reportIncompatibleVariableOverride]
        return power_time(self.p)

    @property
    def selector_reason(self) -> str:
        return ""

    @property
    def signed(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """θ^p has a value and a slope for θ < 0 where p is an even integer: a sign change is then counted, not an end."""
        return self.p % 2 == 0

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), self.p))


class Power(_OneDepth):
    """ψ = θ₊^p − θ₋^p for a real depth p >= 2, the network of arXiv 2307.07410.

    θ has the rows θ₊ and θ₋, both α at the start. ``Power(2)`` is an :class:`Entropy`.

    Args:
        p: Depth, a finite real number >= 2.

    Raises:
        InputError: naming p.

    Example:
        >>> Power(3).value(torch.tensor([[2.0], [1.0]]))
        tensor([7.])
    """

    width = 2

    def __new__(cls, p: Any) -> Power:
        return object.__new__(Entropy if cls is Power and p == 2 else cls)

    def __init__(self, p: Any) -> None:
        self.p = self.depth = check_depth(p)

    def value(self, theta: Tensor) -> Tensor:
        return theta[0] ** self.p - theta[1] ** self.p

    def slope(self, theta: Tensor) -> Tensor:
        powers = self.p * theta ** (self.p - 1)
        return torch.stack([powers[0], -powers[1]])

    def curvature(self, theta: Tensor) -> Tensor:
        bend = self.p * (self.p - 1) * self._growth(theta)
        out = bend.new_zeros((2, 2, theta.shape[-1]))
        out[0, 0], out[1, 1] = bend[0], -bend[1]
        return out

    def start_from(self, initialization: Initialization, n: int) -> Tensor:
        theta = torch.stack(initialization.expanded(n))
        if not bool((theta > 0).all()):
            raise InputError(f"alpha must be > 0 with {self.name}, got {float(theta.min())}")
        return theta

    def cell(self) -> CompiledCell:
        from dlntorch.model.power_cells import two_sided

        return two_sided(self.p)

    def mirror(self, start: Tensor) -> Mirror:
        return _PowerMirror(self, start)

    def exact_curve(self, theta: Sequence[Any]) -> ExactCurve | None:
        from dlntorch.model.exact_curves import power_curve

        return power_curve(self.p, *theta)

    def selector(self, initialization: Initialization | None, n: int) -> Selector:
        if initialization is None:
            return Selector.equal(self.p, n)
        theta = self.start_from(initialization, n)
        return Selector.of(self.p, theta[0], theta[1])

    def slopes(self, theta: Sequence[Tensor]) -> tuple[Tensor, ...]:
        plus, minus = theta
        return self.p * plus ** (self.p - 1), -self.p * minus ** (self.p - 1)

    def bend(self, theta: Sequence[Tensor], g: Tensor, v: Sequence[Tensor]) -> tuple[Tensor, ...]:
        bend = self.p * (self.p - 1) * g
        return bend * theta[0] ** (self.p - 2) * v[0], -bend * theta[1] ** (self.p - 2) * v[1]

    def _growth(self, theta: Tensor) -> Tensor:
        return theta ** (self.p - 2)

    def extremes(self, theta: Tensor | Sequence[Tensor], g: Tensor) -> Tensor:
        """max of max(θ₊, θ₋)^{p−2}|g| and of θ₊^{2p−2} + θ₋^{2p−2}, shape (2,)."""
        plus, minus = theta
        growth = self._growth(torch.maximum(plus.abs(), minus.abs()) if self.signed else torch.maximum(plus, minus))
        tops = (plus ** (self.p - 1)) ** 2 + (minus ** (self.p - 1)) ** 2
        return torch.stack([(growth * g.abs()).max(), tops.max()])

    def limits(self, extremes: list[float], squared_norm: float) -> tuple[float, float]:
        """ρ = p max θ^{p−2}|g| and Λ = p²‖A‖² max(θ₊^{2p−2} + θ₋^{2p−2}) + (p − 1)ρ."""
        steepest, top = extremes
        rho = self.p * steepest
        return rho, self.p * self.p * squared_norm * top + (self.p - 1) * rho

    def step_weight(self, x: np.ndarray) -> np.ndarray:
        """By how much θ → (1 + x)θ misses the flow's θ^{2−p}, relative to it: what a step adds to the weight α^{2−p} of its side.

        At p = 2 the weight is −ln α, and what a step adds is absolute.
        """
        return np.expm1((2 - self.p) * np.log1p(x)) + (self.p - 2) * x

    def weight(self, alpha: float) -> float:
        """The weight of a start α, relative to α^{2−p}: 1; at p = 2 −ln α."""
        return 1.0

    def heavier(self, alpha: float, added: np.ndarray) -> np.ndarray:
        """The start whose weight is that of α and ``added``."""
        return alpha * (1 + added) ** (1 / (2 - self.p))

    def __repr__(self) -> str:
        return f"Power({self.p:g})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Power, (self.p,)


class Entropy(Power):
    """Depth 2, ψ = θ₊² − θ₋²: its potential is the hyperbolic entropy, and its limit α → 0 the entropy itself."""

    lasso = True

    def mirror(self, start: Tensor) -> Mirror:
        return _EntropyMirror(self, start)

    def step_weight(self, x: np.ndarray) -> np.ndarray:
        return x - np.log1p(x)

    def weight(self, alpha: float) -> float:
        return -math.log(alpha)

    def heavier(self, alpha: float, added: np.ndarray) -> np.ndarray:
        return alpha * np.exp(-added)

    def _growth(self, theta: Tensor) -> Tensor:
        return torch.ones_like(theta)


class _TwoSidedMirror(Mirror):
    """What depth 2 and depths above share: ψ = α_e^p h_p(τ₀ + c_e ν), with ``scale`` α_e, ``rate`` c_e, ``shift`` τ₀."""

    scale: Tensor
    rate: Tensor
    shift: Tensor

    def __init__(self, parametrization: Power, start: Tensor) -> None:
        super().__init__(parametrization, start)
        self.p = parametrization.p

    def nu(self, psi: Tensor) -> Tensor:
        return (h_inverse_uv(psi / self.scale**self.p, self.p)[0] - self.shift) / self.rate

    def potential(self, psi: Tensor) -> Tensor:
        """Q = (α_e^p [q_p(ψ/α_e^p) − q_p(ψ(0)/α_e^p)] − τ₀(ψ − ψ(0))) / c_e."""
        unit = self.scale**self.p
        bregman = unit * (q(psi / unit, self.p) - q(self.origin / unit, self.p))
        return (bregman - self.shift * (psi - self.origin)) / self.rate


class _PowerMirror(_TwoSidedMirror):
    """p > 2: u = (α_e/θ₊)^{p−2} = 1 − τ and v = (α_e/θ₋)^{p−2} = 1 + τ move by ∓c_e per unit of ν."""

    def __init__(self, parametrization: Power, start: Tensor) -> None:
        super().__init__(parametrization, start)
        e = 2 - self.p
        largest = self.start.amin(dim=0)  # whose power e is the largest: divide by it before the mean is taken
        u, v = (self.start / largest) ** e
        self.scale = largest * (0.5 * (u + v)) ** (1 / e)
        self.rate = self.p * (self.p - 2) * self.scale ** (self.p - 2)
        self.shift = (v - u) / (u + v)
        self._origin_uv = 2 * u / (u + v), 2 * v / (u + v)

    def theta(self, psi: Tensor) -> Tensor:
        _, u, v = h_inverse_uv(psi / self.scale**self.p, self.p)
        return self.scale * torch.stack([u, v]) ** (-1 / (self.p - 2))

    def psi(self, nu: Tensor) -> Tensor:
        u0, v0 = self._origin_uv
        step = self.rate * nu
        return self._value(self.shift + step, u0 - step, v0 + step)

    def after(self, psi: Tensor, step: Tensor) -> Tensor:
        tau, u, v = h_inverse_uv(psi / self.scale**self.p, self.p)
        moved = self.rate * step
        return self._value(tau + moved, u - moved, v + moved)

    def difference(self, before: Tensor, after: Tensor) -> Tensor:
        (tau, u, v), (new_tau, new_u, new_v) = (h_inverse_uv(x / self.scale**self.p, self.p) for x in (before, after))
        above, below = (before > 0) & (after > 0), (before < 0) & (after < 0)
        return torch.where(above, u - new_u, torch.where(below, new_v - v, new_tau - tau)) / self.rate

    def _value(self, tau: Tensor, u: Tensor, v: Tensor) -> Tensor:
        inside = (u > 0) & (v > 0) & tau.isfinite()
        one = torch.ones_like(u)
        tau, u, v = (
            torch.where(inside, tau.clamp(-1, 1), 0 * one),
            torch.where(inside, u, one),
            torch.where(inside, v, one),
        )
        return torch.where(inside, self.scale**self.p * h(tau, self.p, u=u, v=v), torch.nan)


class _EntropyMirror(_TwoSidedMirror):
    """p = 2: θ± = α_e e^{±τ/2}, τ = τ₀ + 4ν, τ₀ = ln(α₊/α₋), ψ = 2α_e² sinh τ."""

    def __init__(self, parametrization: Power, start: Tensor) -> None:
        super().__init__(parametrization, start)
        self.scale = self.start[0].sqrt() * self.start[1].sqrt()
        self.rate = torch.full_like(self.scale, 4.0)
        self.shift = torch.log(self.start[0]) - torch.log(self.start[1])

    def theta(self, psi: Tensor) -> Tensor:
        half = 0.5 * h_inverse_uv(psi / self.scale**2, 2)[0]
        return self.scale * torch.exp(torch.stack([half, -half]))

    def psi(self, nu: Tensor) -> Tensor:
        return self.scale**2 * h(self.shift + 4 * nu, 2)

    def difference(self, before: Tensor, after: Tensor) -> Tensor:
        return (h_inverse_uv(after / self.scale**2, 2)[0] - h_inverse_uv(before / self.scale**2, 2)[0]) / self.rate

    def after(self, psi: Tensor, step: Tensor) -> Tensor:
        """2 sinh(τ + δ) from 2 sinh τ = x: x cosh δ + √(4 + x²) sinh δ, without a sum that cancels."""
        x = psi / self.scale**2
        return psi + self.scale**2 * (
            2 * x * torch.sinh(2 * step) ** 2 + torch.hypot(x, 2 * torch.ones_like(x)) * torch.sinh(4 * step)
        )


class Nonnegative(_OneDepth):
    """ψ = θ^p >= 0, one parameter a coordinate: as α → 0 its flow ends at the least Σψ over {Aψ = y, ψ >= 0}.

    Where no ψ >= 0 has Aψ = y the flow has no limit of its residual at 0: it approaches nonnegative least squares.

    Args:
        p: Depth, a finite real number >= 2.
    """

    width = 1
    one_sided = True

    def __init__(self, p: Any) -> None:
        self.p = check_depth(p)

    def exact_curve(self, theta: Sequence[Any]) -> ExactCurve | None:
        from dlntorch.model.exact_curves import nonnegative_curve

        return nonnegative_curve(self.p, *theta)

    def value(self, theta: Tensor) -> Tensor:
        return theta[0] ** self.p

    def slope(self, theta: Tensor) -> Tensor:
        return self.p * theta ** (self.p - 1)

    def curvature(self, theta: Tensor) -> Tensor:
        return (self.p * (self.p - 1) * theta ** (self.p - 2))[None]

    def start_from(self, initialization: Initialization, n: int) -> Tensor:
        plus, minus = initialization.expanded(n)
        if not torch.equal(plus, minus):
            raise InputError(f"alpha must have no theta_minus with {self.name}, got {initialization!r}")
        if not bool((plus > 0).all()):
            raise InputError(f"alpha must be > 0 with {self.name}, got {float(plus.min())}")
        return plus[None]

    def cell(self) -> CompiledCell:
        from dlntorch.model.power_cells import one_sided

        return one_sided(self.p)

    def mirror(self, start: Tensor) -> Mirror:
        return _NonnegativeMirror(self, start)

    def selector(self, initialization: Initialization | None, n: int) -> Selector:
        if initialization is None:
            return Selector.equal(self.p, n, nonnegative=True)
        return Selector.of(self.p, self.start_from(initialization, n)[0], None)

    def __repr__(self) -> str:
        return f"Nonnegative({self.p:g})"


class _NonnegativeMirror(Mirror):
    """ν = −α^{2−p} expm1(((2−p)/p) ln(ψ/α^p)) / (p(p−2)), or ¼ ln(ψ/α²) at p = 2: one formula, in x = ln(ψ/ψ(0))."""

    def __init__(self, parametrization: Nonnegative, start: Tensor) -> None:
        super().__init__(parametrization, start)
        self.p = parametrization.p
        self.fall = (self.p - 2) / self.p
        self.unit = self.start[0] ** (2 - self.p) / self.p**2  # dν/dx at the start

    def theta(self, psi: Tensor) -> Tensor:
        return psi[None] ** (1 / self.p)

    def nu(self, psi: Tensor) -> Tensor:
        return self.unit * _relative_expm1(-torch.log(psi / self.origin), self.fall)

    def psi(self, nu: Tensor) -> Tensor:
        return self.after(self.origin, nu)

    def after(self, psi: Tensor, step: Tensor) -> Tensor:
        scaled = step * self.p**2 / psi ** (2 / self.p - 1)  # the step in x to first order
        if self.fall == 0:
            return psi * torch.exp(scaled)
        left = 1 - self.fall * scaled
        return torch.where(left > 0, psi * torch.exp(-torch.log1p(-self.fall * scaled) / self.fall), torch.nan)

    def difference(self, before: Tensor, after: Tensor) -> Tensor:
        x = torch.log(after / before)
        return before ** (2 / self.p - 1) / self.p**2 * _relative_expm1(-x, self.fall)

    def nu_step(self, psi: Tensor, step: Tensor) -> Tensor:
        x = torch.log1p(step / psi)
        return psi ** (2 / self.p - 1) / self.p**2 * _relative_expm1(-x, self.fall)

    def potential(self, psi: Tensor) -> Tensor:
        """∫ν dψ, by parts: ψν − ∫ψ dν, with ψ dν = unit·ψ(0) e^{(1−fall)x} dx."""
        x = torch.log(psi / self.origin)
        return psi * self.nu(psi) - self.unit * self.origin * torch.expm1((1 - self.fall) * x) / (1 - self.fall)

    def range(self) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(self.origin), torch.full_like(self.origin, torch.inf)


def _relative_expm1(x: Tensor, rate: float) -> Tensor:
    """−expm1(rate·x)/rate, and −x at rate 0."""
    return -x if rate == 0 else -torch.expm1(rate * x) / rate
