"""The page of a sweep: what each point came to, and the error against what varies; from saved summaries only."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dlntorch.report.axes import label_axes, log_axis
from dlntorch.report.chart import look_of
from dlntorch.report.number_table import number_table, word_cell
from dlntorch.report.page import page_html, picture_html, section_html, table_html
from dlntorch.report.style import finish_figure, new_figure, save_figure, show_notice
from dlntorch.report.varied import Horizontal, choose_axis, label_of, varying
from dlntorch.run.summary import head_of
from dlntorch.store.folder import atomic_write
from dlntorch.sweep.collect import collect_sweep, varied_keys, write_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["sweep_figure", "write_sweep_report"]

#: Columns of the page's table; the CSV and parquet files have all.
_COLUMNS = ("state", "status", "steps", "residual", "distance_to_selected", "budget.dominant", "wall_seconds")
SHOWN = {key: head_of(key) for key in _COLUMNS}


#: What the theory says of the distance, where the flow is followed to its end.
PREDICTED = "predicted by the theory"

#: Most series that are told apart.
SERIES = 6


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
    """Distance to W_p against what the sweep varies, a series for each p (or what else varies), with medians and points."""
    done = [row for row in rows if row.get("distance_to_selected")]
    axis, series = _drawn(done)
    sign = "the initialization" if axis.key == "alpha" else axis.label
    figure, (axes,) = new_figure(f"Distance to W_p against {sign}", f"sweep {name}, {len(done)} points")
    if not np.any(np.isfinite(axis.x)):
        show_notice(axes, "No point has a distance to W_p yet.")
        finish_figure(figure, [axes])
        return figure
    distance = np.array([float(row["distance_to_selected"]) for row in done])
    lines: list[tuple[str, np.ndarray]] = []
    groups = list(dict.fromkeys(row.get(series) for row in done)) if series else [None]
    for i, group in enumerate(sorted(groups, key=lambda value: (str(type(value)), value or 0))):
        line = look_of(i)
        here = np.array([series is None or row.get(series) == group for row in done]) & np.isfinite(axis.x)
        places = np.unique(axis.x[here])
        middle = [np.median(distance[here & (axis.x == place)]) for place in places]
        axes.plot(
            axis.x[here], distance[here],
            linestyle="none", marker=line.marker, markersize=3.5, color=line.color, alpha=0.45,
        )  # fmt: skip
        label = ("all points" if series is None else label_of(series, group)) + (
            ", median" if np.count_nonzero(here) > len(places) else ""
        )
        style = line.style if axis.ordered else "none"
        axes.plot(places, middle, color=line.color, linestyle=style, marker=line.marker, label=label)
        lines.append((line.color, here))
    predicted = np.array([float(row.get("predicted.initialization") or np.nan) for row in done])
    _draw_predicted(axes, axis, predicted, lines)
    axis.draw(axes)
    log_axis(axes, "y", [distance, predicted])
    label_axes(axes, axis.label, "‖ψ − W_p‖₂")
    finish_figure(figure, [axes])
    return figure


def _draw_predicted(
    axes: Axes, axis: Horizontal, predicted: np.ndarray, lines: Sequence[tuple[str, np.ndarray]]
) -> None:
    """The predicted error of the initialization for each series: its color, and which points it has."""
    label: str | None = PREDICTED
    for color, here in lines:
        places = np.unique(axis.x[here])
        expected = [_median(predicted[here & (axis.x == place)]) for place in places]
        if np.any(np.isfinite(expected)):
            style = ":" if axis.ordered else "none"
            axes.plot(places, expected, color=color, linewidth=0.9, linestyle=style, marker="_", label=label)
            label = None


def _median(values: np.ndarray) -> float:
    """The median of the finite values, NaN without any."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else float("nan")


def _drawn(done: Sequence[Mapping[str, Any]]) -> tuple[Horizontal, str | None]:
    """The horizontal axis of points, and the column that makes their series: p, else another that varies."""
    set_keys = dict.fromkeys(key for row in done for key in varied_keys(str(row.get("overrides", ""))))
    keys = dict.fromkeys(["alpha", "p", *set_keys, "seed"])
    columns = {key: [row.get(key) for row in done] for key in keys}
    axis = choose_axis(columns, len(done))
    others = [key for key in varying(columns) if key != axis.key and not key.endswith("seed")]
    if "p" in others or (len(done) > 0 and axis.key != "p" and not others):
        return axis, "p"
    few = [key for key in others if len(set(map(str, columns[key]))) <= SERIES]
    return axis, few[0] if few else None


def _page(rows: Sequence[Mapping[str, Any]], folder: Path, image: bytes) -> str:
    name = folder.name
    states = Counter(str(row["state"]) for row in rows)
    words = ", ".join(f"{count} {state}" for state, count in states.most_common())
    statuses = Counter(str(row["status"]) for row in rows if row.get("status"))
    axis, series = _drawn([row for row in rows if row.get("distance_to_selected")])
    each = f" for each {series}" if series else ""
    marks = "lines join their medians" if axis.ordered else "large ones are their medians"
    caption = f"Small marks are points; {marks}{each} over everything else that the sweep varies."
    if any(row.get("predicted.initialization") for row in rows):
        caption += " Dashes are the predicted error of the initialization, which the step size and the time add to."
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
