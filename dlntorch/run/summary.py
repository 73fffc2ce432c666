"""The summary of a run: the dictionary that becomes ``summary.json``.

A value that could not be computed is None with a ``…_reason`` beside it; never NaN, never infinite, never left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dlntorch.model.metrics import distance, l1_gap
from dlntorch.numerics.validation import InputError
from dlntorch.optim.update import SGD
from dlntorch.problem import Problem
from dlntorch.run.diagnosis import advice, signatures
from dlntorch.run.digits import digits_report
from dlntorch.run.effective import effective_report
from dlntorch.run.initialization_error import initialization_difference
from dlntorch.run.open_numbers import depth_and_scale
from dlntorch.run.references import References, with_matrix
from dlntorch.run.settings import RunSettings
from dlntorch.store.provenance import versions
from dlntorch.training.certified import ENDED, certified_bound
from dlntorch.training.descent import Descent

__all__ = ["build_summary", "put"]


def put(target: dict[str, Any], key: str, value: Any, reason: str = "") -> None:
    """Set a finite number, or None with a reason beside it."""
    if value is not None:
        value = float(value)
        if math.isfinite(value):
            target[key] = value
            return
        reason = reason or f"the value is {value}, which is not a finite number"
    target[key] = None
    target[f"{key}_reason"] = reason or "not computed"


def build_summary(
    problem: Problem,
    settings: RunSettings,
    descent: Descent,
    references: References,
    flow: Tensor | None,
    flow_reason: str,
) -> dict[str, Any]:
    """Everything that is known about a finished run.

    Args:
        problem: What it ran on.
        settings: How it was run.
        descent: The finished descent.
        references: What it is compared with.
        flow: ψ(t_k) of the flow at the end of the run, shape (n,), or None.
        flow_reason: Why ``flow`` is None.
    """
    psi = descent.network.psi.detach().to("cpu", torch.float64)
    exact = problem.to("cpu", "float64")
    exact = with_matrix(exact) or exact
    status = descent.status
    if status is None:
        raise RuntimeError("the run has not ended")
    progress = descent.progress
    summary: dict[str, Any] = {
        "status": str(status),
        "reason": descent.reason,
        **_network(settings),
        "seed": settings.seed,
        "engine": settings.engine,
        "batch_size": settings.batch_size,
        "dtype": str(settings.dtype).removeprefix("torch."),
        "tol": settings.stopping.tol,
        "problem": {"m": problem.m, "n": problem.n, "rank": problem.known_rank, "name": problem.name},
        "steps": progress.step,
        "time": progress.time,
        "sign_changes": progress.sign_changes,
        "wall_seconds": descent.wall_seconds,
    }
    unknown = f"the rank is not known: A is a {problem.operator!r}"
    if problem.known_rank is None:
        summary["problem"]["rank_reason"] = unknown
    put(summary, "residual", exact.reduced().relative_residual(psi))
    put(summary, "inconsistency", None if exact.known_rank is None else exact.inconsistency, unknown)
    vectors = references.vectors(problem)
    value = None if references.l1 is None else float(references.l1.value)
    put(summary, "l1_gap", None if value is None else l1_gap(psi, value), references.reasons.get("l1", ""))
    for name in ("l1", "selected", "truth", "limit"):
        reference = vectors.get(name)
        reason = "the problem has no planted truth" if name == "truth" else references.reasons.get(name, "")
        put(summary, f"distance_to_{name}", None if reference is None else distance(psi, reference), reason)
    put(summary, "distance_to_flow", None if flow is None else distance(psi, flow), flow_reason)
    summary["budget"] = _budget(psi, flow, flow_reason, vectors, references, settings)
    summary["effective"] = _effective(exact, settings, descent, references, summary["budget"])
    summary["predicted"] = _predicted(settings, references)
    summary["schedule"] = _schedule(exact, settings, descent)
    summary["references"] = _references(references, value)
    summary |= digits_report(exact, references)
    summary["advice"] = advice(exact, settings, summary, references)
    summary["signatures"] = signatures(exact, settings, status, references)
    summary["versions"] = versions()
    return summary


def _network(settings: RunSettings) -> dict[str, Any]:
    """What was trained: depth or parametrization, start and optimizer."""
    found: dict[str, Any] = {"p": settings.p}
    if settings.p is None:
        found["p_reason"] = f"{settings.law!r} has no depth p"
    found["model"] = repr(settings.law)
    number = isinstance(settings.alpha, float)
    found["alpha"] = settings.alpha if number else None
    if not number:
        found["alpha_reason"] = "the start has several numbers, which start has"
    found["start"] = f"alpha = {settings.alpha:g}" if number else repr(settings.alpha)
    found["optimizer"] = {"name": settings.update.name, **_plain(settings.update.options())}
    return found


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON has them."""
    usual = (bool, int, float, str, type(None))
    return {key: value if isinstance(value, usual) else repr(value) for key, value in options.items()}


