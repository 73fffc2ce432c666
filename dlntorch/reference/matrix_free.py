"""Basis pursuit with products alone: first-order steps find the support, conjugate gradients the vertex and its proof.

The steps are those of Chambolle and Pock, over-relaxed, on min cost(x) + max over λ of λᵀ(b − Bx) − ε‖λ‖, ‖B‖₂ = 1:

    x' = prox_{γ cost}(x + γBᵀλ),   λ' = prox(λ + M(b − B(2x' − x))/γ),   (x, λ) += 3/2 (x' − x, λ' − λ).

M = I, or a polynomial near (BBᵀ)⁻¹ where B is ill-conditioned. Where AAᵀ = cI the steps are Douglas and Rachford's. x'
has zeros, and soon the support of the minimiser; long before the steps would have converged,
:func:`~dlntorch.reference.matrix_free_finish.finish` has a pair from it that is exact to rounding. Where it has not, the
steps go on: with a smaller γ where x' has too few nonzeros.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dlntorch.numerics.trajectory import Status
from dlntorch.reference.matrix_free_finish import FEASIBLE, PrimalDualPair, finish, least_squares_on
from dlntorch.reference.matrix_free_parts import Products, TensorCosts

__all__ = ["Outcome", "SolveBudget", "SolveProgress", "solve"]

_RELAXATION = 1.5
_PERIOD = 10  # steps from one look to the next
_SETTLED = 0.1  # part of the support that may have changed since the last look where it is tried
_SHRINK = 3.0  # γ over this where the support was too small
_LARGEST = 10.0  # factor of γ at once
_FREE = 12  # looks at which γ is free to change; then it waits longer each time, as changes for ever need not converge
_LATE = 100  # and where AAᵀ is no multiple of I, whose γ is right at first as a rule, the first look at which it does
_PATIENCE = 1.5
_FAR = 20  # looks from one doubt whether the constraints can be met to the next
_RAY = 1e6


@dataclass(frozen=True)
class SolveProgress:
    """Where a long solve stands.

    Attributes:
        steps: First-order steps taken.
        products: Products with A and Aᵀ.
        gap: Relative duality gap of the present pair, whose x misses the constraints by ``residual``.
        residual: ‖Ax − y‖₂/‖y‖₂, less the noise.
        nonzeros: Of x.
        seconds: Since the start.
    """

    steps: int
    products: int
    gap: float
    residual: float
    nonzeros: int
    seconds: float


@dataclass(frozen=True)
class SolveBudget:
    """When to stop: the relative gap asked for, a bound on the steps, and who is told of the progress and may say so."""

    tol: float
    max_steps: int
    report: Callable[[SolveProgress], Any] | None = None


@dataclass
class Outcome:
    """A pair of the scaled problem, and how the solve ended.

    Attributes:
        pair: The best pair.
        status: ``converged``, ``max_steps``, ``interrupted`` or ``failed``.
        steps: First-order steps taken.
        projected: The part of b outside the range of B, where there is one.
        infeasible: Whether λ shows that no admitted x fits b.
    """

    pair: PrimalDualPair
    status: Status
    steps: int
    projected: Tensor | None = None
    infeasible: bool = False


def _same(r: Tensor) -> Tensor:
    return r


class _Walk:
    """The first-order steps."""

    def __init__(self, products: Products, b: Tensor, costs: TensorCosts, noise: float) -> None:
        self.products, self.b, self.costs, self.noise = products, b, costs, noise
        self.x, self.image = b.new_zeros(products.operator.shape[1]), b.new_zeros(b.shape)
        self._inverse = products.inverse if noise == 0 else _same  # in another metric ε‖λ‖ has no closed prox
        start = self._inverse(b)
        tau = products.adjoint(start)
        top = costs.excess(tau) + 1
        self.gamma = 0.7 * float(tau.abs().max()) or 1.0
        self.dual, self.tau = (0.5 / top * start, 0.5 / top * tau) if top > 0 else (0 * start, 0 * tau)
        self.marked = self.x.clone(), self.tau.clone()
        self.ray = self.dual.clone(), self.tau.clone()
        self.sparse, self.sparse_image = self.x, self.image
        self.steps = 0

    def step(self) -> None:
        """One step, two products."""
        self.steps += 1
        self.sparse = self.costs.shrink(self.x + self.gamma * self.tau, self.gamma)
        self.sparse_image = self.products.apply(self.sparse)
        dual = self.dual + self._inverse(self.b - 2 * self.sparse_image + self.image) / self.gamma
        if self.noise > 0:
            dual = dual * max(0.0, 1 - self.noise / (self.gamma * max(float(dual.norm()), 1e-300)))
        self.x += _RELAXATION * (self.sparse - self.x)
        self.image += _RELAXATION * (self.sparse_image - self.image)
        self.dual += _RELAXATION * (dual - self.dual)
        self.tau = self.products.adjoint(self.dual)

    def pair(self) -> PrimalDualPair:
        """The sparse x' with λ."""
        r = self.b - self.sparse_image
        missing = max(0.0, float(r.norm()) - self.noise) / float(self.b.norm())
        return PrimalDualPair(self.sparse, self.dual, self.tau, r, missing, self.costs.excess(self.tau))

    def gap(self, pair: PrimalDualPair) -> float:
        """(cost − (bᵀλ − ε‖λ‖)/(1 + excess))/cost; 1 where x = 0."""
        value = self.costs.value(pair.x)
        bound = (float(self.b @ pair.dual) - self.noise * float(pair.dual.norm())) / max(1.0, 1 + pair.excess)
        return (value - bound) / value if value > 0 else 1.0

    def balance(self, share: float) -> None:
        """γ, in logarithms a ``share`` of the way to the ratio of what x and Bᵀλ have moved by since the last time."""
        moved = float((self.x - self.marked[0]).norm()), float((self.tau - self.marked[1]).norm())
        if min(moved) > 0:
            factor = min(max(moved[0] / moved[1] / self.gamma, 1 / _LARGEST), _LARGEST)
            self.gamma *= factor**share
        self.marked = self.x.clone(), self.tau.clone()

    def on_a_ray(self) -> bool:
        """Whether λ runs along a δ that no admitted x of a cost below 10⁶ that of the present one can answer for."""
        change, tau = self.dual - self.ray[0], self.tau - self.ray[1]
        self.ray = self.dual.clone(), self.tau.clone()
        gain = float(self.b @ change) - self.noise * float(change.norm())
        rise = float(self.costs.relative(tau).abs().max())
        return gain > _RAY * rise * max(self.costs.value(self.sparse), float(self.b.norm()))


