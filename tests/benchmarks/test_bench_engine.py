"""Steps of the engines and of the BLAS floor with pytest-benchmark; ``engine_table`` prints ratios and verdicts.

python -m pytest tests/benchmarks/test_bench_engine.py --benchmark-enable
"""

from __future__ import annotations

import pytest
from threadpoolctl import threadpool_limits

from dlntorch.engine import Stopping
from dlntorch.model.network import DiagonalLinearNetwork
from dlntorch.optim.step_size import make_schedule
from dlntorch.training.descent import Descent
from dlntorch.training.ensemble import EnsembleDescent
from tests.benchmarks.engine_table import MEMBER, UPDATES, counted_floors, engine_loops, problem_of, update_loops

pytestmark = pytest.mark.slow

SHAPES = [
    pytest.param((10, 30), id="10x30"),
    pytest.param((50, 200), id="50x200"),
    pytest.param((500, 5000), id="500x5000", marks=pytest.mark.slow),
]
SECONDS = 0.01
LOOPS = (
    "fused",
    "fused, float32",
    "fused, p = 2",
    "fused, p = 2.7",
    "fused, p = 4",
    "fused, certificate",
    "eager",
    "autograd, bare loop + optim.SGD",
    "autograd through Lightning",
)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", LOOPS)
def test_steps(benchmark, shape: tuple[int, int], name: str) -> None:
    with threadpool_limits(limits=1):
        loop, count = engine_loops(problem_of(*shape), SECONDS)[name]
        benchmark.extra_info["steps"] = count
        benchmark(loop, count)


@pytest.mark.parametrize("name", ["SGD", *UPDATES])
def test_fused_updates(benchmark, name: str) -> None:
    with threadpool_limits(limits=1):
        loop, count = update_loops(problem_of(*MEMBER), 2, 10_000)[name]
        benchmark.extra_info["steps"] = count
        benchmark(loop, count)


@pytest.mark.parametrize("shape", SHAPES)
def test_blas_floor(benchmark, shape: tuple[int, int]) -> None:
    problem = problem_of(*shape)
    with threadpool_limits(limits=1):
        loop, count = counted_floors(problem, 100)["BLAS floor, OpenBLAS"]
        benchmark(loop, count)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_ensemble_of_sixteen(benchmark, threads: int) -> None:
    problem = problem_of(*MEMBER)

    def run() -> int:
        stopping = Stopping(tol=0, max_steps=2000)
        networks = [DiagonalLinearNetwork(problem.n, 3, 0.01 * (i + 1)) for i in range(16)]
        runs = [Descent(network, problem, make_schedule("relative"), stopping) for network in networks]
        ensemble = EnsembleDescent(runs, threads=threads)
        while ensemble.advance() is None:
            pass
        return ensemble.steps

    assert benchmark(run) == 32_000
