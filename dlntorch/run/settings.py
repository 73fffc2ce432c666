"""A run's settings, checked once: what Python callers pass to ``train`` and what Hydra composes become the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from dlntorch.engine import CAPABILITIES, Stopping, needs_of, own_device, resolve_engine
from dlntorch.model import Initialization, Parametrization, as_parametrization, check_start
from dlntorch.numerics.validation import (
    InputError,
    check_alpha,
    check_choice,
    check_count,
    check_device,
    check_dtype,
    check_flag,
    check_number,
)
from dlntorch.optim.step_size import DEFAULT, OWN_RATE, Schedule, make_schedule
from dlntorch.optim.update import SGD, Momentum, TorchUpdate, Update, make_update
from dlntorch.problem.operators.shard import can_be_split
from dlntorch.problem.problem import Problem, norm
from dlntorch.reference import SOLVERS
from dlntorch.run.configuration import upgraded
from dlntorch.run.nouns import initialization_of, model_of, optimizer_of, options_of, schedule_of

__all__ = ["DEFAULT_MAX_STEPS", "RunSettings"]

#: The step budget of a run that names none.
DEFAULT_MAX_STEPS = 10_000_000


@dataclass(frozen=True)
class RunSettings:
    """Everything that determines a run beside its problem; built by :meth:`checked`.

    Attributes:
        law: The parametrization, ``Power(p)`` for a depth.
        alpha: Where θ starts: a number > 0, or an :class:`~dlntorch.model.Initialization`.
        schedule: Step sizes.
        stopping: Residual tolerance, step and time budgets.
        engine: Resolved engine name.
        batch_size: Rows of a mini-batch, or None for full-batch steps.
        seed: Seed of the mini-batches (the problem has its own seed).
        max_wall_seconds: Wall-clock budget of training, inf for none.
        device: Where training runs.
        dtype: Its precision; references are float64 always.
        references: Whether the ℓ1-minimiser, W_p, the limit, the rate and the flow are computed.
        solver: What finds the ℓ1-minimiser, as :func:`~dlntorch.reference.l1_minimizer.l1_minimizer` names it.
        certificate: Whether the discretization certificate is accumulated along the run.
        shards: Processes that the columns of A are spread over.
        update: Which way a step goes.
        early_stopping: Whether the best point of a run on a planted problem is compared with the lasso's.
    """

    law: Parametrization
    alpha: float | Initialization
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
    update: Update | TorchUpdate = field(default_factory=SGD)
    solver: str = "auto"
    early_stopping: bool = False

    @property
    def p(self) -> float | None:
        """The depth, None where ψ is not θ₊^p − θ₋^p."""
        return self.law.depth

    @property
    def depth_or_law(self) -> float | Parametrization:
        """What the references take as ``p``."""
        return self.law if self.p is None else self.p

    @property
    def plain_start(self) -> bool:
        """Whether all of θ starts at one number α, at a depth p: what predictions and shards speak of."""
        return self.p is not None and isinstance(self.alpha, float)

    @property
    def words(self) -> str:
        """Network, start and optimizer in a few words, for the plan's line."""
        network = f"p={self.p:g}" if self.p is not None else repr(self.law)
        start = f"alpha={self.alpha:g}" if isinstance(self.alpha, float) else f"alpha={self.alpha!r}"
        optimizer = "" if type(self.update) is SGD else f" optimizer={self.update!r}"
        return f"{network} {start}{optimizer}"

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
        optimizer: Any = "sgd",
        optimizer_options: Any = None,
        early_stopping: Any = False,
    ) -> RunSettings:
        """Check every argument against its rule; raises :class:`InputError` with one line."""
        law, start, update = as_parametrization(p), _checked_start(alpha), make_update(optimizer, optimizer_options)
        schedule = schedule if type(update) is SGD else _schedule_of(update, schedule, kappa, c)
        chosen = (
            Schedule(OWN_RATE, kappa=None)
            if schedule == OWN_RATE and isinstance(update, TorchUpdate)
            else make_schedule(schedule, kappa=kappa, c=c, eta=eta, epsilon=epsilon, over=over)
        )
        if isinstance(update, Momentum) and chosen.kappa is not None:
            # a gradient's whole effect is 1/(1 − β) times its first step: κ and c are of the whole
            share = 1 - update.beta
            chosen = chosen.with_steps(kappa=share * chosen.kappa, c=share * chosen.c)
        _check_start(law, start, problem.n)
        place = check_device(device if device not in (None, "auto") else own_device(engine))
        kind = check_dtype(dtype)
        size = None if batch_size is None else check_count("batch_size", batch_size, at_most=problem.m)
        kind_of = chosen.kind
        wants_certificate = kind_of.certifies if certificate is None else check_flag("certificate", certificate)
        if (kind_of.certifies or kind_of.for_horizon) and size is not None:
            raise InputError(f"batch_size must be left out with schedule={chosen.name}, got {size}")
        if wants_certificate and size is not None:
            raise InputError(
                f"certificate must be false with mini-batches: it bounds full-batch runs, got batch_size={size}"
            )
        needs_plain = wants_certificate or kind_of.proves
        if needs_plain and (type(update) is not SGD or law.depth is None):
            what = f"optimizer={update!r}" if type(update) is not SGD else f"p={law!r}"
            raise InputError(
                f"certificate must be false, and schedule not {chosen.name if kind_of.proves else 'certified'}, "
                f"but for plain SGD at a depth p, which they speak of, got {what}"
            )
        if wants_certificate and not problem.dense:
            raise InputError(
                f"certificate must be false, and schedule not certified, where A is not dense, got a {problem.operator!r}"
            )
        if kind_of.certifies and not wants_certificate:
            raise InputError("certificate must be true with schedule=certified, got False")
        _check_range(problem, kind)
        if (parts := check_count("trainer.shards", shards)) > 1:
            engine = _engine_of_shards(problem, parts, engine, wants_certificate)
            if type(update) is not SGD or law.depth is None or chosen.own is not None or not isinstance(start, float):
                raise InputError(
                    f"trainer.shards must be 1 but for plain SGD at a depth p from one number alpha, got {parts}"
                )
        stopping = Stopping(
            tol=check_number("tol", tol, at_least=0, at_most=1),
            max_steps=check_count("max_steps", DEFAULT_MAX_STEPS if max_steps is None else max_steps, at_least=0),
            max_time=_optional("max_time", max_time),
        )
        if kind_of.for_horizon and math.isinf(stopping.max_time):
            raise InputError("max_time must be given with schedule=theorem (its bound is over a horizon), got None")
        return RunSettings(
            law=law,
            alpha=start,
            schedule=chosen,
            stopping=stopping,
            engine=resolve_engine(engine, place, problem.dense, needs_of(law, update, chosen)),
            batch_size=size,
            seed=check_count("seed", seed, at_least=0),
            max_wall_seconds=_optional("max_wall_seconds", max_wall_seconds),
            device=place,
            dtype=kind,
            references=isinstance(references, str) or check_flag("references", references),
            solver=_solver(references),
            certificate=wants_certificate,
            shards=parts,
            update=update,
            early_stopping=_checked_stopping(problem, early_stopping),
        )

    @staticmethod
    def from_config(problem: Problem, config: Mapping[str, Any]) -> RunSettings:
        """The settings in a composed (resolved, plain) configuration."""
        config = upgraded(config)
        schedule = options_of(config["schedule"])
        optimizer, options = optimizer_of(config["optimizer"])
        root = (
            "batch_size", "max_steps", "max_time", "max_wall_seconds", "tol", "seed", "device", "dtype",
            "references", "certificate", "early_stopping",
        )  # fmt: skip
        return RunSettings.checked(
            problem,
            model_of(config["model"], config["p"]),
            initialization_of(config["alpha"], config["alpha_minus"]),
            schedule=schedule_of(config["schedule"]),
            optimizer=optimizer,
            optimizer_options=options,
            engine=config["engine"]["name"],
            shards=config["trainer"].get("shards", 1),
            **schedule,
            **{key: config[key] for key in root},
        )


