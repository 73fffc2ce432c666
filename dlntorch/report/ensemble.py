"""Figures and page of an ensemble: distance against α beside the predicted slope, residuals, steps."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dlntorch.report.axes import label_axes, log_axis
from dlntorch.report.chart import look_of
from dlntorch.report.drawing import TIME, ReportFigure, plot_series
from dlntorch.report.number_table import number_table
from dlntorch.report.page import figures_html, page_html, printable_line, section_html, table_html, yaml_text
from dlntorch.report.style import GREY, PALE, SERIES, Line, finish_figure, format_number, new_figure, show_notice
from dlntorch.report.varied import Horizontal, choose_axis
from dlntorch.run.ensemble_result import EnsembleResult, network_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ENSEMBLE_FIGURES", "ensemble_heading", "render_ensemble_page"]

#: Paths that are drawn in the figure of residuals.
DRAWN_PATHS = 200

#: The columns of the page's tables of networks; together those of ``networks.csv``.
_COLUMNS = (
    ("network", "problem", "p", "alpha", "seed", "status", "steps", "time", "residual", "l1_gap"),
    ("network", *(f"distance_to_{name}" for name in ("l1", "selected", "truth", "limit", "flow"))),
    ("network", "discretization", "finite_time", "initialization", "dominant", "predicted_initialization"),
)


def ensemble_heading(result: EnsembleResult) -> str:
    """Which ensemble this is, in a line."""
    first = result[0].summary
    shape = f"{first['problem']['m']}×{first['problem']['n']}"
    parts = [f"{len(result)} networks", f"{_names(result)} {shape}"]
    for key, name, words in (("p", "p", "model"), ("alpha", "α", "start")):
        values = [network.summary[key] for network in result if network.summary[key] is not None]
        if values:
            low, high = min(values), max(values)
            parts.append(f"{name} = {low:g}" if low == high else f"{name} = {low:g} … {high:g}")
        if len(values) < len(result):  # a network without a depth, a start of several numbers
            others = dict.fromkeys(network.summary[words] for network in result if network.summary[key] is None)
            parts.append(next(iter(others)) if len(others) == 1 else f"{len(others)} {words}s")
    return " · ".join([*parts, f"schedule {first['schedule']['name']}"])


def _names(result: EnsembleResult) -> str:
    names = list(dict.fromkeys(network.summary["problem"]["name"] for network in result))
    return names[0] if len(names) == 1 else f"{len(names)} problems"


def _numbers(result: EnsembleResult, read: Callable[[Mapping[str, Any]], Any]) -> np.ndarray:
    """One number of every network's summary, NaN where it is missing."""
    found = [read(network.summary) for network in result]
    return np.array([np.nan if value is None else float(value) for value in found])


def _abscissa(result: EnsembleResult) -> Horizontal:
    """What the networks are drawn against: what varies of α, p and the seed, else their number."""
    summaries = [network.summary for network in result]
    return choose_axis(
        {key: [s[key] for s in summaries] for key in ("alpha", "p", "seed") if len({s[key] for s in summaries}) > 1},
        len(result),
    )


def _depths(result: EnsembleResult) -> list[tuple[str, np.ndarray, Line]]:
    """Every depth, or network without one, in words, with its networks and its look; looks repeat after six."""
    p = _numbers(result, lambda summary: summary["p"])
    groups = [(f"p = {depth:g}", p == depth) for depth in np.unique(p[np.isfinite(p)]).tolist()]
    models = np.array([network.summary["model"] if np.isnan(p[i]) else "" for i, network in enumerate(result)])
    groups += [(model, models == model) for model in dict.fromkeys(models.tolist()) if model]
    return [(words, np.flatnonzero(chosen), look_of(i)) for i, (words, chosen) in enumerate(groups)]


def _points(axes: Axes, x: np.ndarray, y: np.ndarray, line: Line, label: str, ordered: bool) -> None:
    """Networks of one depth: joined in order of x where each x occurs once, else points alone."""
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    joined = len(set(x.tolist())) == len(x)
    shown = np.isfinite(y) & (y > 0)
    axes.plot(
        x[shown],
        y[shown],
        color=line.color,
        linestyle=line.style if joined and ordered else "none",
        linewidth=1.8,
        marker=line.marker,
        markersize=5.0,
        markeredgecolor="white",
        markeredgewidth=0.6,
        label=label,
    )


