"""Basis pursuit, min ‖x‖₁ subject to Ax = y, by the flow's own limit path and a crossover to an exact vertex.

Source: the limits of the flow are a generalised central path of this linear programme (Wind, Antun and Hansen,
arXiv 2307.07410, sections 2 and 3). No other solver is called. With an operator: first-order steps and conjugate gradients
(:mod:`dlntorch.reference.matrix_free`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.numerics.threads import with_few_threads
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.numerics.validation import (
    InputError,
    as_real_array,
    check_count,
    check_device,
    check_dtype,
    check_number,
    check_real,
    check_unmasked,
)
from dlntorch.problem.operators.convert import is_operator
from dlntorch.problem.problem import norm
from dlntorch.reference.basis_pursuit_batched import Start, starts
from dlntorch.reference.basis_pursuit_noise import follow_with_noise
from dlntorch.reference.basis_pursuit_path import PathProblem, follow
from dlntorch.reference.nonnegative import INFEASIBLE, infeasible_reason, nonnegative_least_squares
from dlntorch.reference.scaling import ScaledAnswer, ScaledProblem
from dlntorch.reference.weights import Weights

if TYPE_CHECKING:
    from dlntorch.reference.matrix_free import SolveProgress

__all__ = ["BasisPursuitResult", "basis_pursuit"]

# Problems, and n m² of each, for which one path for all is the faster one on the CPU: twice at 256 of 10×30; at 50×200 it
# takes longer, as all wait for the last.
_SEVERAL, _TINY = 16, 1e4
MAX_NEWTON = 100  # matrices
_RESIDUAL = 1e-10  # relative residual, and relative error of x where tol is smaller, of a converged answer
_ROUNDING = 1e-12  # uncertainty of the gap that is not held against a smaller tol


@dataclass(frozen=True)
class BasisPursuitResult:
    """A vertex of min ‖x‖₁ s.t. Ax = y, and what proves it optimal. A leading axis B for a batch.

    Attributes:
        x: The minimiser, shape (n,) or (B, n); a vertex of the set of minimisers where there are several.
        value: ‖x‖₁, float64, shape () or (B,).
        dual: λ with |Aᵀλ| <= 1, shape (m,) or (B, m): yᵀλ is a lower bound of the optimal value.
        gap: Relative duality gap (‖x‖₁ − yᵀλ)/‖x‖₁, float64; 0 where x = 0. Rounding may make it negative, by no more
            than the bound of its error where the status is ``converged``.
        primal_residual: ‖Ax − y‖₂/‖y‖₂ (0 where y = 0), float64.
        dual_infeasibility: max(0, max|Aᵀλ| − 1), float64.
        support: Boolean mask of the nonzero entries of x, shape (n,) or (B, n).
        is_vertex: Whether the columns of A on the support are independent: a bool, or a boolean tensor (B,).
        status: ``converged`` when gap, its error and the residual meet the tolerances; ``below_input_precision`` where
            rounding of A, x and λ leaves open whether they do; or else what happened; a tuple for a batch.
        reason: One line on why, where the status alone does not tell; a tuple for a batch.
        iterations: Newton matrices formed, or first-order steps with an operator: an int, or an integer tensor (B,).
    """

    x: Tensor
    value: Tensor
    dual: Tensor
    gap: Tensor
    primal_residual: Tensor
    dual_infeasibility: Tensor
    support: Tensor
    is_vertex: bool | Tensor
    status: Status | tuple[Status, ...]
    reason: str | tuple[str, ...]
    iterations: int | Tensor

    __repr__ = short_repr

    @property
    def psi(self) -> Tensor:
        """The same as ``x``: the network's name for it."""
        return self.x


