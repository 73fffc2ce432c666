"""Finite time: distance to the limit along the flow, in its own units of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlntorch.report.chart import Chart, Panel, Series
from dlntorch.studies.base import select, values_of

__all__ = ["charts"]


def charts(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    data = [dict(row) for row in rows]
    m, n, nonzeros = settings["m"], settings["n"], settings["nonzeros"]
    low, high = settings["window"]
    return [
        Chart(
            "finite_time",
            "How the flow ends",
            "Left: with m nonzeros, exponentially; dotted: the rate of the linearization at the limit. Right: with fewer, "
            "along t^(−1/(2−2/p)); dotted: that slope, drawn where it is measured.",
            (
                _exponential(select(data, kind="exponential")),
                _algebraic(select(data, kind="algebraic"), float(low), float(high)),
            ),
            f"m = {m}, n = {n}; left: {m} nonzeros, right: {nonzeros}",
        ),
        Chart(
            "sgd",
            "SGD on the tail",
            "Plain SGD follows the flow down the tail while the error of its steps is smaller than the distance that is "
            "left. Its residual falls along with the distance.",
            tuple(_sgd(p, select(data, kind="sgd", p=p)) for p in values_of(select(data, kind="sgd"), "p")),
            f"αᵖ = {settings['sgd_power']:g}, κ = {settings['sgd_kappa']:g}, {settings['sgd_max_steps']} steps",
        ),
    ]


def _exponential(rows: list[dict[str, Any]]) -> Panel:
    series = []
    for look, p in enumerate(values_of(rows, "p")):
        mine = [row for row in select(rows, p=p) if row["distance"] > 1e-9]
        x = [row["t"] / row["relaxation"] for row in mine]
        series.append(Series(f"flow, p = {p:g}", x, [row["distance"] for row in mine], look, "line"))
        last = mine[-1]
        at = np.array([max(x[-1] - 10, 0.0), x[-1]])
        guide = last["distance"] * np.exp(at[1] - at)
        series.append(Series("predicted", list(at), list(guide), kind="guide"))
    return Panel("m nonzeros", "t·λ_min", "‖ψ(t) − ψ(∞)‖₂", tuple(series), "linear", "log")


def _algebraic(rows: list[dict[str, Any]], low: float, high: float) -> Panel:
    series = []
    for look, p in enumerate(values_of(rows, "p")):
        mine = [row for row in select(rows, p=p) if row["distance"] > max(row["power"], 1e-13)]
        x = [row["t"] / row["unit"] for row in mine]
        series.append(Series(f"flow, p = {p:g}", x, [row["distance"] for row in mine], look, "line"))
        inside = [row for row in mine if low <= row["t"] / row["unit"] <= high]
        if inside:
            at = np.array([row["t"] / row["unit"] for row in inside])
            guide = 2 * inside[0]["distance"] * (at / at[0]) ** (-1 / (2 - 2 / p))
            series.append(Series("predicted", list(at), list(guide), kind="guide"))
    return Panel("fewer nonzeros", "t in units of the jumps", "‖ψ(t) − ψ(∞)‖₂", tuple(series))


def _sgd(p: float, rows: list[dict[str, Any]]) -> Panel:
    series = []
    for curve, key, name, look, kind in (
        ("flow", "distance", "distance of the flow", 0, "line"),
        ("sgd", "distance", "distance of SGD", 5, "points"),
        ("sgd", "residual", "residual of SGD", 3, "line"),
    ):
        mine = select(rows, curve=curve)
        if kind == "points":
            mine = mine[:: max(1, len(mine) // 30)]
        x = [row["t"] / row["unit"] for row in mine]
        series.append(Series(name, x, [row[key] for row in mine], look, kind))  # type: ignore[arg-type]
    return Panel(f"p = {p:g}", "t in units of the jumps", "‖ψ − ψ(∞)‖₂, ‖Aψ − y‖₂/‖y‖₂", tuple(series))
