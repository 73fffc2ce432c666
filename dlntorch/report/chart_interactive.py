"""Draws a chart with plotly, for the page: one plot for each panel, so that a phone shows them one below the other."""

from __future__ import annotations

import html
import math
from typing import Any

from dlntorch.report.chart import GUIDE, Chart, Heat, Panel, Series, look_of
from dlntorch.report.style import DARK

__all__ = ["interactive_html", "plotly_available", "plotly_script"]

_DASHES = ("solid", "dash", "dashdot", "4px,2px", "longdash", "longdashdot")  # dots are those of a guide
#: Plotly's symbols for matplotlib's markers; its open cross would be an outline, which looks like a diamond.
_SYMBOLS = {"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross"}
_FONT = 'system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif'


def plotly_available() -> bool:
    """Whether plotly is installed (``pip install 'dlntorch[studies]'``)."""
    from importlib.util import find_spec

    return find_spec("plotly") is not None


def plotly_script() -> str:
    """The library, to be put once into a page."""
    from plotly.offline import get_plotlyjs

    return f"<script>{get_plotlyjs()}</script>"


def interactive_html(chart: Chart) -> str:
    """A ``div`` with a plot for each panel; the page must contain :func:`plotly_script` before it."""
    parts = []
    for index, panel in enumerate(chart.panels):
        figure = _figure(panel)
        heading = f"<h4>{html.escape(panel.title)}</h4>" if panel.title and len(chart.panels) > 1 else ""
        plot = figure.to_html(
            full_html=False,
            include_plotlyjs=False,
            div_id=f"plot-{chart.name}-{index}",
            config={"responsive": True, "displaylogo": False, "modeBarButtonsToRemove": ["lasso2d", "select2d"]},
            default_height="26rem",
        )
        parts.append(f'<div class="plot">{heading}{plot}</div>')
    several = {1: "", 2: " several", 4: " several"}.get(len(parts), " several three")
    return f'<div class="plots{several}">' + "".join(parts) + "</div>"


def _figure(panel: Panel) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    if panel.heat is not None:
        figure.add_trace(_map(panel, panel.heat))
    named: set[str] = set()
    for series in panel.series:
        for edge in _band(panel, series):
            figure.add_trace(edge)
        if panel.heat is not None and series.kind != "points":  # seen on dark and on light
            figure.add_trace(_halo(panel, series))
        figure.add_trace(_trace(panel, series, series.name not in named))
        named.add(series.name)
    axis: dict[str, Any] = {
        "gridcolor": "#e6e6e6",
        "zeroline": False,
        "linecolor": DARK,
        "ticks": "outside",
        "automargin": True,
        "exponentformat": "power",
        "showexponent": "all",
    }
    x = {**axis, "type": panel.x_scale, "title": {"text": panel.x}, **_ticks(panel, "x")}
    y = {**axis, "type": panel.y_scale, "title": {"text": panel.y, "standoff": 12}, **_ticks(panel, "y")}
    if panel.y_range is not None:
        logarithmic = panel.y_scale == "log"
        y["range"] = [math.log10(v) if logarithmic else v for v in panel.y_range]
    figure.update_layout(
        template="none",
        font={"family": _FONT, "size": 13, "color": DARK},
        paper_bgcolor="white",
        plot_bgcolor="white",
        margin={"l": 12, "r": 12, "t": 12, "b": 12},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        hovermode="closest",
        showlegend=bool(panel.series),
        xaxis=x,
        yaxis=y,
    )
    return figure


def _map(panel: Panel, heat: Heat) -> Any:
    import plotly.graph_objects as go

    return go.Heatmap(
        x=list(heat.x),
        y=list(heat.y),
        z=[list(row) for row in heat.z],
        zmin=heat.low,
        zmax=heat.high,
        colorscale=[[0.0, "#ffffff"], [1.0, "#000000"]],  # plotly's "Greys" runs one way in Python, the other in JS
        colorbar={"title": {"text": heat.label, "side": "right"}, "thickness": 12},
        hovertemplate=f"{panel.x} %{{x:.4g}}<br>{panel.y} %{{y:.4g}}<br>{heat.label} %{{z:.4g}}<extra></extra>",
    )


def _ticks(panel: Panel, which: str) -> dict[str, Any]:
    """Whole decades where there are more than two, else 1, 2 and 5: plotly alone would label every digit."""
    if getattr(panel, f"{which}_scale") == "linear":
        return {}
    found = [v for series in panel.series for v in _numbers(getattr(series, which), "log") if v is not None]
    decades = math.log10(max(found) / min(found)) if found else 0.0
    return {"dtick": math.ceil(decades / 7) if decades > 2 else "D2"}


def _trace(panel: Panel, series: Series, first: bool) -> Any:
    import plotly.graph_objects as go

    number = series.look % len(_DASHES)
    guide = series.kind == "guide"
    look = GUIDE if guide else look_of(series.look)
    mode = {"line": "lines", "guide": "lines", "both": "lines+markers", "points": "markers"}[series.kind]
    symbol = "" if guide else _SYMBOLS[look.marker]
    thin = symbol == "cross" and series.kind == "points"
    symbol += ("-thin" if thin else "") + ("-open" if series.kind == "points" else "")
    return go.Scatter(
        x=_numbers(series.x, panel.x_scale),
        y=_numbers(series.y, panel.y_scale),
        name=series.name,
        legendgroup=series.name,
        showlegend=first,
        mode=mode,
        line={"color": look.color, "width": 1.5 if guide else 2, "dash": "dot" if guide else _DASHES[number]},
        marker={
            "color": look.color,
            "symbol": symbol or "circle",
            "size": 8,
            **({"line": {"width": 2}} if thin else {}),
        },
        hovertemplate=f"%{{fullData.name}}<br>{panel.x} = %{{x:.4g}}<br>{panel.y} = %{{y:.4g}}<extra></extra>",
    )


def _halo(panel: Panel, series: Series) -> Any:
    """A white line below a series."""
    import plotly.graph_objects as go

    x, y = _numbers(series.x, panel.x_scale), _numbers(series.y, panel.y_scale)
    line = {"color": "white", "width": 4}
    return go.Scatter(x=x, y=y, mode="lines", line=line, showlegend=False, hoverinfo="skip", legendgroup=series.name)


def _band(panel: Panel, series: Series) -> list[Any]:
    """Two traces without a line; the second is filled down to the first. Gaps leave out whole points of both."""
    import plotly.graph_objects as go

    if series.band is None:
        return []
    x = _numbers(series.x, panel.x_scale)
    low, high = (_numbers(edge, panel.y_scale) for edge in series.band)
    whole = [None not in point for point in zip(x, low, high, strict=True)]
    red, green, blue = (int(look_of(series.look).color[i : i + 2], 16) for i in (1, 3, 5))
    shared = {
        "mode": "lines",
        "line": {"width": 0},
        "showlegend": False,
        "hoverinfo": "skip",
        "legendgroup": series.name,
    }
    return [
        go.Scatter(
            x=[value for value, good in zip(x, whole, strict=True) if good],
            y=[value for value, good in zip(edge, whole, strict=True) if good],
            fill=fill,
            fillcolor=f"rgba({red},{green},{blue},0.18)",
            **shared,
        )
        for edge, fill in ((low, "none"), (high, "tonexty"))
    ]


def _numbers(values: Any, scale: str) -> list[float | None]:
    """None where the axis cannot show a value."""
    numbers: list[float | None] = []
    for value in values:
        number = math.nan if value is None else float(value)
        numbers.append(number if math.isfinite(number) and (scale == "linear" or number > 0) else None)
    return numbers
