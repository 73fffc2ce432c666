"""Speed of the limit: the paper's Figure 1 grid against integrators, one large sparse problem, a batch.

Run with ``--benchmark-enable`` for timings, ``-m slow`` for the tables against LSODA and Radau; what is asserted is accuracy.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dlntorch.limit import batch as limit_batch
from dlntorch.limit.flow_limit import flow_limit
from dlntorch.numerics.trajectory import Status
from tests import problems
from tests.benchmarks.figure1_limit import DEPTHS, POWERS, compare, integrate, table


def figure1_sweeps():
    return [
        flow_limit(make(), p, [power ** (1 / p) for power in POWERS])
        for make in (problems.line, problems.plane, problems.paper_random)
        for p in DEPTHS
    ]


def test_figure1_grid(benchmark):
    limits = benchmark(figure1_sweeps)
    assert len(limits) == 12
    assert all(status is Status.CONVERGED for limit in limits for status in limit.status)
    assert max(float(limit.residual.max()) for limit in limits) <= 1e-14


@pytest.mark.slow
def test_a_part_of_the_grid_against_lsoda(capsys):
    """The grid's easier half for LSODA; the whole grid gives a larger ratio of times."""
    tallies = compare(("LSODA",), depths=(2.5, 4.0), powers=(1.0, 1e-2, 1e-4))
    with capsys.disabled():
        print("\n" + table(tallies))
    assert tallies["LSODA"].points == 18
    assert tallies["LSODA"].worst <= 1e-5  # LSODA's own error at rtol 1e-12: Radau's is below


@pytest.mark.slow
def test_whole_grid_against_lsoda_and_radau(capsys):
    tallies = compare(("LSODA", "Radau"))
    with capsys.disabled():
        print("\n" + table(tallies))
    assert tallies["Radau"].worst <= 2e-7  # Radau's own error at this atol, see below


@pytest.mark.slow
@pytest.mark.parametrize("make", [problems.line, problems.plane, problems.paper_random])
@pytest.mark.parametrize("p", DEPTHS)
def test_agreement_with_radau_at_its_best(make, p):
    """1e-9 at the smallest α of the grid, the hardest."""
    alpha = POWERS[-1] ** (1 / p)
    psi = integrate(make(), p, alpha, "Radau", atol=5e-15)
    assert np.max(np.abs(psi - flow_limit(make(), p, alpha).psi.numpy())) <= 1e-9


@pytest.mark.slow
def test_two_hundred_by_a_thousand(benchmark):
    """30 nonzeros, p = 4, α^p = 1e-12, from scratch."""
    problem = problems.gaussian(200, 1000, seed=0, nonzeros=30)
    assert problem.rank == 200  # the problem's singular values are its own, computed once
    limit = benchmark(flow_limit, problem, 4.0, 1e-3)
    assert limit.status is Status.CONVERGED
    assert float(limit.residual) <= 1e-14
    assert np.max(np.abs((limit.psi - problem.truth).numpy())) <= 1e-9


def test_batch_of_small_problems(benchmark):
    batch = [problems.gaussian(5, 12, seed) for seed in range(50)]
    limit = benchmark(flow_limit, batch, 3.0, [1e-1, 1e-2, 1e-3])
    assert limit.psi.shape == (50, 3, 12)


@pytest.mark.parametrize("route", ["loop", "batched"])
@pytest.mark.parametrize(("count", "m", "n"), [(1024, 5, 12), (64, 10, 30)])
def test_both_routes_of_a_batch(benchmark, route, count, m, n):
    """The compiled loop over problems beside the batched path: what ``limit_batch.pays`` was set by."""
    count = count if benchmark.enabled else 4
    batch = [problems.gaussian(m, n, seed) for seed in range(count)]
    alphas = np.array([1e-1, 1e-2, 1e-3])
    work = {
        "loop": lambda: [flow_limit(problem, 3.0, alphas) for problem in batch],
        "batched": lambda: limit_batch.limits(batch, 3.0, alphas[:, None], False, torch.device("cpu")),
    }
    found = benchmark(work[route])
    residuals = [limit.residual for limit in found] if route == "loop" else [found.residual]
    assert max(float(residual.max()) for residual in residuals) <= 1e-14
