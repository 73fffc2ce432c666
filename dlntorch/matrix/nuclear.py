"""The matrix of least nuclear norm among those with given measurements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dlntorch.matrix.minimizer import find
from dlntorch.matrix.norms import NuclearNorm, PositiveTrace, rank_of
from dlntorch.matrix.problem import MatrixProblem
from dlntorch.matrix.rows import orthonormal
from dlntorch.numerics.threads import with_few_threads
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.numerics.validation import InputError, check_flag

__all__ = ["NuclearMinimizer", "check_matrix_problem", "nuclear_minimizer"]


@dataclass(frozen=True, repr=False)
class NuclearMinimizer:
    """A solution of min ‖X‖_* subject to ⟨A_j, X⟩ = y_j.

    Attributes:
        X: Shape (d1, d2); it meets the equations to rounding.
        value: ‖X‖_*.
        dual: λ, shape (m,).
        certificate: ‖Σ λ_jA_j‖_op, at most 1 (with psd: the largest eigenvalue of the symmetric part).
        gap: (‖X‖_* − yᵀλ)/‖X‖_*: no X with these measurements has a nuclear norm smaller by more than this share.
        rank: Singular values above 1e-9 of the largest.
        singular_values: Of X, decreasing, shape (min(d1, d2),).
        unique: Whether X is the only minimiser; None where that is not decided, with ``unique_reason``.
        status: ``converged`` for a gap of at most 1e-9; ``max_steps`` where it stayed larger; ``failed`` where no X (with
            psd, none that is positive semidefinite) has these measurements.
        reason: One line where the status alone does not tell.
        steps: Newton steps.
    """

    X: Tensor
    value: float
    dual: Tensor
    certificate: float
    gap: float
    rank: int
    singular_values: Tensor
    unique: bool | None
    unique_reason: str
    status: Status
    reason: str
    steps: int

    __repr__ = short_repr


@with_few_threads
def nuclear_minimizer(problem: MatrixProblem, psd: bool = False) -> NuclearMinimizer:
    """Solve min ‖X‖_* subject to ⟨A_j, X⟩ = y_j, with a dual certificate.

    The dual is max yᵀλ subject to ‖Σ λ_jA_j‖_op <= 1. The method is the proximal point method with semismooth Newton
    steps, finished on the manifold of matrices of the rank found (:mod:`dlntorch.matrix.proximal_point`).

    ``unique`` is decided on the face of minimisers: with U₁, V₁ the singular vectors of Σ λ_jA_j to its singular
    values 1, every minimiser is U₁SV₁ᵀ with S positive semidefinite; if the measurements are injective on
    {U₁SV₁ᵀ : S symmetric}, X is the only one. Where also X has full rank on the face this is necessary, too.

    Args:
        problem: The measurements.
        psd: Whether X is to be positive semidefinite; the norm is then the trace, and of A_j only the symmetric part counts.

    Raises:
        InputError: another object; psd with X not square; an operator too large to be written as a matrix.

    Example:
        >>> problem = MatrixProblem.completion([[True, True], [True, False]], [1.0, 2.0, 3.0])
        >>> found = nuclear_minimizer(problem)
        >>> round(found.value, 6), round(float(found.X[1, 1]), 6), found.rank, found.unique
        (5.0, 1.0, 2, True)
    """
    check_matrix_problem(problem)
    check_flag("psd", psd)
    if psd and problem.shape[0] != problem.shape[1]:
        raise InputError(f"problem must have square matrices with psd=True, got shape {problem.shape}")
    standard = orthonormal(problem.flat, problem.shape, symmetric=psd)
    found = find(standard, PositiveTrace() if psd else NuclearNorm(), "positive semidefinite" if psd else "")
    values = np.linalg.svd(found.X, compute_uv=False)
    return NuclearMinimizer(
        X=torch.from_numpy(found.X).to(problem.flat.device),
        value=float(values.sum()),
        dual=torch.from_numpy(found.lam).to(problem.flat.device),
        certificate=found.size,
        gap=found.gap if np.isfinite(found.gap) else 1.0,
        rank=rank_of(values),
        singular_values=torch.from_numpy(values),
        unique=found.unique,
        unique_reason=found.unique_reason,
        status=found.status,
        reason=found.reason,
        steps=found.steps,
    )


def check_matrix_problem(problem: object) -> MatrixProblem:
    """Refuse what is no :class:`MatrixProblem`."""
    if not isinstance(problem, MatrixProblem):
        raise InputError(f"problem must be a MatrixProblem, got {type(problem).__name__}")
    return problem
