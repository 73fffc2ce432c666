"""Groups: networks ψ_g = u_g v_g against the minimiser of Σ‖ψ_g‖₂, by α."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dlntorch.matrix import GroupNetwork, group_limit, group_minimizer, train_groups
from dlntorch.numerics.validation import check_count, check_number
from dlntorch.problem import Problem
from dlntorch.reference.l1_minimizer import l1_minimizer
from dlntorch.studies.base import Claim, Point, Row, Settings, Study, at_most, column, numbers, select, values_of

__all__ = ["STUDY", "problem_of"]

ABOUT = (
    "A group network ψ_g = u_g v_g has one number and one vector for each group, from u_g = α and v_g = 0. Theorem "
    "(one line): its flow keeps u_g² − ‖v_g‖² = α². With one coordinate a group it is the product network of two "
    "layers, whose limit tends to the minimiser of ‖ψ‖₁.",
    "Measurement: with larger groups the limit does not tend to the minimiser of Σ‖ψ_g‖₂ as α → 0. The distance, "
    "measured to a minimiser with a dual certificate, stops falling and may grow again. The reason we see (derived, "
    "not proved): while a group is small, v_g turns into the direction of the current G_g at once, so that ln‖(u_g, "
    "v_g)‖ grows by ∫‖G_g‖ dt, the length of the path, where a certificate would bound ‖∫G_g dt‖. For one coordinate "
    "the two differ only where G changes its sign, and the sinh keeps account of that.",
    "Descent keeps the invariant worse than in vectors: a step changes u_g² − ‖v_g‖² by η²(⟨v_g, G_g⟩² − u_g²‖G_g‖²), "
    "which is never positive, and of the order κ²‖v_g‖² where v_g turns: not a share of α².",
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
        "descent_from": check_number("study.descent_from", settings["descent_from"], above=0),
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
    active = min(point["active"], point["groups"])
    signal[:active] = rng.standard_normal((active, point["group_size"]))
    noise = 0.1 * rng.standard_normal(point["m"])
    return Problem(A, A @ signal.ravel() + noise, name="groups")


def compute(point: Point) -> list[Row]:
    problem, size = problem_of(point), point["group_size"]
    reference = group_minimizer(problem, size)
    scale = float(torch.linalg.vector_norm(reference.psi))
    known = {
        "gap": reference.gap,
        "unique": reference.unique,
        "active_groups": len(reference.active),
        "l1_distance": float((l1_minimizer(problem).psi - reference.psi).norm()) / scale,
    }
    rows: list[Row] = []
    for alpha in (float(a) for a in point["alphas"].split(",")):
        for method in ("flow", "descent"):
            network = GroupNetwork(problem.n, size, alpha)
            if method == "flow":
                found = group_limit(problem, network, rtol=1e-11, tol=1e-8)
                psi, (u, v), status = found.X, found.layers, found.status
            elif alpha >= point["descent_from"]:
                budget = {"kappa": point["kappa"], "tol": point["tol"], "max_steps": point["max_steps"]}
                run = train_groups(problem, network, **budget)
                psi, (u, v), status = run.X, run.layers, run.status
            else:
                continue
            kept = (u.square() - v.reshape(-1, size).square().sum(-1)) / alpha**2
            norms = psi.reshape(-1, size).norm(dim=1)
            row: Row = {"alpha": alpha, "method": method, "status": str(status), **known}
            row["distance"] = float((psi - reference.psi).norm()) / scale
            row["excess"] = float(norms.sum()) / reference.value - 1
            row["kept_low"], row["kept_high"] = float(kept.min()), float(kept.max())
            rows.append(row)
    return rows


# -- claims -------------------------------------------------------------------------------------------------------


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    top = float(column(rows, "gap").max())
    found = [at_most("measurement: largest duality gap of the reference minimisers", top, 1e-9)]
    flow = [row for row in select(rows, method="flow") if row["status"] == "converged"]
    drift = max((max(abs(row["kept_low"] - 1), abs(row["kept_high"] - 1)) for row in flow), default=None)
    found.append(at_most("theorem: the flow keeps (u_g² − ‖v_g‖²)/α² = 1; largest difference", drift, 0.05))
    descent = column(select(rows, method="descent"), "kept_high")
    label = "theorem: descent never raises u_g² − ‖v_g‖²; its largest value over α²"
    found.append(at_most(label, float(descent.max()) if descent.size else None, 1 + 1e-9))
    smallest, largest = min(values_of(rows, "alpha")), max(values_of(rows, "alpha"))
    for size in values_of(rows, "group_size"):
        mine = [row for row in select(flow, group_size=size) if row["unique"]]
        last, first = (column(select(mine, alpha=alpha), "excess") for alpha in (smallest, largest))
        ratio = float(np.median(last) / np.median(first)) if last.size and first.size else None
        where = f"median excess of the norm at α = {smallest:g}, as a share of that at α = {largest:g}"
        if size == 1:
            found.append(at_most(f"theorem (vector network), groups of 1: {where}", ratio, 0.3))
        else:
            inverse = None if not ratio else 0.3 / ratio
            found.append(
                at_most(f"measurement, groups of {size}, it does not vanish: 0.3 over the {where}", inverse, 1.0)
            )
    return found


STUDY = Study(
    summary="groups: networks u_g v_g against the minimiser of Σ‖ψ_g‖₂, by α",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)
