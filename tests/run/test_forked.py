"""Work spread over forked processes: the same results in the same order, whatever becomes of a child."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dlntorch.numerics.validation import InputError
from dlntorch.run.forked import forked


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("processes", [None, 1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_results_come_in_order(count, processes):
    found = forked(lambda i: (i, np.full(1000, float(i))), count, processes)
    assert [number for number, _ in found] == list(range(count))
    assert all(np.array_equal(array, np.full(1000, float(i))) for i, (_, array) in enumerate(found))


def test_nothing_is_forked_where_torch_has_threads():
    """A child has none of them, and would wait for them for ever."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        x = torch.ones(2_000_000, dtype=torch.float64)
        here = os.getpid()
        assert forked(lambda i: ((x * x).sum().item(), os.getpid()), 4, 2) == [(2e6, here)] * 4
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(sys.platform != "linux", reason="work is forked on Linux only, and done in one process elsewhere")
def test_children_do_the_work():
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


@pytest.mark.skipif(sys.platform != "linux", reason="work is forked on Linux only, and /proc tells the children")
def test_an_error_is_raised_here_and_nobody_is_left_behind():
    def work(i):
        if i == 3:
            raise InputError("alpha must be > 0, got -1")
        return i

    before = children()
    with pytest.raises(InputError, match="alpha must be > 0, got -1"):
        forked(work, 4, 2)
    assert children() == before


def children() -> str:
    """The processes that this one has started and not yet seen off."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()
