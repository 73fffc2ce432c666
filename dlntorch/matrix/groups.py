"""Groups of coordinates: min Σ w_g‖ψ_g‖₂ subject to Aψ = y, and the networks ψ_g = u_g v_g that aim at it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dlntorch.matrix.descent import Budget, LayerPoint, descend
from dlntorch.matrix.minimizer import find
from dlntorch.matrix.network_descent import NetworkDescent
from dlntorch.matrix.norms import GroupNorm
from dlntorch.matrix.rows import orthonormal
from dlntorch.matrix.rules import Rule, make_rule
from dlntorch.matrix.training import MatrixRun, check_budget, result_of
from dlntorch.numerics.threads import with_few_threads
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.numerics.validation import InputError, check_count, check_unmasked
from dlntorch.optim.step_size import StepSize
from dlntorch.optim.update import TorchUpdate, Update, make_update
from dlntorch.problem import Problem

__all__ = ["GroupMinimizer", "GroupNetwork", "group_minimizer", "group_numbers", "train_groups"]


def group_numbers(groups: Any, n: int) -> np.ndarray:
    """Of each coordinate the number of its group, shape (n,), from a group size, such numbers, or lists of coordinates.

    Raises:
        InputError: naming ``groups``; where they do not partition the coordinates.
    """
    if isinstance(groups, int) and not isinstance(groups, bool):
        size = check_count("groups", groups)
        if n % size:
            raise InputError(f"groups must divide n = {n} where it is their size, got {size}")
        return np.repeat(np.arange(n // size), size)
    check_unmasked("groups", groups)
    if isinstance(groups, list | tuple) and groups and not np.isscalar(groups[0]):
        found = np.full(n, -1)
        for number, members in enumerate(groups):
            index = np.asarray(members)
            if index.ndim != 1 or index.size == 0 or index.dtype.kind not in "iu":
                raise InputError(f"groups[{number}] must be a nonempty list of coordinates, got {members!r}")
            if index.min() < 0 or index.max() >= n or (found[index] >= 0).any() or np.unique(index).size != index.size:
                raise InputError(f"groups[{number}] must hold coordinates 0 … {n - 1} that no other group has")
            found[index] = number
        if (found < 0).any():
            raise InputError(f"groups must cover every coordinate, got none with {int(np.flatnonzero(found < 0)[0])}")
        return found
    numbers = np.asarray(groups.detach().cpu().numpy() if isinstance(groups, Tensor) else groups)
    if numbers.shape != (n,) or numbers.dtype.kind not in "iu":
        raise InputError(
            f"groups must be a size, {n} group numbers, or lists of coordinates, got shape {numbers.shape}"
        )
    return np.unique(numbers, return_inverse=True)[1].reshape(n)


@dataclass(frozen=True, repr=False)
class GroupMinimizer:
    """A solution of min Σ w_g‖ψ_g‖₂ subject to Aψ = y.

    Attributes:
        psi: Shape (n,); it meets the equations to rounding.
        value: Σ w_g‖ψ_g‖₂.
        dual: λ, shape (m,).
        certificate: max_g ‖(Aᵀλ)_g‖₂/w_g, at most 1.
        gap: (value − yᵀλ)/value.
        active: The groups with ψ_g ≠ 0.
        unique: Whether ψ is the only minimiser; None where that is not decided, with ``unique_reason``.
        status: ``converged`` for a gap of at most 1e-9, ``max_steps`` for a larger one, ``failed`` where Aψ = y has no
            solution.
        reason: One line where the status alone does not tell.
        steps: Newton steps.
    """

    psi: Tensor
    value: float
    dual: Tensor
    certificate: float
    gap: float
    active: Tensor
    unique: bool | None
    unique_reason: str
    status: Status
    reason: str
    steps: int

    __repr__ = short_repr


@with_few_threads
def group_minimizer(problem: Problem, groups: Any, weights: Any = None) -> GroupMinimizer:
    """Solve min Σ w_g‖ψ_g‖₂ subject to Aψ = y (group basis pursuit), with a dual certificate.

    Args:
        problem: (A, y).
        groups: The size of consecutive groups; or the group number of each coordinate, shape (n,); or lists of coordinates.
        weights: w_g > 0, shape (G,); None for ones.

    ``unique``: with Z = Aᵀλ, every minimiser is s_gZ_g, s_g >= 0, on the groups with ‖Z_g‖ = w_g and 0 elsewhere; ψ is the only
    one if A is injective on the span of these Z_g.

    Raises:
        InputError: naming the argument.

    Example:
        >>> found = group_minimizer(Problem([[1.0, 1.0, 1.2]], [1.0]), [[0, 1], [2]])
        >>> found.psi.round(decimals=6).tolist(), round(found.value, 6)
        ([0.5, 0.5, 0.0], 0.707107)
    """
    if not isinstance(problem, Problem):
        raise InputError(f"problem must be a Problem, got {type(problem).__name__}")
    numbers = group_numbers(groups, problem.n)
    norm = GroupNorm(numbers, _weights(weights, int(numbers.max()) + 1))
    found = find(orthonormal(problem, (problem.n,)), norm)
    psi = found.X
    return GroupMinimizer(
        psi=torch.from_numpy(psi).to(problem.device),
        value=found.value,
        dual=torch.from_numpy(found.lam).to(problem.device),
        certificate=found.size,
        gap=found.gap,
        active=torch.from_numpy(np.flatnonzero(norm.norms(psi) > 1e-9 * max(float(norm.norms(psi).max()), 1e-300))),
        unique=found.unique,
        unique_reason=found.unique_reason,
        status=found.status,
        reason=found.reason,
        steps=found.steps,
    )


def _weights(weights: Any, count: int) -> np.ndarray:
    if weights is None:
        return np.ones(count)
    check_unmasked("weights", weights)
    values = np.asarray(weights.detach().cpu().numpy() if isinstance(weights, Tensor) else weights, dtype=np.float64)
    if values.shape != (count,) or not (np.isfinite(values) & (values > 0)).all():
        raise InputError(
            f"weights must be finite and > 0, one for each of the {count} groups, got shape {values.shape}"
        )
    return values


class GroupNetwork(nn.Module):
    """ψ_g = u_g v_g, u_g a number and v_g a vector, from u_g = α and v_g = 0: ψ starts at 0.

    The flow keeps u_g² − ‖v_g‖² = α². It has no closed form, since the direction of v_g turns; where every group has one
    coordinate it is ``Product(2)``.

    Args:
        n: Coordinates.
        groups: As for :func:`group_minimizer`.
        alpha: α > 0, or one for each network of a batch.

    Raises:
        InputError: naming the argument.
    """

    def __init__(self, n: Any, groups: Any, alpha: Any) -> None:
        super().__init__()
        self.n = check_count("n", n)
        numbers = group_numbers(groups, self.n)
        self.register_buffer("numbers", torch.from_numpy(numbers.astype(np.int64)))
        self.groups = int(numbers.max()) + 1
        values = torch.as_tensor(alpha, dtype=torch.float64)
        if values.ndim > 1 or values.numel() == 0 or not bool((torch.isfinite(values) & (values > 0)).all()):
            raise InputError(f"alpha must be finite and > 0, a number or a sequence of them, got {alpha!r}")
        self.batch = tuple(values.shape)
        self.u = nn.Parameter(values[..., None].expand(*self.batch, self.groups).clone())
        self.v = nn.Parameter(torch.zeros(*self.batch, self.n, dtype=torch.float64))

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """ψ, shape (n,) or (B, n); for rows x, shape (k, n), the predictions ⟨x, ψ⟩, shape (k,) or (B, k)."""
        psi = self.u[..., self._numbers] * self.v
        return psi if rows is None else psi @ rows.mT

    @property
    def _numbers(self) -> Tensor:
        return self.get_buffer("numbers")


class _Groups:
    """What the descent needs of a group network; layers are u (B, G) and v (B, n)."""

    def __init__(self, numbers: Tensor, count: int) -> None:
        self.numbers, self.count = numbers, count

    def norms(self, x: Tensor) -> Tensor:
        """‖x_g‖₂, shape (B, G)."""
        return self._sum(x * x).sqrt()

    def _sum(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[0], self.count).index_add(1, self.numbers, x)

    def value(self, layers: list[Tensor]) -> Tensor:
        return layers[0][:, self.numbers] * layers[1]

    def gradient(self, layers: list[Tensor], G: Tensor) -> list[Tensor]:
        return [self._sum(layers[1] * G), layers[0][:, self.numbers] * G]

    def sizes(self, layers: list[Tensor]) -> _GroupSizes:
        return _GroupSizes(self, layers)

    def curvature(self, sizes: Tensor, operator: float, G_norm: Tensor) -> Tensor:
        """‖A‖² max_g(u_g² + ‖v_g‖²) + max_g ‖G_g‖."""
        return operator**2 * sizes[0].square() + G_norm

    def relative(self, upper: Tensor, lower: Tensor, gradients: Tensor, G_norm: Tensor) -> Tensor:
        """|u̇_g| = |⟨v_g, G_g⟩| and ‖v̇_g‖ = |u_g|‖G_g‖ are at most ‖G_g‖ times the group's size √(u_g² + ‖v_g‖²)."""
        return G_norm


