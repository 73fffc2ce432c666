"""What every engine is: something that makes plain SGD steps on a network, some at a time, and says when to stop.

An engine changes θ by θ_{k+1} = θ_k − η_k ∇L(θ_k) and nothing else. The order inside a step is part of the contract,
so that all engines stop at the same step: at θ_k compute the residual; stop if it is small enough (``converged``),
if the step or time budget is used up; else compute the gradient and η_k; stop *before* a step that would make a
parameter nonpositive (``left_positive_orthant``) or non-finite (``diverged``), keeping θ_k; else step.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dlntorch.engine.batches import RowBatches
from dlntorch.model.network import DiagonalLinearNetwork
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.numerics.validation import InputError
from dlntorch.optim.step_size import Schedule
from dlntorch.problem import Problem

if TYPE_CHECKING:
    from dlntorch.bounds.certificate import Certificate

__all__ = ["Engine", "Progress", "RecordingEngine", "Snapshot", "Stopping", "check_network", "first_improper"]


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
    """

    step: int = 0
    time: float = 0.0
    eta: float = 0.0
    eta_min: float = math.inf
    eta_max: float = 0.0
    residual: float = math.inf
    reason: str = ""

    def count(self, eta: float) -> None:
        """One more step, of size η."""
        self.step += 1
        self.time += eta
        self.eta = eta
        self.eta_min = min(self.eta_min, eta)
        self.eta_max = max(self.eta_max, eta)


@dataclass(frozen=True)
class Snapshot:
    """θ and the progress of the run at one recorded step (arrays are copies, in float64)."""

    step: int
    time: float
    eta: float
    theta_plus: np.ndarray
    theta_minus: np.ndarray

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
    """

    #: What ``engine=`` calls it.
    name: str
    #: Whether it differentiates the network's own ψ; the others step by the formula of θ₊^p − θ₋^p.
    any_psi: ClassVar[bool] = False

    def __init__(
        self,
        network: DiagonalLinearNetwork,
        problem: Problem,
        schedule: Schedule,
        stopping: Stopping,
        batches: RowBatches | None = None,
        certificate: Certificate | None = None,
    ) -> None:
        check_network(network, problem, self.name, self.any_psi)
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
        self.progress = Progress()
        self.threshold = stopping.tol * float(np.linalg.norm(problem.y.double().cpu().numpy()))

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
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.progress = Progress(**state["progress"])
        if self.certificate is not None:
            self.certificate.load_state_dict(state["certificate"])

    def norm(self) -> float:
        """‖A‖₂ where the step rule uses it, else 0: of a large A it takes time."""
        return self.problem.spectral_norm if self.schedule.rule == "relative" else 0.0

    def checks_residual(self, step: int) -> bool:
        """Whether the full residual is looked at before step number ``step``."""
        return self.batches is None or step % self.stopping.check_every == 0


class RecordingEngine(Engine):
    """An engine that can keep θ at given steps without coming back for each of them."""

    @abstractmethod
    def advance_recording(self, steps: int, due: np.ndarray) -> tuple[Status | None, list[Snapshot]]:
        """:meth:`advance` for full batches, keeping θ at the steps ``due``, increasing, where they are reached."""


def check_network(network: DiagonalLinearNetwork, problem: Problem, engine: str, any_psi: bool = False) -> None:
    """Refuse a network of which an engine would train something else: nothing that a subclass changes is ignored.

    Args:
        network: One network.
        problem: What it is trained on.
        engine: The engine's name.
        any_psi: Whether the engine differentiates the network's own ψ.

    Raises:
        InputError: naming what the engine would ignore.
    """
    kind = type(network).__name__
    parameters = dict(network.named_parameters())
    if set(parameters) != {"theta_plus", "theta_minus"}:
        raise InputError(
            f"network must have the parameters theta_plus and theta_minus and no others, which no engine trains, "
            f"got {kind} with {', '.join(parameters)}"
        )
    for name, parameter in parameters.items():
        if tuple(parameter.shape) != (problem.n,):
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
    if network.overrides_psi:
        if not any_psi:
            raise InputError(
                f"engine must be autograd with a network that overrides psi, since {engine} steps by the formula of "
                f"θ₊^p − θ₋^p, got {kind}"
            )
        if tuple(network.psi.shape) != (problem.n,):
            raise InputError(f"psi must have shape ({problem.n},), got {tuple(network.psi.shape)} from {kind}")


def first_improper(plus: np.ndarray, minus: np.ndarray) -> Status:
    """Why a proposed θ is refused: ``diverged`` where an entry is not finite, else ``left_positive_orthant``."""
    finite = bool(np.all(np.isfinite(plus)) and np.all(np.isfinite(minus)))
    return Status.LEFT_POSITIVE_ORTHANT if finite else Status.DIVERGED
