"""A run folder that version 0.1 wrote: read, drawn, and what this version trains too; its checkpoint is refused in one line."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest
import torch

import dlntorch as dln
from dlntorch.report import write_run_report
from dlntorch.run.console import conclude
from dlntorch.store.folder import CheckpointError, RunFolder

#: ``train.py problem=line p=3 alpha=0.1 max_steps=60`` of version 0.1.0, as it was left.
FOLDER = Path(__file__).with_name("version_0_1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "old"))


def test_it_is_read_and_shown(folder, capsys):
    old = dln.load_run(folder)
    assert old.summary["versions"]["code"].startswith("0.1.0+")
    assert (str(old.status), old.summary["steps"], old.theta.shape) == ("max_steps", 60, (2, 3))
    new = dln.train(old.problem, 3, 0.1, max_steps=60)
    torch.testing.assert_close(new.theta, old.theta, rtol=1e-12, atol=0)
    for key in ("residual", "distance_to_selected", "distance_to_limit", "l1_gap"):
        assert new.summary[key] == pytest.approx(old.summary[key], rel=1e-6)
    conclude(old)
    assert "distance_to_selected" in capsys.readouterr().out
    write_run_report(old)
    assert "What the steps did" in (folder / "report.html").read_text()


def test_it_is_not_resumed_and_says_so_in_one_line(command, folder):
    done = command(f"resume={folder}", "max_steps=100")
    assert done.status == 2
    (told,) = [one for one in done.err.splitlines() if one.startswith("error: ")]
    assert told.startswith("error: resume must be a run folder written by this version")
    assert "Traceback" not in done.err
    assert dln.load_run(folder).summary["steps"] == 60  # nothing was touched


def test_its_checkpoint_is_refused_in_one_line(folder):
    with contextlib.closing(RunFolder(folder)) as place, pytest.raises(CheckpointError) as found:
        place.read_checkpoint({})
    assert str(found.value).startswith("resume must have a checkpoint of ")
    assert "\n" not in str(found.value)
