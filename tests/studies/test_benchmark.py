"""The benchmark study: its rows and claims are made of what it measured; how fast a machine is, no test asserts."""

from __future__ import annotations

import pytest

from dlntorch.numerics.validation import InputError
from dlntorch.report.study_figures.benchmark import charts
from dlntorch.studies import load_study, study_settings
from dlntorch.studies.base import pick, select
from dlntorch.studies.benchmark import claims
from dlntorch.studies.catalogue import studies_of_all, study_names


@pytest.fixture(scope="module")
def result(small):
    return small("benchmark")


def test_every_engine_is_timed_at_every_size(result):
    for m, n in result.settings["shapes"]:
        mine = select(result.rows, kind="engine", m=m, n=n)
        assert {row["engine"] for row in mine} >= {"fused", "eager", "autograd", "BLAS floor"}
        assert all(row["rate"] > 0 for row in mine)
        assert pick(mine, engine="BLAS floor")["over_floor"] == 1
    assert [row["batch"] for row in select(result.rows, kind="batch")] == result.settings["batches"]
    assert [row["networks"] for row in select(result.rows, kind="ensemble")] == result.settings["networks"]


def test_the_claims_are_made_of_the_rows(result):
    fused = pick(result.rows, kind="engine", m=5, n=12, engine="fused")
    autograd = pick(result.rows, kind="engine", m=5, n=12, engine="autograd")
    found = {claim.claim: claim.measured for claim in claims(result.rows, result.settings)}
    assert found["fused, time over the BLAS floor's, 5×12"] == fused["over_floor"]
    assert found["fused, time over autograd and torch.optim.SGD, 5×12"] == autograd["rate"] / fused["rate"]


def test_the_charts_show_the_rows(result):
    engines, scaling = charts(result.rows, result.settings)
    names = [series.name for series in engines.panels[0].series]
    assert names[0] == "fused"
    assert "BLAS floor" in names
    assert [list(panel.series[0].x) for panel in scaling.panels] == [[1, 10], [1, 4]]


def test_all_leaves_it_out():
    assert "benchmark" in study_names()
    assert "benchmark" not in studies_of_all()
    assert study_settings("benchmark")["name"] == "benchmark"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shapes": 5}, "study.shapes must be a nonempty list, got 5"),
        ({"shapes": []}, "study.shapes must be a nonempty list, got []"),
        ({"shapes": [5, 12]}, "study.shapes[0] must be a pair [m, n], got 5"),
        ({"shapes": [[5, 12], [5, 12]]}, "study.shapes must be different pairs, got [[5, 12], [5, 12]]"),
        ({"networks": []}, "study.networks must be a nonempty list, got []"),
        ({"batches": 3}, "study.batches must be a nonempty list, got 3"),
    ],
)
def test_settings_that_cannot_be_run_are_refused(changes, message):
    with pytest.raises(InputError) as said:
        load_study("benchmark").points(study_settings("benchmark", small=True, changes=changes))
    assert str(said.value) == message