def draw_network_distances(title: str, result: EnsembleResult) -> Figure:
    """‖ψ − W_p‖ of every network against α, with the error that α alone costs and the theorem's slope."""
    axis = _abscissa(result)
    distance = _numbers(result, lambda summary: summary["distance_to_selected"])
    floor = _numbers(result, lambda summary: summary["budget"]["initialization"])
    figure, (axes,) = new_figure(title, ensemble_heading(result))
    if not np.any(distance > 0):
        show_notice(axes, "No distance to W_p to draw: " + _reason(result))
        finish_figure(figure, [axes])
        return figure
    shown = [distance[distance > 0]]
    for words, chosen, line in _depths(result):
        _points(axes, axis.x[chosen], distance[chosen], line, f"{words}: distance to W_p", axis.ordered)
        if axis.key == "alpha":
            shown += _slope(axes, result, chosen, axis.x[chosen], floor[chosen], line)
    if len(_depths(result)) == 1 and np.any(floor > 0):
        order = np.argsort(axis.x, kind="stable")
        positive = order[floor[order] > 0]
        axes.plot(axis.x[positive], floor[positive], color=GREY, linestyle=(0, (7, 3)), label="floor ‖ψ_α(∞) − W_p‖")
        shown.append(floor[positive])
    axis.draw(axes)
    log_axis(axes, "y", shown)
    label_axes(axes, axis.label, "distance of ψ,  ‖·‖₂")
    finish_figure(figure, [axes])
    return figure


def _slope(
    axes: Axes, result: EnsembleResult, chosen: np.ndarray, alpha: np.ndarray, floor: np.ndarray, line: Line
) -> list[np.ndarray]:
    """The predicted C·α^exponent of one depth; without a known C it passes through the floor at the smallest α.

    Networks on different problems have constants of their own, and no common line.
    """
    if len({id(result[int(i)].problem) for i in chosen}) > 1 or len(set(alpha.tolist())) < 2:
        return []
    predicted = result[int(chosen[0])].summary["predicted"]
    exponent, constant = predicted["exponent"], predicted["constant"]
    grid = np.array([alpha.min(), alpha.max()])
    if exponent is None:
        return []
    label = f"predicted C·α^{exponent:.3g}"
    if constant is None:
        least = int(np.argmin(alpha))
        if not floor[least] > 0:
            return []
        constant = floor[least] / alpha[least] ** exponent
        label = f"predicted slope α^{exponent:.3g}"
    values = constant * grid**exponent
    axes.plot(grid, values, color=line.color, linestyle=(0, (1, 2)), linewidth=1.5, label=label)
    return [values]


def _reason(result: EnsembleResult) -> str:
    return str(result[0].summary.get("distance_to_selected_reason", "every distance is zero"))


