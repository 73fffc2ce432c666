"""The targets of ``python -m tests.fuzz`` on a bounded number of inputs."""

from __future__ import annotations

import pytest

from tests.fuzz.run import fuzz
from tests.fuzz.targets import TARGETS, prepare


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    prepare(folder)
    return folder


@pytest.mark.parametrize("name", TARGETS)
def test_hostile_input_is_read_or_refused_in_one_line(name, place):
    outcome = fuzz(name, 150, 1, place)
    assert not outcome.findings, str(outcome)
    assert 0 < outcome.refused < 150  # neither is everything refused, nor nothing
