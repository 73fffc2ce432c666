"""Hardness for the nuclear norm: the family A = (1, 1 ∓ |δ|) as a matrix, rotated, read to b binary places."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dlntorch.limit.flow_limit import flow_limit
from dlntorch.matrix import MatrixFactorization, MatrixProblem, nuclear_minimizer, train_matrix
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

__all__ = ["STUDY", "measurement", "minimiser", "read"]

ABOUT = (
    "One measurement ⟨A, X⟩ = y of a 2×2 matrix with A = Q diag(1, 1−δ) Qᵀ, Q the rotation by 45°: A = [[1−δ/2, δ/2], "
    "[δ/2, 1−δ/2]], and y = √2·10^(−K)(1+|δ|). The minimiser of the nuclear norm is y q₁q₁ᵀ for δ > 0 and y/(1−δ) "
    "q₂q₂ᵀ for δ < 0, at least 2·10^(−K) apart.",
    "Theorem (the paper’s, by embedding): an algorithm that reads A to b binary places misses K digits on one of ±δ "
    "where |δ|/2 < 2^(−b−1), and K − 1 digits are always to be had. It is a property of the input; the conic "
    "reference and networks both show it.",
    "Measurement: the network of N layers needs α^N well below the kink, as the vector network of depth N does. With "
    "one measurement there is no saddle to wait at, so that the matrix network follows the vector’s limit for every "
    "N.",
)

_Q = np.array([[1.0, 1.0], [1.0, -1.0]]) / math.sqrt(2)


def points(settings: Settings) -> list[Point]:
    digits = numbers(settings, "digits", lambda name, value: check_count(name, value, at_most=8))
    deltas = numbers(settings, "deltas", lambda name, value: check_number(name, value, above=0, at_most=0.5))
    bits = check_count("study.bits", settings["bits"], at_least=8, at_most=50)
    powers = numbers(settings, "powers", lambda name, value: check_number(name, value, above=0, at_most=1))
    layers = check_count("study.layers", settings["layers"], at_least=3, at_most=6)
    run = {
        "layers": layers,
        "kappa": check_number("study.kappa", settings["kappa"], above=0, at_most=0.3),
        "max_steps": check_count("study.max_steps", settings["max_steps"]),
    }
    base = [{"digits": K, "delta": d, "bits": bits} for K in digits for d in deltas]
    return [
        *({**b, "method": "minimiser"} for b in base),
        *({**b, "method": "network", "power": power, **run} for b in base for power in powers),
    ]


def measurement(delta: float, K: int) -> tuple[np.ndarray, float]:
    """(A, y) of the family."""
    A = np.array([[1 - delta / 2, delta / 2], [delta / 2, 1 - delta / 2]])
    return A, math.sqrt(2) * 10.0**-K * (1 + abs(delta))


def read(A: np.ndarray, bits: int) -> np.ndarray:
    """A rounded to b binary places."""
    return np.round(A * 2.0**bits) / 2.0**bits


def minimiser(delta: float, K: int) -> np.ndarray:
    """Of the exact problem."""
    y = math.sqrt(2) * 10.0**-K * (1 + abs(delta))
    q = _Q[:, 0] if delta > 0 else _Q[:, 1]
    return np.outer(q, q) * (y if delta > 0 else y / (1 - delta))


def compute(point: Point) -> list[Row]:
    """The larger of the errors on +δ and −δ."""
    errors, apart, statuses = [], [], []
    for sign in (1, -1):
        delta = sign * point["delta"]
        A, y = measurement(delta, point["digits"])
        seen = read(A, point["bits"])
        problem = MatrixProblem(seen[None], [y], name="matrix_gha")
        if point["method"] == "minimiser":
            found = nuclear_minimizer(problem)
            X = found.X.numpy()
            statuses.append(found.status)
        else:
            alpha = (point["power"] * y) ** (1 / point["layers"])
            network = MatrixFactorization((2, 2), point["layers"], alpha)
            run = train_matrix(problem, network, kappa=point["kappa"], max_steps=point["max_steps"], tol=1e-8)
            X = run.X.numpy()
            statuses.append(run.status)
            values = np.diag(_Q.T @ seen @ _Q)
            psi = flow_limit(Problem(values[None], [y], name="gha"), Product(point["layers"]), alpha).psi.numpy()
            apart.append(float(np.linalg.norm(X - _Q * psi @ _Q.T)) / y)
        errors.append(float(np.linalg.norm(X - minimiser(delta, point["digits"]))))
    scale = 10.0 ** -point["digits"]
    return [
        {
            "status": "converged" if all(s == "converged" for s in statuses) else str(statuses[0]),
            "error": max(errors),
            "has_K": max(errors) <= scale,
            "has_K_minus_1": max(errors) <= 10 * scale,
            "to_vector": max(apart) if apart else None,
        }
    ]


def hidden(row: Row) -> bool:
    """Whether the sign of δ is not in the b places that were read."""
    return row["delta"] / 2 < 2.0 ** (-row["bits"] - 1)


# -- claims -------------------------------------------------------------------------------------------------------


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    found: list[Claim] = []
    for K in values_of(rows, "digits"):
        mine = select(rows, digits=K)
        lost = [row for row in mine if hidden(row)]
        right = float(sum(row["has_K"] for row in lost)) if lost else None
        found.append(
            within(f"theorem (embedded), K = {K}, δ rounded away: answers with K digits on both signs", 0.0, right, 0.0)
        )
        share = float(np.mean([row["has_K_minus_1"] for row in mine]))
        found.append(within(f"theorem (embedded), K = {K}: share of answers with K − 1 digits", 1.0, share, 0.0))
        seen = [row for row in select(mine, method="minimiser") if row["delta"] >= 1e-6 and not hidden(row)]
        share = float(np.mean([row["has_K"] for row in seen])) if seen else None
        found.append(within(f"measurement, K = {K}, |δ| ≥ 10⁻⁶: share of minimisers with K digits", 1.0, share, 0.0))
    network = select(rows, method="network")
    apart = column([row for row in network if row["status"] == "converged"], "to_vector")
    label = "measurement: network’s end and the vector’s limit of the same α, largest distance over y"
    found.append(at_most(label, float(apart.max()) if apart.size else None, 0.05))
    return found


STUDY = Study(
    summary="hardness of the nuclear norm: K digits are out of reach with inputs of b bits, and K − 1 are not",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)
