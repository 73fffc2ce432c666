"""Azulay et al., On the implicit bias of initialization shape, ICML 2021 (arXiv 2102.09769)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.flow.integrate import flow_path
from dlntorch.limit.flow_limit import flow_limit
from dlntorch.model import Parametrization
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import check_number
from dlntorch.problem import Problem
from dlntorch.reference.l1_minimizer import l1_minimizer
from dlntorch.studies.base import Claim, Point, Row, Settings, at_most, holds, numbers, select, values_of
from dlntorch.studies.papers.planted import block, largest, median, seeds_of, sizes

__all__ = ["ABOUT", "UnbalancedLayers", "claims", "compute", "points", "slope_of_q"]

KEY = "azulay2021"
ABOUT = (
    "Azulay et al. 2021: two layers u₊v₊ − u₋v₋ that start with the product α and the shape s = (u − v)/(u + v) end at the "
    "minimiser of Σq_k(ψ_i), q_k′(ψ) = ½ arsinh(2ψ/√k), k = 16α²(1 + s²)²/(1 − s²)²: a large shape is a large scale, so that "
    "|s| → 1 leads to the ℓ₂-minimiser (kernel) however small α is. Known of the original: Gaussian data, labels with noise of "
    "variance 0.01, r entries 1/√r, the error of the flow as a function of α and s. Not known: m, n, r, the grid, seeds. Its "
    "part on networks that are not diagonal (one fully connected unit, with a time warped in ψ) is not reproduced."
)
NOISE = 0.1  # standard deviation of the labels, from the paper
STOP = 1e-10  # relative residual at which the flow counts as ended


class UnbalancedLayers(Parametrization):
    """ψ = u₊v₊ − u₋v₋ with u(0)v(0) = α and u(0)/v(0) = (2 − gap)/gap, gap = 1 − s in (0, 1], a number or (n,).

    The gap and not the shape is the argument, since s = 1 − 1e-9 has few digits.
    """

    width = 4

    def __init__(self, gap: Any) -> None:
        self.gap = torch.as_tensor(gap, dtype=torch.float64)

    def value(self, theta: Tensor) -> Tensor:
        return theta[0] * theta[1] - theta[2] * theta[3]

    def slope(self, theta: Tensor) -> Tensor:
        return torch.stack([theta[1], theta[0], -theta[3], -theta[2]])

    def start(self, alpha: Any, n: int) -> Tensor:
        ratio = ((2 - self.gap) / self.gap).expand(n)
        u, v = (alpha * ratio).sqrt(), (alpha / ratio).sqrt()
        return torch.stack([u, v, u, v])

    def balanced(self, alpha: float, n: int) -> Tensor:
        """θ±(0) of the depth 2 that ends at the same point: ψ = (u² + v²) sinh 2∫g there, 2a² sinh 2∫2g here."""
        u, v, _, _ = self.start(alpha, n)
        return ((u * u + v * v) / 2).sqrt()

    def __repr__(self) -> str:
        return f"UnbalancedLayers({self.gap.tolist()})"


def k_of(alpha: float, gap: Any) -> np.ndarray:
    """The paper's k = 16α²(1 + s²)²/(1 − s²)²."""
    gap = np.asarray(gap, dtype=float)
    shape = 1 - gap
    return 16 * alpha**2 * (1 + shape**2) ** 2 / (gap * (2 - gap)) ** 2


def slope_of_q(psi: np.ndarray, k: np.ndarray) -> np.ndarray:
    """q_k′ of the paper's q_k(ψ) = ¼√k(1 − √(1 + 4ψ²/k) + (2ψ/√k) arsinh(2ψ/√k))."""
    return 0.5 * np.arcsinh(2 * psi / np.sqrt(k))


def points(settings: Settings) -> list[Point]:
    mine = block(settings, KEY)
    shared = {"paper": KEY, **sizes(mine, KEY)}
    scales = numbers(mine, "scales", lambda name, value: check_number(name, value, above=0))
    gaps = numbers(mine, "gaps", lambda name, value: check_number(name, value, above=0, at_most=1))
    seeds = seeds_of(mine, KEY)
    return [
        {**shared, "seed": seed, "alpha": alpha, "gap": gap}
        for seed in seeds
        for alpha in scales
        for gap in [*gaps, "mixed"]
    ]


def data(point: Point) -> Problem:
    """Gaussian rows, r entries 1/√r, labels with the paper's noise."""
    m, n, r = point["m"], point["n"], point["nonzeros"]
    rng = np.random.default_rng([point["seed"], m, n, r, 2102])
    truth = np.zeros(n)
    truth[rng.choice(n, r, replace=False)] = r**-0.5
    A = rng.standard_normal((m, n))
    return Problem(A, A @ truth + NOISE * rng.standard_normal(m), name="noisy", truth=truth)


