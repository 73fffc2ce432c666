"""What a run's steps did to its answer, for the summary: gain, weights, where that start's flow ends, and the cause in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from dlntorch.bounds.effective import Effective, effective_initialization
from dlntorch.bounds.support import SupportCertificate, support_certified, weighted_minimizer
from dlntorch.bounds.threshold import StepSizeThreshold, step_size_threshold
from dlntorch.model import Parametrization
from dlntorch.model.metrics import distance
from dlntorch.problem import Problem
from dlntorch.run.open_numbers import depth_and_start
from dlntorch.run.references import References, needs_matrix, with_matrix

if TYPE_CHECKING:
    from dlntorch.run.settings import RunSettings

__all__ = ["EffectiveReport", "effective_report"]

T = TypeVar("T")


@dataclass(frozen=True)
class EffectiveReport:
    """Numbers by their key in the summary, None where there is a reason in ``reasons``; the sentence of the cause.

    Attributes:
        values: ``gain_min``, ``gain_max``, ``gain_mean``, ``tilt``, ``weight_spread``, ``distance_to_limit``,
            ``distance_to_weighted``, ``support_certified``, ``kappa_threshold``, and beside them ``weight_min``, ``weight_max``,
            ``support_violation``, ``sign_changes``.
        reasons: Why a value is None, by key.
        cause: What the steps did to the answer, in one sentence; empty where it is not known.
    """

    values: dict[str, float | bool | None]
    reasons: dict[str, str]
    cause: str


def effective_report(problem: Problem, settings: RunSettings, theta: Tensor, references: References) -> EffectiveReport:
    """What is said about the end θ of a run; nothing of it needs to be recorded while the run goes on.

    Args:
        problem: The problem, in float64 on the CPU.
        settings: How it was run.
        theta: θ at the end, shape (width, n), float64 on the CPU: θ₊ and θ₋ at depth p.
        references: What the run is compared with.
    """
    notes = _Notes()
    law = settings.law
    end = notes.attempt("start", lambda: _end(problem, law, theta, settings.alpha))
    if end is not None:
        notes.say("start", end.reason)
    known = end if end is not None and end.initialization is not None else None
    values = _numbers(known)
    if known is not None and known.tilt is None:
        notes.reasons["tilt"] = end.reason if end is not None else ""
    psi = law.value(theta)
    limit = weighted = None
    certificate: SupportCertificate | None = None
    threshold: StepSizeThreshold | None = None
    if not settings.references:
        for key in ("distance_to_limit", "distance_to_weighted", "kappa_threshold"):
            notes.reasons[key] = "references=false"
    if known is not None and settings.p is not None:
        depth, (plus, minus) = settings.p, theta
        certificate = notes.attempt(
            "support_certified", lambda: support_certified(problem, depth, plus, minus, effective=known)
        )
    elif known is not None:
        for key in ("support_certified", "support_violation", "kappa_threshold"):
            notes.reasons[key] = f"{law!r} has no weighted dual certificate here: only a depth p has"
    if known is not None and settings.references:
        limit = notes.attempt("distance_to_limit", lambda: _limit(problem, law, theta, known))
        weighted = notes.attempt("distance_to_weighted", lambda: _weighted(problem, law, theta, known, references))
    if settings.references and references.l1 is not None and settings.p is not None:
        threshold = notes.attempt("kappa_threshold", lambda: _threshold(problem, settings, references))
    values["distance_to_limit"] = None if limit is None else float(distance(psi, limit))
    values["distance_to_weighted"] = None if weighted is None else float(distance(psi, weighted))
    values["support_certified"] = None if certificate is None else certificate.certified
    values["support_violation"] = None if certificate is None else certificate.violation
    values["kappa_threshold"] = None if threshold is None else threshold.kappa
    if certificate is not None:
        notes.say("support_certified", certificate.reason)
        notes.say("support_violation", certificate.reason)
    if threshold is not None:
        notes.say("kappa_threshold", threshold.reason)
    elif references.l1 is None and settings.p is not None:
        notes.say("kappa_threshold", references.reasons.get("l1", ""))
    selected = None if references.selected is None else references.selected.psi
    cause = "" if known is None else _cause(_is_entropic(law), values, psi, selected, weighted, limit)
    start = notes.reasons.pop("start", "")
    return EffectiveReport(values, {key: notes.reasons.get(key) or start for key in values}, cause)


def _is_entropic(law: Parametrization) -> bool:
    """Whether the start's shape shows in an entropy, and not in the weights of a norm."""
    return law.small_start is not None and not law.small_start.shapes_norm


def _end(problem: Problem, law: Parametrization, theta: Tensor, alpha: Any) -> Effective:
    small = with_matrix(problem)
    if small is None:
        raise ValueError(needs_matrix(problem))
    return effective_initialization(small, law, *law.sides(theta), alpha)


