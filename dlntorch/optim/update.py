"""Which way a step goes: the updates of SGD and of its relatives, and the class to write another one.

An update turns θ_k, a gradient and η_k into θ_{k+1}; how long η_k is, is the step size's business
(:mod:`dlntorch.optim.step_size`), and where steps are run the engine's. Definitions are those of ``torch.optim`` where
torch has the update, so that the autograd engine can run torch's own and the others are tested against it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from dlntorch.numerics.validation import InputError, check_flag, check_number

__all__ = [
    "SAM",
    "SGD",
    "UPDATES",
    "Adam",
    "LabelNoise",
    "Momentum",
    "Sign",
    "TorchUpdate",
    "Update",
    "WeightDecay",
    "make_update",
]

#: What an update remembers between steps: tensors by name, each shaped like θ or a single number.
State = dict[str, Tensor]


class Update(ABC):
    """θ_{k+1} from θ_k, the gradient and η_k; subclass it to bring an optimizer of your own.

    Example:
        >>> class Halved(Update):
        ...     def step(self, theta, gradient, eta, state):
        ...         return theta - 0.5 * eta * gradient, state
    """

    #: Standard deviation of the noise ±σ that is added to every label anew at every step.
    sigma: float = 0.0
    #: Whether the change of θ is proportional to the gradient, so that a rule for gradient steps bounds it.
    follows_gradient: bool = True

    @property
    def flow_time(self) -> float:
        """The time of the flow that a unit of Σ η is worth: with momentum a gradient's whole effect is η/(1 − β)."""
        return 1.0

    @property
    def name(self) -> str:
        """What messages, tables and files call it."""
        return type(self).__name__

    def init(self, theta: Tensor) -> State:
        """The state before the first step, for θ of shape (width, n); empty by default."""
        return {}

    @abstractmethod
    def step(self, theta: Tensor, gradient: Tensor, eta: float, state: State) -> tuple[Tensor, State]:
        """(θ_{k+1}, the next state).

        Args:
            theta: θ_k, shape (width, n); not to be changed in place.
            gradient: ∇L(θ_k) (of the mini-batch, scaled by m/b; with noisy labels; at :meth:`probe` where it has one).
            eta: η_k.
            state: What :meth:`init` or the last step returned.
        """

    def probe(self, theta: Tensor, gradient: Tensor) -> Tensor | None:
        """Where the gradient of the step is taken, if not at θ_k; ``gradient`` is ∇L(θ_k)."""
        return None

    def options(self) -> dict[str, Any]:
        """The numbers that define it, for a run's identity and its files."""
        return {key: value for key, value in vars(self).items() if not key.startswith("_")}

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), repr(self)))

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in self.options().items())})"


class SGD(Update):
    """θ − η∇L: plain SGD, of which the paper's theorems speak."""

    def step(self, theta: Tensor, gradient: Tensor, eta: float, state: State) -> tuple[Tensor, State]:
        return theta - eta * gradient, state


class Momentum(Update):
    """Heavy ball as ``torch.optim.SGD`` has it: b ← βb + ∇L, θ ← θ − ηb (Nesterov: θ ← θ − η(∇L + βb)).

    A gradient's whole effect is η/(1 − β): with the schedule ``relative`` a run takes κ and c times 1 − β.

    Args:
        beta: β in [0, 1).
        nesterov: Whether the step looks ahead.
    """

    def __init__(self, beta: Any = 0.9, nesterov: Any = False) -> None:
        self.beta = check_number("optimizer.beta", beta, at_least=0, below=1)
        self.nesterov = check_flag("optimizer.nesterov", nesterov)

    @property
    def flow_time(self) -> float:
        return 1 / (1 - self.beta)

    def init(self, theta: Tensor) -> State:
        return {"momentum": torch.zeros_like(theta)}

    def step(self, theta: Tensor, gradient: Tensor, eta: float, state: State) -> tuple[Tensor, State]:
        buffer = self.beta * state["momentum"] + gradient
        direction = gradient + self.beta * buffer if self.nesterov else buffer
        return theta - eta * direction, {"momentum": buffer}


