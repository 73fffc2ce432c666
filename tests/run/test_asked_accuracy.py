"""``accuracy=…`` on the command line: what is not told is planned, what is told is kept, and what cannot be had is said."""

from __future__ import annotations

import json

import pytest
import yaml

import dlntorch as dln
from dlntorch.problem import make_problem
from dlntorch.run.configuration import OPEN_KEYS, append_open_keys
from dlntorch.sweep.points import point_name
from tests.run.conftest import ROOT, stamps

PAPER = ("problem=random", "trainer.progress=false", "callbacks.figures=false")


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


def config_of(folder):
    return yaml.safe_load((folder / "config.yaml").read_text())


def test_a_run_is_chosen_by_its_accuracy_and_meets_it(command):
    done = command(*PAPER, "accuracy=1e-3")
    assert done.status == 0, done.err
    made = dln.plan(make_problem("random"), 1e-3)
    config, summary = config_of(done.folder), summary_of(done.folder)
    chosen = [config["p"], config["alpha"], config["schedule"]["kappa"], config["tol"], config["max_time"]]
    assert chosen == [made.p, made.alpha, made.kappa, made.tol, made.max_time]
    assert config["accuracy"] == 1e-3
    report = summary["plan"]
    assert report["accuracy"] == 1e-3
    assert report["met"]
    assert report["reached"] == summary["distance_to_selected"] <= 1e-3
    assert {key: report[key] for key in made.budget} == made.budget
    assert report["steps"] == made.steps == pytest.approx(summary["steps"], rel=0.3)
    for words in ("accuracy=0.001: p=", "predicted: ", made.reason, "met; "):
        assert words in done.out
    assert "asked" in done.out
    assert "reached" in done.out
    again = command(f"repeat={done.folder}", folder=done.folder.parent / "again")
    assert again.status == 0, again.out + again.err
    assert "bit for bit" in again.out
    assert summary_of(again.folder)["plan"] == report


def test_a_run_that_was_cut_goes_on_with_the_numbers_of_its_plan(command, monkeypatch):
    cut = command(*PAPER, "accuracy=1e-3", "p=2", "max_steps=20")
    assert cut.status == 0, cut.err
    assert summary_of(cut.folder)["status"] == "max_steps"
    assert not summary_of(cut.folder)["plan"]["met"]
    assert "missed by a factor" in cut.out
    before = config_of(cut.folder)
    monkeypatch.setattr("dlntorch.run.asked_accuracy.plan", None)  # it is not planned again
    done = command(f"resume={cut.folder}", "max_steps=1000000")
    assert done.status == 0, done.err
    assert config_of(done.folder) == {**before, "max_steps": 1000000}
    assert summary_of(done.folder)["plan"]["met"]
    requeued = command(*PAPER, "accuracy=1e-3", "p=2", "max_steps=20", "resume=auto")
    assert requeued.status == 0, requeued.err


def test_what_is_told_is_kept(command):
    made = dln.plan(make_problem("random"), 1e-2, 3, alpha=1e-2, kappa=0.02)
    told = ("accuracy=1e-2", "p=3", "alpha=1e-2", "schedule.kappa=0.02", "max_steps=1000000", "max_time=1e9")
    done = command(*PAPER, *told)
    assert done.status == 0, done.err
    config = config_of(done.folder)
    assert (config["p"], config["alpha"], config["schedule"]["kappa"]) == (3, 1e-2, 0.02)
    assert (config["max_steps"], config["max_time"], config["tol"]) == (1000000, 1e9, made.tol)
    assert made.kappa == 0.02
    assert made.budget["error"] <= 1e-2
    assert summary_of(done.folder)["plan"]["met"]


