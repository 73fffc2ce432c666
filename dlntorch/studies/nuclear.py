"""Matrices: how near the nuclear-norm minimiser networks end, by α, depth, and how far the measurements are from commuting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dlntorch.limit.flow_limit import flow_limit
from dlntorch.matrix import MatrixFactorization, MatrixProblem, matrix_limit, nuclear_minimizer, train_matrix
from dlntorch.matrix.generators import embedded, gaussian_sensing, random_orthogonal, two_by_two
from dlntorch.model import Product
from dlntorch.numerics.validation import check_count, check_number
from dlntorch.problem import Problem
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
from dlntorch.studies.measure import largest, middle

__all__ = ["STUDY", "commuting_problem"]

ABOUT = (
    "Theorem (the paper’s, by diagonalising): where the measurements A_j commute, gradient flow of UUᵀ − VVᵀ from αI "
    "is the depth 2 network on the eigenvalues, and the product of N layers from (αI, …, αI, 0) is the product "
    "network of depth N. Limits, rates and hardness are the vector’s, with ‖·‖_* for ‖·‖₁. One thing is not: where "
    "the vector’s minimiser has two nonzeros the matrix problem has many minimisers, since what lies off the diagonal "
    "between them is not measured; the network takes the diagonal one.",
    "Measurement: for N ≥ 3 the diagonal matrices are an invariant set of the flow that repels. At a saddle of rank "
    "one with singular value s the entries (1, i) and (i, 1) of the outer layers grow at the rate s^(1−2/N)|G_ii|, "
    "while the diagonal entry waits a time of order α^(2−N). Rounding is enough, and the flow turns off. For N = 2 "
    "both grow at one rate, and the reduction is seen to rounding.",
    "Conjecture (Gunasekar et al. 2017): as α → 0, the flow of UUᵀ ends at the minimiser of the nuclear norm, also "
    "where nothing commutes. Li, Luo and Lyu (2021) construct cases in which greedy low rank and not the norm "
    "describes the limit. Here the measurements are turned from commuting to generic, and the excess of the norm over "
    "its minimum is measured.",
    "On the 2×2 completion X₁₂ = X₂₁ = 1, X₂₂ = 0 the nuclear norm is least at X₁₁ = 0, and det X = −1 there. From X "
    "= 0 the network finds it. From X = α^N I the determinant is positive and stays so: the data can be fitted only "
    "with X₁₁ → ∞, and the norm grows while the effective rank falls (theorem of Razin and Cohen 2020).",
)


def points(settings: Settings) -> list[Point]:
    alphas = numbers(settings, "alphas", lambda name, value: check_number(name, value, above=0, at_most=1))
    shares = numbers(settings, "noncommuting", lambda name, value: check_number(name, value, at_least=0, at_most=10))
    depths = numbers(settings, "depths", lambda name, value: check_count(name, value, at_least=2, at_most=6))
    seeds = range(check_count("study.seeds", settings["seeds"]))
    d = check_count("study.size", settings["size"], at_least=3, at_most=30)
    m = check_count("study.measurements", settings["measurements"], at_most=d - 1)
    run = {
        "size": d,
        "kappa": check_number("study.kappa", settings["kappa"], above=0, at_most=0.3),
        "max_steps": check_count("study.max_steps", settings["max_steps"]),
        "tol": check_number("study.tol", settings["tol"], above=0, at_most=1e-2),
    }
    alpha = check_number("study.flow_alpha", settings["flow_alpha"], above=0, at_most=1)
    grid = {"alphas": ",".join(f"{a:g}" for a in alphas)}
    return [
        *({"part": "dial", "share": share, "seed": s, "m": m, **run, **grid} for share in shares for s in seeds),
        *({"part": "depth", "layers": N, "seed": s, "m": 3 * d, **run, **grid} for N in depths for s in seeds),
        *({"part": "path", "layers": N, "seed": s, "alpha": alpha} for N in depths for s in seeds),
        *({"part": "2x2", "layers": N, "start": s, **run, **grid} for N in depths for s in ("zero_last", "balanced")),
    ]


def commuting_problem(point: Point) -> Problem:
    """A vector problem with a generic right-hand side, columns of norm about one."""
    rng = np.random.default_rng([21, point["seed"], point["m"], point["size"]])
    m, d = point["m"], point["size"]
    return Problem(rng.standard_normal((m, d)) / np.sqrt(m), rng.standard_normal(m), name="dial")


def compute(point: Point) -> list[Row]:
    if point["part"] == "path":
        return [_path(point)]
    alphas = [float(a) for a in point["alphas"].split(",")]
    vector: Problem | None = None
    if point["part"] == "dial":
        vector = commuting_problem(point)
        problem = embedded(vector, noncommuting=point["share"], seed=point["seed"])
        network = MatrixFactorization(problem.shape, 2, alphas, "difference")
    elif point["part"] == "depth":
        d = point["size"]
        problem = gaussian_sensing(point["m"], d, d, 1, seed=point["seed"])
        network = MatrixFactorization((d, d), point["layers"], alphas)
    else:
        problem = two_by_two()
        network = MatrixFactorization((2, 2), point["layers"], alphas, start=point["start"])
    rows = _trained(problem, network, point, alphas)
    if vector is not None and point["share"] == 0:
        limits = list(flow_limit(vector, 2, alphas).psi.numpy())
        Q = random_orthogonal(vector.n, point["seed"])
        for row, X, psi in zip(rows, list(network.X.numpy()), limits, strict=True):
            row["to_vector"] = float(np.linalg.norm(X - Q * psi @ Q.T) / np.linalg.norm(psi))
    return rows


def _trained(problem: MatrixProblem, network: MatrixFactorization, point: Point, alphas: list[float]) -> list[Row]:
    """One row for each α of a batch."""
    least = nuclear_minimizer(problem)
    run = train_matrix(
        problem, network, kappa=point["kappa"], tol=point["tol"], max_steps=point["max_steps"], keep_matrices=False
    )
    status, residual, ranks = list(run.status), torch.as_tensor(run.residual), torch.as_tensor(run.effective_rank)
    rows = []
    for b, alpha in enumerate(alphas):
        X, values = run.X[b], run.singular_values[b]
        rows.append(
            {
                "alpha": alpha,
                "status": str(status[b]),
                "residual": float(residual[b]),
                "excess": float(values.sum()) / least.value - 1,
                "distance": float((X - least.X).norm() / least.X.norm()) if least.unique else None,
                "effective_rank": float(ranks[b]),
                "least_rank": least.rank,
                "gap": least.gap,
                "to_truth": None if problem.truth is None else float((X - problem.truth).norm() / problem.truth.norm()),
                "corner": float(X[0, 0]),
                "to_vector": None,
            }
        )
    return rows


#: One wait at a saddle: the first coordinate fits the first measurement, and the second has to take over.
_SADDLE = ([[1.0, 0.5, 0.3, -0.2], [0.2, -0.4, 1.0, 0.6]], [1.0, -0.5])


def _path(point: Point) -> Row:
    """How far the matrix flow, started on the diagonal, ends from the vector’s limit."""
    vector = Problem(*_SADDLE, name="saddle")
    Q = random_orthogonal(vector.n, point["seed"])
    network = MatrixFactorization((vector.n, vector.n), point["layers"], point["alpha"])
    found = matrix_limit(embedded(vector, Q), network, rtol=1e-12)
    psi = flow_limit(vector, Product(point["layers"]), point["alpha"]).psi
    D = torch.from_numpy(Q.T @ found.X.numpy() @ Q)
    return {
        "status": str(found.status),
        "to_vector": float((D - torch.diag(psi)).norm() / psi.norm()),
        "off_diagonal": float((D - torch.diag(torch.diag(D))).norm() / psi.norm()),
        "norm_ratio": float(torch.linalg.svdvals(found.X).sum() / psi.abs().sum()),
    }


# -- claims -------------------------------------------------------------------------------------------------------


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    found: list[Claim] = []
    gaps = column([row for row in rows if row.get("gap") is not None], "gap")
    found.append(at_most("measurement: largest duality gap of the reference minimisers", largest(gaps), 1e-9))
    dial = select(rows, part="dial")
    ended = [row for row in select(dial, share=0.0) if row["status"] == "converged"]
    found.append(
        at_most(
            "theorem (commuting): UUᵀ − VVᵀ by descent and the depth 2 limit on the eigenvalues, largest relative distance",
            largest(column(ended, "to_vector")),
            0.05,
        )
    )
    smallest = min(values_of(dial, "alpha"))
    for share in values_of(dial, "share"):
        mine = select(dial, share=share)
        last, first = (
            middle(column(select(mine, alpha=a), "excess")) for a in (smallest, max(values_of(mine, "alpha")))
        )
        kind = "theorem" if share == 0 else "conjecture (Gunasekar et al. 2017)"
        label = f"{kind}, noncommuting {share:g}: median excess of ‖X‖_* at α = {smallest:g}, as a share of that at the largest α"
        found.append(at_most(label, None if last is None or not first else last / first, 0.8))
    path = select(rows, part="path")
    for N in values_of(path, "layers"):
        mine = column(select(path, layers=N), "to_vector")
        if N == 2:
            found.append(at_most("theorem (commuting), N = 2: flow’s end and the vector’s limit", largest(mine), 1e-8))
    deep = [row for row in path if row["layers"] >= 4]
    if deep:
        least = float(column(deep, "to_vector").min())
        label = "measurement, N ≥ 4: 0.01 over the least distance of the flow’s end from the vector’s limit"
        found.append(at_most(label, 0.01 / least, 1))
    corner = select(rows, part="2x2", alpha=smallest)
    flat = largest(np.abs(column(select(corner, start="zero_last"), "corner")))
    found.append(within("measurement, 2×2 from X = 0: largest |X₁₁| (0 has least norm)", 0.0, flat, 1e-3))
    rank = largest(column(select(corner, start="balanced"), "effective_rank"))
    label = "measurement, 2×2 from X = α^N I, det X > 0 (Razin and Cohen 2020: the norm grows): largest effective rank"
    found.append(at_most(label, rank, 1.6))
    return found


STUDY = Study(
    summary="matrices: distance to the nuclear norm’s minimiser by α, depth and commutativity; rank against norm",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)
