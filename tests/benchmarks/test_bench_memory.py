"""Peak memory of a run on a dense A, at a size that a test can afford; see ``python -m tests.benchmarks.large_dense``."""

from __future__ import annotations

import pytest

from tests.benchmarks.large_dense import ASK, measure


@pytest.mark.slow
def test_a_run_on_a_large_matrix_needs_little_more_than_the_matrix() -> None:
    found = measure(600, 150_000, 3)
    assert found["ratio"] <= ASK
    assert found["summary"]["distance_to_l1"] is None
    assert "entries" in found["summary"]["distance_to_l1_reason"]
