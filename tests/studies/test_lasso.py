"""Lasso: verdicts."""

from __future__ import annotations

import pytest

from dlntorch.numerics.validation import InputError
from dlntorch.studies import load_study, study_settings
from dlntorch.studies.base import select


@pytest.fixture(scope="module")
def result(small):
    pytest.importorskip("sklearn")
    return small("lasso")


def test_the_verdicts(result, confirmed):
    confirmed(result)
    paths = select(result.rows, kind="path")
    assert any(row["monotone"] for row in paths)
    assert any(row["gap"] > 1e-3 for row in paths)


def test_settings_that_cannot_be_run_are_refused():
    with pytest.raises(InputError) as said:
        load_study("lasso").points(study_settings("lasso", small=True, changes={"m": 12}))
    assert str(said.value) == "study.m must be < study.n, got 12 and 10"
