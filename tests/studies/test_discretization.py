"""Discretization: verdicts, and one error from the formula of the flow on its own."""

from __future__ import annotations

import numpy as np
import pytest

from dlntorch.problem.paper import random
from dlntorch.run import train
from dlntorch.studies.base import pick, select
from dlntorch.studies.measure import local_slopes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def result(small):
    return small("discretization")


def test_the_verdicts(result, confirmed):
    confirmed(result)
    assert sum("slope" in claim.claim for claim in result.claims) == 2


def test_an_error_by_extrapolating_descent(result):
    """The flow as the limit of descent itself: twice a run of half the step, minus the run (Richardson)."""
    row = pick(result.rows, kind="run", problem="random", p=3, kappa=1e-3)
    alpha = row["power"] ** (1 / 3)
    ends = []
    for part in (1, 2, 4):
        count = 2000 * part
        run = train(random(), 3, alpha, "constant", eta=row["time"] / count, max_steps=count, tol=0, references=False)
        ends.append(np.concatenate([run.theta_plus, run.theta_minus]))
    first, second = 2 * ends[1] - ends[0], 2 * ends[2] - ends[1]
    flow = (4 * second - first) / 3
    run = train(
        random(), 3, alpha, kappa=row["kappa"], c=row["c"], tol=row["tol"], max_steps=row["max_steps"], references=False
    )
    assert run.summary["time"] == row["time"]
    error = np.linalg.norm(np.concatenate([run.theta_plus, run.theta_minus]) - flow)
    assert row["error"] == pytest.approx(error, rel=1e-3)


def test_the_theorem_is_first_order_too(result):
    """Its step size is proportional to ε, and so is the error then."""
    mine = sorted(select(result.rows, kind="theorem", p=3), key=lambda row: row["epsilon_bar"])
    assert all(row["error"] is not None for row in mine)
    x, y = (np.array([row[key] for row in mine]) for key in ("epsilon_bar", "error"))
    assert local_slopes(x, y)[1][0] == pytest.approx(1, abs=0.05)
