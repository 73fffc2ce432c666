"""How fast ψ_α(∞) tends to W_p as α → 0: the exponent of α and, for p > 2, the constant.

The paper proves the exponent p for p > 2; the constants are expansions of the optimality conditions of
ψ_α(∞) = argmin Σ q_p(ψ_i/α^p) subject to Aψ = y about W_p. With S, σ the face's support and signs, k = p/(p − 2),
B = A_S diag(σ), Δ = diag(|W_S|^{1 + 1/k}):

- off S: ψ_i = α^p h_p(τ*_i) + …, where τ* = A_{Sᶜ}ᵀλ* minimises Σ H_p(A_iᵀλ) over {λ : A_Sᵀλ = σ};
- on S: A_S C_S = −A_{Sᶜ} C_{Sᶜ}, and in the face's directions Nᵀ Δ^{−1}(σ∘C_S + 2^{−k}) = 0, N = ker B.

The next term is α^{p−2} smaller: u_S = 1 − σ∘A_Sᵀλ = α^{p−2}|W_S|^{−1/k} moves λ, hence everything else, linearly.
At p = 2 the slowest coordinate off S decays like (α²)^{1−ϱ}, ϱ = min over {λ : A_Sᵀλ = σ} of max |A_iᵀλ|.

From a start θ±(0) = α a± of another shape, w± = a±^{2−p}, all of it holds with h(τ) = (w₊ − τ)^{−k} − (w₋ + τ)^{−k} in the
place of h_p, A_Sᵀλ = σ∘w_σ, and (w₊ + w₋)^{−k} in the place of 2^{−k}; at p = 2 with a₊²e^τ − a₋²e^{−τ} in the place of
2 sinh τ, and log(|W_S|/a_σ²) in that of log|W_S|. For ψ = θ^p >= 0 the second terms are 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.model.parametrization import as_parametrization
from dlntorch.model.potentials import h, h_prime
from dlntorch.model.selector import Selector
from dlntorch.numerics.threads import with_few_threads
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.numerics.validation import check_alpha
from dlntorch.problem.equal_columns import EqualColumns
from dlntorch.problem.problem import Problem, norm
from dlntorch.reference.centre import CentrePoint, centre_at_depth, newton_projection
from dlntorch.reference.costs import PLAIN, Costs
from dlntorch.reference.entropy_rate import (
    decay_exponent,
    fourth_order_constant,
    off_support_is_silent,
    one_sided_exponent,
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
        rho: ϱ < 1, at p = 2, and >= 0 unless ψ >= 0; None for p > 2.
        tau: The limit of Aᵀλ, shape (n,), for p > 2: σ∘w_σ on S, τ* off S; None at p = 2.
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
def predict_rate(problem: Problem, p: Any, alpha: Any = None, *, selected: SelectedMinimizer | None = None) -> Rate:
    """Exponent and constant of the initialization error ‖ψ_α(∞) − W_p(A, y)‖₂ as α → 0.

    Args:
        problem: The data (A, y).
        p: Depth, any real number >= 2, or a :class:`~dlntorch.model.parametrization.Parametrization`.
        alpha: An :class:`~dlntorch.model.initialization.Initialization` whose shape is kept as α → 0: its entries are
            α a±, and α is the largest of them (for a product, of ½(u₁ ± u_L)). None or a number for equal entries.
        selected: ``selected_minimizer(problem, p, alpha)``, where it has been computed already.

    Returns:
        The rate; what no theory gives, or what failed, is None with its reason.

    Raises:
        InputError: p is neither a finite real number >= 2 nor a parametrization; alpha does not fit it.

    Example:
        >>> rate = predict_rate(Problem([[1.0, 2.0]], [2.0]), 4)
        >>> rate.exponent, round(rate.constant, 6)  # ψ₀ → α⁴h_4(1/2), and ψ₁ makes up for it
        (4.0, 3.975232)
    """
    chosen = selected_minimizer(problem, p, alpha) if selected is None else selected
    if chosen.status is Status.FAILED or chosen.selector is None:
        return _unknown(chosen, chosen.reason)
    parametrization = as_parametrization(p)
    law = parametrization.small_start
    exponent = None if law is None or law.error_exponent is None else chosen.p * law.error_exponent
    if law is None or (exponent is not None and parametrization.p is None):
        why = f"the constant is known for Power and Nonnegative, not for {parametrization.name}"
        return _only_exponent(exponent, chosen, why)
    if chosen.solver == "matrix_free":
        return _only_exponent(exponent, chosen, "the constant needs a dense A: problem.to_dense()")
    form = StandardForm.of(problem.to_dense(), chosen.minimizer.weights)
    geometry = _Geometry.of(form, chosen, chosen.selector)
    return (_at_depth_two if exponent is None else _above_two)(form, geometry, chosen)


def _only_exponent(exponent: float | None, chosen: SelectedMinimizer, why: str) -> Rate:
    """The depth above 2, for a product the number of layers: ψ_i/α^p has a limit off the support. At 2 λ decides it."""
    return Rate(chosen.p, exponent, None, why, None, None, None, None, None, chosen.status, chosen.reason, chosen)


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
        costs: w± off S; in the place of A_iᵀλ are its values in the same units.
        on: w_σ on S.
        ends: w₊ + w₋ on S; infinite where ψ >= 0.
        log_plus: log a₊² off S.
        log_minus: log a₋² off S; −∞ where ψ >= 0.
        log_on: log a_σ² on S.
        log_off: log a_{−σ}² on S; −∞ where ψ >= 0.
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
    costs: Costs
    ends: np.ndarray
    on: np.ndarray
    log_plus: np.ndarray
    log_minus: np.ndarray
    log_on: np.ndarray
    log_off: np.ndarray
    size: np.ndarray
    log_unit: float
    equal: EqualColumns

    @classmethod
    def of(cls, form: StandardForm, chosen: SelectedMinimizer, selector: Selector) -> _Geometry:
        face, weights = chosen.face, form.weights
        A = form.A if weights.exponents is None else np.ldexp(form.A, weights.exponents)
        scaled = weights.unscaled(chosen.scaled)
        rest = np.ones(form.A.shape[1], dtype=bool)
        rest[face.support] = False
        off = np.flatnonzero(rest & np.any(A != 0, axis=0))
        B = A[:, face.support] * face.signs
        values = np.abs(scaled[face.support])
        unit = float(values.max()) if values.size else 1.0
        logs = [np.full(A.shape[1], -np.inf) if a is None else 2 * np.log(a) for a in (selector.plus, selector.minus)]
        log_on = np.where(face.signs > 0, logs[0][face.support], logs[1][face.support])
        costs, ends = _ends(form, selector, off, face.support)
        rank = face.support.size - face.dimension
        return cls(
            off=off,
            B=B,
            A_off=A[:, off],
            N=weighted_null_space(B, values, face.dimension) if face.dimension else np.zeros((values.size, 0)),
            start=A[:, off].T @ (weights.factor * np.ldexp(face.lam, weights.unit)),
            G=_free_directions(B, A[:, off], null_space(B.T, A.shape[0] - rank)),
            costs=costs,
            ends=ends,
            on=np.exp(0.5 * (2 - selector.p) * log_on),
            log_plus=logs[0][off],
            log_minus=logs[1][off],
            log_on=log_on,
            log_off=np.where(face.signs > 0, logs[1][face.support], logs[0][face.support]),
            size=values / unit,
            log_unit=form.log_scale + float(np.log(unit)),
            equal=EqualColumns.of(form.problem.A.detach().cpu().double().numpy()),
        )


def _ends(form: StandardForm, selector: Selector, off: np.ndarray, on: np.ndarray) -> tuple[Costs, np.ndarray]:
    """The weights off S as costs, and w₊ + w₋ on S."""
    if form.weights.plain:
        return PLAIN, np.full(on.size, 2.0)
    one = np.ones(form.A.shape[1])
    found = selector.weights()
    if selector.minus is None:
        plus = one if found is None else np.asarray(found)
        return Costs(plus[off], None), np.full(on.size, np.inf)
    plus, minus = (one, one) if found is None else (np.asarray(part) for part in found)
    return Costs(plus[off], minus[off]), plus[on] + minus[on]


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
    point = centre_at_depth(g.start, g.G, k, g.costs)
    if point is None or not point.converged:
        return _unknown(chosen, "no dual vector with |A_iᵀλ| < 1 off the support was found at this precision")
    C_off = _h(g.costs, point, p)
    tau = form.like(_assemble(form, chosen, g, point.tau, g.on))
    if not np.abs(C_off).max(initial=0.0) < _LARGEST:
        why = "the constant exceeds the largest float64: p is too near 2 for this problem"
        return Rate(p, p, None, why, None, None, None, tau, 0.0, chosen.status, chosen.reason, chosen)
    C_S = _on_support(g, p, -g.A_off @ C_off, g.ends**-k)
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


def _h(costs: Costs, point: CentrePoint, p: float) -> np.ndarray:
    """u^{−k} − v^{−k} = 2(uv)^{−k/2} sinh(½k log(v/u))."""
    if costs is PLAIN:
        tau, u, v = _tensors(point.tau, point.u, point.v)
        return h(tau, p, u=u, v=v).numpy()
    k = p / (p - 2)
    with np.errstate(over="ignore"):
        if costs.one_sided:
            return point.u**-k
        return 2 * (point.u * point.v) ** (-k / 2) * np.sinh(k / 2 * np.log1p((point.v - point.u) / point.u))


def _h_prime(costs: Costs, point: CentrePoint, p: float) -> np.ndarray:
    if costs is PLAIN:
        tau, u, v = _tensors(point.tau, point.u, point.v)
        return h_prime(tau, p, u=u, v=v).numpy()
    k = p / (p - 2)
    return k * (point.u ** (-k - 1) + point.v ** (-k - 1))


def _tensors(*arrays: np.ndarray) -> list[Tensor]:
    return [torch.from_numpy(a) for a in arrays]


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


def _next_term(g: _Geometry, p: float, point: CentrePoint) -> tuple[np.ndarray, np.ndarray]:
    """The next term of the expansion off and on the support (without signs)."""
    k = p / (p - 2)
    with np.errstate(over="ignore"):
        u = np.exp(-(np.log(g.size) + g.log_unit) / k)
        slope = _h_prime(g.costs, point, p)
    if not (np.all(np.isfinite(u)) and np.all(np.isfinite(slope))):
        return np.full(slope.size, np.inf), np.full(u.size, np.inf)
    tau = g.A_off.T @ least_squares(g.B.T, -u)
    if g.G.shape[1] and tau.size:
        tau = tau + newton_projection(g.G, slope, slope * tau)
    off = slope * tau
    return off, _on_support(g, p, -g.A_off @ off, g.ends**-k * (k / g.ends) * u)


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
    plain = chosen.selector is not None and chosen.selector.uniform and not chosen.selector.nonnegative
    if g.size.size and (g.off.size == 0 or _off_is_silent(g)):
        return _fourth_order(form, g, chosen)
    if g.size.size == 0:  # y = 0: the limit is 0 for every α
        zero = torch.zeros_like(chosen.psi)
        return Rate(2.0, 2.0, 0.0, "", zero, None, 0.0, None, np.inf, chosen.status, chosen.reason, chosen)
    rho, tau = one_sided_exponent(g.start, g.G) if g.costs.one_sided else decay_exponent(g.start, g.G)
    if rho is None or rho >= 1:
        return _unknown(chosen, "the linear programme for ϱ gave no value below 1 at this precision")
    exponent = 2 * (1 - rho)
    logs = None if plain else (g.log_plus, g.log_minus, g.log_on)
    alpha = slope_reached_at(g.B, g.A_off, g.G, g.N, g.size, g.log_unit, (tau, exponent), logs)
    return Rate(2.0, exponent, None, none, None, None, rho, None, alpha, chosen.status, chosen.reason, chosen)


def _off_is_silent(g: _Geometry) -> bool:
    """Whether nothing off the support moves at any α; for ψ >= 0 it always does."""
    if g.costs.one_sided:
        return False
    return off_support_is_silent(g.B, g.A_off, g.G, np.log(g.size) - g.log_on, 0.5 * (g.log_plus - g.log_minus))


def _fourth_order(form: StandardForm, g: _Geometry, chosen: SelectedMinimizer) -> Rate:
    """Depth 2 with nothing off the support: the error is that of 2 sinh τ against exp τ on S alone."""
    C_S, overflow, alpha = fourth_order_constant(g.N, g.size, g.log_unit, np.exp(g.log_on + g.log_off))
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
