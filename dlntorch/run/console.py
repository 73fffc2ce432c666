"""What a person reads before and after a run: the plan, and the closing table."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dlntorch.numerics.validation import DataWarning
from dlntorch.run.expected_end import expected_error
from dlntorch.run.quantities import Shown, in_ascii, quantities
from dlntorch.run.result import RunResult
from dlntorch.run.speed import budget_notes, expected_seconds, measure_speed
from dlntorch.run.summary import (
    PARTS_OF_ERROR,
    EffectiveStart,
    ErrorBudget,
    OptimizerPrediction,
    Predicted,
    StepSizes,
    Summary,
)
from dlntorch.run.terminal_table import table_of, terminal

if TYPE_CHECKING:
    from dlntorch.problem import Problem
    from dlntorch.run.planning import Plan
    from dlntorch.run.settings import RunSettings

__all__ = ["announce", "announce_accuracy", "announce_sources", "conclude", "plan_table", "shown"]


def shown(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _rank(problem: Problem) -> int | str:
    """rank(A), or the word for not knowing it."""
    return "unknown" if problem.known_rank is None else problem.known_rank


def announce_sources(problems: Iterable[Problem]) -> None:
    """One line for each file that problems were read from: what was read from it; of many files the first three."""
    sources = [source for source in dict.fromkeys(problem.source for problem in problems) if source]
    for line in sources[:3]:
        print(line, flush=True)
    if len(sources) > 3:
        print(f"and {len(sources) - 3} files more", flush=True)


def announce(plan: Plan) -> None:
    """One line before training: what is trained, and how long it will take."""
    problem, settings, prediction = plan.problem, plan.settings, plan.prediction
    expected = f"steps not predicted: {prediction.reason}"
    if prediction.steps is not None and prediction.time is not None:
        expected = f"expected {prediction.steps:.2g} steps to t = {prediction.time:.3g}"
        if prediction.steps > settings.stopping.max_steps:
            expected += f", more than max_steps={settings.stopping.max_steps:,}"
        if prediction.time > settings.stopping.max_time:
            expected += f", beyond max_time={settings.stopping.max_time:g}"
        if math.isfinite(settings.max_wall_seconds):
            expected += f", in {expected_seconds([plan], measure_speed(plan))}"
    if plan.note:
        print(plan.note, flush=True)
    else:
        announce_sources([problem])
    chosen = settings.schedule
    numbers = f" kappa={chosen.kappa:.3g} epsilon={chosen.epsilon:g}" if chosen.kind.certifies else ""
    print(
        f"{problem.name}: m={problem.m} n={problem.n} rank={_rank(problem)}, {settings.words}, "
        f"schedule={chosen.name}{numbers} engine={settings.engine}; {expected}",
        flush=True,
    )


#: What is chosen by an accuracy, and predicted of it.
_PLANNED = {
    "p": "depth",
    "alpha": "initialization",
    "schedule.kappa": "largest relative change of a parameter in a step",
    "tol": "residual to stop at",
    "max_time": "horizon, t = sum of eta",
    "max_steps": "step budget",
    "steps": "predicted SGD steps",
    "seconds": "predicted training time on this machine",
    "discretization": "predicted, of descent against the flow",
    "finite_time": "predicted, of the flow at its end against its limit",
    "initialization": "predicted, of the limit against W_p",
    "error": "predicted ||psi - W_p||, in which parts may cancel",
}


def announce_accuracy(record: Mapping[str, Any], table: bool) -> None:
    """What an accuracy chose, and why: a table before a dry run, else two lines.

    Args:
        record: That of :func:`~dlntorch.run.asked_accuracy.planned_settings`.
        table: Whether to print all of it.
    """
    asked, chosen, predicted = record["asked"], record["chosen"], record["predicted"]
    if table:
        cells = [("accuracy", shown(float(asked["accuracy"])), "asked of ||psi - W_p||")]
        for key, meaning in _PLANNED.items():
            given = asked.get(key) is not None
            values = [part[key] for part in (chosen, predicted) if key in part]
            cells += [(key, shown(value), f"{meaning} (given)" if given else meaning) for value in values[:1]]
        cells.append(("why", "", str(predicted["why"])))
        terminal().print(table_of("the plan for this accuracy", ("what", "value", "meaning"), cells, numbers=(1,)))
        return
    words = " ".join(f"{key}={value:.6g}" for key, value in chosen.items() if isinstance(value, int | float))
    print(f"accuracy={asked['accuracy']:g}: {words}", flush=True)
    parts = ", ".join(f"{name.replace('_', ' ')} {predicted[name]:.2g}" for name in PARTS_OF_ERROR)
    print(
        f"predicted: {predicted['steps']:.3g} steps in {predicted['seconds']:.2g} s to an error of "
        f"{predicted['error']:.2g} ({parts}); {predicted['why']}",
        flush=True,
    )


def _accuracy_rows(report: Mapping[str, Any] | None) -> list[tuple[str, Any, str]]:
    """What was asked and what was reached."""
    if report is None:
        return []
    if report["reached"] is None:
        verdict = report["reached_reason"]
    else:
        ratio = report["reached"] / report["accuracy"]
        verdict = "met" if report["met"] else f"missed by a factor {ratio:.2g}"
    return [
        ("asked", report["accuracy"], "accuracy of ||psi - W_p||"),
        ("reached", report["reached"], f"{verdict}; {report['error']:.2g} was predicted"),
    ]


def _nearest_rows(report: Mapping[str, Any] | None) -> list[tuple[str, Any, str]]:
    """Where a run on a planted problem was best, and what the lasso's best is; a folder of an earlier version has no lasso."""
    if report is None:
        return []
    rows: list[tuple[str, Any, str]] = [
        (
            "nearest_to_truth",
            report["distance"],
            f"smallest distance to the planted signal, at t = {report['time']:.4g}",
        )
    ]
    if report.get("lasso_distance") is not None:
        where = f"smallest of the lasso's path, at lambda = {report['lasso_strength']:.4g}"
        rows.append(("lasso_distance", report["lasso_distance"], where))
    return rows