class WeightDecay(Update):
    """θ ← θ − η(∇L + λθ) while t_k < until, plain SGD from then on.

    Kept on, the flow minimises ½‖Aψ − y‖² + (λ/2)Σ|ψ|^{2/p}; switched off at T, it ends at the limit of αe^{−λT}.

    Args:
        strength: λ >= 0.
        until: The time T = Σ η at which it is switched off; None for never.
    """

    def __init__(self, strength: Any = 1e-3, until: Any = None) -> None:
        self.strength = check_number("optimizer.strength", strength, at_least=0)
        self.until = None if until is None else check_number("optimizer.until", until, at_least=0)

    def init(self, theta: Tensor) -> State:
        return {"time": torch.zeros((), dtype=torch.float64)}

    def active(self, time: float) -> bool:
        """Whether the decay is on at time t."""
        return self.until is None or time < self.until

    def step(self, theta: Tensor, gradient: Tensor, eta: float, state: State) -> tuple[Tensor, State]:
        direction = gradient + self.strength * theta if self.active(float(state["time"])) else gradient
        return theta - eta * direction, {"time": state["time"] + eta}


class LabelNoise(SGD):
    """Plain SGD on labels y + σξ, with ξ_i = ±1 drawn anew at every step (HaoChen et al. 2021).

    First α_e shrinks at the rate 2ησ²‖A_i‖², then the mean of ψ minimises ½‖Aψ − y‖² + Σ ησ²‖A_i‖²|ψ_i| at p = 2.

    Args:
        sigma: σ >= 0.
    """

    def __init__(self, sigma: Any = 0.1) -> None:
        self.sigma = check_number("optimizer.sigma", sigma, at_least=0)


class SAM(Update):
    """θ − η∇L(θ + ρ∇L(θ)), or with ρ∇L/‖∇L‖₂ where normalized (Foret et al. 2021; Andriushchenko, Flammarion 2022).

    Args:
        rho: ρ >= 0.
        normalized: Whether the gradient's length is divided out.
    """

    def __init__(self, rho: Any = 0.05, normalized: Any = False) -> None:
        self.rho = check_number("optimizer.rho", rho, at_least=0)
        self.normalized = check_flag("optimizer.normalized", normalized)

    def probe(self, theta: Tensor, gradient: Tensor) -> Tensor | None:
        length = torch.linalg.vector_norm(gradient) if self.normalized else torch.ones((), dtype=gradient.dtype)
        return theta + (self.rho / length) * gradient if float(length) > 0 else theta

    def step(self, theta: Tensor, gradient: Tensor, eta: float, state: State) -> tuple[Tensor, State]:
        return theta - eta * gradient, state


class Adam(Update):
    """``torch.optim.Adam``: m ← β₁m + (1−β₁)∇L, v ← β₂v + (1−β₂)∇L², θ ← θ − η m̂/(√v̂ + ε).

    Args:
        beta1: In [0, 1).
        beta2: In [0, 1).
        eps: ε > 0.
    """

    follows_gradient = False

    def __init__(self, beta1: Any = 0.9, beta2: Any = 0.999, eps: Any = 1e-8) -> None:
        self.beta1 = check_number("optimizer.beta1", beta1, at_least=0, below=1)
        self.beta2 = check_number("optimizer.beta2", beta2, at_least=0, below=1)
        self.eps = check_number("optimizer.eps", eps, above=0)

    def init(self, theta: Tensor) -> State:
        return {
            "first": torch.zeros_like(theta),
            "second": torch.zeros_like(theta),
            "count": torch.zeros((), dtype=torch.float64),
        }

    def step(self, theta: Tensor, gradient: Tensor, eta: float, state: State) -> tuple[Tensor, State]:
        count = float(state["count"]) + 1
        first = self.beta1 * state["first"] + (1 - self.beta1) * gradient
        second = self.beta2 * state["second"] + (1 - self.beta2) * gradient * gradient
        size, root = eta / (1 - self.beta1**count), math.sqrt(1 - self.beta2**count)
        new = theta - size * (first / (second.sqrt() / root + self.eps))
        return new, {"first": first, "second": second, "count": state["count"] + 1}


