"""Groups: networks ψ_g = u_g v_g against the minimiser of Σ‖ψ_g‖₂, by α."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dlntorch.matrix import GroupNetwork, group_minimizer, train_groups
from dlntorch.numerics.validation import check_count, check_number
from dlntorch.problem import Problem
from dlntorch.reference.l1_minimizer import l1_minimizer
from dlntorch.studies.base import Claim, Point, Row, Settings, Study, at_most, column, numbers, select, values_of

__all__ = ["STUDY", "problem_of"]

ABOUT = (
    "A group network ψ_g = u_g v_g has one number and one vector for each group, from u_g = α and v_g = 0. Theorem (one line): its flow "
    "keeps u_g² − ‖v_g‖² = α². With one coordinate a group it is the product network of two layers, which aims at ‖·‖₁.",
    "Conjecture: as α → 0 it ends at the minimiser of Σ‖ψ_g‖₂. There is no closed form, as the directions of v_g turn along the way, and "
    "no proof is known to us. The minimiser here comes with a dual certificate, so that the distance is measured to the right "
    "point. As for p = 2, the error falls slowly, with a power of α below 2 that depends on how near an inactive group is to "
    "being active.",
)


def points(settings: Settings) -> list[Point]:
    alphas = numbers(settings, "alphas", lambda name, value: check_number(name, value, above=0, at_most=1))
    sizes = numbers(settings, "group_sizes", lambda name, value: check_count(name, value, at_most=20))
    shared = {
        "m": check_count("study.m", settings["m"], at_least=2),
        "groups": check_count("study.groups", settings["groups"], at_least=2),
        "active": check_count("study.active", settings["active"]),
        "kappa": check_number("study.kappa", settings["kappa"], above=0, at_most=0.3),
        "tol": check_number("study.tol", settings["tol"], above=0, at_most=1e-2),
        "max_steps": check_count("study.max_steps", settings["max_steps"]),
        "alphas": ",".join(f"{a:g}" for a in alphas),
    }
    seeds = range(check_count("study.seeds", settings["seeds"]))
    return [{"group_size": size, "seed": seed, **shared} for size in sizes for seed in seeds]


def problem_of(point: Point) -> Problem:
    """A generic right-hand side, so that the minimiser is not the planted signal and the tail is short."""
    rng = np.random.default_rng([33, point["seed"], point["group_size"], point["m"]])
    n = point["groups"] * point["group_size"]
    A = rng.standard_normal((point["m"], n)) / np.sqrt(point["m"])
    signal = np.zeros((point["groups"], point["group_size"]))
    signal[: min(point["active"], point["groups"])] = rng.standard_normal((min(point["active"], point["groups"]), point["group_size"]))
    noise = 0.1 * rng.standard_normal(point["m"])
    return Problem(A, A @ signal.ravel() + noise, name="groups")


def compute(point: Point) -> list[Row]:
    problem, size = problem_of(point), point["group_size"]
    alphas = [float(a) for a in point["alphas"].split(",")]
    reference = group_minimizer(problem, size)
    network = GroupNetwork(problem.n, size, alphas)
    run = train_groups(problem, network, kappa=point["kappa"], tol=point["tol"], max_steps=point["max_steps"])
    u, v = network.u.detach(), network.v.detach().reshape(len(alphas), -1, size)
    kept = u.square() - v.square().sum(-1)
    scale = float(torch.linalg.vector_norm(reference.psi))
    other = float((l1_minimizer(problem).psi - reference.psi).norm()) / scale
    return [
        {
            "alpha": alpha,
            "status": str(run.status[b]),
            "gap": reference.gap,
            "unique": reference.unique,
            "active_groups": len(reference.active),
            "distance": float((run.X[b] - reference.psi).norm()) / scale,
            "excess": float(run.singular_values[b].sum()) / reference.value - 1,
            "l1_distance": other,
            "kept_low": float(kept[b].min()) / alpha**2,
            "kept_high": float(kept[b].max()) / alpha**2,
        }
        for b, alpha in enumerate(alphas)
    ]


# -- claims -------------------------------------------------------------------------------------------------------


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    found = [at_most("measurement: largest duality gap of the reference minimisers", float(column(rows, "gap").max()), 1e-9)]
    smallest, largest = min(values_of(rows, "alpha")), max(values_of(rows, "alpha"))
    kept = column(rows, "kept_high")
    found.append(
        at_most("theorem, and descent only shrinks it: largest (u_g² − ‖v_g‖²)/α²", float(kept.max()), 1 + 1e-6)
    )
    for size in values_of(rows, "group_size"):
        mine = [row for row in select(rows, group_size=size) if row["unique"] and row["status"] == "converged"]
        last, first = (column(select(mine, alpha=alpha), "distance") for alpha in (smallest, largest))
        label = f"conjecture, groups of {size}: median distance to the minimiser at α = {smallest:g}"
        found.append(at_most(label, float(np.median(last)) if last.size else None, 0.1))
        ratio = float(np.median(last) / np.median(first)) if last.size and first.size else None
        found.append(at_most(f"conjecture, groups of {size}: as a share of that at α = {largest:g}", ratio, 0.5))
    return found


STUDY = Study(
    summary="groups: networks u_g v_g against the minimiser of Σ‖ψ_g‖₂, by α",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)
