"""Discretization: error and certificate against κ; the theorem over short horizons and over those of training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dlntorch.report.chart import Chart, Panel, Series, marks_of
from dlntorch.studies.base import select, values_of
from dlntorch.studies.discretization import needed_steps

__all__ = ["charts"]

CERTIFICATE = 5  # look


def charts(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    data = [dict(row) for row in rows]
    runs, shorts = select(data, kind="run"), select(data, kind="theorem")
    names = values_of(data, "problem")
    end = tuple(_errors(f"{name}, at the end", select(runs, problem=name)) for name in names)
    return [
        Chart(
            "discretization",
            "Gradient descent against the flow at the same time",
            f"The error is first order in the step size κ (dotted: slope 1). {marks_of(CERTIFICATE)}: the certificate, a "
            "proved bound computed along the run.",
            end,
            f"αᵖ = {settings['power']:g}, to relative residual {settings['tol']:g}",
        ),
        Chart(
            "theorem",
            "The paper’s theorem: what it asks for and what it gives",
            "Left: over a short horizon, its own step size keeps the error below the ε̄ it was asked for (dotted: equality). "
            "Right: over the horizon of training, the decimal logarithm of the number of steps it asks for, and of what "
            "descent needs for the same accuracy.",
            (_short(shorts), _steps(runs, float(settings["epsilon"]))),
            f"left: C₂t = {settings['short_horizon']:g}; right: ε = {settings['epsilon']:g}",
        ),
    ]


def _errors(title: str, rows: list[dict[str, Any]]) -> Panel:
    series = []
    for look, p in enumerate(values_of(rows, "p")):
        mine = sorted(select(rows, p=p), key=lambda row: row["kappa"])
        x = [row["kappa"] for row in mine]
        series.append(Series(f"error, p = {p:g}", x, [row["error"] for row in mine], look))
        first = mine[0]
        if first["error"] is not None:
            series.append(Series("slope 1", x, [first["error"] * k / first["kappa"] for k in x], kind="guide"))
    x, y = [row["kappa"] for row in rows], [row["certified"] for row in rows]
    series.append(Series("certificate", x, y, CERTIFICATE, "points"))
    return Panel(title, "κ", "‖θ_k − θ(t_k)‖₂", tuple(series))


def _short(rows: list[dict[str, Any]]) -> Panel:
    series = []
    for look, p in enumerate(values_of(rows, "p")):
        mine = select(rows, p=p)
        x = [row["epsilon_bar"] for row in mine]
        series.append(Series(f"error, p = {p:g}", x, [row["error"] for row in mine], look, "points"))
    ends = [min(row["epsilon_bar"] for row in rows), max(row["epsilon_bar"] for row in rows)]
    series.append(Series("equality", ends, ends, kind="guide"))
    return Panel("Short horizon", "ε̄ asked for", "‖θ_k − θ(t_k)‖₂", tuple(series))


def _steps(rows: list[dict[str, Any]], epsilon: float) -> Panel:
    depths = values_of(rows, "p")
    least = [min(row["theorem_log10_steps"] for row in select(rows, p=p)) for p in depths]
    needed = [[needed_steps(row, epsilon) for row in select(rows, p=p)] for p in depths]
    most = [max((math.log10(v) for v in values if v is not None), default=None) for values in needed]
    series = (Series("theorem", depths, least, 4), Series("descent", depths, most, 0))
    return Panel("Horizon of training", "p", "log₁₀ of the steps", series, "linear", "log")
