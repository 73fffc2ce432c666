"""Planted sparse signals: who recovers them from how many measurements; with noise, where to stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from dlntorch.limit.flow_limit import flow_limit
from dlntorch.model.depth_law import depth_law
from dlntorch.numerics.validation import InputError, check_count, check_number
from dlntorch.problem import Problem
from dlntorch.problem.synthetic import sparse
from dlntorch.reference.basis_pursuit import basis_pursuit
from dlntorch.reference.rate import predict_rate
from dlntorch.reference.statistical_dimension import sampled_dimension, weak_threshold
from dlntorch.studies.base import (
    Claim,
    Point,
    Row,
    Settings,
    Study,
    at_most,
    column,
    depths_and_powers,
    numbers,
    select,
    values_of,
    within,
)
from dlntorch.studies.early_stopping import (
    best_of_lasso,
    best_of_path,
    best_of_saddles,
    oracle_error,
)

__all__ = ["BASIS_PURSUIT", "STUDY", "half_success", "method_name"]

ABOUT = (
    "A signal of n entries with k nonzeros, m Gaussian measurements without noise. Basis pursuit recovers it when m exceeds "
    "the statistical dimension of the ℓ₁ descent cone, and fails below, with a transition whose width vanishes for n → ∞: "
    "the curve of Donoho and Tanner, in the form of Amelunxen, Lotz, McCoy and Tropp (arXiv 1303.6672).",
    "The network is the limit of its flow at tiny α, computed without integrating, so that no step size and no stopping "
    "time plays a part. It recovers what basis pursuit recovers if α is small enough for the problem. For p > 2 any tiny αᵖ "
    "is, except in the transition itself, where the constant C of C·αᵖ grows. At p = 2 the error is (α²)^(1−ϱ), and ϱ goes "
    "to 1 at the transition: an α² of 1e-8 is not small, and signals are lost well inside the region of success. Which ones, "
    "ϱ tells.",
    "With noise no interpolating ψ is good, and one has to stop early, or to choose λ. Here both know the truth: the best "
    "time of the path against the best point on the exact path of the lasso. The lasso shrinks what it finds; on a plateau "
    "the flow has least squares on the coordinates that are switched on, and the best plateau is often least squares on the "
    "true support, the oracle’s answer. The plateaus for α → 0 are known without integrating (study saddles), and predict "
    "the flow’s best error. SGD on the full batch follows the flow.",
)
BASIS_PURSUIT = "basis pursuit"
#: Off the curve by more than this in k/m, the network and basis pursuit are expected to agree.
TRANSITION = 0.1
#: Step of the SGD that is stopped early.
KAPPA = 0.01


# -- points -------------------------------------------------------------------------------------------------------


def points(settings: Settings) -> list[Point]:
    n = check_count("study.n", settings["n"], at_least=10, at_most=1000)
    share = {"above": 0, "at_most": 1}
    measured = numbers(settings, "undersampling", lambda name, value: check_number(name, value, **share))
    sparsity = numbers(settings, "sparsity", lambda name, value: check_number(name, value, **share))
    trials = check_count("study.trials", settings["trials"], at_most=10_000)
    methods = depths_and_powers(settings, repeated=True)
    shared = {
        "n": n,
        "trials": trials,
        "network_trials": check_count("study.network_trials", settings["network_trials"], at_most=trials),
        "methods": ";".join(f"{p!r},{power!r}" for p, power in methods),
        "tolerance": check_number("study.tolerance", settings["tolerance"], above=0, at_most=0.1),
    }
    cells = []
    for m in dict.fromkeys(round(delta * n) for delta in measured):
        if not 2 <= m < n:
            raise InputError(f"study.undersampling must give 2 <= m < n = {n}, got m = {m}")
        cells += [{"kind": "cell", "m": m, "k": k} for k in dict.fromkeys(max(1, round(rho * m)) for rho in sparsity)]
    return [*({**cell, **shared} for cell in cells), *_noise_points(settings)]


def _noise_points(settings: Settings) -> list[Point]:
    shape = {key: check_count(f"study.noise_{key}", settings[f"noise_{key}"]) for key in ("m", "n", "k")}
    if not shape["k"] < shape["m"] < shape["n"]:
        raise InputError(f"study.noise_k must be < study.noise_m < study.noise_n, got {tuple(shape.values())}")
    levels = numbers(settings, "noise_levels", lambda name, value: check_number(name, value, above=0))
    pairs = depths_and_powers(settings, "noise_depths", "noise_powers", repeated=True)
    methods = ";".join(f"{p!r},{power!r}" for p, power in pairs)
    count = check_count("study.noise_trials", settings["noise_trials"], at_most=10_000)
    return [
        {"kind": "noise", **shape, "noise": level, "seed": seed, "methods": methods}
        for level in levels
        for seed in range(count)
    ]


def _methods(point: Point) -> list[tuple[float, float]]:
    pairs = (entry.split(",") for entry in point["methods"].split(";"))
    return [(float(p), float(power)) for p, power in pairs]


def method_name(p: float, power: float) -> str:
    """What a network is called."""
    return f"p = {p:g}, αᵖ = {power:g}".replace("e-0", "e-")


# -- rows ---------------------------------------------------------------------------------------------------------


def compute(point: Point) -> list[Row]:
    """The successes of one cell, or the best errors of one noisy problem."""
    return _noisy(point) if point["kind"] == "noise" else _cell(point)


def _cell(point: Point) -> list[Row]:
    """Successes of basis pursuit on all problems of a cell, and of the networks on the first ones."""
    found: list[bool] = []
    networks = {
        method: {"tried": 0, "successes": 0, "same": 0, "decided": 0, "foretold": 0} for method in _methods(point)
    }
    for seed in range(point["trials"]):
        problem = sparse(point["m"], point["n"], point["k"], 0.0, seed)
        found.append(_recovered(problem, basis_pursuit(problem.A, problem.y).x, point["tolerance"]))
        if seed >= point["network_trials"]:
            continue
        depths = {p for p, _ in networks if found[-1] and depth_law(p).error_exponent is None}
        rhos = {p: predict_rate(problem, p).rho for p in depths}
        for (p, power), count in networks.items():
            success = _recovered(problem, flow_limit(problem, p, power ** (1 / p)).psi, point["tolerance"])
            count["tried"] += 1
            count["successes"] += success
            count["same"] += success == found[-1]
            rho = rhos.get(p)
            if rho is not None:
                decades = math.log10(power ** (1 - rho) / point["tolerance"])
                count["decided"] += abs(decades) > 1
                count["foretold"] += abs(decades) > 1 and success == (decades < 0)
    rows: list[Row] = [
        {"method": BASIS_PURSUIT, "p": None, "power": None, "tried": len(found), "successes": sum(found)}
    ]
    for (p, power), count in networks.items():
        rows.append({"method": method_name(p, power), "p": p, "power": power, **count})
    return rows


def _recovered(problem: Problem, psi: torch.Tensor, tolerance: float) -> bool:
    if problem.truth is None:
        raise LookupError("the problem of this study is planted")
    error = torch.linalg.vector_norm(psi - problem.truth) / torch.linalg.vector_norm(problem.truth)
    return bool(error <= tolerance)


def _noisy(point: Point) -> list[Row]:
    """One row for each method: the smallest ‖ψ − truth‖₂ on its path."""
    problem = sparse(point["m"], point["n"], point["k"], point["noise"], point["seed"])
    if problem.truth is None:
        raise LookupError("the problem of this study is planted")
    truth = problem.truth.numpy()
    target = best_of_saddles(problem, truth)
    rows: list[Row] = [
        {"method": "oracle", "error": oracle_error(problem, truth), "stopped": None},
        {"method": "lasso", "error": best_of_lasso(problem, truth), "stopped": None},
        {"method": "saddles", "error": target.error, "stopped": target.error},
    ]
    methods = _methods(point)
    for kind, p, power in [*(("flow", p, power) for p, power in methods), ("SGD", *methods[-1])]:
        found = best_of_path(problem, truth, p, power ** (1 / p), target, KAPPA if kind == "SGD" else None)
        error, stopped = (None, None) if found is None else found
        rows.append({"method": f"{kind}, p = {p:g}", "error": error, "stopped": stopped})
    return rows


# -- claims -------------------------------------------------------------------------------------------------------


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    cells, noisy = select(rows, kind="cell"), select(rows, kind="noise")
    found = [_transition(m, select(cells, m=m, method=BASIS_PURSUIT)) for m in values_of(cells, "m")]
    networks = [method for method in values_of(cells, "method") if method != BASIS_PURSUIT]
    for method in networks:
        mine = select(cells, method=method)
        found.append((_agreement if depth_law(mine[0]["p"]).error_exponent else _foretold)(method, mine))
    return [*found, *_stopping(noisy)]


def half_success(rows: Sequence[Row]) -> tuple[float, float]:
    """The k at which half of the signals are recovered, at one m, and its standard error.

    Success falls from 1 at k = 0 to 0 after the last k, so that its integral over k is the mean of the k at which it
    ends (Spearman and Kärber); no curve is fitted. The trapezoidal rule, with binomial errors.
    """
    ordered = sorted(rows, key=lambda row: row["k"])
    k = np.array([0.0, *column(ordered, "k")])
    tried = column(ordered, "tried")
    share = np.array([1.0, *(column(ordered, "successes") / tried)])
    weights = np.zeros_like(k)
    weights[1:] += np.diff(k) / 2
    weights[:-1] += np.diff(k) / 2
    variance = np.sum(weights[1:] ** 2 * share[1:] * (1 - share[1:]) / tried)
    return float(weights @ share), math.sqrt(float(variance))


def expected_half_success(n: int, m: int) -> tuple[float, float]:
    """The k whose statistical dimension at this n is m, and how much k changes with m there."""
    start = round(weak_threshold(m / n) * m)
    ks = np.arange(max(1, start - 4), min(m, start + 4) + 1)
    needed = np.array([sampled_dimension(n, int(k))[0] for k in ks])
    slope = float(np.polyfit(needed, ks, 1)[0])
    return float(np.interp(m, needed, ks)), slope


def _transition(m: int, rows: list[Row]) -> Claim:
    """Within one measurement, which median and mean of the intrinsic volumes may differ by, and three standard errors."""
    n = rows[0]["n"]
    (measured, error), (expected, slope) = half_success(rows), expected_half_success(n, m)
    label = f"n = {n}, m = {m}: k/m where basis pursuit recovers half (n → ∞: {weak_threshold(m / n):.3f})"
    return within(label, expected / m, measured / m, (slope + 3 * error) / m)


def _agreement(method: str, rows: list[Row]) -> Claim:
    far = [row for row in rows if abs(row["k"] / row["m"] - weak_threshold(row["m"] / row["n"])) > TRANSITION]
    tried = sum(row["tried"] for row in far)
    share = 1 - sum(row["same"] for row in far) / tried if tried else None
    label = f"{method}: share of {tried} problems off the transition (|Δk/m| > {TRANSITION:g}) that differ from basis pursuit"
    return at_most(label, share, 0.01)


def _foretold(method: str, rows: list[Row]) -> Claim:
    """At p = 2 the error is about (α²)^(1−ϱ), times a constant of order one of which no theory tells."""
    count = sum(row["decided"] for row in rows)
    share = 1 - sum(row["foretold"] for row in rows) / count if count else None
    label = (
        f"{method}: share of {count} problems that basis pursuit solves, with (α²)^(1−ϱ) more than a factor 10 from the "
        "tolerance, where it mistakes the network’s outcome"
    )
    return at_most(label, share, 0.05)


def _stopping(rows: list[Row]) -> list[Claim]:
    """Early stopping against the lasso on every problem, and against the saddles where αᵖ⁻² is small."""
    paths = [method for method in values_of(rows, "method") if method.startswith(("flow", "SGD"))]
    count = len(select(rows, method="oracle"))
    found = []
    for method in paths:
        label = f"{method}: best error over the best of the lasso, largest of {count} problems"
        found.append(at_most(label, _ratio(rows, method, "lasso", np.max), 1))
    for method in paths:
        if not method.endswith("p = 2"):
            label = f"{method}: error in the middle of the best plateau over predicted, median"
            found.append(within(label, 1, _ratio(rows, method, "saddles", np.median, "stopped"), 0.1))
    least = min(values_of(rows, "noise"))
    middle = _ratio(select(rows, noise=least), "saddles", "oracle", np.median)
    found.append(within(f"noise {least:g}: best error of the saddles over the oracle’s, median", 1, middle, 1e-6))
    return found


def _ratio(rows: list[Row], method: str, other: str, summary: Callable[..., Any], key: str = "error") -> float | None:
    """A summary of the errors of a method over those of another, problem by problem; None where one is missing."""
    ratios = column(select(rows, method=method), key) / column(select(rows, method=other), "error")
    return float(summary(ratios)) if np.all(np.isfinite(ratios)) else None


STUDY = Study(
    summary="planted sparse signals: the phase transition of success, and early stopping against the lasso",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)
