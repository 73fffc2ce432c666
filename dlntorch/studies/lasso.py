"""The lasso by running the flow: time averages of the path against the lasso's own, and the gap where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import torch

from dlntorch.flow.integrate import integrate_flow
from dlntorch.model import as_parametrization
from dlntorch.numerics.validation import InputError, check_count
from dlntorch.problem.synthetic import gaussian
from dlntorch.reference.saddle_walls import law_of
from dlntorch.reference.saddles import saddle_path
from dlntorch.studies.base import (
    Claim,
    Point,
    Row,
    Settings,
    Study,
    at_most,
    column,
    depths_and_powers,
    select,
    values_of,
)

__all__ = ["STUDY"]

ABOUT = (
    "The time average of the flow, ψ̄(T) = (1/T)∫ψ dT, is another estimator than where the flow stands. As α → 0 its "
    "residual keeps Aᵀ(y − Aψ̄) = q/T, and |q| ≤ 1: the optimality conditions of the lasso of strength λ = 1/T, but for one. "
    "A coordinate that has been on and has left its wall keeps its part of the average, while its |q| is below 1.",
    "So ψ̄(T) is the lasso’s minimiser until the first coordinate leaves its wall, for every depth; from then on it misses "
    "the lasso’s objective by at most a duality gap that is known without solving the lasso: λ Σ|ψ̄ᵢ|(1 − σᵢqᵢ).",
    "Time is rescaled: T = p(p−2)αᵖ⁻² t, at p = 2 2t/log(1/α). At finite α the averages are off by a share of order αᵖ⁻².",
)
#: Times beyond the last jump, relative to it.
BEYOND = 1.5


def points(settings: Settings) -> list[Point]:
    pairs = depths_and_powers(settings)
    data = {key: check_count(f"study.{key}", settings[key]) for key in ("m", "n")}
    if data["m"] >= data["n"]:
        raise InputError(f"study.m must be < study.n, got {data['m']} and {data['n']}")
    seeds = check_count("study.seeds", settings["seeds"], at_most=10_000)
    first = check_count("study.seed", settings["seed"], at_least=0)
    shown = {**data, "times": check_count("study.times", settings["times"], at_least=100, at_most=100_000)}
    found: list[Point] = [{"kind": "flow", "p": p, "power": power, "seed": first, **shown} for p, power in pairs]
    found += [
        {"kind": "path", "seed": seed, **data, "lasso": find_spec("sklearn") is not None} for seed in range(seeds)
    ]
    return found


def compute(point: Point) -> list[Row]:
    """The average of one flow, or the path of one problem against the lasso's."""
    return _flow(point) if point["kind"] == "flow" else _path(point)


def _flow(point: Point) -> list[Row]:
    problem, p = gaussian(point["m"], point["n"], point["seed"]), point["p"]
    alpha = point["power"] ** (1 / p)
    path = saddle_path(problem, p)
    rate = law_of(as_parametrization(p)).rate(alpha)
    T = np.linspace(0, BEYOND * float(path.times[-1]), point["times"] + 1)
    flow = integrate_flow(problem, p, alpha, T[1:] / rate, rtol=1e-8)
    psi = np.concatenate([np.zeros((1, problem.n)), flow.psi.numpy()])
    T = T[: len(psi)]
    area = np.concatenate([np.zeros((1, problem.n)), np.cumsum(np.diff(T)[:, None] * (psi[1:] + psi[:-1]) / 2, axis=0)])
    keep = np.linspace(1, len(T) - 1, 200).round().astype(int)
    wanted = path.average(torch.from_numpy(T[keep])).numpy()
    rows: list[Row] = []
    for k, want in zip(keep, wanted, strict=True):
        mean = area[k] / T[k]
        off = float(np.linalg.norm(mean - want) / max(np.linalg.norm(want), 1e-300))
        early = T[k] < float(path.times[0])  # ψ̄ = 0 until the first jump
        rows.append(
            {
                "T": float(T[k]),
                "off": None if early else off,
                "first": float(path.times[0]),
                **{f"mean_{i}": float(x) for i, x in enumerate(mean)},
                **{f"path_{i}": float(x) for i, x in enumerate(want)},
            }
        )
    return rows


def _path(point: Point) -> list[Row]:
    problem = gaussian(point["m"], point["n"], point["seed"])
    A, y = problem.A.numpy(), problem.y.numpy()
    path = saddle_path(problem)
    lasso = _lasso(A, y) if point["lasso"] else None
    first, last = float(path.times[0]), float(path.times[-1])
    rows: list[Row] = []
    for T in np.geomspace(1.01 * first, 3 * last, 40):
        found = path.lasso(T)
        mean = found.psi.numpy()
        row: Row = {"T": float(T), "monotone": bool(path.monotone_until >= T), "gap": found.gap, "exact": found.exact}
        if lasso is not None:
            best = lasso(1 / T)
            row["distance"] = float(np.linalg.norm(mean - best) / np.linalg.norm(best))
            row["excess"] = _objective(A, y, mean, 1 / T) - _objective(A, y, best, 1 / T)
        rows.append({**row, "until": path.monotone_until if np.isfinite(path.monotone_until) else None, "last": last})
    return rows


def _objective(A: np.ndarray, y: np.ndarray, psi: np.ndarray, strength: float) -> float:
    return float(0.5 * np.sum((A @ psi - y) ** 2) + strength * np.abs(psi).sum())


def _lasso(A: np.ndarray, y: np.ndarray):
    """λ → the lasso's minimiser, from scikit-learn's piecewise linear path."""
    from sklearn.linear_model import lars_path

    knots, _, nodes = lars_path(A, y, method="lasso")[:3]
    strengths = -knots * A.shape[0]  # scikit-learn divides the loss by m
    return lambda strength: np.array([np.interp(-strength, strengths, row) for row in nodes])


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    found: list[Claim] = []
    paths = select(rows, kind="path")
    before, after = select(paths, monotone=True), select(paths, monotone=False)
    label = f"{len(values_of(paths, 'seed'))} problems"
    found.append(at_most(f"{label}, before a coordinate leaves: gap", _largest(before, "gap"), 1e-9))
    found.append(
        at_most(f"{label}, before a coordinate leaves: distance to the lasso", _largest(before, "distance"), 1e-9)
    )
    beyond = [row["excess"] - row["gap"] for row in after if row.get("excess") is not None]
    worst = max(beyond) if beyond else None
    found.append(at_most(f"{label}, after: the lasso’s objective missed by more than the gap", worst, 1e-10))
    for p in values_of(select(rows, kind="flow"), "p"):
        mine = [row for row in select(rows, kind="flow", p=p) if row["off"] is not None]
        label = f"p = {p:g}: the flow’s time average against the path’s, after twice the first jump’s time"
        late = [row for row in mine if row["T"] >= 2 * row["first"]]
        found.append(at_most(label, _largest(late, "off"), 0.05))
    return found


def _largest(rows: Sequence[Row], key: str) -> float | None:
    values = column(rows, key)
    return float(values.max()) if values.size else None


STUDY = Study(
    summary="the lasso by time averages of the flow, at every depth, and the gap where they differ",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)
