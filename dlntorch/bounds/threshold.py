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

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.bounds.effective import Effective
from dlntorch.bounds.selection_margin import Margin, selection_margin
from dlntorch.numerics.threads import with_few_threads
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.numerics.validation import InputError, check_alpha, check_count, check_depth
from dlntorch.problem import Problem

if TYPE_CHECKING:
    from dlntorch.reference.l1_minimizer import L1Minimizer

__all__ = ["StepSizeThreshold", "norm_weights", "step_size_threshold"]

#: The largest κ that a schedule takes.
_LARGEST = 0.3
#: Smaller ones are no help to anyone: a run would take more than 1/κ steps.
_SMALLEST = 1e-12
_PHI = np.linspace(0.02, 0.98, 49)[:, None]
#: Accuracy in ln κ of the search for the largest κ.
_RESOLVED = 1e-9
#: The c that are tried; the largest is taken whose κ is at least half of what the smallest has.
_FRACTIONS = 2.0 ** -np.arange(13)


@dataclass(frozen=True)
class StepSizeThreshold:
    """A κ, with a c, below which the relative rule provably selects the ℓ1-minimiser.

    Attributes:
        kappa: The κ, at most 0.3, the largest that a schedule takes; None with ``reason``.
        c: The c it is proved with; smaller ones are proved too.
        delta: δ*, the spread of the weights on the support that cannot change the minimiser.
        rho: ϱ, the smallest max_{i∉S}|A_iᵀλ| over dual vectors with A_Sᵀλ = σ.
        influence: max_{i∉S}‖A_S⁺A_i‖₁.
        path_length: The bound on the path length Σ h|g_i| of τ_i, i in S, over the steps that κ limits (at ``kappa``).
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


@dataclass(frozen=True)
class _Sizes:
    """The numbers of the theorem: y/a is ‖y‖/a or √b y_min/a_b, and low is θ_L^p/(1 − φ)."""

    p: float
    alpha: float
    l1: float
    start: float
    reach: float
    column: float
    spectral: float
    low: float
    loss: float
    delta: float


@with_few_threads
def step_size_threshold(
    problem: Problem, p: float, alpha: Any, *, batch_size: Any = None, minimizer: L1Minimizer | None = None
) -> StepSizeThreshold:
    """The κ below which (S)GD under the relative rule provably ends at the ℓ1-minimiser; proof at the head of this module.

    Args:
        problem: (A, y), dense.
        p: Depth, >= 2.
        alpha: The number α > 0 that all θ± start from.
        batch_size: Rows of a mini-batch: the statement then holds for every sequence of batches.
        minimizer: :func:`~dlntorch.reference.l1_minimizer.l1_minimizer` of the problem, where it is known.

    Returns:
        :class:`StepSizeThreshold`; ``kappa`` is None where there are several minimisers, or A is so close to having several
        that no κ >= 1e-12 is proved.

    Raises:
        InputError: p or alpha out of range; an A that is not dense.

    Example:
        >>> problem = Problem([[1.0, 0.5]], [1.0])
        >>> round(step_size_threshold(problem, 3, 1e-3).delta, 3)  # a weight of e₁ between 1 and 2 leaves it the minimiser
        1.0
    """
    p, alpha = check_depth(p), check_alpha(alpha)
    batch = None if batch_size is None else check_count("batch_size", batch_size, at_most=problem.m)
    if not problem.dense:
        raise InputError(f"A must be a dense matrix here, got a {problem.operator!r}; problem.to_dense() has one")
    exact = problem.to("cpu", "float64")
    if minimizer is None:
        from dlntorch.reference.l1_minimizer import l1_minimizer

        minimizer = l1_minimizer(exact)
    why = _excluded(exact, minimizer, batch)
    if why:
        return StepSizeThreshold(None, reason=why)
    support = minimizer.support.cpu().numpy()
    psi = minimizer.psi.cpu().double().numpy()
    margin = selection_margin(exact, support, np.sign(psi[support]))
    if margin.delta is None:
        return StepSizeThreshold(None, rho=margin.rho, influence=margin.influence, reason=margin.reason)
    return _solve(exact, p, alpha, batch, psi, support, margin)


def norm_weights(p: float, alpha: float, end: Effective, largest: float) -> tuple[Tensor, Tensor] | None:
    """The weights w± of the theorem at an end, shape (n,) each; None where one is not positive, or there is no end.

    Args:
        p: Depth.
        alpha: Where the run started.
        end: Its effective initialization.
        largest: ‖W‖_∞, which the unit L of p = 2 is made of.
    """
    if end.initialization is None or end.weights_plus is None or end.weights_minus is None:
        return None
    weights = end.weights_plus, end.weights_minus
    if p == 2:
        sides = end.initialization.expanded(end.weights_plus.numel())
        length = math.log(largest) - 2 * math.log(alpha)
        if length <= 0:
            return None
        weights = tuple((math.log(largest) - 2 * torch.log(side)) / length for side in sides)
    positive = all(bool((side > 0).all()) for side in weights)
    return (weights[0], weights[1]) if positive else None


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


def _solve(
    problem: Problem, p: float, alpha: float, batch: int | None, psi: np.ndarray, support: np.ndarray, margin: Margin
) -> StepSizeThreshold:
    """The largest κ, by bisection, at the largest c that costs it at most half."""
    log_top = 2 * math.log(alpha)
    length = math.log(np.abs(psi).max()) - log_top if p == 2 else 1.0
    known = StepSizeThreshold(None, delta=margin.delta, rho=margin.rho, influence=margin.influence)
    if length <= 0:
        return replace(
            known, reason=f"alpha is too large: alpha^2 = {alpha**2:.3g} must be below the largest entry of W"
        )
    start = 2 * problem.n * alpha**2 / length if p == 2 else (p - 2) * problem.n * alpha**p
    reach, column, low, loss = _data_sizes(problem, support, batch)
    delta = math.inf if margin.delta is None else margin.delta
    l1 = float(np.abs(psi).sum())
    sizes = _Sizes(p, alpha, l1, start, reach, column, problem.spectral_norm, low, loss, min(delta, 1e6))
    bound = _Bound(sizes)
    best = bound.largest_kappa(float(_FRACTIONS[-1]))
    if best is None:
        return replace(known, reason=_too_close(margin))
    for c in map(float, _FRACTIONS):
        kappa = bound.largest_kappa(c) if bound.proved(c, 0.5 * best) else None
        if kappa is not None:
            at = int(np.argmin(bound.values(c, kappa)))  # the φ that proves κ
            return replace(known, kappa=kappa, c=c, path_length=float(bound.path(c)[at, 0]))
    raise RuntimeError("the smallest c has half of its own kappa")


def _too_close(margin: Margin) -> str:
    return (
        f"no kappa >= {_SMALLEST:g} with c >= {_FRACTIONS[-1]:.2g} is proved: weights that differ by {margin.delta:.2g} on the "
        "support may change the minimiser"
    )


def _data_sizes(problem: Problem, support: np.ndarray, batch: int | None) -> tuple[float, float, float, float]:
    """‖y‖/a (or its part for mini-batches), a, θ_L^p/(1 − φ), and ‖y‖²/2 (inf for mini-batches: Lemma 4 is not theirs)."""
    if batch is None or batch == problem.m:
        full = problem.reduced()
        A, size = full.A.numpy(), float(np.linalg.norm(full.y.numpy()))
        column = float(np.linalg.norm(A[:, support], axis=0).max())
        norms = (
            math.sqrt(A.shape[1]) * full.spectral_norm,
            float(np.linalg.norm(A, axis=0).sum()),
            float(np.linalg.norm(np.abs(A).sum(axis=1))),
        )
        return size / column, column, size / min(norms), 0.5 * size**2
    A, y = problem.A.numpy(), np.abs(problem.y.numpy())
    largest = -np.sort(-(A[:, support] ** 2), axis=0)[:batch]
    column = float(np.sqrt(largest.sum(axis=0)).max())
    low = float((y / np.maximum(np.abs(A).sum(axis=1), 1e-300)).min())
    return math.sqrt(batch) * float(y.min()) / column, column, low, math.inf


class _Bound:
    """The theorem's left-hand side Q(X·energy + Z) over a grid of φ and θ̄, as a function of c and κ."""

    def __init__(self, sizes: _Sizes) -> None:
        self.sizes = sizes
        p, low = sizes.p, (1 - _PHI) * sizes.low  # θ_L^p
        common = 1 / (p * sizes.spectral**2)
        self._every = common * sizes.column**2 / low  # times c: X where θ̄ is larger than any θ
        self._late: np.ndarray | None = None
        if p > 2 and not math.isinf(sizes.loss):
            # θ̄ from α to θ_L, in logarithms: α^{p−2}θ̄^{−p}θ_L^{2−2p} may be any size.
            log_low, log_alpha = np.log(low) / p, math.log(sizes.alpha)
            log_bar = log_alpha + np.linspace(0, 1, 41)[None, :] * (log_low - log_alpha)
            with np.errstate(over="ignore", under="ignore"):
                small = common * sizes.column**2 * np.exp((p - 2) * log_bar + (2 - 2 * p) * log_low)
                late = np.exp((p - 2) * log_alpha - p * log_bar + (2 - 2 * p) * log_low)
                self._late = (p - 2) * common / p * late * _PHI**2 * sizes.loss
            self._small = np.minimum(small, self._every)

    def energy(self, c: float) -> float:
        """Lemma 3's bound."""
        return ((1 + self.sizes.delta) * self.sizes.l1 + self.sizes.start) / (1 - c / (2 * self.sizes.p))

    def path(self, c: float) -> np.ndarray:
        """The energy over ‖y‖φ/a, for every φ, shape (φ, 1)."""
        return self.energy(c) / (_PHI * self.sizes.reach)

    def values(self, c: float, kappa: float) -> np.ndarray:
        """The least over θ̄, for every φ, shape (φ, 1); infinite where Lemma 4 needs a smaller c."""
        p, energy = self.sizes.p, self.energy(c)
        q_high, q_low = (sign * math.expm1(p * math.log1p(sign * kappa)) / (p * kappa) for sign in (1, -1))
        if c * q_high >= 2:
            return np.full_like(self._every, np.inf)
        Q = (p - 1) / (2 * (1 - kappa) ** p)
        first = kappa / (_PHI * self.sizes.reach)
        bound = Q * np.maximum(first, c * self._every) * energy
        if self._late is None:
            return bound
        late = self._late * (c / (q_low * (1 - 0.5 * c * q_high)))
        split = Q * (np.maximum(first, c * self._small) * energy + late)
        return np.minimum(bound, split.min(axis=1, keepdims=True))

    def proved(self, c: float, kappa: float) -> bool:
        """Whether the theorem holds for κ and c, at some φ and θ̄."""
        return bool(self.values(c, kappa).min() < self.sizes.delta)

    def largest_kappa(self, c: float) -> float | None:
        """The largest κ in [1e-12, 0.3] that the theorem holds for, to 1e-9 of it; None where there is none."""
        if self.proved(c, _LARGEST):
            return _LARGEST
        if not self.proved(c, _SMALLEST):
            return None
        from scipy.optimize import brentq

        def excess(log_kappa: float) -> float:
            """ln of the bound over δ*, which grows with κ and is below 0 where κ is proved."""
            with np.errstate(divide="ignore"):
                return float(np.log(self.values(c, math.exp(log_kappa)).min() / self.sizes.delta))

        low, high = math.log(_SMALLEST), math.log(_LARGEST)
        while math.isinf(excess(high)):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if excess(middle) < 0 else (low, middle)
        found: Any = brentq(excess, low, high, xtol=_RESOLVED)
        while not self.proved(c, math.exp(found)):
            found -= _RESOLVED
        return math.exp(found)