def _solver(references: Any) -> str:
    """Which solver ``references`` names."""
    named = isinstance(references, str)
    return check_choice("references, where neither true nor false,", references, SOLVERS) if named else "auto"


def _checked_start(alpha: Any) -> float | Initialization:
    """α as a float, or an initialization."""
    if isinstance(alpha, Initialization):
        return alpha
    if isinstance(alpha, (list, tuple)) or (hasattr(alpha, "ndim") and getattr(alpha, "ndim", 0) > 0):
        raise InputError(
            "alpha must be one number for a run, got several: Initialization(alpha) has one for each coordinate, "
            "train_ensemble a network for each"
        )
    return check_alpha(alpha)


def _checked_stopping(problem: Problem, early_stopping: Any) -> bool:
    """Whether the lasso's best point is asked for, which needs a truth to be near to."""
    if check_flag("early_stopping", early_stopping) and problem.truth is None:
        raise InputError("early_stopping must be false where the problem has no planted truth, got True")
    return bool(early_stopping)


def _check_start(law: Parametrization, start: float | Initialization, n: int) -> None:
    """Refuse a start that the parametrization does not have, and a parametrization whose slope is not its derivative."""
    theta = law.start_from(start, n) if isinstance(start, Initialization) else law.start(start, n)
    if law.depth is None:
        check_start(law, theta, n)


def _schedule_of(update: Update | TorchUpdate, schedule: Any, kappa: Any, c: Any) -> Any:
    """The schedule of an update other than SGD: torch's optimizers keep their own rate unless another is asked for."""
    if schedule != DEFAULT:
        return schedule
    if isinstance(update, TorchUpdate):
        for key, value in (("kappa", kappa), ("c", c)):
            if value not in (None, {"kappa": 0.01, "c": 1.0}[key]):
                raise InputError(f"schedule.{key} must be left out with an optimizer of torch, got {value!r}")
        return OWN_RATE
    if not update.follows_gradient:
        raise InputError(
            f"schedule must be constant, with an eta, or a step size of your own with optimizer={update!r}, whose steps "
            "are not as long as the gradient, got 'relative'"
        )
    return schedule


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
    """The engine of a column-sharded run; refuses what cannot be spread over processes."""
    if shards > problem.n:
        raise InputError(f"trainer.shards must be at most the number of columns, {problem.n}, got {shards}")
    able = [name for name, engine_can in CAPABILITIES.items() if engine_can.over_processes]
    if engine not in ("auto", *able):
        raise InputError(f"engine must be auto or {' or '.join(able)} with trainer.shards={shards}, got {engine!r}")
    if certificate:
        raise InputError(
            f"certificate must be false (and schedule not certified) with trainer.shards={shards}, got True"
        )
    if not can_be_split(problem.operator):
        raise InputError(
            f"trainer.shards must be 1 with an A whose columns cannot be had apart, got a {problem.operator!r}"
        )
    return able[0]


def _optional(name: str, value: Any) -> float:
    """A positive bound, or infinity for None."""
    return math.inf if value is None else check_number(name, value, above=0)