def solve(products: Products, b: Tensor, costs: TensorCosts, noise: float, budget: SolveBudget) -> Outcome:
    """min cost(x) subject to ‖Bx − b‖₂ <= ε.

    Args:
        products: With B.
        b: Shape (m,), ‖b‖₂ > ε, of size one.
        costs: Of x.
        noise: ε >= 0.
        budget: Tolerance and bounds.
    """
    walk = _Walk(products, b, costs, noise)
    try:
        return _walked(walk, budget)
    except KeyboardInterrupt:
        return Outcome(walk.pair(), Status.INTERRUPTED, walk.steps)


def _walked(walk: _Walk, budget: SolveBudget) -> Outcome:
    begun, products, b = time.monotonic(), walk.products, walk.b
    before, spent, look, next_change = walk.x != 0, 0, 0, 1 if products.tight else _LATE
    shrunk, next_shrink = 0, 0
    while True:
        look += 1
        for _ in range(min(_PERIOD, budget.max_steps - walk.steps)):
            walk.step()
        pair = walk.pair()
        if not math.isfinite(pair.missing):
            return Outcome(pair, Status.FAILED, walk.steps)
        now = pair.x != 0
        changed, size = int((now != before).sum()), int(now.sum())
        before, over, stopped = now, walk.steps >= budget.max_steps, False
        if budget.report is not None:
            gap, seconds = walk.gap(pair), time.monotonic() - begun
            stopped = budget.report(SolveProgress(walk.steps, products.count, gap, pair.missing, size, seconds)) is True
        if over or stopped or (changed <= 1 + _SETTLED * size and spent <= 2 * walk.steps + 400):
            at = products.count
            found = finish(products, b, walk.costs, walk.noise, pair, max(30, walk.steps))
            spent += products.count - at
            if found is not None and found.missing > FEASIBLE:
                shrunk += 0 if products.tight or look < next_shrink else 1
                if not products.tight and look >= next_shrink:
                    walk.gamma /= _SHRINK
                    next_shrink = look + shrunk
            for one in (found, pair):
                if one is not None and one.missing <= FEASIBLE and abs(walk.gap(one)) <= budget.tol:
                    return Outcome(one, Status.CONVERGED, walk.steps)
        if over or stopped:
            return Outcome(pair, Status.MAX_STEPS if over else Status.INTERRUPTED, walk.steps)
        if look >= next_change:
            walk.balance(1.0 if look <= _FREE else 0.5)
            next_change = look + 1 if look < _FREE else math.ceil(_PATIENCE * look)
        if walk.steps % (_PERIOD * _FAR) == 0:
            outcome = _out_of_reach(walk, pair, budget)
            if outcome is not None:
                return outcome


def _out_of_reach(walk: _Walk, pair: PrimalDualPair, budget: SolveBudget) -> Outcome | None:
    """What can be said where the constraints cannot be met; None where nothing shows it."""
    if walk.on_a_ray():
        return Outcome(pair, Status.FAILED, walk.steps, infeasible=True)
    if walk.products.tight or walk.noise > 0 or walk.steps > _PERIOD * _FAR:
        return None
    outside = outside_range(walk.products, walk.b)
    if outside is None:
        return None
    inner = solve(walk.products, walk.b - outside, walk.costs, 0.0, budget)
    inner.projected = outside
    return inner


def outside_range(products: Products, b: Tensor) -> Tensor | None:
    """The part of b that no x reaches, where least squares on all columns find one."""
    x = b.new_zeros(products.operator.shape[1])
    _, r = least_squares_on(products, slice(None), b, x, 300, 1e-13)
    back = float(products.adjoint(r).norm())
    return r if float(r.norm()) > 1e-9 * float(b.norm()) and back <= 1e-9 * float(r.norm()) else None


def nonnegative_fit(products: Products, b: Tensor, steps: int = 500) -> Tensor:
    """Nonnegative least squares by accelerated projected gradients with restarts."""
    x = b.new_zeros(products.operator.shape[1])
    y, t = x.clone(), 1.0
    for _ in range(steps):
        slope = products.adjoint(products.apply(y) - b)
        new = (y - slope).clamp(min=0)
        if float((new - y) @ (new - x)) < 0:
            y, t = x.clone(), 1.0
            continue
        if float((new - x).norm()) <= 1e-12 * float(new.norm()):
            return new
        after = 0.5 * (1 + math.sqrt(1 + 4 * t * t))
        y = new + (t - 1) / after * (new - x)
        x, t = new, after
    return x
