"""Recovery: maps of success, the contours of half success, and the best errors of noisy problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlntorch.reference.statistical_dimension import weak_threshold
from dlntorch.report.chart import Chart, Heat, Panel, Series
from dlntorch.studies.base import column, select, values_of
from dlntorch.studies.recovery import half_success

__all__ = ["charts"]

_X, _Y = "m/n, measurements per entry", "k/m, nonzeros per measurement"


def charts(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    data = [dict(row) for row in rows]
    cells, noisy = select(data, kind="cell"), select(data, kind="noise")
    tried = f"{settings['trials']} problems a cell for basis pursuit, {settings['network_trials']} for the networks"
    shape = ", ".join(f"{key} = {settings[f'noise_{key}']}" for key in ("m", "n", "k"))
    return [
        Chart(
            "recovery_maps",
            "Success in recovering a planted signal",
            "Dark: all recovered. Dotted: the transition of basis pursuit for n → ∞, computed from its formula. Networks are "
            "limits of the flow; for p > 2 they recover what basis pursuit does, for p = 2 less, by how much depends on α².",
            tuple(_map(method, select(cells, method=method), settings) for method in values_of(cells, "method")),
            f"n = {settings['n']}; {tried}",
        ),
        Chart(
            "recovery_contours",
            "Where half of the signals are recovered",
            "The k/m below which signals are recovered more often than not; for basis pursuit with a band of two standard "
            "errors, for the networks from the first problems of each cell alone. Dotted: the transition for n → ∞; at finite "
            "n it lies a little higher, as the table of claims predicts.",
            (_contours(cells),),
            f"n = {settings['n']}; {tried}",
        ),
        Chart(
            "recovery_noise",
            "With noise: the best point of every path",
            "Median over problems of the smallest error on the path, for the best stopping time of the flow and of SGD and "
            "the best λ of the lasso; the oracle is least squares on the true support. Dotted: the best plateau of the flow for "
            "α → 0, which is the prediction; while a coordinate switches on, a flow can pass through better points.",
            (_noise(noisy),),
            f"{shape}, {settings['noise_trials']} problems for each level",
        ),
    ]


def _curve(low: float, high: float) -> Series:
    deltas = np.linspace(low, high, 60)
    return Series("predicted for n → ∞", list(deltas), [weak_threshold(float(d)) for d in deltas], kind="guide")


def _map(method: str, rows: list[dict[str, Any]], settings: Mapping[str, Any]) -> Panel:
    n, ms, ratios = rows[0]["n"], values_of(rows, "m"), [float(ratio) for ratio in settings["sparsity"]]
    share = {(row["m"], row["k"]): row["successes"] / row["tried"] for row in rows}
    z = [[share[m, max(1, round(ratio * m))] for m in ms] for ratio in ratios]
    heat = Heat([m / n for m in ms], ratios, z, "recovered", 0.0, 1.0)
    return Panel(method, _X, _Y, (_curve(ms[0] / n, ms[-1] / n),), "linear", "linear", heat)


def _contours(cells: list[dict[str, Any]]) -> Panel:
    ms, n = values_of(cells, "m"), cells[0]["n"]
    series = [_curve(ms[0] / n, ms[-1] / n)]
    for look, method in enumerate(values_of(cells, "method")):
        found = [half_success(select(cells, method=method, m=m)) for m in ms]
        middle = [k / m for (k, _), m in zip(found, ms, strict=True)]
        edges = [[(k + side * error) / m for (k, error), m in zip(found, ms, strict=True)] for side in (-2, 2)]
        band = (edges[0], edges[1]) if look == 0 else None  # more of them would hide one another
        series.append(Series(method, [m / n for m in ms], middle, look, "both", band))
    return Panel("", _X, "k/m at half success", tuple(series), "linear", "linear")


def _noise(rows: list[dict[str, Any]]) -> Panel:
    levels = sorted(values_of(rows, "noise"))
    series = []
    names = [name for name in values_of(rows, "method") if name != "saddles"]
    for look, method in [(0, "saddles"), *enumerate(names)]:
        errors = [column(select(rows, method=method, noise=level), "error") for level in levels]
        middle = [float(np.median(e)) if np.all(np.isfinite(e)) else None for e in errors]
        guide = method == "saddles"
        name = "predicted" if guide else str(method)
        series.append(Series(name, levels, middle, look, "guide" if guide else "both"))
    return Panel("", "standard deviation of the noise on y", "smallest ‖ψ − truth‖₂ on the path", tuple(series))