def _numbers(end: Effective | None) -> dict[str, float | bool | None]:
    """What is known of the start alone."""
    keys = ("gain_min", "gain_max", "gain_mean", "tilt", "weight_min", "weight_max", "weight_spread", "sign_changes")
    if end is None or end.gain is None or end.weights_plus is None:
        return dict.fromkeys(keys)
    sides = [side for side in (end.weights_plus, end.weights_minus) if side is not None]
    low, high = (float(edge) for edge in torch.aminmax(torch.cat(sides)))
    tilt = None if end.tilt is None else float(end.tilt.abs().max())
    gains = float(end.gain.min()), float(end.gain.max()), float(end.gain.mean())
    numbers = (*gains, tilt, low, high, high / low, float(end.sign_changes))
    return dict(zip(keys, numbers, strict=True))


def _limit(problem: Problem, law: Parametrization, theta: Tensor, end: Effective) -> Tensor:
    """Where the flow from the effective start ends: through θ itself where that curve has a closed form, else from the start."""
    from dlntorch.limit.near import limit_through

    found = limit_through(problem, law, theta.abs() if law.positive else theta)
    if found is not None:
        return found
    from dlntorch.limit.central_path_engines import spare_compilation
    from dlntorch.limit.flow_limit import flow_limit

    with spare_compilation():
        return flow_limit(problem, law, end.initialization).psi


def _weighted(
    problem: Problem, law: Parametrization, theta: Tensor, end: Effective, references: References
) -> Tensor | None:
    """The minimiser of the ℓ1 norm with the run's weights; at p = 2 they are 1, and it is the ℓ1-minimiser."""
    from dlntorch.reference.l1_minimizer import l1_minimizer

    if _is_entropic(law):
        if law.one_sided:
            return l1_minimizer(problem, nonnegative=True).psi
        return None if references.l1 is None else references.l1.psi.cpu().double()
    if law.depth is not None:
        guess = None if references.l1 is None else references.l1.support
        proved = weighted_minimizer(problem, law.depth, theta.abs(), end, guess)
        if proved is not None:
            return proved
    sides = _weights(law, end, problem.n)
    return l1_minimizer(problem, weights=sides[0] if law.one_sided else sides, nonnegative=law.one_sided).psi


def _weights(law: Parametrization, end: Effective, n: int) -> tuple[Any, Any]:
    """Of the norm that the limit minimises as α → 0: α±_eff^{2−p} up to a factor, so that a start's own shape counts."""
    if law.p is None or end.initialization is None:
        return end.weights_plus, end.weights_minus
    plus, minus = end.initialization.expanded(n)
    unit = torch.minimum(plus.min(), minus.min())
    return (plus / unit) ** (2 - law.p), (minus / unit) ** (2 - law.p)


def _threshold(problem: Problem, settings: RunSettings, references: References) -> StepSizeThreshold:
    depth, start = depth_and_start(settings)
    # at p > 2 several numbers weigh the norm, whose minimiser is another one
    minimizer = references.l1 if settings.plain_start or _is_entropic(settings.law) else None
    return step_size_threshold(problem, depth, start, batch_size=settings.batch_size, minimizer=minimizer)


def _cause(
    entropic: bool,
    values: dict[str, float | bool | None],
    psi: Tensor,
    selected: Tensor | None,
    weighted: Tensor | None,
    limit: Tensor | None,
) -> str:
    """What the steps did to the answer: the weights, and how far what they select is from W_p and from the run."""
    if not entropic:
        text = (
            f"the steps acted as weights from {values['weight_min']:.2f} to {values['weight_max']:.2f} on the l1 norm"
        )
        what, target = "that norm's minimiser", weighted
    else:
        text = f"the steps acted as a start whose ln(alpha^2) is lower by {values['gain_min']:.2g} to {values['gain_max']:.2g}"
        what, target = "the flow from there ends", limit
    if target is None or selected is None:
        return text
    apart, left = float(distance(target, selected)), float(distance(psi, target))
    verb = "" if entropic else "is "
    return f"{text}; {what} {verb}{apart:.2g} from W_p, and the run is {left:.2g} from it"


class _Notes:
    """Reasons by key; a computation that gives up leaves one."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def say(self, key: str, reason: str) -> None:
        if reason:
            self.reasons[key] = reason

    def attempt(self, key: str, compute: Callable[[], T]) -> T | None:
        """The value, or None with its reason noted: what is said about a run never ends it."""
        try:
            return compute()
        except (ArithmeticError, RuntimeError, TypeError, ValueError, MemoryError) as error:
            self.say(key, " ".join(str(error).split()) or type(error).__name__)
            return None
