"""The runner: cache, resuming, processes, files; and the command around it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from dlntorch.cli import study_command
from dlntorch.numerics.validation import InputError
from dlntorch.store.folder import WriteError
from dlntorch.studies import (
    Study,
    Verdict,
    catalogue,
    load_study,
    run_study,
    runner,
    study_names,
    study_settings,
    worker,
)
from dlntorch.studies.base import Claim, at_most, holds, pick, within
from dlntorch.studies.cache import PointCache

CALLS: list[int] = []


def made_up(fail_at: int | None = None, value: float = 1.0) -> Study:
    def compute(point):
        if point["i"] == fail_at:
            raise KeyboardInterrupt
        CALLS.append(point["i"])
        return [{"square": point["i"] ** 2, "nothing": None, "value": value}]

    return Study(
        summary="made up",
        about=("Some words.",),
        points=lambda settings: [{"i": i} for i in range(settings["count"])],
        compute=compute,
        claims=lambda rows, settings: [at_most("largest square", max(row["square"] for row in rows), 16)],
    )


@pytest.fixture
def study(monkeypatch):
    """Puts a made-up study in the place of figure3."""

    def put(**options) -> None:
        CALLS.clear()
        for module in (runner, worker):
            monkeypatch.setattr(module, "load_study", lambda name: made_up(**options))

    put()
    return put


def test_an_interrupted_study_resumes(study, tmp_path):
    study(fail_at=3)
    with pytest.raises(KeyboardInterrupt):
        run_study("figure3", tmp_path, changes={"count": 5})
    assert CALLS == [0, 1, 2]
    assert not (tmp_path / "data.csv").exists()
    study()
    result = run_study("figure3", tmp_path, changes={"count": 5})
    assert CALLS == [3, 4]
    assert [row["square"] for row in result.rows] == [0, 1, 4, 9, 16]
    assert (result.computed, result.points) == (2, 5)
    run_study("figure3", tmp_path, changes={"count": 5}, fresh=True)
    assert CALLS == [3, 4, 0, 1, 2, 3, 4]


def test_a_finished_study_run_again_with_several_processes_computes_nothing(study, tmp_path):
    run_study("figure3", tmp_path, changes={"count": 3})
    CALLS.clear()
    again = run_study("figure3", tmp_path, changes={"count": 3}, workers=2)
    assert not CALLS
    assert (again.computed, again.points) == (0, 3)


def test_a_point_that_settings_name_twice_is_one(monkeypatch, tmp_path):
    once = run_study("figure3", tmp_path / "once", small=True, changes={"depths": [2, 3], "count": 11})
    twice = run_study("figure3", tmp_path / "twice", small=True, changes={"depths": [2, 3, 2], "count": 11})
    assert (twice.points, twice.rows, twice.claims) == (once.points, once.rows, once.claims)


def test_a_damaged_or_foreign_point_is_computed_again(study, tmp_path):
    run_study("figure3", tmp_path, changes={"count": 5})
    files = sorted((tmp_path / "points").iterdir())
    assert len(files) == 5
    files[0].write_text("{")
    files[1].write_text(json.dumps({"point": {"i": 77}, "rows": []}))
    CALLS.clear()
    run_study("figure3", tmp_path, changes={"count": 5})
    assert len(CALLS) == 2


def test_the_cache_depends_on_the_code(tmp_path, monkeypatch):
    from dlntorch.studies import cache

    kept = PointCache(tmp_path, "figure3")
    kept.store({"p": 2.0}, [{"a": 1}])
    assert kept.load({"p": 2.0}) == [{"a": 1}]
    assert kept.load({"p": 3.0}) is None
    assert PointCache(tmp_path, "figure1").load({"p": 2.0}) is None
    monkeypatch.setattr(cache, "row_version", lambda name: "other")
    assert kept.load({"p": 2.0}) is None


def test_the_code_of_a_study_is_its_file_and_the_helpers_it_imports():
    from dlntorch.studies import cache

    studies = Path(cache.__file__).parent
    parts = {path.name for path in cache._with_its_helpers(studies / "recovery.py")}
    assert parts == {"recovery.py", "early_stopping.py"}
    assert {path.name for path in cache._with_its_helpers(studies / "rates.py")} == {"rates.py", "measure.py"}


def test_the_files(study, tmp_path):
    result = run_study("figure3", tmp_path, changes={"count": 6})
    with open(tmp_path / "data.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["square"] for row in rows] == ["0", "1", "4", "9", "16", "25"]
    assert {row["nothing"] for row in rows} == {""}
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["verdicts"] == {"confirmed": 0, "not confirmed": 1, "undecided": 0}
    assert "| largest square | 16 | 25 | not confirmed |" in (tmp_path / "table.md").read_text()
    assert result.count(Verdict.NOT_CONFIRMED) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_row_that_is_not_finite_is_a_defect(study, tmp_path, value):
    study(value=value)
    with pytest.raises(ValueError, match="study figure3: value must be finite or None"):
        run_study("figure3", tmp_path, changes={"count": 2})


def test_processes_give_the_same_rows(tmp_path):
    changes = {"depths": [2, 2.5, 3], "count": 11}
    one = run_study("figure3", tmp_path / "one", small=True, changes=changes)
    two = run_study("figure3", tmp_path / "two", small=True, changes=changes, workers=2)
    assert one.rows == two.rows
    assert (tmp_path / "one" / "data.csv").read_bytes() == (tmp_path / "two" / "data.csv").read_bytes()


def test_verdicts():
    assert within("a", 1.0, 1.01, 0.02).verdict is Verdict.CONFIRMED
    assert within("a", 100.0, 101.5, 0.02, relative=True).verdict is Verdict.CONFIRMED
    assert within("a", 1.0, 1.03, 0.02).verdict is Verdict.NOT_CONFIRMED
    assert within("a", 1.0, None, 0.02).verdict is Verdict.UNDECIDED
    assert at_most("a", 2.0, 1.0) == Claim("a", 1.0, 2.0, Verdict.NOT_CONFIRMED, "measured ≤ predicted")
    assert holds("a", "x", "y", None, "r").verdict is Verdict.UNDECIDED
    for value in (float("nan"), float("inf")):
        for claim in (within("a", 1.0, value, 0.02), within("a", value, 1.0, 0.02), at_most("a", value, 1.0)):
            assert claim.verdict is Verdict.UNDECIDED
            assert None in (claim.predicted, claim.measured)
    with pytest.raises(LookupError, match="found 2"):
        pick([{"a": 1}, {"a": 1}], a=1)


@pytest.mark.parametrize("name", study_names())
def test_every_study_is_complete(name):
    """Settings, a small version of known keys, points that are plain, figures of its own."""
    from importlib import import_module

    full, small = study_settings(name), study_settings(name, small=True)
    assert set(full) == set(small)
    assert (full["name"], full["small"], small["small"]) == (name, False, True)
    study = load_study(name)
    assert study.summary
    assert "\n" not in study.summary
    assert study.about
    for settings in (full, small):
        points = study.points(settings)
        assert points
        assert len({json.dumps(point, sort_keys=True, allow_nan=False) for point in points}) == len(points)
    assert len(study.points(small)) <= len(study.points(full))
    assert callable(import_module(f"dlntorch.report.study_figures.{name}").charts)


# -- the command --------------------------------------------------------------------------------------------------


def test_the_command_writes_data_figures_table_and_page(tmp_path, capsys):
    status = study_command.main(["study=figure3", "study.small=true", f"folder={tmp_path}", "workers=1"])
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    assert "7 claims" not in captured.out
    assert "confirmed" in captured.out
    folder = tmp_path / "figure3"
    for name in (
        "data.csv",
        "table.md",
        "table.csv",
        "summary.json",
        "report.html",
        "figures/figure3.png",
        "figures/figure3.pdf",
    ):
        assert (folder / name).is_file(), name
    page = (folder / "report.html").read_text()
    assert "7 of 7 claims confirmed" in page
    assert page.count("Plotly.newPlot(") >= 3


def test_list_names_every_study(capsys):
    assert study_command.main(["study=list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*study_names(), "all"]


def test_a_claim_that_fails_is_exit_status_three(study, tmp_path, monkeypatch, capsys):
    from dlntorch.report import study_page

    monkeypatch.setattr(study_page, "study_charts", lambda *_: [])
    status = study_command.main(["study=figure3", "study.count=6", f"folder={tmp_path}", "workers=1"])
    assert status == 3
    assert "not confirmed" in capsys.readouterr().out
    assert 'class="status bad"' in (tmp_path / "figure3" / "report.html").read_text()


def test_a_side_that_is_not_finite_is_undecided_in_every_file(study, tmp_path, monkeypatch, capsys):
    from dlntorch.report import study_page

    monkeypatch.setattr(study_page, "study_charts", lambda *_: [])
    nan = float("nan")
    nothing = Study("s", ("a",), lambda _: [{"i": 0}], lambda _: [], lambda *_: [within("no number", nan, nan, 0.1)])
    monkeypatch.setattr(runner, "load_study", lambda name: nothing)
    monkeypatch.setattr(worker, "load_study", lambda name: nothing)
    assert study_command.main(["study=figure3", f"folder={tmp_path}", "workers=1"]) == 0
    assert "undecided" in capsys.readouterr().out
    folder = tmp_path / "figure3"
    (claim,) = json.loads((folder / "summary.json").read_text())["claims"]
    assert (claim["predicted"], claim["measured"]) == (None, None)
    assert "| no number | – | – | undecided |" in (folder / "table.md").read_text()
    assert "0 of 1 claims confirmed, 1 undecided" in (folder / "report.html").read_text()


def test_an_interruption_is_exit_status_three(study, tmp_path, capsys):
    study(fail_at=2)
    status = study_command.main(["study=figure3", "study.count=5", f"folder={tmp_path}", "workers=1"])
    assert status == 3
    assert "the same command continues" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_named(study, tmp_path, monkeypatch, capsys):
    def full(path, data):
        cause = OSError(28, "No space left on device")
        raise WriteError(path, cause) from cause

    monkeypatch.setattr(runner, "atomic_write", full)
    assert study_command.main(["study=figure3", "study.count=2", f"folder={tmp_path}", "workers=1"]) == 2
    place = tmp_path / "figure3" / "data.csv"
    rule = "error: folder must be a folder that can be written"
    assert capsys.readouterr().err == f"{rule}, got '{place}' (No space left on device)\n"


def test_a_sweep_is_collected_with_debug_in_either_spelling(tmp_path, monkeypatch, capsys):
    from dlntorch.report import sweep

    monkeypatch.setattr(sweep, "write_sweep_report", lambda folder: [folder])
    for debug in ("debug=true", "debug=True"):
        assert study_command.main(["study=collect", "sweep=here", debug]) == 0
        assert capsys.readouterr().out == "here\n"


MISTAKES = [
    (
        ["study=figure9"],
        "lasso, plan, nuclear, groups, matrix_gha, reproduce, benchmark, all, list, collect, got 'figure9'",
    ),
    (["study=collct"], "got 'collct'; did you mean collect?"),
    ([], "study must be one of"),
    (["study=figure9"], "study must be one of figure1"),
    (["study=figure3", "study.dephts=[2]"], "unknown key 'study.dephts'; did you mean study.depths?"),
    (["study=figure3", "+study.dephts=[2]"], "unknown key 'study.dephts'; did you mean study.depths?"),
    (["study=figure3", "+wokers=3"], "unknown key 'wokers'; did you mean workers?"),
    (["study=figure3", "wokers=3"], "unknown key 'wokers'; did you mean workers?"),
    (["study=figure3", "workers=0"], "workers must be an integer >= 1, got 0"),
    (["study=figure3", "fresh=maybe"], "fresh must be true or false, got 'maybe'"),
    (["study=figure3", "study.depths=[1.5]"], "study.depths[0] must be a finite real number >= 2, got 1.5"),
    (["study=figure3", "study.depths=3"], "study.depths must be a nonempty list, got 3"),
    (["study=figure3", "study.small=2"], "study.small must be true or false, got 2"),
    (["study=figure3", "hydra.run.dir=x"], "hydra.run.dir must be left out: a study's place is folder="),
    (["study=figure3", "small"], "'small' must be KEY=VALUE"),
    (
        ["study=figure3", "folder=/dev/null/x"],
        "folder must be a folder that can be written, got '/dev/null/x/figure3' (Not a directory)",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[" ".join(a) or "nothing" for a, _ in MISTAKES])
def test_a_mistake_is_one_line_and_exit_status_two(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert study_command.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_settings_of_an_unknown_key_are_refused():
    with pytest.raises(InputError, match="unknown key 'study.dephts'; did you mean study.depths"):
        study_settings("figure3", changes={"dephts": [2]})
    assert catalogue.settings_file("figure3").name == "figure3.yaml"
