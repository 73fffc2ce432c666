"""Training a matrix factorization on measurements: one call, one result."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dlntorch.matrix.descent import Budget, Descended, LayerPoint, descend
from dlntorch.matrix.network import MatrixFactorization
from dlntorch.matrix.network_descent import NetworkDescent
from dlntorch.matrix.nuclear import check_matrix_problem
from dlntorch.matrix.problem import MatrixProblem
from dlntorch.matrix.rules import Rule, make_rule
from dlntorch.numerics.threads import numeric_threads
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.numerics.validation import InputError, check_count, check_number
from dlntorch.optim.step_size import StepSize
from dlntorch.optim.update import TorchUpdate, Update, make_update

__all__ = [
    "MatrixRun",
    "MatrixTrajectory",
    "check_budget",
    "effective_rank",
    "matrix_descent",
    "matrix_threads",
    "train_matrix",
]

#: X is recorded along the run where it has at most so many entries, batch included.
KEEP_ENTRIES = 20_000
#: Up to so large a matrix one thread is as fast as more.
ONE_THREAD_SIDE = 150


@dataclass(frozen=True, repr=False)
class MatrixTrajectory:
    """A path X(t), of gradient descent or of the flow; of a batch, with B in the second place.

    Attributes:
        t: Times Σ η, shape (k,), or (k, B).
        step: Gradient steps, shape (k,); None for the flow.
        loss: L, shape (k,) or (k, B).
        singular_values: Of X, decreasing, shape (k, min(d1, d2)) or (k, B, …); of groups, the norms ‖ψ_g‖₂.
        effective_rank: exp of the entropy of the normalised singular values, shape (k,) or (k, B); 0 where X = 0.
        X: Shape (k, d1, d2) or (k, B, d1, d2); None where that is large and was not asked for.
        status: How it ended, one for each network of a batch.
        reason: One line where the status alone does not tell.
    """

    t: Tensor
    step: Tensor | None
    loss: Tensor
    singular_values: Tensor
    effective_rank: Tensor
    X: Tensor | None
    status: Status | list[Status]
    reason: str | list[str] = ""

    __repr__ = short_repr

    def __len__(self) -> int:
        return int(self.t.shape[0])


@dataclass(frozen=True, repr=False)
class MatrixRun:
    """A trained factorization; of a batch of B, every entry has B in front (lists for words).

    Attributes:
        X: Shape (d1, d2).
        layers: U_1 … U_N.
        status: How it ended.
        reason: One line where the status alone does not tell.
        steps: Gradient steps.
        time: t = Σ η.
        residual: ‖𝒜X − y‖₂/‖y‖₂.
        singular_values: Of X, decreasing.
        effective_rank: exp of the entropy of the normalised singular values.
        trajectory: What was recorded on the way.
        wall_seconds: Of the loop.
    """

    X: Tensor
    layers: tuple[Tensor, ...]
    status: Status | list[Status]
    reason: str | list[str]
    steps: int | Tensor
    time: float | Tensor
    residual: float | Tensor
    singular_values: Tensor
    effective_rank: float | Tensor
    trajectory: MatrixTrajectory
    wall_seconds: float

    __repr__ = short_repr


def effective_rank(values: Tensor) -> Tensor:
    """exp(−Σ p ln p) with p = values/Σ values, over the last axis; 0 where all are 0 (Roy and Vetterli 2007)."""
    total = values.sum(-1, keepdim=True)
    share = values / torch.where(total > 0, total, torch.ones_like(total))
    return torch.where(total[..., 0] > 0, torch.exp(torch.special.entr(share).sum(-1)), torch.zeros_like(total[..., 0]))


def train_matrix(
    problem: MatrixProblem,
    network: MatrixFactorization,
    *,
    schedule: str | StepSize | Callable[[LayerPoint], Any] = "relative",
    kappa: float = 0.01,
    c: float = 1.0,
    eta: float | None = None,
    optimizer: Any = "sgd",
    optimizer_options: Any = None,
    tol: float = 1e-10,
    max_steps: int = 1_000_000,
    max_time: float = math.inf,
    max_wall_seconds: float = math.inf,
    keep_matrices: bool | None = None,
) -> MatrixRun:
    """Train a factorization by gradient descent with hand-written gradients; the network's layers are moved.

    The relative rule is η = min(c/Λ, κ/ρ), with bounds from spectral norms: no step changes a layer by more than κ of the
    largest layer (``product``) or any direction of one by more than a factor 1 ± κ (``psd`` and ``difference``: U keeps its
    rank, as θ stays positive), and Λ bounds ‖∇²L‖₂. A batch of networks is trained side by side, each with its own η.

    Args:
        problem: The measurements.
        network: Where it starts; afterwards it holds the trained layers.
        schedule: ``relative``, ``stable`` (η = c/Λ), ``constant`` (with ``eta``), or a callable
            :class:`~dlntorch.matrix.descent.LayerPoint` -> η.
        kappa: Largest relative change of a layer in one step, in (0, 0.3].
        c: Fraction of the stability bound, in (0, 1].
        eta: The step of ``constant``.
        optimizer: ``sgd``, another name of :func:`dlntorch.train`'s, an :class:`~dlntorch.Update`, or a callable params ->
            torch.optim.Optimizer, whose own lr is then the step.
        optimizer_options: Of an optimizer that was named.
        tol: Relative residual ‖𝒜X − y‖/‖y‖ at which a network has converged; 0 never stops on it.
        max_steps, max_time, max_wall_seconds: Budgets; t = Σ η ends at max_time exactly.
        keep_matrices: Whether X is recorded; None: where it is small.

    Raises:
        InputError: naming the argument; shapes that do not match; psd or difference with measurements that are not symmetric.

    Example:
        >>> problem = MatrixProblem.completion([[True, True], [True, False]], [1.0, 2.0, 3.0])
        >>> run = train_matrix(problem, MatrixFactorization((2, 2), 3, 1e-3), kappa=0.1)
        >>> run.status, round(float(run.X[1, 1]), 2)
        (<Status.CONVERGED: 'converged'>, 5.99)
    """
    check_factorization(problem, network)
    budget = check_budget(tol, max_steps, max_time, max_wall_seconds)
    update = make_update(optimizer, optimizer_options)
    rule = make_rule(schedule, kappa, c, eta, update)
    keep = keep_matrices if keep_matrices is not None else math.prod((*network.batch, *network.shape)) <= KEEP_ENTRIES
    descent = matrix_descent(problem, network, rule, update, budget, keep=keep)
    with matrix_threads(network):
        return result_of(descend(descent), not network.batch)


def matrix_descent(
    problem: MatrixProblem,
    network: MatrixFactorization,
    rule: Rule,
    update: Update | TorchUpdate,
    budget: Budget,
    *,
    describe: Callable[[Tensor], Tensor] = torch.linalg.svdvals,
    keep: bool = False,
) -> NetworkDescent:
    """The descent of :func:`train_matrix`, for a trainer or a loop of one's own; arguments as they are there, checked."""
    check_factorization(problem, network)
    how = {"rule": rule, "update": update, "budget": budget, "describe": describe, "keep": keep}
    return NetworkDescent(network, network.kind, problem, problem.flat, **how)


