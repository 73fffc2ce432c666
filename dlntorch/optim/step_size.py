"""How long a step may be: the rules that give η_k, and the schedules that choose a rule and its numbers.

A *rule* computes η_k from θ_k and the gradient there; it is all that an engine needs to know. A *schedule* is what a
user asks for by name; ``theorem`` and ``certified`` only choose the numbers of a rule.

Relative rule (positive by construction): with ρ = p max θ^{p−2}|g| = max |∂L/∂θ|/θ and
Λ = p²‖A‖₂² max(θ₊^{2p−2} + θ₋^{2p−2}) + (p−1)ρ, the step η = min(c/Λ, κ/ρ) changes no parameter by more than a
factor 1 ± κ, so θ stays positive for κ < 1; c <= 1 keeps it below the stability limit 1/‖∇²L‖₂, since Λ >= ‖∇²L‖₂.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from dlntorch.model.metrics import spread_norm, starting_direction
from dlntorch.model.objective import power_iteration
from dlntorch.model.parametrization import Parametrization, as_parametrization
from dlntorch.numerics.validation import InputError, check_choice, check_number
from dlntorch.problem.operators import Operator, as_operator

__all__ = [
    "DEFAULT",
    "KINDS",
    "OWN_RATE",
    "SCHEDULES",
    "Point",
    "Schedule",
    "ScheduleKind",
    "StepRule",
    "StepSize",
    "make_schedule",
]


@dataclass(frozen=True)
class ScheduleKind:
    """What schedules of a name do, so that nobody compares names.

    Attributes:
        rule: The step rule that gives η_k.
        uses: The arguments that the schedule takes.
        certifies: Whether κ and c are chosen so that a certificate proves ε; a run that misses it is repeated.
        for_horizon: Whether the step is the theorem's, for the horizon ``max_time`` and ε.
        selects: Whether κ and c are those below which steps provably select the ℓ1-minimiser.
        has_c: Whether c matters.
    """

    rule: str
    uses: tuple[str, ...] = ()
    certifies: bool = False
    for_horizon: bool = False
    selects: bool = False
    has_c: bool = True

    @property
    def proves(self) -> bool:
        """Whether it speaks of plain SGD at a depth p from one α only."""
        return self.certifies or self.for_horizon or self.selects


#: By the names of ``schedule=``.
KINDS = {
    "relative": ScheduleKind("relative", ("kappa", "c")),
    "certified": ScheduleKind("relative", ("epsilon", "kappa", "c"), certifies=True),
    "selecting": ScheduleKind("relative", selects=True),
    "theorem": ScheduleKind("constant", ("epsilon",), for_horizon=True, has_c=False),
    "constant": ScheduleKind("constant", ("eta",), has_c=False),
    "stable": ScheduleKind("stable", ("c",)),
}
SCHEDULES = tuple(KINDS)
#: The schedule of a run that names none.
DEFAULT = "relative"
#: The schedule of a torch optimizer that keeps its own learning rate.
OWN_RATE = "optimizer"
#: Power iterations from a cold start, and per step afterwards, of the rule ``stable``.
COLD_ITERATIONS, WARM_ITERATIONS = 50, 1
#: Each step's power iteration starts from the last direction plus this much of the first one. A direction that is not
#: yet dominant would decay to rounding noise otherwise: once dominant it would be seen late, and when by chance.
RESEED = 0.03


@dataclass(frozen=True)
class Point:
    """What is known at θ_k when η_k is chosen.

    Attributes:
        theta: θ_k, shape (width, n): for depth p the rows θ₊ and θ₋.
        psi: ψ(θ_k), shape (n,).
        residual: y − Aψ, shape (m,) (of the mini-batch's rows, scaled by √(m/b); with the step's own label noise).
        g: Aᵀ(y − Aψ) of the same data, shape (n,).
        slope: ∂ψ/∂θ, shape (width, n), so that ∇L = −slope ∘ g.
        step: k.
        time: t_k = Σ_{j<k} η_j.
    """

    theta: Tensor
    psi: Tensor
    residual: Tensor
    g: Tensor
    slope: Tensor
    step: int
    time: float


class StepSize(ABC):
    """How long a step is: η_k > 0 from what is known at θ_k; subclass it, or pass any callable point -> float.

    Example:
        >>> class Decaying(StepSize):
        ...     def eta(self, point):
        ...         return 1e-2 / (1 + point.step) ** 0.5
    """

    @property
    def name(self) -> str:
        """What messages, tables and files call it."""
        return type(self).__name__

    @abstractmethod
    def eta(self, point: Point) -> float:
        """η_k, a finite number > 0; anything else ends the run as ``failed``, which says so."""


class _Function(StepSize):
    """A plain function point -> float as a step size."""

    def __init__(self, function: Callable[[Point], float]) -> None:
        self._function = function

    @property
    def name(self) -> str:
        return getattr(self._function, "__qualname__", type(self._function).__name__)

    def eta(self, point: Point) -> float:
        return self._function(point)


@dataclass(frozen=True)
class Schedule:
    """A step-size schedule with its numbers.

    Attributes:
        name: One of ``relative``, ``certified``, ``selecting``, ``theorem``, ``constant``, ``stable``.
        kappa: Largest relative change of a parameter in one step, in (0, 0.3] (rule ``relative``); of ``selecting``, with c,
            once its threshold has been computed.
        c: Fraction of the stability limit, in (0, 1] (``relative``) or (0, 4] (``stable``).
        eta: The step of ``constant``, and of ``theorem`` once its bound has been computed.
        epsilon: The accuracy that ``certified`` and ``theorem`` are asked for.
        over: Where ``certified`` has to meet it: at the ``end`` or over ``all`` steps.
        own: A step size of the user's, which then is the rule.
    """

    name: str = "relative"
    kappa: float | None = 0.01
    c: float = 1.0
    eta: float | None = None
    epsilon: float | None = None
    over: str = "end"
    own: StepSize | None = None

    @property
    def kind(self) -> ScheduleKind:
        """What the schedule does; one of the user's has the rule ``own``, a torch optimizer's rate its own name."""
        if self.own is not None:
            return ScheduleKind("own")
        return KINDS.get(self.name) or ScheduleKind(self.name)

    @property
    def rule(self) -> str:
        """Which step rule gives η_k: ``relative``, ``constant``, ``stable``, or ``own``."""
        return self.kind.rule

    def with_steps(self, *, kappa: float | None = None, c: float | None = None, eta: float | None = None) -> Schedule:
        """The same schedule with other numbers, as chosen by a coarse pass or by the theorem."""
        return replace(
            self,
            kappa=self.kappa if kappa is None else kappa,
            c=self.c if c is None else c,
            eta=self.eta if eta is None else eta,
        )


def make_schedule(
    name: Any = "relative",
    *,
    kappa: Any = None,
    c: Any = None,
    eta: Any = None,
    epsilon: Any = None,
    over: Any = "end",
) -> Schedule:
    """Check a schedule's arguments; an argument that the schedule does not use must be left at None.

    Raises:
        InputError: naming the argument (as ``schedule.kappa`` and so on), the rule and the value.
    """
    if not isinstance(name, str):
        return _own_schedule(name, kappa=kappa, c=c, eta=eta, epsilon=epsilon, over=None if over == "end" else over)
    check_choice("schedule", name, SCHEDULES)
    check_choice("schedule.over", over, ("end", "all"))
    uses = KINDS[name].uses
    given = {"kappa": kappa, "c": c, "eta": eta, "epsilon": epsilon}
    for key, value in given.items():
        if value is not None and key not in uses:
            raise InputError(
                f"schedule.{key} must be left out with schedule={name}, which uses {', '.join(uses) or 'none'}; got {value!r}"
            )
    if over != "end" and name != "certified":
        raise InputError(f"schedule.over must be end with schedule={name}, which proves no bound, got {over!r}")
    if name == "constant":
        if eta is None:
            raise InputError("schedule.eta must be given with schedule=constant, got None")
        return Schedule(name, kappa=None, eta=check_number("schedule.eta", eta, above=0))
    if name == "stable":
        c = check_number("schedule.c", 1.0 if c is None else c, above=0, at_most=4)
        return Schedule(name, kappa=None, c=c)
    if name == "selecting":  # kappa and c are those of step_size_threshold
        return Schedule(name, kappa=None)
    if name in ("certified", "theorem"):
        epsilon = check_number("schedule.epsilon", 1e-2 if epsilon is None else epsilon, above=0)
    if name == "theorem":
        return Schedule(name, kappa=None, epsilon=epsilon)
    start = 0.03 if name == "certified" else 0.01  # the coarse pass may be coarse
    kappa = check_number("schedule.kappa", start if kappa is None else kappa, above=0, at_most=0.3)
    c = check_number("schedule.c", 1.0 if c is None else c, above=0, at_most=1)
    return Schedule(name, kappa=kappa, c=c, epsilon=epsilon, over=over)


def _own_schedule(step_size: Any, **given: Any) -> Schedule:
    """The schedule of a :class:`StepSize`, or of a callable point -> float."""
    if isinstance(step_size, type) and issubclass(step_size, StepSize):
        raise InputError(f"schedule must be an object, got the class {step_size.__name__}: pass {step_size.__name__}()")
    if not isinstance(step_size, StepSize):
        if not callable(step_size):
            raise InputError(f"schedule must be a name, a StepSize or a callable point -> eta, got {step_size!r}")
        function: Any = step_size
        step_size = _Function(function)
    for key, value in given.items():
        if value is not None:
            raise InputError(f"schedule.{key} must be left out with a step size of your own, got {value!r}")
    return Schedule(step_size.name, kappa=None, own=step_size)


class StepRule:
    """The rule of a schedule, in torch: the reference that compiled engines equal.

    Args:
        schedule: Which rule, and its numbers.
        p: Depth, or a parametrization.
        A: The matrix (m, n) or its operator; only its shape and, for ``stable``, products with it are used.
        spectral_norm: ‖A‖₂.

    The rule ``stable`` keeps a direction for its power iteration between steps (``direction``, a state to be saved).
    """

    def __init__(
        self, schedule: Schedule, p: float | Parametrization, A: Tensor | Operator, spectral_norm: float
    ) -> None:
        self.schedule = schedule
        self.parametrization = as_parametrization(p)
        self.operator = as_operator(A)
        self.spectral_norm = spectral_norm
        self.direction: Tensor | None = None

    def eta(
        self,
        theta: tuple[Tensor, ...],
        g: Tensor,
        rows: Tensor | Operator | None = None,
        point: Callable[[], Point] | None = None,
    ) -> float:
        """η for a step from θ where g = Aᵀ(y − Aψ) (that of the mini-batch, scaled, for mini-batches).

        Args:
            theta: The rows of θ, each of shape (n,): (θ₊, θ₋) at depth p.
            g: Shape (n,).
            rows: For a mini-batch, its rows of A times √(m/b), shape (b, n), so that its loss is ½‖rows ψ − …‖²; a
                matrix or an operator.
            point: Makes what a step size of the user's is given; without it such a schedule has no η.
        """
        if self.schedule.own is not None:
            if point is None:
                raise RuntimeError("a step size of the user's needs its point")
            return _number(self.schedule.own, self.schedule.own.eta(point()))
        if self.schedule.rule == "constant":
            return _given(self.schedule.eta)
        if self.schedule.rule == "stable":
            return self._stable(theta, g, self.operator if rows is None else as_operator(rows))
        kappa, norm2 = _given(self.schedule.kappa), self.spectral_norm**2
        if rows is not None:  # (m/b)‖A‖₂² bounds the norm of every scaled mini-batch
            norm2 *= self.operator.shape[0] / rows.shape[0]
        extremes = self.operator.maximum(self.parametrization.extremes(theta, g)).tolist()
        rho, limit = self.parametrization.limits(extremes, norm2)
        if rho == 0.0:
            return self.schedule.c / limit if limit > 0 else math.inf
        return min(self.schedule.c / limit, kappa / rho)

    def _stable(self, theta: tuple[Tensor, ...], g: Tensor, A: Operator) -> float:
        """c / ‖∇²L(θ)‖₂ with the norm from one warm power iteration (50 at the first step)."""
        cold = self.direction is None
        first, end, every = A.columns
        width = len(theta)
        whole = starting_direction(every, g.dtype, g.device, width)
        v = start = whole.reshape(width, every)[:, first:end].reshape(-1)
        if self.direction is not None:
            v = self.direction + RESEED * start
            v = v / spread_norm(A, v)
        iterations = COLD_ITERATIONS if cold else WARM_ITERATIONS
        norm, self.direction = power_iteration(A, g, theta, self.parametrization, v, iterations)
        return self.schedule.c / norm if norm > 0 else math.inf


def _given(value: float | None) -> float:
    if value is None:
        raise RuntimeError("the schedule's numbers have not been chosen yet")
    return value


def _number(step_size: StepSize, value: Any) -> float:
    """η as a float; what is no number is the user's mistake, what is not in (0, ∞) the run's end."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"schedule must return a number, got {value!r} from {step_size.name}") from None
