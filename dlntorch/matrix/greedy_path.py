"""The greedy low-rank path: the saddles that a factorization of two layers visits as α → 0, the matrix analogue of jumps.

With two layers the flow is Ż = 2H(G)Z for Z the stacked layers and G = 𝒜*(y − 𝒜X): psd has Z = U and H = (G + Gᵀ)/2, the
product Z = (U_2, U_1ᵀ) and H = ½(0, G; Gᵀ, 0), the difference Z = diag(U, V) and H = diag(H, −H). At a saddle H is constant, so
a part of Z of size α^{1−q} grows to α^{1−q−λT} along an eigenvector of H to λ, in the slow time T = 2t/ln(1/α). The first to
reach size one joins, and the flow of that rank runs to its end (Li, Luo and Lyu 2021, who prove the first jump). Conjecture for
the later ones: the exponents q, sorted, go to the eigenvalues, sorted, wherever eigenvectors of one saddle overlap with those of
the next; where measurements commute none do, each keeps its own, and the path is that of vectors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.integrate import LSODA
from torch import Tensor

from dlntorch.matrix.network import MatrixFactorization
from dlntorch.matrix.problem import MatrixProblem
from dlntorch.matrix.training import check_factorization
from dlntorch.numerics.threads import with_few_threads
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.numerics.validation import InputError, check_count

__all__ = ["GreedyPath", "greedy_path"]

#: Eigenvalues this close, relative to the largest at the start, are equal; overlaps below it are none; and ties of times.
SAME = 1e-8
#: Size of a direction that joins, and below which one has left, relative to the largest of Z.
JOINS, LEFT = 1e-4, 1e-5
#: The flow has ended where Ż is this share of its size at the start, or after so many steps.
STILL, STEPS = 1e-10, 200_000
#: Entries below this share are rounding.
NOISE = 1e-11


@dataclass(frozen=True, repr=False)
class GreedyPath:
    """The saddles, as α → 0.

    Attributes:
        times: Slow times T = 2t/ln(1/α) of the jumps, shape (J,).
        X: The saddles, from the start on, shape (J + 1, d1, d2).
        ranks: Directions of Z that are on at each saddle.
        loss: L at each, shape (J + 1,).
        status: ``converged`` where X fits the data or no direction grows, ``max_steps`` after the most jumps.
        reason: One line where the status alone does not tell.
    """

    times: Tensor
    X: Tensor
    ranks: tuple[int, ...]
    loss: Tensor
    status: Status
    reason: str = ""

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.X)

    def jump_times(self, alpha: float) -> Tensor:
        """Times t of the jumps at a small α, to leading order: T ln(1/α)/2."""
        return self.times * math.log(1 / alpha) / 2


class _Stacked:
    """X as a part of ZZᵀ, and H(G)."""

    def __init__(self, problem: MatrixProblem, kind: str) -> None:
        self.problem, self.kind, self.shape = problem, kind, problem.shape

    def start(self, layers: list[np.ndarray]) -> np.ndarray:
        if self.kind == "psd":
            return layers[0]
        if self.kind == "product":
            return np.concatenate([layers[1], layers[0].T])
        U, V = layers
        return np.block([[U, np.zeros_like(U)], [np.zeros_like(V), V]])

    def X(self, Z: np.ndarray) -> np.ndarray:
        d1 = self.shape[0]
        if self.kind == "psd":
            return Z @ Z.T
        if self.kind == "product":
            return Z[:d1] @ Z[d1:].T
        return Z[:d1] @ Z[:d1].T - Z[d1:] @ Z[d1:].T

    def H(self, X: np.ndarray) -> np.ndarray:
        G = self.problem.adjoint(self.problem.residual(torch.from_numpy(X))).numpy()
        if self.kind == "product":
            d1, d2 = self.shape
            return 0.5 * np.block([[np.zeros((d1, d1)), G], [G.T, np.zeros((d2, d2))]])
        S = 0.5 * (G + G.T)
        if self.kind == "psd":
            return S
        return np.block([[S, np.zeros_like(S)], [np.zeros_like(S), -S]])


@with_few_threads
def greedy_path(problem: MatrixProblem, network: MatrixFactorization, *, max_jumps: int = 50) -> GreedyPath:
    """The saddles that the flow visits as the scale of the network's start goes to 0, and the slow times of its jumps.

    Args:
        problem: The measurements.
        network: Two layers; where it starts says which directions there are, its scale does not matter.
        max_jumps: Where to stop.

    Raises:
        InputError: naming the argument; more than two layers, whose waits are no sums of exponents.

    Example:
        >>> problem = MatrixProblem([[[2.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]], [2.0, 1.0])
        >>> path = greedy_path(problem, MatrixFactorization((2, 2), 2, 0.1, kind="psd"))
        >>> path.times.tolist(), path.ranks
        ([0.25, 1.0], (0, 1, 2))
    """
    check_factorization(problem, network)
    most = check_count("max_jumps", max_jumps, at_least=0)
    if len(network.layers) > 2 or network.batch:
        raise InputError(f"network must have two layers and no batch, got {len(network.layers)} and {network.batch}")
    return _Walk(_Stacked(problem, network.kind.name), [u.detach().double().numpy() for u in network.layers]).run(most)


class _Walk:
    """The path in the making."""

    def __init__(self, stacked: _Stacked, layers: list[np.ndarray]) -> None:
        Z = stacked.start(layers)
        U, s, _ = np.linalg.svd(Z, full_matrices=False)
        self.stacked = stacked
        # of the small part of Z, whose sizes are α^{1−q}; from U_2 = 0 both (u, v) and (u, −v) are in every column
        from_zero = stacked.kind == "product" and not layers[1].any()
        self.frame = np.eye(Z.shape[0]) if from_zero else U[:, s > 1e-12 * s[0]]
        self.q = np.zeros(self.frame.shape[1])
        self.on = np.zeros((Z.shape[0], 0))
        self.top = float(np.abs(np.linalg.eigvalsh(stacked.H(stacked.X(self.on)))).max())
        self.basis = np.eye(Z.shape[0])
        self.T, self.times, self.saddles, self.ranks = 0.0, [], [], []

    def run(self, most: int) -> GreedyPath:
        """All jumps, or ``most`` of them."""
        status, reason = Status.CONVERGED, ""
        while True:
            X = self.stacked.X(self.on)
            self.saddles.append(X)
            self.ranks.append(self.on.shape[1])
            found = self._next(self.stacked.H(X))
            if found is None:
                break
            if len(self.times) >= most:
                status = Status.MAX_STEPS
                break
            wait, joining = found
            self.T += wait
            self.times.append(self.T)
            if not self._jump(joining):
                status, reason = Status.FAILED, f"the flow of rank {self.on.shape[1]} did not come to rest"
                break
        X = torch.from_numpy(np.stack(self.saddles))
        loss = self.stacked.problem.loss(X)
        return GreedyPath(torch.tensor(self.times).double(), X, tuple(self.ranks), loss, status, reason)

    def _next(self, H: np.ndarray) -> tuple[float, np.ndarray] | None:
        """The wait at this saddle and the directions that join at its end; moves frame and exponents there."""
        values, vectors = self._eigenvectors(H)
        pairs: list[tuple[int, int]] = []  # (exponent, eigenvalue)
        for of_frame, of_values in _connected(np.abs(self.frame.T @ vectors) > math.sqrt(SAME)):
            by_size = sorted(of_frame, key=lambda i: -self.q[i])
            by_value = sorted(of_values, key=lambda k: -values[k])
            pairs += list(zip(by_size, by_value, strict=False))
        waits = [((1 - self.q[i]) / values[k], i, k) for i, k in pairs if values[k] > SAME * self.top]
        if not waits:
            return None
        wait = max(min(waits)[0], 0.0)
        joining = [(i, k) for w, i, k in waits if w <= wait * (1 + SAME)]
        frame, q = self.frame.copy(), self.q.copy()
        for i, k in pairs:
            frame[:, i], q[i] = vectors[:, k], self.q[i] + wait * values[k]
        stay = np.setdiff1d(np.arange(q.size), [i for i, _ in joining])
        self.frame, self.q = frame[:, stay], q[stay]
        self.basis = vectors
        return wait, vectors[:, [k for _, k in joining]]

    def _eigenvectors(self, H: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those of H; where eigenvalues are equal, the ones that frame and active directions are made of."""
        values, vectors = np.linalg.eigh(H)
        marks = (self.frame * (1.0 + np.arange(self.frame.shape[1]))) @ self.frame.T
        if self.on.size:
            Q, _ = np.linalg.qr(self.on)
            marks = marks - (Q * (1.0 + np.arange(Q.shape[1]))) @ Q.T
        begin = 0
        for end in range(1, values.size + 1):
            if end == values.size or values[end] - values[end - 1] > SAME * self.top:
                group = vectors[:, begin:end]
                vectors[:, begin:end] = group @ np.linalg.eigh(group.T @ marks @ group)[1]
                values[begin:end] = values[begin:end].mean()
                begin = end
        return np.where(np.abs(values) <= SAME * self.top, 0.0, values), vectors

    def _jump(self, joining: np.ndarray) -> bool:
        """The flow of the rank that is on now, to its end; a direction that leaves goes back to the frame with q = 1."""
        scale = float(np.linalg.norm(self.on, 2)) if self.on.size else 1.0
        Z = np.concatenate([self.on, JOINS * scale * joining], axis=1)
        Z, rested = _rest(self.stacked, Z, self.basis)
        U, s, _ = np.linalg.svd(Z, full_matrices=False)
        stays = s > LEFT * max(float(s[0]), 1e-300)
        self.on = U[:, stays] * s[stays]
        self.frame = np.concatenate([self.frame, U[:, ~stays]], axis=1)
        self.q = np.concatenate([self.q, np.ones(int((~stays).sum()))])
        return rested


def _rest(stacked: _Stacked, Z: np.ndarray, basis: np.ndarray) -> tuple[np.ndarray, bool]:
    """Where Ż = 2H Z comes to rest from Z; entries in the orthogonal ``basis`` that only rounding makes stay 0.

    Where measurements commute such entries are 0 for ever, and unstable.
    """
    shape = Z.shape
    size = float(np.linalg.norm(Z)) * float(np.linalg.norm(stacked.H(np.zeros(stacked.shape)), 2))

    def velocity(_: float, c: np.ndarray) -> np.ndarray:
        C = c.reshape(shape)
        Z = basis @ C
        found = basis.T @ (2 * stacked.H(stacked.X(Z)) @ Z)
        noise = NOISE * float(np.linalg.norm(C))
        found[(np.abs(C) <= noise) & (np.abs(found) <= NOISE * size)] = 0.0
        return found.ravel()

    start = basis.T @ Z
    start[np.abs(start) <= NOISE * float(np.linalg.norm(start))] = 0.0
    solver: Any = LSODA(velocity, 0.0, start.ravel(), np.inf, rtol=1e-10, atol=1e-13)
    for _ in range(STEPS):
        if solver.status != "running":
            break
        solver.step()
        moving = float(np.linalg.norm(velocity(0.0, solver.y)))
        if moving <= STILL * max(size, float(np.linalg.norm(solver.y))) and solver.nfev > 20:
            return basis @ solver.y.reshape(shape), True
    return basis @ solver.y.reshape(shape), False


def _connected(overlap: np.ndarray) -> list[tuple[list[int], list[int]]]:
    """The connected parts of a bipartite graph: rows and columns of each."""
    rows, parts = set(range(overlap.shape[0])), []
    while rows:
        here, columns = {rows.pop()}, set()
        while True:
            more = set(np.flatnonzero(overlap[sorted(here)].any(axis=0)).tolist()) - columns
            columns |= more
            new = set(np.flatnonzero(overlap[:, sorted(columns)].any(axis=1)).tolist()) - here if columns else set()
            here |= new
            rows -= new
            if not new and not more:
                break
        parts.append((sorted(here), sorted(columns)))
    return parts
