"""Woodworth et al., Kernel and rich regimes in overparametrized models, COLT 2020 (arXiv 2002.09277)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from dlntorch.limit.flow_limit import flow_limit
from dlntorch.numerics.validation import check_count, check_number
from dlntorch.reference.l1_minimizer import l1_minimizer
from dlntorch.studies.base import Claim, Point, Row, Settings, at_most, holds, numbers, select, values_of
from dlntorch.studies.papers.planted import block, median, planted, seeds_of, sizes, truth_of

__all__ = ["ABOUT", "claims", "compute", "points"]

KEY = "woodworth2020"
ABOUT = (
    "Woodworth et al. 2020: the scale of the start moves the flow from the ℓ₁-minimiser (rich) to the ℓ₂-minimiser "
    "(kernel), and depth moves the place of the transition. Known of the original: α from 1e-3 to 1e3, depths 2 and "
    "more. Not known: its data. The limits here are computed, not trained; at p > 2 the scale compared is αᵖ, that of ψ."
)


def points(settings: Settings) -> list[Point]:
    mine = block(settings, KEY)
    shared = {"paper": KEY, **sizes(mine, KEY)}
    low, high = (check_number(f"study.{KEY}.{key}", mine[key], above=0) for key in ("smallest", "largest"))
    count = check_count(f"study.{KEY}.count", mine["count"], at_least=3)
    depths = numbers(mine, "depths", lambda name, value: check_number(name, value, at_least=2))
    seeds = seeds_of(mine, KEY)
    return [
        {**shared, "p": p, "seed": seed, "smallest": low, "largest": high, "count": count}
        for p in depths
        for seed in seeds
    ]


def compute(point: Point) -> list[Row]:
    problem = planted(point["m"], point["n"], point["nonzeros"], point["seed"])
    truth, least = truth_of(problem), l1_minimizer(problem)
    shortest = torch.linalg.lstsq(problem.A, problem.y[:, None], driver="gelsd").solution[:, 0]
    alphas = np.geomspace(point["smallest"], point["largest"], point["count"])
    alphas[0] = point["smallest"]
    found = flow_limit(problem, point["p"], alphas)
    value, length = float(least.value), float(torch.linalg.vector_norm(shortest))
    return [
        {
            "alpha": float(alpha),
            "l1_excess": float(psi.abs().sum()) / value - 1,
            "l2_excess": float(torch.linalg.vector_norm(psi)) / length - 1,
            "error": float(np.linalg.norm(psi.numpy() - truth) / np.linalg.norm(truth)),
        }
        for alpha, psi in zip(alphas, found.psi, strict=True)
    ]


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    found, places = [], []
    for p in values_of(rows, "p"):
        mine = select(rows, p=p)
        alphas = sorted(values_of(mine, "alpha"))
        rich, kernel = select(mine, alpha=alphas[0]), select(mine, alpha=alphas[-1])
        ends = ((rich, "l1_excess", "ℓ₁ excess at the smallest α"), (kernel, "l2_excess", "ℓ₂ excess at the largest α"))
        for part, key, words in ends:
            found.append(at_most(f"Woodworth 2020, p = {p:g}: {words}, median (bound ours)", median(part, key), 0.01))
        steps = [
            np.diff([median(select(mine, alpha=alpha), key) or 0.0 for alpha in alphas])
            for key in ("l1_excess", "l2_excess")
        ]
        good = bool(np.all(steps[0] >= -1e-9) and np.all(steps[1] <= 1e-9))
        text = f"Woodworth 2020, p = {p:g}: as α grows the ℓ₁ norm rises and the ℓ₂ norm falls"
        found.append(
            holds(
                text,
                "monotone",
                "monotone" if good else "not monotone",
                good,
                "the paper's direction, medians over seeds",
            )
        )
        small = [alpha for alpha in alphas if (median(select(mine, alpha=alpha), "l1_excess") or 0.0) <= 0.01]
        places.append(max(small) ** p if small else None)
    if len(places) > 1:
        good = None if None in places else bool(all(b > a for a, b in pairwise(places)))  # type: ignore[operator]
        words = ", ".join("none" if place is None else f"{place:.2g}" for place in places)
        text = "Woodworth 2020: the largest αᵖ with an ℓ₁ excess of at most 1 % (bound ours), for growing p"
        found.append(holds(text, "grows with p", words, good, "strictly increasing"))
    errors = [row["error"] for row in rows if row["alpha"] == row["smallest"]]
    error = float(np.median(errors)) if errors else None
    found.append(
        at_most("Woodworth 2020: error of the planted vector at the smallest α, median (bound ours)", error, 0.05)
    )
    return found
