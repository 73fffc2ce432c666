"""The ℓ1-minimiser by linear programming, with the dual vector that proves it and an answer on uniqueness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dlntorch.numerics.threads import with_few_threads
from dlntorch.problem import Problem
from dlntorch.reference.basis_pursuit import basis_pursuit
from dlntorch.reference.faces import Face, find_face
from dlntorch.reference.standard_form import StandardForm
from dlntorch.reference.vertex import Vertex, polished_vertex, solve_vertex
from dlntorch.trajectory import Status

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

    def holds(self, tolerance: float = KKT_TOLERANCE) -> bool:
        """Whether all four optimality conditions hold to ``tolerance``."""
        worst = max(self.primal_residual, self.dual_infeasibility, self.duality_gap, self.complementarity)
        return worst <= tolerance


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
        status: ``converged``; ``below_input_precision`` where A is so ill-conditioned that λ, rounded to float64, meets the
            conditions to 1e-10 no more; ``failed`` where no minimiser was found.
        reason: What a user should know: y outside range(A), why ``unique`` is None, why it failed.
        face: The set of all minimisers (for scaled data), which :func:`selected_minimizer` starts from.
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


@with_few_threads
def l1_minimizer(problem: Problem) -> L1Minimizer:
    """Solve min ‖ψ‖₁ subject to Aψ = y by HiGHS's dual simplex (``scipy.optimize.linprog``), polished to rounding.

    The linear programme gives *a* vertex of the set U(A, y) of minimisers; where there are several, this is not what a
    network of depth p tends to: see :func:`~dlntorch.reference.selection.selected_minimizer`.

    ``unique`` is decided from the ties T = {i : |A_iᵀλ| = 1} of the dual vector and the face of minimisers supported on
    them (see :mod:`dlntorch.reference.faces` for the margins inside which it is None). If rank(A) < m the problem is
    replaced by the equivalent one of full rank; if y is not in range(A), y is replaced by its projection and ``reason``
    says so. For y = 0 the answer is ψ = 0, unique, with λ = 0. All is meant normwise: a part of y below about 100 eps ‖y‖
    is rounding, and entries of ψ that only it calls for may be returned as 0.

    Args:
        problem: The data (A, y).

    Returns:
        The vertex with its dual, certificate and uniqueness; numerical failure is a status, never an exception.
    """
    form = StandardForm.of(problem)
    vertex, certificate, why = _solve(form)
    face = find_face(form.A, vertex)
    status, reasons = Status.CONVERGED, [form.reason, why]
    psi = form.psi(vertex.x)
    if vertex.message:
        status = Status.FAILED
        reasons.append(f"HiGHS failed ({vertex.message}); psi is the solution of least Euclidean norm")
    elif not certificate.holds():
        status = Status.FAILED
        reasons.append(f"the optimality conditions hold only to {_worst(certificate):.1e} (asked {KKT_TOLERANCE:.0e})")
    else:
        reasons.append(face.reason)
    if not bool(torch.isfinite(psi).all()):
        status = Status.FAILED
        reasons.append("psi overflows; zeros are returned")
        psi = torch.zeros_like(psi)
    dual = form.dual(vertex.lam)
    if form.is_rounded and status is Status.CONVERGED:
        worst = _on_given_data(problem, psi, dual)
        if worst > KKT_TOLERANCE:
            status = Status.BELOW_INPUT_PRECISION
            reasons.append(
                f"A is so ill-conditioned that the optimality conditions hold only to {worst:.1e} with A itself"
            )
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
    )


def _solve(form: StandardForm) -> tuple[Vertex, Certificate, str]:
    """HiGHS's vertex, or that of the path where HiGHS's misses the conditions; the conditions, and a word about it.

    HiGHS takes entries of A below 1e-9 for zeros, however well-conditioned A is.
    """
    vertex = solve_vertex(form.A, form.y)
    certificate = certify(form, vertex)
    if not vertex.message and certificate.holds():
        return vertex, certificate, ""
    found = basis_pursuit(form.A, form.y)
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
    norm = float(np.abs(x).sum())
    gap = abs(norm - float(form.y @ lam))
    return Certificate(
        primal_residual=vertex.residual,
        dual_infeasibility=float(max(0.0, np.abs(tau).max() - 1)),
        duality_gap=gap / norm if norm > 0 else gap,
        complementarity=float(np.abs(tau[support] - np.sign(x[support])).max(initial=0.0)),
        support_margin=float(np.abs(x[support]).min() / np.abs(x).max()) if support.size else 1.0,
        dual_margin=vertex.near,
        ties=int(vertex.ties.size),
        noise=vertex.noise,
    )


def _on_given_data(problem: Problem, psi: Tensor, dual: Tensor) -> float:
    """The worst of the optimality conditions with the given A and (projected) y, in relative terms."""
    given = problem.reduced()
    A, y = given.A.double(), given.y.double()
    tau = problem.A.double().mT @ dual.double()
    x = psi.double()
    size = given.spectral_norm * float(torch.linalg.vector_norm(x)) + float(torch.linalg.vector_norm(y))
    residual = float(torch.linalg.vector_norm(A @ x - y)) / size if size > 0 else 0.0  # y = 0 and ψ = 0
    on = x != 0
    wrong = float((tau[on] - torch.sign(x[on])).abs().max()) if bool(on.any()) else 0.0
    gap = abs(float(problem.y.double() @ dual.double()) / float(x.abs().sum()) - 1) if bool(on.any()) else 0.0
    return max(residual, wrong, gap, float(tau.abs().max()) - 1)


def _worst(certificate: Certificate) -> float:
    return max(
        certificate.primal_residual,
        certificate.dual_infeasibility,
        certificate.duality_gap,
        certificate.complementarity,
    )