def test_a_dry_run_shows_the_plan_and_trains_nothing(command):
    made = dln.plan(make_problem("random"), 1e-4, 3)
    done = command(*PAPER, "accuracy=1e-4", "p=3", "dry_run=true")
    assert done.status == 0, done.err
    for words in ("the plan for this accuracy", "depth (given)", f"{made.alpha:.6g}", "finite_time", "p = 3 is given"):
        assert words in done.out
    assert "predicted training time" in done.out
    rows = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in done.out.splitlines() if line[:1] == "│"}
    assert rows["predicted steps"] == f"{made.steps:.3g}"
    assert rows["predicted time t"] == f"{made.time:.4g}"
    assert rows["predicted ||psi - W_p||"] == f"{made.budget['error']:.3g}, at t = {made.time:.4g}"
    assert done.err == ""
    assert not done.folder.exists()
    short = command(*PAPER, "accuracy=1e-4", "p=3", "max_steps=9", "dry_run=true")
    assert "warning: this run will end before it converges: max_steps=9 is " in short.err


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (
            ("accuracy=1e-4", "p=3", "alpha=0.1"),
            2,
            "error: alpha must allow accuracy=0.0001, got 0.1: initialization: ",
        ),
        (
            (
                "problem=gaussian",
                "problem.m=3",
                "problem.n=9",
                "problem.seed=1",
                "accuracy=1e-4",
                "p=2",
                "schedule.kappa=0.3",
            ),
            2,
            "error: schedule.kappa must allow accuracy=0.0001, got 0.3: discretization: ",
        ),
        (("accuracy=1e-30",), 3, "error: no plan for accuracy=1e-30 (below_input_precision): float64 holds"),
        (("accuracy=0",), 2, "error: accuracy must be a finite real number > 0, got 0"),
        (("accuracy=much",), 2, "error: accuracy must be"),
        (("accuracy=1e-2", "p=1"), 2, "error: p must be"),
        (
            ("accuracy=1e-2", "schedule.kappa=0.5"),
            2,
            "error: schedule.kappa must be a finite real number > 0 and <= 0.3",
        ),
        (("accuracy=1e-2", "tol=1"), 2, "error: tol must be at most"),
        (("accuracy=1e-2", "schedule=stable"), 2, "error: schedule must be relative with accuracy, got 'stable'"),
        (("accuracy=1e-2", "schedule.c=0.5"), 2, "error: schedule.c must be 1 with accuracy, got 0.5"),
        (("accuracy=1e-2", "optimizer=momentum"), 2, "error: optimizer must be sgd with accuracy, got 'momentum'"),
        (("accuracy=1e-2", "batch_size=2"), 2, "error: batch_size must be null with accuracy, got 2"),
        (("accuracy=1e-2", "alpha=[0.1,0.2,0.3]"), 2, "error: alpha must be one number with accuracy"),
        (
            ("accuracy=1e-2", "ensemble.alpha=[0.1,0.2]"),
            2,
            "error: accuracy must be left out with an ensemble, got 0.01",
        ),
    ],
)
def test_what_cannot_be_had_is_said_in_one_line_and_nothing_is_trained(command, words, status, said):
    done = command(*PAPER, *words)
    assert done.status == status, done.err
    assert done.err.startswith(said)
    assert done.err.count("\n") == 1
    assert not done.folder.exists()
    if status == 3:
        assert "accuracy=1" in done.err.split(";")[-1]
        assert done.err.endswith("can be had\n")


def test_each_point_of_a_sweep_has_its_plan(sweep):
    words = (*PAPER[:1], "accuracy=1e-1,1e-3", "references=true", "max_steps=100000", "p=2")
    done = sweep(*words)
    assert done.status == 0, done.err
    folders = sorted(path.parent for path in done.folder.glob("*/summary.json"))
    assert [folder.name[:30] for folder in folders] == [
        "random-accuracy0.001-p2-seed0-",
        "random-accuracy0.1-p2-seed0-"[:30] + folders[1].name[28:30],
    ]
    reports = [summary_of(folder)["plan"] for folder in folders]
    assert [report["accuracy"] for report in reports] == [1e-3, 1e-1]
    assert all(report["met"] for report in reports)
    before = stamps(done.folder)
    again = sweep(*words)
    assert again.status == 0, again.err
    assert stamps(done.folder) == before


def test_a_point_in_a_folder_of_a_name_of_ones_own_is_found_again(sweep):
    words = (*PAPER[:1], "accuracy=1e-1", "references=true", "max_steps=100000", "hydra.sweep.subdir=point")
    assert sweep(*words).status == 0
    before = stamps(folder := sweep(*words).folder)
    assert list(before) == ["point"]
    assert sweep(*words).status == 0
    assert stamps(folder) == before
    assert sweep(*words, "p=3").status == 0
    assert stamps(folder) != before
    assert config_of(folder / "point")["p"] == 3


def test_keys_that_the_command_line_does_not_name_are_left_open():
    def opened(*words):
        arguments = ["train.py", *words]
        append_open_keys(arguments)
        return {word.removesuffix("=null") for word in arguments[1 + len(words) :]}

    everything = set(OPEN_KEYS)
    assert opened("p=3") == opened("accuracy=null") == set()
    assert opened("accuracy=1e-4") == everything
    assert opened("-m", "accuracy=1e-4,1e-2", "p=2,3") == everything - {"p"}
    assert opened("accuracy=1e-4", "schedule=stable") == everything - {"schedule.kappa"}
    assert opened("accuracy=1e-4", "experiment=shallow") == everything - {"p", "alpha"}
    assert opened("accuracy=1e-4", "experiment=planted") == everything - {"p", "alpha", "max_steps"}
    assert point_name({"problem": "line", "accuracy": None, "p": 3, "alpha": 0.1}).startswith("line-p3-alpha0.1-")


def test_the_keys_are_those_of_the_main_job():
    roots = yaml.safe_load((ROOT / "conf" / "train.yaml").read_text())
    inner = yaml.safe_load((ROOT / "conf" / "schedule" / "relative.yaml").read_text())
    assert all(key in roots or key.removeprefix("schedule.") in inner for key in OPEN_KEYS)
    assert roots["accuracy"] is None
