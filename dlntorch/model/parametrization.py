"""A separable parametrization θ ↦ ψ: what a network of this package is, and what a user subclasses.

Every coordinate has its own ``width`` parameters and all coordinates share one function G: ψ_i = G(θ_{·i}). With
g = Aᵀ(y − Aψ) the gradient flow of L = ½‖Aψ − y‖² is θ̇_{·i} = ∇G(θ_{·i}) g_i, so each coordinate moves along a fixed
curve Θ(ν), Θ′ = ∇G(Θ), whatever the data are. Everything the package computes about a network (its steps, its flow, where
the flow ends, which ℓ1-minimiser it selects) follows from G and that curve, its *mirror*
(:class:`~dlntorch.model.mirror.Mirror`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.numerics.validation import InputError, check_count, check_number

if TYPE_CHECKING:
    from dlntorch.model.cells import CompiledCell, ScalarCell
    from dlntorch.model.depth_law import DepthLaw
    from dlntorch.model.exact_curves import ExactCurve
    from dlntorch.model.initialization import Initialization
    from dlntorch.model.mirror import Mirror
    from dlntorch.model.selector import Selector
    from dlntorch.model.slow_time import SlowTime

__all__ = ["Parametrization", "as_parametrization", "check_start"]

#: How far a slope may be from the derivative of its value, relative to the largest entry of either.
_SLOPE_TOLERANCE = 1e-6


class Parametrization(ABC):
    """θ ↦ ψ, coordinate by coordinate; subclass it to bring a network of your own.

    A subclass sets :attr:`width` and gives :meth:`value`, :meth:`slope` and :meth:`start`. That is enough to train, to
    integrate the flow and to find its limit; everything else has a generic default, to be overridden by a closed form.

    Example:
        >>> class Sinh(Parametrization):
        ...     width = 1
        ...
        ...     def value(self, theta):
        ...         return torch.sinh(theta[0])
        ...
        ...     def slope(self, theta):
        ...         return torch.cosh(theta)
        ...
        ...     def start(self, alpha, n):
        ...         return torch.zeros(1, n, dtype=torch.float64)
    """

    #: Parameters of one coordinate.
    width: int
    #: Whether the flow keeps every parameter positive, and a step that does not is an error of the step size.
    positive: bool = False
    #: Whether a parameter may change its sign along a run; where ``positive`` is true and this is false, that ends it.
    signed: bool = True
    #: The power p where ψ = θ₊^p − θ₋^p, which has closed forms of everything; None for any other parametrization.
    depth: float | None = None
    #: The power p of every parameter where ψ = θ₊^p − θ₋^p or ψ = θ^p; None for any other.
    p: float | None = None
    #: Whether ψ >= 0 whatever θ is.
    one_sided: bool = False
    #: Whether a penalty λ/2‖θ‖² is one on ‖ψ‖₁, so that weight decay and label noise end at a lasso.
    lasso: bool = False
    #: What the depth makes of a small start, and the slow time from saddle to saddle; None where neither is known.
    small_start: DepthLaw | None = None
    slow_time: SlowTime | None = None

    @property
    def name(self) -> str:
        """What messages, tables and files call it."""
        return type(self).__name__

    # -- what a subclass gives --------------------------------------------------------------------------------------

    @abstractmethod
    def value(self, theta: Tensor) -> Tensor:
        """ψ = G(θ), shape (n,), for θ of shape (width, n)."""

    @abstractmethod
    def slope(self, theta: Tensor) -> Tensor:
        """∇G(θ), shape (width, n), for θ of shape (width, n): the derivative of each ψ_i by its own parameters."""

    @abstractmethod
    def start(self, alpha: Any, n: int) -> Tensor:
        """θ at t = 0 for the initialization scale α > 0, shape (width, n), float64."""

    # -- what has a default -----------------------------------------------------------------------------------------

    def curvature(self, theta: Tensor) -> Tensor:
        """∇²G(θ), shape (width, width, n); the default differentiates :meth:`slope` by autograd."""
        with torch.enable_grad():
            point = theta.detach().clone().requires_grad_()
            slope = self.slope(point)
            rows = []
            for j in range(self.width):
                (row,) = torch.autograd.grad(slope[j].sum(), point, retain_graph=True, allow_unused=True)
                rows.append(torch.zeros_like(theta) if row is None else row)
        return torch.stack(rows)

    def values(self, theta: Tensor) -> Tensor:
        """ψ of many states, shape (k, n), for θ of shape (k, width, n)."""
        flat = theta.movedim(1, 0).reshape(theta.shape[1], -1)
        return self.value(flat).reshape(theta.shape[0], theta.shape[2])

    def slopes(self, theta: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The rows of :meth:`slope` from the rows of θ."""
        return tuple(self.slope(torch.stack(tuple(theta))).unbind(0))

    def bend(self, theta: Sequence[Tensor], g: Tensor, v: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """g ∘ (∇²G v), one row for each row of θ."""
        curvature = self.curvature(torch.stack(tuple(theta)))
        return tuple((g * torch.einsum("jkn,kn->jn", curvature, torch.stack(tuple(v)))).unbind(0))

    def mirror(self, start: Tensor) -> Mirror:
        """The curve Θ(ν) of every coordinate from ``start`` (width, n); the default integrates it to 1e-12."""
        from dlntorch.model.curve_mirror import CurveMirror

        return CurveMirror(self, start)

    def cell(self) -> CompiledCell | ScalarCell | None:
        """Scalar functions, or kernels, that the fused engine compiles; without them (None) a run is eager."""
        return None

    def along(self, theta: Tensor, move: Tensor) -> Tensor | None:
        """θ (width, n) after ν has moved by ``move`` (n,) along the curve through θ; not a number beyond its end.

        None where that has no closed form, which is the default.
        """
        return None

    def exact_curve(self, theta: Sequence[Any]) -> ExactCurve | None:
        """The curve of one coordinate from the mpmath numbers ``theta`` (width), where it has a closed form."""
        return None

    def cut_off(self, theta: Sequence[Any], scale: Any, ceiling: Any) -> list[Any]:
        """``scale`` times one coordinate's θ, at most the ceiling: a start that is easier to find the limit from."""
        return [min(scale * v, ceiling) for v in theta]

    def sides(self, theta: Tensor) -> tuple[Tensor, Tensor | None]:
        """What stands for θ₊ and θ₋, (n,) each: the first and the last parameter; None where ψ >= 0."""
        return theta[0], None if self.one_sided else theta[-1]

    def start_from(self, initialization: Initialization, n: int) -> Tensor:
        """θ at t = 0 for an :class:`Initialization` of two values a coordinate, where the parametrization has them."""
        raise InputError(
            f"alpha must be a number with {self.name}, which has no theta_plus and theta_minus, got {initialization!r}"
        )

    def selector(self, initialization: Initialization | None, n: int) -> Selector | None:
        """Which minimiser is selected as the start shrinks to 0; None where no limit of the potential is known.

        Args:
            initialization: Its shape; None for equal entries.
            n: Number of coordinates.
        """
        return None

    @property
    def selector_reason(self) -> str:
        """Why there is no selected minimiser W; empty where there is one."""
        return f"{self.name} has no selector: no limit of its potential is known"

    # -- the relative rule ------------------------------------------------------------------------------------------

    def extremes(self, theta: Tensor | Sequence[Tensor], g: Tensor) -> Tensor:
        """Maxima over the coordinates that :meth:`limits` is made of, shape (3,).

        The largest change of a parameter per unit of η, relative to the size of its coordinate; the largest
        D = ‖∇G‖²; the largest ‖∇²G‖|g|. The size is the parameter itself where it has to stay positive; else the largest
        parameter of the coordinate, or ‖∇G‖/‖∇²G‖ where that is larger: the length over which the slope changes (so that
        ψ = sinh θ passes through θ = 0; of a homogeneous G, as a product of layers, the largest parameter is larger).
        """
        theta = theta if isinstance(theta, Tensor) else torch.stack(tuple(theta))
        slope = self.slope(theta)
        steepest = (slope * slope).sum(dim=0)
        bend = torch.linalg.matrix_norm(self.curvature(theta).movedim(-1, 0), ord="fro")
        size = theta.abs()
        if not self.positive:
            length = torch.where(bend > 0, steepest.sqrt() / bend, torch.inf)
            size = torch.maximum(size.amax(dim=0), length).expand_as(theta)
        change = (slope * g).abs() / size
        change = torch.where(slope * g == 0, torch.zeros_like(change), change)
        return torch.stack([change.max(), steepest.max(), (bend * g.abs()).max()])

    def limits(self, extremes: list[float], squared_norm: float) -> tuple[float, float]:
        """(ρ, Λ): the largest relative change per unit of η, and a bound Λ = ‖A‖² max D + max ‖∇²G‖|g| of ‖∇²L‖₂."""
        change, steepest, bend = extremes
        return change, squared_norm * steepest + bend

    def __repr__(self) -> str:
        return f"{self.name}()"


def as_parametrization(p: Any, name: str = "p") -> Parametrization:
    """A parametrization from what users pass as ``p``: a number >= 2 means :class:`~dlntorch.model.power.Power` of it.

    Raises:
        InputError: for anything else, naming the argument.
    """
    if isinstance(p, Parametrization):
        check_count(f"{p.name}.width", getattr(p, "width", None))
        _check_family(p)
        return p
    if isinstance(p, type) and issubclass(p, Parametrization):
        raise InputError(f"{name} must be an object, got the class {p.__name__}: pass {p.__name__}()")
    from dlntorch.model.power import Power

    return Power(check_number(name, p, at_least=2))


def _check_family(parametrization: Parametrization) -> None:
    """Refuse a ψ of a subclass's own under a parent's closed forms, which are those of the parent's ψ."""
    order = type(parametrization).__mro__
    own, *forms = (next(kind for kind in order if name in vars(kind)) for name in ("value", "mirror", "exact_curve"))
    for closed in forms:
        if closed is not Parametrization and order.index(own) < order.index(closed):
            raise InputError(
                f"{own.__name__} must be a subclass of Parametrization to have a value of its own, got one of "
                f"{closed.__name__}, whose closed forms are those of its own value"
            )


def check_start(parametrization: Parametrization, theta: Any, n: int) -> Tensor:
    """θ(0) as a float64 tensor (width, n), after a look at the parametrization: shapes, signs, and slope = value′.

    Raises:
        InputError: in one line, where the start has another shape, is not finite, or not positive where it has to be;
            where value or slope have another shape; and where the slope is not the value's derivative.
    """
    who, width = parametrization.name, parametrization.width
    start = torch.as_tensor(
        np.asarray(theta.detach().cpu()) if isinstance(theta, Tensor) else theta, dtype=torch.float64
    )
    if tuple(start.shape) != (width, n):
        raise InputError(f"{who}.start must have shape ({width}, {n}), got {tuple(start.shape)}")
    if not bool(torch.isfinite(start).all()):
        raise InputError(f"{who}.start must be finite, got {float(start[~torch.isfinite(start)][0])}")
    if parametrization.positive and not bool((start > 0).all()):
        raise InputError(f"{who}.start must be > 0, got {float(start.min())}")
    # The points of the check lie near the start and away from it, so that neither a zero nor a scale hides a mistake.
    pattern = 0.5 + (torch.arange(width * n, dtype=torch.float64) * 0.6180339887498949 % 1.0).reshape(width, n)
    for point in (start + 0.1 * start.abs().clamp_min(1e-3) * pattern, pattern):
        _check_slope(parametrization, point)
    return start.clone()


def _check_slope(parametrization: Parametrization, point: Tensor) -> None:
    """Refuse a slope that is not its value's derivative at ``point`` (width, n)."""
    who, (width, n) = parametrization.name, point.shape
    with torch.enable_grad():
        theta = point.clone().requires_grad_()
        value = parametrization.value(theta)
        if not isinstance(value, Tensor) or tuple(value.shape) != (n,):
            raise InputError(f"{who}.value must return a tensor of shape ({n},), got {_shape(value)}")
        derivative = torch.zeros_like(point)
        if value.requires_grad:
            derivative = torch.autograd.grad(value.sum(), theta)[0]
    slope = parametrization.slope(point)
    if not isinstance(slope, Tensor) or tuple(slope.shape) != (width, n):
        raise InputError(f"{who}.slope must return a tensor of shape ({width}, {n}), got {_shape(slope)}")
    scale = max(float(derivative.abs().max()), float(slope.detach().abs().max()))
    difference = (slope.detach() - derivative).abs()
    if not bool((difference <= _SLOPE_TOLERANCE * scale).all()):
        j, i = (int(k) for k in np.unravel_index(int(difference.argmax()), (width, n)))
        raise InputError(
            f"{who}.slope must be the derivative of {who}.value, got {float(slope[j, i]):.6g} "
            f"instead of {float(derivative[j, i]):.6g} for parameter {j} at theta = {point[:, i].tolist()}"
        )


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
