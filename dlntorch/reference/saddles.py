"""From saddle to saddle: the path of the gradient flow for α → 0, without integrating it.

In slow time T (see :mod:`dlntorch.reference.saddle_walls`) the dual q = ∫₀ᵀ Aᵀ(y − Aψ) moves with constant velocity while
ψ stands at a saddle. When the first q_i reaches a wall, t₊ or −t₋, the flow jumps to

    ψ = argmin ½‖Aψ − y‖²  over  {σ_iψ_i >= 0 where q_i is at a wall of sign σ_i,  ψ_i = 0 elsewhere},

and so on until Aᵀ(y − Aψ) = 0. The path does not depend on the depth, except for how coordinates with dependent columns
that switch on together share ψ (W_p of the face they span). Sources: Pesme and
Flammarion 2023 (p = 2); Berthier, arXiv 2509.18766 (the lasso).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from dlntorch.model import as_parametrization
from dlntorch.numerics.threads import with_few_threads
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import DataWarning, check_count
from dlntorch.problem import Problem
from dlntorch.problem.equal_columns import EqualColumns
from dlntorch.reference.saddle_basis import SignedLeastSquares
from dlntorch.reference.saddle_path import SaddlePath
from dlntorch.reference.saddle_walls import Walls, walls
from dlntorch.reference.selection import selected_minimizer

__all__ = ["SaddlePath", "saddle_path"]

#: Coordinates whose duals are so close to their walls when the first gets there enter with it, as a part of t₊ + t₋.
TIE = 1e-12


@with_few_threads
def saddle_path(
    problem: Problem, p: Any = 2, alpha: Any = None, *, scale: float | None = None, max_jumps: int = 100_000
) -> SaddlePath:
    """The saddles that the flow of a network visits as α → 0, and the slow times of its jumps.

    Where y is not in range(A), or a :class:`~dlntorch.model.Nonnegative` network cannot reach it, the path ends at (nonnegative)
    least squares. Coordinates that reach their walls together, to a relative 1e-12 beside the rounding of the path, enter
    together: ``ties`` says which. Equal columns share ψ equally, and other dependent columns as
    :func:`~dlntorch.reference.selection.selected_minimizer` does; ``reason`` says where that is not computed.

    Args:
        problem: The data (A, y), dense.
        p: Depth >= 2, or a ``Power``, ``Nonnegative`` or ``Product``.
        alpha: None or a number: the equal start, whose path does not depend on α (with it, times t can be had).
            An ``Initialization``: for p > 2 its shape a± = θ±(0)/α moves the walls to a±^{2−p}; coordinates that start
            at ψ_i(0) ≠ 0 (a thousand times α^p and a thousandth of the data's size, at least) start at a wall and at
            ψ_i(0): a warm start.
        scale: The α that the shape of an ``Initialization`` is relative to; None means its smallest entry.
        max_jumps: Where to stop.

    Returns:
        The path; its status is ``converged``, or ``max_steps`` after ``max_jumps`` jumps.

    Raises:
        InputError: naming the argument.

    Example:
        >>> path = saddle_path(Problem([[1, 0.5, 0.7, 0], [0.5, 1, 0.1, 0.7]], [1, 0]))
        >>> path.times
        tensor([1.0000, 4.0000, 5.6327], dtype=torch.float64)
        >>> path.psi[2]
        tensor([0.0000, 0.0000, 1.4000, 0.0000], dtype=torch.float64)
    """
    parametrization = as_parametrization(p)
    most = check_count("max_jumps", max_jumps, at_least=0)
    exact = problem.to("cpu", "float64").reduced()
    A, y = exact.A.numpy(), exact.y.numpy()
    data_size = float(np.abs(y @ A).max(initial=0.0)) / float(np.square(A).sum(axis=0).max())
    where = walls(parametrization, alpha, scale, exact.n, data_size)
    shifts = (_exponent(np.abs(A).max()), _exponent(np.abs(y).max(initial=0.0)))
    walk = _Walk(np.ldexp(A, -shifts[0]), np.ldexp(y, -shifts[1]), where, shifts[1] - shifts[0])
    finished = walk.run(most)
    if exact.m < problem.m and not problem.consistent:
        walk.reasons.append("y is not in range(A): the path ends at least squares")
    time_unit = -(shifts[0] + shifts[1])  # of T: 1/(A y)
    arrays = {name: np.array(getattr(walk, name)) for name in ("times", "psi", "duals", "gradients")}
    psi = np.ldexp(arrays["psi"], shifts[1] - shifts[0])
    return SaddlePath(
        times=torch.from_numpy(np.ldexp(arrays["times"], time_unit)).to(problem.y),
        psi=torch.from_numpy(psi).to(problem.y),
        loss=problem.loss(torch.from_numpy(psi).to(problem.y)),
        dual=torch.from_numpy(arrays["duals"]).to(problem.y),
        gradient=torch.from_numpy(np.ldexp(arrays["gradients"], -time_unit)).to(problem.y),
        entered=tuple(walk.entered),
        ties=tuple(walk.ties),
        monotone_until=math.ldexp(walk.monotone_until, time_unit),
        status=Status.CONVERGED if finished else Status.MAX_STEPS,
        reason="; ".join(walk.reasons),
        parametrization=parametrization,
        walls=where,
        problem=exact,
        at_wall=tuple(walk.at_wall),
    )


def _exponent(size: float) -> int:
    """The e of size = f·2^e, 1/2 <= f < 1; 0 for 0."""
    return math.frexp(float(size))[1]


@dataclass
class _Walk:
    """The path in the making, on data of size one; ``shift`` is the power of two of ψ's unit."""

    A: np.ndarray
    y: np.ndarray
    walls: Walls
    shift: int
    times: list[float] = field(default_factory=list)
    psi: list[np.ndarray] = field(default_factory=list)
    duals: list[np.ndarray] = field(default_factory=list)
    gradients: list[np.ndarray] = field(default_factory=list)
    entered: list[tuple[tuple[int, int], ...]] = field(default_factory=list)
    at_wall: list[np.ndarray] = field(default_factory=list)
    ties: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    monotone_until: float = math.inf

    def __post_init__(self) -> None:
        plus, minus = self.walls.plus, self.walls.minus
        key = np.stack([plus, np.arange(len(plus)) * (plus != minus) * 1.0], axis=1)
        self.equal = EqualColumns.of(self.A, key)
        self.alone = self.equal.first == np.arange(len(plus))
        self.solver = SignedLeastSquares(self.A, self.y)
        self.signs = np.zeros(len(plus))  # ±1 at a wall
        self.q, self.time = np.zeros(len(plus)), 0.0
        self.used = np.zeros(len(plus), dtype=bool)  # coordinates whose ∫ψ is not 0
        self.undetermined = False

    def run(self, most: int) -> bool:
        """All jumps, or ``most`` of them; whether the path has ended."""
        self._start()
        while True:
            step = self._next()
            if step is None:
                return True
            if len(self.times) >= most:
                return False
            self._jump(*step)

    def _start(self) -> None:
        origin = np.ldexp(self.walls.origin, -self.shift)
        warm = np.flatnonzero(origin)
        if not warm.size:
            self._record(self.solver.beta)
            return
        residual = self.y - self.A @ origin
        self._record(origin, self.A.T @ residual)
        self.signs[warm] = np.sign(origin[warm])
        self.solver.settle(warm, self.signs)
        moved = np.abs(self.solver.beta - origin).max() > 1e-13 * np.abs(origin).max()
        if not moved:
            self.gradients[0] = self.solver.gradient.copy()
            return
        self.used[warm] = True
        self.times.append(0.0)
        self.entered.append(())
        self._record(self.solver.beta)

    def _next(self) -> tuple[float, np.ndarray] | None:
        """How long the plateau is, and the coordinates that reach their walls at its end; None for the last one."""
        g = self.solver.gradient
        leaving = (self.signs != 0) & (self.signs * g < 0)
        self.signs[leaving] = 0.0
        if self.monotone_until == math.inf and bool((leaving & self.used).any()):
            self.monotone_until = self.time
        room = np.where(g > 0, self.walls.plus - self.q, self.walls.minus + self.q)
        moving = (g != 0) & (self.signs == 0) & self.alone & np.isfinite(room)
        if not moving.any():
            return None
        waits = np.full(g.size, np.inf)
        waits[moving] = np.maximum(room[moving], 0.0) / np.abs(g[moving])
        wait = float(waits.min())
        if not math.isfinite(self.time + wait):
            self.reasons.append("the next jump's time exceeds the largest float64")
            return None
        width = np.minimum(self.walls.plus + self.walls.minus, 2.0)
        margin = TIE * width + wait * self.solver.noise
        left = np.full(g.size, np.inf)
        left[moving] = room[moving] - wait * np.abs(g[moving])
        return wait, np.flatnonzero(left <= margin)

    def _jump(self, wait: float, entering: np.ndarray) -> None:
        g = self.solver.gradient
        self.used |= self.psi[-1] != 0
        self.q = np.clip(self.q + wait * g, -self.walls.minus, self.walls.plus)
        self.time += wait
        self.signs[entering] = np.sign(g[entering])
        self.q[entering] = np.where(g[entering] > 0, self.walls.plus[entering], -self.walls.minus[entering])
        self.solver.settle(np.flatnonzero(self.signs), self.signs)
        self.times.append(self.time)
        members = np.flatnonzero(np.isin(self.equal.first, entering))
        signs = self.equal.sign * self.signs[self.equal.first]
        self.entered.append(tuple((int(i), int(signs[i])) for i in members))
        if members.size > 1:
            self.ties.append((len(self.times) - 1, tuple(int(i) for i in members)))
        self._record(self.solver.beta)

    def _record(self, beta: np.ndarray, gradient: np.ndarray | None = None) -> None:
        first, sign = self.equal.first, self.equal.sign
        if gradient is None:
            gradient = self.solver.gradient
            beta = self.equal.mean(self._shared(beta))
        self.psi.append(beta.copy())
        self.duals.append(sign * self.q[first])
        self.gradients.append(sign * gradient[first])
        self.at_wall.append(sign * self.signs[first])

    def _shared(self, beta: np.ndarray) -> np.ndarray:
        """ψ where a coordinate at its wall could take over from others without changing the loss: the depth's selection.

        All ways of sharing have one Σ t_i|ψ_i|; the flow takes the one that minimises the rest of its potential.
        """
        idle = np.flatnonzero((self.signs != 0) & (beta == 0) & (self.solver.gradient == 0) & self.alone)
        if not any(self.solver.is_dependent(int(i)) for i in idle):
            return beta
        wall = np.flatnonzero((self.signs != 0) & self.alone)
        heights = np.where(self.signs > 0, self.walls.plus, self.walls.minus)[wall]
        shapes = np.where(self.signs > 0, self.walls.shape_plus, self.walls.shape_minus)[wall]
        why = "the walls or the start differ between them"
        if np.ptp(heights) == 0 and np.ptp(shapes) == 0 and not self.walls.origin.any() and not self.equal.some:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DataWarning)
                part = Problem(self.A[:, wall], self.A @ beta)
            found = selected_minimizer(part, self.walls.law.depth)
            x, why = found.psi.numpy(), found.reason or "the selection has another sign"
            if found.status is Status.CONVERGED and bool((self.signs[wall] * x >= 0).all()):
                beta = np.zeros_like(beta)
                beta[wall] = x
                return beta
        if not self.undetermined:
            self.undetermined = True
            self.reasons.append(
                f"from jump {len(self.times) - 1} on, coordinates with dependent columns are at their walls together; how "
                f"they share psi is not determined here ({why}), the loss and the times are"
            )
        return beta
