"""Where label noise ends at p = 2: the mean of ψ minimises ½‖Aψ − y‖² + Σ λ_i|ψ_i|, λ_i = ησ²‖A_i‖².

A step multiplies θ± by 1 ± 2ηg. Where θ₊ neither grows nor dies, E ln|1 + 2ηg| = 0, so E g = η E g² up to O(η²), and E g² is
σ²‖A_i‖² up to a share η‖A‖²‖D‖ (the residual's own fluctuation): the mean's g is ±λ_i on the support and at most λ_i off it,
which is the lasso's optimality. Before that the gain −ln(α_e²/α²) grows at 4ησ²‖A_i‖² in the time t = Σ η.

Sources: HaoChen, Wei, Lee and Ma 2021; Pillaud-Vivien, Reygner and Flammarion 2022 (arXiv 2206.09841).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.numerics.threads import with_few_threads
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.numerics.validation import check_number
from dlntorch.problem import Problem
from dlntorch.reference.lasso import lasso_path

__all__ = ["LabelNoiseEnd", "kkt_residual", "label_noise_end", "lasso_end"]


@dataclass(frozen=True)
class LabelNoiseEnd:
    """The minimiser of ½‖Aψ − y‖² + Σ λ_i|ψ_i|; float64 on the CPU.

    Attributes:
        psi: The minimiser, shape (n,).
        strengths: λ_i, shape (n,).
        kkt: Its own :func:`kkt_residual`.
        status: ``converged``, or ``failed`` where the lasso's path was lost.
    """

    psi: Tensor
    strengths: Tensor
    kkt: float
    status: Status

    __repr__ = short_repr


@with_few_threads
def label_noise_end(problem: Problem, eta: Any, sigma: Any) -> LabelNoiseEnd:
    """The lasso that label noise ±σ with constant step η solves in the mean, at p = 2 and full batches.

    Args:
        problem: The data, dense, as given (label noise sees its rows).
        eta: Step size > 0.
        sigma: Noise of a label, > 0.

    Example:
        >>> end = label_noise_end(Problem([[1.0, 0.5]], [1.0]), eta=0.1, sigma=1.0)
        >>> [round(float(x), 6) for x in end.psi]
        [0.9, 0.0]
    """
    eta, sigma = check_number("eta", eta, above=0), check_number("sigma", sigma, above=0)
    A = problem.to("cpu", "float64").A
    return lasso_end(problem, eta * sigma**2 * (A * A).sum(dim=0))


def lasso_end(problem: Problem, strengths: Tensor) -> LabelNoiseEnd:
    """The minimiser of ½‖Aψ − y‖² + Σ λ_i|ψ_i|, on the path of the lasso in ψ_i λ_i at the strength 1.

    Args:
        problem: The data, dense.
        strengths: λ_i, shape (n,), float64, > 0 but where a column is 0, of which ψ_i = 0 is taken.
    """
    exact = problem.to("cpu", "float64")
    used = exact.A.abs().amax(dim=0) > 0
    weights = torch.where(used, strengths, torch.ones_like(strengths))
    path = lasso_path(Problem(exact.A / weights, exact.y))
    psi = _polished(exact.A.numpy(), exact.y.numpy(), strengths.numpy(), path.at(1.0) / weights.numpy())
    return LabelNoiseEnd(torch.from_numpy(psi), strengths, kkt_residual(exact, psi, strengths), path.status)


def kkt_residual(problem: Problem, psi: Any, strengths: Any) -> float:
    """The largest violation of the lasso's optimality: |g_i/λ_i − sign ψ_i| on the support, (|g_i|/λ_i − 1)⁺ off it."""
    exact = problem.to("cpu", "float64")
    A, y = exact.A.numpy(), exact.y.numpy()
    x, weight = np.asarray(psi, dtype=np.float64), np.asarray(strengths, dtype=np.float64)
    used = weight > 0  # a zero column has no say
    ratio = (A.T @ (y - A @ x))[used] / weight[used]
    sign = np.sign(x[used])
    return float(np.where(sign != 0, np.abs(ratio - sign), np.maximum(np.abs(ratio) - 1, 0)).max(initial=0.0))


def _polished(A: np.ndarray, y: np.ndarray, strengths: np.ndarray, psi: np.ndarray) -> np.ndarray:
    """The solution of the support's equations, where it keeps all signs; else psi as it is."""
    on = psi != 0
    if not on.any():
        return psi
    part, sign = A[:, on], np.sign(psi[on])
    found = np.linalg.lstsq(part, y, rcond=None)[0] - np.linalg.pinv(part.T @ part) @ (strengths[on] * sign)
    if np.any(np.sign(found) != sign):
        return psi
    better = np.zeros_like(psi)
    better[on] = found
    return better
