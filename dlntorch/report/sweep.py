"""The page of a sweep: what each point came to, and the error against α; from saved summaries only."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dlntorch.experiment.collect import collect_sweep, write_table
from dlntorch.experiment.folder import atomic_write
from dlntorch.report.axes import label_axes, log_axis
from dlntorch.report.chart import look_of
from dlntorch.report.number_table import number_table, word_cell
from dlntorch.report.page import page_html, picture_html, section_html, table_html
from dlntorch.report.style import finish_figure, new_figure, save_figure, show_notice

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["sweep_figure", "write_sweep_report"]

#: Columns of the page's table; the CSV and parquet files have all.
SHOWN = {
    "state": "state",
    "status": "status",
    "steps": "steps",
    "residual": "residual",
    "distance_to_selected": "to W_p",
    "budget.dominant": "dominant error",
    "wall_seconds": "seconds",
}


def write_sweep_report(sweep: str | Path) -> list[Path]:
    """Gather a sweep into ``summaries.csv``, ``summaries.parquet``, ``figures/sweep.png`` and ``report.html`` in its folder.

    It may be running still: points without a summary are shown as what they are.

    Raises:
        InputError: when the folder is not that of a sweep.
    """
    folder = Path(sweep)
    rows = collect_sweep(folder)
    paths = write_table(rows, folder)
    figure = folder / "figures" / "sweep.png"
    image = save_figure(sweep_figure(rows, folder.name), figure)
    page = folder / "report.html"
    atomic_write(page, _page(rows, folder, image).encode("utf-8", "replace"))
    return [*paths, figure, page]


def sweep_figure(rows: Sequence[Mapping[str, Any]], name: str) -> Figure:
    """Distance to W_p against α, a series for each p, with the median and all points."""
    done = [row for row in rows if row.get("distance_to_selected") and row.get("alpha")]
    figure, (axes,) = new_figure("Distance to W_p against the initialization", f"sweep {name}, {len(done)} points")
    if not done:
        show_notice(axes, "No point has a distance to W_p yet.")
        finish_figure(figure, [axes])
        return figure
    depths = sorted({float(row["p"]) for row in done})
    for i, p in enumerate(depths):
        line = look_of(i)
        here = [row for row in done if float(row["p"]) == p]
        alphas = sorted({float(row["alpha"]) for row in here})
        middle = [np.median([row["distance_to_selected"] for row in here if row["alpha"] == alpha]) for alpha in alphas]
        axes.plot(
            [row["alpha"] for row in here],
            [row["distance_to_selected"] for row in here],
            linestyle="none", marker=line.marker, markersize=3.5, color=line.color, alpha=0.45,
        )  # fmt: skip
        label = f"p = {p:g}" + (", median" if len(here) > len(alphas) else "")
        axes.plot(alphas, middle, color=line.color, linestyle=line.style, marker=line.marker, label=label)
    log_axis(axes, "x", [row["alpha"] for row in done])
    log_axis(axes, "y", [row["distance_to_selected"] for row in done])
    label_axes(axes, "α", "‖ψ − W_p‖₂")
    finish_figure(figure, [axes])
    return figure


def _page(rows: Sequence[Mapping[str, Any]], folder: Path, image: bytes) -> str:
    name = folder.name
    states = Counter(str(row["state"]) for row in rows)
    words = ", ".join(f"{count} {state}" for state, count in states.most_common())
    statuses = Counter(str(row["status"]) for row in rows if row.get("status"))
    caption = "Small marks are points; lines join their medians over everything else that the sweep varies."
    sections = [
        f"<h1>Sweep {html.escape(name)}</h1>",
        f'<p class="status{" bad" if states.get("failed") else ""}">{len(rows)} points: {html.escape(words)}.</p>',
        "<section><h2>How runs ended</h2>"
        + table_html(("status", "points"), [(status, count, "") for status, count in statuses.most_common()])
        + "</section>",
        f'<section class="figures"><h2>Figures</h2><figure>{picture_html(image, caption)}'
        f"<figcaption>{caption}</figcaption></figure></section>",
        section_html("Points", _points(rows, folder), "rows"),
    ]
    return page_html(f"dlntorch: sweep {name}", sections)


def _points(rows: Sequence[Mapping[str, Any]], folder: Path) -> str:
    """One line for each point, with a link to its own page where it has one: callbacks.figures=false writes none."""
    failed = any(row["state"] == "failed" for row in rows)
    cells = []
    for row in rows:
        name = html.escape(str(row["overrides"] or row["point"]))
        if (folder / str(row["point"]) / "report.html").is_file():
            name = f'<a href="{html.escape(str(row["point"]), quote=True)}/report.html">{name}</a>'
        values = [row.get(key) for key in SHOWN]
        values = [value.replace("_", " ") if isinstance(value, str) else value for value in values]
        reason = str(row.get("reason", "")) if row["state"] == "failed" else ""
        cells.append([word_cell(name), *values, *([reason] if failed else [])])
    return number_table(["point", *SHOWN.values(), *(["reason"] if failed else [])], cells)
