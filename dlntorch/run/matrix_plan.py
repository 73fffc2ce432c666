"""What a run of a factorization is about to do: its settings, its reference, and how it becomes a result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.engine import Stopping
from dlntorch.matrix.descent import Budget
from dlntorch.matrix.named import make_matrix_problem
from dlntorch.matrix.network import MatrixFactorization
from dlntorch.matrix.network_descent import NetworkDescent
from dlntorch.matrix.nuclear import NuclearMinimizer, nuclear_minimizer
from dlntorch.matrix.problem import MatrixProblem
from dlntorch.matrix.rules import Rule, make_rule
from dlntorch.matrix.training import effective_rank, matrix_descent
from dlntorch.numerics.trajectory import short_repr
from dlntorch.numerics.validation import InputError, check_choice, check_count, check_flag, check_number
from dlntorch.optim.update import TorchUpdate, Update, make_update
from dlntorch.run.matrix_result import MatrixResult, matrix_summary
from dlntorch.run.nouns import optimizer_of
from dlntorch.training.prediction import Prediction

__all__ = ["MatrixPlan", "MatrixSettings", "plan_matrix"]

#: Problems of more entries or measurements have no reference: its Newton systems would take longer than training.
LARGEST_REFERENCE, LARGEST_MEASUREMENTS = 10_000, 2_000
#: What other runs can be told and a factorization cannot: key and the value that says nothing.
_UNUSED = {
    "accuracy": (None, "it chooses the p and alpha of vectors"),
    "p": (3, "the depth of a factorization is model.layers"),
    "alpha_minus": (None, "a factorization starts from one alpha"),
    "batch_size": (None, "steps are full batch"),
    "certificate": (None, "there is none for matrices"),
    "early_stopping": (False, "it compares with the lasso of vectors"),
}


@dataclass(frozen=True)
class MatrixSettings:
    """How a factorization is trained.

    Attributes:
        model: Arguments of the network beside its shape.
        schedule: Name and numbers of the step rule.
        rule: η.
        update: What is done with it.
        budget: When it stops.
        references: Whether the nuclear-norm minimiser is computed.
    """

    model: dict[str, Any]
    schedule: dict[str, Any]
    rule: Rule
    update: Update | TorchUpdate
    budget: Budget
    references: bool

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> MatrixSettings:
        """The settings of a configuration.

        Raises:
            InputError: naming the key.
        """
        _check_unused(config)
        group = config["model"]
        alpha = check_number("alpha", config["alpha"], above=0)
        seed = check_count("seed", config["seed"], at_least=0)
        model = {**{key: group[key] for key in ("layers", "kind", "width", "start")}, "alpha": alpha, "seed": seed}
        update = make_update(*optimizer_of(config["optimizer"]))
        given = {key: value for key, value in config["schedule"].items() if key != "name"}
        name = config["schedule"]["name"]
        check_choice("schedule", name, ("relative", "constant", "stable"))
        rule = _in_words_of_keys(
            lambda: make_rule(name, given.get("kappa", 0.01), given.get("c", 1.0), given.get("eta"), update)
        )
        budget = Budget(
            check_number("tol", config["tol"], at_least=0, at_most=1),
            check_count("max_steps", config["max_steps"], at_least=0),
            _or_none("max_time", config["max_time"]),
            _or_none("max_wall_seconds", config["max_wall_seconds"]),
        )
        return cls(model, {"name": name, **given}, rule, update, budget, check_flag("references", config["references"]))

    def network(self, problem: MatrixProblem) -> MatrixFactorization:
        """The network at its start."""
        return _in_words_of_keys(lambda: MatrixFactorization(problem.shape, **self.model))

    @property
    def stopping(self) -> Stopping:
        """The budgets, as vectors' runs have them."""
        return Stopping(tol=self.budget.tol, max_steps=self.budget.max_steps, max_time=self.budget.max_time)


def _check_unused(config: Mapping[str, Any]) -> None:
    for key, (nothing, why) in _UNUSED.items():
        if config[key] not in (nothing, *((False,) if nothing is None else ())):
            raise InputError(f"{key} must be left out with model=factorization: {why}; got {config[key]!r}")
    if config["engine"]["name"] != "auto":
        raise InputError(f"engine must be auto with model=factorization, got {config['engine']['name']}")
    for key, known in {"device": ("auto", "cpu"), "dtype": ("float64",)}.items():
        if config[key] not in known:
            raise InputError(f"{key} must be {' or '.join(known)} with model=factorization, got {config[key]!r}")
    if config["trainer"]["shards"] != 1:
        raise InputError(f"trainer.shards must be 1 with model=factorization, got {config['trainer']['shards']}")


def _or_none(name: str, value: Any) -> float:
    return math.inf if value is None else check_number(name, value, above=0)


