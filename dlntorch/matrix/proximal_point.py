"""min h(X) subject to 𝒜X = y for a norm h, by the proximal point method, each step by a semismooth Newton method.

With 𝒜𝒜* = I the step from X_k minimises the differentiable convex function

    φ(λ) = ‖P(X_k + σ𝒜*λ)‖²/(2σ) − yᵀλ,   ∇φ = 𝒜P − y,   ∇²φ = σ 𝒜 P′ 𝒜*,

P the proximal map of σh, and X_{k+1} = P(X_k + σ𝒜*λ). Its optimality conditions are 𝒜X_{k+1} = y and
𝒜*λ − (X_{k+1} − X_k)/σ ∈ ∂h(X_{k+1}): as X stands still, λ is a dual certificate (Rockafellar 1976; Jiang, Sun and Toh 2014).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.sparse.linalg import LinearOperator, cg

from dlntorch.matrix.norms import Norm, Shrunk
from dlntorch.matrix.rows import Rows

__all__ = ["Pair", "solve"]

#: Relative duality gap that is aimed at, and how many steps may be spent on it.
GAP, OUTER, NEWTON = 1e-12, 60, 60
#: σ grows by this factor a step, up to a largest value: beyond it σ𝒜*λ drowns X in its rounding.
GROWTH, LARGEST_SIGMA = 3.0, 1e6
#: Above so many equations the Newton system is solved by conjugate gradients.
DIRECT_ROWS = 300
#: Largest number of entries of a basis of the tangent space for which the finish is tried.
FINISH_ENTRIES = 20_000_000


@dataclass
class Pair:
    """A primal and a dual point.

    Attributes:
        X: Feasible to rounding, with the shape of X.
        lam: λ with dual norm of 𝒜*λ at most 1.
        value: h(X).
        bound: yᵀλ, which no feasible X is below.
        gap: (value − bound)/value.
        steps: Newton steps in all.
    """

    X: np.ndarray
    lam: np.ndarray
    value: float
    bound: float
    gap: float
    steps: int = 0


def solve(rows: Rows, y: np.ndarray, norm: Norm) -> Pair:
    """The best pair found; its own gap says how good it is.

    Args:
        rows: 𝒜 with 𝒜𝒜* = I.
        y: Shape (m,), of norm about one.
        norm: h.
    """
    X = np.zeros(rows.shape)
    lam = np.zeros(y.size)
    # at λ = y/‖𝒜*y‖ the first singular value reaches the threshold
    top = norm.dual(rows.adjoint(y))
    sigma = max(top, 1e-3)
    best: Pair | None = None
    steps, worse = 0, 0
    for k in range(OUTER):
        X, lam, used = _newton(rows, y, norm, X, lam, sigma, max(1e-14, 1e-3 * 0.1**k))
        steps += used
        pair = certified(rows, y, norm, X, lam)
        if pair.gap > GAP:
            finished = _finish(rows, y, norm, X, lam)
            pair = pair if finished is None or finished.gap >= pair.gap else finished
        if best is None or pair.gap < best.gap:
            best, worse = pair, 0
        else:
            worse += 1
        if best.gap <= GAP or worse >= 8:
            break
        sigma = min(sigma * GROWTH, LARGEST_SIGMA)
    assert best is not None  # OUTER >= 1
    best.steps = steps
    return best


def certified(rows: Rows, y: np.ndarray, norm: Norm, X: np.ndarray, lam: np.ndarray) -> Pair:
    """X moved onto 𝒜X = y, λ scaled to dual norm at most 1, and their gap."""
    feasible = X + rows.adjoint(y - rows.apply(X))
    value = norm.value(feasible)
    size = norm.dual(rows.adjoint(lam)) if lam.any() else 0.0
    scaled = lam / size if size > 1 else lam
    bound = float(y @ scaled)
    gap = (value - bound) / value if 0 < value < np.inf else (np.inf if value else 0.0)
    return Pair(feasible, scaled, value, bound, float(gap))


def _finish(rows: Rows, y: np.ndarray, norm: Norm, X: np.ndarray, lam: np.ndarray) -> Pair | None:
    """The pair at the rank of X, where the equations determine X: Newton on the manifold, least squares for λ.

    With T the tangent space at X and E the derivative of h there, λ is moved by the least step to P_T 𝒜*λ = E. That is a
    certificate if the rest of 𝒜*λ has dual norm at most 1, which :func:`certified` finds out.
    """
    for _ in range(4):
        basis, derivative = norm.tangent(X)
        if not 0 < basis.shape[0] <= y.size or basis.size > FINISH_ENTRIES:
            return None
        images = rows.apply(basis)  # (k, m)
        try:
            step = np.linalg.lstsq(images.T, y - rows.apply(X), rcond=None)[0]
        except np.linalg.LinAlgError:
            return None
        moved = norm.retract(X + np.tensordot(step, basis, 1), X)
        still = np.linalg.norm(step) <= 1e-13 * np.linalg.norm(moved)
        X = moved
        if still:
            break
    basis, derivative = norm.tangent(X)
    if basis.shape[0] > y.size:
        return None
    flat = basis.reshape(basis.shape[0], -1)
    target = flat @ (derivative - rows.adjoint(lam)).ravel()
    try:
        lam = lam + np.linalg.lstsq(rows.apply(basis), target, rcond=None)[0]
    except np.linalg.LinAlgError:
        return None
    return certified(rows, y, norm, X, lam)


def _newton(
    rows: Rows, y: np.ndarray, norm: Norm, X: np.ndarray, lam: np.ndarray, sigma: float, tol: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """P(X + σ𝒜*λ) and λ at the minimiser of φ, to ‖∇φ‖ <= tol where rounding allows it."""

    def at(lam: np.ndarray) -> tuple[Shrunk, float, np.ndarray]:
        shrunk = norm.shrink(X + sigma * rows.adjoint(lam), sigma)
        value = float(np.vdot(shrunk.point, shrunk.point)) / (2 * sigma) - float(y @ lam)
        return shrunk, value, rows.apply(shrunk.point) - y

    shrunk, value, gradient = at(lam)
    for step in range(NEWTON):
        size = float(np.linalg.norm(gradient))
        if size <= tol:
            return shrunk.point, lam, step
        direction = _direction(rows, shrunk, gradient, sigma, min(1e-2, size))
        slope = float(gradient @ direction)
        length, found = 1.0, None
        while length > 1e-9:
            trial = at(lam + length * direction)
            # near the minimum φ is flat to rounding, and the gradient tells
            if trial[1] <= value + 1e-4 * length * slope or np.linalg.norm(trial[2]) <= 0.5 * size:
                found = trial
                break
            length *= 0.5
        if found is None:
            return shrunk.point, lam, step
        lam = lam + length * direction
        shrunk, value, gradient = found
    return shrunk.point, lam, NEWTON


def _direction(rows: Rows, shrunk: Shrunk, gradient: np.ndarray, sigma: float, regular: float) -> np.ndarray:
    """The Newton direction of φ, its Hessian raised by ``regular`` times a small share of σ: it is singular at low rank."""
    m = gradient.size
    shift = sigma * max(1e-3 * regular, 1e-13)
    if m <= DIRECT_ROWS:
        H = sigma * rows.apply(shrunk.derivative(rows.directions))
        H = 0.5 * (H + H.T)
        for _ in range(8):
            H_shifted = H + shift * np.eye(m)
            try:
                return -cho_solve(cho_factor(H_shifted), gradient)
            except LinAlgError:
                shift *= 100
    product = LinearOperator(
        (m, m), lambda v: sigma * rows.apply(shrunk.derivative(rows.adjoint(v.ravel())[None]))[0] + shift * v.ravel()
    )
    found, _ = cg(product, -gradient, rtol=min(0.05, max(1e-9, regular)), maxiter=500)
    return found if float(found @ gradient) < 0 else -gradient / sigma
