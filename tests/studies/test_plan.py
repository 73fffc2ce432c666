"""Plan: verdicts."""

from __future__ import annotations

import pytest

from dlntorch.studies import load_study, study_settings


@pytest.fixture(scope="module")
def result(small):
    return small("plan")


@pytest.mark.slow
def test_the_verdicts(result, confirmed):
    confirmed(result)
    assert sum(row["run"] for row in result.rows) >= 4


def test_problems_can_be_others_than_those_the_plan_was_tuned_on():
    study = load_study("plan")
    seeds = [point["seed"] for point in study.points(study_settings("plan", changes={"first": 5312000, "seeds": 3}))]
    assert seeds == [5312000, 5312001, 5312002]
