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
