"""What was asked of the flow, the certificate and ``schedule=certified``, in full; ``certificate_table`` prints it."""

from __future__ import annotations

import pytest

from tests.benchmarks import certificate_table as table
from tests.benchmarks.certificate_table import ALPHAS, DEPTHS, Ask

pytestmark = pytest.mark.slow


def check(asks: list[Ask]) -> None:
    """Every line is met, or its measured text is the failure's message."""
    for ask in asks:
        assert ask.met, f"{ask.what}: asked {ask.asked}, measured {ask.measured}"


@pytest.mark.parametrize("p", DEPTHS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_two_coordinate_systems_and_the_limit_agree(p: float, alpha: float) -> None:
    for problem in table.flow_problems():
        gaps = table.flow_gaps(problem, p, alpha)
        assert gaps.dual_end <= 1e-8, gaps
        assert gaps.worst <= gaps.reachable, gaps  # above 1e-8 in two of sixty cases


def test_evaluations() -> None:
    check(list(table.evaluations()))


def test_three_hundred_bounds() -> None:
    """Always a bound; finite in at least 99 %; at the end at most 1.5 times the truth in the median."""
    check(list(table.bounds(300)))


def test_three_hundred_certified_runs() -> None:
    check(list(table.certified(300)))


def test_the_discretization_error_is_of_first_order() -> None:
    check(list(table.slope()))
