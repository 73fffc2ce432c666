"""Models of computation: verdicts, the families, and rounding to digits."""

from __future__ import annotations

from fractions import Fraction

import pytest

from dlntorch.numerics.validation import InputError
from dlntorch.reference.exact import exact_minimizer
from dlntorch.studies import Verdict
from dlntorch.studies.base import select
from dlntorch.studies.families import FAMILIES, enumerated, family, rounded_to_bits, rounded_to_digits
from tests.reference.brute_force import brute_force


@pytest.mark.slow
def test_the_verdicts(small, confirmed):
    result = small("models")
    confirmed(result)
    assert len(result.claims) == 6 * 2
    assert all(row["read"] is None for row in select(result.rows, model="oracle", sign=0))


def test_too_few_digits_leave_claims_undecided(small):
    found = small("models", families=["line"], smallest_delta=1, most_digits=2, digits=[2])
    undecided = [claim.claim for claim in found.claims if claim.verdict is Verdict.UNDECIDED]
    assert len(undecided) == 4
    assert found.count(Verdict.NOT_CONFIRMED) == 0


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_jumps_at_zero(name):
    ends = []
    for delta in (Fraction(1, 10**30), Fraction(-1, 10**30), Fraction(0)):
        A, y = family(name).at(delta)
        truth = brute_force(A, y)
        psi, unique = enumerated(A, y)
        assert tuple(psi) in truth.vertices
        assert unique is truth.unique is (delta != 0)
        ends.append(psi)
    assert max(abs(a - b) for a, b in zip(ends[0], ends[1], strict=True)) > Fraction(1, 100)


def test_rounding():
    assert rounded_to_digits(Fraction(1, 3), 4) == Fraction(3333, 10000)
    assert rounded_to_digits(1 - Fraction(4, 10**5), 4) == 1
    assert rounded_to_bits(Fraction(1, 3), 8) == Fraction(171, 512)
    assert rounded_to_bits(Fraction(-5, 1), 2) in (-4, -6)
    assert rounded_to_bits(Fraction(0), 8) == 0


def test_unknown_families_are_refused(small):
    with pytest.raises(InputError, match="study.families"):
        small("models", families=["dense"])


def test_the_scaled_family_has_scaled_minimisers():
    one, tenth = family("line"), family("line").scaled(Fraction(1, 10))
    delta = Fraction(1, 100)
    from dlntorch.problem import Problem

    big, less = (exact_minimizer(Problem.from_rationals(*f.at(delta))) for f in (one, tenth))
    assert [v / 10 for v in big.psi] == less.psi
