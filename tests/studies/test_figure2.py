"""Figure 2: verdicts; kinks and curves against the closed form of the one-row problem."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq

from dlntorch.studies import Verdict
from dlntorch.studies.base import select
from dlntorch.studies.figure2 import kinks_of


@pytest.fixture(scope="module")
def result(small):
    return small("figure2")


def test_the_verdicts(result, confirmed):
    confirmed(result)
    assert sum("exponent of ε" in claim.claim for claim in result.claims) == 2


def closed_form(p: float, eps: float, a: float) -> tuple[float, float]:
    """ψ by bisection on the one dual number λ, with h_p written out."""
    k = p / (p - 2)

    def h(tau):
        return (1 - tau) ** -k - (1 + tau) ** -k

    def excess(lam):
        return a * (h(lam) + (1 - eps) * h((1 - eps) * lam)) - 1

    lam = brentq(excess, 0, 1 - 1e-13, xtol=1e-16)
    return a * h(lam), a * h((1 - eps) * lam)


def test_distances_and_kinks_against_bisection(result):
    for row in [row for row in result.rows if row.get("power") is not None and row["power"] >= 1e-4][::3]:
        first, second = closed_form(row["p"], row["eps"], row["power"])
        assert row["distance"] == pytest.approx(np.hypot(1 - first, second), rel=1e-6)
    for row in kinks_of(result.rows):
        first, second = closed_form(row["p"], row["eps"], row["kink"])
        assert first == pytest.approx(2 * second, rel=1e-5)


def test_the_curves_do_not_wiggle(result):
    for p in (3, 4):
        for eps in (0.1, 0.01):
            distances = [row["distance"] for row in select(result.rows, p=p, eps=eps) if "power" in row]
            assert np.all(np.diff(distances) < 0)


def test_without_a_kink_that_is_small_enough_nothing_is_decided(small):
    found = small("figure2", depths=[12], eps=[0.1], kink_eps=[0.01])
    undecided = [claim for claim in found.claims if claim.verdict is Verdict.UNDECIDED]
    assert ["worst of 0 ε" in claim.claim or "exponent of ε" in claim.claim for claim in undecided] == [True, True]
    assert {claim.measured for claim in undecided} == {None}
