"""What every engine is: something that makes plain SGD steps on a network, some at a time, and says when to stop.

An engine changes θ by θ_{k+1} = θ_k − η_k ∇L(θ_k), or by another :class:`~dlntorch.optim.update.Update`, and by nothing
else. The order inside a step is part of the contract, so that all engines stop at the same step: at θ_k compute the
residual; stop if it is small enough (``converged``), if the step or time budget is used up; else compute the gradient and
η_k; stop *before* a step that would make a parameter nonpositive (``left_positive_orthant``) or non-finite
(``diverged``), keeping θ_k; else step. Where ψ has a value beyond zero (p an even integer, a product of layers) a change
of sign is counted in place of ending the run, unless a certificate is asked for.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.engine.batches import RowBatches
from dlntorch.engine.capabilities import needs_of, refusal
from dlntorch.model.network import DiagonalLinearNetwork
from dlntorch.numerics.random_signs import random_signs
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.numerics.validation import InputError
from dlntorch.optim.step_size import Point, Schedule
from dlntorch.optim.update import SGD, State, TorchUpdate, Update
from dlntorch.problem import Problem

if TYPE_CHECKING:
    from dlntorch.bounds.certificate import Certificate

__all__ = [
    "Engine",
    "Progress",
    "RecordingEngine",
    "Snapshot",
    "Stopping",
    "check_network",
    "first_improper",
]


@dataclass(frozen=True)
class Stopping:
    """When a run ends.

    Attributes:
        tol: Stop when ‖Aψ − y‖₂ <= tol·‖y‖₂; 0 never stops on the residual.
        max_steps: Step budget.
        max_time: Time budget, in t = Σ η.
        check_every: With mini-batches the full residual is computed at multiples of this step number only.
    """

    tol: float = 1e-10
    max_steps: int = 10_000_000
    max_time: float = math.inf
    check_every: int = 1000


@dataclass
class Progress:
    """How far a run has come; plain numbers, saved in checkpoints.

    Attributes:
        step: Steps made, k.
        time: t_k = Σ_{j<k} η_j.
        eta: The last step size (0 before the first).
        eta_min: The smallest step size so far (inf before the first).
        eta_max: The largest step size so far.
        residual: ‖Aψ − y‖₂ where it was last computed (inf before).
        reason: Why the run ended, where its status alone does not tell.
        sign_changes: How often a parameter changed its sign.
    """

    step: int = 0
    time: float = 0.0
    eta: float = 0.0
    eta_min: float = math.inf
    eta_max: float = 0.0
    residual: float = math.inf
    reason: str = ""
    sign_changes: int = 0

    def count(self, eta: float) -> None:
        """One more step, of size η."""
        self.step += 1
        self.time += eta
        self.eta = eta
        self.eta_min = min(self.eta_min, eta)
        self.eta_max = max(self.eta_max, eta)


@dataclass(frozen=True)
class Snapshot:
    """θ and the progress of the run at one recorded step.

    Attributes:
        step: k.
        time: t_k.
        eta: The last step size.
        theta: θ_k, shape (width, n): θ₊ and θ₋ at depth p; a copy, in float64.
    """

    step: int
    time: float
    eta: float
    theta: np.ndarray

    __repr__ = short_repr


class Engine(ABC):
    """Runs plain SGD on one network.

    Args:
        network: One network (``batch=()``); its parameters are changed in place.
        problem: Data on the network's device, of the network's dtype. For full-batch runs of full row rank.
        schedule: Step sizes.
        stopping: When to end.
        batches: The mini-batch stream, None for full-batch steps.
        certificate: Accumulated along full-batch steps where given.
        update: Which way a step goes; plain SGD by default.
        seed: Seed of the label noise, where the update has some.
    """

    #: What ``engine=`` calls it.
    name: str

    def __init__(
        self,
        network: DiagonalLinearNetwork,
        problem: Problem,
        schedule: Schedule,
        stopping: Stopping,
        batches: RowBatches | None = None,
        certificate: Certificate | None = None,
        update: Update | TorchUpdate | None = None,
        seed: int = 0,
    ) -> None:
        self.update = SGD() if update is None else update
        self.plain = type(self.update) is SGD
        check_network(network, problem)
        said = refusal(self.name, needs_of(network.parametrization, self.update, schedule, network.own_psi))
        if said:
            raise InputError(said)
        if certificate is not None and not self.plain:
            raise InputError(f"certificate must be false with {self.update.name}: it bounds plain SGD, got True")
        if network.overrides_psi and (schedule.rule != "constant" or certificate is not None):
            raise InputError(
                "schedule must be constant, and certificate false, with a network that overrides psi, since all others "
                f"use the formula of θ₊^p − θ₋^p, got {schedule.name!r} and {certificate is not None}"
            )
        self.network = network
        self.problem = problem
        self.schedule = schedule
        self.stopping = stopping
        self.batches = batches
        self.certificate = certificate
        self.seed = seed
        self.law = network.parametrization
        #: Whether a step's gradient is of other data than the run is: a mini-batch's, or with noise on the labels.
        self.samples = batches is not None or self.update.sigma > 0
        #: Whether a change of sign is counted, in place of ending the run.
        self.signed = (self.law.signed or not self.law.positive) and certificate is None
        self.progress = Progress()
        #: What the update remembers, where the engine keeps it.
        self.state: State = {}
        self.threshold = stopping.tol * float(np.linalg.norm(problem.y.double().cpu().numpy()))

    def labels(self) -> Tensor:
        """y of the step about to be made: with fresh noise where the update has some."""
        y, sigma = self.problem.y, self.update.sigma
        if sigma == 0:
            return y
        return y + sigma * torch.from_numpy(random_signs(self.seed, self.progress.step, len(y))).to(y)

    def point(self, residual: Tensor, g: Tensor) -> Point:
        """What a step size of the user's is given at θ_k."""
        theta, progress = self.network.whole_theta(), self.progress
        slope = torch.stack(self.law.slopes(theta.unbind(0)))
        return Point(theta, self.network.psi.detach(), residual, g, slope, progress.step, progress.time)

    def count_sign_changes(self, before: Iterable[Tensor], after: Iterable[Tensor]) -> None:
        """Take note of the parameters that a step takes through zero."""
        for old, new in zip(before, after, strict=True):
            self.progress.sign_changes += int((old.signbit() != new.signbit()).sum())

    @abstractmethod
    def advance(self, steps: int) -> Status | None:
        """Make up to ``steps`` further steps; a status when the run has ended, else None.

        ``advance(a)`` then ``advance(b)`` gives bitwise the θ of ``advance(a + b)``.
        """

    def state_dict(self) -> dict[str, Any]:
        """All that is needed, beside θ, to continue bitwise: progress and the rule's own state."""
        state: dict[str, Any] = {"progress": asdict(self.progress)}
        if self.certificate is not None:
            state["certificate"] = self.certificate.state_dict()
        if self.state:
            state["update"] = {name: value.clone() for name, value in self.state.items()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.progress = Progress(**state["progress"])
        if self.certificate is not None:
            self.certificate.load_state_dict(state["certificate"])
        self.state = {name: state["update"][name].to(value).clone() for name, value in self.state.items()}

    def no_step(self, eta: float) -> Status:
        """The end of a run whose step size is not in (0, ∞), and why."""
        rule = f"the rule {self.schedule.rule}" if self.schedule.own is None else self.schedule.name
        self.progress.reason = f"{rule} gives the step size {eta:g} at step {self.progress.step}"
        return Status.FAILED

    def stepped(
        self, theta: Tensor, gradient: Tensor, eta: float, state: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What the update makes of θ, of shape (width, n), and its next state.

        Raises:
            InputError: where a user's update returns another shape.
        """
        if isinstance(self.update, TorchUpdate):
            raise RuntimeError("torch's optimizers are stepped by the autograd engine")
        new, state = self.update.step(theta, gradient, eta, state)
        if not isinstance(new, Tensor) or new.shape != theta.shape:
            shown = tuple(new.shape) if isinstance(new, Tensor) else type(new).__name__
            raise InputError(
                f"optimizer must return theta of shape {tuple(theta.shape)}, got {shown} of {self.update.name}"
            )
        return new, state

    def norm(self) -> float:
        """‖A‖₂ where the step rule uses it, else 0: of a large A it takes time."""
        return self.problem.spectral_norm if self.schedule.rule == "relative" else 0.0

    def checks_residual(self, step: int) -> bool:
        """Whether the full residual is looked at before step number ``step``."""
        return not self.samples or step % self.stopping.check_every == 0


class RecordingEngine(Engine):
    """An engine that can keep θ at given steps without coming back for each of them."""

    @abstractmethod
    def advance_recording(self, steps: int, due: np.ndarray) -> tuple[Status | None, list[Snapshot]]:
        """:meth:`advance` for full batches, keeping θ at the steps ``due``, increasing, where they are reached."""


def check_network(network: DiagonalLinearNetwork, problem: Problem) -> None:
    """Refuse a network of which an engine would train something else: nothing that a subclass changes is ignored.

    Args:
        network: One network.
        problem: What it is trained on.

    Raises:
        InputError: naming what the engine would ignore.
    """
    kind = type(network).__name__
    parameters = dict(network.named_parameters())
    known = {"theta"} if network.p is None else {"theta_plus", "theta_minus"}
    if set(parameters) != known:
        raise InputError(
            f"network must have the parameters {' and '.join(sorted(known, reverse=True))} and no others, which no engine "
            f"trains, got {kind} with {', '.join(parameters)}"
        )
    shape = (problem.n,) if network.p is not None else (network.parametrization.width, problem.n)
    for name, parameter in parameters.items():
        if tuple(parameter.shape) != shape:
            raise InputError(
                f"network must be one network of n={problem.n}, got {name} of shape {tuple(parameter.shape)}"
            )
        if not parameter.requires_grad:
            raise InputError(f"network must be trained whole, got {kind} whose {name} has requires_grad=False")
        if (parameter.dtype, parameter.device.type) != (problem.dtype, problem.device.type):
            raise InputError(
                f"network must have the problem's dtype and device, {problem.dtype} on {problem.device}, "
                f"got {name} of {parameter.dtype} on {parameter.device}"
            )
    if type(network).forward is not DiagonalLinearNetwork.forward:
        raise InputError(f"network must keep forward, which no engine calls (psi is what is trained), got {kind}")
    if network.overrides_psi and tuple(network.psi.shape) != (problem.n,):
        raise InputError(f"psi must have shape ({problem.n},), got {tuple(network.psi.shape)} from {kind}")


def first_improper(*rows: np.ndarray) -> Status:
    """Why a proposed θ is refused: ``diverged`` where an entry is not finite, else ``left_positive_orthant``."""
    finite = all(bool(np.all(np.isfinite(row))) for row in rows)
    return Status.LEFT_POSITIVE_ORTHANT if finite else Status.DIVERGED
