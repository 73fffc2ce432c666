"""What a run is, for its checkpoints: the settings that a run that goes on from one must share with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from dlntorch.model import Initialization, Parametrization, Power
from dlntorch.optim.step_size import Schedule
from dlntorch.optim.update import SGD, TorchUpdate, Update
from dlntorch.problem import Problem
from dlntorch.store.description import Description
from dlntorch.store.identity import problem_digest

__all__ = ["Asked", "DecidesTheta", "run_identity", "settings_identity"]


class DecidesTheta(Protocol):
    """What of a run's settings decides θ, beside the problem: :class:`~dlntorch.run.settings.RunSettings` has it."""

    @property
    def law(self) -> Parametrization: ...
    @property
    def alpha(self) -> float | Initialization: ...
    @property
    def schedule(self) -> Schedule: ...
    @property
    def update(self) -> Update | TorchUpdate: ...
    @property
    def engine(self) -> str: ...
    @property
    def batch_size(self) -> int | None: ...
    @property
    def seed(self) -> int: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def certificate(self) -> bool: ...
    @property
    def shards(self) -> int: ...


@dataclass(frozen=True)
class Asked:
    """The same of a descent that was made without settings."""

    law: Parametrization
    alpha: Any
    schedule: Schedule
    update: Update | TorchUpdate
    engine: str
    batch_size: int | None
    seed: int
    dtype: torch.dtype
    certificate: bool
    shards: int = 1


def run_identity(problem: Problem, asked: DecidesTheta) -> tuple[dict[str, Any], list[str]]:
    """What a saved state belongs to, in plain values, and what of it is not seen, in words.

    Args:
        problem: The data as given.
        asked: The settings; with the schedule as asked for, or as a coarse pass has chosen it.
    """
    found, unknown = settings_identity(asked)
    return {"problem": problem_digest(problem), **found}, unknown


def settings_identity(asked: DecidesTheta) -> tuple[dict[str, Any], list[str]]:
    """:func:`run_identity` without the problem.

    Objects of the user's (a parametrization, a step size, an update, a torch optimizer's factory) are told apart by their
    class and their numbers. Budgets and tolerance may change when a run goes on, and so may a seed that nothing uses.
    """
    say, schedule, start = Description(), asked.schedule, asked.alpha
    found: dict[str, Any] = {
        "p": asked.law.depth,
        "alpha": _start(say, start.plus if isinstance(start, Initialization) else start),
        "schedule": schedule.name,
        **{name: getattr(schedule, name) for name in ("kappa", "c", "eta", "epsilon", "over")},
        "engine": asked.engine,
        "batch_size": asked.batch_size,
        "seed": asked.seed if asked.batch_size is not None or asked.update.sigma else None,
        "dtype": str(asked.dtype),
        "certificate": asked.certificate,
    }
    if isinstance(start, Initialization):
        found["alpha_minus"] = _start(say, start.minus)
    if type(asked.law) is not Power:
        found["model"] = say.of(asked.law)
    if schedule.own is not None:
        found["step_size"] = say.of(schedule.own)
    if type(asked.update) is not SGD:
        found["optimizer"] = say.of(asked.update)
    if asked.shards > 1:
        found["shards"] = asked.shards
    return found, say.unknown


def _start(say: Description, alpha: float | Tensor) -> Any:
    """α as one number where all entries have it."""
    if not isinstance(alpha, Tensor):
        return alpha
    first = alpha.flatten()[0]
    return float(first) if bool((alpha == first).all()) else say.of(alpha)
