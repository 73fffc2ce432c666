"""budget.initialization where float64 has lost the difference of the limit and W_p."""

from __future__ import annotations

import mpmath as mp
import pytest
import torch

import dlntorch as dln
from dlntorch.limit.multiprecision import limit_mp
from dlntorch.run.initialization_error import initialization_difference
from dlntorch.run.references import compute_references
from tests import problems


def exact_distance(p: float, alpha: float) -> float:
    """‖ψ_α(∞) − W_p‖₂ of the paper's line, in 60 digits beyond its size."""
    with mp.workdps(150):
        ratio = mp.mpf(3) ** (mp.mpf(2) / p) / (mp.mpf(2) ** (mp.mpf(2) / p) + 1)
        t = 1 / (1 + ratio ** (-mp.mpf(p) / (p - 2)))
        psi = limit_mp(*problems.LINE, p, alpha, dps=100).psi
        return float(mp.sqrt(mp.fsum((x - w) ** 2 for x, w in zip(psi, (1 - t, 2 * (1 - t), 3 * t), strict=True))))


@pytest.mark.parametrize(("p", "alpha"), [(3, 1e-2), (3, 1e-6), (4, 1e-3), (4, 1e-4), (6, 1e-2), (6, 1e-4)])
def test_on_a_face_it_is_the_distance_and_not_its_rounding(p, alpha):
    references = compute_references(problems.line(), p, alpha)
    difference, reason = initialization_difference(references, dln.Power(p), alpha)
    assert difference is not None
    assert reason == ""
    assert float(torch.linalg.vector_norm(difference)) == pytest.approx(exact_distance(p, alpha), rel=2e-3)


def test_where_both_vectors_have_the_digits_it_is_their_difference():
    problem = problems.gaussian(5, 12, 1)
    for p, alpha in ((2, 1e-2), (3, 1e-2)):
        references = compute_references(problem, p, alpha)
        difference, _ = initialization_difference(references, dln.Power(p), alpha)
        assert torch.equal(difference, references.limit.psi - references.selected.psi)


def test_what_cannot_be_told_is_none_with_a_reason():
    """The line with ten times the limit's uncertainty, and nothing known of the rate."""
    references = compute_references(problems.line(), 6, 1e-4)
    references.rate = None
    difference, reason = initialization_difference(references, dln.Power(6), 1e-4)
    assert difference is None
    assert "float64 does not resolve" in reason


def test_a_run_says_it():
    budget = dln.train(problems.line(), 6, 1e-3, max_steps=5).summary["budget"]
    assert budget["initialization"] == pytest.approx(exact_distance(6, 1e-3), rel=1e-3)
    assert budget["dominant"] == "finite_time"
