"""Papazov, Pesme, Flammarion, Leveraging continuous time to understand momentum, AISTATS 2024 (arXiv 2403.05293)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dlntorch.flow.regularized import HeavyBallFlow, integrate_update_flow
from dlntorch.model import Initialization
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import check_number
from dlntorch.problem import Problem
from dlntorch.run import train
from dlntorch.studies.base import Claim, Point, Row, Settings, at_most, holds, numbers, select, values_of, within
from dlntorch.studies.papers.planted import block, descents, explained, from_limit, median, planted, seeds_of, truth_of

__all__ = ["ABOUT", "claims", "compute", "points"]

KEY = "papazov2024"
ABOUT = (
    "Papazov et al. 2024: what momentum does depends on λ = η/(1−β)² alone, and a larger λ recovers sparse vectors "
    "better, since α_eff shrinks. Not known of the original: dimensions, seeds, grid, normalisation. The question of its "
    "readers, whether momentum is descent from a smaller α, is answered by the distance to the flow from α_eff without the tilt."
)


def points(settings: Settings) -> list[Point]:
    mine = block(settings, KEY)
    flow_lambda = check_number(f"study.{KEY}.flow_lambda", mine["flow_lambda"], above=0)
    shared = {**descents(mine, KEY), "flow_lambda": flow_lambda}
    lambdas = numbers(mine, "lambdas", lambda name, value: check_number(name, value, above=0))
    betas = numbers(mine, "betas", lambda name, value: check_number(name, value, above=0, below=1))
    seeds = seeds_of(mine, KEY)
    return [
        {**shared, "seed": seed, "first": seed == seeds[0], "lambda": value, "beta": beta}
        for seed in seeds
        for value in lambdas
        for beta in betas
    ]


def compute(point: Point) -> list[Row]:
    problem = planted(point["m"], point["n"], point["nonzeros"], point["seed"])
    eta = point["lambda"] * (1 - point["beta"]) ** 2
    run = train(
        problem,
        2,
        point["alpha"],
        "constant",
        eta=eta,
        optimizer="momentum",
        optimizer_options={"beta": point["beta"]},
        tol=1e-9,
        max_steps=point["max_steps"],
        references=False,
    )
    row: Row = {"status": str(run.status), "eta": eta, "residual": run.summary["residual"]}
    end = run.effective
    if run.status.ended_badly or end.initialization is None or end.gain is None or end.relative_tilt is None:
        return [row]
    plus, minus = end.initialization.expanded(problem.n)
    return [
        {
            **row,
            "distance": float(np.linalg.norm(run.psi.numpy() - truth_of(problem))),
            "gain": float(end.gain.mean()),
            "predicted_gain": _predicted_gain(problem, point, eta),
            "tilt": float(end.relative_tilt.abs().max()),
            "explained": from_limit(problem, run.psi, end.initialization),
            "without_tilt": from_limit(problem, run.psi, Initialization((plus * minus).sqrt())),
        }
    ]


def _predicted_gain(problem: Problem, point: Point, eta: float) -> float | None:
    """m∫(r₊² + r₋²) along heavy-ball flow, mean over coordinates; None where a parameter crosses zero."""
    if (
        point["lambda"] != point["flow_lambda"] or not point["first"]
    ):  # a stiff flow, seconds each: one problem is enough
        return None
    flow = HeavyBallFlow.of(eta, point["beta"])
    path = integrate_update_flow(
        problem, 2, point["alpha"], [1e4], flow, rtol=1e-8, stop_residual=1e-6, max_evaluations=200_000, method="LSODA"
    )
    if path.trajectory.status is not Status.CONVERGED or path.log_start is None:
        return None
    return float((2 * np.log(point["alpha"]) - path.log_start[-1].sum(dim=0)).mean())


def _discrete(beta: float) -> float:
    """What steps add to the flow's gain, to first order: m = ηβ/(1−β)² in the flow is η(1+β)/(2(1−β)²) in steps.

    ln ρ = x − x²/2 with ρ = 1 + x_k, and x_k = u_k + β(1 − 1/ρ_{k−1}): summed, (1−β)Σx = Σu − βΣx², so that
    Σ ln ρ = Σu/(1−β) − (β/(1−β) + ½)Σx² and the loss is (1+β)/(2(1−β)) Σx² where the flow has β/(1−β) ∫.
    """
    return (1 + beta) / (2 * beta)


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    known = [row for row in rows if row.get("distance") is not None]
    found = [explained("Papazov 2024", rows)]
    lambdas = sorted(values_of(known, "lambda"))
    logs = [
        [
            np.log(median(select(known, **{"lambda": value, "beta": beta}), "gain") or np.nan)
            for beta in values_of(known, "beta")
        ]
        for value in lambdas
    ]
    table = np.array(logs) if logs else np.full((1, 1), np.nan)
    if table.shape[0] > 1 and np.all(np.isfinite(table)):
        inside, across = float(np.ptp(table, axis=1).max()), float(np.ptp(table.mean(axis=1)))
        text = "Papazov 2024: spread of ln(gain) along a level set of η/(1−β)², over its range across them (bound ours)"
        found.append(at_most(text, inside / across, 0.1))
    else:
        text = "Papazov 2024: the gain is constant on level sets of η/(1−β)²"
        found.append(holds(text, "constant", "some cells have no run that ended", None, "every cell needs one"))
    for value in values_of(known, "flow_lambda"):
        rows_there = [row for row in select(known, **{"lambda": value}) if row["predicted_gain"]]
        shares = [row["gain"] / row["predicted_gain"] / _discrete(row["beta"]) for row in rows_there]
        text = (
            f"Papazov 2024, η/(1−β)² = {value:g}: gain over the heavy-ball flow's, times 2β/(1+β), median (bound ours)"
        )
        found.append(within(text, 1.0, float(np.median(shares)) if shares else None, 0.03))
    ends = [median(select(known, **{"lambda": value}), "distance") for value in (lambdas[:1] + lambdas[-1:])]
    good = bool(ends[1] < ends[0]) if len(ends) == 2 and None not in ends else None  # type: ignore[operator]
    words = " to ".join("none" if end is None else f"{end:.3g}" for end in ends)
    text = "Papazov 2024: from the smallest to the largest η/(1−β)² the end comes nearer to the truth"
    found.append(holds(text, "nearer", words, good, "the paper's direction, medians over seeds and β"))
    share = [
        row["without_tilt"] / row["distance"]
        for row in known
        if row["distance"] > 0 and row["without_tilt"] is not None
    ]
    text = "Papazov 2024, its readers: ‖ψ − limit(α_eff without its tilt)‖ over the distance to the truth, largest (bound ours)"
    found.append(at_most(text, max(share) if share else None, 0.01))
    return found
