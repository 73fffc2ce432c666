"""HaoChen, Wei, Lee, Ma, Shape matters: understanding the implicit bias of the noise covariance, COLT 2021 (arXiv 2006.08680)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlntorch.model.conventions import Convention
from dlntorch.numerics.compiling import kernel
from dlntorch.numerics.validation import check_count, check_number
from dlntorch.problem import Problem
from dlntorch.run import train
from dlntorch.studies.base import Claim, Point, Row, Settings, holds, select, values_of, within
from dlntorch.studies.papers.planted import block, median, planted, seeds_of, sizes, truth_of

__all__ = ["ABOUT", "claims", "compute", "gaussian_noise", "points"]

KEY = "haochen2021"
ABOUT = (
    "HaoChen et al. 2021: from a start of size 1, where gradient descent finds no sparse vector, label noise finds it, and "
    "Gaussian noise of the gradient does not. Known of the original: n = 100, m = 40, α = 1, step 0.01 on a mean loss, 3e5 "
    "iterations. Not known: the number of nonzeros, the noise level, the batch, and whether the network was one-sided (θ² "
    "only): ours has both sides, full batches, and σ from the settings. The Gaussian noise has the mean square that the "
    "gradient of the label noise has at the start."
)
METHODS = ("GD", "label noise", "Gaussian noise")
CHUNK = 1000  # steps whose noise is drawn at once


def gaussian_noise(
    A: np.ndarray, y: np.ndarray, theta: np.ndarray, eta: float, std: float, steps: int, seed: int
) -> None:
    """θ ← θ − η(∇L + N(0, std²I)) at p = 2, in place."""
    rng = np.random.default_rng([seed, 2021])
    A = np.ascontiguousarray(A)
    for first in range(0, steps, CHUNK):
        count = min(CHUNK, steps - first)
        _noisy_steps(A, y, theta, eta, std * rng.standard_normal((count, *theta.shape)))


@kernel
def _noisy_steps(A, y, theta, eta, noise):
    for k in range(noise.shape[0]):
        g = A.T @ (y - A @ (theta[0] * theta[0] - theta[1] * theta[1]))
        theta[0] += eta * (2 * theta[0] * g - noise[k, 0])
        theta[1] -= eta * (2 * theta[1] * g + noise[k, 1])


def points(settings: Settings) -> list[Point]:
    mine = block(settings, KEY)
    shared = {
        "paper": KEY,
        **sizes(mine, KEY),
        "alpha": check_number(f"study.{KEY}.alpha", mine["alpha"], above=0),
        "eta": check_number(f"study.{KEY}.eta", mine["eta"], above=0),
        "sigma": check_number(f"study.{KEY}.sigma", mine["sigma"], above=0),
        "steps": check_count(f"study.{KEY}.steps", mine["steps"]),
    }
    seeds = seeds_of(mine, KEY)
    return [{**shared, "seed": seed, "method": method} for seed in seeds for method in METHODS]


def compute(point: Point) -> list[Row]:
    problem = planted(point["m"], point["n"], point["nonzeros"], point["seed"])
    eta = Convention(loss=1 / point["m"]).eta(point["eta"])
    norms = problem.A.square().sum(dim=0).numpy()
    predicted = None
    if point["method"] == "label noise":
        # x = 2ηg with E g² = σ²‖A_i‖²: a step adds x² to the gain, so that α_e shrinks at rate 2ησ²‖A_i‖², and α_e² at
        # twice it, until the residual's own fluctuation adds to g.
        predicted = float(4 * eta**2 * point["sigma"] ** 2 * norms.mean() * point["steps"])
    theta = _end(problem, point, eta, float(norms.mean()))
    if theta is None:
        return [{"status": "diverged"}]
    truth, psi = truth_of(problem), theta[0] ** 2 - theta[1] ** 2
    with np.errstate(divide="ignore"):
        gain = float(np.mean(2 * np.log(point["alpha"]) - np.log(np.abs(theta)).sum(axis=0)))
    return [
        {
            "status": "max_steps",
            "error": float(np.linalg.norm(psi - truth) / np.linalg.norm(truth)),
            "gain": gain if np.isfinite(gain) else None,
            "predicted_gain": predicted,
        }
    ]


def _end(problem: Problem, point: Point, eta: float, norm2: float) -> np.ndarray | None:
    """θ after all steps, also without noise, so that all methods have the same time; None where it diverged."""
    if point["method"] == "Gaussian noise":
        theta = np.full((2, problem.n), float(point["alpha"]))
        std = 2 * point["alpha"] * point["sigma"] * norm2**0.5  # pα^{p−1} σ‖A_i‖, root mean square
        gaussian_noise(problem.A.numpy(), problem.y.numpy(), theta, eta, std, point["steps"], point["seed"])
        return theta if np.all(np.isfinite(theta)) else None
    options: dict[str, Any] = {}
    if point["method"] == "label noise":
        options = {"optimizer": "label_noise", "optimizer_options": {"sigma": point["sigma"]}}
    run = train(
        problem,
        2,
        point["alpha"],
        "constant",
        eta=eta,
        tol=0,
        max_steps=point["steps"],
        seed=point["seed"],
        references=False,
        **options,
    )
    return None if run.status.ended_badly else np.stack([run.theta_plus.numpy(), run.theta_minus.numpy()])


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    errors = {method: median(select(rows, method=method), "error") for method in METHODS}
    words = ", ".join(
        f"{method} {'none' if error is None else format(error, '.3g')}" for method, error in errors.items()
    )
    noisy, plain, other = errors["label noise"], errors["GD"], errors["Gaussian noise"]
    found = [
        holds(
            "HaoChen 2021: label noise recovers the planted vector, where GD does not (relative error, median)",
            "below 0.1 and above 0.3",
            words,
            None if noisy is None or plain is None else bool(noisy < 0.1 and plain > 0.3),
            "medians over seeds (bounds ours)",
        ),
        holds(
            "HaoChen 2021: Gaussian noise of the same size does not recover it",
            "above 0.3",
            words if other is not None else "every run diverged",
            None if other is None else bool(other > 0.3),
            "medians over seeds (bound ours)",
        ),
    ]
    mine = select(rows, method="label noise")
    for seed in values_of(mine, "seed"):
        (row,) = select(mine, seed=seed)
        text = (
            f"HaoChen 2021, seed {seed}: gain of label noise, mean over coordinates, against 4ησ²‖A_i‖²t (bound ours)"
        )
        found.append(within(text, row.get("predicted_gain"), row.get("gain"), 0.25, relative=True))
    return found
