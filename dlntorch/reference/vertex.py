"""One vertex of the ℓ1-minimisers and one optimal dual vector, by HiGHS, polished to working precision.

HiGHS stops at absolute tolerances of 1e-10. From its basis, ψ is recomputed by least squares on the support and λ from
A_iᵀλ = ±1 on the ties, which brings both to rounding; the optimality conditions are then checked, not assumed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linprog

from dlntorch.reference.columns import ColumnFactors, spectral_norm
from dlntorch.reference.costs import PLAIN, Costs
from dlntorch.reference.standard_form import EPS

__all__ = ["Vertex", "dual_noise", "fast_vertex", "least_squares", "polished_vertex", "solve_vertex", "vertex_at"]

# Looser tolerances are tried when HiGHS gives up at tighter ones; polishing makes up for them.
_TOLERANCES = (1e-10, 1e-7)
_REFINEMENTS = 3
# A column is a candidate tie when |A_iᵀλ| is this near to 1; tighter when the candidates contradict each other.
_TIE_WINDOWS = (1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12)


@dataclass(frozen=True)
class Vertex:
    """A primal-dual pair of min cost(x) subject to Ax = y (a :class:`StandardForm`'s A and y); ‖x‖₁ is the usual cost.

    Attributes:
        x: A vertex of the set of minimisers, shape (n,), exactly 0 off its support.
        lam: Dual vector λ, shape (r,).
        tau: Aᵀλ relative to the costs (A_iᵀλ/c₊ or A_iᵀλ/c₋, by its sign), shape (n,), exactly ±1 on ``ties``.
        ties: Indices with |τ_i| = 1 up to ``noise``: every minimiser vanishes elsewhere.
        noise: Size of the rounding errors in τ; |τ_i| is not known better than that.
        near: The smallest 1 − |τ_i| off the ties (1 when there is nothing off the ties).
        residual: ‖Ax − y‖₂ / (‖A‖‖x‖ + ‖y‖), norms of the scaled problem.
        infeasibility: max(0, max|τ_i| − 1, max over the support of |τ_i − sign x_i|).
        message: Why HiGHS failed, else empty.
        columns: The columns of the support, factored, where they are so well-conditioned that one QR serves for all.
    """

    x: np.ndarray
    lam: np.ndarray
    tau: np.ndarray
    ties: np.ndarray
    noise: float
    near: float
    residual: float
    infeasibility: float
    message: str = ""
    columns: ColumnFactors | None = None


def least_squares(M: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """Least-norm least-squares solution of Mx = rhs by SVD with one step of refinement, numerical rank at rounding."""
    if M.shape[0] == 0 or M.shape[1] == 0:
        return np.zeros(M.shape[1])
    U, s, Vt = np.linalg.svd(M, full_matrices=False)
    keep = s > max(M.shape) * EPS * s[0]
    if not keep.any():
        return np.zeros(M.shape[1])
    U, s, Vt = U[:, keep], s[keep], Vt[keep]
    x = Vt.T @ ((U.T @ rhs) / s)
    return x + Vt.T @ ((U.T @ (rhs - M @ x)) / s)


def dual_noise(A: np.ndarray, lam: np.ndarray) -> float:
    """Size of the rounding errors in Aᵀλ − 1: 32 eps (1 + max‖A_i‖₂ ‖λ‖₂)."""
    return 32 * EPS * (1 + float(np.linalg.norm(A, axis=0).max()) * float(np.linalg.norm(lam)))


def solve_vertex(A: np.ndarray, y: np.ndarray, costs: Costs = PLAIN) -> Vertex:
    """Solve min cost(x) subject to Ax = y by HiGHS's simplex and polish the answer."""
    r, n = A.shape
    if not y.any():
        nothing = np.zeros(0, dtype=np.intp)
        return Vertex(np.zeros(n), np.zeros(r), np.zeros(n), nothing, dual_noise(A, np.zeros(r)), 1.0, 0.0, 0.0)
    x, lam, message = _highs(A, y, np.zeros(n), np.zeros(r), 1.0, 1.0, costs)
    if message:
        x = least_squares(A, y)
        lam, tau, ties = _polish_dual(A, lam, x, np.flatnonzero(x), costs)
    else:
        x, lam, tau, ties = _refined(A, y, x, lam, costs)
    return replace(_described(A, y, x, lam, tau, ties, costs), message=message)


def polished_vertex(A: np.ndarray, y: np.ndarray, x: np.ndarray, lam: np.ndarray, costs: Costs = PLAIN) -> Vertex:
    """A minimiser and its dual vector found elsewhere, polished and described like those of :func:`solve_vertex`."""
    return _described(A, y, *_polished(A, y, x, lam, costs), costs)


def fast_vertex(A: np.ndarray, y: np.ndarray, x: np.ndarray, lam: np.ndarray, costs: Costs) -> Vertex | None:
    """The same from one QR of the support's columns; None where they are ill-conditioned, or some value may be 0."""
    support = np.flatnonzero(x)
    columns = ColumnFactors(A[:, support])
    if not columns.well_conditioned:
        return None
    norm_A = spectral_norm(A)
    values = columns.solve(y)
    size = norm_A * float(np.linalg.norm(values)) + float(np.linalg.norm(y))
    if np.any(np.abs(values) <= 16 * EPS * columns.inverse_rows() * size) or np.any(values * x[support] <= 0):
        return None
    out = np.zeros_like(x)
    out[support] = values
    lam = lam + columns.solve_transposed(costs.slope(values, support) - lam @ columns.B)
    return replace(vertex_at(A, y, out, lam, costs, norm_A), columns=columns)


def vertex_at(
    A: np.ndarray, y: np.ndarray, x: np.ndarray, lam: np.ndarray, costs: Costs, norm_A: float | None = None
) -> Vertex:
    """The description of an x and a λ that need no polishing."""
    support = np.flatnonzero(x)
    tau = costs.relative(lam @ A)
    tied = np.abs(1 - np.abs(tau)) <= _noise(A, lam, costs)
    tied[support] = True
    ties = np.flatnonzero(tied)
    exact = ties[np.abs(np.abs(tau[ties]) - 1) <= _noise(A, lam, costs)]
    tau[exact] = np.sign(tau[exact])
    return _described(A, y, x, lam, tau, ties, costs, norm_A)


def _noise(A: np.ndarray, lam: np.ndarray, costs: Costs) -> float:
    """Size of the rounding errors in τ."""
    noise = dual_noise(A, lam)
    return noise if costs is PLAIN else noise / float(np.minimum(costs.plus, costs.minus).min(initial=1.0))


def _described(
    A: np.ndarray,
    y: np.ndarray,
    x: np.ndarray,
    lam: np.ndarray,
    tau: np.ndarray,
    ties: np.ndarray,
    costs: Costs,
    norm_A: float | None = None,
) -> Vertex:
    """A primal-dual pair with what its quality is judged by."""
    support = np.flatnonzero(x)
    off = np.ones(x.shape[0], dtype=bool)
    off[ties] = False
    noise = _noise(A, lam, costs)
    norm_A = float(np.linalg.norm(A, 2)) if norm_A is None else norm_A
    scale = norm_A * float(np.linalg.norm(x)) + float(np.linalg.norm(y))
    wrong = np.abs(tau[support] - np.sign(x[support])).max(initial=0.0)
    return Vertex(
        x=x,
        lam=lam,
        tau=tau,
        ties=ties,
        noise=noise,
        near=float((1 - np.abs(tau[off])).min(initial=1.0)),
        residual=float(np.linalg.norm(A @ x - y)) / scale,
        infeasibility=float(max(0.0, np.abs(tau).max() - 1, wrong)),
    )


def _refined(A: np.ndarray, y: np.ndarray, x: np.ndarray, lam: np.ndarray, costs: Costs) -> tuple[np.ndarray, ...]:
    """Polished x, λ, Aᵀλ and ties, with the linear programme solved again, magnified, where polishing is not enough.

    Data far below HiGHS's absolute tolerance are invisible to it. The programme for the correction of (x, λ), times
    the inverse of what the conditions miss, has the same form and shows them (Gleixner, Steffy and Wolter).
    """
    x, lam, tau, ties = _polished(A, y, x, lam, costs)
    for _ in range(_REFINEMENTS):
        miss = float(np.linalg.norm(y - A @ x))
        excess = float(max(0.0, np.abs(tau).max() - 1))
        size = float(np.linalg.norm(A, 2) * np.linalg.norm(x) + np.linalg.norm(y))
        signs = bool(np.all(tau * x >= 0))  # polishing may have turned a small entry's
        noise = _noise(A, lam, costs)
        if miss <= 64 * EPS * size and excess <= noise and signs:
            break
        primal = 1 / max(miss, EPS * size)
        dual = 1.0 if excess <= noise else 1 / excess
        new_x, new_lam, message = _highs(A, y, x, lam, primal, dual, costs)
        if message:
            break
        x, lam, tau, ties = _polished(A, y, new_x, new_lam, costs)
    return x, lam, tau, ties


def _polished(
    A: np.ndarray, y: np.ndarray, x: np.ndarray, lam: np.ndarray, costs: Costs
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x polished, and λ, τ and the ties that belong to it."""
    x = _polish_primal(A, y, x)
    return x, *_polish_dual(A, lam, x, np.flatnonzero(x), costs)


def _highs(
    A: np.ndarray, y: np.ndarray, x: np.ndarray, lam: np.ndarray, primal: float, dual: float, costs: Costs
) -> tuple[np.ndarray, np.ndarray, str]:
    """x, λ, and HiGHS's message where it failed, from the programme for primal·(change of x) and dual·(change of λ)."""
    r, n = A.shape
    message = ""
    tau = A.T @ lam
    u, v = costs.distances(tau)
    both = not costs.one_sided
    low = (np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)]) if both else np.maximum(x, 0)) * -primal
    cost = (np.concatenate([u, v]) if both else u) * dual
    for tolerance in _TOLERANCES:
        found = linprog(
            cost,
            A_eq=np.hstack([A, -A]) if both else A,
            b_eq=primal * (y - A @ x),
            bounds=np.column_stack([low, np.full(low.size, np.inf)]),
            method="highs-ds",
            options={"primal_feasibility_tolerance": tolerance, "dual_feasibility_tolerance": tolerance},
        )
        if found.status == 0:
            shift = found.x - low  # primal times (u, v) >= 0, with exact zeros at nonbasic variables
            found_x = shift[:n] - shift[n:] if both else shift
            return found_x / primal, lam + np.asarray(found.eqlin.marginals) / dual, ""
        message = " ".join(str(found.message).split())
    return np.zeros(n), np.zeros(r), message


