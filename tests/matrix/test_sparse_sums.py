"""Sparse times dense in the kernels: every width of vectors, rows without entries, against dense products."""

from __future__ import annotations

import numpy as np
import pytest

from dlntorch.matrix.sparse_sums import sparse_product


@pytest.mark.parametrize("width", [1, 3, 7, 8, 11, 16, 23, 31, 32, 60, 65])
def test_it_is_the_dense_product(width):
    rng = np.random.default_rng(width)
    S = rng.standard_normal((9, 14)) * (rng.random((9, 14)) < 0.4)
    S[4] = 0.0
    rows, columns = (np.ascontiguousarray(found) for found in np.nonzero(S))
    begins = np.searchsorted(rows, np.arange(10))
    B, out = rng.standard_normal((14, width)), np.full(9 * width, np.nan)
    sparse_product(S[rows, columns], columns, begins, B.ravel(), width, out)
    assert out.reshape(9, width) == pytest.approx(S @ B, abs=1e-13)
