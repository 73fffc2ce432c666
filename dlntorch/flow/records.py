"""What the compiled integrator's functions take: typed records of a network, a method, rules, results and scratch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dlntorch.flow.radau import Tableau

__all__ = [
    "CONVERGED",
    "FAILED",
    "LEFT_FLOAT64",
    "MAX_STEPS",
    "RUNNING",
    "STATE",
    "Batch",
    "Curves",
    "Flow",
    "Found",
    "Method",
    "Rules",
    "Sides",
    "Work",
    "make_method",
    "make_work",
]

#: How an integration stands. A path that is still running when its last output is made has reached its last time.
RUNNING, CONVERGED, MAX_STEPS, FAILED, LEFT_FLOAT64 = range(5)

#: The numbers that an integration changes. t + low is the time; last_h and last_ratio are those of the last accepted
#: step; largest is what ‖ψ‖_∞ has been, or is expected to be; blur the largest change of ψ by one rounding of t or of ν,
#: relative to ‖ψ‖_∞, at blur_time; rough the time of an output that is interpolated less accurately than was asked for;
#: fresh whether the next stages get a Jacobian of their own (no argument: numba compiles anew for every constant one).
STATE = np.dtype(
    [(name, np.float64) for name in ("t", "low", "last_h", "last_ratio", "largest", "blur", "blur_time", "rough")]
    + [(name, np.int64) for name in ("status", "count", "steps", "rejected", "evaluations", "fresh")]
)


class Curves(NamedTuple):
    """The n curves of a network, of one side or two.

    Attributes:
        kind: How a side grows, as in :mod:`.cell_kernels`.
        k: The power of the pole, f = f(0)u^{−k}.
        c: How fast a side's slack falls, or its logarithm grows, (sides, n).
        start: f and log f at the start, (2, sides, n).
    """

    kind: int
    k: float
    c: np.ndarray
    start: np.ndarray


class Sides(NamedTuple):
    """A point on the curves: u, f and log f in ``of`` (3, sides, n), and ψ (n,)."""

    of: np.ndarray
    psi: np.ndarray


class Method(NamedTuple):
    """A :class:`~dlntorch.flow.radau.Tableau` for compiled functions: real and imaginary parts are stacked."""

    nodes: np.ndarray
    inverse: np.ndarray
    lambdas: np.ndarray
    to_modes: np.ndarray
    from_modes: np.ndarray
    embedded: np.ndarray
    points: np.ndarray
    barycentric: np.ndarray
    middle: int


class Rules(NamedTuple):
    """Tolerance, budget and end of an integration; ``stop_norm`` is negative where no residual ends it."""

    rtol: float
    stop_norm: float
    max_evaluations: int


class Found(NamedTuple):
    """The outputs: times (k + 1,), ψ (k + 1, n) and u (k + 1, sides, n); one more than were asked for, for a stop."""

    t: np.ndarray
    psi: np.ndarray
    u: np.ndarray


#: Rows of ``Work.rows`` (m,): y − Aψ, ẋ, M⁻¹ẋ, and scratch.
R, VELOCITY, FORCE, LEFT, RIGHT = range(5)
#: Of ``Work.columns`` (n,): dψ/dν at the point and in the middle of a step, ν̇, the estimate of a step's error in ν, what
#: Newton's iteration may leave of one, what an error of ν counts on the curve's own scale, what it counts for ψ now and
#: later, the part of that which lies ahead, the rates where B was made, ‖A_i‖, the accepted step, and scratch.
D, SLOPE, STRAIGHT, ERROR, LIMIT, NATURAL, WEIGHT, SENSITIVITY, BASE, LENGTH, ACCEPTED, STEP, CHANGED, SIZE, MOVING = (
    range(15)
)
#: Of ``Work.squares`` (m, m): x moves by R times a step of s; R^{−ᵀ}; M = R^{−ᵀ}R⁻¹; K = BᵀDB.
TO_X, ROOT, MASS, K = range(4)
#: Of ``Work.stages`` (s, m): Z; those of the last step or of a longer try; Z without the motion at constant velocity; that
#: motion; scratch.
Z, TRIED, Y, OFFSET, G, T = range(6)
#: Of ``Work.steps`` (s, n): the stages in ν, a correction of them, changes of ψ.
V, DV, CHANGE = range(3)
#: Of ``Work.tall`` (n, m): ν moves by Bx; scratch.
B, WEIGHTED = range(2)


class Work(NamedTuple):
    """Scratch, and what a step hands to the next: arrays stacked by shape (fewer arrays compile in a third of the time).

    Attributes:
        rows: (5, m).
        columns: (15, n).
        squares: (4, m, m).
        stages: (6, s, m).
        steps: (3, s, n).
        tall: (2, n, m).
        factors: Of Newton's systems, real and imaginary parts, (2, modes, m, m).
        modes: Their right sides, (2, modes, m).
        lagrange: Interpolation from the stages, (s, s).
    """

    rows: np.ndarray
    columns: np.ndarray
    squares: np.ndarray
    stages: np.ndarray
    steps: np.ndarray
    tall: np.ndarray
    factors: np.ndarray
    modes: np.ndarray
    lagrange: np.ndarray


class Flow(NamedTuple):
    """One integration: data A (m, n) and y (m,), times (k,), and the records above."""

    A: np.ndarray
    y: np.ndarray
    times: np.ndarray
    method: Method
    curves: Curves
    sides: Sides
    rules: Rules
    found: Found
    work: Work


class Batch(NamedTuple):
    """N integrations: the records above with the network's index first, where networks differ.

    A is (1, m, n) or (N, m, n), y (1, m) or (N, m), times (1, k) or (N, k): the last is taken where there are fewer.
    """

    A: np.ndarray
    y: np.ndarray
    times: np.ndarray
    method: Method
    curves: Curves
    sides: Sides
    found: Found
    work: Work
    rtol: float
    max_evaluations: int
    stop_norms: np.ndarray


def make_method(tableau: Tableau) -> Method:
    """The record of a method."""
    lambdas, to_modes, from_modes = (
        np.stack([np.real(values), np.imag(values)])
        for values in (tableau.eigenvalues, tableau.to_modes, tableau.from_modes)
    )
    return Method(
        tableau.nodes, tableau.inverse, lambdas, to_modes, from_modes, tableau.embedded, tableau.points,
        tableau.barycentric, tableau.middle,
    )  # fmt: skip


def make_work(m: int, n: int, method: Method) -> Work:
    """Scratch for a network of m rows and n coordinates."""
    s, modes = method.nodes.size, method.lambdas.shape[1]
    shapes = (
        (5, m), (15, n), (4, m, m), (6, s, m), (3, s, n), (2, n, m), (2, modes, m, m), (2, modes, m), (s, s),
    )  # fmt: skip
    return Work(*map(np.zeros, shapes))
