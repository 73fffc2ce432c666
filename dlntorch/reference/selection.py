"""W_p(A, y): the minimiser that a network of depth p selects as α → 0 (arXiv 2307.07410, theorem 3.1).

On the face U of minimisers ‖x‖₁ is constant, so that both selectors are, up to a constant and a positive factor,

    W_p = argmin over {x > 0 : Bx = y} of Σ G(x_i),   G'(x) = φ(x) = k(1 − x^{−1/k}),   k = p/(p − 2),

with B = A_S diag(σ), S and σ the face's support and signs, and φ(x) = log x at p = 2, the limit k → ∞. G' is infinite
at 0: no coordinate of W_p vanishes on S, and a damped Newton iteration in the null space of B finds it.

A start of another shape, or another parametrization, is a :class:`~dlntorch.model.selector.Selector`: the norm has weights
w± = a±^{2−p}, and on its face the slope is w_i φ(x_i/a_i^p). As w is constant on the face up to range(Bᵀ), that is the
same function of x for p > 2, whatever a is; at p = 2 it is log(x_i/a_i²).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
import torch
from scipy.linalg import qr, solve_triangular
from torch import Tensor

from dlntorch.model.initialization import Initialization
from dlntorch.model.parametrization import Parametrization, as_parametrization
from dlntorch.model.selector import Selector
from dlntorch.numerics import extended
from dlntorch.numerics.balls import Enclosure
from dlntorch.numerics.threads import with_few_threads
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.numerics.validation import InputError, check_alpha, check_flag
from dlntorch.problem import Problem
from dlntorch.problem.equal_columns import EqualColumns
from dlntorch.reference.columns import norm_2
from dlntorch.reference.faces import Face
from dlntorch.reference.l1_minimizer import L1Minimizer, l1_minimizer, minimizer_with, without_matrix
from dlntorch.reference.standard_form import StandardForm
from dlntorch.reference.vertex import least_squares
from dlntorch.reference.weights import WIDEST, Weights

__all__ = ["SelectedMinimizer", "null_space", "selected_minimizer", "selector_slope", "weighted_null_space"]

_MAX_ITERATIONS = 200
# Newton has converged when no coordinate moves by more than this fraction of itself; the steps shrink quadratically.
_STEP_TOLERANCE = 1e-9
_ACCEPTED_STEP = 1e-7


@dataclass(frozen=True)
class SelectedMinimizer:
    """The selected ℓ1-minimiser W_p(A, y).

    Attributes:
        psi: W_p, shape (n,), exactly 0 off the face's support; None where nothing says what it is.
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
        minimizer: The vertex, dual and certificate it was computed from; None where psi is None.
        scaled: W_p of the scaled data, shape (n,), in float64 whatever the problem's dtype.
        selector: The depth and shape that select it, with the weights of the norm; None where none is known.
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
    selector: Selector | None
    enclosure: Enclosure | None = None

    __repr__ = short_repr

    @property
    def face(self) -> Face:
        """The face of all minimisers, for scaled data."""
        if self.minimizer is None:
            raise InputError(f"face must be asked of a selected minimiser that is known: {self.reason}")
        return self.minimizer.face

    @property
    def solver(self) -> str:
        """What found the vertex of the face: ``linprog`` or ``basis_pursuit``; empty where psi is None."""
        return "" if self.minimizer is None else self.minimizer.solver


