"""What a finished run should tell its owner: where the error comes from, what would help, which failure it shows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.model.metrics import distance
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError
from dlntorch.problem import Problem
from dlntorch.run.references import References
from dlntorch.run.settings import RunSettings
from dlntorch.run.summary import PARTS_OF_ERROR

__all__ = ["advice", "signatures", "time_to_come_within"]

#: A singular-value ratio, or 1 − ϱ, beyond which a problem is called ill-conditioned.
ILL_CONDITIONED = 1e6
#: How far beyond the end of a run the flow is followed to see when it comes near its limit.
DECADES = 16
#: A difference of two distances, relative to the vectors they are between, that is not rounding.
DISTINCT = 1e-8
#: Steps are not advised to be smaller than this many times at once.
MOST_TIMES = 1000


def time_to_come_within(
    problem: Problem, settings: RunSettings, limit: Tensor, time: float, target: float
) -> float | None:
    """The first time at which the flow is within ``target`` of its limit (to 10 %), or None when it is not found."""
    from dlntorch.flow.integrate import integrate_flow

    with np.errstate(over="ignore"):
        times = time * np.logspace(0, DECADES, 24 * DECADES + 1)
    times = np.unique(times[np.isfinite(times)])  # at the ends of float64 the last overflow and the first are equal
    try:
        path = integrate_flow(problem, settings.depth_or_law, settings.alpha, times, rtol=1e-6, max_evaluations=6_000)
    except (ArithmeticError, RuntimeError, InputError):  # what is said about a run never ends it
        return None
    near = torch.nonzero(distance(path.psi, limit) <= target)
    return float(path.t[near[0, 0]]) if near.numel() else None


def advice(problem: Problem, settings: RunSettings, summary: dict[str, Any], references: References) -> str:
    """The dominant error in words, and what would help most: smaller κ, longer, smaller α, or nothing."""
    budget = summary["budget"]
    dominant = budget["dominant"]
    if dominant is None:
        return f"the error budget is incomplete: {budget['dominant_reason']}"
    size = budget[dominant]
    scale = float(torch.linalg.vector_norm(problem.y)) / problem.spectral_norm
    if size <= 1e-13 * max(scale, 1.0):
        return "nothing would help: what is left of the error is rounding"
    others = max(budget[k] for k in PARTS_OF_ERROR if k != dominant)
    if dominant == "discretization":
        cause = f"; {budget['cause']}" if budget["cause"] else ""
        if settings.batch_size is not None:
            text = f"the steps: mini-batch noise and step size leave {size:.2g}; a larger batch or smaller steps would help"
            return text + cause
        fewer = max(2.0, min(size / others if others > 0 else math.inf, MOST_TIMES))
        kappa = summary["schedule"]["kappa"]
        smaller = "a smaller eta" if kappa is None else f"schedule.kappa={kappa / fewer:.1g}"
        cost = f"at {fewer:.2g} times the steps"
        return f"the step size: descent is {size:.2g} from the flow, in proportion to it; {smaller} would help, {cost}{cause}"
    if dominant == "finite_time":
        text = f"stopped early: the flow at t = {summary['time']:.3g} is {size:.2g} from its limit"
        target = max(others, 1e-12)
        if references.limit is not None and summary["time"] > 0:
            needed = time_to_come_within(problem, settings, references.limit.psi, summary["time"], target)
            if needed is not None:
                return f"{text}; the flow itself needs t ≈ {needed:.1e} to come within {target:.1g}"
        return f"{text}; a longer run would help"
    exponent, asymptote = summary["predicted"]["exponent"], summary["predicted"]["initialization"]
    smaller = f"alpha={settings.alpha / 10:g}" if isinstance(settings.alpha, float) else "a tenth of alpha"
    gain = f"; {smaller} would help"
    if exponent is not None and asymptote is not None and asymptote > 3 * size:
        gain += f", though its fall like alpha^{exponent:.3g} begins at smaller alpha only (C alpha^p is {asymptote:.2g} here)"
    elif exponent is not None:
        gain = f"; it falls like alpha^{exponent:.3g}, so {smaller} would help"
    return f"the initialization: the flow's limit is {size:.2g} from W_p{gain}"


def signatures(problem: Problem, settings: RunSettings, status: Status, references: References) -> list[str]:
    """The paper's failure signatures that a run shows, each explained in a sentence."""
    found: list[str] = []
    if problem.known_rank is not None and problem.known_rank < problem.m:
        found.append(
            f"rank(A) = {problem.known_rank} < m = {problem.m}: the flow tends to W_p of the reduced pair (Ã, ỹ), not of (A, y)"
        )
    if problem.known_rank is not None and not problem.consistent:
        found.append(
            f"y is not in range(A) (distance {problem.inconsistency:.3g}): no vector interpolates, "
            "and the network fits the projection"
        )
    if status is Status.LEFT_POSITIVE_ORTHANT or status is Status.DIVERGED:
        found.append(
            "eta too large: a parameter would have left the positive orthant; schedule=relative cannot do that"
        )
    if references.limit is not None and references.selected is not None:
        full = problem.reduced()
        nearest = torch.linalg.lstsq(full.A, full.y[:, None], driver="gelsd").solution[:, 0]
        to_nearest = float(distance(references.limit.psi, nearest))
        to_selected = float(distance(references.limit.psi, references.selected.psi))
        # where W_p is the nearest vector itself, the two distances differ by rounding
        if to_nearest < to_selected - DISTINCT * float(torch.linalg.vector_norm(nearest)):
            found.append(
                f"alpha too large (kernel regime): the flow's limit is {to_nearest:.2g} from the nearest interpolating "
                f"vector in l2, but {to_selected:.2g} from W_p"
            )
    condition = problem.spectral_norm / problem.sigma_min if problem.known_rank is not None else 1.0
    gap = None if references.rate is None or references.rate.rho is None else 1 - references.rate.rho
    if condition > ILL_CONDITIONED:
        found.append(
            f"ill-conditioned data: the singular values of A span a factor {condition:.1e}; convergence is slow"
        )
    constant = None if references.rate is None else references.rate.constant
    if constant is not None and constant > ILL_CONDITIONED:
        found.append(
            f"ill-conditioned null space: the constant of C alpha^p is {constant:.2g}, so alpha must be tiny before the "
            "theorem's rate is seen"
        )
    if gap is not None and math.isfinite(gap) and gap < 1e-3:
        found.append(f"ill-conditioned null space: 1 - rho = {gap:.2g}, so the error hardly falls with alpha at p = 2")
    return found
