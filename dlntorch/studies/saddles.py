"""From saddle to saddle: jump times and plateaus of the flow at tiny α, against the piecewise linear path of its dual."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dlntorch.flow.integrate import integrate_flow
from dlntorch.model.depth_law import depth_law
from dlntorch.numerics.validation import InputError, check_count
from dlntorch.problem.synthetic import gaussian
from dlntorch.reference.l1_minimizer import l1_minimizer
from dlntorch.reference.saddles import saddle_path
from dlntorch.studies.base import (
    Claim,
    Point,
    Row,
    Settings,
    Study,
    at_most,
    depths_and_powers,
    select,
    values_of,
    within,
)

__all__ = ["STUDY"]

ABOUT = (
    "At tiny α the flow is a sequence of jumps between saddles. A coordinate is invisible until its dual, τ_i = A_iᵀσ, "
    "reaches ±1; then it switches on, at once in the rescaled time T = c_p t, c_p = p(p−2)αᵖ⁻² (at p = 2, c = 2/log(1/α)).",
    "In the limit α → 0 the path is known without integrating. On a plateau ψ minimises the loss over the coordinates whose "
    "dual is at ±1, with their signs, a nonnegative least-squares problem; σ moves with constant velocity, the residual "
    "y − Aψ; the next jump is when the next dual reaches ±1. That path is the same for every depth; what is left of α "
    "differs: at p = 2 the jumps come early by a share of order 1/log(1/α), so that α² = 1e-120 is used there.",
)


def points(settings: Settings) -> list[Point]:
    pairs = depths_and_powers(settings)
    data = {key: check_count(f"study.{key}", settings[key]) for key in ("m", "n")}
    if data["m"] >= data["n"]:  # the path would end at a residual that is not 0
        raise InputError(f"study.m must be < study.n, got {data['m']} and {data['n']}")
    data["seed"] = check_count("study.seed", settings["seed"], at_least=0)
    times = check_count("study.times", settings["times"], at_least=50, at_most=10_000)
    return [{"p": p, "power": power, **data, "times": times} for p, power in pairs]


def compute(point: Point) -> list[Row]:
    """The flow in rescaled time, and the saddles with the jump times and losses that it shows."""
    problem, p = gaussian(point["m"], point["n"], point["seed"]), point["p"]
    alpha = point["power"] ** (1 / p)
    saddles = saddle_path(problem, p, alpha)
    starts = [0.0, *saddles.times.tolist()]
    losses, ends = saddles.loss.tolist(), [*starts[1:], math.inf]
    last, unit = starts[-1], saddles.rate()
    clock = np.linspace(0, 1.25 * last, point["times"] + 1)[1:]
    # without a pole and at such α the dual variable does not resolve the jumps in float64; log θ does
    coordinates = "dual" if depth_law(p).has_pole else "theta"
    path = integrate_flow(problem, p, alpha, clock / unit, rtol=1e-8, coordinates=coordinates)
    clock, loss, psi = clock[: len(path.t)], path.loss.numpy(), path.psi.numpy()
    rows: list[Row] = [
        {
            "kind": "flow",
            "clock": float(t),
            "loss": float(value),
            **{f"psi_{i}": float(x) for i, x in enumerate(vector)},
        }
        for t, value, vector in zip(clock, loss, psi, strict=True)
    ]
    vertex = l1_minimizer(problem).psi.numpy()
    for index, (start, end, level, psi) in enumerate(zip(starts, ends, losses, saddles.psi.numpy(), strict=True)):
        jump = _crossing(clock, loss, (losses[index - 1] + level) / 2) if index else None
        middle = None if math.isinf(end) else float(np.interp((start + end) / 2, clock, loss))
        rows.append(
            {
                "kind": "saddle",
                "index": index,
                "start": start,
                "length": None if math.isinf(end) else end - start,
                "predicted_loss": level,
                "jump": jump,
                "loss": middle,
                "last": last,
                "nonzeros": int(np.count_nonzero(psi)),
                "distance_to_l1": float(np.linalg.norm(psi - vertex)),
            }
        )
    return rows


def _crossing(clock: np.ndarray, loss: np.ndarray, level: float) -> float | None:
    """When the loss, which never grows, comes down to a level."""
    below = np.flatnonzero(loss <= level)
    if below.size == 0 or below[0] == 0:
        return None
    i = int(below[0])
    share = (loss[i - 1] - level) / (loss[i - 1] - loss[i])
    return float(clock[i - 1] + share * (clock[i] - clock[i - 1]))


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    found: list[Claim] = []
    saddles = select(rows, kind="saddle")
    for p in values_of(saddles, "p"):
        mine = select(saddles, p=p)
        tolerance = 0.02 if depth_law(p).has_pole else 0.05  # the next term is of the order of 1/ln(1/α)
        for row in mine[1:]:
            label = f"p = {p:g}: rescaled time of jump {row['index']} of {len(mine) - 1}"
            found.append(within(label, row["start"], row["jump"], tolerance, relative=True))
        for row in mine:
            if row["length"] is not None and row["length"] > 0.1 * row["last"]:
                label = f"p = {p:g}: loss in the middle of plateau {row['index']}"
                found.append(within(label, row["predicted_loss"], row["loss"], 0.02, relative=True))
    ends = [max(select(saddles, p=p), key=lambda row: row["index"]) for p in values_of(saddles, "p")]
    worst = max(row["distance_to_l1"] for row in ends)
    found.append(at_most("the last saddle of the path against the ℓ₁-minimiser, distance", worst, 1e-10))
    return found


STUDY = Study(
    summary="from saddle to saddle: coordinates switching on one by one, at predicted times",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)
