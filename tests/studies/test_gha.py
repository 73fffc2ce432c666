"""Hardness: verdicts, the rounding of the input, and that an exact algorithm with more bits has the digits."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlntorch.numerics.validation import InputError
from dlntorch.studies import Verdict
from dlntorch.studies.base import select
from dlntorch.studies.gha import _minimiser, _read, _round, rounded_away

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def result(small):
    return small("gha")


def test_the_verdicts(result, confirmed):
    confirmed(result)
    assert len(result.claims) == 4 * 2 + 1 + 2 * (3 + 2)


@given(st.floats(1e-6, 4), st.integers(8, 52))
def test_rounding_is_to_the_nearest_number_of_so_many_bits(x, bits):
    found = _round(x, bits)
    exponent = math.frexp(x)[1]
    assert Fraction(found) / Fraction(2) ** (exponent - bits) % 1 == 0
    assert abs(Fraction(found) - Fraction(x)) <= Fraction(2) ** (exponent - bits) / 2


@given(st.floats(1e-16, 0.4), st.integers(8, 50))
def test_what_is_rounded_away(delta, bits):
    same = bool((_read(delta, 3, bits).A == _read(-delta, 3, bits).A).all())
    if rounded_away(delta, bits):
        assert same
    if delta > 2.0 ** (1 - bits):
        assert not same


@pytest.mark.parametrize("K", [1, 3, 6])
@pytest.mark.parametrize("delta", [1e-1, 1e-8, 1e-15])
def test_the_candidates_are_apart(K, delta):
    first, second = _minimiser(delta, K), _minimiser(-delta, K)
    assert np.linalg.norm(first - second) >= 2 * 10.0**-K
    middle = (first + second) / 2
    assert max(np.linalg.norm(middle - first), np.linalg.norm(middle - second)) <= 1.1 * 10.0**-K


def test_more_bits_move_the_transition(small):
    """The same δ = 1e-10 is out of reach of 20 bits and not of 40."""
    for bits, expected in ((20, False), (40, True)):
        rows = small("gha", bits=bits, digits=[3], run_deltas=[1e-2], smallest_delta=10, power_step=10).rows
        found = [row["has_K"] for row in select(rows, method="limit", delta=1e-10)]
        assert found
        assert set(found) == {expected}


def test_depth_must_be_above_two(small):
    with pytest.raises(InputError, match="study.p must be"):
        small("gha", p=2)


def test_where_no_delta_is_rounded_away_nothing_is_decided_about_it(small):
    found = small("gha", smallest_delta=5, run_deltas=[0.1], digits=[1])
    undecided = [claim.claim for claim in found.claims if claim.verdict is Verdict.UNDECIDED]
    assert len(undecided) == 2
    assert "no such δ" in undecided[0]
    assert "most favourable α" in undecided[1]
    assert found.count(Verdict.NOT_CONFIRMED) == 0
