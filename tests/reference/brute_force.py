"""The face of ℓ1-minimisers by brute force over all bases, in Fractions: an oracle that shares no code with dlntorch."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations


@dataclass(frozen=True)
class BruteForce:
    """The truth about a small problem."""

    value: Fraction
    vertices: set[tuple[Fraction, ...]]
    support: list[int]
    dimension: int

    @property
    def unique(self) -> bool:
        return len(self.vertices) == 1


def solve(rows: list[list[Fraction]], right: list[Fraction]) -> list[Fraction] | None:
    """Gauss–Jordan; None where the square matrix is singular."""
    work = [[*row, value] for row, value in zip(rows, right, strict=True)]
    size = len(work)
    for k in range(size):
        pivot = next((i for i in range(k, size) if work[i][k] != 0), None)
        if pivot is None:
            return None
        work[k], work[pivot] = work[pivot], work[k]
        work[k] = [v / work[k][k] for v in work[k]]
        for i in range(size):
            if i != k and work[i][k]:
                work[i] = [a - work[i][k] * b for a, b in zip(work[i], work[k], strict=True)]
    return [row[-1] for row in work]


def rank(rows: list[list[Fraction]]) -> int:
    work, found = [list(row) for row in rows], 0
    for j in range(len(work[0]) if work else 0):
        pivot = next((i for i in range(found, len(work)) if work[i][j] != 0), None)
        if pivot is None:
            continue
        work[found], work[pivot] = work[pivot], work[found]
        for i in range(found + 1, len(work)):
            factor = work[i][j] / work[found][j]
            work[i] = [a - factor * b for a, b in zip(work[i], work[found], strict=True)]
        found += 1
    return found


def brute_force(A, y, weights=None, nonnegative: bool = False) -> BruteForce | None:
    """All minimisers of Σ w₊ψ⁺ + w₋ψ⁻ subject to Aψ = the projection of y on range(A); None where there is none."""
    A = [[Fraction(v) for v in row] for row in A]
    y = [Fraction(v) for v in y]
    n = len(A[0])
    plus, minus = weights or ([1] * n, [1] * n)
    plus, minus = [Fraction(w) for w in plus], [Fraction(w) for w in minus]
    columns: list[int] = []
    for j in range(n):
        if rank([[row[i] for i in [*columns, j]] for row in A]) == len(columns) + 1:
            columns.append(j)
    C = [[row[j] for j in columns] for row in A]
    size = len(columns)
    # Aψ = P y if and only if Cᵀ A ψ = Cᵀ y, C a basis of range(A)
    M = [[sum(C[i][k] * A[i][j] for i in range(len(A))) for j in range(n)] for k in range(size)]
    b = [sum(C[i][k] * y[i] for i in range(len(A))) for k in range(size)]
    best, vertices = None, set()
    for chosen in combinations(range(n), size):
        x = solve([[row[j] for j in chosen] for row in M], b)
        if x is None or (nonnegative and min(x) < 0):
            continue
        value = sum(v * plus[j] if v > 0 else -v * minus[j] for j, v in zip(chosen, x, strict=True))
        vertex = [Fraction(0)] * n
        for j, v in zip(chosen, x, strict=True):
            vertex[j] = v
        if best is None or value < best:
            best, vertices = value, set()
        if value == best:
            vertices.add(tuple(vertex))
    if best is None:
        return None
    points = sorted(vertices)
    support = [j for j in range(n) if any(point[j] for point in points)]
    differences = [[a - c for a, c in zip(point, points[0], strict=True)] for point in points[1:]]
    return BruteForce(best, vertices, support, rank(differences) if differences else 0)
