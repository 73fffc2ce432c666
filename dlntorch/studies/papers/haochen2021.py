"""HaoChen, Wei, Lee, Ma, Shape matters: understanding the implicit bias of the noise covariance, COLT 2021 (arXiv 2006.08680)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.model.conventions import ours_from_mean_loss_step
from dlntorch.numerics.validation import check_count, check_number
from dlntorch.optim.update import SGD
from dlntorch.run import train
from dlntorch.studies.base import Claim, Point, Row, Settings, holds, select, values_of, within
from dlntorch.studies.papers.planted import block, median, planted, sizes, truth_of

__all__ = ["ABOUT", "GaussianNoise", "claims", "compute", "points"]

KEY = "haochen2021"
ABOUT = (
    "HaoChen et al. 2021: from a start of size 1, where gradient descent finds no sparse vector, label noise finds it, and "
    "Gaussian noise of the gradient does not. Known of the original: n = 100, m = 40, α = 1, step 0.01 on a mean loss, 3e5 "
    "iterations. Not known: the number of nonzeros, the noise level, the batch, and whether the network was one-sided (θ² "
    "only): ours has both sides, full batches, and σ from the settings. The Gaussian noise has the mean square that the "
    "gradient of the label noise has at the start."
)
METHODS = ("GD", "label noise", "Gaussian noise")


class GaussianNoise(SGD):
    """Plain SGD on ∇L + N(0, std²I), with a stream that is a function of seed and step."""

    def __init__(self, std: float, seed: int) -> None:
        self.std, self.seed = std, seed

    def init(self, theta: Tensor) -> dict[str, Tensor]:
        return {"count": torch.zeros((), dtype=torch.float64)}

    def step(
        self, theta: Tensor, gradient: Tensor, eta: float, state: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        generator = torch.Generator().manual_seed((self.seed << 32) + int(state["count"]))
        noise = torch.randn(theta.shape, generator=generator, dtype=torch.float64)
        return theta - eta * (gradient + self.std * noise), {"count": state["count"] + 1}


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
    seeds = range(check_count(f"study.{KEY}.seeds", mine["seeds"]))
    return [{**shared, "seed": seed, "method": method} for seed in seeds for method in METHODS]


def compute(point: Point) -> list[Row]:
    problem = planted(point["m"], point["n"], point["nonzeros"], point["seed"])
    eta = ours_from_mean_loss_step(point["eta"], point["m"])
    norms = problem.A.square().sum(dim=0)
    options: dict[str, Any] = {}
    if point["method"] == "label noise":
        options = {"optimizer": "label_noise", "optimizer_options": {"sigma": point["sigma"]}}
    elif point["method"] == "Gaussian noise":
        std = float((2 * point["alpha"] * point["sigma"]) * norms.mean().sqrt())  # pα^{p−1} σ‖A_i‖, root mean square
        options = {"optimizer": GaussianNoise(std, point["seed"])}
    # Even without noise the run goes on, so that all have the same time.
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
    truth, psi = truth_of(problem), run.psi.numpy()
    row: Row = {"status": str(run.status), "steps": run.summary["steps"]}
    if run.status.ended_badly or not np.all(np.isfinite(psi)):
        return [row]
    gain = run.effective.gain
    # x = 2ηg with E g² = σ²‖A_i‖²: a step adds x² to the gain, so that α_e shrinks at rate 2ησ²‖A_i‖², and α_e² at twice it.
    predicted = 4 * eta * point["sigma"] ** 2 * norms.numpy() * eta * point["steps"]
    return [
        {
            **row,
            "error": float(np.linalg.norm(psi - truth) / np.linalg.norm(truth)),
            "gain": None if gain is None else float(gain.mean()),
            "predicted_gain": float(predicted.mean()) if point["method"] == "label noise" else None,
        }
    ]


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
            "medians over seeds",
        ),
        holds(
            "HaoChen 2021: Gaussian noise of the same size does not recover it",
            "above 0.3",
            words if other is not None else "every run diverged",
            None if other is None else bool(other > 0.3),
            "medians over seeds",
        ),
    ]
    mine = select(rows, method="label noise")
    for seed in values_of(mine, "seed"):
        (row,) = select(mine, seed=seed)
        text = f"HaoChen 2021, seed {seed}: gain of label noise, mean over coordinates, against 4ησ²‖A_i‖²t"
        found.append(within(text, row.get("predicted_gain"), row.get("gain"), 0.25, relative=True))
    return found
