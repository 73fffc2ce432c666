"""``repeat=FOLDER``: the same seed gives the same bits, and what does not is said."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from dlntorch.store import provenance

QUICK = ("logger=none", "trainer.progress=false", "callbacks.figures=false")


@pytest.mark.parametrize(
    "words",
    [
        ("alpha=0.1", "certificate=true"),
        ("alpha=0.1", "batch_size=3", "seed=5", "max_steps=2000"),
        ("p=2.5", "alpha=0.1", "dtype=float32", "tol=1e-4"),
        ("ensemble.alpha=[0.1,0.2]", "ensemble.p=[2,3]"),
    ],
    ids=" ".join,
)
def test_a_run_repeated_is_the_same_to_the_last_bit_with_one_and_two_threads(command, tmp_path, words):
    first = command(*QUICK, *words, folder=tmp_path / "first")
    assert first.status == 0, first.err
    again = command(f"repeat={first.folder}", *QUICK, "trainer.threads=2", folder=tmp_path / "again")
    assert again.status == 0, again.out + again.err
    assert f"repeat: equal to {first.folder} in all " in again.out
    found = json.loads((again.folder / "repeat.json").read_text())
    assert found["equal"] > 40
    assert found["different"] == {}
    # what was repeated can be repeated itself
    third = command(f"repeat={again.folder}", *QUICK, folder=tmp_path / "third")
    assert third.status == 0, third.out + third.err


def test_what_is_not_the_same_is_named(command, tmp_path):
    first = command(*QUICK, "alpha=0.1", folder=tmp_path / "first")
    summary = json.loads((first.folder / "summary.json").read_text())
    summary["steps"] += 1
    summary["budget"]["discretization"] *= 2
    summary["versions"]["torch"] = "1.0"
    (first.folder / "summary.json").write_text(json.dumps(summary))
    again = command(f"repeat={first.folder}", *QUICK, folder=tmp_path / "again")
    assert again.status == 3
    (line,) = [line for line in again.out.splitlines() if line.startswith("repeat:")]
    assert "2 of " in line
    assert f"steps was {summary['steps']} and is {summary['steps'] - 1}" in line
    assert "budget.discretization was " in line
    assert "torch was '1.0' and is " in line
    found = json.loads((again.folder / "repeat.json").read_text())
    assert set(found["different"]) == {"steps", "budget.discretization"}
    assert set(found["versions"]) == {"torch"}


def test_what_cannot_be_repeated_is_refused_in_one_line(command, tmp_path):
    first = command(*QUICK, "alpha=0.1", folder=tmp_path / "first")
    cases = {
        ("alpha=0.2",): "alpha must be left out with repeat, which repeats the run as it was; got 0.2",
        ("resume=auto",): "resume must be left out with repeat, got 'auto'",
    }
    for words, message in cases.items():
        done = command(f"repeat={first.folder}", *words, folder=tmp_path / "again")
        assert done.status == 2, done.out
        assert message in done.err
    for points in ((), ("alpha=0.1,0.2",)):  # two points would be packed
        sweep = f"hydra.sweep.dir={tmp_path / 'sweep'}"
        done = command("-m", f"repeat={first.folder}", sweep, *points, folder=tmp_path / "again")
        assert "repeat must be left out with -m, one run at a time" in done.err
        assert done.status == 2
    done = command("repeat=2024", folder=tmp_path / "again")
    assert "repeat must be a run folder, got 2024; one of that name is written ./2024" in done.err
    done = command(f"repeat={first.folder}", folder=first.folder)
    assert "repeat must be another folder than hydra.run.dir" in done.err
    config = first.folder / "config.yaml"
    whole = config.read_text()
    for broken in (whole.replace("block_seconds: 0.05", "block: 1"), whole.replace("p: 3", "p: !!int ''"), "[[[["):
        assert broken != whole
        config.write_text(broken)
        done = command(f"repeat={first.folder}", folder=tmp_path / "again")
        assert done.status == 2, done.err
        assert done.err.count("\n") == 1
    config.write_text(whole)
    (first.folder / "summary.json").unlink()
    done = command(f"repeat={first.folder}", folder=tmp_path / "again")
    assert "repeat must be the folder of a finished run" in done.err
    done = command(f"repeat={tmp_path / 'nowhere'}", folder=tmp_path / "again")
    assert "repeat must be a run folder with a readable config.yaml" in done.err


def test_the_generation_of_a_processor_is_known_by_more_than_its_name(monkeypatch):
    """Virtual machines on processors with other vector units call them the same."""
    text = "processor\t: 0\nmodel name\t: AMD EPYC\ncpu family\t: 26\nmodel\t\t: 2\n\nprocessor\t: 1\nmodel\t: 3\n"
    monkeypatch.setattr(Path, "read_text", lambda self: text)
    assert provenance._processor() == "AMD EPYC, family 26, model 2"
    monkeypatch.setattr(Path, "read_text", lambda self: "Processor : ARMv7\n")
    assert provenance._processor() in (platform.processor(), platform.machine())
