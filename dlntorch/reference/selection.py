"""W_p(A, y): the ℓ1-minimiser that a network of depth p selects as α → 0 (arXiv 2307.07410, theorem 3.1).

On the face U of minimisers ‖x‖₁ is constant, so that both selectors are, up to a constant and a positive factor,

    W_p = argmin over {x > 0 : Bx = y} of Σ G(x_i),   G'(x) = φ(x) = k(1 − x^{−1/k}),   k = p/(p − 2),

with B = A_S diag(σ), S and σ the face's support and signs, and φ(x) = log x at p = 2, the limit k → ∞. G' is infinite
at 0: no coordinate of W_p vanishes on S, and a damped Newton iteration in the null space of B finds it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.linalg import qr, solve_triangular
from torch import Tensor

from dlntorch.numerics import extended
from dlntorch.numerics.balls import Enclosure
from dlntorch.numerics.threads import with_few_threads
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.numerics.validation import check_depth, check_flag
from dlntorch.problem import Problem
from dlntorch.problem.equal_columns import EqualColumns
from dlntorch.reference.faces import Face
from dlntorch.reference.l1_minimizer import L1Minimizer, l1_minimizer
from dlntorch.reference.standard_form import StandardForm
from dlntorch.reference.vertex import least_squares

__all__ = ["SelectedMinimizer", "null_space", "selected_minimizer", "selector_slope", "weighted_null_space"]

_MAX_ITERATIONS = 200
# Newton has converged when no coordinate moves by more than this fraction of itself; the steps shrink quadratically.
_STEP_TOLERANCE = 1e-9
_ACCEPTED_STEP = 1e-7


@dataclass(frozen=True)
class SelectedMinimizer:
    """The selected ℓ1-minimiser W_p(A, y).

    Attributes:
        psi: W_p, shape (n,), exactly 0 off the face's support.
        p: Depth.
        status: ``converged``; ``below_input_precision`` where the face depends on digits that float64 does not hold
            (``psi`` is then the answer for the likelier face); ``failed`` where no minimiser was found.
        reason: One line on anything a user should know, else empty.
        support: Indices where some minimiser, hence W_p, is nonzero.
        signs: The signs ±1 of W_p on ``support``.
        dimension: Dimension of the face of minimisers; 0 where the minimiser is unique.
        unique: As in :func:`~dlntorch.reference.l1_minimizer.l1_minimizer`.
        residual: ‖Aψ − y‖₂ / (‖A‖‖ψ‖ + ‖y‖) of the scaled problem.
        stationarity: The largest relative change of a coordinate in the last Newton step (0 where unique).
        iterations: Newton steps taken.
        minimizer: The vertex, dual and certificate it was computed from.
        scaled: W_p of the scaled data, shape (n,), in float64 whatever the problem's dtype.
        enclosure: With ``enclosure=True``: intervals that contain W_p; None where no precision tried proves any.
    """

    psi: Tensor
    p: float
    status: Status
    reason: str
    support: Tensor
    signs: Tensor
    dimension: int
    unique: bool | None
    residual: float
    stationarity: float
    iterations: int
    minimizer: L1Minimizer
    scaled: np.ndarray
    enclosure: Enclosure | None = None

    __repr__ = short_repr

    @property
    def face(self) -> Face:
        """The face of all minimisers, for scaled data."""
        return self.minimizer.face


@with_few_threads
def selected_minimizer(
    problem: Problem, p: float, *, minimizer: L1Minimizer | None = None, enclosure: bool = False
) -> SelectedMinimizer:
    """W_p(A, y) = argmin of Σ g_p(ψ_i) over the minimisers of ‖ψ‖₁ subject to Aψ = y.

    g_2(x) = |x| log(|x|/e), so that depth 2 selects the minimiser of maximum entropy, and g_p(x) = |x| − (p/2)|x|^{2/p}
    for p > 2, so that depth p selects the one with the largest Σ|ψ_i|^{2/p}. Where the minimiser is unique, W_p is it.

    Args:
        problem: The data (A, y). rank(A) < m and y outside range(A) are treated as in
            :func:`~dlntorch.reference.l1_minimizer.l1_minimizer`, with the same ``reason``.
        p: Depth, any real number >= 2.
        minimizer: ``l1_minimizer(problem)``, where it has been computed already.
        enclosure: Whether the face is decided in rational arithmetic, and intervals of 30 digits are returned, too, that
            provably contain W_p for the exact (A, y).

    Returns:
        W_p with the face it lies on.

    Raises:
        InputError: p is not a finite real number >= 2.
    """
    depth = check_depth(p)
    if check_flag("enclosure", enclosure):
        return _enclosed(problem, depth, minimizer)
    base = l1_minimizer(problem) if minimizer is None else minimizer
    form = StandardForm.of(problem)
    face = base.face
    status, reason = base.status, base.reason
    x, step, iterations = face.interior, 0.0, 0
    if status is not Status.FAILED and face.dimension > 0:
        x, step, iterations = _newton_on_face(form.A, form.y, face, depth)
        x = EqualColumns.of(problem.A.detach().cpu().double().numpy()).mean(x)
        if not step <= _ACCEPTED_STEP:
            status = Status.FAILED
            trouble = f"Newton's iteration on the face stopped at a relative step of {step:.1e}"
            reason = f"{reason}; {trouble}" if reason else trouble
    if status is Status.CONVERGED and face.reason:
        status = Status.BELOW_INPUT_PRECISION
    psi = base.psi.clone() if face.dimension == 0 or status is Status.FAILED else form.psi(x)
    size = float(np.linalg.norm(form.A, 2)) * float(np.linalg.norm(x)) + float(np.linalg.norm(form.y))
    return SelectedMinimizer(
        psi=psi,
        p=depth,
        status=status,
        reason=reason,
        support=torch.from_numpy(face.support.astype(np.int64)).to(psi.device),
        signs=torch.from_numpy(face.signs.copy()).to(psi),
        dimension=face.dimension,
        unique=base.unique,
        residual=float(np.linalg.norm(form.A @ x - form.y)) / size if size > 0 else 0.0,
        stationarity=step,
        iterations=iterations,
        minimizer=base,
        scaled=x,
    )


def _enclosed(problem: Problem, p: float, minimizer: L1Minimizer | None) -> SelectedMinimizer:
    """W_p on the exact face, with its enclosure."""
    from dlntorch.reference.selected_enclosure import enclosed_selection  # python-flint is an extra

    known = minimizer is not None and minimizer.exact is not None
    base = minimizer if known else l1_minimizer(problem, exact=True)
    found = selected_minimizer(problem, p, minimizer=base)
    if base is None or base.exact is None:
        return found
    return replace(found, enclosure=enclosed_selection(problem, p, base.exact, found.psi.tolist()))


def null_space(B: np.ndarray, dimension: int) -> np.ndarray:
    """Orthonormal basis, shape (columns of B, dimension), of the null space of B, whose dimension is known."""
    columns = B.shape[1]
    if B.shape[0] == 0:
        return np.eye(columns)[:, columns - dimension :]
    return np.linalg.svd(B, full_matrices=True)[2][columns - dimension :].T


def weighted_null_space(B: np.ndarray, size: np.ndarray, dimension: int) -> np.ndarray:
    """A basis of ker B, of known dimension, whose small rows (in the sense of ``size``) are small or exact.

    The other coordinates are expressed by the largest ones that are independent: a pivoted QR of B diag(size). An
    orthonormal basis carries errors of 1e-16 in every row, which swamp a coordinate of size 1e-12, and so do the errors
    of the QR: they are put right by what BN is in more digits than float64 has.
    """
    rank = B.shape[1] - dimension
    Q, R, pivots = (np.asarray(factor) for factor in qr(B * size, mode="economic", pivoting=True))
    head, tail = pivots[:rank], pivots[rank:]
    N = np.zeros((B.shape[1], dimension))
    N[tail] = np.diag(size[tail])
    right = R[:rank, rank:]
    for _ in range(3):
        N[head] -= size[head, None] * solve_triangular(R[:rank, :rank], right)
        right = Q[:, :rank].T @ extended.product(B, N)
    return N


def selector_slope(x: np.ndarray, p: float) -> np.ndarray:
    """φ(x) = k(1 − x^{−1/k}), k = p/(p − 2), and its limit log x at p = 2, for x > 0."""
    inverse_k = (p - 2) / p
    log = np.log(x)
    return log if inverse_k == 0 else -np.expm1(-inverse_k * log) / inverse_k


def _newton_on_face(A: np.ndarray, y: np.ndarray, face: Face, p: float) -> tuple[np.ndarray, float, int]:
    """W_p of the scaled problem, shape (n,), the last relative step and the number of steps."""
    B = A[:, face.support] * face.signs
    x = np.abs(face.interior[face.support])
    unit = float(x.max())
    x = x / unit
    target = y / unit
    N, best, iterations = np.zeros((x.size, 0)), np.inf, 0
    for _ in range(2):  # the second time with a null space adapted to the sizes in W_p itself
        N = weighted_null_space(B, x, face.dimension)
        x, best, more = _newton(N, x, p)
        iterations += more
    root = np.sqrt(_metric(x, p))
    for _ in range(2):  # the null space is exact to rounding only: put the residual back to zero, in Newton's metric
        x = x + root * least_squares(B * root, target - B @ x)
    # Rounding of that is a step along the face, of the size of what is put back over the smallest coordinate.
    x, best, more = _newton(N, x, p)
    iterations += more
    out = np.zeros(A.shape[1])
    out[face.support] = face.signs * x * unit
    return out, best, iterations


def _newton(N: np.ndarray, x: np.ndarray, p: float) -> tuple[np.ndarray, float, int]:
    """Damped Newton in x + range(N): the minimiser, the smallest relative step, the number of steps."""
    best, iterations, stalls = np.inf, 0, 0
    while iterations < _MAX_ITERATIONS:
        iterations += 1
        delta = _newton_step(N, x, p)
        step = float(np.abs(delta / x).max())
        # At the rounding floor of the smallest coordinates the larger ones may still be on their way: one more step.
        stalls += best < _STEP_TOLERANCE and step >= 0.5 * best
        best = min(best, step)
        if stalls == 2 or step == 0:
            break
        x = x + _damping(x, delta, p) * delta
    return x, best, iterations


def _metric(x: np.ndarray, p: float) -> np.ndarray:
    """1/φ'(x) = x^{1 + 1/k}."""
    return x ** (1 + (p - 2) / p)


def _newton_step(N: np.ndarray, x: np.ndarray, p: float) -> np.ndarray:
    """−N(NᵀΦN)^{−1}Nᵀφ, Φ = diag φ'(x), by a QR of Φ^{1/2}N, rows sorted, which small coordinates do not spoil."""
    root = np.sqrt(_metric(x, p))
    M = N / root[:, None]
    order = np.argsort(-np.linalg.norm(M, axis=1))
    Q = np.empty_like(N)
    Q[order] = qr(M[order], mode="economic", pivoting=True)[0]
    phi = selector_slope(x, p)
    return -root * (Q @ (Q.T @ (root * phi)))


def _damping(x: np.ndarray, delta: np.ndarray, p: float) -> float:
    """Step length: at most 0.9 of the way to zero, and halved until the objective's slope along it has shrunk."""
    shrink = float((-delta / x).max())
    length = 1.0 if shrink <= 0.9 else 0.9 / shrink
    slope = float(delta @ selector_slope(x, p))
    if float(np.abs(delta / x).max()) < 1e-3:
        return length
    for _ in range(40):
        if float(delta @ selector_slope(x + length * delta, p)) <= -0.5 * slope:
            break
        length *= 0.5
    return length
