"""Saddles: verdicts, and the path of a problem that decouples, in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dlntorch.problem import Problem
from dlntorch.studies.saddles import saddle_path


@pytest.fixture(scope="module")
def result(small):
    return small("saddles")


def test_the_verdicts(result, confirmed):
    confirmed(result)
    assert sum("jump" in claim.claim for claim in result.claims) >= 3


def test_orthogonal_columns_jump_one_by_one_at_one_over_their_data():
    """A = (I 0): coordinate i switches on at 1/|y_i|, alone."""
    y = np.array([0.5, -2.0, 1.0])
    path = saddle_path(Problem(np.eye(3, 4), y))
    assert [plateau.start for plateau in path] == pytest.approx([0, 0.5, 1, 2])
    assert [plateau.loss for plateau in path] == pytest.approx([2.625, 0.625, 0.125, 0])
    assert math.isinf(path[-1].end)
    assert path[-1].psi == pytest.approx([0.5, -2.0, 1.0, 0.0])
