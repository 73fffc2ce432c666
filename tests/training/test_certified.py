"""When a certified run is repeated with smaller steps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dlntorch.bounds.certificate import Certificate
from dlntorch.engine import Stopping
from dlntorch.model.network import DiagonalLinearNetwork
from dlntorch.numerics.trajectory import Status
from dlntorch.optim.step_size import make_schedule
from dlntorch.training.certified import SAFETY, certified_bound, finer_steps
from dlntorch.training.descent import Descent
from tests.problems import gaussian


def run_out_of_steps(kappa: float) -> Descent:
    """A certified run that uses up its budget, far from its tolerance."""
    problem = gaussian(4, 9, 0)
    schedule = make_schedule("certified", epsilon=1.0, kappa=kappa)
    network = DiagonalLinearNetwork(problem.n, 3, 0.1)
    stopping = Stopping(tol=1e-12, max_steps=1500)
    descent = Descent(network, problem, schedule, stopping, certificate=Certificate(problem, 3, 0.1))
    while descent.advance() is None:
        pass
    assert descent.status is Status.MAX_STEPS
    return descent


@pytest.mark.parametrize(("asked", "repeated"), [(2.0, False), (0.5, True), (0.3, True), (0.1, False)])
def test_a_run_out_of_steps_is_repeated_where_it_missed_by_little(asked: float, repeated: bool) -> None:
    """With ε = ``asked`` times the bound that the run has proved."""
    descent = run_out_of_steps(0.01)
    schedule = descent.engine.schedule
    epsilon = asked * certified_bound(descent)
    descent.engine.schedule = replace(schedule, epsilon=epsilon)
    smaller = finer_steps(descent)
    assert (smaller is not None) is repeated
    if smaller is not None:
        assert smaller.kappa == pytest.approx(SAFETY * asked * schedule.kappa)
    while smaller is not None:  # each ends earlier, where there is less error: it comes to an end, mostly at once
        descent = run_out_of_steps(smaller.kappa)
        descent.engine.schedule = replace(descent.engine.schedule, epsilon=epsilon)
        smaller = finer_steps(descent)
    assert (certified_bound(descent) <= epsilon) is (asked > 0.1)
