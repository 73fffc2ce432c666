"""Aligned arrays hold what they are given, wherever that begins."""

from __future__ import annotations

import numpy as np
import pytest

from dlntorch.numerics.aligned import aligned_copy, aligned_empty


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1,), (2, 7), (3, 200), (0, 4)])
def test_a_copy_begins_at_a_line_and_is_equal(shape, kind):
    for shift in range(1, 9):
        room = np.arange(int(np.prod(shape)) + 9, dtype=kind)
        given = room[shift : shift + int(np.prod(shape))].reshape(shape)
        found = aligned_copy(given)
        assert found.ctypes.data % 64 == 0 or found.size == 0
        assert found.flags.c_contiguous
        assert found.dtype == kind
        np.testing.assert_array_equal(found, given)
        assert aligned_copy(found) is found


def test_what_is_not_contiguous_is_copied_and_what_is_large_is_not():
    transposed = np.arange(12.0).reshape(3, 4).T
    np.testing.assert_array_equal(aligned_copy(transposed), transposed)
    assert aligned_copy(transposed).flags.c_contiguous
    room = np.zeros((1 << 21) + 2)
    large = next(room[i : i + (1 << 21) + 1] for i in range(2) if room[i:].ctypes.data % 64)
    assert aligned_copy(large) is large


def test_an_empty_one_has_its_shape_and_can_be_written():
    found = aligned_empty((2, 3), np.dtype(np.float64))
    found[...] = 1.0
    assert found.shape == (2, 3)
    assert found.sum() == 6.0
