"""From saddle to saddle: jump times and plateaus of the flow at tiny α, against the piecewise linear path of its dual."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from dlntorch.flow.integrate import integrate_flow
from dlntorch.model.dual import dual_scale
from dlntorch.numerics.trajectory import short_repr
from dlntorch.numerics.validation import InputError, check_count
from dlntorch.problem import Problem
from dlntorch.problem.synthetic import gaussian
from dlntorch.reference.l1_minimizer import l1_minimizer
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

__all__ = ["STUDY", "Plateau", "clock_rate", "saddle_path"]

ABOUT = (
    "At tiny α the flow is a sequence of jumps between saddles. A coordinate is invisible until its dual, τ_i = A_iᵀσ, "
    "reaches ±1; then it switches on, at once in the rescaled time T = c_p t, c_p = p(p−2)αᵖ⁻² (at p = 2, c = 2/log(1/α)).",
    "In the limit α → 0 the path is known without integrating. On a plateau ψ minimises the loss over the coordinates whose "
    "dual is at ±1, with their signs, a nonnegative least-squares problem; σ moves with constant velocity, the residual "
    "y − Aψ; the next jump is when the next dual reaches ±1. That path is the same for every depth; what is left of α "
    "differs: at p = 2 the jumps come early by a share of order 1/log(1/α), so that α² = 1e-120 is used there.",
)


@dataclass(frozen=True)
class Plateau:
    """A saddle: from rescaled time ``start`` to ``end`` (inf for the last), ψ (n,) and the loss there."""

    start: float
    end: float
    psi: np.ndarray
    loss: float

    __repr__ = short_repr


def saddle_path(problem: Problem, most: int = 100) -> list[Plateau]:
    """The plateaus for α → 0, until the loss is 0."""
    A, y = problem.A.numpy(), problem.y.numpy()
    tau, time = np.zeros(problem.n), 0.0
    found: list[Plateau] = []
    for _ in range(most):
        at_bound = np.flatnonzero(np.abs(tau) >= 1 - 1e-12)
        signs = np.sign(tau[at_bound])
        psi = np.zeros(problem.n)
        if at_bound.size:
            psi[at_bound] = signs * nnls(A[:, at_bound] * signs, y)[0]
        residual = y - A @ psi
        loss = 0.5 * float(residual @ residual)
        if loss <= 1e-20 * float(y @ y):
            return [*found, Plateau(time, math.inf, psi, 0.0)]
        g = A.T @ residual
        g[np.abs(g) < 1e-12 * np.abs(A.T @ y).max()] = 0.0
        room = np.where(g > 0, 1 - tau, 1 + tau)
        room[at_bound[g[at_bound] * signs > 0]] = np.inf  # rounding: nnls leaves no such gradient
        waits = np.divide(room, np.abs(g), out=np.full(problem.n, np.inf), where=g != 0)
        wait = float(waits.min())
        found.append(Plateau(time, time + wait, psi, loss))
        tau = np.clip(tau + wait * g, -1, 1)
        first = int(np.argmin(waits))
        tau[first] = np.sign(g[first])
        time += wait
    return found


def clock_rate(p: float, alpha: float) -> float:
    """dT/dt of the rescaled time: c_p = p(p−2)α^{p−2}, at p = 2 2/log(1/α)."""
    return 2 / math.log(1 / alpha) if p == 2 else dual_scale(p, alpha)


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
    plateaus = saddle_path(problem)
    last = plateaus[-1].start
    unit = clock_rate(p, alpha)
    clock = np.linspace(0, 1.25 * last, point["times"] + 1)[1:]
    # at p = 2 and such α the dual variable does not resolve the jumps in float64; log θ does
    coordinates = "theta" if p == 2 else "dual"
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
    for index, plateau in enumerate(plateaus):
        before = plateaus[index - 1].loss if index else None
        jump = None if before is None else _crossing(clock, loss, (before + plateau.loss) / 2)
        middle = None if math.isinf(plateau.end) else float(np.interp((plateau.start + plateau.end) / 2, clock, loss))
        rows.append(
            {
                "kind": "saddle",
                "index": index,
                "start": plateau.start,
                "length": None if math.isinf(plateau.end) else plateau.end - plateau.start,
                "predicted_loss": plateau.loss,
                "jump": jump,
                "loss": middle,
                "last": last,
                "nonzeros": int(np.count_nonzero(plateau.psi)),
                "distance_to_l1": float(np.linalg.norm(plateau.psi - vertex)),
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
        tolerance = 0.05 if p == 2 else 0.02
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
