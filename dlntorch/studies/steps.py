"""What the step size does to the answer: the weights it puts on the ℓ1 norm, the threshold, and the observed onset."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dlntorch.bounds.effective import Effective
from dlntorch.bounds.threshold import StepSizeThreshold, norm_weights, step_size_threshold
from dlntorch.limit.flow_limit import flow_limit
from dlntorch.model.depth_law import depth_law
from dlntorch.numerics.validation import check_count, check_number
from dlntorch.problem import Problem
from dlntorch.reference.l1_minimizer import l1_minimizer
from dlntorch.run import RunResult, train
from dlntorch.studies.base import (
    Claim,
    Point,
    Row,
    Settings,
    Study,
    at_most,
    column,
    holds,
    numbers,
    select,
    values_of,
)
from dlntorch.studies.measure import largest, middle

__all__ = ["STUDY"]

ABOUT = (
    "A run with discrete steps ends at the limit of a flow that started elsewhere: its effective initialization, 2n numbers that "
    "are read off the end. Plain SGD only ever lowers the start, and unequally. For p > 2 that puts weights on the ℓ₁ norm: a "
    "run with large steps is far from the ℓ₁-minimiser, and right at the minimiser of the weighted norm.",
    "Below a threshold in κ (and c) the weights provably cannot change the minimiser, whatever α and the horizon. It is computed "
    "from the data before the run. Beside it stands the onset: the smallest κ, found by search, whose weights select wrongly.",
    "The gain −ln(α_eff²/α²) of full-batch steps concentrates on the support; that of mini-batches is spread more evenly.",
)

#: A run "selects wrongly" where the minimiser of its weighted norm differs from the ℓ1-minimiser by this part of it.
DIFFERENT = 1e-6


def points(settings: Settings) -> list[Point]:
    depths = numbers(settings, "depths", lambda name, value: check_number(name, value, at_least=2))
    kappas = numbers(settings, "kappas", lambda name, value: check_number(name, value, above=0, at_most=0.3))
    m = check_count("study.m", settings["m"], at_least=2)
    batches = numbers(settings, "batches", lambda name, value: check_count(name, value, at_most=m))
    shared = {
        "alpha": check_number("study.alpha", settings["alpha"], above=0, at_most=0.5),
        "m": m,
        "n": check_count("study.n", settings["n"], at_least=m + 1),
        "max_steps": check_count("study.max_steps", settings["max_steps"]),
    }
    tol = check_number("study.tol", settings["tol"], above=0, at_most=0.1)
    search = {
        "tol": check_number("study.search_tol", settings["search_tol"], above=0, at_most=0.1),
        "least_kappa": check_number("study.least_kappa", settings["least_kappa"], above=0, at_most=0.3),
        "per_decade": check_count("study.per_decade", settings["per_decade"]),
    }
    seeds = range(check_count("study.seeds", settings["seeds"]))
    searched = range(check_count("study.search_seeds", settings["search_seeds"]))
    pairs = [{"p": p, "batch": batch, **shared} for p in depths for batch in batches]
    return [
        *(
            {"kind": "run", **pair, "seed": seed, "kappa": kappa, "tol": tol}
            for pair in pairs
            for seed in seeds
            for kappa in kappas
        ),
        *({"kind": "onset", **pair, "seed": seed, **search} for pair in pairs for seed in searched),
    ]


def problem_of(point: Point) -> Problem:
    """A Gaussian problem, by its seed."""
    rng = np.random.default_rng([point["seed"], point["m"], point["n"]])
    return Problem(rng.standard_normal((point["m"], point["n"])), rng.standard_normal(point["m"]), name="gaussian")


def compute(point: Point) -> list[Row]:
    problem = problem_of(point)
    W = l1_minimizer(problem).psi.numpy()
    if point["kind"] == "onset":
        return [_onset(problem, W, point)]
    run = _run(problem, point, point["kappa"], 1.0)
    end = run.effective
    row: Row = {"status": str(run.status), "steps": run.summary["steps"], "residual": run.summary["residual"]}
    if end.initialization is None or end.gain is None:
        return [row]
    psi, gain, on = run.psi.numpy(), end.gain.numpy(), W != 0
    limit = flow_limit(problem, point["p"], end.initialization).psi.numpy()
    weighted = _weighted_minimiser(problem, point, end, W)
    return [
        {
            **row,
            "distance_to_l1": float(np.linalg.norm(psi - W)),
            "distance_to_weighted": None if weighted is None else float(np.linalg.norm(psi - weighted)),
            "distance_to_limit": float(np.linalg.norm(psi - limit)),
            "wrong": None if weighted is None else float(_differs(weighted, W)),
            "gain_min": float(gain.min()),
            "gain_on": float(gain[on].mean()),
            "gain_off": float(gain[~on].mean()),
        }
    ]


def _onset(problem: Problem, W: np.ndarray, point: Point) -> Row:
    """The threshold, whether the run at it selects rightly, and the smallest κ of the search that does not."""
    found = step_size_threshold(problem, point["p"], point["alpha"], batch_size=point["batch"])
    row: Row = {
        "threshold": found.kappa,
        "c": found.c,
        "margin": found.delta,
        "runs": 0,
        "violations": 0,
        "onset": None,
    }
    if found.kappa is not None and found.kappa >= point["least_kappa"]:
        row["runs"], row["violations"] = 1, int(_selects_wrongly(problem, point, W, found.kappa, found))
    low = max(point["least_kappa"], found.kappa or 0.0)
    count = max(1, math.ceil(point["per_decade"] * math.log10(0.3 / low)))
    for kappa in np.geomspace(low, 0.3, count + 1)[1:]:
        if _selects_wrongly(problem, point, W, float(kappa), None):
            row["onset"] = float(kappa)
            break
    return row


def _selects_wrongly(
    problem: Problem, point: Point, W: np.ndarray, kappa: float, proved: StepSizeThreshold | None
) -> bool:
    run = _run(problem, point, kappa, 1.0 if proved is None or proved.c is None else proved.c)
    if run.effective.initialization is None:
        return False
    weighted = _weighted_minimiser(problem, point, run.effective, W)
    return weighted is not None and _differs(weighted, W)


def _run(problem: Problem, point: Point, kappa: float, c: float) -> RunResult:
    return train(
        problem,
        point["p"],
        point["alpha"],
        kappa=kappa,
        c=c,
        batch_size=None if point["batch"] == point["m"] else point["batch"],
        tol=point["tol"],
        max_steps=point["max_steps"],
        seed=point["seed"],
        references=False,
    )


def _weighted_minimiser(problem: Problem, point: Point, end: Effective, W: np.ndarray) -> np.ndarray | None:
    """The minimiser of the norm with the run's weights (at p = 2 those of the logarithms, as in the threshold's proof)."""
    weights = norm_weights(point["p"], point["alpha"], end, float(np.abs(W).max()))
    if weights is None:
        return None
    return l1_minimizer(problem, weights=weights).psi.numpy()


def _differs(found: np.ndarray, W: np.ndarray) -> bool:
    return bool(np.abs(found - W).max() > DIFFERENT * np.abs(W).max())


# -- claims -------------------------------------------------------------------------------------------------------


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    runs, searched = select(rows, kind="run"), select(rows, kind="onset")
    ended = select(runs, status="converged")
    found = [at_most("largest −gain of any coordinate of any run", largest(-column(runs, "gain_min")), 1e-12)]
    excess = column(ended, "distance_to_limit") - 10 * column(ended, "residual")
    found.append(at_most("converged runs: ‖ψ − limit(α_eff)‖ − 10 residuals, largest", largest(excess), 1e-12))
    wrong = [row for row in ended if row["wrong"] == 1.0 and depth_law(row["p"]).shapes_norm]
    nearer = sum(row["distance_to_weighted"] < row["distance_to_l1"] for row in wrong)
    claim = "converged runs that selected wrongly, p > 2: nearer to the weighted minimiser than to the ℓ₁-minimiser"
    good = nearer == len(wrong) if wrong else None
    found.append(holds(claim, "all of them", f"{nearer} of {len(wrong)}", good, "all of them"))
    found.append(_even(ended, settings))
    made, violations = sum(row["runs"] for row in searched), sum(row["violations"] for row in searched)
    found.append(at_most(f"wrong selections among the {made} runs at their thresholds", float(violations), 0.0))
    for p in values_of(searched, "p"):
        for batch in values_of(searched, "batch"):
            found.append(_ratio(select(searched, p=p, batch=batch), p, batch, int(settings["m"])))
    return found


def _ratio(rows: Sequence[Row], p: float, batch: int, m: int) -> Claim:
    """Onset over threshold: at least 1, its median beside it."""
    proved = [row for row in rows if row["threshold"] is not None]
    known = [row for row in proved if row["onset"] is not None]
    ratios = column(known, "onset") / column(known, "threshold")
    which = "full batch" if batch == m else f"batches of {batch}"
    measured = f"median {np.median(ratios):.3g}, least {ratios.min():.3g}; " if known else ""
    measured += f"no onset up to 0.3 in {len(proved) - len(known)} of {len(proved)}"
    good = bool(np.all(ratios >= 1)) if proved else None
    return holds(f"p = {p:g}, {which}: onset over threshold", "at least 1", measured, good, "all of them")


def _even(rows: Sequence[Row], settings: Settings) -> Claim:
    """Full-batch gain on the support over that off it, against mini-batches."""
    full, small = (select(rows, batch=batch) for batch in (int(settings["m"]), min(settings["batches"])))
    ratios = [middle(column(part, "gain_on") / column(part, "gain_off")) for part in (full, small)]
    measured = " and ".join("none" if ratio is None else f"{ratio:.3g}" for ratio in ratios)
    good = None if None in ratios or full == small else bool(ratios[0] > ratios[1])  # type: ignore[operator]
    claim = "gain on the support over gain off it, median: full batch and the smallest batch"
    return holds(claim, "larger for the full batch", measured, good, "first > second")


STUDY = Study(
    summary="what the step size selects: effective weights, gain, the threshold in κ beside the observed onset",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)


def onset_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the search that have both a threshold and an onset."""
    return [row for row in select(rows, kind="onset") if row["threshold"] is not None and row["onset"] is not None]