def _in_words_of_keys(make: Any) -> Any:
    """What ``make`` returns; its complaints name the keys of the command line."""
    keys = {name: f"model.{name}" for name in ("layers", "kind", "width", "start", "shape")}
    keys |= {name: f"schedule.{name}" for name in ("kappa", "c", "eta")}
    try:
        return make()
    except InputError as error:
        first, _, rest = str(error).partition(" ")
        raise InputError(f"{keys.get(first, first)} {rest}") from None


class MatrixColumns:
    """Numbers of X along a run: its singular values and its distances to what it is compared with.

    Args:
        problem: The measurements.
        least: The minimiser of the nuclear norm, or None.
    """

    def __init__(self, problem: MatrixProblem, least: NuclearMinimizer | None) -> None:
        self.problem, self.least = problem, least
        self.count = min(problem.shape)

    def describe(self, X: Tensor) -> Tensor:
        """Shape (B, count + 2): singular values, distance to the minimiser, distance to the truth; NaN where there is none."""
        found = [torch.linalg.svdvals(X)]
        for other in (None if self.least is None else self.least.X, self.problem.truth):
            away = X.new_full((X.shape[0],), math.nan) if other is None else (X - other).flatten(1).norm(dim=1)
            found.append(away[:, None])
        return torch.cat(found, dim=1)

    def measure(self, snapshots: Sequence[Any]) -> dict[str, np.ndarray]:
        """The columns of ``trajectory.csv``, one entry for each snapshot."""
        values = torch.stack([s.values[0] for s in snapshots])
        sigma = values[:, : self.count]
        scale = float(torch.linalg.vector_norm(self.problem.y)) or 1.0
        loss = torch.stack([s.loss[0] for s in snapshots])
        columns = {
            "step": torch.tensor([float(s.step) for s in snapshots]),
            "t": torch.stack([s.time[0] for s in snapshots]),
            "eta": torch.stack([s.eta[0] for s in snapshots]),
            "loss": loss,
            "residual": (2 * loss).sqrt() / scale,
            "nuclear_norm": sigma.sum(1),
            "effective_rank": effective_rank(sigma),
        }
        if self.least is not None:
            columns["nuclear_gap"] = sigma.sum(1) / self.least.value - 1 if self.least.value else sigma.sum(1)
            columns["distance_to_nuclear"] = values[:, -2]
        if self.problem.truth is not None:
            columns["distance_to_truth"] = values[:, -1]
        columns |= {f"sigma_{i + 1}": sigma[:, i] for i in range(min(self.count, 12))}
        return {name: column.double().numpy() for name, column in columns.items()}


@dataclass
class MatrixPlan:
    """What one factorization is about to do; see :class:`~dlntorch.run.planning.Plan`, of which this is the sibling.

    Attributes:
        problem: The measurements.
        settings: How it is trained.
        least: The minimiser of the nuclear norm (psd: the trace), or None, and
        why: why there is none.
    """

    problem: MatrixProblem
    settings: MatrixSettings
    least: NuclearMinimizer | None
    why: str
    note: str = ""

    __repr__ = short_repr

    @property
    def prediction(self) -> Prediction:
        """None: no theorem says how many steps a factorization takes."""
        return Prediction(None, None, "runs of factorizations are not predicted")

    def new_descent(self, block_seconds: float = 0.05, after: Any = None) -> NetworkDescent:
        """The network at its start."""
        settings = self.settings
        descent = matrix_descent(
            self.problem,
            settings.network(self.problem),
            settings.rule,
            settings.update,
            settings.budget,
            describe=self.measurer().describe,
            keep=False,
        )
        descent.block_seconds = block_seconds
        return descent

    def measurer(self) -> MatrixColumns:
        """What measures the recorded path."""
        return MatrixColumns(self.problem, self.least)

    def repeated(self, descent: NetworkDescent) -> None:
        """None: nothing is repeated."""

    def result(self, descent: NetworkDescent, history: dict[str, np.ndarray]) -> MatrixResult:
        """The result of a finished descent with its measured columns."""
        summary = matrix_summary(self, descent, history)
        layers = tuple(layer[0].clone() for layer in descent.layers)
        status = descent.status
        if status is None:
            raise RuntimeError("the run has not ended")
        return MatrixResult(summary, descent.X[0].clone(), layers, status, self.problem, dict(history))


def plan_matrix(config: Mapping[str, Any]) -> MatrixPlan:
    """Check the settings and compute the reference; nothing is trained or written."""
    settings = MatrixSettings.from_config(config)
    problem = make_matrix_problem(**config["problem"])
    network = settings.network(problem)
    least, why = None, "references=false"
    if settings.references and (problem.n > LARGEST_REFERENCE or problem.m > LARGEST_MEASUREMENTS):
        why = f"it is computed up to {LARGEST_REFERENCE} entries and {LARGEST_MEASUREMENTS} measurements"
    elif settings.references:
        least, why = nuclear_minimizer(problem, psd=network.kind.name == "psd"), ""
    return MatrixPlan(problem, settings, least, why)
