"""Radau IIA collocation with s stages for the flow's m numbers, ẋ = R(r − AΔψ(Bx)).

Stages Z_i = h Σ_j a_ij ẋ(Z_j) from Newton's iteration with one real and (s − 1)/2 complex systems of order m (Hairer and
Wanner, Solving Ordinary Differential Equations II, section IV.8). Order 2s − 1 at the end of a step, stiffly accurate.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.polynomial import legendre

__all__ = ["Tableau", "tableau"]


@dataclass(frozen=True)
class Tableau:
    """The coefficients of the method with s stages, s odd.

    Attributes:
        nodes: c, shape (s,), the last one 1.
        inverse: The inverse of a, shape (s, s).
        eigenvalues: Of ``inverse``: the real one and those with positive imaginary part, ((s + 1)/2,).
        to_modes: Their left eigenvectors, ((s + 1)/2, s), complex.
        from_modes: Their right ones, (s, (s + 1)/2); twice the real part for a pair.
        embedded: e, shape (s,): (λ₀/h − J)⁻¹(ẋ(0) + λ₀ e·Z/h) estimates the error to order s.
        points: 0 and the nodes, (s + 1,).
        barycentric: Weights of interpolation there, (s + 1,).
    """

    nodes: np.ndarray
    inverse: np.ndarray
    eigenvalues: np.ndarray
    to_modes: np.ndarray
    from_modes: np.ndarray
    embedded: np.ndarray
    points: np.ndarray
    barycentric: np.ndarray

    @cached_property
    def stages(self) -> int:
        """s."""
        return self.nodes.size

    @cached_property
    def middle(self) -> int:
        """The stage nearest to the middle of the step."""
        return int(np.abs(self.nodes - 0.5).argmin())

    def interpolation(self, x: np.ndarray) -> np.ndarray:
        """The matrix (k, s) that takes Z to the collocation polynomial at x (k,), in units of the step; 0 at 0."""
        factors = x[:, None] - self.points
        before, after = np.ones_like(factors), np.ones_like(factors)
        np.cumprod(factors[:, :-1], axis=1, out=before[:, 1:])
        np.cumprod(factors[:, :0:-1], axis=1, out=after[:, -2::-1])
        return (before * after * self.barycentric)[:, 1:]


@lru_cache
def tableau(stages: int) -> Tableau:
    """The Radau IIA method with an odd number of stages."""
    polynomial = np.zeros(stages + 1)
    polynomial[-2:] = -1.0, 1.0
    roots = np.sort(legendre.legroots(polynomial).real)
    for _ in range(3):
        roots -= legendre.legval(roots, polynomial) / legendre.legval(roots, legendre.legder(polynomial))
    roots[-1] = 1.0
    nodes = (roots + 1) / 2
    # ∫₀^c of the shifted Legendre polynomials against their values at the nodes
    values = legendre.legvander(roots, stages - 1)
    integrals = np.stack([legendre.legval(roots, legendre.legint(row, lbnd=-1)) for row in np.eye(stages)], axis=1) / 2
    a = np.linalg.solve(values.T, integrals.T).T
    inverse = np.linalg.inv(a)
    eigenvalues, right = np.linalg.eig(inverse)
    left = np.linalg.inv(right)
    imaginary = np.imag(eigenvalues)
    keep = np.argsort(np.where(imaginary > -1e-9, imaginary, np.inf))[: (stages + 1) // 2]
    weights = right[:, keep] * np.where(np.abs(imaginary[keep]) < 1e-9, 1.0, 2.0)
    real = float(np.real(eigenvalues[keep[0]]))
    # b̂₀ = 1/λ₀ at c = 0, and the rest of a quadrature of order s
    moments = np.array([1.0 / (q + 1) for q in range(stages)])
    moments[0] -= 1 / real
    b_hat = np.linalg.solve(np.vander(nodes, increasing=True).T, moments)
    points = np.concatenate([[0.0], nodes])
    differences = points[:, None] - points
    np.fill_diagonal(differences, 1.0)
    return Tableau(
        nodes=nodes,
        inverse=inverse,
        eigenvalues=eigenvalues[keep],
        to_modes=left[keep],
        from_modes=weights,
        embedded=(b_hat - a[-1]) @ inverse,
        points=points,
        barycentric=1 / differences.prod(axis=1),
    )
