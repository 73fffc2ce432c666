"""Rank deficiency: verdicts, and the pair of the study against the package's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dlntorch.numerics.validation import InputError
from dlntorch.problem.synthetic import rank_deficient
from dlntorch.studies import Verdict
from dlntorch.studies.base import select
from dlntorch.studies.rank import equivalent_pair

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def result(small):
    return small("rank")


def test_the_verdicts(result, confirmed):
    confirmed(result)
    assert sum("slope" in claim.claim for claim in result.claims) == 2
    assert sum("residual of the limit" in claim.claim for claim in result.claims) == 2


def test_the_limit_does_not_see_the_distance(result):
    for p in (2, 3):
        near, far = (select(result.rows, method="limit", p=p, distance=d) for d in (0, 1))
        for one, other in zip(near, far, strict=True):
            assert other["error"] == pytest.approx(one["error"], rel=1e-6, abs=1e-13)


def test_the_pair_has_the_row_space_and_the_projection():
    problem = rank_deficient(m=6, n=12, rank=4, inconsistent=1.0, seed=2)
    pair = equivalent_pair(problem)
    assert (pair.m, pair.rank) == (4, 4)
    both = torch.cat([pair.A, problem.A])
    assert int(torch.linalg.matrix_rank(both)) == 4
    psi = torch.linalg.pinv(pair.A) @ pair.y  # least squares of the pair is least squares of the rows
    assert np.allclose(psi, torch.linalg.pinv(problem.A) @ problem.y, atol=1e-12)


def test_a_wrong_prediction_is_not_confirmed(result):
    """The verdicts depend on the numbers: with another network's distances they fail."""
    from dlntorch.studies import load_study

    rows = [{**row, "error": 1.1 * row["error"]} if "error" in row else row for row in result.rows]
    verdicts = [c.verdict for c in load_study("rank").claims(rows, result.settings) if "‖ψ − Wₚ(Ã, ỹ)‖ at" in c.claim]
    assert Verdict.NOT_CONFIRMED in verdicts


def test_the_rank_must_be_deficient(small):
    with pytest.raises(InputError, match="study.rank must be < study.m <= study.n, got 6, 6, 12"):
        small("rank", rank=6)