@with_few_threads
def basis_pursuit(
    A: Any,
    y: Any,
    weights: Any = None,
    nonnegative: bool = False,
    noise: float = 0.0,
    *,
    tol: float = 1e-9,
    max_iterations: int | None = None,
    progress: Callable[[SolveProgress], Any] | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
) -> BasisPursuitResult:
    """Solve min ‖x‖₁ subject to Ax = y, with a certificate: a feasible x, a λ with |Aᵀλ| <= 1, and their gap.

    With weights the norm is Σ w₊x⁺ + w₋x⁻, and −w₋ <= Aᵀλ <= w₊.

    Args:
        A: Matrix (m, n) or batch of matrices (B, m, n): tensor or array-like, real and finite, any rank. Or an operator,
            as :class:`~dlntorch.Problem` takes it (sparse, a transform, an object with ``matvec`` and ``rmatvec``), of
            which only products are used, in memory for a few vectors, on its own device.
        y: Right-hand side (m,), or (B, m): one for each matrix, or several for one matrix.
        weights: w > 0, shape (n,), or a pair (w₊, w₋) of them, for positive and for negative entries; None for ones.
        nonnegative: Whether x >= 0. Where no such x has Ax = y the status is ``failed``, and x is where nonnegative
            least squares lies.
        noise: ε >= 0: subject to ‖Ax − y‖₂ <= ε. The bound that λ proves is then yᵀλ − ε‖λ‖₂, and so is the gap.
        tol: Largest relative duality gap, and largest bound of its error (or 1e-12), that count as converged, > 0. The
            crossover usually ends at 1e-14.
        max_iterations: Bound on the Newton matrices of each problem, 100 by default; at most 100 + 2m simplex pivots follow
            the last. With an operator, on the first-order steps of two products each, 20,000 by default; the products of
            the conjugate gradients that finish are no more than that again, and a few hundred. Where it is reached the
            status is ``max_steps``, and the gap is that of the best pair.
        progress: With an operator: called every ten steps with a :class:`~dlntorch.reference.matrix_free.SolveProgress`. Where
            it returns True, or on Ctrl-C, the solve ends as ``interrupted``, with what it had reached.
        device: Where the result lives; None: where ``A`` is. A batch on CUDA follows the path there, all problems at
            once, and so does one of many tiny problems on the CPU; the rest, and each crossover to a vertex, is done one
            by one on the CPU. Always in float64.
        dtype: Of ``x`` and ``dual``: float64 (default) or float32. The scalars stay float64 and describe the answer
            before it is rounded to float32. float32 input is taken as accurate to float32's precision when the rank
            of A and the consistency of y are decided.

    Returns:
        A :class:`BasisPursuitResult`. Where y is not in the range of A, its status is ``failed``, the reason says so,
        and x is the answer for the orthogonal projection of y on the range, the least squares of the rows as given. No
        derivatives flow through the result.

    Raises:
        InputError: A or y is empty, not finite, complex or of the wrong shape; weights not > 0 or of the wrong length;
            noise, tol or max_iterations out of range.

    Example:
        >>> basis_pursuit([[1.0, 2.0, 2.0]], [4.0]).x.tolist() in ([0.0, 2.0, 0.0], [0.0, 0.0, 2.0])
        True
        >>> basis_pursuit([[1.0, 2.0, 2.0]], [4.0], weights=[1.0, 3.0, 4.0]).x.tolist()
        [4.0, 0.0, 0.0]
    """
    tol, noise = check_number("tol", tol, above=0), check_number("noise", noise, at_least=0)
    given_steps = None if max_iterations is None else check_count("max_iterations", max_iterations)
    kind = check_dtype(dtype)
    if is_operator(A):
        options = {"tol": tol, "max_steps": given_steps, "progress": progress}
        from dlntorch.reference.basis_pursuit_operator import with_operator

        return with_operator(A, y, (weights, nonnegative, noise), options, kind, device)
    if progress is not None:
        raise InputError("progress must be left out where A is a matrix, got one")
    max_iterations = given_steps or MAX_NEWTON
    place = A.device if device is None and isinstance(A, Tensor) else check_device(device)
    matrices, eps_A = as_array("A", A, (2, 3), "(m, n) or (B, m, n)")
    sides, eps_y = as_array("y", y, (1, 2), "(m,) or (B, m)")
    _check_shapes(matrices, sides)
    eps = max(eps_A, eps_y)
    shared = matrices.ndim == 2
    rows = np.atleast_2d(sides)
    weighting = Weights.of(weights, matrices.shape[-1], nonnegative)
    if noise > 0:
        given = [matrices] * len(rows) if shared else list(matrices)
        answers = [_noisy(*each, noise, weighting, tol, max_iterations) for each in zip(given, rows, strict=True)]
        return _collect(answers, sides.ndim == 1, kind, place)
    first = ScaledProblem(matrices, eps, weighting) if shared else None
    scaled = [first or ScaledProblem(matrices[i], eps, weighting) for i in range(len(rows))]
    begun: list[Start | None] = [None] * len(rows)
    work = matrices.shape[-1] * matrices.shape[-2] ** 2
    if weighting.plain and isinstance(A, Tensor) and A.device.type != "cpu" and len(rows) > 1:
        begun = _begin_together(scaled, rows, max_iterations, A.device)
    elif weighting.plain and len(rows) >= _SEVERAL and work <= _TINY:
        begun = _begin_together(scaled, rows, max_iterations, torch.device("cpu"))
    answers = [
        _solve(one, side, tol, max_iterations, start) for one, side, start in zip(scaled, rows, begun, strict=True)
    ]
    if nonnegative:
        given = [matrices] * len(rows) if shared else list(matrices)
        answers = [_admitted(*each) for each in zip(answers, scaled, given, rows, strict=True)]
    return _collect(answers, sides.ndim == 1, kind, place)


