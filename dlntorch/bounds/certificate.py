"""A certificate of gradient descent's discretization error, ‖θ_k − θ(t_k)‖₂, without integrating the flow.

Notation: θ(t) the flow, s(t) its dual path and ν = Aᵀs (:mod:`dlntorch.model.dual`); ψ(ν) acts on each coordinate;
D(ν) = dψ/dν = p²(θ₊^{2p−2} + θ₋^{2p−2}) > 0 is even and convex in ν_i; t_k = Σ_{j<k} η_j. A_i is the i-th column of A.

**The mirror path.** Beside gradient descent, whose step sizes η_k it takes over but whose θ_k it does not use, run

    (1)  ŝ_{k+1} = ŝ_k + η_k r̂_k,  r̂_k = y − Aψ(Aᵀŝ_k) + ε_k,  ŝ_0 = 0,

joined linearly to ŝ(u), t_k <= u <= t_{k+1}, with ε_k the rounding error of r̂_k. Write ĝ_k = Aᵀr̂_k and let ν̂_k be
the *stored* Aᵀŝ_k, |ν̂_k − Aᵀŝ_k|_i <= ρ‖A_i‖.

**Theorem.** For depth p >= 2, one α, the full batch and any step sizes η_k: if E_0 = 0 and E_{k+1} is made from E_k as in (6)
to (8), then for every k ‖ŝ(t_k) − s(t_k)‖₂ <= E_k, and ‖θ_k − θ(t_k)‖₂ is at most what (9) gives. The same holds from any
θ±(0) > 0, with what is said under **General starts** in the place of α, τ and M.

*Proof.* 1. Let δ(u) = ŝ(u) − s(u) and w = Aᵀδ. On a step, ŝ' = r̂_k, so δ' = −A[ψ(ν̂_k) − ψ(Aᵀs(u))] + ε_k.

2. Put e(u) = ν̂_k − Aᵀŝ(u): then ν̂_k = Aᵀs + (w + e), and by (1) |e_i| <= (u − t_k)|ĝ_{k,i}| + ρ‖A_i‖.

3. ψ acts on each coordinate and increases: ψ(ν̂_k) − ψ(Aᵀs) = D̂(w + e), D̂ = diag of chord slopes, all positive. Hence

    (2)  ½ d‖δ‖²/du = −⟨w, D̂w⟩ − ⟨w, D̂e⟩ + ⟨δ, ε_k⟩.

4. For every β in (0, 1], −⟨w, D̂e⟩ <= β⟨w, D̂w⟩ + ⟨e, D̂e⟩/(4β), coordinate by coordinate. So

    (3)  d‖δ‖²/du <= −2(1 − β)⟨w, D̂w⟩ + ⟨e, D̂e⟩/(2β) + 2‖δ‖‖ε_k‖.

5. Suppose ‖δ‖ <= Ē on the step so far. Then |Aᵀs − ν̂_k|_i <= η|ĝ_{k,i}| + ‖A_i‖(Ē + ρ) =: b_i. A chord slope lies between the
   smallest and the largest D on its interval, and D is even, convex: with D± = D at |ν̂_{k,i}| ± b_i (at 0 if negative),

    (4)  D_low,i = D₋ <= D̂_i <= D̄_i = max(D(ν̂_{k,i}), min(D₊, D_M)).

   Here D_M = p²(M^{2−2/p} + α^{2p−2}) bounds D on the flow, since there θ^p <= M (:mod:`dlntorch.bounds.theorem`)
   and the smaller of θ± is <= α; the chord's other end is ν̂_k itself, and a convex D has its maximum at an end. D̄ is thus finite
   for any Ē. In terms of u_i = 1 − |τ̂_i|, D₊ <= D(1 − c_p b/u)^{−(k+1)} and D₋ >= D(1 − (k+1)c_p b/u), k = p/(p−2)
   (e^{±4b} at p = 2); the first is bounded by D/(1 − z), z = (k+1)c_p b/u, Bernoulli's inequality, and that by
   D(1 + z + z²/(1 − z₀)), where z <= z₀ = ¼. The box (9) at steps before the last is bounded in the same way.

6. (5)  With β = 1, (3) and (4) give ‖δ(u)‖ <= (E_k² + G/2)^{1/2} + η‖ε_k‖, where

    (6)  G = η(η² Σ D̄ĝ²/3 + ηρ Σ D̄|ĝ|‖A_i‖ + ρ² Σ D̄‖A_i‖²) >= ∫ ⟨e, D̄e⟩ du.

   If the right-hand side of (5) is <= Ē, then ‖δ‖ can never be the first to exceed Ē on the step, by continuity: the
   supposition of 5 holds on the whole step. The code tries Ē, enlarges it until this is so, and in the last resort takes
   Ē = ∞, which D_M makes finite.

7. ⟨w, D̂w⟩ >= ⟨δ, A D_low Aᵀδ⟩ >= μ‖δ‖² with

    (7)  μ = f λ_min(A D_ref Aᵀ),  f = min(1, min_i D_low,i/D_ref,i),

   for any fixed D_ref > 0: D_ref becomes D_low itself every R to 64R mirror steps, the later the less that has changed.

8. (8)  E_{k+1} = (E_k² e^{−2(1−β)μη} + G/(2β))^{1/2} + η‖ε_k‖,  β = min(1, ½(G/(μηE_k²))^{1/2})

   follows from (3), (4), (7) and Gronwall for any constant β in (0, 1]; this β minimises the bound to first order. ∎

Nothing above asks that ŝ and θ take the same steps, only that ŝ is known at every t_k. Where η_k is too long for ŝ, which
happens when ŝ is through a jump that θ has yet to make, the mirror path divides it: no part changes θ̂ by more than a
factor 1 ± 0.03 or exceeds 1.5/(‖A‖² max D), so ŝ stays away from the pole and stable, whatever the schedule of θ.

**General starts.** Let θ±(0) = α± > 0 be given for each coordinate, with ᾱ, a±, α_e and u± as in
:mod:`dlntorch.model.positive_start`. The proof asks four things of α.

- *Step 3*, that ψ acts on each coordinate and increases: it does from any start.
- *Step 5, above*: D = p²ᾱ^{2p−2}(u₊^{−(k+1)} + u₋^{−(k+1)}) is convex in ν_i, though even no more, so that a chord slope is
  at most the larger D of its two ends. Where ν_i moves by at most b no u± falls below u±(1 − c_p b/u), u = min(u₊, u₋), c_p made
  with ᾱ: the bound D(1 − c_p b/u)^{−(k+1)} of 5, on both sides of ν̂_i. At p = 2 θ±² move by factors within e^{±4b}, as before.
- *Step 5, below*: in the same way D >= D(ν̂_i)(1 + c_p b/u)^{−(k+1)} >= D(ν̂_i)(1 − (k+1)c_p b/u), and D >= 2p²α_e^{2p−2} >=
  2p²ᾱ^{2p−2}.
- D_M: M is that of :func:`~dlntorch.bounds.start.largest_power`, and the smaller of θ± is at most α_e, whose largest takes the
  place of α.

In (9) θ± = ᾱu±^{−1/(p−2)} are monotone in ν. Nothing else contains α. a±^{2−p} is held as a sum of two floats, as τ̂ is, since
u± = a±^{2−p} ∓ τ̂ cancels close to a pole.

**What it says about θ.** θ±(t_k) is monotone in ν, so with |ν − ν̂_k|_i <= ‖A_i‖(E_k + ρ), and θ^p <= M on the flow,

    (9)  θ(t_k) ∈ box = ∏ [θ(ν̂_{k,i} ∓ ‖A_i‖(E_k + ρ))],   ‖θ_k − θ(t_k)‖₂ <= distance from θ_k to its farthest corner.

Gradient descent's own distance from the mirror path enters exactly, whatever made θ_k.

**Rounding.** r̂ is a sum of n + 1 terms, each of relative error at most (4k + 4) units: ‖ε_k‖ <= (n + 4k + 8) 2⁻⁵³
(Σ ‖A_i‖(θ̂₊^p + θ̂₋^p) + ‖y‖), which is in (5) and (8). Aᵀr̂ is a sum of m terms, so ρ = (m + 8) 2⁻⁵³ Σ η_j‖r̂_j‖, which is
in (6) and (9); τ̂ itself is stored as a sum of two floats, whose own error is of order 2⁻¹⁰⁶ a step. λ_min is lowered by
(m + n)2⁻⁵² trace, the backward error of forming and solving, and σ_min in M likewise by (m + n)2⁻⁵²‖A‖. D̄ and D_low are
widened by 1e-13 + (n + 4k + 16)2⁻⁵² each step, which covers D itself, to (4k + 8) units, and the sums of positive numbers
made from it; E_{k+1}² is raised by 1e-14 for the exponential and the square root.

Two things are outside the theorem. It is about t_k = Σ η_j exactly: the ``time`` of a run is their float64 sum, off by at most
k 2⁻⁵³ t_k (some √k 2⁻⁵³ t_k in practice), which matters only where a jump is shorter than that. And of a rank-deficient A it
certifies the flow of the *computed* pair (Ã, ỹ).

Source: the theorem is this package's own. That of arXiv 2307.07410, section 4.1, is in :mod:`dlntorch.bounds.theorem`; it has
e^{Ct} where this has sums.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.bounds import certificate_box as layout
from dlntorch.bounds import certificate_kernel as kernel
from dlntorch.bounds.start import largest_power
from dlntorch.bounds.theorem import flow_bound
from dlntorch.model.dual import dual_scale
from dlntorch.model.positive_start import PositiveStart
from dlntorch.numerics.trajectory import short_repr
from dlntorch.numerics.validation import InputError, check_depth
from dlntorch.problem import Problem

__all__ = ["Certificate", "FlowBox"]

_UNIT = 2.0**-53


@dataclass(frozen=True)
class FlowBox:
    """A box that contains the flow: lower and upper bounds of θ₊, θ₋ and ψ, each of shape (n,)."""

    theta_plus_low: Tensor
    theta_plus_high: Tensor
    theta_minus_low: Tensor
    theta_minus_high: Tensor
    psi_low: Tensor
    psi_high: Tensor

    __repr__ = short_repr


class Certificate:
    """Accumulates the bound along a full-batch run from θ(0) > 0; the theorem and its proof head this module.

    Args:
        problem: The data; of a rank-deficient A the equivalent full-rank pair is used, whose flow is the same.
        p: Depth, >= 2.
        alpha: Where θ starts: a number α > 0, a vector (n,) of them, or an :class:`Initialization`.

    Raises:
        InputError: p < 2, an alpha that is not > 0 or of the wrong length, or numbers for which the bound's constants overflow.

    The cost of a step is one pass over A and a few powers. A compiled loop takes :meth:`arguments` and
    calls :func:`~dlntorch.bounds.certificate_kernel.certificate_step` itself.
    """

    def __init__(self, problem: Problem, p: float, alpha: Any) -> None:
        self.p = check_depth(p)
        self.start = PositiveStart.of(alpha, self.p, problem.n)
        self.alpha = self.start.unit
        full = problem.reduced().to("cpu", torch.float64)
        self.A = np.ascontiguousarray(full.A.numpy())
        self.y = np.ascontiguousarray(full.y.numpy())
        m, n = self.A.shape
        self.norms = np.linalg.norm(self.A, axis=0) * (1 + (m + 4) * _UNIT)
        self.spectral_norm = full.spectral_norm
        smallest = full.sigma_min - (m + n) * 2 * _UNIT * full.spectral_norm
        try:
            largest = self._largest(full, smallest) if smallest > 0 else math.inf
            self.numbers = self._constants(largest)
        except (InputError, OverflowError):
            raise InputError(
                "p, alpha, A and y must leave the certificate's constants in the range of float64, "
                f"got p={self.p:g}, alpha={self.start} and a spectral norm of {full.spectral_norm:g}"
            ) from None
        self.state = np.zeros(10)
        self.state[layout.ALIVE] = 1.0
        self.path = np.zeros((3, n))
        if self.start.number is None:
            self.path = np.concatenate([self.path, self.start.origin])
        self.work = np.zeros((8, n))
        self.rows = np.arange(m)
        self.short = np.zeros(3)

    def _largest(self, full: Problem, smallest: float) -> float:
        """M, where σ_min(A) is at least ``smallest``."""
        if self.start.number is None:
            return largest_power(full, self.start, smallest)
        return flow_bound(full, self.p, self.alpha) * (full.sigma_min / smallest)

    def _constants(self, largest: float) -> np.ndarray:
        """The vector ``numbers`` of the kernel, from a bound M on θ^p along the flow."""
        (m, n), p, alpha = self.A.shape, self.p, self.alpha
        k, j = (0.0, 0.5) if p == 2 else (p / (p - 2), 1 / (p - 2))
        cap = p * p * (largest ** (2 - 2 / p) + self.start.largest ** (2 * p - 2)) * (1 + 1e-12)
        power = 16.0 if p == 2 else k  # exp is as accurate as a power; |τ| <= 700 adds its own rounding
        # a refresh costs about n m² + 40 m³ operations (an eigenvalue's are slower than a product's), a step 4 m n + 60 n:
        # a sixth of the time at most
        every = max(100, math.ceil(6 * (n * m * m + 40 * m**3) / (4 * m * n + 60 * n)))
        return np.array(
            [
                p,
                alpha,
                dual_scale(p, alpha),
                k,
                j,
                cap,
                largest ** (1 / p) * (1 + 1e-12),
                float(np.linalg.norm(self.y)) * (1 + 1e-12),
                (n + 4 * power + 8) * _UNIT,
                (m + 8) * _UNIT,
                alpha**p,
                float(every),
                self.spectral_norm,
                1e-13 + (n + 4 * k + 16) * 2 * _UNIT,
            ]
        )

    def arguments(self) -> tuple[np.ndarray, ...]:
        """What follows (θ₊, θ₋, η) in a call of ``certificate_step``: the arrays are changed in place."""
        return self.A, self.y, self.rows, self.norms, self.numbers, self.state, self.path, self.work, self.short

    def update(self, theta_plus: Any, theta_minus: Any, eta: float) -> None:
        """Take one step: θ_k of shape (n,) *before* the step, and its length η_k > 0."""
        plus, minus = self._vectors(theta_plus, theta_minus)
        kernel.certificate_step(plus, minus, float(eta), *self.arguments())

    @property
    def steps(self) -> int:
        """The number of steps so far."""
        return int(self.state[layout.STEPS])

    @property
    def finite(self) -> bool:
        """Whether the mirror path has stayed away from the pole, so that E is finite."""
        return bool(self.state[layout.ALIVE]) and math.isfinite(self.state[layout.E2])

    @property
    def energy(self) -> float:
        """E_k >= ‖ŝ_k − s(t_k)‖₂, in the unit of s (which has the size α^{2−p}); ``inf`` where there is none."""
        return math.sqrt(self.state[layout.E2]) if self.finite else math.inf

    @property
    def theta_error_sup(self) -> float:
        """The largest bound on ‖θ_j − θ(t_j)‖₂ noted so far: j < k, and j = k after :meth:`theta_error`."""
        return float(self.state[layout.SUP])

    def theta_error(self, theta_plus: Any, theta_minus: Any) -> float:
        """A bound on ‖θ_k − θ(t_k)‖₂ for the current θ_k, equation (9); ``inf`` where there is none."""
        plus, minus = self._vectors(theta_plus, theta_minus)
        box = self.enclosure()
        low = np.concatenate([box.theta_plus_low, box.theta_minus_low])
        high = np.concatenate([box.theta_plus_high, box.theta_minus_high])
        bound = _farthest(np.concatenate([plus, minus]), low, high) if self.finite else math.inf
        self.state[layout.SUP] = max(self.state[layout.SUP], bound)
        return bound

    def psi_error(self, theta_plus: Any, theta_minus: Any) -> float:
        """A bound on ‖ψ_k − ψ(t_k)‖₂ for the current θ_k; ``inf`` where there is none."""
        plus, minus = self._vectors(theta_plus, theta_minus)
        if not self.finite:
            return math.inf
        box = self.enclosure()
        return _farthest(plus**self.p - minus**self.p, box.psi_low.numpy(), box.psi_high.numpy())

    def enclosure(self) -> FlowBox:
        """The box (9) at the current t_k; where there is no bound, what holds on every flow: 0 <= θ^p <= M."""
        cap = float(self.numbers[layout.CAP_THETA])
        n = self.norms.size
        if not self.finite:
            sides = [np.zeros(n), np.full(n, cap), np.zeros(n), np.full(n, cap)]
        else:
            width = self.energy + self.numbers[layout.UNIT_DRIFT] * self.state[layout.LENGTH]
            change = self.numbers[layout.SCALE] * self.norms * width
            slop = (8 + 2 * self.numbers[layout.J] + 2 * self.numbers[layout.K]) * 2 * _UNIT
            sides = [
                self._theta(1, -change) * (1 - slop),
                np.minimum(self._theta(1, change) * (1 + slop), cap),
                self._theta(-1, -change) * (1 - slop),
                np.minimum(self._theta(-1, change) * (1 + slop), cap),
            ]
        low_plus, high_plus, low_minus, high_minus = sides
        psi = [low_plus**self.p - high_minus**self.p, high_plus**self.p - low_minus**self.p]
        return FlowBox(*(torch.from_numpy(side) for side in [*sides, *psi]))

    def _theta(self, sign: int, change: np.ndarray) -> np.ndarray:
        """θ₊ (sign 1) or θ₋ (−1) where ±τ is ``change`` more than at ν̂; ∞ at and beyond the pole."""
        high, low = sign * self.path[0], sign * self.path[1]
        own = None if self.start.number is not None else self.path[3:5] if sign > 0 else self.path[5:7]
        if self.p == 2:
            with np.errstate(over="ignore"):
                grown = self.alpha * np.exp((high + (low + change)) / 2)
            return grown if own is None else np.sqrt(own[0]) * grown
        u = np.maximum((1 - high) - low - change if own is None else (own[0] - high) + (own[1] - low) - change, 0.0)
        with np.errstate(divide="ignore", over="ignore"):
            return self.alpha * u ** (-1 / (self.p - 2))

    def _vectors(self, theta_plus: Any, theta_minus: Any) -> list[np.ndarray]:
        """θ as contiguous float64 vectors of shape (n,)."""
        vectors = []
        for name, value in (("theta_plus", theta_plus), ("theta_minus", theta_minus)):
            data = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
            vector = np.ascontiguousarray(data, dtype=np.float64)
            if vector.shape != self.norms.shape:
                raise InputError(f"{name} must have shape ({self.norms.size},), got shape {vector.shape}")
            vectors.append(vector)
        return vectors

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep."""
        return {"state": torch.from_numpy(self.state.copy()), "path": torch.from_numpy(self.path.copy())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict` of a certificate of the same problem, p and α."""
        self.state[:] = np.asarray(state["state"])
        self.path[:] = np.asarray(state["path"])


def _farthest(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Distance from x to the farthest corner of the box [low, high]."""
    return float(np.linalg.norm(np.maximum(high - x, x - low))) * (1 + (x.size + 4) * _UNIT)
