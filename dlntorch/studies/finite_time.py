"""The flow's tail: exponential at the rate λ_min of its linearization, or the power t^{−1/(2−2/p)} before that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dlntorch.flow.integrate import integrate_flow
from dlntorch.limit.flow_limit import flow_limit
from dlntorch.model.depth_law import depth_law
from dlntorch.model.dual import relaxation_time
from dlntorch.numerics.validation import InputError, check_count, check_number
from dlntorch.problem import Problem
from dlntorch.problem.synthetic import gaussian, sparse
from dlntorch.run import train
from dlntorch.studies.base import (
    Claim,
    Point,
    Row,
    Settings,
    Study,
    column,
    depths_and_powers,
    numbers,
    select,
    values_of,
    within,
)
from dlntorch.studies.measure import fitted_slope

__all__ = ["STUDY"]

ABOUT = (
    "Finite time is the error that surprises people. Where the ℓ₁-minimiser has m nonzeros the flow ends exponentially, "
    "by a factor e in each 1/λ_min(A D Aᵀ), D = p²(θ₊^(2p−2) + θ₋^(2p−2)) at the limit.",
    "Where it has fewer than m nonzeros, the usual sparse case, a coordinate that was switched on early and is not in the "
    "support has to be switched off again, and its gradient vanishes with it: it relaxes like t^(−1/(2−2/p)). Only when it "
    "is down to αᵖ does the exponential begin, at a time of order α^(−(2p−2)).",
    "Plain SGD follows this tail as long as the error of its steps, first order in their size, is below the distance left: "
    "it ends near another point (study sgd), and from there on the distance to the flow’s limit stays while "
    "the residual goes on falling. Smaller steps follow for longer. The distance costs steps, too: steps are bounded by "
    "stability, so each factor 10 in the distance costs 10^(2−2/p) times the steps so far. Several coordinates relax one "
    "after the other: between their stretches of slope −1/(2−2/p) the curve bends.",
)
#: The exponential is measured between these distances, relative to ‖ψ‖.
EXPONENTIAL = (1e-7, 1e-4)


def points(settings: Settings) -> list[Point]:
    pairs = depths_and_powers(settings)
    window = numbers(settings, "window", lambda name, value: check_number(name, value, above=0))
    if len(window) != 2 or not window[0] < window[1]:
        raise InputError(f"study.window must be two increasing numbers, got {window}")
    data = {key: check_count(f"study.{key}", settings[key]) for key in ("m", "n", "nonzeros")}
    if not data["nonzeros"] < data["m"] < data["n"]:
        raise InputError(f"study.nonzeros must be < study.m < study.n, got {tuple(data.values())}")
    data["seed"] = check_count("study.seed", settings["seed"], at_least=0)
    grid = {
        "times": check_count("study.times", settings["times"], at_least=20, at_most=10_000),
        "rtol": check_number("study.rtol", settings["rtol"], at_least=1e-13, at_most=1e-4),
    }
    ends = check_number("study.exponential_power", settings["exponential_power"], above=0, at_most=0.1)
    sgd = {
        "power": check_number("study.sgd_power", settings["sgd_power"], above=0, at_most=1),
        "kappa": check_number("study.sgd_kappa", settings["sgd_kappa"], above=0, at_most=0.3),
        "max_steps": check_count("study.sgd_max_steps", settings["sgd_max_steps"]),
    }
    return [
        *({"kind": "algebraic", "p": p, "power": a, **data, **grid} for p, a in pairs),
        *({"kind": "sgd", "p": p, **data, **grid, **sgd} for p, _ in pairs if depth_law(p).has_pole),
        *({"kind": "exponential", "p": p, "power": ends, **data, **grid} for p, _ in pairs),
    ]


def compute(point: Point) -> list[Row]:
    """The distance of the flow, or of SGD beside the flow, to the limit of the flow."""
    m, n, seed, p = point["m"], point["n"], point["seed"], point["p"]
    problem = gaussian(m, n, seed) if point["kind"] == "exponential" else sparse(m, n, point["nonzeros"], 0.0, seed)
    alpha = point["power"] ** (1 / p)
    limit = flow_limit(problem, p, alpha)
    scale = float(torch.linalg.vector_norm(limit.psi))
    slowest, unit = relaxation_time(problem, p, alpha, limit), depth_law(p).unit_of_time(alpha)
    shared = {"relaxation": slowest, "unit": unit, "scale": scale, "uncertainty": float(limit.uncertainty)}
    path = None
    end = 30 * slowest + 3 * unit
    if point["kind"] == "sgd":
        run = train(problem, p, alpha, kappa=point["kappa"], max_steps=point["max_steps"], tol=0, references=False)
        path, end = run.trajectory, run.summary["time"]
    times = np.geomspace(0.1 * min(unit, end), end, point["times"])  # SGD may end before the first jump
    rtol = min(point["rtol"], EXPONENTIAL[0] / 1e3) if point["kind"] == "exponential" else point["rtol"]
    flow = integrate_flow(problem, p, alpha, times, rtol=rtol)
    rows = _rows(problem, "flow", flow.t, flow.psi, limit.psi, shared)
    if path is not None:
        later = path.t >= times[0]
        rows += _rows(problem, "sgd", path.t[later], path.psi[later], limit.psi, shared)
    return rows


def _rows(
    problem: Problem, what: str, t: torch.Tensor, psi: torch.Tensor, limit: torch.Tensor, shared: Row
) -> list[Row]:
    distance = torch.linalg.vector_norm(psi - limit, dim=1)
    residual = problem.relative_residual(psi)
    return [
        {"curve": what, "t": float(a), "distance": float(b), "residual": float(c), **shared}
        for a, b, c in zip(t, distance, residual, strict=True)
    ]


# -- claims -------------------------------------------------------------------------------------------------------


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    found: list[Claim] = []
    low, high = settings["window"]
    for p in values_of(rows, "p"):
        mine = select(rows, kind="algebraic", p=p)
        inside = [row for row in mine if low <= row["t"] / row["unit"] <= high]
        label = f"p = {p:g}, {settings['nonzeros']} of m = {settings['m']} nonzeros: exponent of t at αᵖ = {mine[0]['power']:g}"
        found.append(within(label, -1 / (2 - 2 / p), _exponent(inside), 0.02))
    for p in values_of(rows, "p"):
        mine = select(rows, kind="exponential", p=p)
        low_end, high_end = EXPONENTIAL
        inside = [row for row in mine if low_end <= row["distance"] / row["scale"] <= high_end]
        slope = fitted_slope(column(inside, "t"), np.log(column(inside, "distance")), 4)
        time = -1 / slope if slope else None
        found.append(
            within(f"p = {p:g}, m nonzeros: time for a factor e", mine[0]["relaxation"], time, 0.02, relative=True)
        )
    for p in values_of(select(rows, kind="sgd"), "p"):
        found.append(_sgd_claim(p, select(rows, kind="sgd", p=p)))
    return found


def _sgd_claim(p: float, rows: list[Row]) -> Claim:
    end, flow = select(rows, curve="sgd")[-1], select(rows, curve="flow")[-1]
    label = f"p = {p:g}: SGD after {end['max_steps']} steps, distance to the limit (predicted: the flow’s at that time)"
    return within(label, flow["distance"], end["distance"], 0.1, relative=True)


def _exponent(rows: Sequence[Row]) -> float | None:
    """Slope of log distance in log t; None with fewer than four points."""
    return fitted_slope(np.log(column(rows, "t")), np.log(column(rows, "distance")), 4)


STUDY = Study(
    summary="how the flow ends: the exponential tail, and the algebraic one of exponent −1/(2−2/p)",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)
