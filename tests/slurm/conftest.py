"""A SLURM cluster of this machine alone, for the tests that ask for one."""

from __future__ import annotations

import pytest

from tests.slurm.cluster import Cluster, install, why_not


@pytest.fixture(scope="module")
def cluster():
    reason = why_not() or install()
    if reason:
        pytest.skip(reason)
    started = Cluster()
    try:
        try:
            started.start()
        except (RuntimeError, OSError) as error:  # a container may not let the daemons run
            pytest.skip(f"SLURM does not start here: {error}")
        yield started
    finally:
        started.stop()
