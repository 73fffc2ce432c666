"""No change of the code changes a run: to the bit on the processor that froze the fleet, to rounding on others."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fleet.fleet import FLEET, frozen, processor


@pytest.mark.parametrize("name", FLEET)
def test_a_run_is_what_it_was(name):
    where, before = frozen()
    theta = FLEET[name]()
    if where == processor():
        np.testing.assert_array_equal(theta, before[name])
    rtol = 1e-3 if theta.dtype == np.float32 else 1e-6  # thousands of steps carry another order of summation on
    np.testing.assert_allclose(theta, before[name], rtol=rtol, atol=0)
