"""What a run's checkpoint belongs to: the settings that a resumed run must share with it."""

from __future__ import annotations

from typing import Any

from dlntorch.model import Initialization
from dlntorch.optim.update import SGD
from dlntorch.problem import Problem
from dlntorch.run.settings import RunSettings
from dlntorch.store.identity import problem_digest

__all__ = ["run_identity"]


def run_identity(problem: Problem, settings: RunSettings) -> dict[str, Any]:
    """What a checkpoint belongs to, as asked for; budgets and tolerance may change when a run is resumed.

    The numbers that a coarse pass, a repetition or the theorem chose are in the checkpoint's state instead.
    """
    schedule, start = settings.schedule, settings.alpha
    found: dict[str, Any] = {} if settings.p is not None else {"model": repr(settings.law)}
    if isinstance(start, Initialization):
        found["alpha_minus"] = start.minus.tolist()
    if type(settings.update) is not SGD:
        found["optimizer"] = {"name": settings.update.name, **settings.update.options()}
    return {
        **found,
        "problem": problem_digest(problem),
        "p": settings.p,
        "alpha": start.plus.tolist() if isinstance(start, Initialization) else start,
        "schedule": schedule.name,
        "kappa": schedule.kappa,
        "c": schedule.c,
        "eta": schedule.eta,
        "epsilon": schedule.epsilon,
        "over": schedule.over,
        "engine": settings.engine,
        "batch_size": settings.batch_size,
        "seed": settings.seed,
        "dtype": str(settings.dtype),
        "certificate": settings.certificate,
        **({"shards": settings.shards} if settings.shards > 1 else {}),
    }