def _begin_together(
    scaled: list[ScaledProblem], sides: np.ndarray, max_iterations: int, device: torch.device
) -> list[Start | None]:
    """The path of all problems of one rank at once, on ``device``; None for those that have to begin by themselves."""
    found: list[Start | None] = [None] * len(scaled)
    groups: dict[tuple[int, ...], list[int]] = {}
    right = [one.right_hand_side(side) for one, side in zip(scaled, sides, strict=True)]
    for i, (one, b) in enumerate(zip(scaled, right, strict=True)):
        if np.any(b):
            groups.setdefault(one.reduced.shape, []).append(i)
    for group in groups.values():
        shared = all(scaled[i] is scaled[group[0]] for i in group)
        matrices = scaled[group[0]].reduced[None] if shared else np.stack([scaled[i].reduced for i in group])
        A = torch.from_numpy(matrices).to(device).expand(len(group), -1, -1)
        y = torch.from_numpy(np.stack([right[i] for i in group])).to(device)
        for i, start in zip(group, starts(A, y, max_iterations), strict=True):
            found[i] = start
    return found


def _solve(
    scaled: ScaledProblem, y: np.ndarray, tol: float, max_iterations: int, start: Start | None = None
) -> ScaledAnswer:
    """One right-hand side."""
    b = scaled.right_hand_side(y)
    if not np.any(b):
        return scaled.zero_answer()
    if scaled.path is None:
        scaled.path = PathProblem(scaled.reduced)
    outcome = follow(scaled.path, b, tol, max_iterations, start, scaled.weights.costs)
    answer = scaled.restore(outcome.vertex.x, outcome.vertex.dual)
    answer.iterations = outcome.iterations
    if answer.status is not Status.CONVERGED:
        return answer
    feasible = answer.fit <= _RESIDUAL
    proven = -answer.bound <= answer.gap <= tol and answer.bound <= max(tol, _ROUNDING)
    if feasible and proven and answer.error <= max(tol, _RESIDUAL):
        answer.reason = scaled.rounded
        return answer
    exhausted = outcome.iterations >= max_iterations
    # What float64 leaves open: the gap is at the rounding of Aᵀλ, whose λ is large where A is ill-conditioned.
    # So is the residual of any x, where x is large beside y.
    level = max(_ROUNDING, 100 * answer.rounding, answer.bound, tol)
    rounding = answer.fit <= max(_RESIDUAL, 4 * answer.floor) and abs(answer.gap) <= level
    answer.status = Status.BELOW_INPUT_PRECISION if rounding else Status.MAX_STEPS if exhausted else Status.FAILED
    answer.reason = (
        f"relative gap {answer.gap:.1e} known to {answer.bound:.1e} (tol {tol:.1e}; rounding in Aᵀλ "
        f"{answer.rounding:.1e}), relative residual {answer.fit:.1e}, relative error of x about {answer.error:.1e}, "
        f"after {outcome.iterations} iterations"
    )
    return answer


def _noisy(
    A: np.ndarray, y: np.ndarray, noise: float, weights: Weights, tol: float, max_iterations: int
) -> ScaledAnswer:
    """One right-hand side with noise."""
    m, n = A.shape
    size = float(norm(torch.from_numpy(y)))
    if size <= noise or not np.any(A):
        answer = ScaledAnswer(np.zeros(n), np.zeros(m), primal_residual=1.0 if size else 0.0)
        if size > noise:
            answer.status, answer.reason = Status.FAILED, _out_of_reach(1.0, noise / size, weights)
        return answer
    outcome = follow_with_noise(A, y, noise, weights, tol, max_iterations)
    answer = ScaledAnswer(
        outcome.x,
        outcome.dual,
        outcome.value,
        outcome.gap,
        outcome.residual,
        is_vertex=outcome.is_vertex,
        bound=outcome.bound,
        iterations=outcome.iterations,
    )
    proven = -outcome.bound <= outcome.gap <= tol and outcome.bound <= max(tol, _ROUNDING)
    if proven and outcome.residual <= noise / size + _RESIDUAL:
        return answer
    best = _least_distance(A, y, weights)
    exhausted = outcome.iterations >= max_iterations
    answer.status = Status.MAX_STEPS if exhausted else Status.FAILED
    answer.reason = (
        f"relative gap {outcome.gap:.1e} known to {outcome.bound:.1e} (tol {tol:.1e}), "
        f"relative residual {outcome.residual:.6g}"
    )
    if best > noise / size + _RESIDUAL:
        answer.status, answer.reason = Status.FAILED, _out_of_reach(best, noise / size, weights)
    return answer


