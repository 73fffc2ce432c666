"""Benchmark: rates against the size, the mini-batch and the ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlntorch.report.chart import Chart, Panel, Series
from dlntorch.studies.base import select, values_of

__all__ = ["charts"]


def charts(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    data = [dict(row) for row in rows]
    engines = select(data, kind="engine")
    return [
        Chart(
            "engines",
            "Steps per second against the size of A",
            "One thread, relative schedule. The BLAS floor is a product with A and one with Aᵀ, and nothing else.",
            (Panel("", "entries of A, m·n", "steps per second", tuple(_rates(engines)), "log", "log"),),
        ),
        Chart(
            "scaling",
            "Mini-batches and ensembles",
            "Left: rows of a mini-batch. Right: networks trained side by side; all their steps are counted.",
            (
                _panel("batch", "rows of a mini-batch", select(data, kind="batch")),
                _panel("networks", "networks", select(data, kind="ensemble")),
            ),
        ),
    ]


def _rates(rows: list[dict[str, Any]]) -> list[Series]:
    found = []
    for look, name in enumerate(values_of(rows, "engine")):
        mine = select(rows, engine=name)
        kind = "guide" if name == "BLAS floor" else "both"
        found.append(Series(name, [r["m"] * r["n"] for r in mine], [r["rate"] for r in mine], look, kind))
    return found


def _panel(key: str, label: str, rows: list[dict[str, Any]]) -> Panel:
    title = f"{rows[0]['m']}×{rows[0]['n']}" if rows else ""
    series = Series("fused", [row[key] for row in rows], [row["rate"] for row in rows], 0)
    return Panel(title, label, "steps per second", (series,), "log", "log")
