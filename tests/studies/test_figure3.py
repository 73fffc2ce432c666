"""Figure 3: the identities between q_p, g_p and h_p, and curves with the values known in closed form."""

from __future__ import annotations

import math

import pytest

from dlntorch.studies.base import select


@pytest.fixture(scope="module")
def result(small):
    return small("figure3")


def test_the_verdicts(result, confirmed):
    confirmed(result)
    assert len(result.claims) == 7


def test_the_curves(result):
    for row in select(result.rows, curve="h", p=2):
        assert row["value"] == pytest.approx(2 * math.sinh(row["x"]), rel=1e-12, abs=1e-12)
    for row in select(result.rows, curve="h", p=3):
        tau = row["x"]
        assert row["value"] == pytest.approx((1 - tau) ** -3 - (1 + tau) ** -3, rel=1e-9, abs=1e-12)
    for row in select(result.rows, curve="g", p=2):
        size = abs(row["x"])
        assert row["value"] == pytest.approx(size * math.log(size / math.e) if size else 0, rel=1e-12, abs=1e-12)