class _GroupSizes:
    """max_g √(u_g² + ‖v_g‖²), shape (1, B), computed anew at every step: it is cheap."""

    def __init__(self, groups: _Groups, layers: list[Tensor]) -> None:
        self._groups = groups
        self.moved(torch.zeros(0), layers)

    def moved(self, lengths: Tensor, layers: list[Tensor]) -> None:
        self.upper = self.lower = torch.hypot(layers[0], self._groups.norms(layers[1])).amax(1)[None]

    def dual_norm(self, G: Tensor) -> Tensor:
        """max_g ‖G_g‖₂."""
        return self._groups.norms(G).amax(1)

    def state_dict(self) -> dict[str, Tensor]:
        """The sizes of the layers at hand."""
        return {"upper": self.upper.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from saved sizes."""
        self.upper = self.lower = state["upper"].clone()


class _Vector:
    """A vector problem as the descent wants it."""

    def __init__(self, problem: Problem) -> None:
        self.y, self.spectral_norm, self._problem = problem.y, problem.spectral_norm, problem
        self.device, self.dtype = problem.device, problem.dtype

    def residual(self, X: Tensor) -> Tensor:
        return self._problem.residual(X)

    def adjoint(self, r: Tensor) -> Tensor:
        return self._problem.operator.rmatvec(r)


@with_few_threads
def train_groups(
    problem: Problem,
    network: GroupNetwork,
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
) -> MatrixRun:
    """Train a group network as :func:`~dlntorch.matrix.training.train_matrix` trains matrices; its u and v are moved.

    The relative rule keeps κ >= η max_g ‖G_g‖, G = Aᵀ(y − Aψ): no group changes by more than κ of its size. In the
    result ``X`` is ψ, ``singular_values`` are the norms ‖ψ_g‖₂, and the layers are u and v.

    Args:
        problem: (A, y).
        network: Where it starts.
        schedule, kappa, c, eta, optimizer, optimizer_options, tol, max_steps, max_time, max_wall_seconds: As there.

    Raises:
        InputError: naming the argument.
    """
    update = make_update(optimizer, optimizer_options)
    rule = make_rule(schedule, kappa, c, eta, update)
    budget = check_budget(tol, max_steps, max_time, max_wall_seconds)
    return result_of(descend(group_descent(problem, network, rule, update, budget)), not network.batch)


def group_descent(
    problem: Problem, network: GroupNetwork, rule: Rule, update: Update | TorchUpdate, budget: Budget
) -> NetworkDescent:
    """The descent of :func:`train_groups`, for a trainer or a loop of one's own."""
    data, groups, _ = network_parts(problem, network)
    how = {"rule": rule, "update": update, "budget": budget, "describe": groups.norms, "keep": True}
    return NetworkDescent(network, groups, data, problem, **how)


def network_parts(problem: Problem, network: GroupNetwork) -> tuple[_Vector, _Groups, list[Tensor]]:
    """Data, map and layers, for descent and flow; refuses what does not fit together."""
    if not isinstance(problem, Problem) or not isinstance(network, GroupNetwork):
        raise InputError(
            f"problem and network must be a Problem and a GroupNetwork, got {type(problem).__name__} "
            f"and {type(network).__name__}"
        )
    if network.n != problem.n:
        raise InputError(f"network must have the problem's n = {problem.n}, got {network.n}")
    groups = _Groups(network.get_buffer("numbers"), network.groups)
    return _Vector(problem), groups, [network.u.detach(), network.v.detach()]
