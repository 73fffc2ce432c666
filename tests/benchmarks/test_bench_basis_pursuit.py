"""Speed of dln.basis_pursuit, and its ratio to other solvers measured side by side (``basis_pursuit_table.py``)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from threadpoolctl import threadpool_limits

from dlntorch.numerics.trajectory import Status
from dlntorch.reference.basis_pursuit import basis_pursuit
from tests.benchmarks.basis_pursuit_table import CASES, GAP, measure
from tests.problems import gaussian


@pytest.mark.parametrize("case", CASES["small"] + CASES["large"], ids=str)
def test_basis_pursuit_speed(benchmark: Any, case: tuple[int, int, int | None]) -> None:
    m, n, nonzeros = case
    problem = gaussian(m, n, seed=0, nonzeros=nonzeros)
    with threadpool_limits(1):
        r = benchmark(basis_pursuit, problem.A, problem.y, tol=GAP)
    assert r.status is Status.CONVERGED
    assert r.is_vertex
    assert abs(float(r.gap)) <= 1e-11
    assert float(r.primal_residual) <= 1e-14
    assert int(r.support.sum()) == (m if nonzeros is None else nonzeros)


@pytest.mark.parametrize("together", [True, False])
def test_a_batch_of_small_problems(benchmark: Any, together: bool) -> None:
    """256 of 10×30: one path for all, beside one problem after the other."""
    problems = [gaussian(10, 30, seed) for seed in range(256 if benchmark.enabled else 16)]
    A, y = torch.stack([q.A for q in problems]), torch.stack([q.y for q in problems])

    def one_by_one() -> list[Any]:
        return [basis_pursuit(a, b) for a, b in zip(A, y, strict=True)]

    with threadpool_limits(1):
        found = benchmark((lambda: [basis_pursuit(A, y)]) if together else one_by_one)
    assert max(float(r.gap.max()) for r in found) <= 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES["small"] + CASES["large"], ids=str)
def test_the_general_solvers_agree(case: tuple[int, int, int | None]) -> None:
    pytest.importorskip("cvxpy")
    m, n, nonzeros = case
    result, rows = measure(m, n, nonzeros, rounds=1, solvers=("highs", "highs-ipm", "clarabel"))
    for row in rows.values():
        assert row.value == pytest.approx(float(result.value), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("case", [c for cases in CASES.values() for c in cases if c[2] is not None], ids=str)
def test_spgl1_agrees(case: tuple[int, int, int | None]) -> None:
    pytest.importorskip("spgl1")
    m, n, nonzeros = case
    result, rows = measure(m, n, nonzeros, rounds=5, solvers=("spgl1",))
    assert rows["spgl1"].value == pytest.approx(float(result.value), rel=1e-8)
