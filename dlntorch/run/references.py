"""What a run is compared with: the ℓ1-minimiser, the selected minimiser, the flow and its limit, the rate.

Each of them may be impossible to compute (too large, undecidable in float64); then it is None and says why. Nothing
here ever stops a run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from dlntorch.model import Initialization, Parametrization
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.problem import Problem
from dlntorch.run.forked import forked

if TYPE_CHECKING:
    from dlntorch.limit.flow_limit import FlowLimit
    from dlntorch.reference.l1_minimizer import L1Minimizer
    from dlntorch.reference.rate import Rate
    from dlntorch.reference.selection import SelectedMinimizer

__all__ = ["MAX_DENSE_ENTRIES", "References", "compute_references", "flow_along", "references_of_many"]

#: W_p on a face, the flow and its limit need dense linear algebra: past this many entries of A, and of an operator's
#: matrix, which is made up to there, the ℓ1-minimiser is found with products alone, and the rest only where it is unique.
MAX_DENSE_ENTRIES, MAX_MADE_DENSE = 4_000_000, 1_000_000
#: The matrices made for operators in use: a run's references, flow and effective start share one and its decompositions.
_MADE: WeakKeyDictionary[Problem, Problem] = WeakKeyDictionary()
#: First-order steps for that, two products each.
MAX_STEPS = 2_000

T = TypeVar("T")


@dataclass
class References:
    """The references of a run; ``reasons`` says why a missing one is missing.

    Attributes:
        l1: A vertex of min ‖ψ‖₁ subject to Aψ = y.
        selected: W_p(A, y), which minimiser depth p selects.
        limit: ψ_α(∞), where the flow from α ends.
        rate: Exponent and constant of ‖ψ_α(∞) − W_p‖.
    """

    __repr__ = short_repr

    l1: L1Minimizer | None = None
    selected: SelectedMinimizer | None = None
    limit: FlowLimit | None = None
    rate: Rate | None = None
    reasons: dict[str, str] = field(default_factory=dict)

    def vectors(self, problem: Problem) -> dict[str, Tensor]:
        """The reference vectors (n,) by name, float64 on the CPU: ``l1``, ``selected``, ``limit``, ``truth``."""
        found: dict[str, Tensor] = {}
        if self.l1 is not None:
            found["l1"] = self.l1.psi
        if self.selected is not None:
            found["selected"] = self.selected.psi
        if self.limit is not None:
            found["limit"] = self.limit.psi
        if problem.truth is not None:
            found["truth"] = problem.truth
        return {name: vector.detach().to("cpu", torch.float64) for name, vector in found.items()}


def with_matrix(problem: Problem) -> Problem | None:
    """The problem with its matrix, made where it is small; None where A is too large for what needs one."""
    if problem.m * problem.n > (MAX_DENSE_ENTRIES if problem.dense else MAX_MADE_DENSE):
        return None
    if problem.dense:
        return problem
    if problem not in _MADE:
        _MADE[problem] = problem.to_dense()
    return _MADE[problem]


def needs_matrix(problem: Problem) -> str:
    """Why a problem has no references of those that need a small matrix."""
    if problem.dense:
        return f"A has {problem.m * problem.n} entries, more than the {MAX_DENSE_ENTRIES} that this is computed for"
    return f"A is a {problem.operator!r}: this needs a dense A of at most {MAX_MADE_DENSE} entries"


def compute_references(
    problem: Problem,
    p: float | Parametrization,
    alpha: float | Initialization,
    solver: str = "auto",
    l1: L1Minimizer | None = None,
) -> References:
    """Compute every reference that can be had for a problem, in float64 on the CPU; ``l1`` where it is known already.

    ``solver`` is what finds the ℓ1-minimiser; empty where nothing is wanted.
    """
    references = References()
    names = ("l1", "selected", "limit", "rate")
    if not solver:
        references.reasons = dict.fromkeys(names, "references=false")
        return references
    from dlntorch.limit.central_path_engines import spare_compilation
    from dlntorch.limit.flow_limit import flow_limit
    from dlntorch.reference.l1_minimizer import l1_minimizer
    from dlntorch.reference.l1_operator import minimizer_of_operator
    from dlntorch.reference.rate import predict_rate
    from dlntorch.reference.selection import selected_minimizer

    small = with_matrix(problem)
    exact = (problem if small is None else small).to(None if small is None else "cpu", "float64")
    if small is not None or solver not in ("auto", "matrix_free"):
        find = lambda: l1_minimizer(exact, solver=solver)  # noqa: E731
    else:
        find = lambda: minimizer_of_operator(exact, max_steps=MAX_STEPS)  # noqa: E731
    references.l1 = _attempt(references, "l1", lambda: find() if l1 is None else l1)
    if references.l1 is None:
        references.reasons |= dict.fromkeys(names[1:] if small is None else (), references.reasons["l1"])
        if small is None:
            return references
    references.selected = _attempt(
        references, "selected", lambda: selected_minimizer(exact, p, minimizer=references.l1)
    )
    if small is None:
        references.reasons["limit"] = needs_matrix(problem)
    else:
        with spare_compilation():
            references.limit = _attempt(references, "limit", lambda: flow_limit(exact, p, alpha))
    references.rate = _attempt(references, "rate", lambda: predict_rate(exact, p, selected=references.selected))
    return references


def references_of_many(cases: Sequence[tuple[Problem, Any, Any]], solver: str = "auto") -> list[References]:
    """The references of many networks (problem, p, α), each computed once; problems are spread over the cores.

    The linear programme is solved once for each problem; W_p and the rate once for each p on it; and all α of one p
    share one sweep of the limit, which therefore may differ from a limit computed alone by its rounding.
    """
    groups: dict[int, list[int]] = {}
    for i, (problem, _, _) in enumerate(cases):
        groups.setdefault(id(problem), []).append(i)
    numbers_of = list(groups.values())
    on_cpu = bool(solver) and all(problem.device.type == "cpu" for problem, _, _ in cases)
    shared = forked(
        lambda k: _references_on_one(cases[numbers_of[k][0]][0], [cases[i][1:] for i in numbers_of[k]], solver),
        len(numbers_of),
        None if on_cpu else 1,
    )
    found: dict[int, References] = {}
    for numbers, one in zip(numbers_of, shared, strict=True):
        found |= dict(zip(numbers, one, strict=True))
    return [found[i] for i in range(len(cases))]


def _references_on_one(problem: Problem, cases: Sequence[tuple[Any, Any]], solver: str) -> list[References]:
    """:func:`references_of_many` for networks (p, α) on one problem."""
    found: list[References] = [References() for _ in cases]
    l1: L1Minimizer | None = None
    if not all(isinstance(p, float) and isinstance(alpha, float) for p, alpha in cases):
        for i, (p, alpha) in enumerate(cases):  # starts of several numbers share no sweep
            found[i] = compute_references(problem, p, alpha, solver, l1)
            l1 = found[i].l1
        return found
    for p in dict.fromkeys(p for p, _ in cases):
        members = [i for i, case in enumerate(cases) if case[0] == p]
        first = compute_references(problem, p, cases[members[0]][1], solver, l1)
        l1 = first.l1
        for i in members:
            found[i] = replace(first, reasons=dict(first.reasons))
        alphas = sorted({cases[i][1] for i in members})
        if len(alphas) > 1 and with_matrix(problem) is not None and _limit_was_tried(first):
            _share_sweep(problem, p, alphas, [(found[i], cases[i][1]) for i in members])
    return found


def _limit_was_tried(references: References) -> bool:
    """Whether there is a limit, or one α has none for a reason of its own, which another may not have."""
    parts = (references.limit, references.l1, references.selected, references.rate)
    return any(part is not None for part in parts)


def _share_sweep(problem: Problem, p: float, alphas: list[float], members: list[tuple[References, float]]) -> None:
    """Give every member the limit of its α from one sweep."""
    from dlntorch.limit.flow_limit import flow_limit

    exact = problem.to("cpu", "float64").to_dense()
    try:
        sweep = flow_limit(exact, p, alphas)
    except (ArithmeticError, RuntimeError, ValueError, MemoryError):
        sweep = None
    for references, alpha in members:
        references.reasons.pop("limit", None)
        if sweep is None:
            alone = lambda a=alpha: flow_limit(exact, p, a)  # noqa: E731
            references.limit = _attempt(references, "limit", alone)
            continue
        at = alphas.index(alpha)
        tensors = ("psi", "tau", "gap", "residual", "dual_residual", "uncertainty")
        one = replace(
            sweep,
            **{name: getattr(sweep, name)[at].clone() for name in tensors},  # a view would carry the whole sweep along
            status=sweep.status[at],
            reason=sweep.reason[at],
        )
        references.limit = _attempt(references, "limit", lambda one=one: one)


def _attempt(references: References, name: str, compute: Callable[[], T]) -> T | None:
    """The computed reference, or None with its reason noted when its status says that it failed."""
    try:
        result: Any = compute()
    except (ArithmeticError, RuntimeError, ValueError, MemoryError) as error:  # a library gave up: the run goes on
        references.reasons[name] = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return None
    if getattr(result, "status", Status.CONVERGED) in (Status.FAILED, Status.MAX_STEPS):
        references.reasons[name] = result.reason or "the computation failed"
        return None
    if getattr(result, "reason", ""):
        references.reasons[name] = result.reason
    return result


def flow_along(
    problem: Problem, p: float | Parametrization, alpha: float | Initialization, times: np.ndarray
) -> tuple[Tensor | None, str]:
    """ψ of the flow at the recorded times of a run, shape (k, n), or None and the reason.

    Args:
        problem: The problem, in float64 on the CPU.
        p: Depth.
        alpha: Initialization.
        times: Increasing times, of which the first may be 0.
    """
    small = with_matrix(problem)
    if small is None:
        return None, needs_matrix(problem)
    from dlntorch.flow.integrate import integrate_flow

    try:
        path = integrate_flow(small, p, alpha, times)
    except (ArithmeticError, RuntimeError, ValueError) as error:
        return None, f"{type(error).__name__}: {' '.join(str(error).split())}"
    if len(path) == len(times):
        return path.psi, ""
    return None, path.reason or path.status.message
