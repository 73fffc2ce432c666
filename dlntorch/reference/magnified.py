"""A better basis from the linear programme in floats, its right-hand side magnified.

Where y = Aψ was rounded, the exact minimiser has small entries that stand for that rounding alone, and floats do not see
them. With x̂ the large entries, rounded to floats, and the exact residual r = y − Ax̂, the programme for (x − x̂)/‖r‖ is
of the same form and shows them (Gleixner, Steffy and Wolter, INFORMS J. Comput. 28, 2016).
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from scipy.optimize import linprog

from dlntorch.reference.exact_simplex import ExactBasis, Programme

__all__ = ["better_basis"]

_ROUNDS = 3
_LARGE = 1e-9  # entries below this fraction of the largest are left to the next round
_TOLERANCE = 1e-10


def better_basis(programme: Programme, basis: ExactBasis) -> ExactBasis:
    """The best basis that a few rounds find, by its exact value; ``basis`` itself where none is better."""
    scale = [max(map(abs, row)) for row in programme.matrix.rows]
    A = np.array([[v / s for v in row] for row, s in zip(programme.matrix.rows, scale, strict=True)])
    cost = np.array([*programme.plus, *programme.minus], dtype=np.float64)
    unit = float(cost.max())
    best, objective, floor = basis, programme.objective(basis), _LARGE
    for _ in range(_ROUNDS):
        found = _round(programme, best, A, cost / unit, scale, floor)
        if found is None or programme.objective(found) >= objective:
            break
        best, objective = found, programme.objective(found)
        if len(programme.violations(best)) <= 2:
            break
        floor *= _LARGE
    return best


def _round(
    programme: Programme, basis: ExactBasis, A: np.ndarray, cost: np.ndarray, scale: list[int], floor: float
) -> ExactBasis | None:
    """The basis of the magnified programme about the entries of ``basis`` above ``floor``; None where it has none."""
    n = A.shape[1]
    exponent = basis.unit.bit_length()
    x = np.array([value / basis.unit if value else 0.0 for value in basis.values])
    x[np.abs(x) <= floor * np.abs(x).max()] = 0.0
    rounded = [Fraction(0)] * n
    for j, value in zip(basis.columns, x, strict=True):
        rounded[j] = Fraction(float(value))
    unit = max(value.denominator for value in rounded)  # a power of two
    product = programme.matrix.times([int(value * unit) for value in rounded])
    residual = [Fraction(b) - Fraction(v, unit) for b, v in zip(programme.right, product, strict=True)]
    rows = [r / s for r, s in zip(residual, scale, strict=True)]
    size = max(map(abs, rows))
    if size == 0 or exponent == 0:
        return None
    low = np.zeros(2 * n)
    for j, value in enumerate(rounded):
        if value:
            low[j if value > 0 else n + j] = -min(float(abs(value) / size), 1e30)
    found = linprog(
        cost,
        A_eq=np.hstack([A, -A]),
        b_eq=np.array([float(r / size) for r in rows]),
        bounds=np.column_stack([low, np.full(2 * n, np.inf)]),
        method="highs-ds",
        options={"primal_feasibility_tolerance": _TOLERANCE, "dual_feasibility_tolerance": _TOLERANCE},
    )
    if found.status != 0:
        return None
    moved = found.x - low
    psi = moved[:n] - moved[n:]
    tau = A.T @ np.asarray(found.eqlin.marginals) / np.where(psi >= 0, cost[:n], cost[n:])
    order = np.lexsort((-np.abs(tau), -np.abs(psi)))
    leaning = [1 if value >= 0 else -1 for value in np.where(psi != 0, psi, tau)]
    return programme.at(programme.matrix.independent(order.tolist()), leaning)