def _polish_primal(A: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Least squares on the support; entries that are zero up to rounding are dropped when the rest still solves."""
    support = np.flatnonzero(x)
    if not support.size:
        return x
    B = A[:, support]
    _U, s, Vt = np.linalg.svd(B, full_matrices=False)
    if s[-1] <= max(B.shape) * EPS * s[0]:  # not a basis: HiGHS's own values are as good as any
        return x
    values = least_squares(B, y)
    # Errors of B⁺y: rows of the pseudoinverse times the rounding of the residual.
    rows = np.sqrt(((Vt / s[:, None]) ** 2).sum(axis=0))
    size = s[0] * np.linalg.norm(values) + np.linalg.norm(y)
    keep = np.abs(values) > 16 * EPS * rows * size
    out = np.zeros_like(x)
    out[support] = values
    if keep.all() or not keep.any():
        return out
    fewer = np.zeros_like(x)
    fewer[support[keep]] = least_squares(B[:, keep], y)
    allowed = max(2 * float(np.linalg.norm(A @ out - y)), 32 * EPS * float(size))
    return fewer if np.linalg.norm(A @ fewer - y) <= allowed else out


def _polish_dual(
    A: np.ndarray, lam: np.ndarray, x: np.ndarray, support: np.ndarray, costs: Costs
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """λ, τ and the ties: the smallest change of λ that makes τ_i = ±1 exact on as many columns as it can."""
    start = costs.relative(A.T @ lam)
    sign = np.where(x != 0, np.sign(x), np.sign(start))
    ends = costs.slope(sign)
    ends = np.where(np.isfinite(ends), ends, costs.plus)  # where x is not admitted, the conditions will say so
    on_support = np.zeros(x.shape[0], dtype=bool)
    on_support[support] = True
    for window in _TIE_WINDOWS:
        ties = np.flatnonzero(on_support | (np.abs(start) >= 1 - window))
        B = A[:, ties]
        new = lam + least_squares(B.T, ends[ties] - B.T @ lam)
        tau = costs.relative(A.T @ new)
        if np.abs(tau[ties] - sign[ties]).max(initial=0.0) <= _noise(A, new, costs):
            break
    else:
        new, tau = lam, start
    noise = _noise(A, new, costs)
    ties = np.flatnonzero(on_support | (np.abs(1 - np.abs(tau)) <= noise))
    exact = ties[np.abs(tau[ties] - sign[ties]) <= noise]
    tau[exact] = sign[exact]
    return new, tau, ties
