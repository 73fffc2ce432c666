"""Running a study's small version once for all tests of its module."""

from __future__ import annotations

import pytest

from dlntorch.studies import StudyResult, Verdict, run_study


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """``small("figure1")`` runs the small version, in this process."""

    def run(name: str, **changes) -> StudyResult:
        return run_study(name, tmp_path_factory.mktemp(name), small=True, changes=changes)

    return run


@pytest.fixture
def confirmed():
    """``confirmed(result)`` fails with the claims that are not confirmed."""

    def check(result: StudyResult) -> None:
        assert result.claims
        bad = [claim for claim in result.claims if claim.verdict is not Verdict.CONFIRMED]
        assert not bad

    return check