def compute(point: Point) -> list[Row]:
    problem, alpha, gap = data(point), point["alpha"], point["gap"]
    if gap == "mixed":  # a shape for every coordinate: the theorem has a k for each
        gap = 10 ** np.random.default_rng([point["seed"], 2103]).uniform(-3, 0, problem.n)
    law = UnbalancedLayers(gap)
    path = flow_path(problem, law, alpha, [1e12], rtol=1e-10, stop_residual=STOP)
    if path.status is not Status.CONVERGED:
        return [{"status": str(path.status), "reason": path.reason}]
    reached = Problem(problem.A, problem.A @ path.psi[-1])
    psi, A = path.psi[-1].numpy(), problem.A.numpy()
    balanced = law.balanced(alpha, problem.n)
    minimiser = flow_limit(reached, 2, balanced, per_coordinate=True).psi.numpy()
    k = np.broadcast_to(k_of(alpha, gap), problem.n)
    slope = slope_of_q(psi, k)
    off = slope - A.T @ np.linalg.lstsq(A.T, slope, rcond=None)[0]
    least = torch.linalg.lstsq(problem.A, problem.y[:, None], driver="gelsd").solution[:, 0].numpy()
    truth: np.ndarray = problem.truth.numpy()  # pyright: ignore[reportOptionalMemberAccess]
    return [
        {
            "status": "converged",
            "root_k": float(np.sqrt(k).mean()),
            "from_minimiser": float(np.linalg.norm(psi - minimiser) / np.linalg.norm(psi)),
            "kkt": float(np.linalg.norm(off) / np.linalg.norm(slope)),
            "l1_excess": float(np.abs(psi).sum() / float(l1_minimizer(problem).value) - 1),
            "l2_excess": float(np.linalg.norm(psi) / np.linalg.norm(least) - 1),
            "error": float(np.sum((psi - truth) ** 2)),  # E⟨ψ − ψ*, x⟩² of a Gaussian x
        }
    ]


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    """The paper gives the theorem and the directions; the bounds 1e-6 and 1 % are ours, set before the first run."""
    known = [row for row in rows if row.get("error") is not None]
    words = f"{len(known)} of {len(rows)} flows ended"
    found = [
        holds("Azulay 2021: every flow ends", "all", words, len(known) == len(rows) if rows else None, "all"),
        at_most(
            "Azulay 2021: distance of the flow of u₊v₊ − u₋v₋ to the depth 2 with the same k, relative, largest (bound ours)",
            largest(known, "from_minimiser"),
            1e-6,
        ),
        at_most(
            "Azulay 2021: part of q_k′ outside range(Aᵀ), relative, largest (bound ours)", largest(known, "kkt"), 1e-6
        ),
    ]
    plain = [row for row in known if row["gap"] != "mixed"]
    scales = sorted(values_of(plain, "alpha"))
    for alpha in scales[:1]:
        gaps = sorted(values_of(select(plain, alpha=alpha), "gap"), reverse=True)  # from the shape 0 on
        first, last = (select(plain, alpha=alpha, gap=gap) for gap in (gaps[0], gaps[-1]))
        norms = [
            np.diff([median(select(plain, alpha=alpha, gap=gap), key) or 0.0 for gap in gaps])
            for key in ("l1_excess", "l2_excess")
        ]
        good = bool(np.all(norms[0] >= -1e-9) and np.all(norms[1] <= 1e-9)) if len(gaps) > 1 else None
        text = f"Azulay 2021, α = {alpha:g}: as the shape grows the ℓ₁ norm rises and the ℓ₂ norm falls"
        found.append(holds(text, "monotone", "monotone" if good else "not monotone", good, "medians over seeds"))
        text = f"Azulay 2021, α = {alpha:g}: ℓ₁ excess at the smallest shape, median (bound ours)"
        found.append(at_most(text, median(first, "l1_excess"), 0.01))
        text = f"Azulay 2021, α = {alpha:g}: ℓ₂ excess at the largest shape, median (bound ours)"
        found.append(at_most(text, median(last, "l2_excess"), 0.01))
        ends = [median(part, "error") for part in (first, last)]
        good = None if None in ends else bool(ends[1] > ends[0])  # type: ignore[operator]
        measured = " to ".join("none" if end is None else f"{end:.3g}" for end in ends)
        text = f"Azulay 2021, α = {alpha:g}: the population error grows from the smallest to the largest shape (median)"
        found.append(holds(text, "grows", measured, good, "the paper's direction, no margin"))
    return found
