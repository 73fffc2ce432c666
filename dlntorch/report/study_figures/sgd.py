"""Mini-batches: how far the end is moved, how much of that is chance, and the limit from the effective initialization."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dlntorch.report.chart import Chart, Panel, Series
from dlntorch.studies.base import column, select, values_of
from dlntorch.studies.sgd import batch_words, deviation, median

__all__ = ["charts"]

_KAPPA = "κ, relative change of a parameter in a step"


def charts(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    data = [dict(row) for row in rows]
    made = f"m = {settings['m']}, n = {settings['n']}, {settings['seeds']} seeds, constant step size"
    found = [
        Chart(
            "sgd_displacement",
            "Where SGD ends: distance to the limit of the flow",
            "Medians over seeds, with a band from the 10 % to the 90 % quantile, mostly smaller than the mark. Dotted: "
            "predicted from the flow alone. All runs interpolate; the noise of single rows moves the end further than full "
            "batch does.",
            tuple(_panel(select(data, p=p), "displacement", median, _predicted) for p in values_of(data, "p")),
            made,
        ),
        Chart(
            "sgd_scatter",
            "How much of that is chance",
            "Standard deviation over seeds of the same distance. Dotted: slopes 3/2, and 5/2 for one row a step, drawn "
            "through the smallest κ.",
            tuple(_panel(_mini(p, data, settings), "displacement", deviation, _slopes) for p in values_of(data, "p")),
            made,
        ),
    ]
    if select(data, p=2):
        found.append(
            Chart(
                "sgd_effective",
                "p = 2: the end is the limit of the flow from √(θ₊θ₋)",
                "The distance from the limit that starts at α is of order κ, the one from the limit that starts at the "
                "√(θ₊θ₋) of the trained network is of order κ². Medians over seeds. Dotted: slope 2.",
                (_effective(select(data, p=2), int(settings["m"])),),
                made,
            )
        )
    return found


def _mini(p: float, data: list[dict[str, Any]], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [row for row in select(data, p=p) if row["batch"] < settings["m"]]


def _curve(rows: list[dict[str, Any]], key: str, summary: Callable[..., float | None]) -> tuple[list[Any], list[Any]]:
    kappas = sorted(values_of(rows, "kappa"))
    return kappas, [summary(select(rows, kappa=kappa), key) for kappa in kappas]


def _panel(
    rows: list[dict[str, Any]],
    key: str,
    summary: Callable[..., float | None],
    guide: Callable[[list[dict[str, Any]], list[Any], list[Any]], list[Any]],
) -> Panel:
    series = []
    for look, batch in enumerate(values_of(rows, "batch")):
        mine = select(rows, batch=batch)
        x, y = _curve(mine, key, summary)
        name = "predicted" if summary is median else "predicted slope"
        series.append(Series(name, x, guide(mine, x, y), kind="guide"))
        band = None
        if summary is median:
            edges = [[_quantile(select(mine, kappa=kappa), key, share) for kappa in x] for share in (0.1, 0.9)]
            band = (edges[0], edges[1])
        series.append(Series(batch_words(batch, mine[0]["m"]), x, y, look, "points", band))
    what = "‖ψ − ψ(∞)‖₂" if summary is median else "standard deviation of ‖ψ − ψ(∞)‖₂"
    return Panel(f"p = {rows[0]['p']:g}, αᵖ = {rows[0]['power']:g}", _KAPPA, what, tuple(series))


def _quantile(rows: list[dict[str, Any]], key: str, share: float) -> float | None:
    values = column(rows, key)
    return float(np.quantile(values, share)) if np.all(np.isfinite(values)) else None


def _predicted(rows: list[dict[str, Any]], kappas: list[Any], _: list[Any]) -> list[Any]:
    return [select(rows, kappa=kappa)[0]["predicted"] for kappa in kappas]


def _slopes(rows: list[dict[str, Any]], kappas: list[Any], measured: list[Any]) -> list[Any]:
    power = 2.5 if rows[0]["batch"] == 1 else 1.5
    return [None if measured[0] is None else measured[0] * (kappa / kappas[0]) ** power for kappa in kappas]


def _effective(rows: list[dict[str, Any]], m: int) -> Panel:
    series = []
    for look, batch in enumerate(values_of(rows, "batch")):
        mine = select(rows, batch=batch)
        x, y = _curve(mine, "effective", median)
        if y[0] is not None:
            series.append(Series("predicted slope", x, [y[0] * (kappa / x[0]) ** 2 for kappa in x], kind="guide"))
        series.append(Series(batch_words(batch, m), x, y, look, "points"))
    return Panel("", _KAPPA, "‖ψ − limit from √(θ₊θ₋)‖₂", tuple(series))
