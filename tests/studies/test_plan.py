"""Plan: verdicts."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def result(small):
    return small("plan")


@pytest.mark.slow
def test_the_verdicts(result, confirmed):
    confirmed(result)
    assert sum(row["run"] for row in result.rows) >= 4
