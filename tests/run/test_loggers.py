"""The offline W&B file holds the history and the configuration; CSV and TensorBoard write theirs."""

from __future__ import annotations

import json
import struct
import warnings
from pathlib import Path

import pytest

import dlntorch as dln


def _records(path: Path):
    """The protobuf records of a ``.wandb`` file: 32 KiB blocks of leveldb-style chunks after a 7-byte header."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from wandb.proto import wandb_internal_pb2
    data = path.read_bytes()
    position, whole = 7, b""
    while position + 7 <= len(data):
        room = 32768 - position % 32768
        if room < 7:
            position += room
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        if kind == 0:
            position += room
            continue
        whole += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # full, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def test_the_offline_wandb_file_holds_history_and_config(command, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wandb's own imports
        done = command("logger=wandb", "logger.offline=true", "alpha=1e-2", "trainer.progress=false")
    assert done.status == 0, done.err
    (file,) = done.folder.glob("wandb/offline-run-*/run-*.wandb")
    history, config = [], {}
    for record in _records(file):
        if record.HasField("history"):
            items = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
            history.append(items)
        if record.HasField("run"):
            config |= {c.key: json.loads(c.value_json) for c in record.run.config.update}
    assert config["alpha"] == 0.01
    assert config["problem"]["name"] == "gaussian"
    rows = [row for row in history if "residual" in row]
    run = dln.load_run(done.folder)
    assert [int(row["step"]) for row in rows] == run.history["step"].astype(int).tolist()
    for name in ("residual", "distance_to_l1", "l1_gap", "eta", "sharpness", "smallest_parameter"):
        assert [row[name] for row in rows] == run.history[name].tolist()
        if name != "eta":
            assert [row[f"by_t/{name}"] for row in rows] == run.history[name].tolist()
    assert any("figures/distances" in "".join(row) for row in history)


@pytest.fixture
def offline(command, monkeypatch):
    """Runs a command with W&B offline, and reads the runs that it left there."""
    monkeypatch.delenv("WANDB_API_KEY", raising=False)

    def run(*words, **where):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # wandb's own imports
            done = command("logger=wandb", "logger.offline=true", "trainer.progress=false", *words, **where)
        assert done.status == 0, done.err
        return done

    return run


def _runs(folder: Path):
    """The W&B runs below a folder, oldest first: each its name, group, tags, and the rows of its history by step."""
    found = []
    for file in sorted(folder.rglob("offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime_ns):
        one = {"rows": {}}
        for record in _records(file):
            if record.HasField("run"):
                one |= {"name": record.run.display_name, "group": record.run.run_group, "tags": [*record.run.tags]}
            if record.HasField("history"):
                row = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
                step = record.history.step.num
                one["rows"].setdefault(int(step), {}).update(row)
        found.append(one)
    return found


def test_figures_are_logged_at_the_step_where_the_run_ends_also_when_it_is_resumed(offline):
    first = offline("alpha=0.1", "max_steps=200")
    offline(f"resume={first.folder}", "max_steps=500")
    runs = _runs(first.folder)
    assert len(runs) == 2
    for run, steps in zip(runs, (200, 500), strict=True):
        at = {step for step, row in run["rows"].items() if any("figures" in name or "table" in name for name in row)}
        assert at == {steps}
        row = run["rows"][steps]
        assert row["step"] == row["_step"] == steps
        assert row["t"] == run["rows"][steps]["t"] > 0
    assert min(runs[1]["rows"]) > 200  # nothing is logged again


@pytest.mark.slow
def test_runs_of_a_sweep_are_named_by_what_varies(offline, tmp_path):
    place = tmp_path / "sweep"
    words = ("p=2,3", "alpha=0.1,0.2", "seed=1", "max_steps=20", "references=false", "callbacks.figures=false")
    offline("-m", *words, f"hydra.sweep.dir={place}", "logger.tags=[mine]", folder=place)
    runs = _runs(place)
    assert sorted(run["name"] for run in runs) == [f"p={p} alpha={alpha}" for p in (2, 3) for alpha in (0.1, 0.2)]
    assert {run["group"] for run in runs} == {"sweep"}
    assert {tuple(run["tags"]) for run in runs} == {("mine", "gaussian", "power", "sgd", "relative")}


def test_names_and_tags_of_a_single_run_and_of_an_ensemble():
    from dlntorch.trackers.loggers import _run_name, _tags

    config = {
        "p": 3,
        "alpha": 0.1,
        "problem": {"name": "file", "path": "/x/mydata.csv"},
        "schedule": {"name": "stable"},
    }
    assert _run_name(config) == "mydata p=3 alpha=0.1"
    assert _tags({"tags": ["a" * 99, "stable"]}, config) == ["a" * 64, "stable", "mydata"]
    assert _run_name({**config, "ensemble": {"alpha": [1, 2], "p": None}}) == "mydata ensemble p=3"
    assert _run_name({"p": 3, "alpha": 0.1}) is None


def test_csv(command):
    done = command("logger=csv", "alpha=1e-2", "trainer.progress=false")
    assert done.status == 0, done.err
    lines = (done.folder / "csv" / "metrics.csv").read_text().splitlines()
    assert "residual" in lines[0]
    assert len(lines) == 1 + len(dln.load_run(done.folder).history["step"])


@pytest.mark.filterwarnings("ignore")
def test_tensorboard(command):
    done = command("logger=tensorboard", "alpha=1e-2", "trainer.progress=false")
    assert done.status == 0, done.err
    assert list((done.folder / "tensorboard").glob("events.out.tfevents.*"))


def test_insisting_on_being_online_without_a_key(command, monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    done = command("logger=wandb", "logger.offline=false")
    assert done.status == 2
    assert "no W&B API key" in done.err
