"""Running ``train.py`` inside the test process: quick, and with its exit status and output."""

from __future__ import annotations

import runpy
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Outcome:
    """What a command left behind."""

    status: int
    out: str
    err: str
    folder: Path


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """``command("p=3", …)`` runs ``train.py`` with ``logger=none`` unless a logger is named."""
    from dlntorch import command_line

    def run(*arguments: str, folder: Path | None = None) -> Outcome:
        place = folder or tmp_path / "run"
        words = [*arguments]
        if not any(a.startswith(("hydra.run.dir=", "resume=")) and a != "resume=auto" for a in arguments):
            words.append(f"hydra.run.dir='{place}'")
        if not any(a.startswith("logger=") for a in arguments):
            words.append("logger=none")
        monkeypatch.setattr(sys, "argv", ["train.py", *words])
        monkeypatch.setattr(command_line, "_outcomes", [])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
        code = left.value.code
        captured = capsys.readouterr()
        return Outcome(code if isinstance(code, int) else 0, captured.out, captured.err, place)

    return run
