"""What is measured along a run: residuals, gaps, distances, and the sharpness ‖∇²L(θ)‖₂.

Everything here takes tensors and returns tensors; a leading batch of states is allowed where shapes say (...).
"""

from __future__ import annotations

import torch
from torch import Tensor

from dlntorch.problem.operators import Operator
from dlntorch.problem.problem import Problem, norm

__all__ = ["distance", "l1_gap", "sharpness", "spread_norm", "starting_direction"]

#: Up to so many entries of A the Lanczos method is compiled; above, torch's matrix products are faster.
COMPILED_ENTRIES = 40_000


def distance(psi: Tensor, reference: Tensor) -> Tensor:
    """‖ψ − ψ_ref‖₂, shape (...)."""
    return norm(psi - reference)


def l1_gap(psi: Tensor, value: float) -> Tensor:
    """‖ψ‖₁ − min‖·‖₁, shape (...); negative while ψ is not yet feasible."""
    return psi.abs().sum(dim=-1) - value


def spread_norm(operator: Operator, v: Tensor) -> float:
    """‖v‖₂ of a vector whose entries lie where the operator's columns do."""
    norm = torch.linalg.vector_norm(v)
    first, end, every = operator.columns
    return float(norm if (first, end) == (0, every) else operator.total((norm * norm)[None]).sqrt())


def starting_direction(
    n: int, dtype: torch.dtype = torch.float64, device: torch.device | None = None, width: int = 2
) -> Tensor:
    """A fixed unit vector (width·n,) with no special alignment, ∝ frac(k√2) + 0.1, the same on every machine."""
    grid = torch.arange(1, width * n + 1, dtype=torch.float64, device=device)
    v = torch.frac(grid * 2**0.5) + 0.1
    return (v / torch.linalg.vector_norm(v)).to(dtype)


def sharpness(problem: Problem, theta_plus: Tensor, theta_minus: Tensor, p: float, iterations: int = 24) -> Tensor:
    """‖∇²L(θ)‖₂, the largest |eigenvalue| of the Hessian of the loss in θ, shape (...) for θ± of shape (..., n).

    ``iterations`` steps of the Lanczos method from a fixed vector, many states at once; from below, and usually to many
    digits; ∞ where the Hessian overflows. Three vectors are kept: the orthogonality that rounding loses only repeats
    eigenvalues that are found already (Paige 1980), and the largest is all that is asked for.
    """
    theta = torch.stack([t.reshape(-1, problem.n) for t in (theta_plus, theta_minus)], dim=1)  # (states, 2, n)
    A = problem.operator
    g = A.rmatvec(problem.residual(theta[:, 0] ** p - theta[:, 1] ** p))
    # the parts of hessian_vector that do not depend on v
    sign = torch.tensor([[1.0], [-1.0]], dtype=theta.dtype, device=theta.device)
    growth = theta ** (p - 2)
    slope, bend = p * sign * theta * growth, p * (p - 1) * sign * g[:, None] * growth
    start = starting_direction(problem.n, problem.dtype, problem.device).reshape(2, -1)
    count = min(iterations, 2 * problem.n)
    usual = problem.dense and problem.dtype == torch.float64 and problem.device.type == "cpu"
    lanczos = _compiled_lanczos if usual and problem.m * problem.n <= COMPILED_ENTRIES else _lanczos
    diagonal, beside = lanczos(problem, slope, bend, start, count)
    matrix = torch.diag_embed(diagonal)
    if count > 1:
        upper = torch.diag_embed(beside[:, :-1], 1)
        matrix = matrix + upper + upper.mT
    known = torch.isfinite(matrix).all(dim=2).all(dim=1)  # a run that diverges ends where the Hessian overflows
    values = torch.linalg.eigvalsh(torch.where(known[:, None, None], matrix, 0.0)).abs().amax(dim=1)
    return torch.where(known, values, torch.inf).reshape(theta_plus.shape[:-1])


def _lanczos(problem: Problem, slope: Tensor, bend: Tensor, start: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The tridiagonal matrices of ``count`` Lanczos steps from ``start`` (2, n): what is on and beside their diagonals."""
    A = problem.operator
    v, previous, beta = start.expand_as(slope), torch.zeros_like(slope), torch.zeros_like(slope[:, :1, :1])
    diagonal, beside = [], []
    for _ in range(count):
        image = slope * A.rmatvec(A.matvec((slope * v).sum(dim=1)))[:, None]
        image.addcmul_(bend, v, value=-1)
        size = torch.linalg.vector_norm(image, dim=(1, 2), keepdim=True)
        image.addcmul_(beta, previous, value=-1)
        along = (image * v).sum(dim=(1, 2), keepdim=True)
        image.addcmul_(along, v, value=-1)
        beta = torch.linalg.vector_norm(image, dim=(1, 2), keepdim=True)
        # an invariant subspace was found: go on with a zero vector, which adds zero eigenvalues only
        beta = torch.where(beta > 1e-13 * size, beta, 0.0)
        previous, v = v, torch.where(beta > 0, image / beta, 0.0)
        diagonal.append(along)
        beside.append(beta)
    return torch.cat(diagonal, dim=1)[..., 0], torch.cat(beside, dim=1)[..., 0]


def _compiled_lanczos(
    problem: Problem, slope: Tensor, bend: Tensor, start: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """:func:`_lanczos` for a small dense A in float64 on the CPU."""
    from dlntorch.numerics.lanczos import tridiagonal

    diagonal, beside = (slope.new_empty(len(slope), count) for _ in range(2))
    tensors = (problem.A.contiguous(), slope.contiguous(), bend.contiguous(), start, diagonal, beside)
    tridiagonal(*(tensor.numpy() for tensor in tensors))
    return diagonal, beside
