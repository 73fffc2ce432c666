"""The lasso's path, argmin ½‖Aψ − y‖₂² + λ‖ψ‖₁ for all λ: piecewise linear in λ, followed from node to node.

On an active set S with signs σ the optimality conditions Aᵢᵀ(y − Aψ) = λσᵢ, i ∈ S, give dψ_S/dλ = −(A_SᵀA_S)⁻¹σ. As λ
falls from ‖Aᵀy‖_∞, a column whose correlation reaches ±λ joins S, and one whose entry reaches 0 leaves it (Osborne, Presnell
and Turlach, IMA J. Numer. Anal. 20, 2000; Efron, Hastie, Johnstone and Tibshirani, Ann. Statist. 32, 2004). The conditions
are checked at each node: where columns tie, so that following one at a time loses the path, it is said.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dlntorch.numerics.threads import with_few_threads
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.problem import Problem

__all__ = ["LassoPath", "lasso_path"]

#: By how much the optimality conditions may be missed at a node, relative to ‖Aᵀy‖_∞: rounding.
_MISSED = 1e-9
#: An event nearer than this, relative to ‖Aᵀy‖_∞, is the one that has just been passed.
_PASSED = 1e-13
#: Events at a smaller λ, relative to ‖Aᵀy‖_∞, are those of rounding at λ = 0.
_END = 1e-11


@dataclass(frozen=True)
class LassoPath:
    """Nodes of the path, between which it is linear.

    Attributes:
        strengths: λ at the nodes, (K,), decreasing from ‖Aᵀy‖_∞.
        nodes: ψ there, (K, n), the first one 0.
        status: ``converged`` where the path is complete, to λ = 0 or least squares; ``failed`` where it was lost.
        reason: Why it was lost.
    """

    strengths: np.ndarray
    nodes: np.ndarray
    status: Status
    reason: str

    __repr__ = short_repr

    def at(self, strength: float) -> np.ndarray:
        """ψ at λ, (n,); that of the last node for a smaller λ."""
        return np.array([np.interp(-strength, -self.strengths, column) for column in self.nodes.T])

    def nearest(self, truth: np.ndarray) -> tuple[float, float]:
        """(min over λ of ‖ψ_λ − truth‖₂, the λ of it), exactly: the path consists of segments."""
        distances = np.linalg.norm(self.nodes - truth, axis=1)
        first = int(np.argmin(distances))
        best, where = float(distances[first]), float(self.strengths[first])
        for k, (start, step) in enumerate(zip(self.nodes[:-1], np.diff(self.nodes, axis=0), strict=True)):
            length = float(step @ step)
            share = float(np.clip((truth - start) @ step / length, 0.0, 1.0)) if length > 0 else 0.0
            distance = float(np.linalg.norm(start + share * step - truth))
            if distance < best:
                best, where = distance, float((1 - share) * self.strengths[k] + share * self.strengths[k + 1])
        return best, where


@with_few_threads
def lasso_path(problem: Problem, max_nodes: int = 10_000) -> LassoPath:
    """All minimisers of ½‖Aψ − y‖₂² + λ‖ψ‖₁, λ from ‖Aᵀy‖_∞ down to 0.

    Args:
        problem: The data (A, y), dense.
        max_nodes: Of the path, at most.

    Raises:
        InputError: A is an operator.

    Example:
        >>> path = lasso_path(Problem([[1.0, 0.5]], [1.0]))
        >>> path.strengths.tolist(), path.at(0.25).tolist()
        ([1.0, 0.0], [0.75, 0.0])
    """
    A, y = (part.detach().cpu().double().numpy() for part in (problem.A, problem.y))
    follower = _Follower(A, y)
    while follower.lam > 0 and len(follower.strengths) < max_nodes and not follower.reason:
        follower.advance()
    reason = follower.reason or (f"more than {max_nodes} nodes" if follower.lam > 0 else "")
    status = Status.FAILED if reason else Status.CONVERGED
    return LassoPath(np.array(follower.strengths), np.array(follower.nodes), status, reason)


class _Follower:
    """The path up to a node: λ, ψ, the active columns and their signs."""

    def __init__(self, A: np.ndarray, y: np.ndarray) -> None:
        self.A, self.y = A, y
        self.psi = np.zeros(A.shape[1])
        self.correlation = A.T @ y
        self.top = float(np.abs(self.correlation).max())
        self.lam, self.reason = self.top, ""
        self.active: list[int] = []
        self.sign = np.zeros(A.shape[1])
        self.left = -1  # the column that left last: it does not join again where it left
        self.strengths, self.nodes = [self.lam], [self.psi.copy()]
        if self.top > 0:
            self._join(int(np.argmax(np.abs(self.correlation))))

    def _join(self, column: int) -> None:
        self.active.append(column)
        self.sign[column] = np.sign(self.correlation[column])

    def advance(self) -> None:
        """Go on to the next node."""
        S, signs = self.active, self.sign[self.active]
        Q, R = np.linalg.qr(self.A[:, S])
        if len(S) > len(self.y) or np.abs(np.diag(R)).min() < 1e-12 * np.abs(np.diag(R)).max():
            self.reason = f"active columns are dependent at lambda = {self.lam:.3g}"
            return
        image = np.linalg.solve(R.T, signs)
        rate, slope = np.linalg.solve(R, image), self.A.T @ (Q @ image)  # of ψ_S, and of the correlations, as λ falls
        step, joins, leaves = self._next(rate, slope)
        self.lam = max(self.lam - step, 0.0)
        self.psi[S] += step * rate
        self.left = -1
        if leaves is not None:
            self.left = S[leaves]
            self.psi[self.left], self.sign[self.left] = 0.0, 0.0
            del self.active[leaves]
        self.correlation = self.A.T @ (self.y - self.A @ self.psi)
        if joins is not None:
            self._join(joins)
        self._check()
        self.strengths.append(self.lam)
        self.nodes.append(self.psi.copy())

    def _next(self, rate: np.ndarray, slope: np.ndarray) -> tuple[float, int | None, int | None]:
        """How far λ falls until a column joins, or the place of one that leaves; neither where it is 0 before."""
        off = np.ones(len(slope), dtype=bool)
        off[self.active] = False
        tiny = _PASSED * self.top
        with np.errstate(divide="ignore", invalid="ignore"):
            up, down = (self.lam - self.correlation) / (1 - slope), (self.lam + self.correlation) / (1 + slope)
            leaving = -self.psi[self.active] / rate
        for values in (up, down):
            values[~off | ~(values > 0) | ~np.isfinite(values)] = np.inf
            if self.left >= 0 and values[self.left] <= tiny:
                values[self.left] = np.inf
        leaving[~(leaving > tiny)] = np.inf
        entering = np.minimum(up, down)
        joins, leaves = int(np.argmin(entering)), int(np.argmin(leaving))
        if min(entering[joins], leaving[leaves]) >= self.lam - _END * self.top:
            return self.lam, None, None
        if leaving[leaves] < entering[joins]:
            return float(leaving[leaves]), None, leaves
        return float(entering[joins]), joins, None

    def _check(self) -> None:
        """The optimality conditions at this node."""
        off = max(
            float(np.abs(self.correlation).max()) - self.lam,
            float(np.abs(self.correlation[self.active] - self.lam * self.sign[self.active]).max(initial=0.0)),
            float(-(self.psi * self.sign).min()),
        )
        if not off <= _MISSED * self.top * max(1.0, float(np.abs(self.psi).max())):
            self.reason = f"columns tie at lambda = {self.lam:.3g}: the path goes on with several at once"
