"""The ℓ1-minimiser by linear programming, with the dual vector that proves it and an answer on uniqueness.

Two solvers find it: HiGHS (``scipy.optimize.linprog``) where that takes less than a second, and otherwise the path and
crossover of :func:`~dlntorch.reference.basis_pursuit.basis_pursuit`, which are faster by a factor of fifty at 500×2000.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.numerics.extended import refine
from dlntorch.numerics.threads import with_few_threads
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.numerics.validation import InputError, check_choice, check_flag
from dlntorch.problem import Problem
from dlntorch.reference import SOLVERS
from dlntorch.reference.basis_pursuit_path import follow
from dlntorch.reference.faces import UNDECIDED_FACTOR, Face, find_face, numerical_rank
from dlntorch.reference.gap import duality_gap
from dlntorch.reference.nonnegative import INFEASIBLE, infeasible_reason, nonnegative_least_squares
from dlntorch.reference.refined_simplex import refined_simplex
from dlntorch.reference.standard_form import EPS, StandardForm
from dlntorch.reference.vertex import Vertex, fast_vertex, least_squares, polished_vertex, solve_vertex, vertex_at
from dlntorch.reference.weights import UNWEIGHTED, Weights

if TYPE_CHECKING:
    from dlntorch.reference.exact import ExactMinimizer

__all__ = ["L1Minimizer", "OptimalityCertificate", "l1_minimizer"]

# The optimality conditions are called met when each holds to this relative accuracy.
KKT_TOLERANCE = 1e-10
#: m²n up to which HiGHS takes less than a second: it needs 0.45 s at 200×1000.
LINPROG_WORK = 5e7
#: Operators of at most so many entries get their matrix (8 MB), and all that can be said with one.
DENSE_ENTRIES = 1_000_000
MAX_ITERATIONS = 100
#: Rows up to which pivots with twice the digits take a second at most.
REFINED_ROWS = 200
_OTHER = {
    "basis_pursuit": "HiGHS finds no vertex that meets the optimality conditions; this one is basis_pursuit's",
    "linprog": "basis_pursuit finds no vertex that meets the optimality conditions; this one is HiGHS's",
}


@dataclass(frozen=True)
class OptimalityCertificate:
    """How well the optimality conditions Aψ = y, |A_iᵀλ| <= 1, ψ_i A_iᵀλ = |ψ_i| hold; all numbers are relative.

    With weights, A_iᵀλ is meant relative to them: to w₊ where it is positive, to w₋ where it is negative.

    Attributes:
        primal_residual: ‖Aψ − y‖₂ / (‖A‖₂‖ψ‖₂ + ‖y‖₂), rows scaled to norm one, y replaced by its projection on
            range(A).
        dual_infeasibility: max(0, max_i |A_iᵀλ| − 1).
        duality_gap: |‖ψ‖₁ − yᵀλ| / ‖ψ‖₁.
        gap_bound: What rounding, and the residual, may have made of that number.
        complementarity: max over the support of |A_iᵀλ − sign ψ_i|.
        support_margin: min over the support of |ψ_i| / ‖ψ‖_∞ (1 for ψ = 0).
        dual_margin: min of 1 − |A_iᵀλ| over the indices that are not ties (1 when all are).
        ties: Number of indices with |A_iᵀλ| = 1; every minimiser vanishes off them.
        noise: Rounding errors to expect in A_iᵀλ, the tolerance of a tie.
        gap_below: How far ‖ψ‖₁ − yᵀλ lies, relatively, below −(``gap_bound`` + ``dual_infeasibility``), which weak duality
            rules out; 0 where it does not.
    """

    primal_residual: float
    dual_infeasibility: float
    duality_gap: float
    complementarity: float
    support_margin: float
    dual_margin: float
    ties: int
    noise: float
    gap_bound: float = 0.0
    gap_below: float = 0.0

    @property
    def worst(self) -> float:
        """What the worst of the four optimality conditions misses."""
        return max(self.primal_residual, self.dual_infeasibility, self.duality_gap, self.complementarity)

    __repr__ = short_repr

    def holds(self, tolerance: float = KKT_TOLERANCE) -> bool:
        """Whether all four optimality conditions hold to ``tolerance``."""
        return self.worst <= tolerance


@dataclass(frozen=True)
class L1Minimizer:
    """A vertex of the set of minimisers of ‖ψ‖₁ subject to Aψ = y.

    Attributes:
        psi: The vertex, shape (n,), exactly 0 off its support.
        value: ‖ψ‖₁, or the weighted norm.
        dual: λ, shape (m,), with |A_iᵀλ| <= 1 and yᵀλ = ‖ψ‖₁.
        support: Indices of the nonzeros of ``psi``, increasing.
        unique: Whether ``psi`` is the only minimiser; None where this precision does not decide it.
        certificate: The optimality conditions in numbers.
        error: Estimate of the relative error of ``psi`` from rounding: the last step of its refinement.
        status: ``converged``; ``below_input_precision`` where A, or the columns of the support, are so ill-conditioned that
            λ, rounded to float64, proves the gap to 1e-10 no more, or ``error`` exceeds 1e-10; ``failed`` where no
            minimiser was found.
        reason: What a user should know: y outside range(A), why ``unique`` is None, why it failed.
        face: The set of all minimisers (for scaled data), which :func:`selected_minimizer` starts from.
        solver: What found the vertex: ``linprog``, ``basis_pursuit``, ``matrix_free``, ``refined`` (pivots with twice the
            digits, where both miss the conditions), ``nnls`` where no ψ >= 0 interpolates.
        weights: Of the norm, in the solver's units.
        exact: With ``exact=True``: value, vertex, dual and face as Fractions, which are facts.
    """

    psi: Tensor
    value: float
    dual: Tensor
    support: Tensor
    unique: bool | None
    certificate: OptimalityCertificate
    status: Status
    reason: str
    face: Face
    error: float = 0.0
    solver: str = "linprog"
    weights: Weights = UNWEIGHTED
    exact: ExactMinimizer | None = None

    __repr__ = short_repr


@with_few_threads
def l1_minimizer(
    problem: Problem, weights: Any = None, nonnegative: bool = False, exact: bool = False, *, solver: str = "auto"
) -> L1Minimizer:
    """Solve min ‖ψ‖₁ subject to Aψ = y as a linear programme, to rounding.

    With ``weights`` the norm is Σ w₊ψ⁺ + w₋ψ⁻, and −w₋ <= Aᵀλ <= w₊.

    The linear programme gives *a* vertex of the set U(A, y) of minimisers; where there are several, this is not what a
    network of depth p tends to: see :func:`~dlntorch.reference.selection.selected_minimizer`.

    ``unique`` is decided from the ties T = {i : |A_iᵀλ| = 1} of the dual vector and the face of minimisers supported on
    them (see :mod:`dlntorch.reference.faces` for the margins inside which it is None). If rank(A) < m the problem is
    replaced by the equivalent one of full rank; if y is not in range(A), y is replaced by its projection and ``reason``
    says so; float32 data whose rank or range only rounding raised are taken as rounded. For y = 0 the answer is ψ = 0,
    unique, with λ = 0. All is meant normwise, for rows brought to one size: a part of y below about 100 eps ‖y‖ is
    rounding, and entries of ψ that only it calls for may be returned as 0.

    Args:
        problem: The data (A, y).
        weights: w > 0, shape (n,), or a pair (w₊, w₋) of them, for positive and for negative entries; None for ones.
        nonnegative: Whether ψ >= 0. Where no such ψ has Aψ = y the status is ``failed``, and psi is where nonnegative
            least squares lies.
        exact: Whether the answer is verified, and where needed repaired, in rational arithmetic: the numbers of the
            problem and the weights are then taken as exact, ``unique`` is never None but where ψ >= 0 is out of reach,
            and ``exact`` holds the fractions.
        solver: ``linprog`` (HiGHS's dual simplex), ``basis_pursuit`` (our path and crossover), or ``auto``: linprog
            where it takes less than a second. Where one misses the optimality conditions the other is asked. With
            ``matrix_free``, and ``auto`` for an operator of more than 10⁶ entries: products alone, as in
            :func:`~dlntorch.reference.basis_pursuit.basis_pursuit`.

    Returns:
        The vertex with its dual, certificate and uniqueness; numerical failure is a status, never an exception.

    Raises:
        InputError: weights not finite, not > 0 or of the wrong length; another solver; ``exact`` for numbers too many
            or too long.

    Example:
        >>> l1_minimizer(Problem([[1.0, 2.0]], [4.0])).psi.tolist()
        [0.0, 2.0]
        >>> l1_minimizer(Problem([[1.0, 2.0]], [4.0]), weights=[1.0, 3.0]).psi.tolist()
        [4.0, 0.0]
    """
    check_choice("solver", solver, SOLVERS)
    if without_matrix(problem, solver):
        from dlntorch.reference.l1_operator import minimizer_of_operator  # which needs this module's result

        if check_flag("exact", exact):
            raise InputError(f"exact must be False without the matrix of A, got a {problem.operator!r}")
        return minimizer_of_operator(problem, weights, nonnegative)
    problem = problem.to_dense()
    found = minimizer_with(StandardForm.of(problem, Weights.of(weights, problem.n, nonnegative)), solver)
    if not check_flag("exact", exact):
        return found
    from dlntorch.reference.exact import exactly  # which needs this module's result

    return exactly(problem, found, weights, nonnegative)


def without_matrix(problem: Problem, solver: str) -> bool:
    """Whether the problem is solved with products alone: where asked for, and for operators that are not small."""
    if solver == "matrix_free":
        return True
    large = not problem.dense and problem.m * problem.n > DENSE_ENTRIES
    if large and solver != "auto":
        raise InputError(f"solver must be auto or matrix_free for a {problem.operator!r}, got {solver!r}")
    return large


def minimizer_with(form: StandardForm, solver: str = "auto") -> L1Minimizer:
    """:func:`l1_minimizer` of a problem and weights that were brought to standard form."""
    vertex, certificate, why, solver = _solve(form, check_choice("solver", solver, SOLVERS))
    if form.costs.one_sided and not certificate.holds():
        psi, residual = nonnegative_least_squares(*_given(form.problem))
        if residual > INFEASIBLE:
            return _infeasible(form, vertex, certificate, psi, residual)
    vertex, error = _refined(form, vertex) if certificate.holds() else (vertex, 0.0)
    face = _face(form, vertex)
    status, reasons = Status.CONVERGED, [form.reason, why]
    psi, dual = form.psi(vertex.x), form.dual(vertex.lam)
    if vertex.message:
        status = Status.FAILED
        reasons.append(f"HiGHS failed ({vertex.message}); psi is the solution of least Euclidean norm")
    elif not certificate.holds():
        status = Status.FAILED
        reasons.append(f"the optimality conditions hold only to {certificate.worst:.1e} (asked {KKT_TOLERANCE:.0e})")
    else:
        reasons.append(face.reason)
    if not bool(torch.isfinite(psi).all()):
        status = Status.FAILED
        reasons.append("psi overflows; zeros are returned")
        psi = torch.zeros_like(psi)
    if status is Status.CONVERGED:
        open_points = _left_open(form, vertex, certificate, error)
        status = Status.BELOW_INPUT_PRECISION if open_points else status
        reasons += open_points
    return L1Minimizer(
        psi=psi,
        value=float(psi.abs().sum()) if status is Status.FAILED else form.value(vertex.x),
        dual=dual,
        support=torch.nonzero(psi).squeeze(-1),
        unique=None if status is Status.FAILED else face.unique,
        certificate=certificate,
        status=status,
        reason="; ".join(r for r in reasons if r),
        face=face,
        error=error,
        solver=solver,
        weights=form.weights,
    )


def _given(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    A, y = (part.detach().to("cpu", torch.float64).numpy() for part in (problem.A, problem.y))
    return A, y


def _infeasible(
    form: StandardForm, vertex: Vertex, certificate: OptimalityCertificate, psi: np.ndarray, residual: float
) -> L1Minimizer:
    """Nonnegative least squares, where no ψ >= 0 has Aψ = y."""
    support = np.flatnonzero(psi)
    lam = np.zeros(form.A.shape[0])
    return L1Minimizer(
        psi=form.like(psi),
        value=float(psi.sum()),
        dual=form.dual(lam),
        support=torch.from_numpy(support),
        unique=None,
        certificate=replace(certificate, primal_residual=residual),
        status=Status.FAILED,
        reason=infeasible_reason(residual),
        face=Face(support, np.ones(support.size), 0, lam, np.zeros_like(vertex.x), None, "no psi >= 0 has A psi = y"),
        solver="nnls",
        weights=form.weights,
    )


def _refined(form: StandardForm, vertex: Vertex) -> tuple[Vertex, float]:
    """The vertex with x refined on its support against the numbers as given, and an estimate of its relative error.

    A refinement that turns a sign shows that rounding decided the support: x stays, and the error says so.
    """
    support = np.flatnonzero(vertex.x)
    B, rest = form.equations(support)
    solve: Callable[[np.ndarray], np.ndarray] = lambda r: least_squares(B, r)  # noqa: E731
    if vertex.columns is not None and vertex.columns.B.shape == B.shape and not form.is_rounded:
        solve = vertex.columns.solve
    elif numerical_rank(B) < support.size:  # what least squares leave out, their steps do not show
        return vertex, 1.0

    def embedded(values: np.ndarray) -> np.ndarray:
        x = np.zeros_like(vertex.x)
        x[support] = values
        return x

    values, error = refine(vertex.x[support], solve, lambda values: rest(embedded(values)))
    if np.any(np.sign(values) != np.sign(vertex.x[support])):
        return vertex, float(np.abs(values - vertex.x[support]).max() / np.abs(values).max())
    return replace(vertex, x=embedded(values)), error


def _face(form: StandardForm, vertex: Vertex) -> Face:
    """The face of minimisers; where the data must be taken as rounded, their precision counts for its uniqueness, too."""
    face = find_face(form.A, vertex)
    if form.precision <= EPS or face.unique is not True:
        return face
    noise = UNDECIDED_FACTOR * form.precision * (1 + float(np.linalg.norm(vertex.lam)))
    close = np.flatnonzero(np.abs(vertex.tau) >= 1 - noise)
    if numerical_rank(form.A[:, close], UNDECIDED_FACTOR * form.precision / EPS) == close.size:
        return face
    return replace(face, unique=None, reason=f"uniqueness is undecided at the data's precision, {form.precision:.1e}")


def _left_open(form: StandardForm, vertex: Vertex, certificate: OptimalityCertificate, error: float) -> list[str]:
    """Why a pair that meets the conditions is not known to 1e-10 all the same."""
    found = []
    worst = form.conditions(vertex.x, vertex.lam) if form.is_rounded else 0.0
    if worst > KKT_TOLERANCE:
        found.append(f"A is so ill-conditioned that the optimality conditions hold only to {worst:.1e} with A itself")
    if certificate.gap_bound > KKT_TOLERANCE:
        found.append(f"rounding leaves the duality gap open to {certificate.gap_bound:.1e}")
    if certificate.gap_below > 0:
        found.append(f"the duality gap is negative by {certificate.gap_below:.1e} more than rounding explains")
    if error > KKT_TOLERANCE:
        found.append(
            f"the columns of the support are so ill-conditioned that psi may be off by {error:.1e}, relatively"
        )
    if form.undecided:
        found.append(form.undecided)
    if form.lost > KKT_TOLERANCE:
        found.append(f"y is so far from range(A) that its projection is known to {form.lost:.1e} only, relatively")
    return found


def _solve(form: StandardForm, solver: str) -> tuple[Vertex, OptimalityCertificate, str, str]:
    """The vertex of the solver asked for, or of the other where that misses the conditions; the conditions, a word.

    HiGHS takes entries of A below 1e-9 for zeros, however well-conditioned A is.
    """
    m, n = form.A.shape
    if solver == "auto":
        solver = "linprog" if m * m * n <= LINPROG_WORK else "basis_pursuit"
    order = ("basis_pursuit", "linprog") if solver == "basis_pursuit" and form.y.any() else ("linprog", "basis_pursuit")
    found: list[tuple[Vertex, OptimalityCertificate]] = []
    for name in order:
        vertex = _by_path(form) if name == "basis_pursuit" else solve_vertex(form.A, form.y, form.costs)
        certificate = certify(form, vertex)
        if not vertex.message and certificate.holds():
            return vertex, certificate, _OTHER[name] if found else "", name
        found.append((vertex, certificate))
        if name == "basis_pursuit" and form.costs.one_sided:
            break  # what is out of reach would cost HiGHS as much as what is not
    for vertex, _ in found:
        pair = refined_simplex(form.A, form.y, vertex.x, vertex.tau, form.costs, 50) if m <= REFINED_ROWS else None
        if pair is not None:
            better = vertex_at(form.A, form.y, *pair, form.costs)
            certificate = certify(form, better)
            if certificate.holds():
                why = "the basis is so nearly dependent that its vertex was found by pivots with twice the digits"
                return better, certificate, why, "refined"
    return *found[0], "", order[0]


def _by_path(form: StandardForm) -> Vertex:
    """The vertex of basis pursuit, polished."""
    costs = form.costs
    found = follow(form.path, form.y, 0.01 * KKT_TOLERANCE, MAX_ITERATIONS, None, costs).vertex
    x, lam = found.x, found.dual
    fast = fast_vertex(form.A, form.y, x, lam, costs) if found.residual <= KKT_TOLERANCE else None
    return polished_vertex(form.A, form.y, x, lam, costs) if fast is None else fast


def certify(form: StandardForm, vertex: Vertex) -> OptimalityCertificate:
    """The optimality conditions of a primal-dual pair in numbers."""
    x, lam = vertex.x, vertex.lam
    tau = form.costs.relative(form.A.T @ lam)
    support = np.flatnonzero(x)
    gap, bound, _ = duality_gap(form.A, form.y, x, lam, form.y - form.A @ x, form.costs)
    infeasibility = float(max(0.0, np.abs(tau).max() - 1))
    return OptimalityCertificate(
        primal_residual=vertex.residual,
        dual_infeasibility=infeasibility,
        duality_gap=abs(gap),
        gap_bound=bound,
        gap_below=max(0.0, -gap - bound - infeasibility),
        complementarity=float(np.abs(tau[support] - np.sign(x[support])).max(initial=0.0)),
        support_margin=float(np.abs(x[support]).min() / np.abs(x).max()) if support.size else 1.0,
        dual_margin=vertex.near,
        ties=int(vertex.ties.size),
        noise=vertex.noise,
    )
