"""What is said where a run or a sweep ends: how each point ended, what went wrong in how many, and the commands that go on."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlntorch.cli.next_steps import MORE, next_steps
from dlntorch.cli.sweep_end import SHOWN_POINTS, conclude_sweep
from dlntorch.sweep.points import point_labels, split_overrides, varying, write_failure

FOLDER = Path("/x/it's a run")


def of(status, folder=FOLDER, predicted=None, **config):
    summary = {"status": status, "predicted_steps": predicted}
    return next_steps(summary, {"max_steps": 1000, "max_time": None, **config}, folder)


def test_a_run_that_ended_early_is_offered_more():
    resume = "python train.py " + shlex.quote(f"resume={FOLDER}")
    assert of("converged") == of("diverged") == of("left_positive_orthant") == []
    assert of("interrupted") == of("max_wall_seconds") == [resume]
    assert of("max_steps") == [f"{resume} max_steps={MORE * 1000}"]
    assert of("max_steps", predicted=123456.0) == [f"{resume} max_steps=190000"]
    assert of("max_steps", predicted=10.0) == [f"{resume} max_steps=10000"]
    assert of("max_time", max_time=2.5) == [f"{resume} max_time=25"]
    networks = {"networks": [{"status": "converged"}, {"status": "max_steps"}, {"status": "interrupted"}]}
    assert next_steps(networks, {"max_steps": 7}, Path("run")) == ["python train.py resume=run max_steps=70"]


def test_a_run_that_has_passed_its_nearest_point_to_the_truth_is_not_offered_more():
    passed, before = ({"nearest_to_truth": {"passed": there}} for there in (True, False))
    config = {"max_steps": 7, "max_time": 2.0}
    for status in ("max_steps", "max_time"):
        assert next_steps({"status": status, **passed}, config, FOLDER) == []
        assert len(next_steps({"status": status, **before}, config, FOLDER)) == 1
    assert next_steps({"status": "interrupted", **passed}, config, Path("run")) == ["python train.py resume=run"]
    networks = {"networks": [{"status": "max_steps", **passed}, {"status": "max_steps", **before}]}
    assert next_steps(networks, config, Path("run")) == ["python train.py resume=run max_steps=70"]


@given(st.floats(1, 1e15), st.integers(0, 10**12))
def test_what_is_offered_is_more_than_there_was_and_than_is_predicted(predicted, budget):
    (line,) = of("max_steps", predicted=predicted, max_steps=budget)
    offered = int(line.split("max_steps=")[1])
    assert offered > budget
    assert offered >= predicted or predicted <= budget


def test_offline_runs_of_wandb_are_to_be_sent(tmp_path):
    (tmp_path / "wandb" / "offline-run-1").mkdir(parents=True)
    assert of("converged", tmp_path) == [f"wandb sync {tmp_path}/wandb/offline-run-*"]


def test_the_command_that_is_offered_ends_the_run(command):
    first = command("problem=line", "alpha=0.1", "max_steps=100", "trainer.progress=false", "callbacks.figures=false")
    assert first.status == 0
    (line,) = [line for line in first.out.splitlines() if line.startswith("next: ")]
    words = shlex.split(line.removeprefix("next: python train.py "))
    again = command(*words, "logger=none", "trainer.progress=false", "callbacks.figures=false")
    assert again.status == 0, again.err
    assert json.loads((first.folder / "summary.json").read_text())["status"] == "converged"
    assert "next: " not in again.out
    assert "page: " not in again.out


# -- sweeps -----------------------------------------------------------------------------------------------------------


def write_point(folder, status=None, **summary):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("{}")
    if status is not None:
        (folder / "summary.json").write_text(json.dumps({"status": status, "steps": 5, "residual": 1e-3, **summary}))


@pytest.fixture
def ended(tmp_path, capsys, monkeypatch):
    """The lines that a sweep of twelve points ends with, at a width."""
    sweep = tmp_path / "sw eep"
    overrides = {}
    for i, status in enumerate(["converged", *["max_steps"] * 8, "diverged", None, None]):
        folder = sweep / f"point{i}"
        overrides[folder] = f"alpha={0.1 / (i + 1):.3g} problem=line p=3 problem.path=/a b/{'long' * 20}.npz"
        write_point(folder, status, distance_to_selected=0.01 * i)
    write_failure(sweep / "point10", 2, "p must be a number")
    (sweep / "point3" / "wandb" / "offline-run-7").mkdir(parents=True)

    def shown(width):
        monkeypatch.setenv("COLUMNS", str(width))
        conclude_sweep(sweep, overrides)
        return sweep, capsys.readouterr().out.splitlines()

    return shown


@pytest.mark.parametrize("width", [80, 200])
def test_a_sweep_ends_with_a_line_per_point_and_with_what_went_wrong(ended, width):
    sweep, lines = ended(width)
    assert lines[0] == f"sweep {sweep}: 12 points, 8 max_steps, 1 converged, 1 diverged, 1 failed, 1 cut"
    rows = [line.split() for line in lines if line.startswith("│")]
    assert len(rows) == 12
    assert rows[1] == ["│", "0.05", "│", "max_steps", "│", "5", "│", "0.001", "│", "0.01", "│"]
    assert rows[10][3] == "failed"
    assert rows[11][3] == "cut"
    place = shlex.quote(str(sweep))
    text = "\n".join(lines)
    assert f"8 of 12 points ended at max_steps: python train.py resume={place}/POINT max_steps=…" in text
    assert "1 of 12 points diverged: " in text
    assert "1 of 12 points were cut: the same command goes on with them" in text
    assert "1 of 12 points failed: the same command tries them again" in text
    assert "  p must be a number (alpha=0.00909)" in text
    assert f"next: python -m dlntorch study=collect 'sweep={sweep}'" in lines
    assert f"next: wandb sync {place}/*/wandb/offline-run-*" in lines


def test_of_many_points_the_first_and_last_are_shown(tmp_path, capsys):
    overrides = {tmp_path / str(i): f"seed={i}" for i in range(100)}
    for folder in overrides:
        write_point(folder, "converged", l1_gap=None)
    conclude_sweep(tmp_path, overrides)
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("│") for line in lines) == SHOWN_POINTS
    assert "60 points between are in the table of study=collect" in lines
    assert not any("W_p" in line for line in lines)  # none was measured


@given(st.dictionaries(st.from_regex(r"[a-z][a-z.]{0,8}[a-z]", fullmatch=True), st.text("abc 01./-[]", max_size=9)))
def test_overrides_are_split_as_they_were_joined(values):
    values = {key: value.strip() for key, value in values.items()}
    assert split_overrides(" ".join(f"{key}={value}" for key, value in values.items())) == values


def test_labels_are_of_what_varies():
    points = {"a": "p=2 alpha=0.1 +x=1", "b": "p=3 alpha=0.1 +x=1", "c": "p=3 alpha=0.1 +x=1 seed=2"}
    assert varying([split_overrides(words) for words in points.values()]) == ["p", "seed"]
    assert point_labels(points) == {"a": "p=2", "b": "p=3", "c": "p=3 seed=2"}
    assert point_labels({"a": "p=2 alpha=0.1"}) == {"a": "p=2 alpha=0.1"}
    assert point_labels({"a": ""}) == {"a": "a"}


@pytest.mark.slow
def test_the_end_of_a_real_sweep(sweep):
    done = sweep("p=1,2,3", "alpha=0.1,0.2", "max_steps=50", "pack=auto")
    assert done.status == 2
    lines = done.out.splitlines()
    assert f"sweep {done.folder}: 6 points, 4 max_steps, 2 failed" in lines
    assert "  p must be a finite real number >= 2, got 1 (p=1 alpha=0.1 and 1 more)" in lines
    assert sum(line.startswith("│") for line in lines) == 6
    assert lines[-1] == f"next: python -m dlntorch study=collect sweep={done.folder}"
    again = sweep("p=2,3", "alpha=0.1,0.2", "max_steps=50")  # nothing is left to do, and it is said again
    assert f"sweep {done.folder}: 4 points, 4 max_steps" in again.out
    planned = sweep("p=2,3", "dry_run=true", "seed=7")
    assert "how each point ended" not in planned.out
