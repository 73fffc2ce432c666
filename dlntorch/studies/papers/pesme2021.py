"""Pesme, Pillaud-Vivien, Flammarion, Implicit bias of SGD for diagonal linear networks, NeurIPS 2021 (arXiv 2106.09524)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlntorch.numerics.compiling import kernel
from dlntorch.numerics.validation import check_number
from dlntorch.studies.base import Claim, Point, Row, Settings, holds, numbers, select, values_of, within
from dlntorch.studies.papers.planted import block, descents, median, planted, seeds_of, truth_of

__all__ = ["ABOUT", "claims", "compute", "points", "sgd"]

KEY = "pesme2021"
ABOUT = (
    "Pesme et al. 2021: SGD ends where the flow from α exp(−2γ diag(AᵀA)/m ∫L) ends, so that slower convergence of the "
    "loss means a better answer. Not known of the original: its data, steps and seeds (it published no code). In our "
    "units one-row batches predict the gain −ln(α_eff²/α²)_i = 8η‖A_i‖²∫L dt, L = ½‖Aψ − y‖², which takes rows and residuals "
    "as independent; beside it stands 4ηm Σ_j A_ji² ∫r_j² dt, which does not, and the gain that was measured."
)


def points(settings: Settings) -> list[Point]:
    mine = block(settings, KEY)
    shared = descents(mine, KEY)
    etas = numbers(mine, "etas", lambda name, value: check_number(name, value, above=0))
    seeds = seeds_of(mine, KEY)
    return [{**shared, "seed": seed, "eta": eta} for seed in seeds for eta in etas]


def compute(point: Point) -> list[Row]:
    problem = planted(point["m"], point["n"], point["nonzeros"], point["seed"])
    A, y, eta = problem.A.numpy(), problem.y.numpy(), point["eta"]
    theta, squares, time = np.full((2, problem.n), float(point["alpha"])), np.zeros(problem.m), 0
    rng = np.random.default_rng([point["seed"], 2106])
    goal = 1e-9 * float(np.linalg.norm(y))
    while time < point["max_steps"]:
        rows = rng.integers(problem.m, size=min(1000, point["max_steps"] - time))
        sgd(A, y, theta, eta, rows, squares)
        time += len(rows)
        if not np.all(np.isfinite(theta)) or not np.all(theta):
            return [{"status": "diverged", "steps": time}]
        if float(np.linalg.norm(A @ (theta[0] ** 2 - theta[1] ** 2) - y)) <= goal:
            break
    else:
        return [{"status": "max_steps", "steps": time}]
    gain = 2 * np.log(point["alpha"]) - np.log(np.abs(theta)).sum(axis=0)
    loose = 4 * eta * (A * A).sum(axis=0) * (eta * squares.sum())  # 2L = Σ r²
    tight = 4 * eta * point["m"] * (A * A).T @ (eta * squares)
    return [
        {
            "status": "converged",
            "steps": time,
            "loss_integral": float(0.5 * eta * squares.sum()),
            "gain": float(gain.mean()),
            "predicted": float(loose.mean()),
            "predicted_by_rows": float(tight.mean()),
            "distance": float(np.linalg.norm(theta[0] ** 2 - theta[1] ** 2 - truth_of(problem))),
        }
    ]


@kernel
def sgd(A, y, theta, eta, rows, squares):
    """Steps on one row each, times m, in place at p = 2; adds the squared residuals of all rows before each step."""
    m, n = A.shape
    for j in rows:
        r = y - A @ (theta[0] * theta[0] - theta[1] * theta[1])
        squares += r * r
        for i in range(n):
            x = 2 * eta * m * A[j, i] * r[j]
            theta[0, i] *= 1 + x
            theta[1, i] *= 1 - x


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    done: list[dict[str, Any]] = [row for row in rows if row["status"] == "converged"]
    found = []
    for eta in sorted(values_of(rows, "eta")):
        mine = select(done, eta=eta)
        for key, words in (("predicted", "8η‖A_i‖²∫L"), ("predicted_by_rows", "4ηm ΣA_ji²∫r_j²")):
            text = f"Pesme 2021, η = {eta:g}: gain, mean over coordinates, over {words}, median (bound ours)"
            shares = [row["gain"] / row[key] for row in mine if row[key] > 0]
            found.append(within(text, 1.0, float(np.median(shares)) if shares else None, 0.1))
    etas = sorted(values_of(done, "eta"))
    parts = [[median(select(done, eta=eta), key) or 0.0 for eta in etas] for key in ("gain", "distance")]
    good = None if len(etas) < 2 else bool(parts[0][-1] > parts[0][0] and parts[1][-1] < parts[1][0])
    words = (
        ", ".join(f"η = {eta:g}: {g:.3g} and {d:.3g}" for eta, g, d in zip(etas, *parts, strict=True)) or "no run ended"
    )
    text = "Pesme 2021: from the smallest to the largest step α_eff shrinks and the end comes nearer to the truth"
    found.append(holds(text, "gain up, distance down", words, good, "the paper's direction, medians over seeds"))
    return found
