"""Steps: distances to the ℓ1-minimiser and to the weighted one, the gain, and the threshold beside the onset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlntorch.report.chart import Chart, Panel, Series
from dlntorch.studies.base import column, select, values_of
from dlntorch.studies.steps import onset_rows

__all__ = ["charts"]


def charts(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    data = [dict(row) for row in rows]
    runs, m = select(data, kind="run"), int(settings["m"])
    full = select(runs, batch=m) or runs
    return [
        Chart(
            "steps_distance",
            "Where runs end: the ℓ₁-minimiser, and the one that the steps weighted",
            "Median over problems, full batch. As κ grows the end leaves the ℓ₁-minimiser and stays at the minimiser of the norm "
            "with the run’s own weights.",
            tuple(_distances(select(full, p=p), p) for p in values_of(full, "p")),
            f"α = {settings['alpha']:g}, {m}×{settings['n']}, to relative residual {settings['tol']:g}",
        ),
        Chart(
            "steps_gain",
            "What the steps take from α",
            "Gain −ln(α_eff²/α²), mean over the coordinates on and off the support, median over problems.",
            tuple(_gains(select(runs, batch=batch), batch, m) for batch in values_of(runs, "batch")),
        ),
        Chart(
            "steps_onset",
            "The κ that is proved to be safe, and the one that is not",
            "Each mark is a problem: across, the proved threshold; up, the smallest κ of the search that selects wrongly. "
            "Nothing may lie below the dotted line.",
            (_onsets(onset_rows(data)),),
            f"α = {settings['alpha']:g}",
        ),
    ]


def _medians(rows: list[dict[str, Any]], key: str) -> tuple[list[float], list[float | None]]:
    kappas = sorted(values_of(rows, "kappa"))
    values = [column(select(rows, kappa=kappa), key) for kappa in kappas]
    known = [part[np.isfinite(part)] for part in values]
    return kappas, [float(np.median(part)) if part.size else None for part in known]


def _distances(rows: list[dict[str, Any]], p: float) -> Panel:
    names = (("to the ℓ₁-minimiser", "distance_to_l1"), ("to the weighted minimiser", "distance_to_weighted"))
    series = tuple(Series(name, *_medians(rows, key), look) for look, (name, key) in enumerate(names))
    return Panel(f"p = {p:g}", "κ", "distance of ψ,  ‖·‖₂", series)


def _gains(rows: list[dict[str, Any]], batch: int, m: int) -> Panel:
    series = []
    for look, p in enumerate(values_of(rows, "p")[:3]):
        mine = select(rows, p=p)
        series.append(Series(f"on the support, p = {p:g}", *_medians(mine, "gain_on"), look))
        series.append(Series(f"off it, p = {p:g}", *_medians(mine, "gain_off"), look + 3))
    return Panel("full batch" if batch == m else f"batches of {batch}", "κ", "gain", tuple(series))


def _onsets(rows: list[dict[str, Any]]) -> Panel:
    series = []
    for look, p in enumerate(values_of(rows, "p")):
        mine = select(rows, p=p)
        x, y = ([row[key] for row in mine] for key in ("threshold", "onset"))
        series.append(Series(f"p = {p:g}", x, y, look, "points"))
    if rows:
        ends = [min(row["threshold"] for row in rows), max(row["onset"] for row in rows)]
        series.append(Series("equality", ends, ends, kind="guide"))
    return Panel("", "proved threshold κ", "smallest κ that selects wrongly", tuple(series))
