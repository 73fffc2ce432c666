"""Work spread over forked processes: the same results in the same order, whatever becomes of a child."""

from __future__ import annotations

import os

import numpy as np
import pytest

from dlntorch.experiment.forked import forked
from dlntorch.validation import InputError


@pytest.mark.parametrize("processes", [None, 1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_results_come_in_order(count, processes):
    found = forked(lambda i: (i, np.full(1000, float(i))), count, processes)
    assert [number for number, _ in found] == list(range(count))
    assert all(np.array_equal(array, np.full(1000, float(i))) for i, (_, array) in enumerate(found))


def test_children_do_the_work():
    if not hasattr(os, "fork"):
        pytest.skip("nothing is forked here")
    processes = forked(lambda i: os.getpid(), 6, 3)
    assert len(set(processes)) == 3
    assert processes[:3] == processes[3:]


def test_what_a_child_cannot_do_is_done_here():
    here = os.getpid()

    def work(i):
        if os.getpid() != here and i == 1:
            os._exit(7)
        return i

    assert forked(work, 4, 2) == [0, 1, 2, 3]
    assert forked(lambda i: lambda: i, 4, 2)[3]() == 3  # it cannot be pickled


def test_an_error_is_raised_here():
    def work(i):
        if i == 3:
            raise InputError("alpha must be > 0, got -1")
        return i

    with pytest.raises(InputError, match="alpha must be > 0, got -1"):
        forked(work, 4, 2)
    with pytest.raises(ChildProcessError):  # nobody is left behind
        os.waitpid(-1, os.WNOHANG)
