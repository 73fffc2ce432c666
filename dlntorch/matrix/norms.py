"""The norms that matrices and groups are measured in: value, dual norm, proximal map and its generalised derivative.

For a norm h the proximal map P = argmin σ h(X) + ½‖X − M‖² is differentiable but on a null set. Its generalised derivative
is what a semismooth Newton method needs (Jiang, Sun and Toh 2014 for the nuclear norm).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

__all__ = ["GroupNorm", "Norm", "NuclearNorm", "PositiveTrace", "Shrunk", "rank_of"]

#: Singular values below this share of the largest are rounding.
RANK_TOLERANCE = 1e-9
#: Eigenvalues down to minus this share of the largest entry are rounding, too.
POSITIVE_TOLERANCE = 1e-11


class Shrunk(ABC):
    """The proximal map at one point M.

    Attributes:
        point: P(M), with the shape of M.
    """

    point: np.ndarray

    @abstractmethod
    def derivative(self, H: np.ndarray) -> np.ndarray:
        """The generalised derivative in the directions H, shape (k, *M.shape)."""


class Norm(ABC):
    """A norm h, or a norm on a cone; all arguments have the shape of X."""

    @abstractmethod
    def value(self, X: np.ndarray) -> float:
        """h(X), infinity outside the cone."""

    @abstractmethod
    def dual(self, Z: np.ndarray) -> float:
        """The largest ⟨Z, X⟩ over h(X) = 1: Z supports h at a point if this is at most 1."""

    @abstractmethod
    def shrink(self, M: np.ndarray, sigma: float) -> Shrunk:
        """The proximal map of σh at M."""

    @abstractmethod
    def tangent(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """At the numerical rank of X: an orthonormal basis (k, *shape) of where h is differentiable, and its derivative."""

    @abstractmethod
    def retract(self, X: np.ndarray, like: np.ndarray) -> np.ndarray:
        """The nearest point to X with the rank (the support) of ``like``."""

    @abstractmethod
    def face(self, Z: np.ndarray, near: float) -> list[np.ndarray]:
        """A basis of the span of {X : ⟨Z, X⟩ = h(X)}, for Z of dual norm 1; ``near`` is how close to 1 counts as 1."""


class NuclearNorm(Norm):
    """‖X‖_*, the sum of the singular values; its dual is the operator norm."""

    def value(self, X: np.ndarray) -> float:
        return float(np.linalg.svd(X, compute_uv=False).sum())

    def dual(self, Z: np.ndarray) -> float:
        return float(np.linalg.svd(Z, compute_uv=False)[0])

    def shrink(self, M: np.ndarray, sigma: float) -> Shrunk:
        return _SingularValues(M, sigma)

    def face(self, Z: np.ndarray, near: float) -> list[np.ndarray]:
        """u_i v_iᵀ and u_i v_jᵀ + u_j v_iᵀ for the singular vectors of Z to its singular values 1."""
        U, s, Vt = np.linalg.svd(Z)
        q = int(np.count_nonzero(s >= 1 - near))
        return _symmetric_basis(U[:, :q], Vt[:q].T)

    def tangent(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        U, s, Vt = np.linalg.svd(X)
        r = rank_of(s)
        d1, d2 = X.shape
        rows = np.einsum("ai,bj->ijab", U[:, :r], np.eye(d2)).reshape(-1, d1, d2)
        columns = np.einsum("ak,ib->kiab", U[:, r:], Vt[:r]).reshape(-1, d1, d2)
        return np.concatenate([rows, columns]), U[:, :r] @ Vt[:r]

    def retract(self, X: np.ndarray, like: np.ndarray) -> np.ndarray:
        r = rank_of(np.linalg.svd(like, compute_uv=False))
        U, s, Vt = np.linalg.svd(X, full_matrices=False)
        return (U[:, :r] * s[:r]) @ Vt[:r]


class PositiveTrace(Norm):
    """tr X on the positive semidefinite matrices; its dual is the largest eigenvalue of the symmetric part."""

    def value(self, X: np.ndarray) -> float:
        low = float(np.linalg.eigvalsh(_sym(X))[0])
        return float(np.trace(X)) if low >= -POSITIVE_TOLERANCE * np.abs(X).max(initial=1e-300) else float("inf")

    def dual(self, Z: np.ndarray) -> float:
        return float(np.linalg.eigvalsh(_sym(Z))[-1])

    def shrink(self, M: np.ndarray, sigma: float) -> Shrunk:
        return _Eigenvalues(_sym(M), sigma)

    def face(self, Z: np.ndarray, near: float) -> list[np.ndarray]:
        values, Q = np.linalg.eigh(_sym(Z))
        top = Q[:, values >= 1 - near]
        return _symmetric_basis(top, top)

    def tangent(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, Q = np.linalg.eigh(_sym(X))
        values, Q = values[::-1], Q[:, ::-1]
        r, d = rank_of(values), values.size
        pairs = [(i, j) for i in range(r) for j in range(i, d)]
        basis = [_sym(np.outer(Q[:, i], Q[:, j])) * (1.0 if i == j else np.sqrt(2)) for i, j in pairs]
        return np.array(basis).reshape(-1, d, d), Q[:, :r] @ Q[:, :r].T

    def retract(self, X: np.ndarray, like: np.ndarray) -> np.ndarray:
        r = rank_of(np.linalg.eigvalsh(_sym(like))[::-1])
        values, Q = np.linalg.eigh(_sym(X))
        first = values.size - r
        return (Q[:, first:] * values[first:]) @ Q[:, first:].T


class GroupNorm(Norm):
    """Σ_g w_g ‖x_g‖₂ over groups of coordinates; its dual is max_g ‖z_g‖₂/w_g.

    Args:
        groups: Of each coordinate the number of its group, shape (n,), 0 … G − 1.
        weights: w_g > 0, shape (G,).
    """

    def __init__(self, groups: np.ndarray, weights: np.ndarray) -> None:
        self.groups, self.weights = groups, weights

    def norms(self, x: np.ndarray) -> np.ndarray:
        """‖x_g‖₂, shape (G,)."""
        return np.sqrt(np.bincount(self.groups, x * x, self.weights.size))

    def value(self, X: np.ndarray) -> float:
        return float(self.weights @ self.norms(X))

    def dual(self, Z: np.ndarray) -> float:
        return float((self.norms(Z) / self.weights).max())

    def shrink(self, M: np.ndarray, sigma: float) -> Shrunk:
        return _Groups(self, M, sigma)

    def face(self, Z: np.ndarray, near: float) -> list[np.ndarray]:
        """z_g for the groups with ‖z_g‖₂ = w_g."""
        return [np.where(self.groups == g, Z, 0.0) for g in np.flatnonzero(self.norms(Z) >= (1 - near) * self.weights)]

    def tangent(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sizes = self.norms(X)
        active = (sizes > 0)[self.groups]
        unit = np.where(active, self.weights[self.groups] * X / np.where(active, sizes[self.groups], 1.0), 0.0)
        return np.eye(X.size)[active], unit

    def retract(self, X: np.ndarray, like: np.ndarray) -> np.ndarray:
        return np.where((self.norms(like) > 0)[self.groups], X, 0.0)


def rank_of(values: np.ndarray) -> int:
    """How many of the decreasing values are above rounding of the first."""
    return int(np.count_nonzero(values > RANK_TOLERANCE * max(float(values[0]), 0.0))) if values.size else 0


def _sym(X: np.ndarray) -> np.ndarray:
    return 0.5 * (X + np.swapaxes(X, -1, -2))


def _symmetric_basis(U: np.ndarray, V: np.ndarray) -> list[np.ndarray]:
    q = U.shape[1]
    basis = []
    for i in range(q):
        basis.append(np.outer(U[:, i], V[:, i]))
        basis += [(np.outer(U[:, i], V[:, j]) + np.outer(U[:, j], V[:, i])) / np.sqrt(2) for j in range(i)]
    return basis


def _slopes(s: np.ndarray, g: np.ndarray, sigma: float) -> np.ndarray:
    """(g_i − g_j)/(s_i − s_j) for the soft threshold g = (s − σ)⁺, by cases, so that nothing cancels."""
    active = s > sigma
    both = np.logical_and.outer(active, active)
    neither = np.logical_and.outer(~active, ~active)
    apart = np.abs(np.subtract.outer(s, s))
    mixed = np.maximum.outer(g, g) / np.where(both | neither, 1.0, np.maximum(apart, 1e-300))
    return np.where(both, 1.0, np.where(neither, 0.0, np.minimum(mixed, 1.0)))


class _SingularValues(Shrunk):
    """U (Σ − σ)⁺ Vᵀ."""

    def __init__(self, M: np.ndarray, sigma: float) -> None:
        self.turned = M.shape[0] > M.shape[1]
        U, s, Vt = np.linalg.svd(M.T if self.turned else M, full_matrices=False)
        g = np.maximum(s - sigma, 0.0)
        point = (U * g) @ Vt
        self.point = point.T if self.turned else point
        self.U, self.V = U, Vt.T
        self.even = _slopes(s, g, sigma)
        total = np.maximum(np.add.outer(s, s), 1e-300)
        self.odd = np.add.outer(g, g) / total
        self.outside = g / np.maximum(s, 1e-300)

    def derivative(self, H: np.ndarray) -> np.ndarray:
        H = np.swapaxes(H, -1, -2) if self.turned else H
        left = self.U.T @ H
        inner = left @ self.V
        back = np.swapaxes(inner, -1, -2)
        middle = 0.5 * (self.even * (inner + back) + self.odd * (inner - back))
        rows = self.outside[:, None] * (left - inner @ self.V.T)
        found = self.U @ (middle @ self.V.T + rows)
        return np.swapaxes(found, -1, -2) if self.turned else found


class _Eigenvalues(Shrunk):
    """Q (Λ − σ)⁺ Qᵀ."""

    def __init__(self, M: np.ndarray, sigma: float) -> None:
        values, self.Q = np.linalg.eigh(M)
        g = np.maximum(values - sigma, 0.0)
        self.point = (self.Q * g) @ self.Q.T
        self.even = _slopes(values, g, sigma)

    def derivative(self, H: np.ndarray) -> np.ndarray:
        return self.Q @ (self.even * (self.Q.T @ _sym(H) @ self.Q)) @ self.Q.T


class _Groups(Shrunk):
    """x_g (1 − σw_g/‖x_g‖)⁺."""

    def __init__(self, norm: GroupNorm, M: np.ndarray, sigma: float) -> None:
        size = np.maximum(norm.norms(M), 1e-300)
        keep = np.maximum(1 - sigma * norm.weights / size, 0.0)
        self.count, self.groups = size.size, norm.groups
        self.keep = keep[norm.groups]
        self.point = self.keep * M
        self.unit = M / size[norm.groups]
        self.along = np.where(keep > 0, 1 - keep, 0.0)

    def derivative(self, H: np.ndarray) -> np.ndarray:
        onto = np.zeros((H.shape[0], self.count))
        products = H * self.unit
        order = np.argsort(self.groups, kind="stable")
        starts = np.searchsorted(self.groups[order], np.arange(self.count))
        onto = np.add.reduceat(products[:, order], starts, axis=1)
        return self.keep * H + (self.along * onto)[:, self.groups] * self.unit
