"""Figures and page of a run of a factorization: singular values, norm and rank, distances along the run."""

from __future__ import annotations

import html
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dlntorch.report import folder_of, write_report
from dlntorch.report.chart import Chart, Panel, Series
from dlntorch.run.matrix_console import matrix_rows
from dlntorch.run.matrix_result import MatrixResult

__all__ = ["write_matrix_report"]

TIME = "t = Σ η  (time of the gradient flow)"
#: Singular values that are drawn: as many as a person can follow.
DRAWN = 6


def _panel(result: MatrixResult, label: str, names: Mapping[str, str], scale: Any = "log") -> Panel:
    columns, series = result.history, []
    for look, (name, words) in enumerate(names.items()):
        if name in columns:
            y = np.where(columns[name] > 0, columns[name], np.nan) if scale == "log" else columns[name]
            series.append(Series(words, columns["t"].tolist(), y.tolist(), look, "line"))
    return Panel("", TIME, label, tuple(series), y_scale=scale)


def _charts(result: MatrixResult) -> dict[str, Chart]:
    summary = result.summary
    where = f"{summary['problem']['name']}, {summary['model']}, alpha = {summary['alpha']:g}"
    sigma = {f"sigma_{i + 1}": f"σ{i + 1}" for i in range(min(DRAWN, *result.problem.shape))}
    distances = {"distance_to_nuclear": "to the least nuclear norm", "distance_to_truth": "to the planted matrix"}
    return {
        "singular_values": Chart(
            "singular_values",
            "Singular values of X",
            "The largest singular values of X against time: with a small start they grow one after the other, which is why X is "
            "of low rank for most of the run.",
            (_panel(result, "singular value", sigma),),
            where,
        ),
        "rank": Chart(
            "rank",
            "Norm and effective rank",
            "Left the effective rank, exp of the entropy of the singular values; right the nuclear norm. A run may lower the one "
            "and raise the other.",
            (
                _panel(result, "effective rank", {"effective_rank": "effective rank"}, "linear"),
                _panel(result, "nuclear norm", {"nuclear_norm": "nuclear norm"}, "linear"),
            ),
            where,
        ),
        "distances": Chart(
            "distances",
            "Residual and distances",
            "The relative residual, and how far X is from the minimiser of the nuclear norm and from the planted matrix, where "
            "there are such.",
            (_panel(result, "norm of the difference", {"residual": "relative residual", **distances}),),
            where,
        ),
    }


def write_matrix_report(result: MatrixResult) -> dict[str, Path]:
    """Write ``figures/*.png`` and ``report.html`` into a run's folder.

    Args:
        result: A finished run that has a folder.

    Returns:
        The figures' paths by name: ``singular_values``, ``rank``, ``distances``.

    Raises:
        InputError: when the run has no folder.
        OSError: when a file cannot be written.
    """
    from dlntorch.report.chart_static import draw_chart

    folder, charts = folder_of(result, "a run"), _charts(result)
    figures = {name: partial(draw_chart, chart) for name, chart in charts.items()}
    return write_report(folder, figures, partial(_page, result, charts))


def _page(result: MatrixResult, charts: Mapping[str, Chart], images: Mapping[str, bytes]) -> str:
    from dlntorch.report.page import figures_html, page_html, printable_line, section_html, table_html, yaml_text

    summary = result.summary
    heading = f"{summary['problem']['name']}: {summary['model']}, alpha = {summary['alpha']:g}"
    bad = " bad" if result.status.ended_badly else ""
    status = f"<strong>{html.escape(str(summary['status']))}</strong>: {html.escape(printable_line(str(summary['reason'])))}."
    head = ("what", "value", "meaning")
    references = [
        (name, str(value) if isinstance(value, bool) else value, str(summary["references"].get(f"{name}_reason", "")))
        for name, value in summary["references"].items()
        if not name.endswith("_reason")
    ]
    return page_html(
        f"dlntorch: {heading}",
        [
            f"<h1>{html.escape(printable_line(heading))}</h1>",
            f'<p class="status{bad}">{status}</p>',
            section_html("Result", table_html(head, matrix_rows(summary))),
            figures_html(charts, heading, images),
            section_html("References", table_html(head, references)),
            section_html("Configuration", "<pre>" + html.escape(yaml_text(result.config)) + "</pre>"),
            section_html(
                "Versions",
                table_html(("package", "version"), [(k, str(v), "") for k, v in summary["versions"].items()]),
            ),
        ],
    )