def _least_distance(A: np.ndarray, y: np.ndarray, weights: Weights) -> float:
    """The least ‖Ax − y‖/‖y‖ of any x, or of any x >= 0."""
    if weights.costs.one_sided:
        return nonnegative_least_squares(A, y)[1]
    return float(np.linalg.norm(y - A @ np.linalg.lstsq(A, y, rcond=None)[0]) / np.linalg.norm(y))


def _out_of_reach(best: float, noise: float, weights: Weights) -> str:
    what = "x >= 0" if weights.costs.one_sided else "x"
    return f"no {what} has ‖Ax − y‖ <= noise: the least is {best:.6g} ‖y‖, and noise is {noise:.6g} ‖y‖"


def _admitted(answer: ScaledAnswer, scaled: ScaledProblem, A: np.ndarray, y: np.ndarray) -> ScaledAnswer:
    """The answer with x >= 0, or nonnegative least squares where they show that there is none."""
    if answer.status is Status.CONVERGED or not np.any(y):
        return answer
    x, residual = nonnegative_least_squares(A, y)
    if residual <= INFEASIBLE:
        return answer
    return ScaledAnswer(
        x,
        np.zeros(y.size),
        value=float(x.sum()),
        gap=1.0,
        primal_residual=residual,
        is_vertex=scaled.independent(x[scaled.columns]),
        status=Status.FAILED,
        reason=infeasible_reason(residual),
        iterations=answer.iterations,
    )


def as_array(name: str, value: Any, dims: tuple[int, ...], shapes: str) -> tuple[np.ndarray, float]:
    """A finite float64 array with an admitted number of dimensions, and the precision it came in."""
    check_unmasked(name, value)
    check_real(name, value)
    if isinstance(value, Tensor):
        if value.layout != torch.strided:
            raise InputError(f"{name} must be a dense real tensor, got {value.dtype} with layout {value.layout}")
        coarse = value.dtype in (torch.float32, torch.float16, torch.bfloat16)
        array = value.detach().to(device="cpu", dtype=torch.float64).numpy()
    else:
        raw = as_real_array(name, value)
        coarse = raw.dtype in (np.float32, np.float16)
        array = raw.astype(np.float64)
    if array.ndim not in dims:
        raise InputError(f"{name} must have shape {shapes}, got shape {array.shape}")
    if array.size == 0:
        raise InputError(f"{name} must not be empty, got shape {array.shape}")
    bad = np.argwhere(~np.isfinite(array))
    if bad.size:
        where = ", ".join(str(int(i)) for i in bad[0])
        raise InputError(f"{name} must be finite, got {array[tuple(bad[0])]} at [{where}]")
    return array, float(np.finfo(np.float32 if coarse else np.float64).eps)


def _check_shapes(A: np.ndarray, y: np.ndarray) -> None:
    """A and y must agree in m, and in B where both are batches."""
    if A.ndim == 3 and y.ndim == 1:
        raise InputError(f"y must have shape (B, m) for a batch of matrices {A.shape}, got shape {y.shape}")
    if y.shape[-1] != A.shape[-2]:
        raise InputError(f"y must have one entry for each of the {A.shape[-2]} rows of A, got shape {y.shape}")
    if A.ndim == 3 and A.shape[0] != y.shape[0]:
        raise InputError(f"y must have one row for each of the {A.shape[0]} matrices of A, got shape {y.shape}")


def _collect(answers: list[ScaledAnswer], single: bool, kind: torch.dtype, place: torch.device) -> BasisPursuitResult:
    """Tensors of the answers, without the batch axis for a single one."""

    def tensor(values: list[Any], dtype: torch.dtype) -> Tensor:
        stacked = torch.from_numpy(np.array(values)).to(device=place, dtype=dtype)
        return stacked[0] if single else stacked

    x = tensor([a.x for a in answers], torch.float64)
    vertices = [a.is_vertex for a in answers]
    iterations = [a.iterations for a in answers]
    return BasisPursuitResult(
        x=x.to(kind),
        value=tensor([a.value for a in answers], torch.float64),
        dual=tensor([a.dual for a in answers], kind),
        gap=tensor([a.gap for a in answers], torch.float64),
        primal_residual=tensor([a.primal_residual for a in answers], torch.float64),
        dual_infeasibility=tensor([a.dual_infeasibility for a in answers], torch.float64),
        support=x != 0,
        is_vertex=vertices[0] if single else tensor(vertices, torch.bool),
        status=answers[0].status if single else tuple(a.status for a in answers),
        reason=answers[0].reason if single else tuple(a.reason for a in answers),
        iterations=iterations[0] if single else tensor(iterations, torch.int64),
    )
