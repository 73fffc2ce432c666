"""Running ``train.py`` inside the test process: quick, with its exit status and output, and disturbed by signals."""

from __future__ import annotations

import math
import runpy
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dlntorch.training.ensemble import EnsembleDescent

ROOT = Path(__file__).resolve().parents[2]
#: A point that takes no time.
QUICK = ("references=false", "trainer.progress=false", "max_steps=300", "pack=false", "callbacks.figures=false")


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
    from dlntorch.cli import command_line
    from dlntorch.numerics.compile_notice import notice

    monkeypatch.setattr(notice, "after", math.inf)  # what is said must not depend on what has been compiled before

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


@pytest.fixture
def sweep(command, tmp_path):
    def run(*arguments: str):
        return command("-m", *QUICK, f"hydra.sweep.dir={tmp_path / 'sweep'}", *arguments, folder=tmp_path / "sweep")

    return run


def stamps(folder: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("*/summary.json")}


def hit(monkeypatch: pytest.MonkeyPatch, number: int, passes: int = 1) -> None:
    """Send the process a signal early in the ``passes``-th pass of the next ensemble."""
    made: list[EnsembleDescent] = []
    advance = EnsembleDescent.advance

    def watched(ensemble: EnsembleDescent) -> Any:
        if ensemble not in made:
            made.append(ensemble)
            if len(made) == passes:
                ensemble.block_seconds = 1e-4
                signal.raise_signal(number)
        return advance(ensemble)

    monkeypatch.setattr(EnsembleDescent, "advance", watched)
