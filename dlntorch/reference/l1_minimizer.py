"""The ℓ1-minimiser by linear programming, with the dual vector that proves it and an answer on uniqueness."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dlntorch.numerics.extended import refine
from dlntorch.numerics.threads import with_few_threads
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.numerics.validation import check_flag
from dlntorch.problem import Problem
from dlntorch.reference.basis_pursuit import basis_pursuit
from dlntorch.reference.faces import UNDECIDED_FACTOR, Face, find_face, numerical_rank
from dlntorch.reference.gap import duality_gap
from dlntorch.reference.standard_form import EPS, StandardForm
from dlntorch.reference.vertex import Vertex, least_squares, polished_vertex, solve_vertex

if TYPE_CHECKING:
    from dlntorch.reference.exact import ExactMinimizer

__all__ = ["Certificate", "L1Minimizer", "l1_minimizer"]

# The optimality conditions are called met when each holds to this relative accuracy.
KKT_TOLERANCE = 1e-10


@dataclass(frozen=True)
class Certificate:
    """How well the optimality conditions Aψ = y, |A_iᵀλ| <= 1, ψ_i A_iᵀλ = |ψ_i| hold; all numbers are relative.

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
        value: ‖ψ‖₁.
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
        exact: With ``exact=True``: value, vertex, dual and face as Fractions, which are facts.
    """

    psi: Tensor
    value: float
    dual: Tensor
    support: Tensor
    unique: bool | None
    certificate: Certificate
    status: Status
    reason: str
    face: Face
    error: float = 0.0
    exact: ExactMinimizer | None = None

    __repr__ = short_repr


@with_few_threads
def l1_minimizer(problem: Problem, *, exact: bool = False) -> L1Minimizer:
    """Solve min ‖ψ‖₁ subject to Aψ = y by HiGHS's dual simplex (``scipy.optimize.linprog``), polished to rounding.

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
        exact: Whether the answer is verified, and where needed repaired, in rational arithmetic: the numbers of the
            problem are then taken as exact, ``unique`` is never None, and ``exact`` holds the fractions.

    Raises:
        InputError: ``exact`` for numbers too many or too long.

    Returns:
        The vertex with its dual, certificate and uniqueness; numerical failure is a status, never an exception.
    """
    if check_flag("exact", exact):
        from dlntorch.reference.exact import exactly  # which needs this module's result

        return exactly(problem, l1_minimizer(problem))
    form = StandardForm.of(problem)
    vertex, certificate, why = _solve(form)
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
    )


def _refined(form: StandardForm, vertex: Vertex) -> tuple[Vertex, float]:
    """The vertex with x refined on its support against the numbers as given, and an estimate of its relative error.

    A refinement that turns a sign shows that rounding decided the support: x stays, and the error says so.
    """
    support = np.flatnonzero(vertex.x)
    B, rest = form.equations(support)
    if numerical_rank(B) < support.size:  # what least squares leave out, their steps do not show
        return vertex, 1.0

    def embedded(values: np.ndarray) -> np.ndarray:
        x = np.zeros_like(vertex.x)
        x[support] = values
        return x

    values, error = refine(vertex.x[support], lambda r: least_squares(B, r), lambda values: rest(embedded(values)))
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


def _left_open(form: StandardForm, vertex: Vertex, certificate: Certificate, error: float) -> list[str]:
    """Why a pair that meets the conditions is not known to 1e-10 all the same."""
    found = []
    worst = form.conditions(vertex.x, vertex.lam) if form.is_rounded else 0.0
    if worst > KKT_TOLERANCE:
        found.append(f"A is so ill-conditioned that the optimality conditions hold only to {worst:.1e} with A itself")
    if certificate.gap_bound > KKT_TOLERANCE:
        found.append(f"rounding leaves the duality gap open to {certificate.gap_bound:.1e}")
    if error > KKT_TOLERANCE:
        found.append(
            f"the columns of the support are so ill-conditioned that psi may be off by {error:.1e}, relatively"
        )
    if form.lost > KKT_TOLERANCE:
        found.append(f"y is so far from range(A) that its projection is known to {form.lost:.1e} only, relatively")
    return found


def _solve(form: StandardForm) -> tuple[Vertex, Certificate, str]:
    """HiGHS's vertex, or that of the path where HiGHS's misses the conditions; the conditions, and a word about it.

    HiGHS takes entries of A below 1e-9 for zeros, however well-conditioned A is.
    """
    vertex = solve_vertex(form.A, form.y)
    certificate = certify(form, vertex)
    if not vertex.message and certificate.holds():
        return vertex, certificate, ""
    found = basis_pursuit(form.A, form.y, tol=0.01 * KKT_TOLERANCE)
    other = polished_vertex(form.A, form.y, found.x.numpy(), found.dual.numpy())
    better = certify(form, other)
    if better.holds():
        return other, better, "HiGHS finds no vertex that meets the optimality conditions; this one is basis_pursuit's"
    return vertex, certificate, ""


def certify(form: StandardForm, vertex: Vertex) -> Certificate:
    """The optimality conditions of a primal-dual pair in numbers."""
    x, lam = vertex.x, vertex.lam
    tau = form.A.T @ lam
    support = np.flatnonzero(x)
    gap, bound, _ = duality_gap(form.A, form.y, x, lam, form.y - form.A @ x)
    return Certificate(
        primal_residual=vertex.residual,
        dual_infeasibility=float(max(0.0, np.abs(tau).max() - 1)),
        duality_gap=abs(gap),
        gap_bound=bound,
        complementarity=float(np.abs(tau[support] - np.sign(x[support])).max(initial=0.0)),
        support_margin=float(np.abs(x[support]).min() / np.abs(x).max()) if support.size else 1.0,
        dual_margin=vertex.near,
        ties=int(vertex.ties.size),
        noise=vertex.noise,
    )
