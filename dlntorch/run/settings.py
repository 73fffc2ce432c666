"""A run's settings, checked once: what Python callers pass to ``train`` and what Hydra composes become the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from dlntorch.engine import Stopping, resolve_engine
from dlntorch.numerics.validation import (
    InputError,
    check_alpha,
    check_count,
    check_depth,
    check_device,
    check_dtype,
    check_flag,
    check_number,
)
from dlntorch.optim.step_size import Schedule, make_schedule
from dlntorch.problem.operators.shard import can_be_split
from dlntorch.problem.problem import Problem, norm

__all__ = ["DEFAULT_MAX_STEPS", "RunSettings"]

#: The step budget of a run that names none.
DEFAULT_MAX_STEPS = 10_000_000


@dataclass(frozen=True)
class RunSettings:
    """Everything that determines a run beside its problem; built by :meth:`checked`.

    Attributes:
        p: Depth, real, >= 2.
        alpha: Initialization, > 0.
        schedule: Step sizes.
        stopping: Residual tolerance, step and time budgets.
        engine: Resolved engine name.
        batch_size: Rows of a mini-batch, or None for full-batch steps.
        seed: Seed of the mini-batches (the problem has its own seed).
        max_wall_seconds: Wall-clock budget of training, inf for none.
        device: Where training runs.
        dtype: Its precision; references are float64 always.
        references: Whether the ℓ1-minimiser, W_p, the limit, the rate and the flow are computed.
        certificate: Whether the discretization certificate is accumulated along the run.
        shards: Processes that the columns of A are spread over.
    """

    p: float
    alpha: float
    schedule: Schedule
    stopping: Stopping
    engine: str
    batch_size: int | None
    seed: int
    max_wall_seconds: float
    device: torch.device
    dtype: torch.dtype
    references: bool
    certificate: bool
    shards: int = 1

    @staticmethod
    def checked(
        problem: Problem,
        p: Any,
        alpha: Any,
        *,
        schedule: Any = "relative",
        kappa: Any = None,
        c: Any = None,
        eta: Any = None,
        epsilon: Any = None,
        over: Any = "end",
        engine: Any = "auto",
        batch_size: Any = None,
        max_steps: Any = None,
        max_time: Any = None,
        max_wall_seconds: Any = None,
        tol: Any = 1e-10,
        seed: Any = 0,
        device: Any = None,
        dtype: Any = None,
        references: Any = True,
        certificate: Any = None,
        shards: Any = 1,
    ) -> RunSettings:
        """Check every argument against its rule; raises :class:`InputError` with one line."""
        chosen = make_schedule(schedule, kappa=kappa, c=c, eta=eta, epsilon=epsilon, over=over)
        place = check_device(device if device not in (None, "auto") else "cuda" if engine == "cuda" else None)
        kind = check_dtype(dtype)
        size = None if batch_size is None else check_count("batch_size", batch_size, at_most=problem.m)
        wants_certificate = (
            chosen.name == "certified" if certificate is None else check_flag("certificate", certificate)
        )
        if chosen.name in ("certified", "theorem") and size is not None:
            raise InputError(f"batch_size must be left out with schedule={chosen.name}, got {size}")
        if wants_certificate and size is not None:
            raise InputError(
                f"certificate must be false with mini-batches: it bounds full-batch runs, got batch_size={size}"
            )
        if wants_certificate and not problem.dense:
            raise InputError(
                f"certificate must be false, and schedule not certified, where A is not dense, got a {problem.operator!r}"
            )
        if chosen.name == "certified" and not wants_certificate:
            raise InputError("certificate must be true with schedule=certified, got False")
        _check_range(problem, kind)
        if (parts := check_count("trainer.shards", shards)) > 1:
            engine = _engine_of_shards(problem, parts, engine, wants_certificate)
        stopping = Stopping(
            tol=check_number("tol", tol, at_least=0, at_most=1),
            max_steps=check_count("max_steps", DEFAULT_MAX_STEPS if max_steps is None else max_steps, at_least=0),
            max_time=_optional("max_time", max_time),
        )
        if chosen.name == "theorem" and math.isinf(stopping.max_time):
            raise InputError("max_time must be given with schedule=theorem (its bound is over a horizon), got None")
        return RunSettings(
            p=check_depth(p),
            alpha=check_alpha(alpha),
            schedule=chosen,
            stopping=stopping,
            engine=resolve_engine(engine, place, problem.dense),
            batch_size=size,
            seed=check_count("seed", seed, at_least=0),
            max_wall_seconds=_optional("max_wall_seconds", max_wall_seconds),
            device=place,
            dtype=kind,
            references=check_flag("references", references),
            certificate=wants_certificate,
            shards=parts,
        )

    @staticmethod
    def from_config(problem: Problem, config: Mapping[str, Any]) -> RunSettings:
        """The settings in a composed (resolved, plain) configuration."""
        schedule = {k: v for k, v in config["schedule"].items() if k != "name"}
        root = (
            "batch_size", "max_steps", "max_time", "max_wall_seconds", "tol", "seed", "device", "dtype",
            "references", "certificate",
        )  # fmt: skip
        return RunSettings.checked(
            problem,
            config["p"],
            config["alpha"],
            schedule=config["schedule"]["name"],
            engine=config["engine"]["name"],
            shards=config["trainer"].get("shards", 1),
            **schedule,
            **{key: config[key] for key in root},
        )


def _check_range(problem: Problem, dtype: torch.dtype) -> None:
    """Refuse data whose squares, which the loss and its curvature are made of, leave the range of the dtype."""
    limit = 1e140 if dtype == torch.float64 else 1e15
    sizes = {"y": float(norm(problem.y.double()))}
    if problem.dense:
        low, high = torch.aminmax(problem.A)  # no copy: A may be large
        sizes["A"] = max(-float(low), float(high))
    for name, size in sizes.items():
        if size != 0 and not 1 / limit <= size <= limit:
            what = "a norm" if name == "y" else "a largest entry"
            raise InputError(
                f"{name} must have {what} between {1 / limit:g} and {limit:g} to be trained on in {str(dtype)[6:]}, "
                f"got {size:g}: rescale the data"
            )


def _engine_of_shards(problem: Problem, shards: int, engine: Any, certificate: bool) -> str:
    """The engine of a column-sharded run, ``eager``; refuses what cannot be spread over processes."""
    if shards > problem.n:
        raise InputError(f"trainer.shards must be at most the number of columns, {problem.n}, got {shards}")
    if engine not in ("auto", "eager"):
        raise InputError(f"engine must be auto or eager with trainer.shards={shards}, got {engine!r}")
    if certificate:
        raise InputError(
            f"certificate must be false (and schedule not certified) with trainer.shards={shards}, got True"
        )
    if not can_be_split(problem.operator):
        raise InputError(
            f"trainer.shards must be 1 with an A whose columns cannot be had apart, got a {problem.operator!r}"
        )
    return "eager"


def _optional(name: str, value: Any) -> float:
    """A positive bound, or infinity for None."""
    return math.inf if value is None else check_number(name, value, above=0)