class Sign(Update):
    """Sign descent, θ − η sign(∇L)."""

    follows_gradient = False

    def step(self, theta: Tensor, gradient: Tensor, eta: float, state: State) -> tuple[Tensor, State]:
        return theta - eta * torch.sign(gradient), state


class TorchUpdate:
    """Any torch optimizer, from a callable ``params -> torch.optim.Optimizer``: the autograd engine steps it.

    Its learning rate is its own unless the run names a schedule.

    Args:
        make: The callable.
        name: What files and messages call it.
        options: The numbers that define it, for a run's identity.
    """

    sigma = 0.0
    follows_gradient = False
    flow_time = 1.0

    def __init__(self, make: Callable[..., Any], name: str = "", options: dict[str, Any] | None = None) -> None:
        self.make = make
        self.name = name or getattr(make, "__qualname__", type(make).__name__)
        self._options = dict(options or {})

    def optimizer(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        """The optimizer of these parameters.

        Raises:
            InputError: where the callable fails or returns something else.
        """
        try:
            made = self.make(parameters)
        except (TypeError, ValueError) as error:
            message = " ".join(str(error).split())
            raise InputError(f"optimizer must accept its options, got {self.name}: {message}") from None
        if not isinstance(made, torch.optim.Optimizer):
            raise InputError(f"optimizer must return a torch.optim.Optimizer, got {type(made).__name__} of {self.name}")
        if any("lr" not in group for group in made.param_groups):  # the step's time, and what a schedule sets
            raise InputError(f"optimizer must have a learning rate lr in every group, got {self.name} without one")
        return made

    def options(self) -> dict[str, Any]:
        """The numbers that define it."""
        return dict(self._options)

    def __repr__(self) -> str:
        return f"TorchUpdate({self.name})"


#: Updates by the names that ``optimizer=`` takes.
UPDATES: dict[str, type[Update]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "weight_decay": WeightDecay,
    "label_noise": LabelNoise,
    "sam": SAM,
    "adam": Adam,
    "sign": Sign,
}


def make_update(optimizer: Any = "sgd", options: Any = None) -> Update | TorchUpdate:
    """What ``optimizer`` and ``optimizer_options`` mean: a name with its options, an :class:`Update`, or a callable.

    Raises:
        InputError: for an unknown name, an option that the optimizer does not have, or options beside an object.
    """
    if options is not None and not isinstance(options, Mapping):
        raise InputError(f"optimizer_options must be a mapping of names to values, got {options!r}")
    given = dict(options or {})
    if isinstance(optimizer, str):
        if optimizer not in UPDATES:
            raise InputError(
                f"optimizer must be one of {', '.join(UPDATES)}, an Update or a callable, got {optimizer!r}"
            )
        kind = UPDATES[optimizer]
        known = _parameters_of(kind)
        for key in given:
            if key not in known:
                uses = f"takes {', '.join(known)}" if known else "has no options"
                raise InputError(f"optimizer.{key} must be left out with optimizer={optimizer}, which {uses}")
        return kind(**given)
    if isinstance(optimizer, type) and issubclass(optimizer, Update):
        raise InputError(
            f"optimizer must be an object, got the class {optimizer.__name__}: pass {optimizer.__name__}()"
        )
    if isinstance(optimizer, (Update, TorchUpdate)) or callable(optimizer):
        if given:
            raise InputError(f"optimizer_options must be left out with an optimizer of your own, got {sorted(given)}")
        return optimizer if isinstance(optimizer, (Update, TorchUpdate)) else TorchUpdate(optimizer)
    raise InputError(
        f"optimizer must be a name, an Update or a callable params -> torch.optim.Optimizer, got {optimizer!r}"
    )


def _parameters_of(kind: type[Update]) -> list[str]:
    if kind.__init__ is object.__init__:
        return []
    code = kind.__init__.__code__
    return list(code.co_varnames[1 : code.co_argcount])
