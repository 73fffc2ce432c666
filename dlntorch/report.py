"""The figures and the page of a run, drawn from its results; nothing is computed again.

Lines are told apart by their style as well as by their colour, so that the figures work in grey.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dlntorch.experiment.folder import atomic_write
from dlntorch.experiment.result import RunResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["write_run_report"]

#: Colours of decreasing luminance (legible in grey and to colour-blind eyes), each with its own line style.
STYLES: tuple[dict[str, Any], ...] = (
    {"color": "#08306b", "linestyle": "-"},
    {"color": "#d95f02", "linestyle": "--"},
    {"color": "#1b9e77", "linestyle": "-."},
    {"color": "#7570b3", "linestyle": ":"},
)
TIME_LABEL = "time t = Σ η (units of the flow θ̇ = −∇L)"
#: More coefficients than this are drawn in one light colour, but for the support.
MAX_NAMED = 12


def write_run_report(result: RunResult) -> dict[str, Path]:
    """Write ``figures/*.png`` and ``report.html`` into a run's folder.

    Args:
        result: A finished run with a folder.

    Returns:
        The figures' paths by name.

    Raises:
        ValueError: when the result has no folder.
    """
    if result.folder is None:
        raise ValueError("the result has no folder to write a report into")
    paths: dict[str, Path] = {}
    images: dict[str, bytes] = {}
    for name, (title, draw) in FIGURES.items():
        images[name] = _picture(result, title, draw)
        paths[name] = result.folder / "figures" / f"{name}.png"
        atomic_write(paths[name], images[name])
    atomic_write(result.folder / "report.html", _page(result, images).encode())
    return paths


# -- figures ----------------------------------------------------------------------------------------------------------


def _picture(result: RunResult, title: str, draw: Callable[[Axes, RunResult], None]) -> bytes:
    """One PNG; matplotlib's object interface, so that no global state is touched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.4), dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.12, 0.13, 0.85, 0.76))
    draw(axes, result)
    summary = result.summary
    of_run = f"{summary['problem']['name']}, p = {summary['p']:g}, α = {summary['alpha']:g}"
    axes.set_title(f"{title} ({_plain(of_run)})", fontsize=10, loc="left")
    axes.grid(True, which="major", color="0.88", linewidth=0.6)
    axes.set_axisbelow(True)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, framealpha=0.85, edgecolor="0.8")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _plain(text: str) -> str:
    """Text that matplotlib takes as it is: no mathematics mode."""
    return text.replace("$", r"\$")[:80]


def _positive(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points that logarithmic axes can show."""
    shown = (x > 0) & (y > 0) & np.isfinite(x) & np.isfinite(y)
    return x[shown], y[shown]


def _curves(axes: Axes, x: np.ndarray, curves: Mapping[str, np.ndarray], x_label: str, y_label: str) -> None:
    """Named curves on two logarithmic axes."""
    drawn = 0
    for style, (label, values) in zip(STYLES, curves.items(), strict=False):
        points = _positive(x, np.asarray(values, dtype=np.float64))
        if points[0].size:
            axes.plot(*points, label=label, linewidth=1.6, marker="o" if points[0].size == 1 else None, **style)
            drawn += 1
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    if drawn:
        axes.set_xscale("log")
        axes.set_yscale("log")
    else:
        axes.text(0.5, 0.5, "no positive values to draw", ha="center", transform=axes.transAxes, color="0.4")


def _level(axes: Axes, value: float | None, label: str, **style: Any) -> None:
    if value is not None and value > 0:
        axes.axhline(value, label=label, linewidth=1.0, **style)


def _draw_distances(axes: Axes, result: RunResult) -> None:
    names = {
        "distance_to_selected": "to W_p, the minimiser depth p selects",
        "distance_to_l1": "to the linear programme's vertex",
        "distance_to_limit": "to the flow's limit ψ_α(∞)",
        "distance_to_truth": "to the planted signal",
    }
    curves = {label: result.history[name] for name, label in names.items() if name in result.history}
    _curves(axes, result.history["t"], curves, TIME_LABEL, "Euclidean distance of ψ")
    summary = result.summary
    _level(
        axes,
        summary["budget"]["initialization"],
        "the limit's floor ‖ψ_α(∞) − W_p‖",
        color="0.25",
        linestyle=(0, (6, 2)),
    )
    _level(axes, summary["predicted"]["initialization"], "predicted C·α^p", color="0.55", linestyle=(0, (1, 1)))


def _draw_residual(axes: Axes, result: RunResult) -> None:
    curves = {"residual ‖Aψ − y‖/‖y‖": result.history["residual"]}
    if "l1_gap" in result.history:
        gap = result.history["l1_gap"]
        curves["ℓ1 above the minimum"] = np.where(gap > 0, gap, 0.0)
        curves["ℓ1 below it (ψ not feasible yet)"] = np.where(gap < 0, -gap, 0.0)
    _curves(axes, result.history["t"], curves, TIME_LABEL, "residual, ℓ1 gap")
    _level(axes, result.summary["tol"], "tolerance", color="0.4", linestyle=(0, (1, 1)))


def _draw_coefficients(axes: Axes, result: RunResult) -> None:
    t, psi = result.trajectory.t.numpy(), result.trajectory.psi.numpy()
    shown = t > 0
    axes.set_xlabel(TIME_LABEL)
    axes.set_ylabel("coefficients ψ_i(t)")
    if not shown.any():
        axes.text(0.5, 0.5, "no step was made: ψ = 0", ha="center", transform=axes.transAxes, color="0.4")
        return
    t, psi = t[shown], psi[shown]
    order = np.argsort(-np.abs(psi[-1]), kind="stable")
    named = order[:MAX_NAMED]
    rest = order[MAX_NAMED : MAX_NAMED + 400]
    axes.set_xscale("log")
    if rest.size:
        axes.plot(t, psi[:, rest], color="0.78", linewidth=0.7)
        axes.plot([], [], color="0.78", linewidth=0.7, label=f"the other {psi.shape[1] - named.size} coordinates")
    for rank, i in enumerate(named):
        axes.plot(t, psi[:, i], linewidth=1.4, **STYLES[rank % len(STYLES)])
    axes.plot([], [], label=f"the {named.size} largest at the end", linewidth=1.4, **STYLES[0])
    axes.plot(np.full(named.size, t[-1]), psi[-1, named], "k_", markersize=9, label="at the end of the run")


def _draw_steps(axes: Axes, result: RunResult) -> None:
    history = result.history
    curves = {"step size η": history["eta"]}
    if "sharpness" in history:
        with np.errstate(divide="ignore"):
            curves["stability limit 2/‖∇²L‖"] = 2 / history["sharpness"]
    curves["smallest parameter"] = history["smallest_parameter"]
    _curves(axes, history["step"], curves, "SGD step", "step size (units of t), parameter")


def _draw_budget(axes: Axes, result: RunResult) -> None:
    history, budget = result.history, result.summary["budget"]
    t = history["t"]
    curves: dict[str, np.ndarray] = {}
    if "distance_to_flow" in history:
        curves["discretization: descent against flow"] = history["distance_to_flow"]
    if "flow_to_limit" in history:
        curves["finite time: flow against its limit"] = history["flow_to_limit"]
    if budget["initialization"] is not None:
        curves["initialization: limit against W_p"] = np.full(len(t), budget["initialization"])
    if len(curves) == 3:
        total = np.sum(list(curves.values()), axis=0)
        points = _positive(t, total)
        if points[0].size > 1:
            axes.fill_between(*points, y2=points[1].min() * 0.5, color="0.92", label="their sum, a bound on the error")
    _curves(axes, t, curves, TIME_LABEL, "part of the error, Euclidean norm of ψ")
    dominant = budget["dominant"]
    note = f"at the end: mostly {dominant.replace('_', ' ')}" if dominant else budget.get("dominant_reason", "")
    axes.text(0.99, 0.02, _plain(note), ha="right", fontsize=8, transform=axes.transAxes, color="0.25")


FIGURES: dict[str, tuple[str, Callable[[Any, RunResult], None]]] = {
    "distances": ("Distance to the references", _draw_distances),
    "residual": ("Residual and ℓ1 gap", _draw_residual),
    "coefficients": ("Coefficients of the network", _draw_coefficients),
    "steps": ("Step size, stability and positivity", _draw_steps),
    "budget": ("Where the error comes from", _draw_budget),
}

# -- page -------------------------------------------------------------------------------------------------------------

_CSS = """
body { font: 16px/1.5 system-ui, sans-serif; color: #111; background: #fff; max-width: 56rem; margin: 1.5rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
img { width: 100%; height: auto; } figure { margin: 1rem 0; break-inside: avoid; }
table { border-collapse: collapse; width: 100%; font-size: .95rem; }
td, th { border-bottom: 1px solid #ddd; padding: .25rem .5rem; text-align: left; overflow-wrap: anywhere; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
pre { background: #f6f6f6; padding: .75rem; overflow-x: auto; font-size: .85rem; }
@media print { body { margin: 0; max-width: none; } pre { white-space: pre-wrap; } }
"""


def _page(result: RunResult, images: Mapping[str, bytes]) -> str:
    """One self-contained page: words, numbers, figures, configuration."""
    summary = result.summary
    name = f"{summary['problem']['name']}, p = {summary['p']:g}, α = {summary['alpha']:g}"
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>dlntorch: {html.escape(name)}</title><style>{_CSS}</style></head><body>",
        f"<h1>{html.escape(name)}</h1>",
        f"<p><b>{html.escape(summary['status'])}</b>: {html.escape(summary['reason'])}. {html.escape(_verdict(summary))}</p>",
        _table(_rows(summary)),
    ]
    for key, image in images.items():
        title = html.escape(FIGURES[key][0])
        data = base64.b64encode(image).decode()
        parts.append(f"<figure><img alt='{title}' src='data:image/png;base64,{data}'></figure>")
    parts.append("<h2>Configuration</h2><pre>" + html.escape(_yaml(result.config)) + "</pre>")
    parts.append("<h2>Versions</h2>" + _table([(k, v, "") for k, v in summary["versions"].items()]))
    return "\n".join([*parts, "</body></html>", ""])


def _verdict(summary: Mapping[str, Any]) -> str:
    """The error budget in words."""
    budget = summary["budget"]
    if budget["dominant"] is None:
        return f"The error budget is incomplete: {budget.get('dominant_reason', '')}."
    return f"Most of the error: {summary['advice']}. " + " ".join(f"{text}." for text in summary["signatures"])


def _rows(summary: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    budget, predicted, schedule = summary["budget"], summary["predicted"], summary["schedule"]
    rows = [
        ("steps", summary["steps"], f"plain SGD steps in {summary['wall_seconds']:.2f} s"),
        ("t", summary["time"], "Σ η, the time of the flow"),
        ("residual", summary["residual"], "‖Aψ − y‖/‖y‖"),
    ]
    pairs: list[tuple[Mapping[str, Any], str, str]] = [
        (summary, "distance_to_l1", "to the linear programme's vertex"),
        (summary, "distance_to_selected", "to W_p, the minimiser that depth p selects"),
        (summary, "distance_to_limit", "to the flow's limit for this α"),
        (summary, "distance_to_truth", "to the planted signal"),
        (budget, "discretization", "descent against the flow at the same t"),
        (budget, "finite_time", "the flow at t against its limit"),
        (budget, "initialization", "the limit against W_p"),
        (predicted, "exponent", "of α in the initialization error"),
        (predicted, "constant", "C of the predicted C·α^p"),
        (predicted, "initialization", "the predicted C·α^p"),
        (schedule, "certified_theta_error", "proved bound on ‖θ_k − θ(t_k)‖ at the end"),
        (schedule, "theorem_log10_steps", "log10 of the steps that the paper's theorem would need"),
    ]
    for source, key, meaning in pairs:
        value = source[key]
        label = f"predicted {key}" if source is predicted else key
        rows.append((label, value, meaning if value is not None else f"not available: {source[f'{key}_reason']}"))
    return rows


def _table(rows: list[tuple[str, Any, str]]) -> str:
    lines = []
    for name, value, meaning in rows:
        shown = "–" if value is None else f"{value:,}" if isinstance(value, int) else value
        shown = f"{shown:.6g}" if isinstance(shown, float) else str(shown)
        cells = (
            f"<td>{html.escape(name)}</td><td class='number'>{html.escape(shown)}</td><td>{html.escape(meaning)}</td>"
        )
        lines.append(f"<tr>{cells}</tr>")
    return "<table>" + "".join(lines) + "</table>"


def _yaml(config: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
