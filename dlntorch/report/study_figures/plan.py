"""Plan: the error that was reached against the accuracy that was asked, and steps against predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlntorch.report.chart import Chart, Panel, Series
from dlntorch.studies.base import select, values_of

__all__ = ["charts"]


def charts(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    runs = select([dict(row) for row in rows], run=True)
    count = f"{len(runs)} runs"
    return [
        Chart(
            "accuracy",
            "The error that was reached against the accuracy that was asked for",
            "Each mark is one random problem; below the dotted line the accuracy is met.",
            (_panel(runs, "accuracy", "error", "accuracy asked", "‖ψ − Wₚ‖₂ reached"),),
            count,
        ),
        Chart(
            "steps",
            "The steps of the run against those that were predicted",
            "Each mark is one random problem; on the dotted line the prediction is exact.",
            (_panel(runs, "predicted_steps", "steps", "steps predicted", "steps made"),),
            count,
        ),
    ]


def _panel(runs: list[dict[str, Any]], x: str, y: str, x_label: str, y_label: str) -> Panel:
    values = [row[x] for row in runs] or [1.0]
    ends = [min(values), max(values)]
    series = [Series("equal", ends, ends, kind="guide")]
    for look, family in enumerate(values_of(runs, "family")):
        mine = select(runs, family=family)
        series.append(Series(family, [row[x] for row in mine], [row[y] for row in mine], 3 * look, "points"))
    return Panel("", x_label, y_label, tuple(series))
