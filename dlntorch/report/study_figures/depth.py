"""Depth: errors at fixed α and at fixed α^p, and the constant against k = p/(p − 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlntorch.report.chart import Chart, Panel, Series
from dlntorch.studies.base import select, values_of

__all__ = ["charts"]


def charts(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    data = [dict(row) for row in rows]
    edges = [row for row in data if "boundary" in row]
    data = [row for row in data if "boundary" not in row]
    names = values_of(data, "problem")
    return [
        Chart(
            "depth",
            "The error against the depth at a fixed initialization α",
            "At fixed α a deeper network is closer to the ℓ₁-minimiser. Dotted: C(p)·αᵖ with its next term, where that is small.",
            tuple(_errors(name, "alpha", "α", select(data, problem=name)) for name in names),
        ),
        Chart(
            "fixed_power",
            "The error against the depth at a fixed αᵖ",
            "At fixed αᵖ only the constant is left: it gains much close to p = 2, and little beyond p = 6. "
            "Dotted: predicted, where the next term is small.",
            tuple(_errors(name, "power", "αᵖ", select(data, problem=name)) for name in names),
        ),
        Chart(
            "constant",
            "The constant C(p)",
            "Against k = p/(p−2): on the right p → 2, where log C is a straight line of slope −log(1−ϱ); k → 1 is p → ∞.",
            (_constants(names, data),),
        ),
        Chart(
            "boundary",
            "Towards p → 2 and p → ∞: the enclosed error over C(p)·αᵖ",
            "From intervals that provably contain the limit and W_p, at two values of αᵖ for each p. The ratio goes to 1.",
            (_boundary(edges),),
        ),
    ]


def _errors(name: str, fixed: str, symbol: str, rows: list[dict[str, Any]]) -> Panel:
    series = []
    for look, value in enumerate(values_of(select(rows, fixed=fixed), "value")):
        mine = [row for row in select(rows, fixed=fixed, value=value) if row["resolved"]]
        series.append(
            Series(f"{symbol} = {value:g}", [r["p"] for r in mine], [r["distance"] for r in mine], look, "both")
        )
        far = [row for row in mine if _asymptotic(row)]
        series.append(Series("predicted", [r["p"] for r in far], [r["predicted"] for r in far], kind="guide"))
    return Panel(name, "p", "‖ψ − W‖₂", tuple(series), "linear", "log")


def _asymptotic(row: dict[str, Any]) -> bool:
    """Whether the next term changes the prediction by less than half: elsewhere it predicts nothing."""
    unit = row["value"] if row["fixed"] == "power" else row["value"] ** row["p"]
    return 0.5 < row["predicted"] / (row["constant"] * unit) < 1.5


def _boundary(rows: list[dict[str, Any]]) -> Panel:
    series = []
    for look, name in enumerate(values_of(rows, "boundary")):
        mine = [row for row in select(rows, boundary=name) if row["log_error"] is not None and row["constant"]]
        ratio = [10 ** (row["log_error"] - row["log_power"]) / row["constant"] for row in mine]
        series.append(Series(name, [row["p"] for row in mine], ratio, look, "points"))
    return Panel("", "p", "error / (C·αᵖ)", tuple(series), "log", "linear")


def _constants(names: list[str], data: list[dict[str, Any]]) -> Panel:
    series = []
    for look, name in enumerate(names):
        found = sorted({(row["k"], row["constant"]) for row in select(data, problem=name)})
        series.append(Series(name, [k for k, _ in found], [c for _, c in found], look))
    return Panel("", "k = p/(p−2)", "C(p)", tuple(series), "linear", "log")
