"""The ℓ1-minimiser as a fact: value, dual vector, uniqueness and the face of all minimisers in exact rational arithmetic.

The floats of a problem are rationals, so that its ℓ1-minimiser, and whether there is another, is decidable: a basis B of
columns with x = A_B⁻¹y and A_Bᵀλ = sign(x) is optimal if |A_iᵀλ| <= 1 for all i, which integers decide. The basis comes
from the answer in floats and, where y holds digits that floats of that size do not (y = Aψ, rounded), from the same linear
programme magnified (Gleixner, Steffy and Wolter, INFORMS J. Comput. 28, 2016); what is still wrong with it is put right by
the simplex method in rationals (:mod:`dlntorch.reference.exact_simplex`).

With the ties T = {i : |A_iᵀλ| = 1}, all minimisers are {x >= 0 : A_T diag(σ) x = y}. Is i in the support of one of them?
Maximising the sum of those x_i that are still undecided answers it for at least one of them, or, if the maximum is 0, for
all. The minimiser is unique if and only if the columns of the face's support are independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.problem.exact_system import ExactSystem
from dlntorch.reference.exact_simplex import ExactBasis, Programme
from dlntorch.reference.magnified import better_basis
from dlntorch.reference.standard_form import StandardForm
from dlntorch.reference.weights import sides_of

if TYPE_CHECKING:
    from dlntorch.problem import Problem
    from dlntorch.reference.l1_minimizer import L1Minimizer

__all__ = ["ExactMinimizer", "exact_minimizer", "exactly"]

#: Bases looked at for the vertices of the face.
MAX_BASES = 2000


@dataclass(frozen=True)
class ExactMinimizer:
    """A vertex of the ℓ1-minimisers, its dual vector and the face of all of them; every number is a Fraction.

    Attributes:
        value: min Σ w₊ψ⁺ + w₋ψ⁻, which is ‖ψ‖₁ without weights.
        psi: The vertex, n numbers; for the projection of y where ``consistent`` is false.
        dual: λ, m numbers, −w₋ <= A_iᵀλ <= w₊ and yᵀλ = ``value``.
        unique: Whether ``psi`` is the only minimiser.
        support: Indices where some minimiser is not 0, increasing: the support of the face.
        signs: The one sign ±1 that minimisers have there.
        dimension: Of the face: len(support) − rank(A_support).
        interior: A minimiser that is not 0 on all of ``support``; ``psi`` where it is unique.
        ties: Indices with A_iᵀλ = w₊ or −w₋; contains ``support``.
        vertices: All vertices of the face, or None and ``vertices_reason``.
        rank: rank(A).
        consistent: Whether y lies in range(A).
        pivots: Steps of the exact simplex method by which the basis found in floats was repaired.
        basis: r independent columns with ψ = A_B⁻¹y and A_Bᵀλ = ±w.
    """

    value: Fraction
    psi: list[Fraction]
    dual: list[Fraction]
    unique: bool
    support: list[int]
    signs: list[int]
    dimension: int
    interior: list[Fraction]
    ties: list[int]
    vertices: list[list[Fraction]] | None
    vertices_reason: str
    rank: int
    consistent: bool
    pivots: int
    basis: list[int]

    __repr__ = short_repr


def exact_minimizer(
    problem: Problem,
    weights: tuple[Sequence[float], Sequence[float]] | None = None,
    nonnegative: bool = False,
    start: tuple[np.ndarray, np.ndarray] | None = None,
    system: ExactSystem | None = None,
) -> ExactMinimizer | None:
    """The exact minimiser; None where ``nonnegative`` and no ψ >= 0 has Aψ = y (or its projection).

    Args:
        problem: The data (A, y), taken as exact.
        weights: w₊ and w₋, (n,) each, > 0, taken as exact; None for 1.
        nonnegative: Whether ψ >= 0 is asked for.
        start: ψ (n,) and Aᵀλ over the weights (n,), in floats, of a good answer.
        system: ``ExactSystem.of(problem)``, where it is known.
    """
    system = ExactSystem.of(problem) if system is None else system
    n = system.n
    plus, minus, cost_unit = _costs(n, weights, nonnegative)
    programme = Programme(system.matrix, system.right, plus, minus)
    if not any(system.right):
        zero = [Fraction(0)] * n
        nothing = [Fraction(0)] * len(system.scales)
        return ExactMinimizer(Fraction(0), zero, nothing, True, [], [], 0, zero, [], [zero], "",
                              len(system.right), system.consistent, 0, [])  # fmt: skip
    basis = _starting_basis(programme, start)
    if basis is None:
        return None
    basis = programme.optimal(basis)
    return _described(system, programme, basis, cost_unit)


def _costs(
    n: int, weights: tuple[Sequence[float], Sequence[float]] | None, nonnegative: bool
) -> tuple[list[int | None], list[int | None], int]:
    """Integer costs of both signs, and what they were multiplied by."""
    if weights is None:
        return [1] * n, [None if nonnegative else 1] * n, 1
    plus, minus = ([Fraction(float(w)) for w in side] for side in weights)
    unit = math.lcm(*(w.denominator for w in (*plus, *minus)))
    return [int(w * unit) for w in plus], [None if nonnegative else int(w * unit) for w in minus], unit


def _starting_basis(programme: Programme, start: tuple[np.ndarray, np.ndarray] | None) -> ExactBasis | None:
    """A feasible basis close to optimal: the support in floats, filled up by the nearest ties."""
    n = programme.matrix.shape[1]
    psi, tau = (np.zeros(n), np.zeros(n)) if start is None else start
    basis = programme.feasible(*basis_near(programme, psi, tau))
    if basis is None or len(programme.violations(basis)) <= 2 or None in programme.plus or None in programme.minus:
        return basis
    return better_basis(programme, basis)


def basis_near(programme: Programme, psi: np.ndarray, tau: np.ndarray) -> tuple[list[int], list[int]]:
    """Independent columns, the support of ``psi`` first and then by |``tau``|, and the sign that each leans to."""
    order = np.lexsort((-np.abs(tau), -np.abs(psi)))
    leaning = [1 if value >= 0 else -1 for value in np.where(psi != 0, psi, tau)]
    return programme.matrix.independent(order.tolist()), leaning


def _described(system: ExactSystem, programme: Programme, basis: ExactBasis, cost_unit: int) -> ExactMinimizer:
    n = system.n
    ties, signs = [], []
    for j, product in enumerate(basis.products):
        for sign in (1, -1):
            cost = programme.cost(j, sign)
            if cost is not None and sign * product == cost * basis.dual_unit:
                ties.append(j)
                signs.append(sign)
    point = basis.point(n)
    support, interior = _face(programme, basis, dict(zip(ties, signs, strict=True)), point)
    within = set(support) <= set(basis.columns)  # whose columns are independent
    rank = len(support) if within else system.matrix.take(support).rank()
    dimension = len(support) - rank
    leaning = dict(zip(ties, signs, strict=True))
    face_signs = [leaning[j] for j in support]
    vertices, why = _vertices(system, support, face_signs, rank) if dimension else ([point], "")
    return ExactMinimizer(
        value=programme.objective(basis) / cost_unit,
        psi=point,
        dual=system.dual(basis.dual, basis.dual_unit * cost_unit),
        unique=dimension == 0,
        support=support,
        signs=face_signs,
        dimension=dimension,
        interior=interior,
        ties=ties,
        vertices=vertices,
        vertices_reason=why,
        rank=len(system.right),
        consistent=system.consistent,
        pivots=basis.pivots,
        basis=sorted(basis.columns),
    )


def _face(
    programme: Programme, basis: ExactBasis, signs: dict[int, int], point: list[Fraction]
) -> tuple[list[int], list[Fraction]]:
    """The support of the face of minimisers, and one of them that is not 0 on all of it."""
    n = len(point)
    positive = {j for j, value in enumerate(point) if value}
    if len(signs) == len(basis.columns):  # the ties are the basis: its columns are independent
        return sorted(positive), point
    points, undecided = [point], [j for j in signs if j not in positive]
    current = basis
    while undecided:
        value = [-1 if j in undecided else 0 for j in range(n)]
        side = replace(
            programme,
            plus=[value[j] if signs.get(j) == 1 else None for j in range(n)],
            minus=[value[j] if signs.get(j) == -1 else None for j in range(n)],
        )
        start = side.at(current.columns, [signs.get(j, 1) for j in range(n)])
        if start is None:
            raise ArithmeticError("a minimiser left the face of minimisers")
        current = side.optimal(start)
        other = current.point(n)
        new = [j for j in undecided if other[j]]
        if not new:
            break
        points.append(other)
        undecided = [j for j in undecided if not other[j]]
    interior = [sum(values, Fraction(0)) / len(points) for values in zip(*points, strict=True)]
    return sorted(j for j in range(n) if interior[j]), interior


def _vertices(
    system: ExactSystem, support: list[int], signs: list[int], rank: int
) -> tuple[list[list[Fraction]] | None, str]:
    """All vertices of the face, where it has few bases."""
    bases = math.comb(len(support), rank)
    if bases > MAX_BASES:
        return None, f"the face has up to {bases} bases, more than {MAX_BASES}"
    B = system.matrix.take(support)
    rows = B.transposed().independent(range(B.shape[0]))
    B, right = B.keep(rows), [system.right[i] for i in rows]
    found: dict[tuple[Fraction, ...], None] = {}
    for chosen in combinations(range(len(support)), rank):
        if len(B.independent(chosen)) < rank:
            continue
        values, unit = B.take(chosen).solve(right)
        if all(value * signs[j] >= 0 for j, value in zip(chosen, values, strict=True)):
            vertex = [Fraction(0)] * system.n
            for j, value in zip(chosen, values, strict=True):
                vertex[support[j]] = Fraction(value, unit)
            found[tuple(vertex)] = None
    return [list(vertex) for vertex in found], ""


def exactly(
    problem: Problem,
    found: L1Minimizer,
    weights: Any = None,
    nonnegative: bool = False,
) -> L1Minimizer:
    """The answer in floats replaced by the exact one, rounded once; ``found.exact`` holds the fractions.

    Args:
        problem: The data (A, y).
        found: The answer in floats, for the same weights.
        weights: (n,) or a pair (w₊, w₋) of them, as ``found`` was computed with; taken as exact.
        nonnegative: Likewise.
    """
    psi = found.psi.detach().cpu().double().numpy()
    tau = problem.A.detach().cpu().double().numpy().T @ found.dual.detach().cpu().double().numpy()
    usable = bool(np.isfinite(psi).all() and np.isfinite(tau).all())
    pair = None if weights is None else _pair(weights, problem.n)
    answer = exact_minimizer(problem, pair, nonnegative, (psi, tau) if usable else None)
    if answer is None:
        why = "no psi >= 0 has A psi = y: exact arithmetic proves it"
        return replace(found, status=Status.FAILED, unique=None, reason=why, exact=None)

    def tensor(values: Sequence[Any]) -> torch.Tensor:
        return torch.tensor([_float(v) for v in values], dtype=torch.float64).to(found.psi)

    reasons = (
        [] if answer.consistent else [found.reason or "y is not in range(A): this is the answer for its projection"]
    )
    if answer.rank != problem.rank:
        reasons.append(f"the exact rank of A is {answer.rank}; to its precision it is {problem.rank}")
    vertex = tensor(answer.psi)
    return replace(
        found,
        psi=vertex,
        value=_float(answer.value),
        dual=tensor(answer.dual),
        support=torch.tensor([j for j, v in enumerate(answer.psi) if v], dtype=torch.int64).to(found.support.device),
        unique=answer.unique,
        status=Status.CONVERGED,
        reason="; ".join(reasons),
        face=_scaled_face(problem, found, answer),
        error=0.0,
        exact=answer,
    )


def _pair(weights: Any, n: int) -> tuple[list[float], list[float]]:
    """w₊ and w₋ as lists."""
    plus, minus = sides_of(weights, n)
    sides = (np.ones(n) if plus is None else plus), plus if minus is None else minus
    return sides[0].tolist(), (sides[0] if sides[1] is None else sides[1]).tolist()


def _scaled_face(problem: Problem, found: L1Minimizer, answer: ExactMinimizer) -> Any:
    """The exact face in the units of the scaled problem, which is what selection starts from."""
    if found.face.support.tolist() == answer.support:
        return replace(found.face, dimension=answer.dimension, unique=answer.unique, reason="")
    units = StandardForm.of(problem, found.weights).psi(np.ones(problem.n)).detach().cpu().double().numpy()
    exponents = np.frexp(units)[1] - 1  # powers of two
    interior = np.ldexp([_float(v) for v in answer.interior], -exponents)
    return replace(
        found.face,
        support=np.array(answer.support, dtype=np.intp),
        signs=np.array(answer.signs, dtype=np.float64),
        dimension=answer.dimension,
        interior=interior,
        unique=answer.unique,
        reason="",
    )


def _float(number: Fraction) -> float:
    """The nearest float; the largest one where the number overflows."""
    try:
        return float(number)
    except OverflowError:
        return math.copysign(1.7976931348623157e308, number.numerator)
