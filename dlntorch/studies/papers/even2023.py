"""Even, Pesme, Gunasekar, Flammarion, (S)GD over diagonal linear networks, NeurIPS 2023 (arXiv 2302.08982)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dlntorch.bounds.critical_step import critical_step_size
from dlntorch.limit.flow_limit import flow_limit
from dlntorch.model.conventions import Convention
from dlntorch.numerics.validation import check_number
from dlntorch.problem import Problem
from dlntorch.run import train
from dlntorch.studies.base import Claim, Point, Row, Settings, holds, numbers, select, values_of
from dlntorch.studies.papers.planted import block, descents, explained, from_limit, median, planted, seeds_of, truth_of

__all__ = ["ABOUT", "claims", "compute", "points"]

KEY = "even2023"
ABOUT = (
    "Even et al. 2023: with large steps SGD recovers a sparse vector better and GD worse. The gain −ln(α_eff²/α²) of GD "
    "sits on the support, that of SGD is spread evenly. Known of the original: p = 2, m = 20, n = 30, three nonzeros, "
    "α = 0.1, 1e5 iterations. Not known: the values on the support, the seeds, the normalisation of the loss. So steps are "
    "given as shares of a critical step: 2/max_t λ_max(∇²L) along the flow for GD, and for SGD the least over rows of the "
    "same for that row alone, at the end of the flow."
)


def points(settings: Settings) -> list[Point]:
    mine = block(settings, KEY)
    shared = descents(mine, KEY)
    shares = numbers(mine, "shares", lambda name, value: check_number(name, value, above=0, at_most=2))
    seeds = seeds_of(mine, KEY)
    return [
        {**shared, "method": method, "seed": seed, "share": share}
        for method in ("GD", "SGD")
        for seed in seeds
        for share in shares
    ]


def start_of(alpha: float) -> float:
    """θ±(0) of the paper's u = √2 α, v = 0."""
    return float(Convention(layers=True).theta(2**0.5 * alpha, 0.0)[0])


def critical(problem: Problem, method: str, alpha: float) -> float | None:
    """η of share 1."""
    start = start_of(alpha)
    if method == "GD":
        return critical_step_size(problem, 2, start).eta
    psi = flow_limit(problem, 2, start).psi.numpy()
    curvature = 4 * np.sqrt(psi**2 + 4 * start**4)  # p²(θ₊² + θ₋²)
    rows = (problem.A.numpy() ** 2 * curvature).sum(axis=1)
    return float(2 / (problem.m * rows.max()))


def compute(point: Point) -> list[Row]:
    problem = planted(point["m"], point["n"], point["nonzeros"], point["seed"])
    eta = critical(problem, point["method"], point["alpha"])
    if eta is None:
        return [{"status": "no critical step"}]
    start, truth = start_of(point["alpha"]), truth_of(problem)
    run = train(
        problem,
        2,
        start,
        "constant",
        eta=point["share"] * eta,
        batch_size=1 if point["method"] == "SGD" else None,
        tol=1e-9,
        max_steps=point["max_steps"],
        seed=point["seed"],
        references=False,
    )
    row: Row = {"status": str(run.status), "eta": point["share"] * eta, "residual": run.summary["residual"]}
    end = run.effective
    if run.status.ended_badly or end.initialization is None or end.gain is None:
        return [row]
    on, gain, psi = truth != 0, end.gain.numpy(), run.psi.numpy()
    return [
        {
            **row,
            "distance": float(np.linalg.norm(psi - truth)),
            "gain_on": float(gain[on].mean()),
            "gain_off": float(gain[~on].mean()),
            "explained": from_limit(problem, run.psi, end.initialization),
        }
    ]


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    found = [explained("Even 2023", rows)]
    ratios = []
    for method, word in (("GD", "farther from"), ("SGD", "nearer to")):
        mine = [row for row in select(rows, method=method) if row.get("distance") is not None]
        shares = sorted(values_of(mine, "share"))
        ends = [median(select(mine, share=share), "distance") for share in (shares[:1] + shares[-1:])]
        good = None
        if len(shares) > 1 and None not in ends:
            good = bool(ends[1] > ends[0]) if method == "GD" else bool(ends[1] < ends[0])  # type: ignore[operator]
        measured = " to ".join("none" if end is None else f"{end:.3g}" for end in ends)
        text = f"Even 2023: from the smallest to the largest step, {method} ends {word} the truth (median distance)"
        found.append(holds(text, word, measured, good, "the paper's direction, medians over seeds"))
        last = select(mine, share=shares[-1]) if shares else []
        on, off = median(last, "gain_on"), median(last, "gain_off")
        ratios.append(None if on is None or not off else on / off)
    good = None if None in ratios else bool(ratios[0] > 2 and ratios[0] > 2 * ratios[1])  # type: ignore[operator]
    words = " and ".join("none" if ratio is None else f"{ratio:.3g}" for ratio in ratios)
    text = "Even 2023: gain on the support over that off it, largest step: GD and SGD"
    found.append(
        holds(text, "GD's concentrates, SGD's is even", words, good, "GD's above 2 and above twice SGD's (bounds ours)")
    )
    return found