def draw_residuals(title: str, result: EnsembleResult) -> Figure:
    """The residual of every network against t; named where there are few, else the first and the last."""
    figure, (axes,) = new_figure(title, ensemble_heading(result))
    histories = [network.history for network in result]
    few = len(result) <= len(SERIES)
    named = dict(zip(range(len(result)) if few else (0, len(result) - 1), SERIES[:: 1 if few else 2], strict=False))
    stride = -(-len(result) // DRAWN_PATHS)
    shown, times = [], []
    for i, history in enumerate(histories):
        t, residual = history["t"], history["residual"]
        positive = (t > 0) & (residual > 0)
        if not positive.any() or (i % stride and i not in named):
            continue
        shown.append(residual[positive])
        times.append(t[positive])
        if i in named:
            plot_series(axes, t, residual, named[i], _label(result, i))
        else:
            axes.plot(t[positive], residual[positive], color=PALE, linewidth=0.8, zorder=1.2)
    if not shown:
        show_notice(axes, "No residual was recorded after the first step.")
    else:
        log_axis(axes, "x", times)
        log_axis(axes, "y", shown)
        label_axes(axes, TIME, "residual  ‖Aψ − y‖₂ / ‖y‖₂")
    finish_figure(figure, [axes])
    return figure


def _label(result: EnsembleResult, i: int) -> str:
    """What distinguishes network ``i``: those of p, α and seed that vary, and its number."""
    summaries = [network.summary for network in result]
    parts = [
        f"{name} = {summaries[i][key]:g}" if summaries[i][key] is not None else str(summaries[i][words])
        for key, name, words in (("p", "p", "model"), ("alpha", "α", "start"), ("seed", "seed", "seed"))
        if len({str(summary[key] if summary[key] is not None else summary[words]) for summary in summaries}) > 1
    ]
    return f"network {i}" + (": " + ", ".join(parts) if parts else "")


def draw_network_steps(title: str, result: EnsembleResult) -> Figure:
    """Steps of every network."""
    axis = _abscissa(result)
    steps = _numbers(result, lambda summary: summary["steps"])
    figure, (axes,) = new_figure(title, ensemble_heading(result))
    if not np.any(steps > 0):
        show_notice(axes, "No step was made.")
    else:
        for words, chosen, line in _depths(result):
            _points(axes, axis.x[chosen], steps[chosen], line, words, axis.ordered)
        axis.draw(axes)
        log_axis(axes, "y", [steps[steps > 0]])
        label_axes(axes, axis.label, "SGD steps")
    finish_figure(figure, [axes])
    return figure


ENSEMBLE_FIGURES: dict[str, ReportFigure[EnsembleResult]] = {
    "distances": ReportFigure(
        "Distance to W_p",
        "How far each network ends from the minimiser that its depth selects. The dotted line is the theorem's prediction, "
        "a slope of p in α for p > 2; networks above it have a larger error from the step size or from stopping early. The "
        "dashed floor is what α alone costs.",
        draw_network_distances,
    ),
    "residual": ReportFigure(
        "Residuals",
        "The residual against time: every network stops by itself. Of many networks the first and the last are named and "
        f"the others grey; of more than {DRAWN_PATHS}, evenly spaced ones are drawn.",
        draw_residuals,
    ),
    "steps": ReportFigure(
        "Steps",
        "SGD steps that each network took until it ended.",
        draw_network_steps,
    ),
}


def render_ensemble_page(result: EnsembleResult, images: Mapping[str, bytes]) -> str:
    """The page of an ensemble, self-contained.

    Args:
        result: The ensemble.
        images: The PNG of each figure, by name.
    """
    summary, heading = result.summary, ensemble_heading(result)
    bad = ' bad"' if result.status.ended_badly else '"'
    seconds = format_number(float(summary["wall_seconds"]))
    status = (
        f"<strong>{html.escape(summary['status'])}</strong>: {html.escape(printable_line(summary['reason']))}; "
        f"{summary['steps']:,} steps in {seconds} s on {summary['threads']} threads."
    )
    versions = [(name, str(value), "") for name, value in result[0].summary["versions"].items()]
    sections = [
        f"<h1>{html.escape(printable_line(heading)).replace(' = ', '&nbsp;=&nbsp;')}</h1>",
        f'<p class="status{bad}>{status}</p>',
        figures_html(ENSEMBLE_FIGURES, heading, images),
        section_html("Networks", _networks_html(result), "rows"),
        section_html("Configuration", "<pre>" + html.escape(yaml_text(result.config)) + "</pre>"),
        section_html("Versions", table_html(("package", "version"), versions)),
    ]
    return page_html(f"dlntorch: {heading}", sections)


def _networks_html(result: EnsembleResult) -> str:
    """Tables with a row for each network: how it ended, its distances, its errors."""
    rows = network_rows(result.networks)
    tables = []
    for columns in _COLUMNS:
        heads = [name.replace("_", " ") for name in columns]
        shown = [
            [printable_line(row[key]) if isinstance(row[key], str) else row[key] for key in columns] for row in rows
        ]
        tables.append(number_table(heads, shown))
    return "\n".join(tables)
