"""From an accuracy to a run: p, α, κ, tolerance and horizon such that ‖ψ − W_p‖ <= accuracy, at the fewest steps."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from dlntorch.engine import Stopping
from dlntorch.model.depth_law import depth_law
from dlntorch.numerics.threads import with_few_threads
from dlntorch.numerics.trajectory import Status, short_repr
from dlntorch.numerics.validation import InputError, check_alpha, check_depth, check_number
from dlntorch.problem import Problem
from dlntorch.reference.l1_minimizer import l1_minimizer
from dlntorch.reference.saddles import SaddlePath, saddle_path
from dlntorch.reference.selection import selected_minimizer
from dlntorch.run.accuracy_parts import Course, End, limit_errors
from dlntorch.run.open_numbers import new_descent
from dlntorch.run.reachable import Refusals, first_reachable
from dlntorch.run.settings import RunSettings
from dlntorch.run.summary import PARTS_OF_ERROR

__all__ = ["RunPlan", "plan"]

#: Depths that are tried where none is given.
DEPTHS = (2.0, 2.5, 3.0, 4.0)
#: Decades of α^p below the largest one that will do: a smaller α makes plateaus longer, and tails shorter.
DECADES = (0.0, 0.25, 0.75, 1.5, 2.5, 4.0, 6.0, 9.0, 13.0, 18.0, 26.0)
#: So many of them in a row may be worse than the best before the next depth is tried.
WORSE = 4
#: Relative steps that are tried, largest first.
KAPPAS = tuple(float(k) for k in (0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 5e-3, 2e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5))
#: Parts of the accuracy: what a plan aims at in all; what α may take of it; what the limit with κ may.
AIM, ALPHA_SHARE, LIMIT_SHARE = 0.92, 0.8, 0.8
#: So many step sizes, each half the one before, are tried of the cheapest α.
TRIES = 8
#: A run of more steps is not planned.
MOST_STEPS = 1e10
#: ‖ψ‖ times this is what float64 decides of ψ.
FLOOR = 1e-13
#: Steps, seconds and repeats of the pilots that show what a step costs: short ones, which other programs seldom interrupt.
PILOT, PILOT_SECONDS, REPEATS = 500, 0.008, 7


@dataclass(frozen=True)
class RunPlan:
    """A run that ends within an accuracy of W_p, or the reason why there is none.

    Attributes:
        accuracy: What was asked: ‖ψ − W_p‖₂ at the end.
        p, alpha, kappa: Depth, initialization and the relative rule's largest change of a parameter; None without a plan.
        tol: Relative residual to stop at.
        max_time: Horizon in t = Σ η.
        time: Predicted t at the end.
        steps: Predicted SGD steps.
        seconds: Predicted wall-clock time of the training, from a few steps of the compiled loop on this machine.
        budget: ``discretization``, ``finite_time`` and ``initialization``, the three predicted parts, and ``error``, what
            they come to: parts may cancel.
        status: ``converged`` where there is a plan; ``max_steps`` where it would take more than 1e10 steps,
            ``below_input_precision`` where float64 does not decide so many digits, ``failed`` otherwise.
        reason: Why these numbers, or which part of the accuracy cannot be had.
        reachable: An accuracy that has a plan, where this one has none and one was found; else None.
    """

    accuracy: float
    p: float | None
    alpha: float | None
    kappa: float | None
    tol: float | None
    max_time: float | None
    time: float | None
    steps: float | None
    seconds: float | None
    budget: dict[str, float]
    status: Status
    reason: str
    reachable: float | None = None

    __repr__ = short_repr


@with_few_threads
def plan(problem: Problem, accuracy: Any, p: Any = None, *, alpha: Any = None, kappa: Any = None) -> RunPlan:
    """Choose p, α, κ, the residual tolerance and the horizon of a full-batch run that ends within ``accuracy`` of W_p.

    Nothing is trained but a few thousand steps that are timed. For each depth the largest α are found whose limits
    are near enough W_p; the flow is followed once for each; the step size κ is the largest whose effective initialization (see
    :mod:`dlntorch.run.accuracy_parts`) still has its limit near W_p; the run ends where the flow from there comes, and
    stays, within the accuracy; the steps are ∫ dt/η. The cheapest is taken.

    Args:
        problem: The data, dense. Where rank(A) < m the equivalent full-rank pair is planned for.
        accuracy: ‖ψ − W_p‖₂ at the end, > 0.
        p: Depth >= 2; None lets the plan choose among 2, 2.5, 3 and 4 (their W_p differ where minimisers are not unique).
        alpha: The initialization, where it is given and not to be chosen.
        kappa: Likewise the largest relative change of a parameter in a step, in (0, 0.3].

    Returns:
        The plan, for ``train(problem, plan.p, plan.alpha, kappa=plan.kappa, tol=plan.tol, max_time=plan.max_time)``.

    Raises:
        InputError: naming the argument.

    Example:
        >>> made = plan(Problem([[1.0, 0.5]], [1.0]), 1e-3, p=2)
        >>> made.p, made.kappa, made.budget["error"] <= 1e-3
        (2.0, 0.3, True)
    """
    wanted = check_number("accuracy", accuracy, above=0)
    depths = DEPTHS if p is None else (check_depth(p),)
    given = None if alpha is None else check_alpha(alpha)
    kappas = KAPPAS if kappa is None else (check_number("kappa", kappa, above=0, at_most=0.3),)
    exact = problem.to("cpu", "float64").reduced()
    if not bool(torch.any(exact.y != 0)) or exact.m == 0:
        raise InputError(
            "accuracy needs data to be planned for: the part of y in range(A) is 0, and so is ψ at every t"
        )
    vertex = l1_minimizer(exact)

    def search(accuracy: float) -> _Search:
        """The cheapest run of all depths."""
        found = _Search(exact, accuracy, given, kappas)
        for depth in depths:
            if vertex.status is not Status.FAILED:
                found.depth(depth, selected_minimizer(exact, depth, minimizer=vertex))
            else:
                found.refuse(Status.FAILED, vertex.reason)
        return found

    def refused(accuracy: float) -> Refusals | None:
        found = search(accuracy)
        return found.refusals if found.best is None else None

    made = search(wanted).answer(problem, "takes the fewest steps of the depths tried" if p is None else "is given")
    return made if made.p is not None else replace(made, reachable=first_reachable(made.reachable, refused))


@dataclass
class _Search:
    problem: Problem
    accuracy: float
    alpha: float | None
    kappas: tuple[float, ...] = KAPPAS
    best: tuple[Course, End] | None = None
    refusals: Refusals = field(default_factory=Refusals)

    def refuse(self, status: Status, reason: str, reachable: float | None = None) -> None:
        self.refusals.add(status, reason, reachable)

    def depth(self, p: float, chosen: Any) -> None:
        """The cheapest run of depth p."""
        if chosen.status is not Status.CONVERGED:
            self.refuse(chosen.status, f"W_p at p = {p:g}: {chosen.reason}")
            return
        selected = chosen.psi
        floor = FLOOR * float(torch.linalg.vector_norm(selected))
        if self.accuracy < floor:
            self.refuse(Status.BELOW_INPUT_PRECISION, f"float64 holds ψ to about {floor:.1g}", 10 * floor)
            return
        path = saddle_path(self.problem, p)
        last = float(path.times[-1]) if len(path) > 1 else 0.0
        cheapest, worse = None, 0
        for alpha in self._alphas(p, selected):
            best = math.inf if cheapest is None else cheapest[0]
            known = min(best, math.inf if self.best is None else self.best[1].most_steps)
            if worse == WORSE or 0.5 * _steps_on_plateaus(path, p, alpha) > known:
                break
            course = Course(self.problem, p, alpha, selected, self.accuracy, last)
            if course.reason:
                self.refuse(Status.FAILED, f"the flow at p = {p:g}, alpha = {alpha:.2g}: {course.reason}")
                continue
            found = self._kappa(course)
            if found is not None and found[0] < best:
                cheapest, worse = (*found, course), 0
            else:
                worse += found is not None
        if cheapest is not None and (self.best is None or cheapest[0] < 2 * self.best[1].most_steps):
            rough, kappa, course = cheapest
            for _ in range(TRIES):
                if self._finish(course, kappa) <= 1.3 * rough:
                    break
                # so large steps have a tail of their own, or are too near to another minimiser
                kappa = next((k for k in self.kappas if k <= 0.5 * kappa), None)
                if kappa is None:
                    break

    def _alphas(self, p: float, selected: torch.Tensor) -> list[float]:
        """The largest α whose limits are within parts of the accuracy of W_p, also at all smaller ones."""
        if self.alpha is not None:
            off = float(limit_errors(self.problem, p, np.array([self.alpha]), selected)[0])
            if off <= LIMIT_SHARE * self.accuracy:
                return [self.alpha]
            why = f"initialization: the limit at p = {p:g}, alpha = {self.alpha:g} is {off:.2g} from W_p"
            self.refuse(Status.FAILED, why, off / LIMIT_SHARE)
            return []
        size = float(selected.abs().max())
        lowest, count = (1e-120, 121) if depth_law(p).error_exponent is None else (1e-24, 49)
        grid = (size * np.geomspace(1.0, lowest, count)) ** (1 / p)
        errors = limit_errors(self.problem, p, grid, selected)
        worst = np.maximum.accumulate(errors[::-1])[::-1]  # over all smaller α
        below = np.flatnonzero(worst <= ALPHA_SHARE * self.accuracy)
        if below.size:
            top, share = float(grid[below[0]]), ALPHA_SHARE * self.accuracy
            if below[0] > 0 and worst[below[0]] > 0 and math.isfinite(worst[below[0] - 1]):
                before = float(grid[below[0] - 1])
                part = math.log(share / worst[below[0]]) / math.log(worst[below[0] - 1] / worst[below[0]])
                top *= (before / top) ** (0.95 * part)
            return [alpha for d in DECADES if (alpha := top * 10 ** (-d / p)) >= grid[-1]]
        least = float(worst.min())
        why = f"initialization: no α^p down to {lowest * size:.0e} has its limit nearer than {least:.2g} to W_p at p = {p:g}"
        self.refuse(Status.BELOW_INPUT_PRECISION, why, least / ALPHA_SHARE if math.isfinite(least) else None)
        return []

    def _kappa(self, course: Course) -> tuple[float, float] | None:
        """(rough steps, κ): the cheapest of the three largest κ whose limits are near W."""
        candidates = []
        for kappa in self.kappas:
            if course.limit_error(kappa) > LIMIT_SHARE * self.accuracy:
                continue
            candidates.append((course.rough(kappa, AIM * self.accuracy), kappa))
            if len(candidates) == 3:
                break
        if candidates:
            return min(candidates)
        least = course.limit_error(self.kappas[-1])
        why = f"discretization: even κ = {self.kappas[-1]:g} moves the end {least:.2g} from W_p at {_place(course)}"
        self.refuse(Status.FAILED, why, least / LIMIT_SHARE if math.isfinite(least) else None)
        return None

    def _finish(self, course: Course, kappa: float) -> float:
        """The steps of a course and κ, which is kept where it is the cheapest yet."""
        end = course.end(kappa, AIM * self.accuracy)
        if isinstance(end, str):
            self.refuse(Status.FAILED, f"finite time at {_place(course)}: {end}")
            return math.inf
        if end.steps > MOST_STEPS:
            why = (
                f"finite time: at {_place(course)} the flow needs t = {end.time:.1e}, which takes {end.steps:.1e} steps"
            )
            self.refuse(Status.MAX_STEPS, why, course.within(kappa, MOST_STEPS) / AIM)
        elif self.best is None or end.most_steps < self.best[1].most_steps:
            self.best = course, end
        return end.most_steps

    def answer(self, problem: Problem, why: str) -> RunPlan:
        if self.best is None:
            status, reason, reachable = self.refusals.mildest
            return RunPlan(self.accuracy, None, None, None, None, None, None, None, None, {}, status, reason, reachable)
        course, end = self.best
        budget = {
            "discretization": end.discretization,
            "finite_time": end.finite_time,
            "initialization": course.initialization,
            "error": end.error,
        }
        dominant = max(PARTS_OF_ERROR, key=lambda name: budget[name])
        reason = f"p = {course.p:g} {why}; {dominant.replace('_', ' ')} dominates"
        return RunPlan(
            accuracy=self.accuracy,
            p=course.p,
            alpha=course.alpha,
            kappa=end.kappa,
            tol=min(end.residual, 1.0),
            max_time=end.latest,
            time=end.time,
            steps=end.steps,
            seconds=_seconds(problem, course.p, course.alpha, end.kappa, end.steps),
            budget=budget,
            status=Status.CONVERGED,
            reason=reason,
        )


def _place(course: Course) -> str:
    return f"p = {course.p:g}, alpha = {course.alpha:.2g}"


def _steps_on_plateaus(path: SaddlePath, p: float, alpha: float) -> float:
    """The steps that the flow's plateaus take where η = 1/Λ, until the last jump: most of what comes before the tail."""
    if len(path) < 3 or not path.walls.law.runs(alpha):
        return 0.0
    top = path.psi.abs().amax(dim=1)[1:-1] ** (2 - 2 / p)
    return float((path.times.diff() * top).sum()) * (p * path.problem.spectral_norm) ** 2 / path.rate(alpha)


def _seconds(problem: Problem, p: float, alpha: float, kappa: float, steps: float) -> float:
    """Time of so many steps, from pilots of the same run: what it costs to begin, and what a step costs.

    The clock is this thread's, which other programs do not move: the wall clock is no faster.
    """
    settings = RunSettings.checked(problem, p, alpha, kappa=kappa, tol=0)

    def seconds(count: int) -> float:
        stopping = Stopping(tol=0.0, max_steps=count)
        best = math.inf
        for _ in range(REPEATS):
            descent = new_descent(problem, replace(settings, stopping=stopping))
            began = time.thread_time()
            while descent.advance() is None:
                pass
            best = min(best, time.thread_time() - began)
        return best

    seconds(16)  # this compiles
    few, begin = PILOT, seconds(PILOT)
    many = min(int(np.clip(few * PILOT_SECONDS / begin, 2 * few, 100 * few)), max(2 * few, math.ceil(steps)))
    end = seconds(many)
    per_step = max(end - begin, 0.1 * end) / (many - few)
    return max(begin - few * per_step, 0.0) + per_step * steps
