"""Published experiments: one chart a paper, from the rows alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dlntorch.report.chart import Chart, Panel, Series
from dlntorch.studies.base import column, select, values_of

__all__ = ["charts"]

Rows = list[dict[str, Any]]


def charts(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    data = [dict(row) for row in rows]
    return [_DRAWN[paper](select(data, paper=paper)) for paper in values_of(data, "paper") if paper in _DRAWN]


def _median(rows: Rows, over: str, key: str, name: str, look: int) -> Series:
    places = sorted(values_of(rows, over))
    parts = [column(select(rows, **{over: place}), key) for place in places]
    known = [part[np.isfinite(part)] for part in parts]
    return Series(name, places, [float(np.median(part)) if part.size else None for part in known], look)


def _even(rows: Rows) -> Chart:
    methods = values_of(rows, "method")
    distance = [_median(select(rows, method=name), "share", "distance", name, k) for k, name in enumerate(methods)]
    panels = [Panel("where it ends", "step, as a share of the critical one", "distance to the truth", tuple(distance))]
    for name in methods:
        mine = select(rows, method=name)
        gains = [
            _median(mine, "share", f"gain_{part}", f"{part} the support", k + 2) for k, part in enumerate(("on", "off"))
        ]
        panels.append(Panel(name, "step, as a share of the critical one", "gain −ln(α_eff²/α²)", tuple(gains)))
    return Chart(
        "reproduce_even2023",
        "Even et al. 2023: large steps of GD and SGD",
        "Medians over seeds. Runs that diverged are left out.",
        tuple(panels),
    )


def _haochen(rows: Rows) -> Chart:
    methods = values_of(rows, "method")
    series = [
        Series(name, values_of(rows, "seed"), list(column(select(rows, method=name), "error")), k, "points")
        for k, name in enumerate(methods)
    ]
    return Chart(
        "reproduce_haochen2021",
        "HaoChen et al. 2021: label noise and Gaussian noise",
        "Each mark is a run of the same number of steps, at its last one. Runs that diverged are left out.",
        (Panel("", "seed", "relative error", tuple(series), x_scale="linear"),),
    )


def _woodworth(rows: Rows) -> Chart:
    panels = []
    for key, words in (("l1_excess", "excess of the ℓ₁ norm"), ("l2_excess", "excess of the ℓ₂ norm")):
        depths = values_of(rows, "p")
        series = [_median(select(rows, p=p), "alpha", key, f"p = {p:g}", k) for k, p in enumerate(depths)]
        panels.append(Panel(words, "α", "relative to the least one", tuple(series)))
    return Chart(
        "reproduce_woodworth2020",
        "Woodworth et al. 2020: from the ℓ₁-minimiser to the ℓ₂-minimiser",
        "Limits of the flow, medians over seeds.",
        tuple(panels),
    )


def _papazov(rows: Rows) -> Chart:
    betas = values_of(rows, "beta")
    panels = []
    for key, words in (("gain", "gain −ln(α_eff²/α²), mean"), ("distance", "distance to the truth")):
        series = [_median(select(rows, beta=beta), "lambda", key, f"β = {beta:g}", k) for k, beta in enumerate(betas)]
        panels.append(Panel(words, "η/(1−β)²", words, tuple(series)))
    return Chart(
        "reproduce_papazov2024",
        "Papazov et al. 2024: momentum by its one number",
        "Medians over seeds. The curves of different β lie on each other where η/(1−β)² is all that matters.",
        tuple(panels),
    )


def _fojtik(rows: Rows) -> Chart:
    series = (
        _median(rows, "share", "l1", "‖ψ‖₁ at the end", 0),
        _median(rows, "share", "l1_flow", "of the flow’s limit", 1),
    )
    return Chart(
        "reproduce_fojtik2025",
        "Fojtik et al. 2025: the ℓ₁ norm through the critical step",
        "Medians over seeds, relative to the least ℓ₁ norm. Runs that diverged are left out.",
        (Panel("", "step, as a share of the critical one", "‖ψ‖₁ over the least", series),),
    )


def _pesme(rows: Rows) -> Chart:
    series = (
        _median(rows, "eta", "gain", "measured", 0),
        _median(rows, "eta", "predicted", "8η‖A_i‖²∫L dt", 1),
        _median(rows, "eta", "predicted_by_rows", "4ηm ΣA_ji²∫r_j² dt", 2),
    )
    distance = _median(rows, "eta", "distance", "distance to the truth", 3)
    return Chart(
        "reproduce_pesme2021",
        "Pesme et al. 2021: the gain of SGD by the integral of the loss",
        "Medians over seeds, means over coordinates. Runs that diverged are left out.",
        (Panel("gain", "η", "gain −ln(α_eff²/α²)", series), Panel("answer", "η", "distance to the truth", (distance,))),
    )


def _azulay(rows: Rows) -> Chart:
    plain = [row for row in rows if row["gap"] != "mixed"]
    panels = []
    for key, words in (("error", "population error"), ("l1_excess", "excess of the ℓ₁ norm")):
        scales = values_of(plain, "alpha")
        series = [
            _median(select(plain, alpha=alpha), "root_k", key, f"α = {alpha:g}", k) for k, alpha in enumerate(scales)
        ]
        panels.append(Panel(words, "√k = 4α(1 + s²)/(1 − s²)", words, tuple(series)))
    return Chart(
        "reproduce_azulay2021",
        "Azulay et al. 2021: shape and scale by their one number k",
        "Ends of the flow, medians over seeds. Curves of different α lie on each other where k is all that matters.",
        tuple(panels),
    )


def _andriushchenko(rows: Rows) -> Chart:
    panels = []
    for seeds, words in (("first", "the paper’s data"), ("others", "fresh data, medians")):
        mine = [row for row in rows if (row["seed"] == 0) == (seeds == "first")]
        radii = sorted({row["rho"] for row in mine if row["rho"] > 0})
        plain = _median(select(mine, method="GD"), "rho", "test_loss", "GD", 0).y
        series = [Series("GD", radii, list(plain) * len(radii), 0)] if plain else []
        series += [
            _median(select(mine, method=method), "rho", "test_loss", method, k + 1)
            for k, method in enumerate(("n-SAM", "1-SAM"))
        ]
        panels.append(Panel(words, "ρ", "test loss", tuple(series)))
    return Chart(
        "reproduce_andriushchenko2022",
        "Andriushchenko and Flammarion 2022: SAM by batch and by row",
        "Test losses after the published number of steps. Runs that diverged are left out.",
        tuple(panels),
    )


_DRAWN: dict[str, Callable[[Rows], Chart]] = {
    "even2023": _even,
    "haochen2021": _haochen,
    "woodworth2020": _woodworth,
    "papazov2024": _papazov,
    "pesme2021": _pesme,
    "fojtik2025": _fojtik,
    "azulay2021": _azulay,
    "andriushchenko2022": _andriushchenko,
}
