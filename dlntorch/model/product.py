"""ψ = u₁ ∘ u₂ ∘ … ∘ u_L, the product of L layers, from u₁ = … = u_{L−1} = α and u_L = 0."""

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
from dlntorch.model.potentials import log_cosh
from dlntorch.model.selector import Selector
from dlntorch.model.slow_time import LogarithmicTime, SlowTime
from dlntorch.numerics.validation import InputError, check_count

if TYPE_CHECKING:
    from dlntorch.model.cells import CompiledCell
    from dlntorch.model.exact_curves import ExactCurve

__all__ = ["Product"]

#: Beyond so many layers α^L leaves the range of float64 for every α < 1/2.
MOST_LAYERS = 1000
_NEWTON = 40


class Product(Parametrization):
    """ψ = u₁ ∘ … ∘ u_L: the plain diagonal network with L layers of n weights.

    The flow keeps u_j² − u_L² = α², so with q = u_L the curve is q′ = (q² + α²)^{(L−1)/2}: ψ = ½α² sinh 2ν for L = 2,
    q = α tan(αν) for L = 3, and an integral for others. As α → 0 it selects the same minimiser W_L as depth p = L does.

    Args:
        layers: L, from 2 to 1000.

    Raises:
        InputError: naming ``layers``.

    Example:
        >>> Product(3).value(torch.tensor([[2.0], [3.0], [5.0]]))
        tensor([30.])
    """

    def __init__(self, layers: Any) -> None:
        self.layers = self.width = check_count("layers", layers, at_least=2, at_most=MOST_LAYERS)

    def value(self, theta: Tensor) -> Tensor:
        product = theta[0]
        for j in range(1, self.width):
            product = product * theta[j]
        return product

    def slope(self, theta: Tensor) -> Tensor:
        """∂ψ/∂u_j = Π_{k≠j} u_k, from the products of the layers before j and after it."""
        ones = torch.ones_like(theta[0])
        before, after = [ones], [ones]
        for j in range(self.width - 1):
            before.append(before[-1] * theta[j])
            after.append(after[-1] * theta[self.width - 1 - j])
        return torch.stack([a * b for a, b in zip(before, reversed(after), strict=True)])

    def curvature(self, theta: Tensor) -> Tensor:
        """∂²ψ/∂u_j∂u_k = Π_{l≠j,k} u_l, and 0 for j = k."""
        out = theta.new_zeros((self.width, *theta.shape))
        for j in range(self.width):
            for k in range(j):
                others = [i for i in range(self.width) if i not in (j, k)]
                out[j, k] = out[k, j] = theta[others].prod(dim=0)
        return out

    def start(self, alpha: Any, n: int) -> Tensor:
        if not isinstance(alpha, Initialization):
            alpha = Initialization(alpha, 0.0)
        return self.start_from(alpha, n)

    def start_from(self, initialization: Initialization, n: int) -> Tensor:
        """u₁ = … = u_{L−1} = plus and u_L = minus."""
        first, last = initialization.expanded(n)
        if not bool((first > 0).all()):
            raise InputError(f"alpha must be > 0 with {self.name}, got {float(first.min())}")
        return torch.stack([first] * (self.width - 1) + [last])

    def cell(self) -> CompiledCell:
        from dlntorch.model.product_cells import layered

        return layered(self.layers)

    def mirror(self, start: Tensor) -> Mirror:
        """Closed forms for two, three and four layers, whose first L − 1 are equal and above the last."""
        first, last = start[0], start[-1]
        balanced = bool((start[:-1] == first).all() and (first > last.abs()).all())
        return _ProductMirror(self, start) if balanced and self.layers in (2, 3, 4) else super().mirror(start)

    def along(self, theta: Tensor, move: Tensor) -> Tensor | None:
        """The curve of u₁ = … = u_{L−1} = u and u_L = q, |q| < u, for L = 2, 3, 4: s² = u² − q² stays."""
        u, q = theta[0], theta[-1]
        if self.layers not in (2, 3, 4) or not bool((theta[:-1] == u).all() and (q.abs() < u).all()):
            return None
        s_squared = (u - q) * (u + q)
        if self.layers == 2:
            return torch.stack(
                [u * torch.cosh(move) + q * torch.sinh(move), q * torch.cosh(move) + u * torch.sinh(move)]
            )
        if self.layers == 3:  # s tan of an angle that moves by s·move; u is s over its cosine
            turned = s_squared.sqrt() * move
            below = torch.cos(turned) - q * torch.sin(turned) / s_squared.sqrt()
            inside = (below > 0) & (turned.abs() < math.pi)
            new = torch.where(inside, (q * torch.cos(turned) + s_squared.sqrt() * torch.sin(turned)) / below, torch.nan)
        else:  # q = s x/√(1 − x²), where x = q/u moves by s²·move
            x = q / u + s_squared * move
            new = torch.where(x.abs() < 1, s_squared.sqrt() * x / ((1 - x) * (1 + x)).clamp_min(0).sqrt(), torch.nan)
        return torch.stack([torch.hypot(new, s_squared.sqrt())] * (self.layers - 1) + [new])

    def exact_curve(self, theta: Sequence[Any]) -> ExactCurve | None:
        from dlntorch.model.exact_curves import product_curve

        balanced = all(v == theta[0] for v in theta[:-1]) and theta[0] > abs(theta[-1])
        return product_curve(self.layers, theta[0], theta[-1]) if balanced and self.layers in (2, 3, 4) else None

    def cut_off(self, theta: Sequence[Any], scale: Any, ceiling: Any) -> list[Any]:
        """In one ratio, which the curve depends on."""
        share = min(scale, ceiling / theta[0])
        return [share * v for v in theta]

    def sides(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        if not bool((theta[:-1] == theta[0]).all()):
            raise ValueError(
                "the first layers have come apart: the steps have no effective initialization of two numbers"
            )
        return theta[0], theta[-1]

    @property
    def small_start(self) -> DepthLaw:  # pyright: ignore[reportIncompatibleVariableOverride]
        return depth_law(self.layers)

    @property
    def slow_time(self) -> SlowTime:  # pyright: ignore[reportIncompatibleVariableOverride]
        if self.layers == 2:
            return LogarithmicTime(1.0, 0.25)
        half = 0.5 * (self.layers - 2)
        whole = 0.5 * math.sqrt(math.pi) * math.exp(math.lgamma(half) - math.lgamma(half + 0.5))
        return SlowTime(self.layers, 1 / whole, (self.layers - 2) * whole)

    def selector(self, initialization: Initialization | None, n: int) -> Selector | None:
        """That of depth p = L, with a± from how far ν can move: w± = ∫ dq (q² + b²)^{(1−L)/2} from u_L to ±∞.

        b² = u₁² − u_L², and with q = b tan φ the integrals are incomplete beta functions. L = 2 is depth 2 with
        θ± = ½(u₁ ± u₂). Where |u_L| >= u₁ the curve turns, and no limit is known.
        """
        if initialization is None:
            return Selector.equal(float(self.layers), n)
        first, last = (part.numpy() for part in initialization.expanded(n))
        if not np.all(last < first):
            return None
        if self.layers == 2:
            return Selector.of(2.0, 0.5 * (first + last), 0.5 * (first - last))
        if not last.any():
            return Selector.of(float(self.layers), first, first)
        from scipy.special import betainc

        b_squared = (first - last) * (first + last)
        upper = 0.5 * betainc(0.5 * (self.layers - 2), 0.5, b_squared / first**2)
        root = np.sqrt(b_squared)
        plus, minus = (root * part ** (-1.0 / (self.layers - 2)) for part in (upper, 1 - upper))
        return Selector.of(float(self.layers), plus, minus)

    @property
    def selector_reason(self) -> str:
        return f"{self.name} has a selector where its last layer is smaller than the others at the start only"

    def __repr__(self) -> str:
        return f"Product({self.layers})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), self.layers))


class _ProductMirror(Mirror):
    """q = u_L = s sinh w, u = s cosh w with s² = u² − u_L², which the flow keeps.

    ψ = s^L sinh w cosh^{L−1} w, and ν = w for L = 2, atan(q/s)/s for 3, tanh(w)/s² for 4, each less its value at the start.
    """

    def __init__(self, parametrization: Product, start: Tensor) -> None:
        super().__init__(parametrization, start)
        self.layers = parametrization.layers
        first, last = self.start[0], self.start[-1]
        self.scale = ((first - last) * (first + last)).sqrt()
        self.first_q = last

    def theta(self, psi: Tensor) -> Tensor:
        q = self._q(psi)
        return torch.stack([torch.hypot(q, self.scale)] * (self.layers - 1) + [q])

    def nu(self, psi: Tensor) -> Tensor:
        return self._nu_of(self._q(psi)) - self._nu_of(self.first_q)

    def psi(self, nu: Tensor) -> Tensor:
        return self.after(self.origin, nu)

    def after(self, psi: Tensor, step: Tensor) -> Tensor:
        q, s = self._q(psi), self.scale
        if self.layers == 2:
            x = 2 * psi / s**2
            bend = 2 * x * torch.sinh(step) ** 2 + torch.hypot(x, torch.ones_like(x)) * torch.sinh(2 * step)
            return psi + 0.5 * s**2 * bend
        if self.layers == 3:
            angle = torch.atan(q / s) + s * step
            turned = torch.tan(s * step)
            change = turned * (s**2 + q**2) / (s - q * turned)
            new = q + change
            moved = psi + change * (new**2 + new * q + q**2 + s**2)
            return torch.where(angle.abs() < 0.5 * math.pi, moved, torch.nan)
        u = torch.hypot(q, s)
        below = s**2 / (u * (u + q.abs()))  # 1 − |tanh w|
        up, down = torch.where(q > 0, below, 2 - below), torch.where(q > 0, 2 - below, below)
        x, d = q / u, s**2 * step
        up, down = up - d, down + d
        inside = (up > 0) & (down > 0)
        height = torch.where(inside, up * down, torch.ones_like(up))
        return torch.where(inside, s**4 * (x + d) / height**2, torch.nan)

    def difference(self, before: Tensor, after: Tensor) -> Tensor:
        q, new = self._q(before), self._q(after)
        plain = self._nu_of(new) - self._nu_of(q)
        if self.layers == 2:
            return plain
        away = (q * new > 0) & (torch.minimum(q.abs(), new.abs()) > self.scale)
        return torch.where(away, torch.sign(q) * (self._to_pole(q) - self._to_pole(new)), plain)

    def _to_pole(self, q: Tensor) -> Tensor:
        """The distance of |ν| from its pole, without the start's ν."""
        if self.layers == 3:
            return torch.atan2(self.scale, q.abs()) / self.scale
        u = torch.hypot(q, self.scale)
        return 1 / (u * (u + q.abs()))

    def potential(self, psi: Tensor) -> Tensor:
        """ψν − ∫ψ dν, and ψ dν = q dq."""
        q = self._q(psi)
        return psi * self.nu(psi) - 0.5 * (q - self.first_q) * (q + self.first_q)

    def _nu_of(self, q: Tensor) -> Tensor:
        if self.layers == 2:
            return torch.asinh(q / self.scale)
        if self.layers == 3:
            return torch.atan(q / self.scale) / self.scale
        return q / torch.hypot(q, self.scale) / self.scale**2

    def _q(self, psi: Tensor) -> Tensor:
        """The root of q (q² + s²)^{(L−1)/2} = ψ."""
        s, x = self.scale, psi / self.scale**self.layers
        if self.layers == 2:
            return s * torch.sinh(0.5 * torch.asinh(2 * x))
        if self.layers == 3:
            return s * 2 / math.sqrt(3) * torch.sinh(torch.asinh(1.5 * math.sqrt(3) * x) / 3)
        # cosh³w sinh w = x: asinh of the left-hand side has a slope between 1 and 4 in w.
        target = torch.asinh(x.abs())
        w = target / (1 + 3 * torch.tanh(target))
        for _ in range(_NEWTON):
            height = 3 * log_cosh(w)
            value = torch.where(
                w < 25, torch.asinh(torch.sinh(w.clamp(max=25.0)) * torch.exp(height.clamp(max=80.0))), height + w
            )
            ratio = torch.tanh(value) * (3 * torch.tanh(w) + 1 / torch.tanh(w.clamp(min=1e-300)))
            change = (value - target) / torch.where(w < 1e-8, torch.ones_like(w), ratio)
            w = torch.minimum(torch.maximum(w - change, 0.25 * target), target)
            if bool((change.abs() <= 4e-16 * w).all()):
                break
        return torch.copysign(s * torch.sinh(w), psi)
