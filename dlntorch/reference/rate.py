"""How fast ψ_α(∞) tends to W_p as α → 0: the exponent of α and, for p > 2, the constant.

The paper proves the exponent p for p > 2; the constants are expansions of the optimality conditions of
ψ_α(∞) = argmin Σ q_p(ψ_i/α^p) subject to Aψ = y about W_p. With S, σ the face's support and signs, k = p/(p − 2),
B = A_S diag(σ), Δ = diag(|W_S|^{1 + 1/k}):

- off S: ψ_i = α^p h_p(τ*_i) + …, where τ* = A_{Sᶜ}ᵀλ* minimises Σ H_p(A_iᵀλ) over {λ : A_Sᵀλ = σ};
- on S: A_S C_S = −A_{Sᶜ} C_{Sᶜ}, and in the face's directions Nᵀ Δ^{−1}(σ∘C_S + 2^{−k}) = 0, N = ker B.

The next term is α^{p−2} smaller: u_S = 1 − σ∘A_Sᵀλ = α^{p−2}|W_S|^{−1/k} moves λ, hence everything else, linearly.
At p = 2 the slowest coordinate off S decays like (α²)^{1−ϱ}, ϱ = min over {λ : A_Sᵀλ = σ} of max |A_iᵀλ|.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dlntorch.model.potentials import h, h_prime
from dlntorch.numerics.threads import with_few_threads
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.numerics.validation import check_alpha, check_depth
from dlntorch.problem.equal_columns import EqualColumns
from dlntorch.problem.problem import Problem, norm
from dlntorch.reference.centre import Point, centre_at_depth, newton_projection
from dlntorch.reference.entropy_rate import (
    decay_exponent,
    fourth_order_constant,
    off_support_is_silent,
    slope_reached_at,
)
from dlntorch.reference.selection import SelectedMinimizer, null_space, selected_minimizer, weighted_null_space
from dlntorch.reference.standard_form import EPS, StandardForm
from dlntorch.reference.vertex import least_squares

__all__ = ["Rate", "predict_rate"]

# alpha_asymptotic for p > 2: where the predicted relative correction has this size.
CORRECTION = 0.01
_LARGEST = 1e300


@dataclass(frozen=True)
class Rate:
    """‖ψ_α(∞) − W_p‖₂ = constant · α^exponent (1 + O(α^{p−2})) for p > 2; only the exponent is known at p = 2.

    Attributes:
        p: Depth.
        exponent: Of α: p for p > 2, 2(1 − ϱ) at p = 2 (4 where no nonzero column is off the support). None on failure.
        constant: C = ‖constant_vector‖₂, or None.
        constant_reason: Why ``constant`` is None, else empty.
        constant_vector: lim (ψ_α(∞) − W_p)/α^exponent, shape (n,), or None. Where it is 0 the error is of higher order.
        correction_vector: lim ((ψ_α(∞) − W_p)/α^p − C)/α^{p−2}, shape (n,): the next term for p > 2, else None.
        rho: ϱ in [0, 1), at p = 2; None for p > 2.
        tau: The limit of Aᵀλ, shape (n,), for p > 2: σ on S, τ* off S; None at p = 2.
        alpha_asymptotic: How small α must be before the asymptote is seen: for p > 2 the first-order relative
            correction ‖correction_vector‖/C · α^{p−2} is 1 % there (and, on a face, α^p|C_i| <= 1 % of |W_i|); at p = 2
            the slope stays within 0.01 of ``exponent`` below it, to leading order and where the error is below 1 % of
            each |W_i| (on a grid on which log α doubles). 0 where no float64 α is small enough, inf where the formula is
            exact for every α, None where unknown.
        status: As :func:`selected_minimizer`'s, or ``failed``.
        reason: One line on anything a user should know, else empty.
        selected: W_p, which the constants refer to.
    """

    p: float
    exponent: float | None
    constant: float | None
    constant_reason: str
    constant_vector: Tensor | None
    correction_vector: Tensor | None
    rho: float | None
    tau: Tensor | None
    alpha_asymptotic: float | None
    status: Status
    reason: str
    selected: SelectedMinimizer

    __repr__ = short_repr

    def error(self, alpha: float) -> float | None:
        """The predicted ‖ψ_α(∞) − W_p‖₂ with the next term, where the constant is known, else None."""
        size = check_alpha(alpha)
        if self.constant_vector is None or self.exponent is None:
            return None
        vector = self.constant_vector
        if self.correction_vector is not None:
            vector = vector + size ** (self.p - 2) * self.correction_vector
        return float(norm(vector)) * size**self.exponent


@with_few_threads
def predict_rate(problem: Problem, p: float, *, selected: SelectedMinimizer | None = None) -> Rate:
    """Exponent and constant of the initialization error ‖ψ_α(∞) − W_p(A, y)‖₂ as α → 0.

    Args:
        problem: The data (A, y).
        p: Depth, any real number >= 2.
        selected: ``selected_minimizer(problem, p)``, where it has been computed already.

    Returns:
        The rate; what no theory gives, or what failed, is None with its reason.

    Raises:
        InputError: p is not a finite real number >= 2.
    """
    depth = check_depth(p)
    chosen = selected_minimizer(problem, depth) if selected is None else selected
    if chosen.status is Status.FAILED:
        return _unknown(chosen, chosen.reason)
    form = StandardForm.of(problem)
    geometry = _Geometry.of(form, chosen)
    return _at_depth_two(form, geometry, chosen) if depth == 2 else _above_two(form, geometry, chosen)


def _unknown(chosen: SelectedMinimizer, why: str) -> Rate:
    return Rate(chosen.p, None, None, why, None, None, None, None, None, Status.FAILED, why, chosen)


@dataclass(frozen=True)
class _Geometry:
    """The scaled data split along the face: S and the nonzero columns off S.

    Attributes:
        off: Indices of the nonzero columns off S.
        B: A_S diag(σ).
        A_off: The columns off S.
        N: A basis of ker B.
        start: A_iᵀλ off S for some λ with A_Sᵀλ = σ.
        G: Rows A_iᵀZ off S, Z a basis of ker Bᵀ; exactly 0 where A_i lies in the span of A_S, which fixes A_iᵀλ.
        size: |W_S| over its largest entry.
        log_unit: log of that entry.
        equal: Which columns are equal.
    """

    off: np.ndarray
    B: np.ndarray
    A_off: np.ndarray
    N: np.ndarray
    start: np.ndarray
    G: np.ndarray
    size: np.ndarray
    log_unit: float
    equal: EqualColumns

    @classmethod
    def of(cls, form: StandardForm, chosen: SelectedMinimizer) -> _Geometry:
        face = chosen.face
        rest = np.ones(form.A.shape[1], dtype=bool)
        rest[face.support] = False
        off = np.flatnonzero(rest & np.any(form.A != 0, axis=0))
        B = form.A[:, face.support] * face.signs
        weights = np.abs(chosen.scaled[face.support])
        unit = float(weights.max()) if weights.size else 1.0
        rank = face.support.size - face.dimension
        return cls(
            off=off,
            B=B,
            A_off=form.A[:, off],
            N=weighted_null_space(B, weights, face.dimension) if face.dimension else np.zeros((weights.size, 0)),
            start=form.A[:, off].T @ face.lam,
            G=_free_directions(B, form.A[:, off], null_space(B.T, form.A.shape[0] - rank)),
            size=weights / unit,
            log_unit=form.log_scale + float(np.log(unit)),
            equal=EqualColumns.of(form.problem.A.detach().cpu().double().numpy()),
        )


def _free_directions(B: np.ndarray, A_off: np.ndarray, Z: np.ndarray) -> np.ndarray:
    """Rows A_iᵀZ, 0 where they are rounding of A_i = Bc.

    H' and its slope may be 1e80 where A_i is almost a column of the support: the rounding, so magnified, would decide λ.
    """
    G = A_off.T @ Z
    c = np.column_stack([least_squares(B, a) for a in A_off.T]) if A_off.shape[1] else np.zeros((B.shape[1], 0))
    terms = np.linalg.norm(A_off, axis=0) + np.linalg.norm(np.abs(B) @ np.abs(c), axis=0)
    G[np.linalg.norm(G, axis=1) <= 32 * EPS * terms] = 0.0
    return G


def _above_two(form: StandardForm, geometry: _Geometry, chosen: SelectedMinimizer) -> Rate:
    p, g = chosen.p, geometry
    k = p / (p - 2)
    point = centre_at_depth(g.start, g.G, k)
    if point is None or not point.converged:
        return _unknown(chosen, "no dual vector with |A_iᵀλ| < 1 off the support was found at this precision")
    values = [torch.from_numpy(a) for a in (point.tau, point.u, point.v)]
    C_off = h(values[0], p, u=values[1], v=values[2]).numpy()
    tau = form.like(_assemble(form, chosen, g, point.tau, np.ones(g.size.size)))
    if not np.abs(C_off).max(initial=0.0) < _LARGEST:
        why = "the constant exceeds the largest float64: p is too near 2 for this problem"
        return Rate(p, p, None, why, None, None, None, tau, 0.0, chosen.status, chosen.reason, chosen)
    C_S = _on_support(g, p, -g.A_off @ C_off, np.full(g.size.size, 2.0**-k))
    vector = _assemble(form, chosen, g, C_off, C_S)
    correction = _assemble(form, chosen, g, *_next_term(g, p, point))
    alpha = None
    if np.all(np.isfinite(correction)):
        alpha = _where_small(g, p, vector, correction, C_S)
    C = form.like(vector)
    return Rate(
        p=p,
        exponent=p,
        constant=_size(vector),
        constant_reason="",
        constant_vector=C,
        correction_vector=form.like(correction) if alpha is not None else None,
        rho=None,
        tau=tau,
        alpha_asymptotic=alpha,
        status=chosen.status,
        reason=chosen.reason,
        selected=chosen,
    )


def _size(vector: np.ndarray) -> float:
    """‖·‖₂; constants of 1e200, whose squares are no floats, are met close to p = 2."""
    return float(norm(torch.from_numpy(vector)))


def _on_support(g: _Geometry, p: float, rhs: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """σ∘C_S: the x with Bx = rhs and NᵀΔ^{−1}(x + shift) = 0."""
    x = least_squares(g.B, rhs)
    if g.N.shape[1] == 0:
        return x
    slope = g.size ** -(1 + (p - 2) / p)
    return x + newton_projection(g.N, slope, slope * (x + shift))


def _next_term(g: _Geometry, p: float, point: Point) -> tuple[np.ndarray, np.ndarray]:
    """The next term of the expansion off and on the support (without signs)."""
    k = p / (p - 2)
    with np.errstate(over="ignore"):
        u = np.exp(-(np.log(g.size) + g.log_unit) / k)
        values = [torch.from_numpy(a) for a in (point.tau, point.u, point.v)]
        slope = h_prime(values[0], p, u=values[1], v=values[2]).numpy()
    if not (np.all(np.isfinite(u)) and np.all(np.isfinite(slope))):
        return np.full(slope.size, np.inf), np.full(u.size, np.inf)
    tau = g.A_off.T @ least_squares(g.B.T, -u)
    if g.G.shape[1] and tau.size:
        tau = tau + newton_projection(g.G, slope, slope * tau)
    off = slope * tau
    return off, _on_support(g, p, -g.A_off @ off, 2.0**-k * (k / 2) * u)


def _where_small(g: _Geometry, p: float, vector: np.ndarray, correction: np.ndarray, C_S: np.ndarray) -> float:
    """α at which the relative correction is 1 %, and α^p|C_i| is 1 % of |W_i| on a face of positive dimension."""
    size, change = _size(vector), _size(correction)
    if size == 0:
        return np.inf if change == 0 else 0.0
    candidates = [np.inf]
    with np.errstate(divide="ignore", over="ignore"):
        if change > 0:
            candidates.append(float(np.exp(np.log(CORRECTION * size / change) / (p - 2))))
        if g.N.shape[1]:
            worst = float((np.abs(C_S) / g.size).max())
            candidates.append(float(np.exp((np.log(CORRECTION / worst) + g.log_unit) / p)) if worst > 0 else np.inf)
    return min(candidates)


def _at_depth_two(form: StandardForm, geometry: _Geometry, chosen: SelectedMinimizer) -> Rate:
    g = geometry
    none = "at p = 2 the exponent is known but no formula for the constant"
    if g.size.size and (g.off.size == 0 or off_support_is_silent(g.B, g.A_off, g.G, g.size)):
        return _fourth_order(form, g, chosen)
    if g.size.size == 0:  # y = 0: the limit is 0 for every α
        zero = torch.zeros_like(chosen.psi)
        return Rate(2.0, 2.0, 0.0, "", zero, None, 0.0, None, np.inf, chosen.status, chosen.reason, chosen)
    rho, tau = decay_exponent(g.start, g.G)
    if rho is None or rho >= 1:
        return _unknown(chosen, "the linear programme for ϱ gave no value below 1 at this precision")
    exponent = 2 * (1 - rho)
    alpha = slope_reached_at(g.B, g.A_off, g.G, g.N, g.size, g.log_unit, tau, exponent)
    return Rate(2.0, exponent, None, none, None, None, rho, None, alpha, chosen.status, chosen.reason, chosen)


def _fourth_order(form: StandardForm, g: _Geometry, chosen: SelectedMinimizer) -> Rate:
    """Depth 2 with nothing off the support: the error is that of 2 sinh τ against exp τ on S alone."""
    C_S, overflow, alpha = fourth_order_constant(g.N, g.size, g.log_unit)
    if overflow:
        why = "the constant exceeds the largest float64"
        return Rate(2.0, 4.0, None, why, None, None, 0.0, None, None, chosen.status, chosen.reason, chosen)
    C = _assemble(form, chosen, g, np.zeros(g.off.size), C_S)
    constant = _size(C)
    return Rate(2.0, 4.0, constant, "", form.like(C), None, 0.0, None, alpha, chosen.status, chosen.reason, chosen)


def _assemble(
    form: StandardForm, chosen: SelectedMinimizer, g: _Geometry, off: np.ndarray, on: np.ndarray
) -> np.ndarray:
    out = np.zeros(form.A.shape[1])
    out[g.off] = off
    out[chosen.face.support] = chosen.face.signs * on
    return g.equal.mean(out)
