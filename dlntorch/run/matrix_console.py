"""What a person reads before and after a run of a factorization."""

from __future__ import annotations

from typing import Any

from dlntorch.run.console import shown
from dlntorch.run.matrix_plan import MatrixPlan
from dlntorch.run.matrix_result import MatrixResult
from dlntorch.run.terminal_table import table_of, terminal

__all__ = ["announce_matrix", "conclude_matrix", "matrix_plan_table", "matrix_rows"]


def _words(plan: MatrixPlan) -> str:
    settings = plan.settings
    rule = " ".join(f"{key}={value:g}" for key, value in settings.schedule.items() if isinstance(value, int | float))
    model = settings.model
    return (
        f"{model['kind']} of {model['layers']} layers from alpha = {model['alpha']:g}, "
        f"schedule={settings.schedule['name']}{f' {rule}' if rule else ''}, optimizer={settings.update.name}"
    )


def announce_matrix(plan: MatrixPlan) -> None:
    """One line before training: what is trained."""
    d1, d2 = plan.problem.shape
    print(f"{plan.problem.name}: {plan.problem.m} measurements of a {d1}x{d2} matrix, {_words(plan)}", flush=True)


def matrix_plan_table(plan: MatrixPlan) -> None:
    """The whole plan, for ``dry_run=true``."""
    d1, d2 = plan.problem.shape
    budget = plan.settings.budget
    rows: list[tuple[str, Any]] = [
        ("problem", f"{plan.problem.name}, {plan.problem.m} measurements of a {d1}x{d2} matrix"),
        ("network, start, steps", _words(plan)),
        ("stops at residual", f"{budget.tol:g} ||y||, or {budget.max_steps:,} steps"),
        ("predicted steps", plan.prediction.reason),
    ]
    if plan.least is None:
        rows.append(("note on the nuclear norm", plan.why))
    else:
        unique = "undecided" if plan.least.unique is None else plan.least.unique
        rows += [("min ||X||_*", plan.least.value), ("its rank", plan.least.rank), ("unique", unique)]
    terminal().print(table_of("dry run: nothing is trained", ("", ""), [(name, shown(value)) for name, value in rows]))


def matrix_rows(summary: dict[str, Any]) -> list[tuple[str, Any, str]]:
    """The result of a run: name, value and meaning."""
    return [
        ("steps", summary["steps"], f"in {summary['wall_seconds']:.2f} s, to t = {summary['time']:.4g}"),
        ("residual", summary["residual"], "relative: the measurements of X against y"),
        ("rank", summary["rank"], "singular values above 1e-9 of the largest"),
        ("effective_rank", summary["effective_rank"], "exp of the entropy of the singular values"),
        ("nuclear_norm", summary["nuclear_norm"], "the sum of the singular values"),
        ("nuclear_gap", summary["nuclear_gap"], "relative to the least nuclear norm with these measurements"),
        ("distance_to_nuclear", summary["distance_to_nuclear"], "to the minimiser of the nuclear norm"),
        ("distance_to_truth", summary["distance_to_truth"], "to the planted matrix"),
        ("imbalance", summary["imbalance"], "of neighbouring layers; the flow keeps it"),
    ]


def conclude_matrix(result: MatrixResult) -> None:
    """The closing table: status, rank, norm, distances, and where the files are."""
    summary = result.summary
    cells = [(name, shown(value), meaning) for name, value, meaning in matrix_rows(summary)]
    console = terminal()
    title = f"{summary['status']}: {summary['reason']}"
    console.print(table_of(title, ("what", "value", "meaning"), cells, numbers=(1,)))
    console.print(f"run folder: {result.folder}", soft_wrap=True)