@with_few_threads
def selected_minimizer(
    problem: Problem,
    p: Any,
    alpha: Any = None,
    *,
    minimizer: L1Minimizer | None = None,
    solver: str = "auto",
    enclosure: bool = False,
) -> SelectedMinimizer:
    """W_p(A, y) = argmin of Σ g_p(ψ_i) over the minimisers of ‖ψ‖₁ subject to Aψ = y.

    g_2(x) = |x| log(|x|/e), so that depth 2 selects the minimiser of maximum entropy, and g_p(x) = |x| − (p/2)|x|^{2/p}
    for p > 2, so that depth p selects the one with the largest Σ|ψ_i|^{2/p}. Where the minimiser is unique, W_p is it.

    A start θ±(0) = α a± of shape a± selects, for p > 2, from the minimisers of Σ w₊ψ⁺ + w₋ψ⁻, w± = a±^{2−p}, by the same
    function; for p = 2, from those of ‖ψ‖₁, the minimiser of Σ|ψ_i|(ln|ψ_i| − 1 − ln a±²).

    Args:
        problem: The data (A, y). rank(A) < m and y outside range(A) are treated as in
            :func:`~dlntorch.reference.l1_minimizer.l1_minimizer`, with the same ``reason``.
        p: Depth, any real number >= 2, or a :class:`~dlntorch.model.parametrization.Parametrization`.
        alpha: An :class:`~dlntorch.model.initialization.Initialization`, of which the shape counts and the scale does
            not; None, or a number, for equal entries.
        minimizer: ``l1_minimizer(problem, …)`` with the weights that ``p`` and ``alpha`` mean, where it is known.
        solver: As in :func:`~dlntorch.reference.l1_minimizer.l1_minimizer`.
        enclosure: Whether the face is decided in rational arithmetic, and intervals of 30 digits are returned, too, that
            provably contain W_p for the exact (A, y): for a depth, and a start of equal entries.

    Returns:
        W_p with the face it lies on. A parametrization of which no limit is known gets ``psi`` None, with the reason.

    Raises:
        InputError: p is neither a finite real number >= 2 nor a parametrization; alpha does not fit it.

    Example:
        >>> selected_minimizer(Problem([[1.0, 1.0]], [2.0]), 2).psi.tolist()
        [1.0, 1.0]
        >>> selected_minimizer(Problem([[1.0, 1.0]], [5.0]), 2, Initialization([1.0, 2.0])).psi.round(decimals=9).tolist()
        [1.0, 4.0]
    """
    parametrization = as_parametrization(p)
    if check_flag("enclosure", enclosure):
        return _enclosed(problem, parametrization, _shape(alpha), minimizer)
    selector = parametrization.selector(_shape(alpha), problem.n)
    if selector is None:
        return _nothing(problem, parametrization.selector_reason)
    weights = selector.weights()
    if weights is not None and not np.max(weights) < 2.0**WIDEST:
        return _nothing(problem, f"the weights a^(2 − p) differ by more than 2^{WIDEST}", selector)
    weighting = Weights.of(weights, problem.n, selector.nonnegative)
    if minimizer is not None and not minimizer.weights.same_as(weighting):
        raise InputError("minimizer must be l1_minimizer with the weights that p and alpha mean, got other weights")
    if (minimizer is not None and minimizer.solver == "matrix_free") or without_matrix(problem, solver):
        from dlntorch.reference.l1_operator import selected_of_operator  # which needs this module's result

        return selected_of_operator(problem, selector, weights, minimizer)
    problem = problem.to_dense()
    form = StandardForm.of(problem, weighting)
    base = minimizer_with(form, solver) if minimizer is None else minimizer
    face = base.face
    status, reason = base.status, base.reason
    x, step, iterations = face.interior, 0.0, 0
    if status is not Status.FAILED and face.dimension > 0:
        x, step, iterations = _newton_on_face(form, face, selector)
        if selector.uniform:
            x = EqualColumns.of(problem.A.detach().cpu().double().numpy()).mean(x)
        if not step <= _ACCEPTED_STEP:
            status = Status.FAILED
            trouble = f"Newton's iteration on the face stopped at a relative step of {step:.1e}"
            reason = f"{reason}; {trouble}" if reason else trouble
    if status is Status.CONVERGED and face.reason:
        status = Status.BELOW_INPUT_PRECISION
    psi = base.psi.clone() if face.dimension == 0 or status is Status.FAILED else form.psi(x)
    size = norm_2(form.A) * float(np.linalg.norm(x)) + float(np.linalg.norm(form.y))
    return SelectedMinimizer(
        psi=psi,
        p=selector.p,
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
        selector=selector,
    )


def _enclosed(
    problem: Problem, parametrization: Parametrization, shape: Initialization | None, minimizer: L1Minimizer | None
) -> SelectedMinimizer:
    """W_p on the exact face, with its enclosure."""
    if shape is not None or parametrization.depth is None:
        raise InputError(
            f"enclosure must be False but for a depth and equal entries, got {parametrization!r}, {shape!r}"
        )
    from dlntorch.reference.selected_enclosure import enclosed_selection  # python-flint is an extra

    base = minimizer if minimizer is not None and minimizer.exact is not None else None
    base = l1_minimizer(problem, exact=True) if base is None else base
    found = selected_minimizer(problem, parametrization, minimizer=base)
    if base.exact is None:
        return found
    return replace(found, enclosure=enclosed_selection(problem, parametrization.depth, base.exact, found.psi.tolist()))


def _shape(alpha: Any) -> Initialization | None:
    """The initialization whose shape counts; None for equal entries."""
    if alpha is None or isinstance(alpha, Initialization):
        return alpha
    if not isinstance(alpha, Real):
        raise InputError(f"alpha must be a number or an Initialization, got {type(alpha).__name__}")
    check_alpha(alpha)
    return None


def _nothing(problem: Problem, reason: str, selector: Selector | None = None) -> SelectedMinimizer:
    """What is returned where nothing says which minimiser is selected."""
    none = torch.zeros(0, dtype=problem.dtype, device=problem.device)
    unknown: Any = None  # the fields' types are those of every result that did not fail
    return SelectedMinimizer(
        psi=unknown,
        p=unknown if selector is None else selector.p,
        status=Status.FAILED,
        reason=reason,
        support=none.long(),
        signs=none,
        dimension=0,
        unique=None,
        residual=0.0,
        stationarity=0.0,
        iterations=0,
        minimizer=unknown,
        scaled=np.zeros(problem.n),
        selector=selector,
    )


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
    return _slope_of_log(np.log(x), p)


def _slope_of_log(log: np.ndarray, p: float) -> np.ndarray:
    inverse_k = (p - 2) / p
    return log if inverse_k == 0 else -np.expm1(-inverse_k * log) / inverse_k


