"""Recorded steps: logarithmic, a function of the step alone, bounded in memory."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlntorch.engine.base import Progress
from dlntorch.training.recorder import Recorder, next_recorded_step


@given(step=st.integers(0, 10**12))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_next_step_is_beyond_and_near_and_the_same_from_anywhere_between(step):
    after = next_recorded_step(step)
    assert step < after <= max(step + 1, 1.06 * step + 1)
    assert next_recorded_step(after - 1) == after


def test_every_step_at_first_then_a_fixed_number_for_each_factor_of_ten():
    grid = [0]
    while grid[-1] < 10**6:
        grid.append(next_recorded_step(grid[-1]))
    assert grid[:18] == list(range(18))
    assert sum(10**5 < s <= 10**6 for s in grid) == 40
    assert 10**6 in grid


def _at(step: int) -> Progress:
    return Progress(step=step, time=step / 7, eta=0.1)


def test_memory_is_bounded_and_the_last_snapshot_is_kept():
    recorder = Recorder(max_bytes=100 * 2 * 8 * 10)
    theta = torch.zeros(10, dtype=torch.float64)
    for step in range(1000):
        recorder.record(_at(step), (theta + step, theta))
    assert len(recorder.snapshots) <= 100
    assert recorder.snapshots[-1].step == 999
    assert recorder.snapshots[0].step == 0
    steps = recorder.column("step")
    assert np.all(np.diff(steps) > 0)
    np.testing.assert_array_equal(recorder.column("theta")[:, 0, 0], steps)


def test_snapshots_are_copies_and_survive_saving():
    recorder = Recorder()
    theta = torch.ones(3, dtype=torch.float64)
    recorder.record(_at(0), (theta, theta))
    recorder.record(_at(0), (theta, theta))  # the same step again replaces
    theta.mul_(2)
    recorder.record(_at(1), (theta, theta))
    other = Recorder()
    other.load_state_dict(recorder.state_dict())
    assert [s.step for s in other.snapshots] == [0, 1]
    assert other.snapshots[0].theta.tolist() == [[1.0] * 3] * 2
    assert other.snapshots[1].theta.tolist() == [[2.0] * 3] * 2
    assert other.due(2)
    assert not other.due(1)
