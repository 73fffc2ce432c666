"""Models of computation: who is right at which δ, and how many digits the oracle was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlntorch.report.chart import Chart, Panel, Series
from dlntorch.studies.base import select, values_of

__all__ = ["charts"]


def charts(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    data = [dict(row) for row in rows]
    names = values_of(data, "family")
    return [
        Chart(
            "models",
            "The error on the worse of δ and −δ, relative to the distance of their minimisers",
            "Given exactly the error is 0 (drawn at 1e-3). Given to K digits it is at least one half where δ is below the last.",
            tuple(_errors(name, select(data, family=name)) for name in names),
        ),
        Chart(
            "oracle",
            "Digits that were read before the answer was proved",
            "The reader stops where a lower bound of the distance to ill-posedness exceeds the error of what it has read; it "
            "needs about −log₁₀ δ digits, and never stops at δ = 0.",
            tuple(_digits(name, select(data, family=name, model="oracle")) for name in names),
        ),
    ]


def _errors(name: str, rows: list[dict[str, Any]]) -> Panel:
    exact = select(rows, model="exact")
    exponents = values_of(exact, "exponent")
    right = [1e-3 if all(r["right"] for r in select(exact, exponent=e)) else 1.0 for e in exponents]
    series = [Series("exact", [10.0**-e for e in exponents], right, 0, "both")]
    digits = [row for row in select(rows, model="digits") if row["error"] is not None]
    for look, K in enumerate(values_of(digits, "digits"), 1):
        mine = select(digits, digits=K)
        at = values_of(mine, "exponent")
        worst = [max(max(r["error"] for r in select(mine, exponent=e)), 1e-3) for e in at]
        series.append(Series(f"K = {K}", [10.0**-e for e in at], worst, look, "both"))
    return Panel(name, "|δ|", "error / ‖W₊ − W₋‖₂", tuple(series))


def _digits(name: str, rows: list[dict[str, Any]]) -> Panel:
    ended = [row for row in rows if row["read"] is not None]
    series = []
    for look, (sign, word) in enumerate(((1, "δ > 0"), (-1, "δ < 0"))):
        mine = select(ended, sign=sign)
        series.append(Series(word, [r["exponent"] for r in mine], [r["read"] for r in mine], look, "both"))
    ends = [min(r["exponent"] for r in rows), max(r["exponent"] for r in rows)]
    series.append(Series("−log₁₀ δ", ends, ends, kind="guide"))
    return Panel(name, "−log₁₀ |δ|", "digits read", tuple(series), "linear", "linear")
