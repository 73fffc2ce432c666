"""The objective L(θ) = ½‖Aψ(θ) − y‖², its gradient and its Hessian, for any parametrization.

With g = Aᵀ(y − Aψ), ∇L = −∇G ∘ g and ∇²L v = ∇G ∘ AᵀA(Σ_j ∂_jG v_j) − g ∘ (∇²G v). θ, gradients and directions are rows:
one vector (n,) for each of a coordinate's parameters, (θ₊, θ₋) at depth p.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dlntorch.model.metrics import sharpness as power_sharpness
from dlntorch.model.metrics import spread_norm, starting_direction
from dlntorch.model.parametrization import Parametrization
from dlntorch.problem import Problem
from dlntorch.problem.operators import Operator, as_operator

__all__ = ["gradient", "hessian_vector", "power_iteration", "sharpness"]

Rows = tuple[Tensor, ...]


def gradient(parametrization: Parametrization, theta: Sequence[Tensor], g: Tensor) -> Rows:
    """∇L(θ), one row (n,) for each row of θ, from g = Aᵀ(y − Aψ) of shape (n,)."""
    return tuple(-row * g for row in parametrization.slopes(theta))


def hessian_vector(
    A: Tensor | Operator, g: Tensor, theta: Sequence[Tensor], parametrization: Parametrization, v: Sequence[Tensor]
) -> Rows:
    """∇²L(θ)v, by hand.

    Args:
        A: The matrix (m, n) that the loss is made with, or its operator.
        g: Aᵀ(y − Aψ), shape (..., n).
        theta: The rows of θ, each of shape (..., n).
        parametrization: G.
        v: Directions, shaped like ``theta``.
    """
    slopes = parametrization.slopes(theta)
    operator = as_operator(A)
    along = slopes[0] * v[0]
    for slope, direction in zip(slopes[1:], v[1:], strict=True):
        along = along + slope * direction
    image = operator.rmatvec(operator.matvec(along))
    bent = parametrization.bend(theta, g, v)
    return tuple(slope * image - row for slope, row in zip(slopes, bent, strict=True))


def power_iteration(
    A: Tensor | Operator,
    g: Tensor,
    theta: Sequence[Tensor],
    parametrization: Parametrization,
    v: Tensor,
    iterations: int,
) -> tuple[float, Tensor]:
    """Estimate ‖∇²L(θ)‖₂ from below by ``iterations`` steps from the unit vector v (width·n,); returns it and v."""
    operator = as_operator(A)
    norm = 0.0
    for _ in range(iterations):
        rows = v.reshape(len(theta), -1).unbind(0)
        image = torch.cat(hessian_vector(operator, g, theta, parametrization, rows))
        norm = spread_norm(operator, image)
        if norm == 0.0:
            return 0.0, v
        v = image / norm
    return norm, v


def sharpness(problem: Problem, theta: Tensor, parametrization: Parametrization, iterations: int = 24) -> Tensor:
    """‖∇²L(θ)‖₂ at every state, shape (k,), for θ of shape (k, width, n): from below, and usually to many digits.

    Depth p takes the batched Lanczos method of :func:`dlntorch.model.metrics.sharpness`; others iterate state by state,
    with the Lanczos vectors kept orthogonal.
    """
    if parametrization.depth is not None:
        return power_sharpness(problem, theta[:, 0], theta[:, 1], parametrization.depth, iterations)
    return torch.stack([_lanczos_norm(problem, state, parametrization, iterations) for state in theta])


def _lanczos_norm(problem: Problem, theta: Tensor, parametrization: Parametrization, iterations: int) -> Tensor:
    """The largest |eigenvalue| that the Lanczos method finds at one θ of shape (width, n)."""
    width, n = theta.shape
    A, rows = problem.operator, theta.unbind(0)
    g = A.rmatvec(problem.residual(parametrization.value(theta)))
    basis = [starting_direction(n, theta.dtype, theta.device, width)]
    diagonal, beside = [], []
    for _ in range(min(iterations, width * n)):
        image = torch.cat(hessian_vector(A, g, rows, parametrization, basis[-1].reshape(width, n).unbind(0)))
        diagonal.append(image @ basis[-1])
        known = torch.stack(basis)
        for _ in range(2):  # twice is enough
            image = image - (known @ image) @ known
        beta = torch.linalg.vector_norm(image)
        if not float(beta) > 1e-13 * float(diagonal[0].abs() + beta):
            break
        beside.append(beta)
        basis.append(image / beta)
    size = len(diagonal)
    matrix = torch.diag(torch.stack(diagonal))
    if size > 1:
        off = torch.diag(torch.stack(beside[: size - 1]), 1)
        matrix = matrix + off + off.mT
    return torch.linalg.eigvalsh(matrix).abs().amax()
