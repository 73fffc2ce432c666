"""Steps of the fused engine at 50 × 200 with and without the certificate; ``certificate_table`` prints their ratio."""

from __future__ import annotations

import pytest

from dlntorch.optim.step_size import make_schedule
from tests import problems
from tests.benchmarks.certificate_table import new_run


@pytest.mark.parametrize("certified", [False, True])
def test_steps(benchmark, certified: bool) -> None:
    run = new_run(problems.gaussian(50, 200, 0), 3, 1e-2, make_schedule(), certified, tol=0)
    run.engine.advance(10)
    benchmark.pedantic(run.engine.advance, args=(200,), rounds=5)
    assert run.progress.step == 10 + 200 * (5 if benchmark.enabled else 1)
    if certified:
        assert run.engine.certificate is not None
        assert run.engine.certificate.steps == run.progress.step
