"""The paper's bound on the discretization error, with its constants explicit (arXiv 2307.07410, section 4.1).

**Theorem.** For every horizon t and ε > 0, with ε̄ = min{ε, α^p, ½ min θ},  η <= ε̄ e^{−C₂t}/C₁ gives
‖θ_{⌊t/η⌋} − θ(t)‖₂ <= ε̄, where a = max‖A_i‖₂, R = M^{1/p} + α^p and

    M  = 2√n ‖y‖₂/σ_min(A) + α^p,
    C₁ = p‖A‖₂‖y‖₂ (M^{2−2/p} + α^{2p−2})^{1/2},
    C₂ = p²‖A‖₂²[R^{2p−2} + (α + α^p)^{2p−2}] + p(p−1) R^{p−2} a (‖y‖₂ + √2 p ‖A‖₂ R^{p−1} α^p).

*Proof.* 1. **M bounds θ^p along the flow.** ψ(t) minimises Σ q_p(ψ_i/α^p) over {x : Ax = Aψ(t)}, q_p even, convex and zero
at zero. Compare it with x = A⁺Aψ(t): Σ q_p(ψ_i/α^p) <= Σ q_p(x_i/α^p). Such a q_p is superadditive on [0, ∞), so
q_p(‖ψ‖_∞/α^p) <= Σ q_p(ψ_i/α^p) <= Σ q_p(|x_i|/α^p) <= q_p(‖x‖₁/α^p), that is
‖ψ(t)‖_∞ <= ‖A⁺Aψ(t)‖₁ <= √n ‖Aψ(t)‖₂/σ_min <= √n · 2‖y‖₂/σ_min, as the loss decreases: ‖y − Aψ‖ <= ‖y‖. The smaller of
θ± is <= α at all times (θ₊^{2−p} + θ₋^{2−p} = 2α^{2−p}, or θ₊θ₋ = α²), hence the larger has θ^p <= ‖ψ‖_∞ + α^p <= M.

2. **Speed.** ‖θ̇‖₂² = p² Σ (θ₊^{2p−2} + θ₋^{2p−2}) g² <= p² (M^{2−2/p} + α^{2p−2}) ‖A‖²‖y‖² = C₁².

3. **Curvature.** Within ε̄ <= α^p of the flow θ₊, θ₋ <= R, the smaller of them <= α + α^p, and
‖r‖ <= ‖y‖ + √2 p‖A‖R^{p−1}α^p. ∇²L is the Gauss–Newton term, of norm at most p²‖A‖² max(θ₊^{2p−2} + θ₋^{2p−2}), plus the
diagonal ∓p(p−1)θ±^{p−2}g with |g_i| <= a‖r‖. So ‖∇²L‖₂ <= C₂ there. The tube must stay in θ > 0, where L is smooth:
hence ε̄ <= ½ min θ, with the smallest θ on the flow bounded below by :func:`theorem_bound` as in 1.

4. **Recursion.** While both are in the tube, e_k = ‖θ_k − θ(kη)‖ satisfies e_{k+1} <= (1 + ηC₂)e_k + ½η²C₂C₁ (Taylor's
remainder of the flow is at most ½η² max‖θ̈‖, ‖θ̈‖ <= C₂C₁). With e_0 = 0: e_k <= ½ηC₁(e^{C₂kη} − 1). Rounding t/η down adds
at most ηC₁, so the sum is <= ηC₁(½e^{C₂t} + ½) <= ηC₁e^{C₂t} <= ε̄, and the tube is kept by induction. ∎

**General starts.** From θ±(0) = α± > 0 in every coordinate, with α_e as in :mod:`dlntorch.model.positive_start`, the theorem
holds with M of :func:`~dlntorch.bounds.start.largest_power`, min α_e where a power of α is the tube's width (ε̄ = min{ε,
min α_e^p, ½ min θ}), max α_e where α bounds the smaller of θ±, and ‖y − Aψ(0)‖₂ in the place of ‖y‖₂. *Proof.* Step 1 is the
lemma of :mod:`dlntorch.bounds.start`, and the smaller of θ± is <= α_e as θ₊^{2−p} + θ₋^{2−p} = 2α_e^{2−p} (θ₊θ₋ = α_e²). In steps
2 and 3 ‖r‖ <= ‖r(0)‖ on the flow, which is ‖y‖ where ψ(0) = 0, and any width of the tube serves. ∎

The constants are for the worst case: e^{−C₂t} underflows for every real horizon, so all is done in logarithms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from dlntorch.bounds.start import first_residual, largest_power
from dlntorch.model.depth_law import depth_law
from dlntorch.model.positive_start import PositiveStart
from dlntorch.numerics.trajectory import short_repr
from dlntorch.numerics.validation import InputError, check_depth, check_number
from dlntorch.problem import Problem

__all__ = ["TheoremBound", "flow_bound", "theorem_bound"]

_LN10 = math.log(10)


@dataclass(frozen=True)
class TheoremBound:
    """The numbers of the theorem at one horizon.

    Attributes:
        M: Bound on θ^p along the flow.
        C1: Bound on ‖θ̇‖₂.
        C2: Bound on ‖∇²L‖₂ in the ε̄-tube around the flow.
        epsilon_bar: min{ε, α^p, ½ min θ}, the error that η gives; 0 where it underflows (see its logarithm). From a start of
            several numbers α is the smallest α_e.
        log10_epsilon_bar: Its decimal logarithm.
        log10_eta: log10 of the step size ε̄e^{−C₂t}/C₁.
        log10_steps: log10 of t/η, the number of steps; −inf at t = 0.
    """

    __repr__ = short_repr

    M: float
    C1: float
    C2: float
    epsilon_bar: float
    log10_epsilon_bar: float
    log10_eta: float
    log10_steps: float


def flow_bound(problem: Problem, p: float, alpha: float) -> float:
    """M = 2√n‖y‖₂/σ_min(A) + α^p, a bound on θ₊^p and θ₋^p along the whole flow (step 1 of the proof)."""
    y = float(torch.linalg.vector_norm(problem.reduced().y.double()))
    return 2 * math.sqrt(problem.n) * y / problem.sigma_min + alpha**p


def theorem_bound(problem: Problem, p: float, alpha: Any, t: Any, epsilon: Any) -> TheoremBound:
    """The step size and the number of steps that the theorem asks for, in logarithms.

    Args:
        problem: The data; of a rank-deficient A the equivalent full-rank pair is meant.
        p: Depth, >= 2.
        alpha: Where θ starts: a number α > 0, a vector (n,) of them, or an :class:`Initialization`.
        t: Horizon, >= 0, in the unit of the flow; ``inf`` asks for infinitely many steps.
        epsilon: Accuracy in ‖θ − θ(t)‖₂, > 0.

    Raises:
        InputError: an argument out of range.
    """
    p = check_depth(p)
    start = PositiveStart.of(alpha, p, problem.n)
    epsilon = check_number("epsilon", epsilon, above=0)
    t = t if t == math.inf else check_number("t", t, at_least=0)
    full = problem.reduced()
    try:
        M, C1, C2 = _constants(full, start)
    except OverflowError:
        M = C1 = C2 = math.inf
    if not (math.isfinite(C1 + C2) and M > 0):
        raise InputError(
            "p, alpha, A and y must leave the theorem's constants in the range of float64, "
            f"got p={p:g}, alpha={start} and a spectral norm of {full.spectral_norm:g}"
        )
    log_alpha = math.log(start.unit)
    log_epsilon = min(
        math.log(epsilon), p * log_alpha, depth_law(p).log_least_theta(math.log(M), log_alpha) - math.log(2)
    )
    if C1 == 0.0:  # y = 0: the flow stands still, and one step of any size is exact
        log_eta = math.log(t) if 0 < t < math.inf else 0.0
    else:
        log_eta = log_epsilon - C2 * t - math.log(C1)
    log_steps = -math.inf if t == 0 else math.log(t) - log_eta if t < math.inf else math.inf
    return TheoremBound(
        M=M,
        C1=C1,
        C2=C2,
        epsilon_bar=min(math.exp(log_epsilon), epsilon),
        log10_epsilon_bar=log_epsilon / _LN10,
        log10_eta=log_eta / _LN10,
        log10_steps=log_steps / _LN10,
    )


def _constants(full: Problem, start: PositiveStart) -> tuple[float, float, float]:
    """(M, C₁, C₂) of a problem of full row rank."""
    norm, p, alpha = full.spectral_norm, start.p, start.largest
    if start.number is None:
        exact = full.to("cpu", "float64")
        y, M = first_residual(exact, start), largest_power(exact, start, full.sigma_min)
    else:
        y, M = float(torch.linalg.vector_norm(full.y.double())), flow_bound(full, p, alpha)
    largest_column = float(full.operator.column_norms().max())
    tube = start.unit**p
    R = M ** (1 / p) + tube
    C1 = p * norm * y * math.sqrt(M ** (2 - 2 / p) + alpha ** (2 * p - 2))
    C2 = p * p * norm**2 * (R ** (2 * p - 2) + (alpha + tube) ** (2 * p - 2))
    C2 += p * (p - 1) * R ** (p - 2) * largest_column * (y + math.sqrt(2) * p * norm * R ** (p - 1) * tube)
    return M, C1, C2