class _OnFace:
    """The function Σ c_i ζ_i G(x_i/ζ_i) of the positive coordinates of a face, G' = φ.

    In the scaled columns a_i^p is ζ_i = 2^{e_i} a_i^p and w_i is c_i; any common factor of ζ is left out.
    """

    def __init__(self, p: float, costs: np.ndarray | None = None, log_unit: np.ndarray | None = None) -> None:
        self.p, self.costs, self.log_unit = p, costs, log_unit

    @classmethod
    def of(cls, form: StandardForm, face: Face, selector: Selector) -> _OnFace:
        if selector.uniform:
            return cls(selector.p)
        support, exponents = face.support, form.weights.exponents
        log_unit = selector.p * np.log(selector.shape(support, face.signs))
        if exponents is not None:
            log_unit = log_unit + np.log(2.0) * exponents[support]
        costs = None if form.weights.plain else np.abs(form.costs.slope(face.signs, support))
        return cls(selector.p, costs, log_unit)

    def centred(self, x: np.ndarray) -> _OnFace:
        """The same up to a factor and a constant on the face, with x_i/ζ_i of size one."""
        if self.log_unit is None:
            return self
        return _OnFace(self.p, self.costs, self.log_unit + float(np.median(np.log(x) - self.log_unit)))

    def slope(self, x: np.ndarray) -> np.ndarray:
        """c φ(x/ζ)."""
        if self.log_unit is None:
            return selector_slope(x, self.p)
        slope = _slope_of_log(np.log(x) - self.log_unit, self.p)
        return slope if self.costs is None else self.costs * slope

    def metric(self, x: np.ndarray) -> np.ndarray:
        """One over its derivative, x (x/ζ)^{1/k}/c."""
        inverse_k = (self.p - 2) / self.p
        if self.log_unit is None:
            return x ** (1 + inverse_k)
        metric = x * np.exp(inverse_k * (np.log(x) - self.log_unit))
        return metric if self.costs is None else metric / self.costs


def _newton_on_face(form: StandardForm, face: Face, selector: Selector) -> tuple[np.ndarray, float, int]:
    """W_p of the scaled problem, shape (n,), the last relative step and the number of steps."""
    A, y = form.A, form.y
    B = A[:, face.support] * face.signs
    x = np.abs(face.interior[face.support])
    unit = float(x.max())
    x = x / unit
    target = y / unit
    function = _OnFace.of(form, face, selector)
    N, best, iterations = np.zeros((x.size, 0)), np.inf, 0
    for _ in range(2):  # the second time with a null space adapted to the sizes in W_p itself
        N = weighted_null_space(B, x, face.dimension)
        function = function.centred(x)
        x, best, more = _newton(N, x, function)
        iterations += more
    root = np.sqrt(function.metric(x))
    for _ in range(2):  # the null space is exact to rounding only: put the residual back to zero, in Newton's metric
        x = x + root * least_squares(B * root, target - B @ x)
    # Rounding of that is a step along the face, of the size of what is put back over the smallest coordinate.
    x, best, more = _newton(N, x, function)
    iterations += more
    out = np.zeros(A.shape[1])
    out[face.support] = face.signs * x * unit
    return out, best, iterations


def _newton(N: np.ndarray, x: np.ndarray, function: _OnFace) -> tuple[np.ndarray, float, int]:
    """Damped Newton in x + range(N): the minimiser, the smallest relative step, the number of steps."""
    best, iterations, stalls = np.inf, 0, 0
    while iterations < _MAX_ITERATIONS:
        iterations += 1
        delta = _newton_step(N, x, function)
        step = float(np.abs(delta / x).max())
        # At the rounding floor of the smallest coordinates the larger ones may still be on their way: one more step.
        stalls += best < _STEP_TOLERANCE and step >= 0.5 * best
        best = min(best, step)
        if stalls == 2 or step == 0:
            break
        x = x + _damping(x, delta, function) * delta
    return x, best, iterations


def _newton_step(N: np.ndarray, x: np.ndarray, function: _OnFace) -> np.ndarray:
    """−N(NᵀΦN)^{−1}Nᵀφ, Φ = diag φ'(x), by a QR of Φ^{1/2}N, rows sorted, which small coordinates do not spoil."""
    root = np.sqrt(function.metric(x))
    M = N / root[:, None]
    order = np.argsort(-np.linalg.norm(M, axis=1))
    Q = np.empty_like(N)
    Q[order] = qr(M[order], mode="economic", pivoting=True)[0]
    return -root * (Q @ (Q.T @ (root * function.slope(x))))


def _damping(x: np.ndarray, delta: np.ndarray, function: _OnFace) -> float:
    """Step length: at most 0.9 of the way to zero, and halved until the objective's slope along it has shrunk."""
    shrink = float((-delta / x).max())
    length = 1.0 if shrink <= 0.9 else 0.9 / shrink
    slope = float(delta @ function.slope(x))
    if float(np.abs(delta / x).max()) < 1e-3:
        return length
    for _ in range(40):
        if float(delta @ function.slope(x + length * delta)) <= -0.5 * slope:
            break
        length *= 0.5
    return length
