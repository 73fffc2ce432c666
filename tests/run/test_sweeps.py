"""Sweeps that are run again: what is done is skipped, what was cut goes on, what failed is tried again; one table of all."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dlntorch as dln
from dlntorch.cli.study_command import main
from dlntorch.numerics.validation import InputError
from dlntorch.sweep import points
from dlntorch.sweep.collect import collect_sweep, write_table
from tests.run.conftest import QUICK, ROOT, stamps

pytestmark = pytest.mark.slow


def test_run_again_it_skips_resumes_and_retries(sweep):
    first = sweep("p=1,2,3", "alpha=0.1,0.2")
    assert first.status == 2
    before = stamps(first.folder)
    assert len(before) == 4
    names = sorted(before)
    whole = dln.load_run(first.folder / names[1])
    # cut: a checkpoint of an earlier step, and nothing after it
    cut = first.folder / names[1]
    for path in ("summary.json", "result.npz", "trajectory.csv"):
        (cut / path).unlink()
    # a half-written file of a killed process, and a checkpoint that cannot be used
    (cut / "checkpoints" / ".last.ckpt.1.tmp").write_bytes(b"half")
    lost = first.folder / names[2]
    (lost / "summary.json").unlink()
    (lost / "checkpoints" / "last.ckpt").write_bytes(b"nonsense")
    again = sweep("p=1,2,3", "alpha=0.1,0.2")
    assert again.status == 2, again.err
    assert "6 points, 2 done already and skipped, 2 cut and resumed, 2 failed and tried again" in again.out
    assert "truncated or altered" in again.err
    assert "this run starts anew" in again.err
    after = stamps(first.folder)
    assert set(after) == set(before)
    assert [name for name in names if after[name] != before[name]] == [names[1], names[2]]
    assert torch.equal(dln.load_run(cut).theta_plus, whole.theta_plus)
    assert not list(first.folder.rglob("*.tmp"))
    # once the mistake is gone, only that is left
    more = sweep("p=2,3,4", "alpha=0.1,0.2")
    assert more.status == 0
    assert "6 points, 4 done already and skipped" in more.out


def test_points_are_known_by_what_they_compute(sweep):
    first = sweep("p=2,3")
    # other words for the same, and other loggers, compute nothing new
    again = sweep("p=3.0,2.0", "alpha=0.001", "seed=0", "trainer.block_seconds=0.01", "logger=csv")
    assert "2 points, 2 done already and skipped" in again.out
    assert again.status == 0
    assert "skipped" not in sweep("p=2", "seed=1").out
    assert len(stamps(first.folder)) == 3


def test_numbered_folders_of_the_users_own_are_checked_by_their_contents(sweep):
    options = ("hydra.sweep.subdir='${hydra.job.num}'",)
    first = sweep("p=2,3", *options)
    assert sorted(stamps(first.folder)) == ["0", "1"]
    again = sweep("p=2,4", *options)
    assert "2 points, 1 done already and skipped" in again.out
    assert dln.load_run(first.folder / "1").summary["p"] == 4


def test_numbered_folders_keep_their_numbers_when_a_launcher_gets_only_some_points(sweep):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    options = ("hydra.sweep.subdir='${hydra.job.num}'", "hydra/launcher=joblib", "hydra.launcher.n_jobs=1")
    first = sweep("p=2,3", *options)
    before = stamps(first.folder)["0"]
    again = sweep("p=2,4", *options)
    assert "2 points, 1 done already and skipped" in again.out
    assert again.status == 0
    assert [dln.load_run(first.folder / name).summary["p"] for name in ("0", "1")] == [2, 4]
    assert stamps(first.folder)["0"] == before


def test_a_run_that_is_cut_in_a_used_folder_does_not_take_the_old_results_for_its_own(sweep, monkeypatch):
    options = ("hydra.sweep.subdir='${hydra.job.num}'",)
    first = sweep("p=2,3", *options)

    def cut(*_, **__):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("dlntorch.training.fit.fit_descent", cut)
        assert sweep("p=2,4", *options).status == 1
    assert not (first.folder / "1" / "summary.json").exists()
    assert not (first.folder / "1" / "result.npz").exists()
    assert sweep("p=2,4", *options).status == 0
    assert dln.load_run(first.folder / "1").summary["p"] == 4


def test_experiments_are_told_apart(sweep):
    first = sweep("p=2,3", "experiment=planted")
    assert "experiment=planted" in (first.folder / "points.json").read_text()


def test_a_mistake_that_all_points_share_never_ends_the_sweep_as_a_defect(sweep):
    for wrong, said in (
        ("~logger", "logger must be given"),
        ("trainer.block_seconds=abc", "trainer.block_seconds must"),
    ):
        done = sweep("p=2,3", wrong, "pack=auto")
        assert done.status == 2, done.err
        assert done.err.count(said) == 2


def test_a_point_that_another_process_runs_is_left_to_it(sweep):
    from dlntorch.store.folder import RunFolder

    first = sweep("p=2,3")
    folder = next(first.folder.glob("gaussian-p3-*"))
    (folder / "summary.json").unlink()
    place = RunFolder(folder)
    try:
        again = sweep("p=2,3")
    finally:
        place.close()
    assert f"{folder.name} is being run by another process" in again.out
    assert not list(first.folder.glob("failed/*"))
    assert sweep("p=2,3").status == 0


def test_a_sweep_folder_of_other_code_is_refused(sweep):
    first = sweep("p=2")
    (first.folder / "sweep.json").write_text(json.dumps({"code": "0.0.1+abc"}))
    again = sweep("p=2")
    assert again.status == 2
    (line,) = again.err.strip().splitlines()
    assert line.startswith("error: hydra.sweep.dir must be a sweep of this code, dlntorch ")
    assert "which 0.0.1+abc began; name another folder" in line


def test_the_id_follows_the_data_file(tmp_path):
    file = tmp_path / "data.npz"
    config = {"p": 3, "problem": {"name": "file", "path": str(file)}}
    missing = points.point_id(config)
    np.savez(file, A=np.ones((1, 2)), y=np.ones(1))
    one = points.point_id(config)
    np.savez(file, A=np.ones((1, 3)), y=np.ones(1))
    assert len({missing, one, points.point_id(config)}) == 3


@pytest.mark.parametrize("name", ["d_A.npy", "d_y.npy", "d.npy"])
def test_the_id_follows_both_files_of_a_pair_whichever_is_named(tmp_path, name):
    np.save(tmp_path / "d_A.npy", np.ones((1, 2)))
    np.save(tmp_path / "d_y.npy", np.ones(1))
    single = {"p": 3, "problem": {"name": "file", "path": str(tmp_path / name)}}
    several = {"p": 3, "problem": {}, "ensemble": {"problem_path": [str(tmp_path / name)]}}
    before = [points.point_id(config) for config in (single, several)]
    np.save(tmp_path / "d_y.npy", np.array([2.0, 1.0]))
    after = [points.point_id(config) for config in (single, several)]
    assert len({*before, *after}) == 4


def test_the_id_follows_the_number_of_shards_and_nothing_else_of_the_trainer():
    found = [points.point_id({"p": 3, "trainer": {"shards": k, "threads": t}}) for k, t in ((1, 1), (1, 2), (2, 1))]
    assert found[0] == found[1] == points.point_id({"p": 3})
    assert found[2] != found[0]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.dictionaries(st.sampled_from(["p", "alpha", "seed", "tol"]), st.floats(-1e6, 1e6) | st.integers() | st.none()),
    st.dictionaries(st.sampled_from(["logger", "trainer", "debug", "resume"]), st.text()),
)
def test_the_id_is_a_function_of_what_has_an_effect(config, without_effect):
    identity = points.point_id(config)
    assert points.point_id({**without_effect, **dict(reversed(config.items()))}) == identity
    assert points.point_name(config).endswith(identity)
    assert Path(points.point_name(config)).name == points.point_name(config)
    for key, value in config.items():
        changed = {**config, key: 1e7 if value is None else None}
        assert points.point_id(changed) != identity


def test_a_launcher_or_sweeper_that_is_not_installed(sweep, monkeypatch):
    from dlntorch.sweep import launcher

    monkeypatch.setattr(launcher, "_importable", lambda target: False)
    for choice, package in (("joblib", "hydra-joblib-launcher"), ("slurm", "hydra-submitit-launcher")):
        done = sweep(f"hydra/launcher={choice}", "p=2,3")
        assert done.status == 2
        message = f"error: hydra/launcher must have its plugin installed, got '{choice}': pip install {package}"
        assert done.err.strip() == message
    done = sweep("hydra/launcher=jobib", "p=2,3")
    assert done.status == 2
    assert "hydra/launcher must be one that is installed, got 'jobib'; did you mean joblib?" in done.err


def test_resume_has_no_place_in_a_sweep(sweep, tmp_path):
    (tmp_path / "config.yaml").write_text("{}")
    done = sweep("p=2,3", "resume=auto")
    assert done.status == 2
    assert "resume must be left out with -m" in done.err


def test_one_wandb_group_for_a_sweep(sweep, monkeypatch):
    from dlntorch.trackers import loggers

    seen = []
    monkeypatch.setattr(loggers, "make_logger", lambda config, *_: seen.append(config["group"]))
    assert sweep("p=2,3", "logger=wandb").status == 0
    assert sweep("p=4", "logger=wandb", "logger.group=mine").status == 0
    assert seen == ["sweep", "sweep", "mine"]


def test_collecting_a_sweep_also_while_it_runs(sweep, tmp_path):
    done = sweep("p=1,2,3", "alpha=0.1,0.2")
    started = next(done.folder.glob("gaussian-p3-*"))
    (started / "summary.json").unlink()
    known = json.loads((done.folder / "points.json").read_text())
    (done.folder / "points.json").write_text(json.dumps({**known, "gaussian-p9-waits": "p=9 alpha=0.1"}))
    rows = collect_sweep(done.folder)
    states = [row["state"] for row in rows]
    assert sorted(states) == ["cut", "done", "done", "done", "failed", "failed", "waiting"]
    assert {row["reason"] for row in rows if row["state"] == "failed"} == {"p must be a finite real number >= 2, got 1"}
    assert rows[-1]["p"] == 9
    paths = write_table(rows, done.folder)
    with open(paths[0], newline="") as file:
        table = list(csv.DictReader(file))
    for row, line in zip(rows, table, strict=True):
        summary = points.read_summary(done.folder / row["point"])
        if summary is not None:
            assert float(line["residual"]) == summary["residual"]
            assert float(line["schedule.eta_max"]) == summary["schedule"]["eta_max"]
            assert line["problem.m"] == "10"
    if len(paths) == 2:
        parquet = pytest.importorskip("pyarrow.parquet").read_table(paths[1])
        assert parquet.column("residual").to_pylist() == [row.get("residual") for row in rows]
        assert parquet.column("p").to_pylist() == [float(row["p"]) for row in rows]
    with pytest.raises(InputError, match="sweep must be the folder of a sweep"):
        collect_sweep(tmp_path / "nowhere")
    with pytest.raises(InputError, match="has no points"):
        collect_sweep(tmp_path)


def test_packed_points_leave_what_they_leave_alone(sweep, command, tmp_path):
    packed = sweep("p=1,2,3", "alpha=0.1,0.2", "problem.m=5,10", "pack=auto")
    assert packed.status == 2
    assert packed.out.count("4 points of one shape ran packed in one batch") == 2
    assert len(stamps(packed.folder)) == 8
    options = (*QUICK, f"hydra.sweep.dir={tmp_path / 'alone'}")
    alone = command("-m", *options, "p=2,3", "alpha=0.1,0.2", "problem.m=5,10", folder=tmp_path / "alone")
    assert "ran packed in one batch" not in alone.out
    for folder in alone.folder.glob("gaussian-*"):
        one, other = dln.load_run(folder), dln.load_run(packed.folder / folder.name)
        assert torch.equal(one.theta_plus, other.theta_plus)
        assert torch.equal(one.trajectory.psi, other.trajectory.psi)
        ignored = {"wall_seconds", "logging_seconds"}
        assert {k: v for k, v in one.summary.items() if k not in ignored} == {
            k: v for k, v in other.summary.items() if k not in ignored
        }
    again = sweep("p=2,3", "alpha=0.1,0.2", "problem.m=5,10", "pack=auto")
    assert "8 done already and skipped" in again.out


def test_the_page_of_a_sweep(sweep, capsys, tmp_path):
    done = sweep("p=1,3", "alpha=0.1,0.2")
    capsys.readouterr()
    assert main(["study=collect", f"sweep={done.folder}"]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    page = (done.folder / "report.html").read_text()
    assert {path.name for path in paths} >= {"summaries.csv", "sweep.png", "report.html"}
    assert "4 points: " in page
    assert page.count("<tr><th") >= 4
    assert "p must be a finite real number &gt;= 2, got 1" in page
    for words in ([], ["sweep=/nowhere"], [f"sweep={tmp_path}"], [f"sweep={done.folder}", "x=1"]):
        assert main(["study=collect", *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(("error: sweep must be the folder of a sweep", "error: study=collect must have sweep="))


@pytest.mark.slow
def test_joblib_workers_give_the_same_bits_and_have_one_thread(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    theta = {}
    for launcher in ("basic", "joblib"):
        folder = tmp_path / launcher
        command = [
            sys.executable, "train.py", "-m", f"hydra/launcher={launcher}", f"hydra.sweep.dir={folder}", "p=1,2,3",
            "alpha=0.1,0.2", *QUICK, "logger=none",
        ]  # fmt: skip
        if launcher == "joblib":
            command.append("hydra.launcher.n_jobs=2")
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 2, done.stderr
        assert len(list((folder / "failed").iterdir())) == 2
        for path in folder.glob("*/result.npz"):
            with np.load(path) as saved:
                theta.setdefault(path.parent.name, []).append(saved["theta_plus"])
    assert len(theta) == 4
    assert all(np.array_equal(*both) for both in theta.values())


@pytest.mark.slow
def test_optuna_finds_a_better_alpha(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    folder = tmp_path / "sweep"
    command = [
        sys.executable, "train.py", "-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2",
        "hydra.sweeper.sampler.seed=0", "alpha=tag(log,interval(1e-2,0.3))", "logger=none", "trainer.progress=false",
        f"hydra.sweep.dir={folder}",
    ]  # fmt: skip
    for skipped in (0, 2):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(f"{skipped} done already") == (0 if skipped == 0 else 2)
    best = min(row["distance_to_selected"] for row in collect_sweep(folder))
    assert f"{best}" in (folder / "optimization_results.yaml").read_text()
