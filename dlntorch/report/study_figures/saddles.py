"""Saddles: the loss and the coordinates in rescaled time, with the predicted jumps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlntorch.report.chart import Chart, Panel, Series
from dlntorch.studies.base import select, values_of

__all__ = ["charts"]


def charts(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    data = [dict(row) for row in rows]
    depths = values_of(data, "p")
    shape = f"m = {settings['m']}, n = {settings['n']}"
    flows = select(data, kind="flow")
    large = _largest(flows, int(settings["n"]))
    return [
        Chart(
            "saddles",
            "The loss at tiny α: plateaus and jumps",
            "Time is rescaled so that the jumps have places for α → 0. Dotted: the predicted plateaus and jumps.",
            tuple(_loss(p, select(data, p=p)) for p in depths),
            shape,
        ),
        Chart(
            "coordinates",
            "Coordinates of ψ switch on one by one",
            "Those not in the support are switched off again. Shown: coordinates that exceed a tenth of the largest, up to six, "
            "numbered from 0.",
            tuple(_coordinates(p, select(flows, p=p), large) for p in depths),
            shape,
        ),
    ]


def _loss(p: float, rows: list[dict[str, Any]]) -> Panel:
    flow, saddles = select(rows, kind="flow"), select(rows, kind="saddle")
    end = flow[-1]["clock"]
    x: list[float] = []
    y: list[float] = []
    for saddle in saddles:
        until = end if saddle["length"] is None else saddle["start"] + saddle["length"]
        x += [saddle["start"], until]
        y += [saddle["predicted_loss"]] * 2
    shown = flow[:: max(1, len(flow) // 60)]  # marks, so that the prediction is seen between them
    series = (
        Series("flow", [row["clock"] for row in shown], [row["loss"] for row in shown], 0, "points"),
        Series("predicted", x, y, kind="guide"),
    )
    return Panel(f"p = {p:g}, αᵖ = {flow[0]['power']:g}", "rescaled time", "loss", series, "linear", "linear")


def _largest(rows: list[dict[str, Any]], n: int) -> list[int]:
    """The coordinates that exceed a tenth of the largest at any depth, six at most: those that panels share a look of."""
    size = {i: max(abs(row[f"psi_{i}"]) for row in rows) for i in range(n)}
    order = sorted(size, key=lambda i: -size[i])
    return sorted(i for i in order[:6] if size[i] > 0.1 * size[order[0]])


def _coordinates(p: float, rows: list[dict[str, Any]], large: list[int]) -> Panel:
    x = [row["clock"] for row in rows]
    series = tuple(Series(f"ψ_{i}", x, [row[f"psi_{i}"] for row in rows], look, "line") for look, i in enumerate(large))
    return Panel(f"p = {p:g}", "rescaled time", "ψ", series, "linear", "linear")
