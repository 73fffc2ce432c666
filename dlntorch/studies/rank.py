"""A of rank r < m: the limit, the flow and descent on the rows as given, against W_p of an equivalent full-rank pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.linalg import qr, solve_triangular

from dlntorch.limit.flow_limit import flow_limit
from dlntorch.numerics.validation import InputError, check_count, check_number
from dlntorch.problem import Problem
from dlntorch.problem.synthetic import rank_deficient
from dlntorch.reference.rate import predict_rate
from dlntorch.reference.selection import selected_minimizer
from dlntorch.run import train
from dlntorch.studies.base import (
    Claim,
    Point,
    Row,
    Settings,
    Study,
    at_most,
    column,
    numbers,
    select,
    values_of,
    within,
)
from dlntorch.studies.measure import last_slope, norm, radau_limit, slope_claim

__all__ = ["STUDY"]

ABOUT = (
    "Rows that depend on others change neither the interpolating ψ nor the gradient flow beyond a constant in the loss. "
    "Any full-rank pair (Ã, ỹ) with the same row space, ỹ from the projection of y on range(A), therefore has the same "
    "limit, and the network tends to Wₚ(Ã, ỹ), at the rate of that pair.",
    "Where y is not in range(A) nothing interpolates. The residual stops at the distance of y from range(A), and what the "
    "network fits is the projection: its limit is the same for every distance.",
    "The pair is made here by a pivoted QR factorization, the package’s own by an SVD. Flow and SGD run on the m rows as "
    "they are given.",
)
#: An error of this share of the distance still leaves two digits.
RESOLVED = 0.01


def points(settings: Settings) -> list[Point]:
    depths = numbers(settings, "depths", lambda name, value: check_number(name, value, at_least=2))
    distances = numbers(settings, "distances", lambda name, value: check_number(name, value, at_least=0))
    shape = {key: check_count(f"study.{key}", settings[key]) for key in ("m", "n", "rank")}
    if not shape["rank"] < shape["m"] <= shape["n"]:
        raise InputError(f"study.rank must be < study.m <= study.n, got {shape['rank']}, {shape['m']}, {shape['n']}")
    data = {**shape, "seed": check_count("study.seed", settings["seed"], at_least=0)}
    decades = check_count("study.decades", settings["decades"], at_most=30)
    grid = {"decades": decades, "per_decade": check_count("study.per_decade", settings["per_decade"], at_most=100)}
    flow_power = check_number("study.flow_power", settings["flow_power"], above=0, at_most=1)
    sgd = {
        "power": check_number("study.sgd_power", settings["sgd_power"], above=0, at_most=1),
        "kappa": check_number("study.sgd_kappa", settings["sgd_kappa"], above=0, at_most=0.3),
        "max_steps": check_count("study.sgd_max_steps", settings["sgd_max_steps"]),
    }
    pairs = [{"p": p, "distance": distance, **data} for p in depths for distance in distances]
    return [
        *({**pair, "method": "sgd", **sgd} for pair in pairs),
        *({**pair, "method": "flow", "power": flow_power} for pair in pairs),
        *({**pair, "method": "limit", **grid} for pair in pairs),
    ]


def compute(point: Point) -> list[Row]:
    """A sweep of the limit, one flow or one run of SGD, on the rows as given."""
    p = point["p"]
    problem = rank_deficient(point["m"], point["n"], point["rank"], point["distance"], point["seed"])
    if point["method"] == "limit":
        return _limit_rows(problem, p, point["decades"], point["per_decade"])
    alpha = point["power"] ** (1 / p)
    limit = flow_limit(equivalent_pair(problem), p, alpha).psi
    if point["method"] == "flow":
        # the same AᵀA and Aᵀy, hence the same flow; that it ended is seen on the projection's residual
        projected = Problem(problem.A, _projection(problem))
        found = radau_limit(projected, p, alpha)
        return [{"difference_from_limit": None if found is None else norm(torch.as_tensor(found) - limit)}]
    run = train(
        problem,
        p,
        alpha,
        kappa=point["kappa"],
        max_steps=point["max_steps"],
        max_time=40.0 * alpha ** (2 - p),
        batch_size=problem.m,  # all rows, but those that were given
        tol=1e-9,
        references=False,
    )
    floor = norm(problem.y - _projection(problem))
    path = run.trajectory
    rows: list[Row] = [
        {
            "curve": "residual",
            "t": float(t) * alpha ** (p - 2),
            "residual": norm(problem.residual(psi)),
            "excess": norm(_projection(problem) - problem.A @ psi),
        }
        for t, psi in zip(path.t, path.psi, strict=True)
        if t > 0
    ]
    distance = None if run.status.ended_badly else norm(run.psi - limit)
    scale = norm(limit)
    return [*rows, {"curve": "end", "difference_from_limit": distance, "scale": scale, "floor": floor, **_end(rows)}]


def _end(rows: list[Row]) -> Row:
    return {"residual": rows[-1]["residual"], "excess": rows[-1]["excess"]}


def _projection(problem: Problem) -> torch.Tensor:
    """P y on range(A), by least squares: no factor of the package's."""
    return problem.A @ torch.linalg.lstsq(problem.A, problem.y[:, None], driver="gelsd").solution[:, 0]