def _budgets(settings: RunSettings) -> str:
    """What ends a run otherwise than its residual."""
    found = [f"{settings.stopping.max_steps:,} steps"]
    if math.isfinite(settings.stopping.max_time):
        found.append(f"t = {settings.stopping.max_time:g}")
    if math.isfinite(settings.max_wall_seconds):
        found.append(f"{settings.max_wall_seconds:g} s")
    return ", ".join(found)


def plan_table(plan: Plan, config: Mapping[str, Any]) -> None:
    """The whole plan, for ``dry_run=true``: problem, schedule, references, predicted steps, time, seconds and error at the end.

    The seconds are the predicted steps at the speed of some that are made now on this machine and thrown away. A budget that
    is predicted to end the run early is warned of.
    """
    problem, settings, references = plan.problem, plan.settings, plan.references
    announce_sources([problem])
    rows: list[tuple[str, Any]] = [
        ("problem", f"{problem.name}, m={problem.m} n={problem.n} rank={_rank(problem)}"),
        ("y in range(A)", "unknown" if problem.known_rank is None else problem.consistent),
        ("network and start", settings.words),
        ("schedule", " ".join(f"{k}={v}" for k, v in config["schedule"].items() if v is not None)),
        ("engine", f"{settings.engine} on {settings.device}, {str(settings.dtype).removeprefix('torch.')}"),
        ("batch size", settings.batch_size or f"full batch ({problem.m} rows)"),
        ("stops at residual", f"{settings.stopping.tol:g} ||y||, or {_budgets(settings)}"),
    ]
    if references.l1 is not None:
        l1 = references.l1
        rows.append(("min ||psi||_1", float(l1.value)))
        rows.append(("nonzeros of the minimiser", len(l1.support)))
        rows.append(("unique", "undecided" if l1.unique is None else l1.unique))
    if references.rate is not None:
        rows.append(("predicted exponent of alpha", references.rate.exponent))
        rows.append(("predicted constant", references.rate.constant))
    for name, reason in references.reasons.items():
        rows.append((f"note on {name}", reason))
    prediction = plan.prediction
    rows.append(("predicted steps", prediction.reason if prediction.steps is None else f"{prediction.steps:.3g}"))
    rows.append(("predicted time t", prediction.reason if prediction.time is None else f"{prediction.time:.4g}"))
    rows.append(("predicted ||psi - W_p||", expected_error(plan)))
    speed = measure_speed(plan, config["trainer"]["threads"])
    rows.append(("steps per second", speed.reason or f"{speed.steps_per_second:.2g}, of {speed.steps:,} made now"))
    rows.append(("predicted training time", expected_seconds([plan], speed)))
    cells = [(name, shown(value)) for name, value in rows]
    terminal().print(table_of("dry run: nothing is trained", ("", ""), cells))
    for note in budget_notes(plan, speed):
        warnings.warn(f"this run will end before it converges: {note}", DataWarning, stacklevel=2)


def _rows(part: type, values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, str]]:
    """What a part of the summary has for the closing table; what is not known of it is left to the page."""
    known = [row for row in Shown.all(part, values, "console") if row.value is not None]
    return [(f"{prefix}{key}", value, in_ascii(words)) for key, value, words in known]


def conclude(result: RunResult) -> None:
    """The closing table: status, distances, the error budget with its dominant term, and where the files are."""
    summary = result.summary
    budget, schedule = summary["budget"], summary["schedule"]
    rows = [("steps", summary["steps"], f"in {summary['wall_seconds']:.2f} s, to t = {summary['time']:.4g}")]
    rows += _rows(Summary, summary)
    rows += _nearest_rows(summary.get("nearest_to_truth")) + _accuracy_rows(summary.get("plan"))
    rows += _rows(ErrorBudget, budget) + _rows(EffectiveStart, summary.get("effective", {}))
    rows += _rows(OptimizerPrediction, summary.get("update", {}))
    rows += _rows(Predicted, summary["predicted"], "predicted ")
    if schedule["certified_theta_error"] is not None:
        asked = f" (asked: {schedule['epsilon']:g})" if "epsilon" in schedule else ""
        key = "certified_theta_error_sup" if schedule.get("over") == "all" else "certified_theta_error"
        words = in_ascii(dict(quantities(StepSizes))[key].words)
        rows.append(("certified", schedule[key], f"{words}{asked}"))
    if summary["references"]["l1_value"] is not None and "digits_of_data" in summary:  # runs of version 0.1 have none
        why = summary.get("digits_reason") or f"that the data must have; they have {summary['digits_of_data']}"
        rows.append(("digits", summary["digits"], in_ascii(why)))
    cells = [(name, shown(value), meaning) for name, value, meaning in rows]
    title = f"{summary['status']}: {summary['reason']}"
    console = terminal()
    console.print(table_of(title, ("what", "value", "meaning"), cells, numbers=(1,)))
    if not schedule.get("epsilon_met", True):
        console.print(f"note: {schedule['epsilon_met_reason']}", soft_wrap=True)
    if budget["dominant"] is not None:
        console.print(f"dominant error: {summary['advice']}", soft_wrap=True)
    for text in filter(None, (*summary["signatures"], summary.get("digits_warning"))):
        console.print(f"note: {text}", soft_wrap=True)
    console.print(f"run folder: {result.folder}", soft_wrap=True)
