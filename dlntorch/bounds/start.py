"""A bound M on θ^p along the flow from a start of several numbers.

**Lemma.** With the notation of :mod:`dlntorch.model.positive_start`, let r₀ = y − Aψ(0), w± = α±^{2−p}, w = max(w₊, w₋) for each
coordinate, X = 2√n‖r₀‖₂/σ_min(A), and T = min(X max w, 2√n‖r₀‖₂/σ_min(A diag(1/w))); at p = 2 T = X ln(1 + X/min α±²). Then for
every coordinate, both signs and every f in (0, 1), at p = 2 every l > 0,

    p > 2:  θ±^p <= α±^p + max(z₁, 0) + T/(w±(1 − f)),  z₁ = α±^p(f^{−p/(p−2)} − 1) + α∓^p − (w∓ + w±(1 − f))^{−p/(p−2)},
    p = 2:  θ±² <= α±² + z₁ + T/l,                      z₁ = α±²(e^l − 1) + α∓²(1 − e^{−l}).

*Proof.* 1. ψ(t) minimises Σ Q_i(x_i) subject to Ax = Aψ(t), Q_i the integral of ν from ψ_i(0): convex, zero and flat there
(:mod:`dlntorch.model.mirror`). As the loss decreases, ‖A(ψ(t) − ψ(0))‖ <= 2‖r₀‖. So some such x has ‖x − ψ(0)‖₁ <= X, by A⁺, and
another one Σ w_i|x_i − ψ_i(0)| <= 2√n‖r₀‖/σ_min(A diag(1/w)), by A diag(1/w) in its place.

2. As −w₋ <= cν <= w₊, cQ_i(x_i) <= w_i|x_i − ψ_i(0)|, hence cΣQ_i(x_i) <= T for the better of the two. At p = 2, where ψ is z
above ψ(0), θ₊² <= α₊² + z, so 4ν <= ln(1 + z/α₊²), and likewise below; hence 4ΣQ_i(x_i) <= T. No Q_i(ψ_i(t)) is larger.

3. Where cν = w₊(1 − f) (4ν = l at p = 2), θ₊^{2−p} = fw₊ and θ₋^{2−p} = w₋ + w₊(1 − f), so ψ is z₁ above ψ(0) there. Q_i is
convex with slope ν, hence Q_i(ψ_i(0) + z) >= ν(z − z₁), and ψ_i(t) is at most z₁ + Q_i/ν above ψ_i(0).

4. Above ψ(0), θ₋ <= α₋, so θ₊^p = ψ + θ₋^p <= α₊^p + ψ − ψ(0); below it θ₊ <= α₊. In the same way for θ₋. ∎

From one number α, :func:`~dlntorch.bounds.theorem.flow_bound` is smaller: it compares potentials that are all equal.
"""

from __future__ import annotations

import math

import numpy as np

from dlntorch.model.positive_start import PositiveStart
from dlntorch.problem import Problem

__all__ = ["first_residual", "largest_power"]

_EPS = 2.0**-52


def first_residual(full: Problem, start: PositiveStart) -> float:
    """‖y − Aψ(0)‖₂, rounded up; ``full`` is in float64 on the CPU.

    Raises:
        OverflowError: where it leaves the range of float64.
    """
    A, y = full.A.numpy(), full.y.numpy()
    with np.errstate(over="ignore", invalid="ignore"):
        terms = float((np.abs(A) @ (start.plus**start.p + start.minus**start.p)).sum() + np.abs(y).sum())
        found = float(np.linalg.norm(y - A @ start.psi)) + (sum(A.shape) + 8) * _EPS * terms
    if not math.isfinite(found):
        raise OverflowError("psi(0) leaves the range of float64")
    return found


def largest_power(full: Problem, start: PositiveStart, sigma_min: float) -> float:
    """M of the lemma: θ±^p <= M in every coordinate and at all times.

    Args:
        full: The data, of full row rank, in float64 on the CPU.
        start: α±.
        sigma_min: A lower bound of the smallest singular value of A, > 0.

    Raises:
        OverflowError: where M leaves the range of float64.
    """
    A = full.A.numpy()
    length = 2 * math.sqrt(A.shape[1]) * first_residual(full, start)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        total = start.potential(A, length / sigma_min, length)
        bounds = [start.highest(near, far, total) for near, far in start.sides]
    largest = max(float(bound.max()) for bound in bounds) * (1 + 1e-9)
    if not math.isfinite(largest):
        raise OverflowError("the bound on theta leaves the range of float64")
    return largest
