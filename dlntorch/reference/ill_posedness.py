"""How far a problem is from one whose ℓ1-minimiser is not unique, and how many digits its data need.

The size of a change (dA, dy) is

    max( Σ_i ‖dA_i‖₂ / max_i ‖A_i‖₂ ,  ‖dy‖₂ / ‖y‖₂ ),    A_i the columns of A,

and the distance is the infimum of the sizes of all changes that end at a problem with several minimisers: beyond it no
algorithm that reads the data to that accuracy can be right (arXiv 2307.07410, section 5). For A = (1, 1 − δ) it is δ.

**Above.** Let B be the columns of a basis, Bᵀλ = σ its dual vector and i a column with |A_iᵀλ| < 1. Moved along λ by
(1 − |A_iᵀλ|)/‖λ‖₂, column i joins the ties, m + 1 columns in m dimensions: every y in the interior of their cone then has
several minimisers. Candidates are the optimal basis and all that the walk below visits, into whose cones y is moved;
and a column j of the basis moved inwards until another ties with the rest of the basis, which is shorter where |c_j| > 1.
A column moved into the span of the large entries of W alone, with Σσ_jc_j = ±1 there, ties for every dual vector: the
minimisers then differ in large entries. Moving y alone does not destroy uniqueness where every basis is strict: on fixed A
the minimiser is then a continuous function of y.

**Below.** With t = Σ‖dA_i‖₂, κ_B = ‖B⁻¹‖₂, θ = κ_B t < 1, c_i = B⁻¹A_i: λ' of the changed basis has
|A_i'ᵀλ'| <= |A_iᵀλ| + t ‖λ‖₂ max(1, ‖c_i‖_∞ + θ(‖c_i‖₂ − ‖c_i‖_∞)) / (1 − θ), and while that stays below 1 off B, B is
strict. The minimiser is unique as long as all bases are strict that can be optimal after the change. They are found by a
walk from the optimal one (:mod:`dlntorch.reference.uniqueness_radius`): with few large entries in W, the many that meet at y.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from dlntorch.model.depth_law import depth_law
from dlntorch.numerics.threads import with_few_threads
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.problem import Problem
from dlntorch.problem.exact_system import ExactSystem
from dlntorch.reference.basis_radius import DualVertex, UniqueProblem, bases_around
from dlntorch.reference.exact import ExactMinimizer, exact_minimizer
from dlntorch.reference.exact_simplex import Programme
from dlntorch.reference.l1_minimizer import L1Minimizer, l1_minimizer
from dlntorch.reference.perturbation import exact_sum, rounded, size_of_change
from dlntorch.reference.uniqueness_radius import uniqueness_radius

__all__ = ["IllPosedness", "ill_posedness", "needed_digits"]

#: A change counts for ``digits`` where the minimisers of the changed problem are this far apart, relative to ‖W‖₁.
HARMFUL = 1e-2
_HARMLESS = "no perturbation is known whose minimisers are 1 % apart"
_TRIED = 8
_FEW = 2  # moves kept of each basis that is not next to the optimal one
_LOOSENED = 4000  # bases visited times entries of A up to which columns of a basis are moved inwards
_ENTRIES = 20_000  # of A up to which every pair of columns is a candidate
_LARGE = 1e-6  # entries of W below this fraction of the largest are small


@dataclass(frozen=True)
class IllPosedness:
    """How far a problem is from one without a unique minimiser.

    Attributes:
        lower: Every change of smaller size leaves the minimiser unique; 0 where nothing is proved. ``lower_reason`` says why
            it is 0, or why the proof ended early.
        upper: Size of ``perturbation``, rounded up; None where none is known, and ``upper_reason``.
        perturbation: (dA, dy), arrays (m, n) and (m,) of Fractions: (A + dA, y + dy) has several minimisers. None with
            ``upper``.
        spread: Diameter of the set of minimisers of the perturbed problem in ‖·‖₁, relative to ‖W‖₁: a first-order
            estimate; tiny where only tiny coordinates are in question.
        digits: Significant decimal digits that the data must have, at least, before any algorithm can be right to 1 % of
            ‖W‖₁: −log10 of the smallest known perturbation with ``spread`` >= 0.01, rounded up; None where there is none.
        distance: The size of that perturbation; None where there is none.
        status: ``converged``; ``failed`` where no minimiser was found.
        reason: One line, where something is missing.
    """

    lower: float
    upper: float | None
    perturbation: tuple[np.ndarray, np.ndarray] | None
    spread: float | None
    digits: int | None
    distance: float | None
    status: Status
    reason: str
    lower_reason: str
    upper_reason: str

    __repr__ = short_repr

    def log10_alpha(self, p: float) -> float | None:
        """log10 of the α below which a network of depth p tells this problem from the nearest ill-posed one.

        α^p must be far below δ^{p/(p−2)}, δ = ``distance``. On A = (1, 1 − δ) the limit is half-way at
        δ = α^{p−2}(2^{1/k} − 1)(2/3)^{−1/k}, k = p/(p − 2), and at δ = 1/ln(1/α²) for p = 2: that α is returned. None
        where ``distance`` is None or 0.
        """
        if not self.distance:
            return None
        return depth_law(p).log10_half_way(self.distance)


@with_few_threads
def ill_posedness(problem: Problem, *, minimizer: L1Minimizer | None = None) -> IllPosedness:
    """Bounds of the distance to the nearest problem whose ℓ1-minimiser is not unique.

    Args:
        problem: The data (A, y), dense, taken as exact.
        minimizer: ``l1_minimizer(problem, exact=True)``, where it has been computed already.

    Raises:
        InputError: A is an operator, or its numbers are too many or too long for exact arithmetic.

    Example:
        >>> found = ill_posedness(Problem.from_rationals([[1, "0.999"]], [1]))
        >>> round(found.upper, 12), found.digits, found.lower > 0.9 * found.upper
        (0.001, 3, True)
    """
    solved = minimizer if minimizer is not None and minimizer.exact is not None else l1_minimizer(problem, exact=True)
    exact = solved.exact
    if exact is None:
        return _unknown(Status.FAILED, solved.reason)
    if not exact.unique:
        nothing = np.full((problem.m, problem.n), Fraction(0)), np.full(problem.m, Fraction(0))
        spread = _diameter(exact)
        reason = "the minimiser is not unique: no number of digits is enough"
        return IllPosedness(0.0, 0.0, nothing, spread, None, 0.0, Status.CONVERGED, reason, reason, "")
    if not exact.value:
        return _unknown(Status.CONVERGED, "y, or its projection on range(A), is 0: so is the minimiser")
    return _Search(problem, exact).result()


def needed_digits(problem: Problem) -> tuple[int | None, str]:
    """``digits`` by the optimal basis and those next to it, without proofs; or None and the reason.

    :func:`ill_posedness` looks at more bases, and has at least as many digits.
    """
    exact = exact_minimizer(problem, start=_rough(problem))
    if exact is None or not exact.unique:
        return None, "the minimiser is not unique: no number of digits is enough"
    if not exact.value:
        return None, "y, or its projection on range(A), is 0: so is the minimiser"
    search = _Search(problem, exact)
    harmful = [c.size for c in search.candidates() if c.spread >= HARMFUL and c.size > 0]
    if not harmful:
        return None, _HARMLESS
    return _digits(min(harmful)), ""


def _rough(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """An answer in floats to start from."""
    found = l1_minimizer(problem)
    psi, dual = (part.detach().cpu().double().numpy() for part in (found.psi, found.dual))
    return psi, problem.A.detach().cpu().double().numpy().T @ dual


def _digits(distance: float) -> int:
    """Digits at which a number of size one is known better than ``distance``; 2 % more or less ask for none more."""
    return max(0, math.ceil(-math.log10(distance) - 0.01))


def _unknown(status: Status, why: str) -> IllPosedness:
    return IllPosedness(0.0, None, None, None, None, None, status, why, why, why)


def _diameter(exact: ExactMinimizer) -> float:
    """Largest ‖·‖₁ distance between two vertices of the face, relative to ‖W‖₁; from its interior point where they are many."""
    ends = exact.vertices or [exact.psi, exact.interior]
    value = exact.value or Fraction(1)
    return max(
        float(sum(abs(a - b) for a, b in zip(one, other, strict=True)) / value) for one in ends for other in ends
    )


@dataclass(frozen=True)
class _Candidate:
    """Column ``column`` becomes Bc, B the ``columns`` and Σ σ_j c_j = ±1, and y becomes Bx' where it is not in their cone.

    Attributes:
        vertex: The basis, where |A_iᵀλ| <= 1 at it.
        c: The coordinates c, floats, where ``columns`` are fewer than m: those of the large entries of W alone.
    """

    size: float
    spread: float
    vertex: DualVertex | None
    column: int
    columns: list[int]
    signs: list[int]
    c: np.ndarray | None = None


class _Search:
    """The bounds for one problem with a unique minimiser."""

    def __init__(self, problem: Problem, exact: ExactMinimizer) -> None:
        self.problem, self.exact = problem, exact
        self.system = ExactSystem.of(problem)
        n = self.system.n
        programme = Programme(self.system.matrix, self.system.right, [1] * n, [1] * n)
        A = problem.A.detach().cpu().double().numpy()
        y = np.array([float(value) for value in self._image()])
        if exact.rank < problem.m:
            Q = np.linalg.qr(A[:, exact.basis])[0]
            A, y = Q.T @ A, Q.T @ y
        self.data = UniqueProblem(programme, A, y)
        self.start = self._start()

    def _image(self) -> list[Fraction]:
        """y, or its projection on range(A)."""
        A, y = self.problem.rationals
        if self.exact.consistent:
            return y
        support = [(j, v) for j, v in enumerate(self.exact.psi) if v]
        return [sum((row[j] * v for j, v in support), Fraction(0)) for row in A]

    def result(self) -> IllPosedness:
        start = self.start
        lower, why_lower, visited = self._lower(start)
        candidates = self.candidates(visited)
        best, perturbation, upper = self._verified(candidates)
        harmful = [c.size for c in candidates if c.spread >= HARMFUL]
        distance = upper if best is not None and best.spread >= HARMFUL else min(harmful, default=None)
        digits = None if not distance else _digits(distance)
        return IllPosedness(
            lower=lower if upper is None else min(lower, upper),
            upper=upper,
            perturbation=perturbation,
            spread=None if best is None else best.spread,
            digits=digits,
            distance=distance,
            status=Status.CONVERGED,
            reason="" if digits is not None else _HARMLESS,
            lower_reason=why_lower,
            upper_reason=""
            if best is not None
            else "no column is off the ties: moving one does not destroy uniqueness",
        )

    def _start(self) -> DualVertex:
        """The optimal basis, with the signs of its dual vector."""
        psi, dual = self.exact.psi, self.exact.dual
        A, _ = self.problem.rationals
        signs = []
        for j in self.exact.basis:
            tau = sum((row[j] * v for row, v in zip(A, dual, strict=True)), Fraction(0)) if not psi[j] else psi[j]
            signs.append(1 if tau > 0 else -1)
        vertex = DualVertex.of(self.data, self.exact.basis, signs)
        if vertex is None:
            raise ArithmeticError("the optimal basis is not optimal")
        return vertex

    def _lower(self, start: DualVertex) -> tuple[float, str, list[DualVertex]]:
        if self.exact.rank < self.problem.m:
            why = f"rank(A) = {self.exact.rank} < m: any change of A may raise the rank, and the minimiser jumps"
            return 0.0, why, []
        return uniqueness_radius(self.data, start)

    def candidates(self, visited: Sequence[DualVertex] = ()) -> list[_Candidate]:
        """Moves of one column, the smallest first; of equal ones, that with the largest effect.

        Args:
            visited: More bases, of which only the smallest moves are wanted.
        """
        start = self.start
        around = {vertex.key: vertex for vertex in bases_around(self.data, start)}
        found = [candidate for vertex in around.values() for candidate in self._joining(vertex)]
        for vertex in visited:
            if vertex.key not in around and vertex.target is not None:
                moves = sorted(self._joining(vertex), key=lambda c: c.size)
                found += moves[:_FEW] + [c for c in moves[_FEW:] if c.spread >= HARMFUL][:_FEW]
        for vertex in visited[: _LOOSENED // self.data.A.size]:
            found += self._inward(vertex, min((c.size for c in found), default=math.inf))
        if self.data.A.size <= _ENTRIES and start.inside:
            for at, i, sign, size, spread in start.inward_moves():
                if spread > 0:
                    columns, signs = list(start.columns), list(start.signs)
                    columns[at], signs[at] = i, sign
                    found.append(
                        _Candidate(size / self.data.column_size, spread, None, start.columns[at], columns, signs)
                    )
        found += self._within_support(start)
        return sorted(found, key=lambda c: (c.size, -c.spread))

    def _inward(self, vertex: DualVertex, below: float) -> Iterator[_Candidate]:
        """Each column of a basis moved inwards until another ties with the rest, and y into the cone of those.

        Args:
            below: Only shorter moves are of use.
        """
        for at, i, sign, size, _ in vertex.inward_moves():
            if size / self.data.column_size >= below:
                continue
            moved, columns, signs = vertex.columns[at], list(vertex.columns), list(vertex.signs)
            columns[at], signs[at] = i, sign
            loose = DualVertex.loose(self.data, columns, signs)
            if loose.target is not None:
                sizes, spreads = loose.moves(np.array([float(v) for v in loose.target]))
                size = max(abs(float(sizes[moved])) / self.data.column_size, loose.way)
                yield _Candidate(size, float(spreads[moved]), loose, moved, loose.columns, loose.signs)

    def _joining(self, vertex: DualVertex) -> Iterator[_Candidate]:
        """Each column moved until it joins the ties of a basis, and y moved into the basis' cone."""
        sizes, spreads = vertex.moves(np.array([float(v) for v in vertex.target or []]))
        way, top = vertex.way, self.data.column_size
        for i in np.flatnonzero(np.isfinite(sizes)):
            size = max(float(sizes[i]) / top, way)
            yield _Candidate(size, float(spreads[i]), vertex, int(i), vertex.columns, vertex.signs)

    def _within_support(self, start: DualVertex) -> list[_Candidate]:
        """Columns moved into the span of fewer than m columns, those of the large entries, with Σ σ_j c_j = ±1 there.

        They then tie for every dual vector, and the minimisers differ in large entries.
        """
        large = [k for k in range(len(start.x)) if abs(start.x[k]) > _LARGE * np.abs(start.x).max()]
        if len(large) == len(start.x):
            return []
        columns, signs = [start.columns[k] for k in large], [start.signs[k] for k in large]
        A, x, sigma = self.data.A, start.x[large], np.array(signs, dtype=np.float64)
        rest = [k for k in range(len(start.x)) if k not in large]
        way = float(np.linalg.norm(A[:, [start.columns[k] for k in rest]] @ start.x[rest])) / self.data.target_size
        B = A[:, columns]
        before = np.linalg.lstsq(B, A, rcond=None)[0]
        direction = np.linalg.pinv(B) @ np.linalg.pinv(B).T @ sigma
        direction = direction / float(sigma @ direction)
        found = []
        for i in np.flatnonzero(~np.isin(np.arange(self.data.n), columns)):
            for sign in (1.0, -1.0):
                c = before[:, i] + direction * (sign - float(sigma @ before[:, i]))
                falling = sigma * c * sign
                length = float(np.min(np.abs(x)[falling > 0] / falling[falling > 0], initial=np.inf))
                spread = length * (1 + float(np.abs(c).sum())) / float(np.abs(x).sum())
                size = max(float(np.linalg.norm(A[:, i] - B @ c)) / self.data.column_size, way)
                found.append(_Candidate(size, spread, None, int(i), columns, signs, c))
        return found

    def _verified(
        self, candidates: list[_Candidate]
    ) -> tuple[_Candidate | None, tuple[np.ndarray, np.ndarray] | None, float | None]:
        """The first candidate whose perturbed problem has several minimisers in rational arithmetic."""
        for candidate in candidates[:_TRIED]:
            dA, dy = self._perturbation(candidate)
            A, y = self.problem.rationals
            changed = Problem.from_rationals(
                [[a + d for a, d in zip(row, more, strict=True)] for row, more in zip(A, dA.tolist(), strict=True)],
                [a + d for a, d in zip(y, dy.tolist(), strict=True)],
            )
            again = exact_minimizer(changed, start=self._guess(candidate))
            if again is not None and not again.unique:
                return candidate, (dA, dy), size_of_change(A, y, dA, dy)
        return None, None, None

    def _guess(self, candidate: _Candidate) -> tuple[np.ndarray, np.ndarray]:
        """A minimiser of the perturbed problem and its Aᵀλ, roughly."""
        vertex, psi = candidate.vertex, np.zeros(self.data.n)
        if vertex is None:
            psi[self.start.columns] = self.start.x
            return psi, self.start.tau
        psi[vertex.columns] = [float(v) for v in vertex.target or []]
        return psi, vertex.tau

    def _perturbation(self, candidate: _Candidate) -> tuple[np.ndarray, np.ndarray]:
        """The change as rationals of few digits."""
        A, _ = self.problem.rationals
        m, n = self.problem.m, self.problem.n
        vertex, i = candidate.vertex, candidate.column
        step: dict[int, Fraction] = {}
        if candidate.c is not None:
            c = exact_sum([Fraction(float(v)) for v in candidate.c], candidate.signs)
            step = {j: -v for j, v in enumerate(self.exact.psi) if v and j not in candidate.columns}
        elif vertex is not None:
            c, step = self._moved(vertex, i), self._step(vertex)
        else:
            loose = DualVertex.loose(self.data, candidate.columns, candidate.signs)
            c, candidate = self._moved(loose, i), replace(candidate, columns=loose.columns)
        dA = np.full((m, n), Fraction(0))
        for row in range(m):
            dA[row, i] = sum((A[row][j] * v for j, v in zip(candidate.columns, c, strict=True)), -A[row][i])
        dy = np.array([sum((A[row][j] * v for j, v in step.items()), Fraction(0)) for row in range(m)])
        return dA, dy

    @staticmethod
    def _step(vertex: DualVertex) -> dict[int, Fraction]:
        """What must be added to x, and y moved by A times that, for x to have the signs of the basis."""
        if vertex.inside:
            return {}
        step = [a - b for a, b in zip(vertex.target or [], vertex.values, strict=True)]
        size = max(map(abs, step))
        return {j: rounded(v, size) for j, v in zip(vertex.columns, step, strict=True) if v}

    def _moved(self, vertex: DualVertex, i: int) -> list[Fraction]:
        """The coordinates in the basis of column i moved along λ until |A_iᵀλ| = 1, exactly that."""
        matrix = self.system.matrix
        numerators, unit = matrix.take(vertex.columns).solve(matrix.column(i))
        before = [Fraction(v, unit) for v in numerators]
        tau = sum((s * v for s, v in zip(vertex.signs, before, strict=True)), Fraction(0))
        gap = (1 if tau >= 0 else -1) - tau
        c = [rounded(v + gap * Fraction(float(u)), gap) for v, u in zip(before, vertex.push, strict=True)]
        return exact_sum(c, vertex.signs)