def equivalent_pair(problem: Problem) -> Problem:
    """(Ã, ỹ) of full row rank from a pivoted QR of A: A Π = Q R, Ã = R_r Πᵀ, ỹ = Q_rᵀ y; then R₁₁ divides both.

    The package takes U_rᵀ(A, y) from an SVD: a different pair of the same row space.
    """
    A = problem.A.numpy()
    factors: Any = qr(A, mode="economic", pivoting=True)
    Q, R, pivots = factors
    rank = int(np.sum(np.abs(np.diag(R)) > 1e-12 * abs(R[0, 0])))
    rows = np.zeros((rank, problem.n))
    rows[:, pivots] = R[:rank]
    side = Q[:, :rank].T @ problem.y.numpy()
    corner = R[:rank, :rank]
    return Problem(solve_triangular(corner, rows), solve_triangular(corner, side), name="pivoted QR")


def _limit_rows(problem: Problem, p: float, decades: int, per_decade: int) -> list[Row]:
    powers = 10.0 ** (-np.arange(decades * per_decade + 1) / per_decade)
    alphas = powers ** (1 / p)
    pair = equivalent_pair(problem)
    limit, selected, rate = flow_limit(problem, p, alphas), selected_minimizer(pair, p), predict_rate(pair, p)
    other = norm(selected_minimizer(problem, p).psi - selected.psi)
    scale = norm(selected.psi)
    rows: list[Row] = []
    for index, (power, alpha) in enumerate(zip(powers, alphas, strict=True)):
        error = norm(limit.psi[index] - selected.psi)
        noise = (float(limit.uncertainty[index]) + 16 * np.finfo(float).eps) * scale
        rows.append(
            {
                "power": float(power),
                "alpha": float(alpha),
                "error": error,
                "resolved": noise <= RESOLVED * error,
                "exponent": None if rate.exponent is None else rate.exponent / p,
                "constant": rate.constant,
                "predicted_next": rate.error(float(alpha)),
                "pairs_differ": other,
                "residual": norm(problem.residual(limit.psi[index])),
            }
        )
    return rows


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    found: list[Claim] = []
    limits = select(rows, method="limit")
    found.append(
        at_most(
            "Wₚ of the pair by QR and of the pair by SVD, largest difference", _largest(limits, "pairs_differ"), 1e-10
        )
    )
    for p in values_of(rows, "p"):
        mine = [row for row in select(limits, p=p, distance=values_of(limits, "distance")[-1]) if row["resolved"]]
        last = min(mine, key=lambda row: row["power"])
        label, where = f"p = {p:g}, y at distance {last['distance']:g}", f"at αᵖ = {last['power']:.1e}"
        slope = last_slope(column(mine, "power"), column(mine, "error"))
        found.append(slope_claim(f"{label}: slope of ‖ψ − Wₚ(Ã, ỹ)‖ {where}", p, last["exponent"], slope))
        if last["predicted_next"] is not None:
            text = f"{label}: ‖ψ − Wₚ(Ã, ỹ)‖ {where}"
            found.append(within(text, last["predicted_next"], last["error"], 0.02, relative=True))
    for distance in values_of(limits, "distance"):
        residual = min(row["residual"] for row in select(limits, distance=distance))
        found.append(
            within(f"residual of the limit, y at distance {distance:g} from range(A)", distance, residual, 1e-10)
        )
    differences = _largest(select(rows, method="flow"), "difference_from_limit")
    found.append(
        at_most("flow on the rows as given against the limit of the pair, largest difference", differences, 1e-8)
    )
    ends = select(rows, method="sgd", curve="end")
    relative = column(ends, "difference_from_limit") / column(ends, "scale")
    label = f"SGD (κ = {settings['sgd_kappa']:g}) on the rows as given against the limit of the pair, largest relative difference"
    found.append(at_most(label, float(np.max(relative)), 0.02))
    excess = float(np.max(np.abs(column(ends, "residual") - column(ends, "floor"))))
    found.append(at_most("SGD: end of its residual against the distance of y, largest difference", excess, 1e-6))
    return found


def _largest(rows: Sequence[Row], key: str) -> float:
    """NaN where a row has none."""
    return float(np.max(column(rows, key)))


STUDY = Study(
    summary="rank(A) < m, and y outside range(A): the limit is Wₚ of the equivalent full-rank pair",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)
