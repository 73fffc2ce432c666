"""Lasso: the averages of one problem at each depth, and the gap of many problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlntorch.report.chart import Chart, Panel, Series
from dlntorch.studies.base import select, values_of

__all__ = ["charts"]


def charts(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    data = [dict(row) for row in rows]
    flows, paths = select(data, kind="flow"), select(data, kind="path")
    shape = f"m = {settings['m']}, n = {settings['n']}"
    size = {i: max(abs(row[f"path_{i}"]) for row in flows) for i in range(int(settings["n"]))}
    large = sorted(sorted(size, key=lambda i: -size[i])[:4])
    after = [row for row in paths if not row["monotone"] and row.get("excess") is not None and row["gap"] > 0]
    diagonal = [min((row["gap"] for row in after), default=1e-3), max((row["gap"] for row in after), default=1.0)]
    return [
        Chart(
            "averages",
            "The time average of the flow is the lasso",
            "The four largest coordinates of ψ̄(T), numbered from 0. Dotted: the average of the saddles for α → 0, which is the "
            "lasso’s minimiser of strength 1/T until a coordinate leaves its wall.",
            tuple(_averages(p, select(flows, p=p), large) for p in values_of(flows, "p")),
            shape,
        ),
        Chart(
            "gap",
            "What the average misses of the lasso’s objective, and the gap that bounds it",
            "Each mark is one time of one problem, after a coordinate has left its wall; before, both are 0.",
            (
                Panel(
                    "",
                    "duality gap of ψ̄",
                    "objective above the least one",
                    (
                        Series("bound", diagonal, diagonal, kind="guide"),
                        Series("average", [r["gap"] for r in after], [r["excess"] for r in after], 0, "points"),
                    ),
                ),
            ),
            shape,
        ),
    ]


def _averages(p: float, rows: list[dict[str, Any]], large: list[int]) -> Panel:
    x = [row["T"] for row in rows]
    series = [Series(f"ψ̄_{i}", x, [row[f"mean_{i}"] for row in rows], look, "line") for look, i in enumerate(large)]
    series += [Series("predicted", x, [row[f"path_{i}"] for row in rows], kind="guide") for i in large]
    return Panel(f"p = {p:g}, αᵖ = {rows[0]['power']:g}", "rescaled time T", "ψ̄", tuple(series), "linear", "linear")
