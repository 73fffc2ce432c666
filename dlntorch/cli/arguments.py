"""What the command line says, looked at before Hydra reads it."""

from __future__ import annotations

import sys
from pathlib import Path

from dlntorch.numerics.validation import InputError

__all__ = ["is_sweep", "redirect_resumed_run"]


def is_sweep() -> bool:
    """Whether this process was started for a sweep."""
    return any(argument in ("-m", "--multirun", "hydra.mode=MULTIRUN") for argument in sys.argv[1:])


def redirect_resumed_run() -> None:
    """``resume=FOLDER`` continues in that folder: it becomes Hydra's run folder unless one was named."""
    named = [a.split("=", 1)[1] for a in sys.argv[1:] if a.startswith("resume=")]
    if not named or named[-1] in ("null", "", "auto"):
        return
    folder = named[-1].strip("'\"")
    if not (Path(folder) / "config.yaml").is_file():
        raise InputError(f"resume must be a run folder with config.yaml and a checkpoint, got {folder!r}")
    if not any(a.startswith("hydra.run.dir=") for a in sys.argv[1:]):
        sys.argv.append(f"hydra.run.dir='{folder}'")
