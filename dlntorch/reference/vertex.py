"""One vertex of the ℓ1-minimisers and one optimal dual vector, by HiGHS, polished to working precision.

HiGHS stops at absolute tolerances of 1e-10. From its basis, ψ is recomputed by least squares on the support and λ from
A_iᵀλ = ±1 on the ties, which brings both to rounding; the optimality conditions are then checked, not assumed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from dlntorch.reference.standard_form import EPS

__all__ = ["Vertex", "dual_noise", "least_squares", "polished_vertex", "solve_vertex"]

# Looser tolerances are tried when HiGHS gives up at tighter ones; polishing makes up for them.
_TOLERANCES = (1e-10, 1e-7)
_REFINEMENTS = 3
# A column is a candidate tie when |A_iᵀλ| is this near to 1; tighter when the candidates contradict each other.
_TIE_WINDOWS = (1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12)


@dataclass(frozen=True)
class Vertex:
    """A primal-dual pair of min ‖x‖₁ subject to Ax = y (a :class:`StandardForm`'s A and y).

    Attributes:
        x: A vertex of the set of minimisers, shape (n,), exactly 0 off its support.
        lam: Dual vector λ, shape (r,).
        tau: Aᵀλ, shape (n,), exactly ±1 on ``ties``.
        ties: Indices with |A_iᵀλ| = 1 up to ``noise``: every minimiser vanishes elsewhere.
        noise: Size of the rounding errors in Aᵀλ; |A_iᵀλ| is not known better than that.
        near: The smallest 1 − |A_iᵀλ| off the ties (1 when there is nothing off the ties).
        residual: ‖Ax − y‖₂ / (‖A‖‖x‖ + ‖y‖), norms of the scaled problem.
        infeasibility: max(0, max|A_iᵀλ| − 1, max over the support of |A_iᵀλ − sign x_i|).
        message: Why HiGHS failed, else empty.
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


def solve_vertex(A: np.ndarray, y: np.ndarray) -> Vertex:
    """Solve min ‖x‖₁ subject to Ax = y by HiGHS's simplex and polish the answer."""
    r, n = A.shape
    if not y.any():
        nothing = np.zeros(0, dtype=np.intp)
        return Vertex(np.zeros(n), np.zeros(r), np.zeros(n), nothing, dual_noise(A, np.zeros(r)), 1.0, 0.0, 0.0)
    x, lam, message = _highs(A, y, np.zeros(n), np.zeros(r), 1.0, 1.0)
    if message:
        x = least_squares(A, y)
        lam, tau, ties = _polish_dual(A, lam, x, np.flatnonzero(x))
    else:
        x, lam, tau, ties = _refined(A, y, x, lam)
    return _described(A, y, x, lam, tau, ties, message)


def polished_vertex(A: np.ndarray, y: np.ndarray, x: np.ndarray, lam: np.ndarray) -> Vertex:
    """A minimiser and its dual vector found elsewhere, polished and described like those of :func:`solve_vertex`."""
    return _described(A, y, *_polished(A, y, x, lam), "")


def _described(
    A: np.ndarray, y: np.ndarray, x: np.ndarray, lam: np.ndarray, tau: np.ndarray, ties: np.ndarray, message: str
) -> Vertex:
    """A primal-dual pair with what its quality is judged by."""
    support = np.flatnonzero(x)
    off = np.ones(x.shape[0], dtype=bool)
    off[ties] = False
    noise = dual_noise(A, lam)
    scale = float(np.linalg.norm(A, 2)) * float(np.linalg.norm(x)) + float(np.linalg.norm(y))
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
        message=message,
    )


def _refined(A: np.ndarray, y: np.ndarray, x: np.ndarray, lam: np.ndarray) -> tuple[np.ndarray, ...]:
    """Polished x, λ, Aᵀλ and ties, with the linear programme solved again, magnified, where polishing is not enough.

    Data far below HiGHS's absolute tolerance are invisible to it. The programme for the correction of (x, λ), times
    the inverse of what the conditions miss, has the same form and shows them (Gleixner, Steffy and Wolter).
    """
    x, lam, tau, ties = _polished(A, y, x, lam)
    for _ in range(_REFINEMENTS):
        miss = float(np.linalg.norm(y - A @ x))
        excess = float(max(0.0, np.abs(tau).max() - 1))
        size = float(np.linalg.norm(A, 2) * np.linalg.norm(x) + np.linalg.norm(y))
        signs = bool(np.all(tau * x >= 0))  # polishing may have turned a small entry's
        if miss <= 64 * EPS * size and excess <= dual_noise(A, lam) and signs:
            break
        primal = 1 / max(miss, EPS * size)
        dual = 1.0 if excess <= dual_noise(A, lam) else 1 / excess
        new_x, new_lam, message = _highs(A, y, x, lam, primal, dual)
        if message:
            break
        x, lam, tau, ties = _polished(A, y, new_x, new_lam)
    return x, lam, tau, ties


def _polished(
    A: np.ndarray, y: np.ndarray, x: np.ndarray, lam: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x polished, and λ, Aᵀλ and the ties that belong to it."""
    x = _polish_primal(A, y, x)
    return x, *_polish_dual(A, lam, x, np.flatnonzero(x))


def _highs(
    A: np.ndarray, y: np.ndarray, x: np.ndarray, lam: np.ndarray, primal: float, dual: float
) -> tuple[np.ndarray, np.ndarray, str]:
    """x, λ, and HiGHS's message where it failed, from the programme for primal·(change of x) and dual·(change of λ)."""
    r, n = A.shape
    message = ""
    tau = A.T @ lam
    low = np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)]) * -primal
    cost = np.concatenate([1 - tau, 1 + tau]) * dual
    for tolerance in _TOLERANCES:
        found = linprog(
            cost,
            A_eq=np.hstack([A, -A]),
            b_eq=primal * (y - A @ x),
            bounds=np.column_stack([low, np.full(2 * n, np.inf)]),
            method="highs-ds",
            options={"primal_feasibility_tolerance": tolerance, "dual_feasibility_tolerance": tolerance},
        )
        if found.status == 0:
            shift = found.x - low  # primal times (u, v) >= 0, with exact zeros at nonbasic variables
            return (shift[:n] - shift[n:]) / primal, lam + np.asarray(found.eqlin.marginals) / dual, ""
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
    A: np.ndarray, lam: np.ndarray, x: np.ndarray, support: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """λ, Aᵀλ and the ties: the smallest change of λ that makes A_iᵀλ = ±1 exact on as many columns as it can."""
    start = A.T @ lam
    sign = np.where(x != 0, np.sign(x), np.sign(start))
    on_support = np.zeros(x.shape[0], dtype=bool)
    on_support[support] = True
    for window in _TIE_WINDOWS:
        ties = np.flatnonzero(on_support | (np.abs(start) >= 1 - window))
        B = A[:, ties]
        new = lam + least_squares(B.T, sign[ties] - B.T @ lam)
        tau = A.T @ new
        if np.abs(tau[ties] - sign[ties]).max(initial=0.0) <= dual_noise(A, new):
            break
    else:
        new, tau = lam, start
    ties = np.flatnonzero(on_support | (np.abs(1 - np.abs(tau)) <= dual_noise(A, new)))
    exact = ties[np.abs(tau[ties] - sign[ties]) <= dual_noise(A, new)]
    tau[exact] = sign[exact]
    return new, tau, ties