def matrix_threads(network: MatrixFactorization) -> AbstractContextManager[Any]:
    """As many threads as pay for its products, as a context."""
    return numeric_threads(1 if max(*network.shape, network.width) <= ONE_THREAD_SIDE else "auto", None)


def result_of(done: Descended, single: bool) -> MatrixRun:
    """The result of a descent, without the batch where there was none."""
    of = (lambda value: value[0]) if single else (lambda value: value)
    along = (lambda name: done.recorder.column(name)[:, 0]) if single else done.recorder.column
    values = along("values")
    trajectory = MatrixTrajectory(
        t=along("time").cpu(),
        step=done.recorder.column("step"),
        loss=along("loss").cpu(),
        singular_values=values,
        effective_rank=effective_rank(values),
        X=None if done.recorder.snapshots[-1].X is None else along("X"),
        status=of(done.status),
        reason=of(done.reasons),
    )
    last = done.recorder.snapshots[-1].values
    return MatrixRun(
        X=of(done.X),
        layers=tuple(of(layer) for layer in done.layers),
        status=of(done.status),
        reason=of(done.reasons),
        steps=int(done.steps[0]) if single else done.steps,
        time=float(done.time[0]) if single else done.time,
        residual=float(done.residual[0]) if single else done.residual,
        singular_values=of(last),
        effective_rank=float(effective_rank(last)[0]) if single else effective_rank(last),
        trajectory=trajectory,
        wall_seconds=done.wall_seconds,
    )


# -- input --------------------------------------------------------------------------------------------------------


def check_factorization(problem: MatrixProblem, network: MatrixFactorization) -> None:
    """Refuse what does not fit together."""
    check_matrix_problem(problem)
    if not isinstance(network, MatrixFactorization):
        raise InputError(f"network must be a MatrixFactorization, got {type(network).__name__}")
    if network.shape != problem.shape:
        raise InputError(f"network must have the problem's shape {problem.shape}, got {network.shape}")
    if network.kind.symmetric and not problem.symmetric:
        raise InputError(
            f"measurements must be symmetric with kind={network.kind.name}, got A_j − A_jᵀ of relative size "
            f"{problem.asymmetry:.1e}: pass ½(A_j + A_jᵀ), which measures the same of a symmetric X"
        )
    layer = network.layers[0]
    if layer.dtype != problem.flat.dtype or layer.device != problem.flat.device:
        raise InputError(
            f"network must have the problem's dtype and device, {problem.flat.dtype} on {problem.flat.device}, "
            f"got {layer.dtype} on {layer.device}"
        )


def check_budget(tol: Any, max_steps: Any, max_time: Any, max_wall_seconds: Any) -> Budget:
    """The budget, checked; infinity means none."""
    longest = max_time if max_time == math.inf else check_number("max_time", max_time, above=0)
    seconds = max_wall_seconds
    if seconds != math.inf:
        seconds = check_number("max_wall_seconds", max_wall_seconds, above=0)
    return Budget(check_number("tol", tol, at_least=0), check_count("max_steps", max_steps), longest, seconds)
