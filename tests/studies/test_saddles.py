"""Saddles: verdicts, and the path of a problem that decouples, in closed form."""

from __future__ import annotations

import math

import pytest

from dlntorch.numerics.validation import InputError
from dlntorch.studies import load_study, saddles, study_settings


@pytest.fixture(scope="module")
def result(small):
    return small("saddles")


def test_the_verdicts(result, confirmed):
    confirmed(result)
    for p in (2, 3):
        assert sum(claim.claim.startswith(f"p = {p}: rescaled time of jump") for claim in result.claims) == 5


def test_at_depth_two_jumps_are_early_by_one_over_the_logarithm():
    """(predicted/measured − 1)·log(1/α) has a limit: the same number at α² = 1e-60 and 1e-200, jump by jump."""
    early = []
    for power in (1e-60, 1e-200):
        rows = saddles.compute({"p": 2.0, "power": power, "m": 4, "n": 10, "seed": 3, "times": 6000})
        jumps = [row for row in rows if row["kind"] == "saddle" and row["jump"] is not None]
        assert len(jumps) == 5
        early.append([(row["start"] / row["jump"] - 1) * math.log(power**-0.5) for row in jumps])
    assert early[0] == pytest.approx(early[1], abs=0.25)
    assert 1 < early[0][0] < 1.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"m": 12}, "study.m must be < study.n, got 12 and 10"),
        ({"depths": [2, 2]}, "study.depths must be different numbers, got [2, 2]"),
        ({"powers": [1e-09]}, "study.powers must have one entry for each of the 2 depths, got 1"),
    ],
)
def test_settings_that_cannot_be_run_are_refused(changes, message):
    with pytest.raises(InputError) as said:
        load_study("saddles").points(study_settings("saddles", small=True, changes=changes))
    assert str(said.value) == message
