"""Which columns are the same floats up to sign."""

from __future__ import annotations

import numpy as np

from dlntorch.problem.equal_columns import EqualColumns


def test_groups_signs_zeros_and_columns_of_equal_sums() -> None:
    a, b = np.array([1.0, -2.0, 0.5]), np.array([0.0, 3.0, 1.0])
    near = a.copy()
    near[0] = np.nextafter(1.0, 2.0)
    equal = EqualColumns.of(np.column_stack([a, b, -a, near, 0 * a, a, -0.0 * b, -b]))
    assert equal.some
    assert equal.first.tolist() == [0, 1, 0, 3, 4, 0, 4, 1]
    assert equal.sign[[0, 1, 2, 3, 5, 7]].tolist() == [1, 1, -1, 1, 1, -1]
    mean = equal.mean(np.array([3.0, 1.0, -1.0, 7.0, 0.0, 2.0, 0.0, -2.0]))
    assert mean.tolist() == [2.0, 1.5, -2.0, 7.0, 0.0, 2.0, 0.0, -1.5]


def test_a_key_keeps_columns_apart() -> None:
    A = np.ones((2, 4))
    assert EqualColumns.of(A, np.array([0.0, 1.0, 0.0, 1.0])).first.tolist() == [0, 1, 0, 1]


def test_all_repeats_are_found_in_large_matrices_of_few_values() -> None:
    rng = np.random.default_rng(0)
    A = rng.integers(-1, 2, (4, 300)).astype(float)
    equal = EqualColumns.of(A)
    assert np.array_equal(A, equal.sign * A[:, equal.first])
    lines = {max(tuple(column), tuple(-column)) for column in A.T + 0.0}
    assert len(set(equal.first.tolist())) == len(lines)


def test_distinct_columns_are_left_alone() -> None:
    x = np.arange(3.0)
    equal = EqualColumns.of(np.eye(3))
    assert not equal.some
    assert equal.mean(x) is x
