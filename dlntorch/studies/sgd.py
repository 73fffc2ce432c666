"""Mini-batches: SGD converges on rows too, to a point that its noise moves by a predictable amount."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from dlntorch.engine import Stopping
from dlntorch.limit.flow_limit import flow_limit
from dlntorch.model.depth_law import depth_law
from dlntorch.model.network import DiagonalLinearNetwork
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError, check_count, check_number
from dlntorch.optim.step_size import make_schedule
from dlntorch.problem.synthetic import gaussian
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
from dlntorch.studies.drift import Drift, end_drift
from dlntorch.studies.measure import fitted_slope
from dlntorch.training.descent import Descent
from dlntorch.training.ensemble import EnsembleDescent

__all__ = ["STUDY", "batch_words", "deviation", "median"]

ABOUT = (
    "There are interpolating ψ, so the noise of mini-batches dies with the residual: with the scaling m/b, which makes the "
    "gradient unbiased, plain SGD on rows converges as full batch does. But it ends elsewhere. A step multiplies a "
    "parameter by 1 ± x, and log(1 ± x) = ±x − x²/2: the first-order parts add up to an element of the row space, whatever "
    "the order of the rows, and choose no other minimiser; the squares are lost. They make the initialization of each "
    "coordinate smaller, at p = 2 from α to α·exp(−2 Σ η²g²), and most where the gradients of single rows are large.",
    "To first order in the step that sum is η ∫ E g² dt along the flow, E g² the mean over mini-batches of the squared "
    "gradient, and the end moves by η·d, d from one linear system at the limit. Nothing is fitted: the predictions below "
    "come from the flow alone, before any SGD. Full batch has a displacement too, with (E g)² in the place of E g².",
    "Chance is of a higher order than the displacement: each of the 1/κ epochs adds to the sum a random part of size κ², "
    "so that over seeds the end scatters like κ^(3/2). With one row a step every epoch sums the same squares, only in "
    "another order, and the scatter is κ^(5/2). The displacement belongs to the problem: here it shrinks with b, but "
    "problems can be found where full batch is moved more than small batches are. "
    "At p = 2 the end is the limit of the flow from the initialization √(θ₊θ₋), coordinate by coordinate, up to κ²: "
    "that is the implicit regularization of Pesme, Pillaud-Vivien and Flammarion (arXiv 2106.09524), for finite steps of "
    "Even, Pesme, Gunasekar and Flammarion (arXiv 2302.08982). "
    "For p > 2 the squares move θ₊ and θ₋ by different amounts, and no initialization does the same.",
    "κ is the largest relative change of any parameter in a step on one row along the flow: η = κ/ρ₁ with "
    "ρ₁ = max p θ^(p−2) m|A_ji r_j|. All batch sizes have the same η. The rows of an epoch are a random permutation.",
)


# -- points -------------------------------------------------------------------------------------------------------


def points(settings: Settings) -> list[Point]:
    pairs = depths_and_powers(settings)
    data = {key: check_count(f"study.{key}", settings[key], at_least=2) for key in ("m", "n")}
    if data["m"] >= data["n"]:
        raise InputError(f"study.m must be < study.n, got {data['m']} and {data['n']}")
    data["seed"] = check_count("study.seed", settings["seed"], at_least=0)
    batches = numbers(settings, "batches", lambda name, value: check_count(name, value, at_most=data["m"]))
    kappas = numbers(settings, "kappas", lambda name, value: check_number(name, value, above=0, at_most=0.3))
    if len(set(kappas)) < 2:
        raise InputError(f"study.kappas must have two different numbers, got {kappas}")
    how = {
        "seeds": check_count("study.seeds", settings["seeds"], at_least=4, at_most=10_000),
        "tol": check_number("study.tol", settings["tol"], above=0, at_most=1e-3),
        "max_steps": check_count("study.max_steps", settings["max_steps"]),
    }
    return [
        {"p": p, "power": power, "batch": batch, "kappas": ",".join(map(repr, sorted(set(kappas)))), **data, **how}
        for p, power in pairs
        for batch in batches
    ]


def compute(point: Point) -> list[Row]:
    """One row for each κ and seed: where it ended, and where the flow says that it ends."""
    problem, p = gaussian(point["m"], point["n"], point["seed"]), float(point["p"])
    alpha = point["power"] ** (1 / p)
    drift = end_drift(problem, p, alpha, point["batch"])
    full = point["batch"] == problem.m
    stopping = Stopping(tol=point["tol"], max_steps=point["max_steps"])
    rows: list[Row] = []
    for kappa in map(float, point["kappas"].split(",")):
        schedule = make_schedule("constant", eta=kappa / drift.rho)
        runs = [
            Descent(
                DiagonalLinearNetwork(problem.n, p, alpha),
                problem,
                schedule,
                stopping,
                engine="fused",
                batch_size=None if full else point["batch"],
                seed=order,
            )
            for order in range(1 if full else point["seeds"])
        ]
        ensemble = EnsembleDescent(runs, threads=1)
        while ensemble.advance() is None:
            pass
        rows += [{"kappa": kappa, **_row(order, run, drift, kappa / drift.rho)} for order, run in enumerate(runs)]
    return rows


def _row(order: int, run: Descent, drift: Drift, eta: float) -> Row:
    network, problem = run.network, run.problem
    row: Row = {
        "order": order,
        "eta": eta,
        "converged": run.status is Status.CONVERGED,
        "steps": run.progress.step,
        "predicted": eta * float(np.linalg.norm(drift.direction)),
        "residual": None,
        "displacement": None,
        "unpredicted": None,
        "effective": None,
    }
    if run.status is None or run.status.ended_badly:
        return row
    psi = network.psi.detach()
    moved = psi.numpy() - drift.limit
    row["residual"] = float(problem.relative_residual(psi))
    row["displacement"] = float(np.linalg.norm(moved))
    row["unpredicted"] = float(np.linalg.norm(moved - eta * drift.direction))
    if depth_law(network.p).even_steps:
        start = torch.sqrt(network.theta_plus * network.theta_minus).detach()
        row["effective"] = float(
            torch.linalg.vector_norm(psi - flow_limit(problem, 2.0, start.numpy(), per_coordinate=True).psi)
        )
    return row


# -- claims -------------------------------------------------------------------------------------------------------


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    missed = sum(not row["converged"] for row in rows)
    found = [at_most(f"runs of {len(rows)} that do not reach the residual {settings['tol']:g}", missed, 0)]
    for p in values_of(rows, "p"):
        for batch in values_of(rows, "batch"):
            mine = select(rows, p=p, batch=batch)
            label = f"p = {p:g}, {batch_words(batch, settings['m'])}"
            found += _displacement(label, mine)
            if batch < settings["m"]:
                found.append(_scatter(label, mine, 2.5 if batch == 1 else 1.5))
            if depth_law(p).even_steps:
                slope = _exponent(*_summaries(mine, "effective", median))
                found.append(within(f"{label}: exponent in κ of the distance to the limit from √(θ₊θ₋)", 2, slope, 0.1))
    return found


def batch_words(batch: int, m: int) -> str:
    """What a batch size is called."""
    return "full batch" if batch == m else f"b = {batch}"


def _displacement(label: str, rows: list[Row]) -> list[Claim]:
    """Exponent and size of the median displacement where κ is smallest; the next term is smaller by a factor O(κ)."""
    kappas, medians = _summaries(rows, "displacement", median)
    least = select(rows, kappa=min(values_of(rows, "kappa")))
    middle = median(least, "displacement")
    ratio = None if middle is None else middle / least[0]["predicted"]
    slope = _exponent(kappas[:2], medians[:2])
    return [
        within(f"{label}: exponent of the median displacement in κ", 1, slope, 0.05),
        within(f"{label}: median displacement over predicted, κ = {least[0]['kappa']:g}", 1, ratio, 0.02),
    ]


def _scatter(label: str, rows: list[Row], predicted: float) -> Claim:
    """Exponent of the standard deviation over S seeds: 0.1 for the next terms, and three standard errors.

    A standard deviation of S normal values has the relative error 1/√(2(S − 1)), and a least-squares slope in
    x = log κ that error over √Σ(x − x̄)².
    """
    kappas, deviations = _summaries(rows, "displacement", deviation)
    x = np.log(kappas)
    error = 1 / math.sqrt(2 * (rows[0]["seeds"] - 1) * float(np.sum((x - x.mean()) ** 2)))
    slope = _exponent(kappas, deviations)
    return within(f"{label}: exponent of the scatter over seeds in κ", predicted, slope, 0.1 + 3 * error)


def _summaries(rows: Sequence[Row], key: str, summary: Callable[..., float | None]) -> tuple[np.ndarray, np.ndarray]:
    """The different κ, increasing, and a summary over the seeds for each; NaN where there is none."""
    kappas = sorted(values_of(rows, "kappa"))
    found = [summary(select(rows, kappa=kappa), key) for kappa in kappas]
    return np.array(kappas), np.array([math.nan if value is None else value for value in found])


def _exponent(kappas: np.ndarray, values: np.ndarray) -> float | None:
    """The least-squares slope in log κ of the logarithm; None where a value is missing or 0."""
    return fitted_slope(np.log(kappas), np.log(np.where(values > 0, values, math.nan)))


def median(rows: Sequence[Row], key: str) -> float | None:
    """The median over seeds; None where a run has no value."""
    values = column(rows, key)
    return float(np.median(values)) if np.all(np.isfinite(values)) else None


def deviation(rows: Sequence[Row], key: str) -> float | None:
    """The standard deviation over seeds; None where there are not two values."""
    values = column(rows, key)
    return float(np.std(values, ddof=1)) if len(values) > 1 and np.all(np.isfinite(values)) else None


STUDY = Study(
    summary="mini-batches against full batch: how far the noise of SGD moves the end, predicted from the flow",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)