def _budget(
    psi: Tensor,
    flow: Tensor | None,
    flow_reason: str,
    vectors: dict[str, Tensor],
    references: References,
    settings: RunSettings,
) -> dict[str, Any]:
    """The three Euclidean norms of the error budget, and the name of the largest."""
    limit, selected = vectors.get("limit"), vectors.get("selected")
    offset, why_offset = initialization_difference(references, settings.law, settings.alpha)
    if offset is not None and limit is not None and selected is not None and not torch.equal(offset, limit - selected):
        limit = selected + offset  # the limit where float64 has lost it
    why_limit = references.reasons.get("limit", "")
    origin = None if offset is None else torch.zeros_like(offset)
    parts = {
        "discretization": (psi, flow, flow_reason),
        "finite_time": (flow, limit, flow_reason if flow is None else why_limit),
        "initialization": (offset, origin, why_offset),
    }
    budget: dict[str, Any] = {}
    for name, (left, right, reason) in parts.items():
        put(budget, name, None if left is None or right is None else distance(left, right), reason)
    known = {name: budget[name] for name in parts if budget[name] is not None}
    complete = len(known) == len(parts)
    budget["dominant"] = max(known, key=lambda name: known[name]) if complete else None
    if not complete:
        missing = [name for name in parts if name not in known]
        budget["dominant_reason"] = f"{', '.join(missing)} could not be computed"
    return budget


def _effective(
    problem: Problem, settings: RunSettings, descent: Descent, references: References, budget: dict[str, Any]
) -> dict[str, Any]:
    """What the steps did to the answer; the budget gets its cause."""
    theta = descent.network.whole_theta().to("cpu", torch.float64)
    found = effective_report(problem, settings, theta, references)
    report: dict[str, Any] = {}
    for key, value in found.values.items():
        if isinstance(value, bool):
            report[key] = value
        else:
            put(report, key, value, found.reasons[key])
    budget["cause"] = found.cause or None
    if not found.cause:
        budget["cause_reason"] = found.reasons["gain_min"]
    return report


def _predicted(settings: RunSettings, references: References) -> dict[str, Any]:
    """The theorem's exponent (of α), constant, and the initialization error C·α^p that they predict."""
    predicted: dict[str, Any] = {}
    unit = settings.alpha**settings.p if settings.plain_start else None  # pyright: ignore[reportOperatorIssue]
    rate, why = references.rate, references.reasons.get("rate", "")
    put(predicted, "exponent", None if rate is None else rate.exponent, why)
    constant = None if rate is None else rate.constant
    if rate is not None and constant is None:
        why = rate.constant_reason
    put(predicted, "constant", constant, why)
    put(predicted, "initialization", None if constant is None or unit is None else constant * unit, why)
    if settings.p is not None and settings.p > 2:
        why = "only p = 2 has a rho: for p > 2 the exponent is p itself"
    put(predicted, "rho", None if rate is None else rate.rho, why)
    return predicted


