"""The planted sparse problems that the papers share: Gaussian A, a truth of ±1 on a random support."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from dlntorch.limit.flow_limit import flow_limit
from dlntorch.model import Initialization
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError, check_count, check_number
from dlntorch.problem import Problem
from dlntorch.studies.base import Claim, Row, at_most

__all__ = [
    "block",
    "descents",
    "explained",
    "from_limit",
    "largest",
    "median",
    "planted",
    "seeds_of",
    "sizes",
    "truth_of",
]


def planted(m: int, n: int, nonzeros: int, seed: int) -> Problem:
    """A_ij ~ N(0, 1), as the papers have it: columns of norm about √m."""
    rng = np.random.default_rng([seed, m, n, nonzeros])
    truth = np.zeros(n)
    truth[rng.choice(n, nonzeros, replace=False)] = rng.choice([-1.0, 1.0], nonzeros)
    A = rng.standard_normal((m, n))
    return Problem(A, A @ truth, name="planted", truth=truth)


def truth_of(problem: Problem) -> np.ndarray:
    """The planted signal."""
    assert problem.truth is not None  # planted() sets it
    return problem.truth.numpy()


def block(settings: Any, paper: str) -> dict[str, Any]:
    """The settings of one paper."""
    chosen = settings[paper]
    if not isinstance(chosen, dict):
        raise InputError(f"study.{paper} must be a block of settings, got {chosen!r}")
    return dict(chosen)


def sizes(settings: dict[str, Any], paper: str) -> dict[str, int]:
    """m, n and nonzeros, checked."""
    found = {key: check_count(f"study.{paper}.{key}", settings[key], at_least=1) for key in ("m", "n", "nonzeros")}
    if not found["nonzeros"] <= found["n"] or not found["m"] < found["n"]:
        raise InputError(f"study.{paper}.n must be > m and >= nonzeros, got {found['n']}")
    return found


def descents(settings: dict[str, Any], paper: str) -> dict[str, Any]:
    """What every point of a paper that trains has: its name, sizes, α and budget of steps."""
    return {
        "paper": paper,
        **sizes(settings, paper),
        "alpha": check_number(f"study.{paper}.alpha", settings["alpha"], above=0),
        "max_steps": check_count(f"study.{paper}.max_steps", settings["max_steps"]),
    }


def from_limit(problem: Problem, psi: Tensor, start: Initialization) -> float | None:
    """‖ψ − flow limit of the start‖₂ for the run's own Aψ, of which the identity speaks; None where there is no limit.

    A start below the smallest float64, which a run that swings without end comes to, has none.
    """
    limit = flow_limit(Problem(problem.A, problem.A @ psi), 2, start)
    return float((psi - limit.psi).norm()) if limit.status is Status.CONVERGED else None


def explained(paper: str, rows: Sequence[Row]) -> Claim:
    """The identity of the effective initialization over all runs; the bound is the house's, no paper's."""
    known = sum(row.get("explained") is not None for row in rows)
    text = f"{paper}: ‖ψ − limit(α_eff)‖, largest of {known} runs (of {len(rows)}; bound ours)"
    return at_most(text, largest(rows, "explained"), 1e-8)


def median(rows: Sequence[Row], key: str) -> float | None:
    """Of the rows that have the number."""
    values = [row[key] for row in rows if row.get(key) is not None]
    return float(np.median(values)) if values else None


def seeds_of(settings: dict[str, Any], paper: str) -> range:
    """Seeds of the problems: ``seeds`` of them from ``seed`` on."""
    first = check_count(f"study.{paper}.seed", settings["seed"], at_least=0)
    return range(first, first + check_count(f"study.{paper}.seeds", settings["seeds"], at_least=1))


def largest(rows: Sequence[Row], key: str) -> float | None:
    """Of the rows that have the number."""
    values = [row[key] for row in rows if row.get(key) is not None]
    return float(np.max(values)) if values else None
