"""Step sizes that cannot select the wrong ℓ1-minimiser, whatever the horizon and however small α is.

Notation: p, α, θ± = α at the start; c_p = p(p − 2); (S)GD with the relative rule of κ and c: a step of a batch B of b
rows has r_B = y_B − A_Bψ, g = (m/b)A_Bᵀr_B, ρ = p max θ^{p−2}|g|, Λ >= p²(m/b)‖A‖² max(θ₊^{2p−2} + θ₋^{2p−2}), η <=
min(c/Λ, κ/ρ), so that no θ± changes by more than a factor 1 + x, |x| <= κ < 1. Full batch: b = m. s = Σ η(m/b)I_B r_B,
hence Aᵀs = Σ ηg.

    p > 2:  h = c_p α^{p−2}η,  τ = c_p α^{p−2}Aᵀs,  w± = (θ±/α)^{2−p} ± τ,
    p = 2:  h = 4η/L,          τ = 4Aᵀs/L,          w± = 1 − ln(θ±²/α²)/L ± τ,     L = ln(‖W‖_∞/α²) > 0:

the weights of :mod:`dlntorch.bounds.effective`, 1 at the start. W is the unique ℓ1-minimiser, S its support, σ its
signs, μ_i = ‖XA_i‖₁ for i off S, X a left inverse of A_S (A_S⁺, say), e = (p − 2)nα^p (2nα²/L at p = 2), Q = (p −
1)/(2(1 − κ)^p), and δ = max_{i∈S} w_{σ_i,i} − 1.

**Lemma 1 (selection).** Let δ* be the largest d for which a λ has A_Sᵀλ = (1 + d/2)σ and |A_iᵀλ| + (d/2)μ_i < 1 off S.
If all w± >= 1 and δ <= δ*, then W is the only minimiser of Σ w₊ψ⁺ + w₋ψ⁻ subject to Aψ = y.
*Proof.* Add to λ the Xᵀε with ε_i = σ_i(w_{σ_i,i} − 1 − d/2), |ε_i| <= d/2: now A_Sᵀλ = σ∘w_S, and |A_iᵀλ| has changed
by at most (d/2)μ_i, hence is < 1 <= w±,i. This certifies W, and its uniqueness as A_S has independent columns. ∎
With |S| = m it is sharp: for w_S in [1, 1 + d]^S, d > δ*, some choice certifies another support. It contains the
condition dμ <= 1 − ϱ, ϱ = min max_{i∉S}|A_iᵀλ| over A_Sᵀλ = σ.

**Lemma 2 (one step).** 0 <= Δw±,i <= Q h|g_i||x±,i| <= Qκ h|g_i|.
*Proof.* p > 2: Δw₊ = (θ₊/α)^{2−p}[(1+x)^{2−p} − 1 + (p−2)x], x = ηpθ₊^{p−2}g; the bracket is in [0,
½(p−1)(p−2)x²(1−κ)^{−p}], and (p−2)|x|(θ₊/α)^{2−p} = h|g|. p = 2: Δw₊ = 2(x − ln(1+x))/L, in [0, x²/((1−κ)L)], and
2|x|/L = h|g|. θ₋: x → −x. ∎

**Lemma 3 (energy).** After any K steps, (1 − c/2p) Σ h(m/b)‖r_B‖² <= Σ_{i∈S}|W_i|w_{σ_i,i} + e <= (1 + δ)‖W‖₁ + e.
*Proof.* By ⟨θ, −∇L_B⟩ = p⟨ψ, g⟩, ‖θ‖² changes in a step by 2pη⟨ψ, g⟩ + η²‖∇L_B‖². With (m/b)‖r_B‖² = yᵀ(m/b)I_B r_B −
⟨ψ, g⟩,

    Σ η(m/b)‖r_B‖² = yᵀs − (‖θ_K‖² − 2nα² − Σ η²‖∇L_B‖²)/(2p),     exactly,

and η²‖∇L_B‖² <= η² max D ‖g‖² <= cη(m/b)‖r_B‖², D = p²(θ₊^{2p−2} + θ₋^{2p−2}). In the unit of h, yᵀs becomes ⟨W, τ⟩. p
> 2: τ < w₊, −τ < w₋, so ⟨W, τ⟩ <= Σ|W_i|w_{σ_i,i}. p = 2: ±τ_i = w±,i + ln(θ±,i²/‖W‖_∞)/L, and with what is left of
−‖θ_K‖² the excess is at most Σ_S max_x [|W_i| ln(x/‖W‖_∞) − x]/L < 0. ∎

**Lemma 4 (full batch).** ‖r‖ never increases where c·q₊ <= 2, and from any step on Σ η Σ_i D_i g_i² <= ½‖r‖²/(q₋(1 − ½c
q₊)), with q± = ±((1 ± κ)^p − 1)/(pκ).
*Proof.* ψ_i changes by ηD̂_i g_i with q₋D <= D̂ <= q₊D, as (1+x)^p is convex. So r ↦ (I − M)r, M = ηA D̂Aᵀ, exactly,
and 0 <= M <= c q₊. The loss falls by rᵀMr − ½‖Mr‖² >= (1 − ½cq₊) rᵀMr. ∎

**Theorem.** Let 0 < φ < 1, a = max_{i∈S}‖A_i‖₂ and, for a full batch, N >= ‖A‖_{∞→2}, θ_L^p = (1 − φ)‖y‖/N and any θ̄ >
0:

    X = max{κa/(φ‖y‖),  (c a²/(p‖A‖²)) min(θ̄^{p−2}θ_L^{2−2p}, θ_L^{−p})},
    Z = (p − 2) α^{p−2} (c/(p²‖A‖²)) θ_L^{2−2p} θ̄^{−p} · φ²‖y‖²/(2q₋(1 − ½cq₊))    (0 where θ̄ >= any θ).

If Q(X((1 + δ*)‖W‖₁ + e)/(1 − c/2p) + Z) < δ*, then δ <= δ* at every step, W is the weighted minimiser at every step,
and where the run ends (Aψ = y) is the limit of a flow whose weighted norm W minimises: within O(α^p) of W (p = 2:
O(α^{2(1−ϱ')}), ϱ' < 1).
*Proof.* Fix i in S. Steps with ‖r‖ > φ‖y‖ add, by Lemma 2, at most Qκah‖r‖ <= Q(κa/(φ‖y‖)) h‖r‖². In the others ‖Aψ‖ >=
(1 − φ)‖y‖, so max θ >= θ_L; by η <= c/Λ, |x_i| <= (c/(p‖A‖²))θ_i^{p−2}(max θ)^{2−2p}|g_i|. Where θ_i <= θ̄ they add at
most Q times the second entry of X times h‖r‖²; where θ_i > θ̄, by Δw = (p−2)Qα^{p−2}ηθ_i^{−p}(ηD_i g_i²) at most, and
Lemma 4 sums that to QZ. With Lemma 3: δ <= Q(X((1 + δ)‖W‖₁ + e)/(1 − c/2p) + Z), the right-hand side with a slope < 1
in δ: so δ <= δ*. ∎

**Mini-batches, almost surely.** For every sequence of batches, with y_min = min|y_j| > 0, a_b the largest norm of b
entries of a column of S, N_j = ‖row j of A‖₁: X = max{κa_b/(φ√b y_min), (c a_b²/(p‖A‖²))/((1 − φ) min_j |y_j|/N_j)} and
Z = 0. *Proof.* As above with ‖r_B‖ > φ‖y_B‖ in place of ‖r‖ > φ‖y‖; in the other steps some row j of B has |A_jψ| >= (1
− φ)|y_j|, hence max θ^p >= ‖ψ‖_∞ >= (1 − φ)|y_j|/N_j. Lemma 4 is not used, and nothing is random. ∎

**General starts.** From θ±(0) = α± > 0 in every coordinate, with ᾱ = max α± in the place of α in h, τ, w± and L, the weights
start at ω±: ω± = (α±/ᾱ)^{2−p} (p = 2: ln(‖W‖_∞/α±²)/L, which needs ‖W‖_∞ > ᾱ²). Let W be the unique minimiser of Σ ω₊ψ⁺ + ω₋ψ⁻
for p > 2, the unique ℓ1-minimiser at p = 2: what the flow selects as α → 0 with this shape. Write ω_i = ω_{σ_i,i} on S, δ =
max_{i∈S} w_{σ_i,i}/ω_i − 1, ‖W‖_ω = Σ ω_i|W_i|, and read, in the Theorem,

    a/ω:  max_{i∈S} ‖A_i‖/ω_i in the first entry of X, a²/ω: max_{i∈S} ‖A_i‖²/ω_i in the others, Z/min_{i∈S} ω_i for Z,
    ‖W‖_ω for ‖W‖₁,  e = ½(p − 2)ᾱ^{p−2} Σ (α₊² + α₋²)  (p = 2: Σ (α₊² + α₋²)/L),

and, in Lemma 1, A_Sᵀλ = (1 + d/2)σ∘ω_S, −ω₋,i + (d/2)μ_i < A_iᵀλ < ω₊,i − (d/2)μ_i off S, μ_i = Σ_{j∈S} ω_j|(XA_i)_j|.
ϱ and μ_i are then relative to ω±. The statements stay true. *Proof.* Lemma 1: add to λ the Xᵀε with ε_i = σ_i(w_{σ_i,i} − (1 +
d/2)ω_i), |ε_i| <= (d/2)ω_i; now A_Sᵀλ = σ∘w_S, and −w₋ <= −ω₋ < A_iᵀλ < ω₊ <= w₊ off S. Lemma 2 is about one step from any θ >
0, with ᾱ as a unit. Lemma 3: ‖θ_0‖² = Σ (α₊² + α₋²) is in the place of 2nα², and ⟨W, τ⟩ <= Σ|W_i|w_{σ_i,i} <= (1 + δ)‖W‖_ω;
p = 2: ±τ_i = w±,i + ln(θ±,i²/‖W‖_∞)/L whatever the start is. Lemma 4 does not know the start. Theorem, mini-batches: what the
steps add to w_{σ_i,i} is bounded there for each i by itself; over ω_i it is what they add to δ. ∎ With one number, ω = 1. Other
units ᾱ change nothing.

What is not proved: that the residual tends to 0. c enters beside κ since steps at the stability limit add to the
weights, too, which the smallness of α suppresses for p > 2 (Z) and nothing does at p = 2: there c has to be small.

**A posteriori** nothing of this is needed: δ is known from θ
(:func:`~dlntorch.bounds.effective.effective_initialization`), and :func:`~dlntorch.bounds.support.support_certified`
says whether the support is right. Along the flow δ = 0.

**The other side.** No κ* independent of A exists: by Lemma 1 and its sharpness, A with δ* → 0 fails at any κ. The
smallest κ that selects wrongly is found by search in the study ``steps``, beside this bound.

Sources: Even et al., NeurIPS 2023, for the gain at p = 2; the theorem seems to be new.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from dlntorch.bounds.effective import Effective
from dlntorch.bounds.selection_margin import Margin, selection_margin
from dlntorch.bounds.threshold_bound import FRACTIONS, SMALLEST, ThresholdBound, ThresholdSizes, sizes_of
from dlntorch.model.positive_start import PositiveStart
from dlntorch.model.selector import Selector
from dlntorch.numerics.threads import with_few_threads
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.numerics.validation import InputError, check_count, check_depth
from dlntorch.problem import Problem

if TYPE_CHECKING:
    from dlntorch.reference.l1_minimizer import L1Minimizer

__all__ = ["StepSizeThreshold", "norm_weights", "step_size_threshold"]


@dataclass(frozen=True)
class StepSizeThreshold:
    """A κ, with a c, below which the relative rule provably selects the ℓ1-minimiser (of the norm with the start's weights ω).

    Attributes:
        kappa: The κ, at most 0.3, the largest that a schedule takes; None with ``reason``.
        c: The c it is proved with; smaller ones are proved too.
        delta: δ*, the spread of the weights on the support that cannot change the minimiser.
        rho: ϱ, the smallest max_{i∉S}|A_iᵀλ| over dual vectors with A_Sᵀλ = σ, relative to ω.
        influence: max_{i∉S}‖A_S⁺A_i‖₁, relative to ω.
        path_length: The bound on the path length Σ h|g_i|/ω_i of τ_i, i in S, over the steps that κ limits (at ``kappa``).
        reason: Why there is none, else empty.
    """

    kappa: float | None
    c: float | None = None
    delta: float | None = None
    rho: float | None = None
    influence: float | None = None
    path_length: float | None = None
    reason: str = ""

    __repr__ = short_repr


@with_few_threads
def step_size_threshold(
    problem: Problem, p: float, alpha: Any, *, batch_size: Any = None, minimizer: L1Minimizer | None = None
) -> StepSizeThreshold:
    """The κ below which (S)GD under the relative rule provably ends where the flow does as α → 0.

    The theorem and its proof head this module. From one number α, and at p = 2, that is the ℓ1-minimiser; else it is the
    minimiser of Σ ω₊ψ⁺ + ω₋ψ⁻, ω± = α±^{2−p}.

    Args:
        problem: (A, y), dense.
        p: Depth, >= 2.
        alpha: The number α > 0 that all θ± start from, a vector (n,) of them, or an :class:`Initialization`.
        batch_size: Rows of a mini-batch: the statement then holds for every sequence of batches.
        minimizer: :func:`~dlntorch.reference.l1_minimizer.l1_minimizer` of the problem, where it is known: with the weights ω± at
            p > 2 from a start of several numbers.

    Returns:
        :class:`StepSizeThreshold`; ``kappa`` is None where there are several minimisers, or A is so close to having several
        that no κ >= 1e-12 is proved.

    Raises:
        InputError: p or alpha out of range; an A that is not dense; a minimiser of another norm.

    Example:
        >>> problem = Problem([[1.0, 0.5]], [1.0])
        >>> round(step_size_threshold(problem, 3, 1e-3).delta, 3)  # a weight of e₁ between 1 and 2 leaves it the minimiser
        1.0
    """
    start = PositiveStart.of(alpha, check_depth(p), problem.n)
    batch = None if batch_size is None else check_count("batch_size", batch_size, at_most=problem.m)
    if not problem.dense:
        raise InputError(f"A must be a dense matrix here, got a {problem.operator!r}; problem.to_dense() has one")
    exact = problem.to("cpu", "float64")
    minimizer = _minimizer(exact, start, minimizer)
    why = _excluded(exact, minimizer, batch)
    if why:
        return StepSizeThreshold(None, reason=why)
    support = minimizer.support.cpu().numpy()
    psi = minimizer.psi.cpu().double().numpy()
    largest = float(np.abs(psi).max())
    why = start.no_weights(largest)
    weights = None if why or start.number is not None else start.weights(largest)
    margin = selection_margin(exact, support, np.sign(psi[support]), weights)
    known = StepSizeThreshold(
        None, delta=margin.delta, rho=margin.rho, influence=margin.influence, reason=margin.reason
    )
    if margin.delta is None:
        return known
    if why:
        return replace(known, reason=why)
    return _solve(known, sizes_of(exact, start, batch, psi, weights, margin.delta), margin)


def norm_weights(p: float, alpha: Any, end: Effective, largest: float) -> tuple[Tensor, Tensor] | None:
    """The weights w± of the theorem at an end, shape (n,) each; None where one is not positive, or there is no end.

    Args:
        p: Depth.
        alpha: Where the run started.
        end: Its effective initialization.
        largest: ‖W‖_∞, which the unit L of p = 2 is made of.
    """
    if end.initialization is None or end.weights_plus is None or end.weights_minus is None:
        return None
    n = end.weights_plus.numel()
    start = PositiveStart.of(alpha, p, n)
    if start.no_weights(largest):
        return None
    pairs = zip(
        (end.weights_plus, end.weights_minus), end.initialization.expanded(n), start.weights(largest), strict=True
    )
    weights = [start.weight_at(relative, side, first, largest) for relative, side, first in pairs]
    positive = all(bool((side > 0).all()) for side in weights)
    return (weights[0], weights[1]) if positive else None


def _minimizer(problem: Problem, start: PositiveStart, known: L1Minimizer | None) -> L1Minimizer:
    """The minimiser of the norm that the flow minimises as the start shrinks."""
    from dlntorch.reference.l1_minimizer import l1_minimizer
    from dlntorch.reference.weights import WIDEST, Weights

    weights = Selector.of(start.p, start.plus, start.minus).weights()
    if weights is not None and not np.max(weights) < 2.0**WIDEST:
        raise InputError(f"alpha must have entries whose powers a^(2 - p) differ by less than 2^{WIDEST}, got {start}")
    if known is None:
        return l1_minimizer(problem, weights=weights)
    if not known.weights.same_as(Weights.of(weights, problem.n)):
        raise InputError("minimizer must be l1_minimizer with the weights that p and alpha mean, got other weights")
    return known


def _excluded(problem: Problem, minimizer: L1Minimizer, batch: int | None) -> str:
    """Why the theorem says nothing about a problem; empty where it does."""
    if minimizer.status is Status.FAILED:
        return f"no l1-minimiser was found: {minimizer.reason}"
    if minimizer.unique is not True:
        several = "there are several l1-minimisers" if minimizer.unique is False else "uniqueness is undecided"
        return f"{several}: on a face any unequal weights decide"
    if minimizer.value == 0:
        return "y = 0: nothing is selected"
    if batch is not None and batch < problem.m:
        if not problem.consistent:
            return "y is not in range(A): mini-batches then have no point to end at"
        if bool((problem.y == 0).any()):
            return "an entry of y is 0: the theorem for mini-batches needs min |y_j| > 0"
    return ""


def _solve(known: StepSizeThreshold, sizes: ThresholdSizes, margin: Margin) -> StepSizeThreshold:
    """The largest κ, by bisection, at the largest c that costs it at most half."""
    bound = ThresholdBound(sizes)
    best = bound.largest_kappa(float(FRACTIONS[-1]))
    if best is None:
        return replace(known, reason=_too_close(margin))
    for c in map(float, FRACTIONS):
        kappa = bound.largest_kappa(c) if bound.proved(c, 0.5 * best) else None
        if kappa is not None:
            at = int(np.argmin(bound.values(c, kappa)))  # the φ that proves κ
            return replace(known, kappa=kappa, c=c, path_length=float(bound.path(c)[at, 0]))
    raise RuntimeError("the smallest c has half of its own kappa")


def _too_close(margin: Margin) -> str:
    return (
        f"no kappa >= {SMALLEST:g} with c >= {FRACTIONS[-1]:.2g} is proved: weights that differ by {margin.delta:.2g} on the "
        "support may change the minimiser"
    )
