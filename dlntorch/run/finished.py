"""A finished run, and the numbers that its summary is made of: each computed once, or None with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.model.metrics import distance, l1_gap
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError
from dlntorch.optim.update import SGD
from dlntorch.problem import Problem
from dlntorch.run.diagnosis import advice, signatures
from dlntorch.run.digits import digits_report
from dlntorch.run.early_stopping import nearest_to_truth
from dlntorch.run.effective import EffectiveReport, effective_report
from dlntorch.run.initialization_error import initialization_difference
from dlntorch.run.open_numbers import depth_and_scale, depth_and_start
from dlntorch.run.quantities import ABSENT, Explained, summarized, with_reason
from dlntorch.run.references import References, with_matrix
from dlntorch.run.settings import RunSettings
from dlntorch.run.update_prediction import RunEnd, UpdateReport, update_report
from dlntorch.training.certified import ENDED, certified_bound
from dlntorch.training.descent import Descent

__all__ = ["FinishedRun"]

#: The ε that the theorem is asked for where the schedule has none.
EPSILON = 1e-2


class FinishedRun:
    """Everything that is known about a finished run; the numbers of :class:`~dlntorch.run.summary.Summary` are functions of it.

    Args:
        problem: What it ran on.
        settings: How it was run.
        descent: The finished descent.
        references: What it is compared with.
        flow: ψ(t_k) of the flow at the end of the run, shape (n,), or None.
        flow_reason: Why ``flow`` is None.
        history: Its measured columns.
    """

    def __init__(
        self,
        problem: Problem,
        settings: RunSettings,
        descent: Descent,
        references: References,
        flow: Tensor | None,
        flow_reason: str,
        history: Mapping[str, np.ndarray],
    ) -> None:
        if descent.status is None:
            raise RuntimeError("the run has not ended")
        self.problem, self.settings, self.descent, self.references = problem, settings, descent, references
        self.flow, self.flow_reason, self.history = flow, flow_reason, history
        self.status: Status = descent.status
        self.psi = descent.network.psi.detach().to("cpu", torch.float64)
        exact = problem.to("cpu", "float64")
        self.exact = with_matrix(exact) or exact
        self.vectors = references.vectors(problem)

    # -- what was trained, and how --------------------------------------------------------------------------------------

    @property
    def rank(self) -> Explained:
        return with_reason(self.problem.known_rank, self._unknown_rank)

    @property
    def _unknown_rank(self) -> str:
        return f"the rank is not known: A is a {self.problem.operator!r}"

    @property
    def depth(self) -> Explained:
        return with_reason(self.settings.p, f"{self.settings.law!r} has no depth p")

    @property
    def alpha(self) -> Explained:
        number = self.settings.alpha if isinstance(self.settings.alpha, float) else None
        return with_reason(number, "the start has several numbers, which start has")

    @property
    def start_words(self) -> str:
        alpha = self.settings.alpha
        return f"alpha = {alpha:g}" if isinstance(alpha, float) else repr(alpha)

    @property
    def optimizer(self) -> dict[str, Any]:
        """Name and options as JSON has them."""
        usual, update = (bool, int, float, str, type(None)), self.settings.update
        options = {key: value if isinstance(value, usual) else repr(value) for key, value in update.options().items()}
        return {"name": update.name, **options}

    # -- where it ended -------------------------------------------------------------------------------------------------

    @property
    def residual(self) -> Any:
        return self.exact.reduced().relative_residual(self.psi)

    @property
    def inconsistency(self) -> Explained:
        return with_reason(None if self.exact.known_rank is None else self.exact.inconsistency, self._unknown_rank)

    @property
    def l1_value(self) -> Explained:
        l1 = self.references.l1
        return with_reason(None if l1 is None else float(l1.value), self.references.reasons.get("l1", ""))

    @property
    def l1_certificate(self) -> Explained:
        l1 = self.references.l1
        gap = None if l1 is None else l1.certificate.duality_gap
        return with_reason(gap, self.references.reasons.get("l1", ""))

    @property
    def solver(self) -> Explained:
        """What found the ℓ1-minimiser."""
        l1, why = self.references.l1, self.references.reasons.get("l1", "")
        return with_reason(None, why or "not computed") if l1 is None else with_reason(l1.solver)

    @property
    def l1_gap(self) -> Explained:
        value, why = self.l1_value
        return with_reason(None if value is None else l1_gap(self.psi, value), why)

    @property
    def unique(self) -> Explained:
        """Whether the ℓ1-minimiser is the only one; None where that is undecided at the tolerance."""
        l1, why = self.references.l1, self.references.reasons.get("l1", "")
        known = None if l1 is None else l1.unique
        return with_reason(known, (why or "undecided at this tolerance") if known is None else "")

    def distance_to(self, name: str) -> Explained:
        """The distance to a reference."""
        reference, why = self.vectors.get(name), self.references.reasons.get(name, "")
        why = "the problem has no planted truth" if name == "truth" else why
        return with_reason(None if reference is None else distance(self.psi, reference), why)

    @property
    def distance_to_flow(self) -> Explained:
        return with_reason(None if self.flow is None else distance(self.psi, self.flow), self.flow_reason)

    # -- the error budget -----------------------------------------------------------------------------------------------

    @cached_property
    def _norms(self) -> dict[str, Explained]:
        """The Euclidean norms of the three parts."""
        limit, selected = self.vectors.get("limit"), self.vectors.get("selected")
        offset, why_offset = initialization_difference(self.references, self.settings.law, self.settings.alpha)
        if (
            offset is not None
            and limit is not None
            and selected is not None
            and not torch.equal(offset, limit - selected)
        ):
            limit = selected + offset  # the limit where float64 has lost it
        why_limit = self.flow_reason if self.flow is None else self.references.reasons.get("limit", "")
        origin = None if offset is None else torch.zeros_like(offset)
        parts = {
            "discretization": (self.psi, self.flow, self.flow_reason),
            "finite_time": (self.flow, limit, why_limit),
            "initialization": (offset, origin, why_offset),
        }
        norms = {}
        for name, (left, right, why) in parts.items():
            value = None if left is None or right is None else float(distance(left, right))
            finite = value is not None and np.isfinite(value)
            norms[name] = with_reason(value if finite else None, why if value is None else why or _not_finite(value))
        return norms

    def norm(self, name: str) -> Explained:
        """A part of the error."""
        return self._norms[name]

    @property
    def dominant(self) -> Explained:
        known = {name: norm.value for name, norm in self._norms.items() if norm.value is not None}
        missing = [name for name in self._norms if name not in known]
        if missing:
            return with_reason(None, f"{', '.join(missing)} could not be computed")
        return with_reason(max(known, key=lambda name: known[name]))

    @property
    def cause(self) -> Explained:
        return with_reason(self._effective.cause or None, self._effective.reasons["gain_min"])

    @cached_property
    def _effective(self) -> EffectiveReport:
        theta = self.descent.network.whole_theta().to("cpu", torch.float64)
        return effective_report(self.exact, self.settings, theta, self.references)

    def effective(self, key: str) -> Explained:
        """A number of the effective start."""
        value = self._effective.values[key]
        return with_reason(value, self._effective.reasons[key] if value is None else "")

    # -- what the theory predicts ---------------------------------------------------------------------------------------

    @cached_property
    def _update(self) -> UpdateReport:
        theta, progress = self.descent.network.whole_theta().to("cpu", torch.float64), self.descent.progress
        steps = (progress.step, progress.time, progress.eta_min, progress.eta_max)
        end = RunEnd(theta, self.settings.law.value(theta), self.status, *steps)
        return update_report(self.exact, self.settings, end)

    def update(self, key: str) -> Explained:
        """A number that the optimizer's theory predicts."""
        return with_reason(self._update.numbers.get(key), self._update.reasons.get(key, ""))

    @property
    def prediction(self) -> Explained:
        """The prediction in words."""
        return with_reason(self._update.words or None, self._update.reasons.get("predicted_gain_mean", ""))

    def rate(self, name: str) -> Explained:
        """A number of the rate of ‖ψ_α(∞) − W_p‖."""
        rate, why = self.references.rate, self.references.reasons.get("rate", "")
        if rate is not None and name != "exponent" and rate.constant is None:
            why = rate.constant_reason
        if name == "rho" and rate is not None and rate.constant is not None:
            why = "only p = 2 has a rho: for p > 2 the exponent is p itself"
        return with_reason(None if rate is None else getattr(rate, name), why)

    @property
    def predicted_error(self) -> Explained:
        constant, why = self.rate("constant")
        if constant is None or not self.settings.plain_start:
            return with_reason(None, why)
        p, alpha = depth_and_scale(self.settings)
        return with_reason(constant * alpha**p)

    # -- the step sizes -------------------------------------------------------------------------------------------------

    def step_used(self, name: str) -> Explained:
        """The smallest or the largest η."""
        progress = self.descent.progress
        return with_reason(
            getattr(progress, name) if progress.step else None, "" if progress.step else "no step was made"
        )

    def chosen(self, name: str) -> Explained:
        """A number of the schedule."""
        schedule = self.descent.engine.schedule
        value = None if name == "c" and not schedule.kind.has_c else getattr(schedule, name)
        return with_reason(value, f"schedule={self.settings.schedule.name} has no {name}")

    @cached_property
    def _theorem(self) -> tuple[Any, str]:
        """The bound by which the paper's theorem covers this run's horizon."""
        if self.settings.p is None or type(self.settings.update) is not SGD:
            return None, "the theorem speaks of plain SGD at a depth p"
        if self.descent.progress.time == 0.0:
            return None, "no time passed"
        from dlntorch.bounds.theorem import theorem_bound

        epsilon = self.settings.schedule.epsilon or EPSILON
        try:
            return theorem_bound(self.exact, *depth_and_start(self.settings), self.descent.progress.time, epsilon), ""
        except InputError as error:  # the bound needs the smallest singular value
            return None, str(error)

    def theorem(self, name: str) -> Explained:
        """The ε that the theorem is asked for, or log10 of a number of its bound."""
        bound, why = self._theorem
        if name == "epsilon":
            plain = self.settings.p is not None and type(self.settings.update) is SGD
            return with_reason((self.settings.schedule.epsilon or EPSILON) if plain else None, why)
        return with_reason(None if bound is None else getattr(bound, name), why)

    def certified(self, name: str) -> Explained:
        """What the certificate proves."""
        certificate = self.descent.engine.certificate
        if certificate is None:
            batches = self.settings.batch_size is not None
            without = "mini-batches: the certificate bounds full-batch descent"
            return with_reason(None, without if batches else "not asked for: certificate=true adds it")
        why = "" if certificate.finite else "the certificate's bound became infinite: smaller steps (kappa) are needed"
        if name == "theta_error":
            theta = (row.detach().to("cpu", torch.float64).numpy() for row in self.descent.network.rows)
            return with_reason(certificate.theta_error(*theta), why)
        return with_reason(getattr(certificate, name), why)

    def of_certified(self, value: Any) -> Any:
        """What only a schedule that proves an ε has."""
        return (
            value if self.settings.schedule.kind.certifies and self.descent.engine.certificate is not None else ABSENT
        )

    @property
    def epsilon_met(self) -> Any:
        """Whether the run has its ε; if not, which one it has, and why it was not repeated."""
        schedule, stopping = self.descent.engine.schedule, self.descent.engine.stopping
        if schedule.epsilon is None or self.descent.engine.certificate is None:
            return ABSENT
        bound = certified_bound(self.descent)
        if bound <= schedule.epsilon:
            return True
        proved = f"the certificate proves {bound:.3g}, more than epsilon={schedule.epsilon:g}"
        if self.status in ENDED and not self.descent.interrupted:
            return with_reason(False, f"{proved}; smaller steps would need more than max_steps={stopping.max_steps}")
        return with_reason(False, f"{proved}, where the run ended ({self.status})")

    # -- in words -------------------------------------------------------------------------------------------------------

    @cached_property
    def digits(self) -> dict[str, Any]:
        """How many digits the data need, and how many they have."""
        report = digits_report(self.exact, self.references)
        return {**report, "digits": with_reason(report["digits"], report.get("digits_reason", ""))}

    @cached_property
    def _nearest(self) -> tuple[dict[str, Any] | None, str]:
        limit = None if self.references.limit is None else self.references.limit.psi
        return nearest_to_truth(self.problem, self.history, limit, self.settings.early_stopping)

    @property
    def has_nearest(self) -> bool:
        """Whether the problem is planted, so that a recorded point is the nearest to its truth."""
        return self._nearest[0] is not None

    def nearest(self, key: str) -> Explained:
        """What is known of the recorded point that is nearest to the truth."""
        known = self._nearest[0] or {}
        return with_reason(known.get(key), known.get(f"{key}_reason", ""))

    @property
    def advice(self) -> str:
        passed = self._nearest[1]
        if passed and self.dominant.value != "discretization":
            return passed
        from dlntorch.run.summary import ErrorBudget, Predicted

        known = {
            "budget": summarized(ErrorBudget, self),
            "predicted": summarized(Predicted, self),
            "schedule": {"kappa": self.chosen("kappa").value},
            "time": self.descent.progress.time,
        }
        return advice(self.exact, self.settings, known, self.references)

    @property
    def signatures(self) -> list[str]:
        return signatures(self.exact, self.settings, self.status, self.references)


def _not_finite(value: float) -> str:
    return f"the value is {value}, which is not a finite number"
