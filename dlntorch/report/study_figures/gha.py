"""Hardness: how many decimals are right, as a map over (α, δ), and for each algorithm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlntorch.report.chart import Chart, Heat, Panel, Series
from dlntorch.studies.base import select, values_of
from dlntorch.studies.gha import half_height

__all__ = ["charts"]


def charts(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Chart]:
    data = [dict(row) for row in rows]
    grown = [row for row in data if row["method"] in ("transition", "edge")]
    data = [row for row in data if row["method"] not in ("transition", "edge")]
    digits = values_of(data, "digits")
    bits, p = int(settings["bits"]), float(settings["p"])
    return [
        Chart(
            "gha",
            "Decimals that the limit has right on both δ and −δ, beyond the K that hardness allows",
            "0 (white) is the barrier: below the dashed line the sign of δ is not in the b bits that were read, and no α "
            "helps. Above it more digits come once α is left of the dotted line, the predicted kink.",
            tuple(_map(K, select(data, digits=K, method="limit"), bits, p) for K in digits),
            f"p = {p:g}, inputs of b = {bits} binary digits",
        ),
        Chart(
            "algorithms",
            "The error on the worse of δ and −δ, in units of 10^(−K)",
            "To the left of the vertical line the input does not tell δ from −δ: whatever the algorithm, the error is "
            "above 1, and below 10. linprog loses the sign earlier, at its own tolerance.",
            tuple(_algorithms(K, select(data, digits=K), bits) for K in digits),
            f"p = {p:g}, b = {bits}; each at the smallest α that it was run with",
        ),
        *growth_charts(grown),
    ]


def growth_charts(rows: list[dict[str, Any]]) -> list[Chart]:
    """The transition for every K and depth, and the network's own."""
    names = values_of(rows, "family")
    if not names:
        return []
    return [
        Chart(
            "transition",
            "The worst error on ±δ over all depths, in units of 10^(−K)",
            "Where δ and −δ are read alike no algorithm has K digits on both, for every K; with ten bits more all have them.",
            tuple(_transition(name, select(rows, family=name, method="transition")) for name in names),
        ),
        Chart(
            "edge",
            "The network’s own transition: |δ| at which the limit is half-way to the minimiser",
            "Below its line a network of that depth and αᵖ does not follow the minimiser. Slopes (p−2)/p; p = 2 falls like "
            "1/ln(1/α²).",
            tuple(_edges(name, select(rows, family=name, method="edge")) for name in names),
        ),
    ]


def _transition(name: str, rows: list[dict[str, Any]]) -> Panel:
    series = []
    for look, (place, method) in enumerate((p, m) for p in ("hidden", "seen") for m in ("exact", "limit")):
        mine = select(rows, place=place, algorithm=method)
        ks = values_of(mine, "digits")
        worst = [max(max(r["error"] for r in select(mine, digits=K)) * 10.0**K, 1e-12) for K in ks]
        series.append(Series(f"{method}, δ {place}", ks, worst, look, "both"))
    return Panel(name, "K", "error·10ᴷ", tuple(series), "linear", "log")


def _edges(name: str, rows: list[dict[str, Any]]) -> Panel:
    series = []
    for look, p in enumerate(values_of(rows, "depth")):
        mine = select(rows, depth=p)
        series.append(Series(f"p = {p:g}", [r["power"] for r in mine], [r["edge"] for r in mine], look, "both"))
    return Panel(name, "αᵖ/‖y‖", "|δ|", tuple(series))


def _map(K: int, rows: list[dict[str, Any]], bits: int, p: float) -> Panel:
    powers, deltas = sorted(values_of(rows, "power")), sorted(values_of(rows, "delta"))
    cells = {(row["delta"], row["power"]): row["decimals"] - K for row in rows}
    z = [[min(max(cells[d, a], 0.0), 6.0) for a in powers] for d in deltas]
    line = np.array([a for a in powers if deltas[0] <= half_height(a, p) <= deltas[-1]])
    series = (
        Series("predicted kink", list(line), [half_height(a, p) for a in line], kind="guide"),
        Series("last bit of A", [powers[0], powers[-1]], [2.0 ** (-bits - 1)] * 2, 1, "line"),
    )
    heat = Heat(powers, deltas, z, "decimals beyond K", 0.0, 6.0)
    return Panel(f"K = {K}", "αᵖ/y", "|δ|", series, heat=heat)


def _algorithms(K: int, rows: list[dict[str, Any]], bits: int) -> Panel:
    series = []
    for look, method in enumerate(("limit", "linprog", "flow", "sgd")):
        mine = [row for row in select(rows, method=method) if row["error"] is not None]
        if not mine:
            continue
        smallest = min((row["power"] for row in mine if row.get("power") is not None), default=None)
        mine = sorted((row for row in mine if row.get("power") in (None, smallest)), key=lambda row: row["delta"])
        x, y = [row["delta"] for row in mine], [max(row["error"] * 10**K, 1e-12) for row in mine]
        name = {"sgd": "SGD"}.get(method, method)
        series.append(Series(name, x, y, look if look < 2 else look + 2, "both" if look < 2 else "points"))
    series.append(Series("last bit of A", [2.0 ** (-bits - 1)] * 2, [1e-12, 10.0], 2, "line"))
    return Panel(f"K = {K}", "|δ|", "error·10ᴷ", tuple(series), y_range=(1e-12, 10.0))