def _schedule(problem: Problem, settings: RunSettings, descent: Descent) -> dict[str, Any]:
    """The step sizes used, what the theorem would have asked for, and what the certificate proves."""
    progress, schedule = descent.progress, settings.schedule
    chosen = descent.engine.schedule
    report: dict[str, Any] = {"name": schedule.name, "rule": schedule.rule}
    none_made = "" if progress.step else "no step was made"
    put(report, "eta_min", progress.eta_min if progress.step else None, none_made)
    put(report, "eta_max", progress.eta_max if progress.step else None, none_made)
    put(report, "kappa", chosen.kappa, f"schedule={schedule.name} has no kappa")
    put(report, "c", chosen.c if chosen.rule != "constant" else None, f"schedule={schedule.name} has no c")
    _theorem(report, problem, settings, progress.time)
    certificate = descent.engine.certificate
    if certificate is None:
        why = _no_certificate(settings)
        for key in ("certificate", "certified_theta_error", "certified_theta_error_sup"):
            put(report, key, None, why)
        return report
    why = "" if certificate.finite else "the certificate's bound became infinite: smaller steps (kappa) are needed"
    put(report, "certificate", certificate.energy, why)
    theta = (row.detach().to("cpu", torch.float64).numpy() for row in descent.network.rows)
    put(report, "certified_theta_error", certificate.theta_error(*theta), why)
    put(report, "certified_theta_error_sup", certificate.theta_error_sup, why)
    if schedule.name == "certified":
        report["epsilon"], report["over"] = schedule.epsilon, schedule.over
        report["epsilon_met"] = certified_bound(descent) <= (schedule.epsilon or 0.0)
        if not report["epsilon_met"]:
            report["epsilon_met_reason"] = _missed(descent)
    return report


def _missed(descent: Descent) -> str:
    """Why a certified run ended without its ε, and which ε it has."""
    schedule, status = descent.engine.schedule, descent.status
    proved = f"the certificate proves {certified_bound(descent):.3g}, more than epsilon={schedule.epsilon:g}"
    if status in ENDED:
        return f"{proved}; smaller steps would need more than max_steps={descent.engine.stopping.max_steps}"
    return f"{proved}, where the run ended ({status})"


def _no_certificate(settings: RunSettings) -> str:
    if settings.batch_size is not None:
        return "mini-batches: the certificate bounds full-batch descent"
    return "not asked for: certificate=true adds it"


def _theorem(report: dict[str, Any], problem: Problem, settings: RunSettings, time: float) -> None:
    """log10 of the step size and of the steps by which the paper's theorem covers this run's horizon."""
    if not settings.plain_start or type(settings.update) is not SGD:
        report["theorem_epsilon"] = None
        report["theorem_epsilon_reason"] = "the theorem speaks of plain SGD at a depth p from one number alpha"
        for key in ("theorem_log10_eta", "theorem_log10_steps"):
            put(report, key, None, report["theorem_epsilon_reason"])
        return
    from dlntorch.bounds.theorem import theorem_bound

    epsilon = settings.schedule.epsilon or 1e-2
    report["theorem_epsilon"] = epsilon
    if time == 0.0:
        for key in ("theorem_log10_eta", "theorem_log10_steps"):
            put(report, key, None, "no time passed")
        return
    try:
        bound = theorem_bound(problem, *depth_and_scale(settings), time, epsilon)
    except InputError as error:  # the bound needs the smallest singular value
        for key in ("theorem_log10_eta", "theorem_log10_steps"):
            put(report, key, None, str(error))
        return
    put(report, "theorem_log10_eta", bound.log10_eta)
    put(report, "theorem_log10_steps", bound.log10_steps)


def _references(references: References, value: float | None) -> dict[str, Any]:
    """min ‖ψ‖₁ with the certificate's gap and what found it; whether its minimiser is unique (None: undecided)."""
    report: dict[str, Any] = {}
    put(report, "l1_value", value, references.reasons.get("l1", ""))
    gap = None if references.l1 is None else references.l1.certificate.duality_gap
    put(report, "l1_certificate", gap, references.reasons.get("l1", ""))
    report["unique"] = None if references.l1 is None else references.l1.unique
    if report["unique"] is None:
        report["unique_reason"] = references.reasons.get("l1", "") or "undecided at this tolerance"
    report["solver"] = None if references.l1 is None else references.l1.solver
    if report["solver"] is None:
        report["solver_reason"] = references.reasons.get("l1", "") or "not computed"
    report["notes"] = dict(references.reasons)
    return report
