"""Conditioning: the constant, what float64 resolves, and the time, against their condition numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlntorch.model.depth_law import depth_law
from dlntorch.report.chart import Chart, Panel, Series
from dlntorch.studies.base import select, values_of
from dlntorch.studies.conditioning import last_resolved

__all__ = ["charts"]


def charts(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    data = [dict(row) for row in rows]
    sweeps, times = select(data, kind="sweep"), select(data, kind="time")
    return [
        Chart(
            "conditioning",
            "What the null-space condition 1/(1−ϱ) costs",
            "Left: for p > 2 the constant of the rate αᵖ grows like the condition to the power p/(p−2) (dotted: predicted); "
            "markers: ‖ψ − W‖/αᵖ at the smallest α that float64 resolves. Right: the digits that one rounding of A costs.",
            (_constants(sweeps), _digits(sweeps)),
            f"m = {settings['m']} nonzeros, n = {settings['n']}",
        ),
        Chart(
            "distances",
            "Distance of the limit to the minimiser, for conditions 1 (lowest) to the largest (highest)",
            "At p = 2 the condition changes the slope: the curves flatten. For p > 2 it moves them to the left, to smaller "
            "αᵖ: the slope stays 1.",
            tuple(_distances(p, select(sweeps, p=p)) for p in values_of(sweeps, "p")),
        ),
        Chart(
            "times",
            "The time that the flow’s tail takes",
            "It is 1/λ_min(A D Aᵀ) at the limit (dotted) and grows like cond(A_S)². Markers one above the other belong to "
            "different null-space conditions, 1, 10 and the largest: they hardly matter.",
            (_times(times),),
            f"αᵖ = {settings['time_power']:g}",
        ),
    ]


def _constants(rows: list[dict[str, Any]]) -> Panel:
    series = []
    for look, p in enumerate(values_of(rows, "p")):
        if depth_law(p).error_exponent is None:
            continue
        mine = select(rows, p=p)
        lasts = [last_resolved(select(mine, condition=c)) for c in values_of(mine, "condition") if c >= 10]
        good = [row for row in lasts if row is not None]
        x = [row["condition"] for row in good]
        series.append(Series("predicted C", x, [row["constant"] for row in good], kind="guide"))
        series.append(Series(f"p = {p:g}", x, [row["distance"] / row["power"] for row in good], look, "points"))
    return Panel("The constant", "1/(1−ϱ)", "‖ψ − W‖₂/αᵖ", tuple(series))


def _digits(rows: list[dict[str, Any]]) -> Panel:
    series = []
    for look, p in enumerate(values_of(rows, "p")):
        mine = select(rows, p=p)
        ends = [min(select(mine, condition=c), key=lambda row: row["power"]) for c in values_of(mine, "condition")]
        x, y = [row["condition"] for row in ends], [row["uncertainty"] for row in ends]
        series.append(Series(f"p = {p:g}", x, y, look, "points"))
    return Panel("Digits lost to rounding", "1/(1−ϱ)", "relative uncertainty of ψ", tuple(series))


def _distances(p: float, rows: list[dict[str, Any]]) -> Panel:
    series = []
    conditions = values_of(rows, "condition")
    # from the first to the last, and 10: the one whose slope at p = 2 is still seen
    chosen = sorted({1, *(round(place) for place in np.linspace(0, len(conditions) - 1, 5))})
    for look, condition in enumerate(conditions[i] for i in chosen):
        mine = [row for row in select(rows, condition=condition) if row["resolved"]]
        x, y = [row["power"] for row in mine], [row["distance"] for row in mine]
        series.append(Series(f"condition {condition:g}", x, y, look, "line"))
    return Panel(f"p = {p:g}", "αᵖ", "‖ψ − W‖₂", tuple(series))


def _times(rows: list[dict[str, Any]]) -> Panel:
    series = []
    for look, p in enumerate(values_of(rows, "p")):
        mine = sorted(select(rows, p=p), key=lambda row: row["support_condition"])
        x = [row["support_condition"] for row in mine]
        series.append(Series("predicted 1/λ_min", x, [row["relaxation"] for row in mine], kind="guide"))
        series.append(Series(f"p = {p:g}", x, [row["measured_relaxation"] for row in mine], look, "points"))
    return Panel("", "cond(A_S)", "time for a factor e, in t", tuple(series))
