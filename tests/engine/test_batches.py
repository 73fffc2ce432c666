"""The mini-batch stream: a function of seed and step, unbiased."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlntorch.engine.batches import RowBatches
from dlntorch.numerics.validation import InputError


@given(m=st.integers(1, 12), b=st.integers(1, 12), seed=st.integers(0, 99), cut=st.integers(0, 700))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_steps_do_not_depend_on_how_they_are_asked_for(m, b, seed, cut):
    b = min(b, m)
    whole = RowBatches(m, b, seed).rows(0, 700)
    stream = RowBatches(m, b, seed)
    parts = np.concatenate([stream.rows(cut, 700 - cut), stream.rows(0, cut)])
    assert np.array_equal(np.concatenate([whole[cut:], whole[:cut]]), parts)
    assert whole.shape == (700, b)


def test_an_epoch_shows_no_row_twice_and_every_row_equally_often_in_the_long_run():
    stream = RowBatches(5, 2, seed=1)
    rows = stream.rows(0, 2 * 4000)
    epochs = rows.reshape(4000, 4)
    assert all(len(set(epoch)) == 4 for epoch in epochs)
    share = np.bincount(rows.ravel(), minlength=5) / rows.size
    np.testing.assert_allclose(share, 0.2, atol=0.01)


def test_seeds_differ():
    assert not np.array_equal(RowBatches(9, 3, 0).rows(0, 9), RowBatches(9, 3, 1).rows(0, 9))


@pytest.mark.parametrize("b", [0, 6, 2.5])
def test_batch_size_is_between_one_and_m(b):
    with pytest.raises(InputError, match="batch_size must be an integer >= 1 and <= 5"):
        RowBatches(5, b, 0)
