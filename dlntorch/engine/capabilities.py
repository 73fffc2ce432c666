"""What each engine can run: one table, asked by whoever chooses an engine, so that nobody compares names.

An engine that runs something new says so here; ``engine=auto`` takes the first of :data:`CAPABILITIES` that lacks nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dlntorch.model.network import DiagonalLinearNetwork
from dlntorch.optim.step_size import Schedule
from dlntorch.optim.update import SGD, UPDATES, TorchUpdate, Update

__all__ = ["CAPABILITIES", "Capabilities", "Needs", "capable", "needs_of", "own_device", "refusal"]

#: Updates that change every coordinate by itself: one compiled loop makes them.
COORDINATEWISE = frozenset({"SGD", "Momentum", "WeightDecay", "LabelNoise", "Adam", "Sign"})


@dataclass(frozen=True)
class Needs:
    """What a run asks of its engine.

    Attributes:
        power: Whether ψ = θ₊^p − θ₋^p.
        parametrization: What else, in words.
        own_psi: The class of a network that overrides ψ, empty for others.
        update: Which way a step goes.
        own_step_size: Whether the step size is the user's.
        dense: Whether A is a matrix.
        device: The kind of device, "cpu" or "cuda".
    """

    power: bool = True
    parametrization: str = ""
    own_psi: str = ""
    update: Update | TorchUpdate = field(default_factory=SGD)
    own_step_size: bool = False
    dense: bool = True
    device: str = ""


@dataclass(frozen=True)
class Capabilities:
    """What an engine can run.

    Attributes:
        devices: Kinds of devices that it runs on.
        parametrizations: Whether any parametrization, else θ₊^p − θ₋^p only.
        own_psi: Whether it differentiates a ψ that a subclass of the network overrides.
        updates: The updates that it runs, by their classes' names; None for all of this package's.
        own_updates: Whether it runs a user's :class:`~dlntorch.optim.update.Update`.
        torch_optimizers: Whether it steps an optimizer of torch.
        own_step_sizes: Whether it runs a user's :class:`~dlntorch.optim.step_size.StepSize`.
        operators: Whether A may be an operator.
        adaptive_blocks: Whether its blocks of steps may grow, since a step costs less than coming back for it.
        compiled: Whether its loop is machine code that holds no interpreter lock: networks run at the same time.
        over_processes: The engine that makes its steps with the columns of A spread over processes; empty for none.
    """

    devices: tuple[str, ...]
    parametrizations: bool = False
    own_psi: bool = False
    updates: frozenset[str] | None = None
    own_updates: bool = False
    torch_optimizers: bool = False
    own_step_sizes: bool = False
    operators: bool = False
    adaptive_blocks: bool = True
    compiled: bool = False
    over_processes: str = ""

    def lacks(self, need: Needs) -> str:
        """The first thing that a run needs and the engine does not have, in words; empty for none."""
        update = need.update
        if need.own_psi and not self.own_psi:
            return "a network that overrides psi"
        if isinstance(update, TorchUpdate):
            if not self.torch_optimizers:
                return f"an optimizer of torch ({update.name})"
        elif type(update) not in UPDATES.values():
            if not self.own_updates:
                return f"an Update of your own ({update.name})"
        elif self.updates is not None and type(update).__name__ not in self.updates:
            return f"the optimizer {update.name}"
        if not need.power and not self.parametrizations:
            return need.parametrization
        if need.own_step_size and not self.own_step_sizes:
            return "a step size of your own"
        if not need.dense and not self.operators:
            return "an A that is an operator"
        return ""


#: In the order in which ``engine=auto`` tries them.
CAPABILITIES: dict[str, Capabilities] = {
    "fused": Capabilities(("cpu",), updates=COORDINATEWISE, compiled=True),
    "cuda": Capabilities(("cuda",), parametrizations=True, own_updates=True, own_step_sizes=True),
    "eager": Capabilities(
        ("cpu", "cuda"),
        parametrizations=True,
        own_updates=True,
        own_step_sizes=True,
        operators=True,
        over_processes="sharded",
    ),
    "autograd": Capabilities(
        ("cpu", "cuda"),
        parametrizations=True,
        own_psi=True,
        own_updates=True,
        torch_optimizers=True,
        own_step_sizes=True,
        operators=True,
        adaptive_blocks=False,
    ),
    "sharded": Capabilities(("cpu", "cuda"), updates=frozenset({"SGD"}), operators=True),
}
#: Engines that a user may name.
NAMED = ("fused", "eager", "autograd", "cuda")


def own_device(engine: Any) -> str | None:
    """The kind of device that an engine runs on where that is not the CPU, and so means by itself; None for others."""
    devices = CAPABILITIES[engine].devices if engine in NAMED else ()
    return devices[0] if len(devices) == 1 and devices[0] != "cpu" else None


def needs_of(
    network: DiagonalLinearNetwork,
    update: Update | TorchUpdate,
    schedule: Schedule,
    dense: bool = True,
    device: str = "",
) -> Needs:
    """What a network, trained by this update and schedule, asks of its engine."""
    law, own_psi = network.parametrization, type(network).__name__ if network.overrides_psi else ""
    return Needs(law.depth is not None, repr(law), own_psi, update, schedule.own is not None, dense, device)


def capable(need: Needs) -> list[str]:
    """The engines that a user may name for such a run, the fastest first."""
    fits = lambda name: not need.device or need.device in CAPABILITIES[name].devices  # noqa: E731
    return [name for name in CAPABILITIES if name in NAMED and fits(name) and not CAPABILITIES[name].lacks(need)]


def refusal(name: str, need: Needs) -> str:
    """Why an engine cannot make such a run, in one line that names those that can; empty where it can."""
    lacking = CAPABILITIES[name].lacks(need)
    if not lacking:
        return ""
    others = [other for other in capable(need) if other != "cuda" or need.device == "cuda"]
    if not others:
        return f"engine has none that runs {lacking} here, got {name!r}"
    rule = f"engine must be {' or '.join(others)} with {lacking}"
    if need.own_psi:
        return f"{rule}, since {name} steps by the formula of θ₊^p − θ₋^p, got {need.own_psi}"
    return f"{rule}, got {name!r}"
